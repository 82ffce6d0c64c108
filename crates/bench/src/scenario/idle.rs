//! Idle connections: how much memory of its own the server needs for each that is connected and subscribed, and how
//! much CPU time its heartbeats take.
//!
//! The memory is a slope between two counts, so that what the server needs anyway cancels out. Before each reading it
//! must have come to rest, which is watched rather than waited for.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{addresses, assignment, destination, with_servers};
use crate::{
    args::Plan,
    crew::{Crew, split},
    error::BenchError,
    fleet::Fleet,
    interrupt, progress,
    report::{Row, Section, Table},
    server::Server,
    worker::Order,
};

/// Connections, where nothing else is said.
const CONNECTIONS: usize = 10_000;
/// Connections from which on the targets hold.
const JUDGED_FROM: usize = 10_000;
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
/// CPU time of a connection in a second that is the target, in microseconds.
const CPU_US: f64 = 2.0;

/// What can be asked of this scenario.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Seconds for which the CPU time is watched; the server's heartbeats come every 25
    #[arg(long, default_value_t = 25.0, value_name = "S")]
    watch: f64,
    /// Several sizes, as in 1000,5000,10000,19000, instead of one
    #[arg(long, value_delimiter = ',', value_name = "N", conflicts_with = "connections")]
    curve: Vec<usize>,
}

