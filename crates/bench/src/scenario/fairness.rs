//! A private message beside a big room: how long it takes when nothing else happens, and while the room gets many
//! messages a second. The floor is a private message of another server meanwhile, which knows nothing of the room: what
//! it waits for longer than alone is the machine, on which the clients are, too. Who pushes it and who gets it go first, where
//! the system permits it, as if they were on machines of their own.

use std::time::Duration;

use serde::Serialize;

use super::{Books, Heard, ROOM, assignment, linger};
use crate::{
    args::{Durability, Plan},
    crew::{Crew, split},
    error::BenchError,
    fleet::{FIRST_NUMBER, user},
    progress,
    publisher::To,
    report::{Row, Section},
    server::Server,
    source::{Pace, Source, drive_first},
    tally::Percentiles,
};

/// Members of the room, where nothing else is said.
const MEMBERS: usize = 10_000;
/// Connections of each backend.
const LINES: usize = 16;
/// Private messages a second, and for how many seconds, before anything is measured.
const WARM_RATE: f64 = 100.0;
const WARM_SECONDS: f64 = 1.0;
/// How much longer than idle the 99th percentile may be, in milliseconds, besides a slice of the room.
const LONGER_MS: f64 = 5.0;

/// What can be asked of this scenario.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Messages a second to the room
    #[arg(long, default_value_t = 100.0, value_name = "N")]
    room_rate: f64,
    /// Private messages a second
    #[arg(long, default_value_t = 100.0, value_name = "N")]
    rate: f64,
    /// Seconds of each part
    #[arg(long, default_value_t = 8.0, value_name = "S")]
    duration: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { room_rate: 100.0, rate: 100.0, duration: 8.0 }
    }
}

#[derive(Debug, Serialize)]
struct Figures {
    members: usize,
    rate: f64,
    room_rate: f64,
    idle: Percentiles,
    loaded: Percentiles,
    /// On another server, under the same load; nothing beside a server that the bench has not started.
    floor: Option<Percentiles>,
    /// The messages to the room themselves, over all members.
    room: Percentiles,
    /// CPU time of the server under the load, as a part of one core.
    server_cores: Option<f64>,
    accepted: u64,
    received: u64,
    /// How late the private messages were pushed, alone and beside the room.
    late_idle: Percentiles,
    late_loaded: Percentiles,
    /// Whether those who push and get private messages went first.
    first_in_line: bool,
}

/// What became of the private messages of one part.
struct Part {
    heard: Heard,
    late: Percentiles,
    first_in_line: bool,
}

/// One connection that is alone with its user, and who pushes to it.
struct Private {
    crew: Crew,
    source: Source,
    books: Books,
}

impl Private {
    /// Connects it, as client `number`, and pushes until everything is warm, and the code is in memory.
    fn start(
        plan: &Plan,
        server: &Server,
        durability: Durability,
        number: usize,
    ) -> Result<Self, BenchError> {
        let mut client = assignment(plan, server);
        (client.room, client.users, client.first) = (None, true, number);
        client.first_in_line = true;
        let mut crew = Crew::start(&client, &[1])?;
        crew.connect(1, &indicatif::ProgressBar::hidden())?;
        let to = To::User(user(&client.run, number));
        let poster = server.poster(plan, durability);
        let source = Source::new(poster, LINES, FIRST_NUMBER, 0, move |_| to.clone())?;
        let mut private = Self { crew, source, books: Books::new(plan, server) };
        private.measure(WARM_RATE, plan.seconds(WARM_SECONDS), None, "fairness: private, at first")?;
        Ok(private)
    }

    /// Pushes to it for so long, while others push what they have begun with.
    fn measure(
        &mut self,
        rate: f64,
        duration: Duration,
        beside: Option<&mut Source>,
        what: &str,
    ) -> Result<Part, BenchError> {
        self.source.begin(Pace::Open(rate), 1, u64::MAX);
        let first_in_line = match beside {
            None => drive_first(&mut [&mut self.source], duration)?,
            Some(other) => drive_first(&mut [&mut self.source, other], duration)?,
        };
        let late = Percentiles::of(self.source.late());
        let heard = self.books.balance(&self.source, 1, &mut self.crew, what)?;
        Ok(Part { heard, late, first_in_line })
    }
}

