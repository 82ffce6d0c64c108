//! A mix for a long time: clients of every protocol in a room that gets a message now and then, private messages to
//! some of them, others that keep coming and going. Does memory grow, does latency?

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
    fleet::{FIRST_NUMBER, user},
    metrics::Metrics,
    progress,
    protocol::{self, Protocol},
    publisher::To,
    report::{Row, Section, Table},
    server::Server,
    source::{Pace, Source, drive_for},
    tally::Percentiles,
    worker::{Done, Order},
};

/// Clients in the room, over all protocols, where nothing else is said.
const CLIENTS: usize = 2_000;
/// What they speak, in equal parts.
const SPOKEN: [&str; 4] = ["ws", "socketio", "polling", "sse"];
/// Clients that come and go, as a part of those.
const CHURNING: f64 = 0.25;
/// Connections of each backend.
const LINES: usize = 16;
/// Moments at which the figures are taken.
const INTERVALS: u32 = 12;
/// Growth of memory from the second quarter to the last from which on the verdict is that it grows.
const GROWTH: f64 = 0.10;

/// What can be asked of this scenario.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Seconds of all of it
    #[arg(long, default_value_t = 120.0, value_name = "S")]
    duration: f64,
    /// Messages a second to the room
    #[arg(long, default_value_t = 2.0, value_name = "N")]
    room_rate: f64,
    /// Private messages a second
    #[arg(long, default_value_t = 500.0, value_name = "N")]
    rate: f64,
}

#[derive(Debug, Serialize)]
struct Figures {
    clients: usize,
    churning: usize,
    intervals: Vec<Interval>,
    /// How much more memory in the last quarter than in the second, as a part.
    growth: Option<f64>,
    accepted: u64,
    received: u64,
}

/// One line of the table.
#[derive(Debug, Clone, Serialize)]
struct Interval {
    /// Since the beginning.
    seconds: f64,
    connections: Option<f64>,
    anonymous_mib: Option<f64>,
    /// CPU time of the server, as a part of one core.
    cores: Option<f64>,
    received_per_second: f64,
    acked_per_second: f64,
    private: Percentiles,
    room_p99: f64,
}

struct Run<'a> {
    server: &'a Server,
    members: Vec<Crew>,
    private: Crew,
    churning: Crew,
    churners: usize,
    room: Source,
    one: Source,
    room_books: Vec<Books>,
    one_books: Books,
    parts: Vec<usize>,
    received: u64,
}

/// Connects everybody and takes figures until the time is over.
pub(crate) fn run(plan: &Plan, options: &Options, server: &Server) -> Result<Section, BenchError> {
    let clients = plan.connections_or(CLIENTS)?;
    let mut run = connect(plan, clients, server)?;
    let interval = plan.seconds(options.duration) / INTERVALS;
    let bar = progress::bar("soak", u64::from(INTERVALS));
    let begin = Instant::now();
    let mut intervals = Vec::new();
    for _ in 0..INTERVALS {
        intervals.push(run.interval(options, interval, begin)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    for crew in run.members.iter_mut().chain([&mut run.private]) {
        linger(crew)?;
    }
    let memory: Option<Vec<f64>> = intervals.iter().map(|interval| interval.anonymous_mib).collect();
    let figures = Figures {
        clients,
        churning: run.churners,
        growth: memory.as_deref().and_then(growth),
        intervals,
        accepted: run.room.accepted() + run.one.accepted(),
        received: run.received,
    };
    Ok(section(plan, options, &figures))
}

fn connect<'a>(plan: &Plan, clients: usize, server: &'a Server) -> Result<Run<'a>, BenchError> {
    let spoken: Vec<&'static Protocol> =
        SPOKEN.iter().filter_map(|name| protocol::named(name).ok()).collect();
    let parts = split(clients, spoken.len(), plan.per_process);
    let mut assignment = assignment(plan, server);
    let run = assignment.run.clone();
    let mut members = Vec::new();
    let bar = progress::bar("soak: connecting", clients as u64);
    for (protocol, part) in spoken.iter().zip(&parts) {
        (assignment.protocol, assignment.acks) = (protocol.name.to_owned(), protocol.acks);
        let mut crew = Crew::start(&assignment, &[*part])?;
        crew.connect(*part, &indicatif::ProgressBar::hidden())?;
        assignment.first += part;
        bar.inc(*part as u64);
        members.push(crew);
    }
    bar.finish_and_clear();
    let persons = (clients / 4).max(1);
    let first = assignment.first;
    (assignment.protocol, assignment.acks) = ("ws".to_owned(), true);
    (assignment.room, assignment.users, assignment.distinct) = (None, true, true);
    let mut private = Crew::start(&assignment, &[persons])?;
    private.connect(persons, &indicatif::ProgressBar::hidden())?;
    assignment.first += persons;
    (assignment.users, assignment.distinct) = (false, false);
    let churners = ((clients as f64 * CHURNING) as usize).max(1);
    let churning = Crew::start(&assignment, &[churners])?;
    let durability = plan.durability_or(Durability::Durable);
    let to_one =
        move |number: u64| To::User(user(&run, first + usize::try_from(number).unwrap_or(0) % persons));
    let to_room = |_| To::Room(ROOM.to_owned());
    Ok(Run {
        server,
        room_books: members.iter().map(|_| Books::new(plan, server)).collect(),
        members,
        private,
        churning,
        churners,
        room: Source::new(server.poster(plan, durability), LINES, FIRST_NUMBER, 0, to_room)?,
        one: Source::new(server.poster(plan, durability), LINES, FIRST_NUMBER, 0, to_one)?,
        one_books: Books::new(plan, server).of_single(),
        parts,
        received: 0,
    })
}