impl Default for Options {
    fn default() -> Self {
        Self { watch: 25.0, curve: Vec::new() }
    }
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Figures {
    connections: usize,
    servers: usize,
    /// Anonymous memory of the server before the first connection, in bytes; nothing when its process is not known.
    start_bytes: Option<u64>,
    /// The same at the upper end.
    bytes: Option<u64>,
    /// The slope between the lowest and the highest size: bytes for each connection.
    bytes_per_connection: Option<f64>,
    /// CPU time of a connection in a second at the upper end, in microseconds.
    cpu_us: Option<f64>,
    /// False when the memory had not come to rest at one of the sizes.
    settled: bool,
    /// Clients connected for each second between the two ends.
    connects_per_second: f64,
    sizes: Vec<Size>,
}

/// One size.
#[derive(Debug, Serialize)]
struct Size {
    connections: usize,
    bytes: Option<u64>,
    settled: bool,
    cpu_us: Option<f64>,
}

/// Measures with the servers of the plan.
pub(crate) fn measure(plan: &Plan, options: &Options) -> Result<Section, BenchError> {
    let connections = match options.curve.iter().max() {
        Some(most) => *most,
        None => plan.connections_or(CONNECTIONS)?,
    };
    with_servers(plan, |servers| run(plan, options, connections, servers))
}

/// Connects to one size after the other, and reads memory and CPU time at each.
fn run(
    plan: &Plan,
    options: &Options,
    connections: usize,
    servers: &[Server],
) -> Result<Section, BenchError> {
    let base = BASE.min(connections / 2);
    let mut sizes = if options.curve.is_empty() { vec![base, connections] } else { options.curve.clone() };
    sizes.sort_unstable();
    let Some(first) = servers.first() else { return Err(BenchError::Arguments("there is no server".into())) };
    let mut assignment = assignment(plan, first);
    (assignment.addresses, assignment.stamped) = (addresses(servers), false);
    let mut crew = Crew::start(&assignment, &split(connections, plan.processes, plan.per_process))?;
    let start_bytes = bytes(servers)?;
    let mut found = Vec::new();
    let mut connects_per_second = 0.0;
    let mut before = 0;
    for size in sizes {
        let done = crew.connect(size, &progress::bar("idle: connecting", size as u64))?;
        connects_per_second = size.saturating_sub(before) as f64 / done.seconds;
        let (bytes, settled) = settle(servers, |left| {
            thread::sleep(left);
            interrupt::check()
        })?;
        let watched = !options.curve.is_empty() || size == connections;
        let cpu_us = if watched { watch(plan, options, size, servers)? } else { None };
        found.push(Size { connections: size, bytes, settled, cpu_us });
        before = size;
    }
    let done = crew.ask(&Order::Report)?;
    if done.ready != connections {
        let text = format!("idle: {} of {connections} are still connected\n  ", done.ready);
        return Err(BenchError::Lost(text + &done.broken.join("\n  ")));
    }
    let slope = found.first().zip(found.last()).and_then(|(low, high)| {
        let more = (high.connections - low.connections) as f64;
        Some((high.bytes? as f64 - low.bytes? as f64) / more).filter(|_| more > 0.0)
    });
    let last = found.last();
    let figures = Figures {
        connections,
        servers: servers.len(),
        start_bytes,
        bytes: last.and_then(|last| last.bytes),
        bytes_per_connection: slope,
        cpu_us: last.and_then(|last| last.cpu_us),
        settled: found.iter().all(|size| size.settled),
        connects_per_second,
        sizes: found,
    };
    Ok(section(plan, options, &figures))
}

/// CPU time of the servers for each of `connections` and second, in microseconds.
fn watch(
    plan: &Plan,
    options: &Options,
    connections: usize,
    servers: &[Server],
) -> Result<Option<f64>, BenchError> {
    let duration = plan.seconds(options.watch);
    let Some(before) = cpu(servers)? else { return Ok(None) };
    let bar = progress::bar("idle: watching", 100);
    let begin = Instant::now();
    while begin.elapsed() < duration {
        interrupt::check()?;
        thread::sleep(READING);
        bar.set_position((begin.elapsed().as_secs_f64() / duration.as_secs_f64() * 100.0) as u64);
    }
    bar.finish_and_clear();
    let used = cpu(servers)?.map_or(0.0, |after| after - before);
    Ok(Some(used * 1e6 / begin.elapsed().as_secs_f64() / connections as f64))
}

fn cpu(servers: &[Server]) -> Result<Option<f64>, BenchError> {
    let all: Result<Vec<Option<f64>>, _> = servers.iter().map(Server::cpu_seconds).collect();
    Ok(all?.into_iter().sum())
}

fn bytes(servers: &[Server]) -> Result<Option<u64>, BenchError> {
    let all: Result<Vec<Option<u64>>, _> = servers.iter().map(Server::anonymous_bytes).collect();
    Ok(all?.into_iter().sum())
}

/// Waits until the servers' memory has come to rest; answers it and whether it has. Meanwhile `serve` is called again
/// and again for a while.
fn settle(
    servers: &[Server],
    mut serve: impl FnMut(Duration) -> Result<(), BenchError>,
) -> Result<(Option<u64>, bool), BenchError> {
    let begin = Instant::now();
    let mut readings: Vec<u64> = Vec::new();
    loop {
        let next = Instant::now() + READING;
        while let Some(left) = next.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            serve(left)?;
        }
        let Some(bytes) = bytes(servers)? else { return Ok((None, true)) };
        readings.push(bytes);
        if at_rest(&readings) {
            return Ok((Some(bytes), true));
        }
        if begin.elapsed() > SETTLE_MAX {
            return Ok((Some(bytes), false));
        }
    }
}

/// Memory between two sizes.
#[derive(Debug, Serialize)]
pub(crate) struct Memory {
    /// Connections at the lower end.
    base_connections: usize,
    /// Connections at the upper end.
    connections: usize,
    /// Anonymous memory of the server at the lower end, in bytes; nothing when its process is not known.
    base_bytes: Option<u64>,
    /// The same at the upper end.
    bytes: Option<u64>,
    /// The slope: bytes for each connection.
    pub bytes_per_connection: Option<f64>,
    /// False when the memory had not come to rest at one of the ends.
    settled: bool,
}

