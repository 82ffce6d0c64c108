//! Tidings beside the servers of others and the floor: memory of an idle connection, fan-out one at a time and many at
//! once, by the same clients with frames of the same length.
//!
//! Servers are visited in turn, again and again, and started anew for each visit: only one is there at a time, none
//! profits from what another left behind, and a restless minute of the machine does not meet only one of them.

use serde::Serialize;

use super::{
    failed,
    fanout::{Counts, Rounds, Run, Series, WINDOWS},
    idle,
};
use crate::{
    args::{Company, Plan},
    error::BenchError,
    floor::Floor,
    frame::server_text_frame,
    interrupt,
    peers::{PLACES, Place},
    progress, publisher,
    report::{self, beside::Beside},
    server::Server,
};

/// Connections, where nothing else is said.
const CONNECTIONS: usize = 10_000;
/// Rounds of a visit, where nothing else is said.
const ROUNDS: usize = 3;
/// Bytes of a frame at least: whatever a server's own part in it, the filling makes all equally long.
const FRAME_BYTES: usize = 220;
/// How often the window of many pushes is filled in a round. Rounds of the slow take seconds.
const MANY_WINDOWS: usize = 2;
/// Headers of the floor's frame: two bytes and a 16-bit length.
const FLOOR_HEADER: usize = 4;

/// What was measured in one visit.
#[derive(Debug, Serialize)]
pub(crate) struct Visit {
    /// Bytes of a frame on the wire, one in flight.
    pub frame_bytes: usize,
    /// Idle connections; not of the floor.
    pub idle: Option<idle::Memory>,
    /// One push at a time.
    pub single: Series,
    /// Several pushes at once.
    pub many: Series,
    /// What was pushed and what arrived, at servers.
    pub counts: Option<Counts>,
}

/// Rounds of one visit.
fn rounds(plan: &Plan) -> usize {
    plan.rounds_or(ROUNDS)
}

/// Visits everybody and prints the table.
pub(crate) fn run(plan: &Plan, company: &Company) -> Result<(), BenchError> {
    if let Some(path) = &plan.json {
        report::check_writable(path)?;
    }
    interrupt::listen()?;
    let mut beside = Beside::new(
        plan,
        (plan.connections_or(CONNECTIONS)?, company.visits, rounds(plan)),
        plan.frame_bytes.max(FRAME_BYTES),
    );
    let wanted = if company.only.is_empty() { PLACES } else { &company.only };
    let mut places = Vec::new();
    for place in wanted {
        match place.about(&company.from) {
            Ok(about) => {
                places.push(*place);
                beside.add_row(place.name(), about);
            }
            Err(error) => beside.add_note(format!("SKIPPED: {error}")),
        }
    }
    for visit in 1..=company.visits {
        for (row, place) in places.iter().enumerate() {
            eprintln!("visit {visit} of {}: {}", company.visits, place.name());
            match go(plan, company, *place) {
                Err(BenchError::Interrupted) => return Err(BenchError::Interrupted),
                visit => beside.add_visit(row, visit),
            }
        }
    }
    print!("{}", beside.table());
    if let Some(path) = &plan.json {
        report::write_json(path, &beside)?;
    }
    match beside.faults() {
        faults if faults.is_empty() => Ok(()),
        faults => Err(BenchError::Lost(faults.join("\n"))),
    }
}

fn go(plan: &Plan, company: &Company, place: Place) -> Result<Visit, BenchError> {
    let mut plan = plan.clone();
    plan.frame_bytes = plan.frame_bytes.max(FRAME_BYTES);
    let (protocol, mut server) = match place {
        Place::Floor => return floor(&plan),
        Place::Tidings { protocol, .. } => (protocol, Server::of(None)?),
        Place::Peer(peer) => (peer.protocol, peer.start(&company.from)?),
    };
    plan.protocol = protocol;
    plan.publisher = publisher::named(protocol.publisher).map_err(BenchError::Arguments)?;
    measure(&plan, &server).map_err(|error| failed(std::slice::from_mut(&mut server), error))
}

fn measure(plan: &Plan, server: &Server) -> Result<Visit, BenchError> {
    let rounds = rounds(plan);
    let (idle, fleet) = idle::memory(plan, plan.connections_or(CONNECTIONS)?, server)?;
    let mut run = Run::over(plan, server, fleet);
    let frame_bytes = run.fit_frame()?.len();
    let (mut single, mut many) = (Rounds::new(), Rounds::new());
    let bar = progress::bar("fan-out", rounds as u64);
    // The first round of each kind warms caches and compilers up, and is forgotten.
    for round in 0..=rounds {
        run.round(&mut single, WINDOWS, 1)?;
        run.round(&mut many, plan.in_flight * MANY_WINDOWS, plan.in_flight)?;
        if round == 0 {
            (single, many) = (Rounds::new(), Rounds::new());
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    run.finish()?;
    let counts = Some(run.counts());
    Ok(Visit { frame_bytes, idle: Some(idle), single: single.series(), many: many.series(), counts })
}

fn floor(plan: &Plan) -> Result<Visit, BenchError> {
    let frame = server_text_frame(".".repeat(plan.frame_bytes - FLOOR_HEADER).as_bytes());
    let mut floor = Floor::start(plan.connections_or(CONNECTIONS)?, &frame)?;
    let (mut single, mut many) = (Rounds::new(), Rounds::new());
    for round in 0..=rounds(plan) {
        single.add_floor(&mut floor, 1, 1)?;
        many.add_floor(&mut floor, 1, plan.in_flight)?;
        if round == 0 {
            (single, many) = (Rounds::new(), Rounds::new());
        }
    }
    let (single, many) = (single.series(), many.series());
    Ok(Visit { frame_bytes: frame.len(), idle: None, single, many, counts: None })
}