/// Measures the private message alone, then beside the room.
pub(crate) fn run(plan: &Plan, options: &Options, server: &Server) -> Result<Section, BenchError> {
    let members = plan.connections_or(MEMBERS)?;
    let durability = plan.durability_or(Durability::Memory);
    let aside = if plan.running.is_none() { Some(Server::of(None)?) } else { None };
    let mut clients = assignment(plan, server);
    clients.naps = true;
    let mut room = Crew::start(&clients, &split(members, plan.processes, plan.per_process))?;
    room.connect(members, &progress::bar("fairness: connecting", members as u64))?;
    let mut private = Private::start(plan, server, durability, members)?;
    let mut aside =
        aside.as_ref().map(|server| Private::start(plan, server, durability, members)).transpose()?;
    let to_room = |_| To::Room(ROOM.to_owned());
    let mut all = Source::new(server.poster(plan, durability), LINES, FIRST_NUMBER, 0, to_room)?;
    let mut all_books = Books::new(plan, server);
    let duration = plan.seconds(options.duration);
    let parts = if aside.is_some() { 3 } else { 2 };
    let bar = progress::bar("fairness: alone, beside the room", parts);

    let idle = private.measure(options.rate, duration, None, "fairness: private, alone")?;
    bar.inc(1);
    let cpu = server.cpu_seconds()?;
    all.begin(Pace::Open(options.room_rate), 1, u64::MAX);
    let loaded =
        private.measure(options.rate, duration, Some(&mut all), "fairness: private, beside the room")?;
    let cpu = server.cpu_seconds()?.zip(cpu).map(|(after, before)| after - before);
    let heard = all_books.balance(&all, members as u64, &mut room, "fairness: the room")?;
    bar.inc(1);
    let floor = match &mut aside {
        None => None,
        Some(aside) => {
            all.begin(Pace::Open(options.room_rate), 1, u64::MAX);
            let what = "fairness: private, on another server beside the room";
            let part = aside.measure(options.rate, duration, Some(&mut all), what)?;
            all_books.balance(&all, members as u64, &mut room, "fairness: the room, once more")?;
            Some(Percentiles::of(&part.heard.histogram()))
        }
    };
    bar.finish_and_clear();
    linger(&mut private.crew)?;
    linger(&mut room)?;
    let figures = Figures {
        members,
        rate: options.rate,
        room_rate: options.room_rate,
        idle: Percentiles::of(&idle.heard.histogram()),
        loaded: Percentiles::of(&loaded.heard.histogram()),
        floor,
        room: Percentiles::of(&heard.histogram()),
        server_cores: cpu.map(|cpu| cpu / duration.as_secs_f64()),
        accepted: private.source.accepted() + all.accepted(),
        received: idle.heard.received + loaded.heard.received + heard.received,
        late_idle: idle.late,
        late_loaded: loaded.late,
        first_in_line: loaded.first_in_line,
    };
    Ok(section(plan, durability, &figures))
}

fn section(plan: &Plan, durability: Durability, figures: &Figures) -> Section {
    let mut section = Section::new("fairness", figures);
    let Figures { members, rate, room_rate, idle, loaded, floor, room, .. } = figures;
    let judged = *members >= MEMBERS && *room_rate >= 100.0;
    let of_floor = |percentile: fn(&Percentiles) -> f64| floor.as_ref().map(percentile);
    for (name, idle, loaded, floor) in [
        ("p50", idle.p50, loaded.p50, of_floor(|floor| floor.p50)),
        ("p99", idle.p99, loaded.p99, of_floor(|floor| floor.p99)),
    ] {
        section.row(Row::of(format!("fairness: private {name}, alone, ms"), Some(idle)));
        let row = Row::beside(format!("fairness: private {name}, beside the room, ms"), floor, Some(loaded));
        section.row(if name == "p99" {
            let target = format!("≤ {:.1} + a slice", idle + LONGER_MS);
            row.with_target(&target, Some(loaded <= idle + LONGER_MS).filter(|_| judged))
        } else {
            row
        });
    }
    for (part, late) in [("alone", &figures.late_idle), ("beside the room", &figures.late_loaded)] {
        section
            .row(Row::of(format!("fairness: pushed late by the load tool, p99, {part}, ms"), Some(late.p99)));
    }
    section.row(Row::of("fairness: the room's own p99, ms", Some(room.p99)));
    section.row(Row::of("fairness: server, cores in use", figures.server_cores));
    if !figures.first_in_line {
        section.note(
            "fairness: the system did not let who pushes go first (root, CAP_SYS_NICE or ulimit -r 1): what the load tool was \
             late is in the figures"
                .to_owned(),
        );
    }
    section.note(format!(
        "fairness: {room_rate:.0} messages/s to {members} members ({}), {rate:.0}/s to one other connection, durability \
         \"{}\", from the moment when each was due; judged without the slice; the floor is the same on another server, which has \
         nothing to do with the room",
        plan.protocol.about,
        durability.word()
    ));
    section
}
