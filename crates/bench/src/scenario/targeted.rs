//! Many small pushes, each to one user: from the call of the backend to the frame at the client.
//!
//! First the ceiling (closed loop: as many as the answers allow), by single calls and by batches. Then the open loop:
//! pushes at a steady rate whatever the server does, and their latency from the moment when each was due. At last the
//! ceiling once more when all users have gone, so that neither writing to them nor what they do themselves takes part.

use std::{path::PathBuf, time::Duration};

use serde::Serialize;

use super::{Books, assignment, gone, linger};
use crate::{
    args::{Durability, Plan},
    clock,
    crew::{Crew, split},
    error::BenchError,
    fleet::{FIRST_NUMBER, user},
    plot::{Line, Plot},
    process, progress,
    publisher::To,
    report::{Row, Section, Table},
    server::Server,
    source::{Pace, Source, drive_for},
    tally::Percentiles,
    worker::Order,
};

/// Users, where nothing else is said.
const USERS: usize = 1_000;
/// Pushes a second that single calls are to reach.
const SINGLE_RATE: f64 = 20_000.0;
/// Pushes a second that batches are to reach.
const BATCH_RATE: f64 = 100_000.0;
/// Batch calls under way at once: few, so that each is full.
const BATCH_CALLS: usize = 4;
/// Rates of the open loop as parts of the ceiling, where nothing else is said.
const PARTS: [f64; 8] = [0.1, 0.25, 0.4, 0.55, 0.7, 0.8, 0.9, 1.0];
/// The part for which the common table shows latencies.
const SHOWN: f64 = 0.5;
/// Part of an intended rate that must be reached for it to count as kept up with.
const KEPT_UP: f64 = 0.98;
/// Bytes of a frame that are not the filling, roughly.
const FRAME_OVERHEAD: usize = 190;

/// What can be asked of this scenario.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Pushes a second in the open loop; several separated by commas [default: parts of the ceiling]
    #[arg(long, visible_alias = "rate", value_delimiter = ',', value_name = "N")]
    rates: Vec<f64>,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 4.0, value_name = "S")]
    duration: f64,
    /// HTTP connections of the backend
    #[arg(long, default_value_t = 256)]
    lines: usize,
    /// Pushes in a batch call
    #[arg(long, default_value_t = 500)]
    batch: usize,
    /// In the open loop, hand over what is due together in one call
    #[arg(long)]
    batched: bool,
    /// Draw the latency over the load into this file, as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self { rates: Vec::new(), duration: 3.0, lines: 256, batch: 500, batched: false, plot: None }
    }
}

#[derive(Debug, Serialize)]
struct Figures {
    users: usize,
    lines: usize,
    single: Measured,
    batch: Option<Measured>,
    open: Vec<Measured>,
    /// When all users have gone.
    away: Option<Away>,
    accepted: u64,
    received: u64,
}

/// What one measurement led to.
#[derive(Debug, Clone, Serialize)]
struct Measured {
    /// Pushes a second that were meant to be; nothing in the closed loop.
    intended: Option<f64>,
    /// Messages received for each second, from the first push to the last frame.
    rate: f64,
    pushes: u64,
    /// From the intended start to the frame at the client.
    latency: Percentiles,
    /// From the intended start to the answer to the backend.
    answer: Percentiles,
    server_cpu_per_push_us: Option<f64>,
    bench_cpu_seconds: f64,
}

/// What pushes led to that were for nobody who was there.
#[derive(Debug, Serialize)]
struct Away {
    single: Stored,
    batch: Option<Stored>,
}

/// Pushes that were accepted, and nothing else.
#[derive(Debug, Clone, Serialize)]
struct Stored {
    /// For each second, from the first push to the last answer.
    rate: f64,
    pushes: u64,
    server_cpu_per_push_us: Option<f64>,
}

struct Run<'a> {
    server: &'a Server,
    crew: Crew,
    source: Source,
    books: Books,
    received: u64,
}

