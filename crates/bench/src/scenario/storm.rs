//! A fresh fleet connects, is dropped all at once while somebody publishes at a steady rate, and comes back.

use serde::Serialize;

use super::{Books, assignment, linger};
use crate::{
    args::{Durability, Plan},
    crew::{Crew, split},
    error::BenchError,
    fleet::FIRST_NUMBER,
    metrics::Metrics,
    progress,
    publisher::To,
    report::{Row, Section},
    server::Server,
    source::{Pace, Source, drive, drive_for, finish},
    tally::Percentiles,
    worker::Order,
};

/// Clients, where nothing else is said.
const CLIENTS: usize = 19_000;
/// Clients that are not dropped, and get what is published.
const WATCHERS: usize = 10;
/// The room of the watchers.
const WATCHED: &str = "watched";
/// Connections that publish.
const LINES: usize = 16;
/// Clients accepted a second that are the target.
const ACCEPTED: f64 = 8_000.0;
/// How long a publish may take during the drop, in milliseconds.
const PUBLISH_MS: f64 = 100.0;
/// Clients from which on the targets hold.
const JUDGED_FROM: usize = 10_000;

/// What can be asked of this scenario.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Pushes a second while the fleet is dropped and comes back
    #[arg(long, default_value_t = 500.0, value_name = "N")]
    rate: f64,
    /// Seconds of publishing before the drop, and after it until the fleet comes back
    #[arg(long, default_value_t = 2.0, value_name = "S")]
    duration: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { rate: 500.0, duration: 2.0 }
    }
}

#[derive(Debug, Serialize)]
struct Figures {
    clients: usize,
    rate: f64,
    /// Clients that have connected for each second, when nothing else happens.
    fresh_per_second: f64,
    /// Clients that have come back for each second, while somebody publishes.
    again_per_second: f64,
    /// Refusals after which a client tried again.
    refused: u64,
    calm: Phase,
    drop: Phase,
    back: Phase,
    /// Connections that the server still counts at the end of the time after the drop.
    left: Option<f64>,
    accepted: u64,
    received: u64,
}

/// Publishing during one part.
#[derive(Debug, Serialize)]
struct Phase {
    /// From the moment when a push was due to the answer.
    answer: Percentiles,
    /// From the moment when a push was due to the frame at a watcher.
    latency: Percentiles,
}

/// Connects, publishes, drops, publishes, and lets the fleet come back.
pub(crate) fn run(plan: &Plan, options: &Options, server: &Server) -> Result<Section, BenchError> {
    let clients = plan.connections_or(CLIENTS)?;
    let mut assignment = assignment(plan, server);
    (assignment.room, assignment.tries_again) = (None, true);
    let mut fleet = Crew::start(&assignment, &split(clients, plan.processes, plan.per_process))?;
    (assignment.room, assignment.first) = (Some(WATCHED.to_owned()), clients);
    let mut watchers = Crew::start(&assignment, &[WATCHERS])?;
    watchers.connect(WATCHERS, &indicatif::ProgressBar::hidden())?;
    let poster = server.poster(plan, plan.durability_or(Durability::Durable));
    let mut source = Source::new(poster, LINES, FIRST_NUMBER, 0, |_| To::Room(WATCHED.to_owned()))?;
    let fresh = fleet.connect(clients, &progress::bar("storm: connecting", clients as u64))?;
    let mut run =
        Run { source: &mut source, watchers: &mut watchers, books: Books::new(plan, server), received: 0 };

    let bar = progress::bar("storm: dropping, coming back", 3);
    let duration = plan.seconds(options.duration);
    run.source.begin(Pace::Open(options.rate), 1, u64::MAX);
    drive_for(&mut [run.source], duration)?;
    let calm = run.phase()?;
    bar.inc(1);
    fleet.order(&Order::Drop)?;
    run.source.begin(Pace::Open(options.rate), 1, u64::MAX);
    drive_for(&mut [run.source], duration)?;
    let drop = run.phase()?;
    let left = Metrics::read(server.address()).and_then(|metrics| metrics.sum("tidings_connections"));
    fleet.wait()?;
    bar.inc(1);
    fleet.order_connect(clients)?;
    run.source.begin(Pace::Open(options.rate), 1, u64::MAX);
    let mut again = None;
    drive(&mut [run.source], || {
        again = fleet.poll()?;
        Ok(again.is_some())
    })?;
    finish(&mut [run.source])?;
    let back = run.phase()?;
    bar.finish_and_clear();
    let received = run.received;
    linger(&mut watchers)?;
    let again = again.unwrap_or_default();
    let figures = Figures {
        clients,
        rate: options.rate,
        fresh_per_second: clients as f64 / fresh.seconds,
        again_per_second: clients as f64 / again.seconds,
        refused: again.refused,
        calm,
        drop,
        back,
        left: left.map(|left| (left - WATCHERS as f64).max(0.0)),
        accepted: source.accepted(),
        received,
    };
    Ok(section(plan, &figures))
}

struct Run<'a> {
    source: &'a mut Source,
    watchers: &'a mut Crew,
    books: Books,
    received: u64,
}

impl Run<'_> {
    /// What was published since the last call, once the watchers have all of it.
    fn phase(&mut self) -> Result<Phase, BenchError> {
        let heard = self.books.balance(self.source, WATCHERS as u64, self.watchers, "storm")?;
        self.received += heard.received;
        Ok(Phase {
            answer: Percentiles::of(&self.source.take_answers()),
            latency: Percentiles::of(&heard.histogram()),
        })
    }
}

fn section(plan: &Plan, figures: &Figures) -> Section {
    let mut section = Section::new("storm", figures);
    let Figures { clients, rate, calm, drop, back, .. } = figures;
    let judge = |met: bool| Some(met).filter(|_| *clients >= JUDGED_FROM);
    for (name, value) in
        [("fresh", figures.fresh_per_second), ("again, while publishing", figures.again_per_second)]
    {
        let row = Row::of(format!("storm: accepted/s, {name}"), Some(value));
        section.row(row.with_target("≥ 8 k", judge(value >= ACCEPTED)));
    }
    for (name, phase) in [("before", calm), ("during the drop", drop), ("while they come back", back)] {
        section.row(Row::of(format!("storm: publish p50 {name}, ms"), Some(phase.answer.p50)));
        let row = Row::of(format!("storm: publish p99 {name}, ms"), Some(phase.answer.p99));
        section.row(if name == "during the drop" {
            row.with_target("< 100", judge(phase.answer.p99 < PUBLISH_MS))
        } else {
            row
        });
        section.row(Row::of(format!("storm: publish max {name}, ms"), Some(phase.answer.max)));
        section.row(Row::of(format!("storm: frame p99 {name}, ms"), Some(phase.latency.p99)));
    }
    section.note(format!(
        "storm: {clients} clients ({}) that each say who they are; {rate:.0} pushes/s, durability \"{}\", to {WATCHERS} \
         watchers, from the moment when each was due; {} pushes accepted, {} messages received, none lost or doubled; \
         {} refusals after which a client tried again",
        plan.protocol.about,
        plan.durability_or(Durability::Durable).word(),
        figures.accepted,
        figures.received,
        figures.refused,
    ));
    section
}