/// Memory alone, with clients that this process holds itself; they are answered as well.
pub(super) fn memory(
    plan: &Plan,
    connections: usize,
    server: &Server,
) -> Result<(Memory, Fleet), BenchError> {
    let servers = std::slice::from_ref(server);
    let base_connections = BASE.min(connections / 2);
    let to = destination(plan, server);
    let bar = progress::bar("idle: connecting", connections as u64);
    let mut fleet = Fleet::new(to.script.clone(), 0)?;
    fleet.connect(&to, base_connections, |ready| bar.set_position(ready as u64))?;
    let (base_bytes, base_settled) = settle(servers, |left| fleet.turn(left, None))?;
    fleet.connect(&to, connections, |ready| bar.set_position(ready as u64))?;
    bar.finish_and_clear();
    let (bytes, settled) = settle(servers, |left| fleet.turn(left, None))?;
    if fleet.is_broken() {
        return Err(BenchError::Lost(format!("idle: {}", fleet.faults(0).join("\n  "))));
    }
    let more = (connections - base_connections) as f64;
    let slope = bytes.zip(base_bytes).map(|(upper, lower)| (upper as f64 - lower as f64) / more);
    let settled = base_settled && settled;
    let memory =
        Memory { base_connections, connections, base_bytes, bytes, bytes_per_connection: slope, settled };
    Ok((memory, fleet))
}

fn at_rest(readings: &[u64]) -> bool {
    let last = readings.last_chunk::<READINGS>();
    last.is_some_and(|last| {
        let (low, high) = last.iter().fold((u64::MAX, 0), |(low, high), &x| (low.min(x), high.max(x)));
        high - low <= AGREEMENT_BYTES.max(high / 500)
    })
}

fn section(plan: &Plan, options: &Options, figures: &Figures) -> Section {
    let mut section = Section::new("idle", figures);
    let Figures { connections, servers, sizes, settled, .. } = figures;
    let judge = |met: bool| Some(met).filter(|_| *connections >= JUDGED_FROM);
    let slope = figures.bytes_per_connection;
    let mut row = Row::of("idle: server memory, bytes/connection", slope);
    if let Some(target) = plan.protocol.idle_bytes {
        let met = slope.and_then(|slope| judge(slope <= target));
        row = row.with_target(&format!("≤ {target}"), met);
    }
    section.row(row);
    let met = figures.cpu_us.and_then(|cpu| judge(cpu <= CPU_US));
    section.row(Row::of("idle: server CPU, µs/s per connection", figures.cpu_us).with_target("≤ 2", met));
    if !options.curve.is_empty() {
        section.table(table(sizes));
    }
    let (low, about) = (sizes.first().map_or(0, |size| size.connections), plan.protocol.about);
    section.note(match slope {
        None => format!("idle: {connections} connections ({about}); memory and CPU time are not known: give --pid"),
        Some(_) => format!(
            "idle: {servers} server(s); RssAnon, slope between {low} and {connections} connections ({about}); CPU \
             time over {:.0} s",
            plan.seconds(options.watch).as_secs_f64()
        ),
    });
    if *connections < JUDGED_FROM {
        section.note(format!("no verdicts: the targets hold from {JUDGED_FROM} connections on"));
    }
    if !settled {
        section.note("idle memory had NOT come to rest when it was read");
    }
    section
}

/// Memory beside the size before, so that a cost that grows with the number shows.
fn table(sizes: &[Size]) -> Table {
    let mut lines = Vec::new();
    let mut before: Option<&Size> = None;
    for size in sizes {
        let slope = before.and_then(|before| {
            let more = (size.connections - before.connections) as f64;
            Some((size.bytes? as f64 - before.bytes? as f64) / more)
        });
        let mib = size.bytes.map_or(0.0, |bytes| bytes as f64 / 1024.0 / 1024.0);
        let cpu = size.cpu_us.unwrap_or_default();
        lines.push(vec![size.connections as f64, mib, slope.unwrap_or_default(), cpu]);
        before = Some(size);
    }
    Table {
        title: "Idle, by connections (bytes: slope from the line before)".to_owned(),
        columns: ["connections", "MiB", "bytes/connection", "CPU µs/s per connection"]
            .map(str::to_owned)
            .into(),
        lines,
    }
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