/// Connects the users, looks for the ceiling, then goes through the rates.
pub(crate) fn run(plan: &Plan, options: &Options, server: &Server) -> Result<Section, BenchError> {
    let users = plan.connections_or(USERS)?;
    let mut assignment = assignment(plan, server);
    (assignment.room, assignment.users, assignment.distinct) = (None, true, true);
    let name = assignment.run.clone();
    let mut crew = Crew::start(&assignment, &split(users, plan.processes, plan.per_process))?;
    crew.connect(users, &progress::bar("targeted: connecting", users as u64))?;
    let to = move |number: u64| To::User(user(&name, usize::try_from(number).unwrap_or(0) % users));
    let poster = server.poster(plan, plan.durability_or(Durability::Durable));
    let filling = plan.frame_bytes.saturating_sub(FRAME_OVERHEAD);
    let lines = options.lines.clamp(1, plan.per_process);
    let source = Source::new(poster, lines, FIRST_NUMBER, filling, to)?;
    let mut run = Run { server, crew, source, books: Books::new(plan, server).of_single(), received: 0 };
    let duration = plan.seconds(options.duration);
    let steps = 2 + options.rates.len().max(PARTS.len()) as u64;
    let bar = progress::bar("targeted", steps);
    run.measure(Pace::Closed, 1, duration / 4)?;
    let single = run.measure(Pace::Closed, 1, duration)?;
    bar.inc(1);
    run.source.limit_calls(BATCH_CALLS.min(lines));
    let batch =
        plan.publisher.batches.then(|| run.measure(Pace::Closed, options.batch, duration)).transpose()?;
    run.source.limit_calls(lines);
    bar.inc(1);
    let rates = match options.rates.as_slice() {
        [] => PARTS.iter().map(|part| round(part * single.rate)).collect(),
        rates => rates.to_vec(),
    };
    let most = if options.batched { options.batch } else { 1 };
    let mut open = Vec::new();
    for rate in rates {
        open.push(run.measure(Pace::Open(rate), most, duration)?);
        bar.inc(1);
    }
    linger(&mut run.crew)?;
    let (accepted, received) = (run.source.accepted(), run.received);
    // Sessions of polling outlive their connections.
    let goes = plan.protocol.name != "polling";
    let away = goes.then(|| run.away(plan, options, duration)).transpose()?;
    bar.finish_and_clear();
    let figures = Figures { users, lines, single, batch, open, away, accepted, received };
    if let Some(path) = &options.plot {
        plot(&figures, options).write(path)?;
    }
    Ok(section(plan, options, &figures))
}

/// Two digits are enough for a rate.
fn round(rate: f64) -> f64 {
    let step = 10_f64.powf((rate.max(1.0).log10() - 1.0).floor()).max(1.0);
    (rate / step).round().max(1.0) * step
}

impl Run<'_> {
    fn measure(&mut self, pace: Pace, batch: usize, duration: Duration) -> Result<Measured, BenchError> {
        let own = std::process::id();
        let (server_cpu, own_cpu) = (self.server.cpu_seconds()?, process::cpu_seconds(own)?);
        let pushed = self.source.total();
        let begun = clock::now();
        self.source.begin(pace, batch, u64::MAX);
        drive_for(&mut [&mut self.source], duration)?;
        let heard = self.books.balance(&self.source, 1, &mut self.crew, "targeted")?;
        let pushes = self.source.total() - pushed;
        let server_cpu = self.server.cpu_seconds()?.zip(server_cpu).map(|(after, before)| after - before);
        self.received += heard.received;
        let seconds = heard.last.saturating_sub(begun).max(1) as f64 / 1e9;
        Ok(Measured {
            intended: match pace {
                Pace::Open(rate) => Some(rate),
                Pace::Closed => None,
            },
            rate: heard.received as f64 / seconds,
            pushes,
            latency: Percentiles::of(&heard.histogram()),
            answer: Percentiles::of(&self.source.take_answers()),
            server_cpu_per_push_us: server_cpu.map(|cpu| cpu * 1e6 / pushes.max(1) as f64),
            bench_cpu_seconds: process::cpu_seconds(own)? - own_cpu,
        })
    }

    /// Has all users go, and looks for the ceiling then.
    fn away(&mut self, plan: &Plan, options: &Options, duration: Duration) -> Result<Away, BenchError> {
        self.crew.ask(&Order::Drop)?;
        gone(self.server)?;
        let single = self.store(1, duration)?;
        self.source.limit_calls(BATCH_CALLS.min(options.lines.clamp(1, plan.per_process)));
        let batch = plan.publisher.batches.then(|| self.store(options.batch, duration)).transpose()?;
        Ok(Away { single, batch })
    }

    /// Pushes as fast as they are accepted.
    fn store(&mut self, batch: usize, duration: Duration) -> Result<Stored, BenchError> {
        let cpu = self.server.cpu_seconds()?;
        let (accepted, begun) = (self.source.accepted(), clock::now());
        self.source.begin(Pace::Closed, batch, u64::MAX);
        drive_for(&mut [&mut self.source], duration)?;
        let seconds = clock::now().saturating_sub(begun).max(1) as f64 / 1e9;
        let pushes = self.source.accepted() - accepted;
        let cpu = self.server.cpu_seconds()?.zip(cpu).map(|(after, before)| after - before);
        Ok(Stored {
            rate: pushes as f64 / seconds,
            pushes,
            server_cpu_per_push_us: cpu.map(|cpu| cpu * 1e6 / pushes.max(1) as f64),
        })
    }
}

