//! Idle connections: how much memory of its own the server needs for each that is connected and subscribed.
//!
//! The figure is a slope between two counts, so that what the server needs anyway cancels out. Before each reading the
//! memory must have come to rest, which is watched rather than waited for.

use std::{
    ffi::OsString,
    io::{self, Read},
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::destination;
use crate::{
    args::Plan,
    child::Child,
    error::BenchError,
    fleet::{Destination, Fleet, Script},
    progress,
    server::Server,
    tally::Tally,
};

/// Connections of the lower end of the slope, half of the upper end at most.
const BASE: usize = 2_000;
/// Time between two readings.
const READING: Duration = Duration::from_millis(50);
/// Readings in a row that must agree.
const READINGS: usize = 10;
/// How far apart they may be: this many bytes, or the 500th part.
const AGREEMENT_BYTES: u64 = 64 * 1024;
/// When the memory does not come to rest within this, it is read as it is.
const SETTLE_MAX: Duration = Duration::from_secs(15);

/// What was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    /// Connections at the lower end.
    pub base_connections: usize,
    /// Connections at the upper end.
    pub connections: usize,
    /// Anonymous memory of the server before the first connection, in bytes; nothing when its process is not known.
    pub start_bytes: Option<u64>,
    /// The same at the lower end.
    pub base_bytes: Option<u64>,
    /// The same at the upper end.
    pub bytes: Option<u64>,
    /// The slope: bytes for each connection.
    pub bytes_per_connection: Option<f64>,
    /// False when the memory had not come to rest at one of the ends.
    pub settled: bool,
    /// Clients connected for each second between the two ends.
    pub connects_per_second: f64,
}

/// Connects to the lower end, then to the upper one, and reads the memory at both.
pub(crate) fn run(plan: &Plan, server: &Server) -> Result<Figures, BenchError> {
    measure(plan, server).map(|(figures, _)| figures)
}

/// The same; answers the clients as well, as far as one process can hold them.
pub(super) fn measure(plan: &Plan, server: &Server) -> Result<(Figures, Fleet), BenchError> {
    let base = BASE.min(plan.connections / 2).min(plan.per_process);
    let to = destination(plan, server);
    let bar = progress::bar("idle: connecting", plan.connections as u64);
    let mut fleet = Fleet::new(to.script.clone(), 0)?;
    let start_bytes = server.anonymous_bytes()?;
    fleet.connect(&to, base, &bar)?;
    let (base_bytes, base_settled) = settle(&mut fleet, server)?;
    let begin = Instant::now();
    fleet.connect(&to, plan.connections.min(plan.per_process), &bar)?;
    let _holders = start_holders(plan, &to, fleet.len())?;
    let connects_per_second = (plan.connections - base) as f64 / begin.elapsed().as_secs_f64();
    bar.finish_and_clear();
    let (bytes, settled) = settle(&mut fleet, server)?;
    if fleet.is_broken() {
        return Err(BenchError::Lost(format!("idle: {}", fleet.faults(0).join("\n  "))));
    }
    let slope = |upper: u64, lower: u64| (upper as f64 - lower as f64) / (plan.connections - base) as f64;
    let figures = Figures {
        base_connections: base,
        connections: plan.connections,
        start_bytes,
        base_bytes,
        bytes,
        bytes_per_connection: bytes.zip(base_bytes).map(|(upper, lower)| slope(upper, lower)),
        settled: base_settled && settled,
        connects_per_second,
    };
    Ok((figures, fleet))
}

/// Serves the clients until the server's memory has come to rest; answers it and whether it has.
fn settle(fleet: &mut Fleet, server: &Server) -> Result<(Option<u64>, bool), BenchError> {
    let mut tally = Tally::new(fleet.len());
    let begin = Instant::now();
    let mut readings: Vec<u64> = Vec::new();
    loop {
        let next = Instant::now() + READING;
        while let Some(left) = next.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            fleet.turn(left, &mut tally)?;
        }
        let Some(bytes) = server.anonymous_bytes()? else { return Ok((None, true)) };
        readings.push(bytes);
        if at_rest(&readings) {
            return Ok((Some(bytes), true));
        }
        if begin.elapsed() > SETTLE_MAX {
            return Ok((Some(bytes), false));
        }
    }
}

fn at_rest(readings: &[u64]) -> bool {
    let last = readings.last_chunk::<READINGS>();
    last.is_some_and(|last| {
        let (low, high) = last.iter().fold((u64::MAX, 0), |(low, high), &x| (low.min(x), high.max(x)));
        high - low <= AGREEMENT_BYTES.max(high / 500)
    })
}

/// Starts as many further processes as are needed for the connections that this one cannot hold.
fn start_holders(plan: &Plan, to: &Destination, mut held: usize) -> Result<Vec<Child>, BenchError> {
    let mut holders = Vec::new();
    while held < plan.connections {
        let clients = (plan.connections - held).min(plan.per_process);
        let Script { protocol, authority, namespace, .. } = &to.script;
        let mut arguments: Vec<OsString> = vec!["holder".into()];
        for (name, value) in [
            ("--address", to.address.to_string()),
            ("--clients", clients.to_string()),
            ("--first", held.to_string()),
            ("--url", format!("http://{authority}")),
            ("--key", "unused".to_owned()),
            ("--namespace", namespace.clone()),
            ("--protocol", protocol.name.to_owned()),
            ("--concurrency", to.concurrency.to_string()),
        ] {
            arguments.extend([name.into(), value.into()]);
        }
        let mut holder = Child::start("connection holder", arguments)?;
        holder.hear()?;
        holders.push(holder);
        held += clients;
    }
    Ok(holders)
}

/// The process: connects `clients`, says so in a line, and serves them until its standard input ends.
pub(crate) fn run_holder(
    plan: &Plan,
    address: SocketAddr,
    clients: usize,
    first: usize,
) -> Result<(), BenchError> {
    let running = plan.running.as_ref();
    let to = Destination {
        address,
        script: Script {
            protocol: plan.protocol,
            authority: running.map_or_else(|| address.to_string(), |running| running.authority.clone()),
            namespace: plan.namespace.clone(),
            room: Some(super::ROOM.to_owned()),
            acks: false,
        },
        concurrency: plan.concurrency,
        patience: plan.patience,
    };
    let mut fleet = Fleet::new(to.script.clone(), first)?;
    match fleet.connect(&to, clients, &indicatif::ProgressBar::hidden()) {
        Ok(()) => println!("ok"),
        Err(error) => println!("error {error}"),
    }
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ = io::stdin().read_to_end(&mut Vec::new());
            ended.store(true, Ordering::Relaxed);
        });
        let mut tally = Tally::new(clients);
        while !ended.load(Ordering::Relaxed) {
            fleet.turn(Duration::from_millis(200), &mut tally)?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rest_is_ten_readings_that_agree() {
        let mib = 1024 * 1024;
        assert!(!at_rest(&[mib; 9]));
        assert!(at_rest(&[mib; 10]));
        let mut readings = vec![mib; 9];
        readings.push(2 * mib);
        assert!(!at_rest(&readings));
        readings.extend([2 * mib; 9]);
        assert!(at_rest(&readings));
    }
}
