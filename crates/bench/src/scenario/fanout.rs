//! The fan-out: one push to a room that every client is in, first one at a time, then many at once, each round beside a
//! round of the floor.

mod nodes;
mod section;

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::{ROOM, destination, with_server, with_servers};
use crate::{
    args::{Durability, Plan},
    error::BenchError,
    fleet::{FIRST_NUMBER, Fleet},
    floor::Floor,
    frame::server_text_frame,
    post::Poster,
    process, progress,
    publisher::{Push, To},
    report::Section,
    server::Server,
    tally::{Percentiles, Tally, median, new_histogram},
};

/// Connections, where nothing else is said.
const CONNECTIONS: usize = 10_000;
/// Rounds, where nothing else is said.
const ROUNDS: usize = 11;
/// How often the window (of one push, or of many) is filled in a round: short rounds measure what else the machine
/// is doing.
pub(super) const WINDOWS: usize = 5;
/// How long surplus frames are waited for at the end.
const LINGER: Duration = Duration::from_millis(300);
/// Clients that are named when frames are missing.
const NAMED_MAX: usize = 10;
/// Frames in a write of the second floor beside "many at once".
const FEWER_FRAMES: usize = 10;

/// What can be asked of this scenario.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Options {
    /// Several sizes, as in 1000,5000,10000,19000, instead of one; each with a server of its own
    #[arg(long, value_delimiter = ',', value_name = "N", conflicts_with = "connections")]
    curve: Vec<usize>,
}

/// Measures one size or several, with the servers of the plan.
pub(crate) fn measure(plan: &Plan, options: &Options) -> Result<Section, BenchError> {
    let rounds = plan.rounds_or(ROUNDS);
    if !options.curve.is_empty() {
        let mut sizes = Vec::new();
        for connections in &options.curve {
            sizes.push(with_server(plan, |server| run(plan, *connections, rounds, server))?);
        }
        return Ok(section::curve(plan, &sizes));
    }
    let connections = plan.connections_or(CONNECTIONS)?;
    if plan.servers > 1 || plan.processes > 1 {
        return with_servers(plan, |servers| nodes::run(plan, connections, rounds, servers));
    }
    let figures = with_server(plan, |server| run(plan, connections, rounds, server))?;
    Ok(section::one(plan, &figures))
}

/// What was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    /// Clients in the room.
    pub connections: usize,
    /// Rounds of each kind.
    pub rounds: usize,
    /// Clients whose frames were read in full.
    pub samples: usize,
    /// Bytes of a frame on the wire.
    pub frame_bytes: usize,
    /// Pushes outstanding in `many`.
    pub in_flight: usize,
    /// Frames in one write of the second floor of `many`.
    pub fewer_frames: usize,
    /// One push at a time.
    pub single: Series,
    /// The floor of it: one frame in a write.
    pub single_floor: Series,
    /// Several pushes at once.
    pub many: Series,
    /// The floor of it: as many frames in one write.
    pub many_floor: Series,
    /// The floor with fewer frames in a write.
    pub many_floor_fewer: Series,
    /// Pushes that the server accepted.
    pub accepted: u64,
    /// Deliveries that were due for them.
    pub expected: u64,
    /// Deliveries that happened.
    pub received: u64,
}

/// The rounds of one kind.
#[derive(Debug, Serialize)]
pub(crate) struct Series {
    /// Deliveries for each second, one entry a round.
    pub rates: Vec<f64>,
    /// Their median.
    pub rate: f64,
    /// CPU seconds of the sending side for a million deliveries; nothing when its process is not known.
    pub cpu_per_million: Option<f64>,
    /// CPU seconds of the receiving side for a million deliveries; nothing where it is not known.
    pub client_cpu_per_million: Option<f64>,
    /// From the intended start to each delivery, in milliseconds.
    pub latency: Option<Percentiles>,
}

/// What was pushed and what arrived.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Counts {
    /// Pushes that the server accepted.
    pub accepted: u64,
    /// Deliveries that were due for them.
    pub expected: u64,
    /// Deliveries that happened.
    pub received: u64,
}

/// Rounds as they come in.
pub(super) struct Rounds {
    rates: Vec<f64>,
    deliveries: u64,
    cpu: Option<f64>,
    client_cpu: Option<f64>,
    latency: Histogram<u64>,
    last_latency: Option<Percentiles>,
}

impl Rounds {
    /// None yet.
    pub(super) fn new() -> Self {
        Self {
            rates: Vec::new(),
            deliveries: 0,
            cpu: Some(0.0),
            client_cpu: None,
            latency: new_histogram(),
            last_latency: None,
        }
    }