fn section(plan: &Plan, options: &Options, figures: &Figures) -> Section {
    let mut section = Section::new("targeted", figures);
    let Figures { users, lines, single, batch, open, away, accepted, received } = figures;
    let durable = plan.durability_or(Durability::Durable) == Durability::Durable;
    let judge = |met: bool| Some(met).filter(|_| durable && !plan.quick);
    section.row(
        Row::of("targeted: single calls, pushes/s", Some(single.rate))
            .with_target("≥ 20 k", judge(single.rate >= SINGLE_RATE)),
    );
    if let Some(batch) = batch {
        section.row(
            Row::of("targeted: batch calls, pushes/s", Some(batch.rate))
                .with_target("≥ 100 k", judge(batch.rate >= BATCH_RATE)),
        );
        section.row(Row::of("targeted: batch calls, server CPU µs/push", batch.server_cpu_per_push_us));
    }
    section.row(Row::of("targeted: single calls, server CPU µs/push", single.server_cpu_per_push_us));
    let calls = away.as_ref().map(|away| ("single", &away.single, "≥ 20 k", SINGLE_RATE));
    let batches = away.as_ref().and_then(|away| away.batch.as_ref());
    let batches = batches.map(|batch| ("batch", batch, "≥ 100 k", BATCH_RATE));
    for (calls, stored, target, least) in calls.into_iter().chain(batches) {
        section.row(
            Row::of(format!("targeted: users away, {calls} calls, pushes/s"), Some(stored.rate))
                .with_target(target, judge(stored.rate >= least)),
        );
        let cpu = stored.server_cpu_per_push_us;
        section.row(Row::of(format!("targeted: users away, {calls} calls, server CPU µs/push"), cpu));
    }
    let near = |measured: &&Measured| (measured.intended.unwrap_or(0.0) / single.rate - SHOWN).abs();
    if let Some(half) = open.iter().min_by(|one, other| near(one).total_cmp(&near(other))) {
        let rate = half.intended.unwrap_or_default();
        for (name, value) in
            [("p50", half.latency.p50), ("p99", half.latency.p99), ("p99.9", half.latency.p999)]
        {
            section.row(Row::of(format!("targeted: latency {name} at {rate:.0}/s, ms"), Some(value)));
        }
    }
    section.table(table(open));
    section.note(format!(
        "targeted: {users} users with one connection each, {lines} HTTP connections ({BATCH_CALLS} for batches of {}), \
         durability \"{}\"; {accepted} pushes accepted, {received} messages \
         received by those who were there, none lost or doubled",
        options.batch,
        plan.durability_or(Durability::Durable).word()
    ));
    section
}

fn table(open: &[Measured]) -> Table {
    let columns = [
        "intended/s",
        "received/s",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "max ms",
        "answer p99 ms",
        "CPU µs/push",
    ];
    let lines = open.iter().map(|measured| {
        let Measured { intended, rate, latency, answer, server_cpu_per_push_us, .. } = measured;
        let cpu = server_cpu_per_push_us.unwrap_or_default();
        vec![
            intended.unwrap_or_default(),
            *rate,
            latency.p50,
            latency.p99,
            latency.p999,
            latency.max,
            answer.p99,
            cpu,
        ]
    });
    Table {
        title: "Targeted, open loop: latency from the moment when a push was due to the frame at the client"
            .to_owned(),
        columns: columns.map(str::to_owned).into(),
        lines: lines.collect(),
    }
}

fn plot(figures: &Figures, options: &Options) -> Plot {
    let line = |name: &str, of: fn(&Percentiles) -> f64| Line {
        name: name.to_owned(),
        points: figures.open.iter().map(|m| (m.intended.unwrap_or_default(), of(&m.latency))).collect(),
    };
    let late = figures.open.iter().find(|m| m.rate < KEPT_UP * m.intended.unwrap_or_default());
    let how = if options.batched { "in batches" } else { "by single calls" };
    Plot {
        title: "Latency over load".to_owned(),
        subtitle: format!("durable pushes to one user each, {how}, {} users, open loop", figures.users),
        x: "pushes per second".to_owned(),
        y: "call to frame, ms".to_owned(),
        lines: vec![
            line("p50", |latency| latency.p50),
            line("p99", |latency| latency.p99),
            line("p99.9", |latency| latency.p999),
        ],
        limit: late.and_then(|measured| measured.intended),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_two_digits() {
        let check =
            |rate, expected: f64| assert!((round(rate) - expected).abs() < 1e-6, "{rate}: {}", round(rate));
        check(23_456.0, 23_000.0);
        check(987.0, 990.0);
        check(12.4, 12.0);
        check(0.3, 1.0);
    }
}
