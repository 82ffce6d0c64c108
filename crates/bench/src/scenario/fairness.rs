//! A private message beside a big room: how long it takes when nothing else happens, and while the room gets many
//! messages a second.

use std::time::Duration;

use serde::Serialize;

use super::{Books, ROOM, assignment, linger};
use crate::{
    args::{Durability, Plan},
    crew::{Crew, split},
    error::BenchError,
    fleet::{FIRST_NUMBER, user},
    progress,
    publisher::To,
    report::{Row, Section},
    server::Server,
    source::{Pace, Source, drive_for},
    tally::Percentiles,
};

/// Members of the room, where nothing else is said.
const MEMBERS: usize = 10_000;
/// Connections of each backend.
const LINES: usize = 16;
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
    /// The messages to the room themselves, over all members.
    room: Percentiles,
    /// CPU time of the server under the load, as a part of one core.
    server_cores: Option<f64>,
    accepted: u64,
    received: u64,
}

/// Measures the private message alone, then beside the room.
pub(crate) fn run(plan: &Plan, options: &Options, server: &Server) -> Result<Section, BenchError> {
    let members = plan.connections_or(MEMBERS)?;
    let durability = plan.durability_or(Durability::Memory);
    let mut assignment = assignment(plan, server);
    assignment.naps = true;
    let mut room = Crew::start(&assignment, &split(members, plan.processes, plan.per_process))?;
    room.connect(members, &progress::bar("fairness: connecting", members as u64))?;
    (assignment.room, assignment.users, assignment.first) = (None, true, members);
    assignment.naps = false;
    let mut private = Crew::start(&assignment, &[1])?;
    private.connect(1, &indicatif::ProgressBar::hidden())?;

    let to = To::User(user(&assignment.run, members));
    let mut one = Source::new(server.poster(plan, durability), LINES, FIRST_NUMBER, 0, move |_| to.clone())?;
    let to_room = |_| To::Room(ROOM.to_owned());
    let mut all = Source::new(server.poster(plan, durability), LINES, FIRST_NUMBER, 0, to_room)?;
    let (mut one_books, mut all_books) = (Books::new(plan, server), Books::new(plan, server));
    let duration = plan.seconds(options.duration);
    let bar = progress::bar("fairness: alone, beside the room", 2);
    // Everything is warm, and the code is in memory.
    one.begin(Pace::Open(options.rate), 1, u64::MAX);
    drive_for(&mut [&mut one], duration.min(Duration::from_secs(1)))?;
    one_books.balance(&one, 1, &mut private, "fairness: private, at first")?;

    one.begin(Pace::Open(options.rate), 1, u64::MAX);
    drive_for(&mut [&mut one], duration)?;
    let idle = one_books.balance(&one, 1, &mut private, "fairness: private, alone")?;
    bar.inc(1);
    let cpu = server.cpu_seconds()?;
    one.begin(Pace::Open(options.rate), 1, u64::MAX);
    all.begin(Pace::Open(options.room_rate), 1, u64::MAX);
    drive_for(&mut [&mut one, &mut all], duration)?;
    let cpu = server.cpu_seconds()?.zip(cpu).map(|(after, before)| after - before);
    let loaded = one_books.balance(&one, 1, &mut private, "fairness: private, beside the room")?;
    let heard = all_books.balance(&all, members as u64, &mut room, "fairness: the room")?;
    bar.finish_and_clear();
    linger(&mut private)?;
    linger(&mut room)?;
    let figures = Figures {
        members,
        rate: options.rate,
        room_rate: options.room_rate,
        idle: Percentiles::of(&idle.histogram()),
        loaded: Percentiles::of(&loaded.histogram()),
        room: Percentiles::of(&heard.histogram()),
        server_cores: cpu.map(|cpu| cpu / duration.as_secs_f64()),
        accepted: one.accepted() + all.accepted(),
        received: idle.received + loaded.received + heard.received,
    };
    Ok(section(plan, durability, &figures))
}

fn section(plan: &Plan, durability: Durability, figures: &Figures) -> Section {
    let mut section = Section::new("fairness", figures);
    let Figures { members, rate, room_rate, idle, loaded, room, .. } = figures;
    let judged = *members >= MEMBERS && *room_rate >= 100.0;
    for (name, idle, loaded) in [("p50", idle.p50, loaded.p50), ("p99", idle.p99, loaded.p99)] {
        section.row(Row::of(format!("fairness: private {name}, alone, ms"), Some(idle)));
        let row = Row::of(format!("fairness: private {name}, beside the room, ms"), Some(loaded));
        section.row(if name == "p99" {
            let target = format!("≤ {:.1} + a slice", idle + LONGER_MS);
            row.with_target(&target, Some(loaded <= idle + LONGER_MS).filter(|_| judged))
        } else {
            row
        });
    }
    section.row(Row::of("fairness: the room's own p99, ms", Some(room.p99)));
    section.row(Row::of("fairness: server, cores in use", figures.server_cores));
    section.note(format!(
        "fairness: {room_rate:.0} messages/s to {members} members ({}), {rate:.0}/s to one other connection, durability \
         \"{}\", from the moment when each was due; judged without the slice",
        plan.protocol.about,
        durability.word()
    ));
    section
}
