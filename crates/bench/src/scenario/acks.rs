//! Every delivery is acknowledged by its client: how many receipts the server writes down in a second.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{Books, ROOM, assignment, linger};
use crate::{
    args::{Durability, Plan},
    crew::{Crew, split},
    error::BenchError,
    fleet::FIRST_NUMBER,
    interrupt,
    metrics::Metrics,
    progress,
    publisher::To,
    report::{Row, Section},
    server::Server,
    source::{Source, push_all},
    tally::median,
};

/// Clients, where nothing else is said.
const CLIENTS: usize = 10_000;
/// Receipts a second that are the target.
const RECEIPTS_RATE: f64 = 200_000.0;
/// Clients from which on the target holds.
const JUDGED_FROM: usize = 1_000;
/// Between two looks at how many receipts there are.
const LOOK: Duration = Duration::from_millis(5);

/// What can be asked of this scenario.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Messages in a round; a round ends with the last receipt
    #[arg(long, default_value_t = 20, value_name = "N")]
    messages: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { messages: 20 }
    }
}

#[derive(Debug, Serialize)]
struct Figures {
    clients: usize,
    messages: u64,
    /// One entry a round.
    receipts_per_second: Vec<f64>,
    /// Their median.
    rate: f64,
    server_cpu_per_receipt_us: Option<f64>,
    accepted: u64,
    /// Messages that the server says it wrote, over all rounds.
    written: Option<f64>,
    received: u64,
    acked: u64,
    receipts: f64,
}

/// Connects everybody to a room and pushes in rounds.
pub(crate) fn run(plan: &Plan, options: &Options, server: &Server) -> Result<Section, BenchError> {
    if !plan.protocol.acks {
        return Err(BenchError::Arguments(format!(
            "--protocol {}: its clients send no acknowledgements on their connection",
            plan.protocol.name
        )));
    }
    let clients = plan.connections_or(CLIENTS)?;
    let rounds = plan.rounds_or(5);
    let mut assignment = assignment(plan, server);
    assignment.acks = true;
    let mut crew = Crew::start(&assignment, &split(clients, plan.processes, plan.per_process))?;
    crew.connect(clients, &progress::bar("acks: connecting", clients as u64))?;
    let poster = server.poster(plan, plan.durability_or(Durability::Durable));
    let mut source = Source::new(poster, 1, FIRST_NUMBER, 0, |_| To::Room(ROOM.to_owned()))?;
    let (first, first_written) = (receipts(server)?, written(server));
    let (mut due, mut rates, mut received, mut acked) = (first, Vec::new(), 0, 0);
    let (mut books, cpu) = (Books::new(plan, server), server.cpu_seconds()?);
    let bar = progress::bar("acks", rounds as u64);
    for _ in 0..rounds {
        let begin = Instant::now();
        push_all(&mut source, usize::try_from(options.messages).unwrap_or(1), options.messages)?;
        due += (clients as u64 * options.messages) as f64;
        await_receipts(plan, server, due)?;
        rates.push((clients as u64 * options.messages) as f64 / begin.elapsed().as_secs_f64());
        let heard = books.balance(&source, clients as u64, &mut crew, "acks")?;
        received += heard.received;
        acked += heard.acked;
        bar.inc(1);
    }
    bar.finish_and_clear();
    let cpu = server.cpu_seconds()?.zip(cpu).map(|(after, before)| after - before);
    linger(&mut crew)?;
    let recorded = receipts(server)? - first;
    if acked != received || recorded as u64 != acked {
        return Err(BenchError::Lost(format!(
            "acks: {received} messages received, {acked} acknowledgements sent, {recorded} receipts written down"
        )));
    }
    let figures = Figures {
        clients,
        messages: options.messages,
        rate: median(&rates).unwrap_or_default(),
        receipts_per_second: rates,
        server_cpu_per_receipt_us: cpu.map(|cpu| cpu * 1e6 / recorded.max(1.0)),
        accepted: source.accepted(),
        written: written(server).zip(first_written).map(|(after, before)| after - before),
        received,
        acked,
        receipts: recorded,
    };
    Ok(section(plan, &figures))
}

fn receipts(server: &Server) -> Result<f64, BenchError> {
    let metrics = Metrics::read(server.address());
    metrics.and_then(|metrics| metrics.sum("tidings_acks_total")).ok_or_else(|| BenchError::Protocol {
        who: "/metrics".to_owned(),
        what: "does not say how many receipts there are (tidings_acks_total)".to_owned(),
    })
}

/// Messages that were put into outboxes and not taken out unwritten.
fn written(server: &Server) -> Option<f64> {
    let metrics = Metrics::read(server.address())?;
    Some(metrics.sum("tidings_deliveries_total")? - metrics.sum("tidings_unwritten_total").unwrap_or(0.0))
}

fn await_receipts(plan: &Plan, server: &Server, due: f64) -> Result<(), BenchError> {
    let mut last = (0.0, Instant::now());
    loop {
        let receipts = receipts(server)?;
        if receipts >= due {
            return Ok(());
        }
        if receipts > last.0 {
            last = (receipts, Instant::now());
        } else if last.1.elapsed() > plan.patience {
            let what = format!("{due} receipts expected, {receipts} written down, and no more come");
            return Err(BenchError::Lost(what));
        }
        interrupt::check()?;
        thread::sleep(LOOK);
    }
}

fn section(plan: &Plan, figures: &Figures) -> Section {
    let mut section = Section::new("acks", figures);
    let Figures { clients, messages, rate, accepted, received, acked, receipts, .. } = figures;
    let met = Some(*rate >= RECEIPTS_RATE).filter(|_| *clients >= JUDGED_FROM);
    section.row(Row::of("acks: receipts written down/s", Some(*rate)).with_target("≥ 200 k", met));
    section.row(Row::of("acks: server CPU µs/delivery with receipt", figures.server_cpu_per_receipt_us));
    let written = figures.written.map_or_else(String::new, |written| format!(" {written} written,"));
    section.note(format!(
        "acks: {clients} clients ({}) in a room, rounds of {messages} messages, from the push to the last receipt; \
         {accepted} pushes accepted,{written} {received} received, {acked} acknowledged, {receipts} receipts",
        plan.protocol.about
    ));
    section
}