    fn add(&mut self, seconds: f64, deliveries: u64, cpu: Option<f64>) {
        self.rates.push(deliveries as f64 / seconds);
        self.deliveries += deliveries;
        self.cpu = self.cpu.zip(cpu).map(|(sum, cpu)| sum + cpu);
    }

    /// A round of the floor: `WINDOWS` times `passes` writes to every socket, of `frames` frames each.
    pub(super) fn add_floor(
        &mut self,
        floor: &mut Floor,
        passes: usize,
        frames: usize,
    ) -> Result<(), BenchError> {
        let (mut seconds, mut deliveries, mut cpu) = (0.0, 0, 0.0);
        for _ in 0..WINDOWS {
            let round = floor.round(passes, frames)?;
            seconds += round.seconds;
            deliveries += round.deliveries;
            cpu += round.cpu_seconds;
            self.last_latency = Some(round.latency);
        }
        self.add(seconds, deliveries, Some(cpu));
        Ok(())
    }

    /// What they come to.
    pub(super) fn series(self) -> Series {
        let millions = self.deliveries as f64 / 1e6;
        let own = (!self.latency.is_empty()).then(|| Percentiles::of(&self.latency));
        Series {
            rate: median(&self.rates).unwrap_or_default(),
            rates: self.rates,
            cpu_per_million: self.cpu.map(|cpu| cpu / millions),
            client_cpu_per_million: self.client_cpu.map(|cpu| cpu / millions),
            latency: own.or(self.last_latency),
        }
    }
}