impl Run<'_> {
    fn interval(
        &mut self,
        options: &Options,
        length: Duration,
        begin: Instant,
    ) -> Result<Interval, BenchError> {
        let cpu = self.server.cpu_seconds()?;
        let from = Instant::now();
        self.churning.order_connect(self.churners)?;
        self.one.begin(Pace::Open(options.rate), 1, u64::MAX);
        self.room.begin(Pace::Open(options.room_rate), 1, u64::MAX);
        drive_for(&mut [&mut self.one, &mut self.room], length)?;
        let elapsed = from.elapsed().as_secs_f64();
        let private = self.one_books.balance(&self.one, 1, &mut self.private, "soak: private")?;
        let mut room = crate::stamps::Heard::default();
        for ((crew, books), part) in self.members.iter_mut().zip(&mut self.room_books).zip(&self.parts) {
            room.add(&books.balance(&self.room, *part as u64, crew, "soak: the room")?);
        }
        let Done { broken, .. } = self.churning.wait()?;
        if let Some(broken) = broken.first() {
            return Err(BenchError::Lost(format!("soak: of those that come and go, {broken}")));
        }
        let connections = Metrics::read(self.server.address());
        self.churning.ask(&Order::DropLast(self.churners))?;
        // What the interval left behind is let go before the memory is read.
        thread::sleep(length.min(Duration::from_millis(500)));
        let cpu = self.server.cpu_seconds()?.zip(cpu).map(|(after, before)| after - before);
        self.received += private.received + room.received;
        Ok(Interval {
            seconds: begin.elapsed().as_secs_f64(),
            connections: connections.and_then(|metrics| metrics.sum("tidings_connections")),
            anonymous_mib: self.server.anonymous_bytes()?.map(|bytes| bytes as f64 / 1024.0 / 1024.0),
            cores: cpu.map(|cpu| cpu / from.elapsed().as_secs_f64()),
            received_per_second: (private.received + room.received) as f64 / elapsed,
            acked_per_second: (private.acked + room.acked) as f64 / elapsed,
            private: Percentiles::of(&private.histogram()),
            room_p99: Percentiles::of(&room.histogram()).p99,
        })
    }
}

/// How much more the last quarter has than the second, as a part of it: the first is the beginning.
fn growth(values: &[f64]) -> Option<f64> {
    let quarter = values.len() / 4;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    (quarter > 0).then(|| mean(&values[values.len() - quarter..]) / mean(&values[quarter..2 * quarter]) - 1.0)
}

fn section(plan: &Plan, options: &Options, figures: &Figures) -> Section {
    let mut section = Section::new("soak", figures);
    let Figures { clients, churning, intervals, growth, accepted, received } = figures;
    let judge = |met: bool| Some(met).filter(|_| !plan.quick);
    let percent = growth.map(|growth| growth * 100.0);
    let met = growth.and_then(|growth| judge(growth <= GROWTH));
    section.row(Row::of("soak: memory, last quarter over second, %", percent).with_target("≤ 10", met));
    let columns = [
        "s",
        "connections",
        "RssAnon MiB",
        "cores",
        "received/s",
        "acked/s",
        "private p50 ms",
        "p99 ms",
        "max ms",
        "room p99 ms",
    ];
    let lines = intervals.iter().map(|interval| {
        let Interval { seconds, connections, anonymous_mib, cores, private, room_p99, .. } = interval;
        vec![
            *seconds,
            connections.unwrap_or_default(),
            anonymous_mib.unwrap_or_default(),
            cores.unwrap_or_default(),
            interval.received_per_second,
            interval.acked_per_second,
            private.p50,
            private.p99,
            private.max,
            *room_p99,
        ]
    });
    section.table(Table {
        title: "Soak, interval by interval".to_owned(),
        columns: columns.map(str::to_owned).into(),
        lines: lines.collect(),
    });
    section.note(format!(
        "soak: {clients} clients of {} in equal parts in a room with {} messages/s, {} private messages/s to others, \
         {churning} clients that come and go with each interval, durability \"{}\"; {accepted} pushes accepted, \
         {received} messages received, none lost or doubled",
        SPOKEN.join(", "),
        options.room_rate,
        options.rate,
        plan.durability_or(Durability::Durable).word()
    ));
    section
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_leaves_the_beginning_out() {
        let check = |values: &[f64], expected| assert_eq!(growth(values), expected, "{values:?}");
        check(&[1.0, 10.0, 10.0, 11.0], Some(11.0 / 10.0 - 1.0));
        check(&[1.0, 10.0, 99.0, 10.0], Some(0.0));
        check(&[1.0], None);
    }
}