/// Connects everybody, agrees on a frame with the floor, and alternates.
fn run(plan: &Plan, connections: usize, rounds: usize, server: &Server) -> Result<Figures, BenchError> {
    let mut run = Run::connect(plan, connections, server)?;
    let frame = run.fit_frame()?;
    let mut floor = Floor::start(connections, &frame)?;
    let bar = progress::bar("fan-out: one at a time", rounds as u64);
    let (mut single, mut single_floor) = (Rounds::new(), Rounds::new());
    for _ in 0..rounds {
        single_floor.add_floor(&mut floor, 1, 1)?;
        run.round(&mut single, WINDOWS, 1)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    let bar = progress::bar("fan-out: many at once", rounds as u64);
    let (mut many, mut many_floor, mut fewer) = (Rounds::new(), Rounds::new(), Rounds::new());
    let fewer_frames = FEWER_FRAMES.min(plan.in_flight);
    for _ in 0..rounds {
        many_floor.add_floor(&mut floor, 1, plan.in_flight)?;
        fewer.add_floor(&mut floor, plan.in_flight.div_ceil(fewer_frames), fewer_frames)?;
        run.round(&mut many, plan.in_flight * WINDOWS, plan.in_flight)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    run.finish()?;
    Ok(Figures {
        connections,
        rounds,
        samples: run.fleet.samples(),
        frame_bytes: frame.len(),
        in_flight: plan.in_flight,
        fewer_frames,
        single: single.series(),
        single_floor: single_floor.series(),
        many: many.series(),
        many_floor: many_floor.series(),
        many_floor_fewer: fewer.series(),
        accepted: run.poster.accepted(),
        expected: run.tally.expected(),
        received: run.tally.received(),
    })
}

/// A room full of clients and somebody who pushes to it.
pub(super) struct Run<'a> {
    plan: &'a Plan,
    server: &'a Server,
    fleet: Fleet,
    tally: Tally,
    poster: Poster,
    /// Filling in `data`, so that the frame has the length asked for.
    pad: String,
}

impl<'a> Run<'a> {
    fn connect(plan: &'a Plan, connections: usize, server: &'a Server) -> Result<Self, BenchError> {
        let to = destination(plan, server);
        let bar = progress::bar("fan-out: connecting", connections as u64);
        let mut fleet = Fleet::new(to.script.clone(), 0)?;
        fleet.connect(&to, connections, |ready| bar.set_position(ready as u64))?;
        bar.finish_and_clear();
        Ok(Self::over(plan, server, fleet))
    }

    /// With clients that are in the room already, and have had no message.
    pub(super) fn over(plan: &'a Plan, server: &'a Server, fleet: Fleet) -> Self {
        let tally = Tally::new(fleet.len());
        let poster = server.poster(plan, plan.durability_or(Durability::Memory));
        Self { plan, server, fleet, tally, poster, pad: String::new() }
    }

    /// Finds out how long the server's own part of a frame is, fills it up to the length asked for, and answers the
    /// frame as the server sends it.
    pub(super) fn fit_frame(&mut self) -> Result<Vec<u8>, BenchError> {
        self.drive(1, 1)?;
        let bare = server_text_frame(self.fleet.last_payload()).len();
        self.pad = ".".repeat(self.plan.frame_bytes.saturating_sub(bare));
        self.drive(1, 1)?;
        let longer = server_text_frame(self.fleet.last_payload()).len().saturating_sub(self.plan.frame_bytes);
        // A longer payload may need a longer header.
        self.pad.truncate(self.pad.len().saturating_sub(longer));
        self.drive(1, 1)?;
        self.tally.take_latency();
        Ok(server_text_frame(self.fleet.last_payload()))
    }

    /// One round: `count` pushes, `window` of them outstanding at a time.
    pub(super) fn round(
        &mut self,
        rounds: &mut Rounds,
        count: usize,
        window: usize,
    ) -> Result<(), BenchError> {
        let own = std::process::id();
        let (server_cpu, client_cpu) = (self.server.cpu_seconds()?, process::cpu_seconds(own)?);
        let seconds = self.drive(count, window)?.as_secs_f64();
        let deliveries = count as u64 * self.fleet.len() as u64;
        let server_cpu = self.server.cpu_seconds()?.zip(server_cpu).map(|(after, before)| after - before);
        let client_cpu = process::cpu_seconds(own)? - client_cpu;
        rounds.add(seconds, deliveries, server_cpu);
        *rounds.client_cpu.get_or_insert(0.0) += client_cpu;
        // Both histograms have the same bounds.
        let _ = rounds.latency.add(self.tally.take_latency());
        Ok(())
    }

    /// Pushes `count` messages, `window` at a time, until everybody has all of them; answers how long that took from
    /// the first push on.
    fn drive(&mut self, count: usize, window: usize) -> Result<Duration, BenchError> {
        let first = self.tally.intended();
        let end = first + count;
        let mut progress = (self.tally.received(), Instant::now());
        while self.tally.completed() < end || self.poster.is_waiting() {
            let posted = self.tally.intended();
            let free = window.saturating_sub(posted - self.tally.completed());
            let now = Instant::now();
            let pushes: Vec<Push> = (posted..end.min(posted + free))
                .map(|index| self.push(FIRST_NUMBER + index as u64))
                .collect();
            pushes.iter().for_each(|_| self.tally.intend(now));
            self.poster.post(self.fleet.registry(), &pushes, self.plan.call)?;
            self.fleet.turn(Duration::from_millis(100), Some(&mut self.tally))?;
            for (token, readable) in self.fleet.take_foreign() {
                self.poster.ready(token, readable)?;
            }
            if self.tally.received() != progress.0 {
                progress = (self.tally.received(), Instant::now());
            } else if progress.1.elapsed() > self.plan.patience {
                return Err(self.lost("nothing more arrives"));
            }
            if self.fleet.is_broken() {
                return Err(self.lost("connections broke"));
            }
            if self.tally.surplus() > 0 {
                return Err(self.lost("more frames arrive than were sent"));
            }
        }
        self.tally.span(first, end - 1).ok_or_else(|| self.lost("frames came out of order"))
    }

    /// Waits a moment for what should not come, then checks every client.
    pub(super) fn finish(&mut self) -> Result<(), BenchError> {
        let end = Instant::now() + LINGER;
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.fleet.turn(left, Some(&mut self.tally))?;
            self.fleet.take_foreign();
        }
        let pushed = self.tally.intended() as u64;
        if self.poster.accepted() != pushed {
            return Err(self.lost(&format!("{pushed} were pushed")));
        }
        if self.fleet.faults(self.tally.intended()).is_empty() {
            Ok(())
        } else {
            Err(self.lost("wrong frames"))
        }
    }

    /// What was pushed and what arrived so far.
    pub(super) fn counts(&self) -> Counts {
        let (expected, received) = (self.tally.expected(), self.tally.received());
        Counts { accepted: self.poster.accepted(), expected, received }
    }

    /// What is missing, where, and how much.
    fn lost(&self, why: &str) -> BenchError {
        let faults = self.fleet.faults(self.tally.intended());
        let (expected, received) = (self.tally.expected(), self.tally.received());
        let (missing, surplus) = self.fleet.balance(self.tally.intended());
        let mut text = format!(
            "{why}: {} pushes accepted, {expected} deliveries expected, {received} received ({missing} missing, \
             {surplus} too many)",
            self.poster.accepted(),
        );
        for fault in faults.iter().take(NAMED_MAX) {
            text.push_str("\n  ");
            text.push_str(fault);
        }
        if let Some(more @ 1..) = faults.len().checked_sub(NAMED_MAX) {
            text.push_str(&format!("\n  and {more} more clients"));
        }
        BenchError::Lost(text)
    }

    fn push(&self, number: u64) -> Push {
        let data = format!(r#"{{"seq":{number},"pad":"{}"}}"#, self.pad);
        Push { to: To::Room(ROOM.to_owned()), data }
    }
}
