//! The fan-out over several servers: each has a part of the clients, and every push goes to each of them.
//!
//! There is no floor beside it and no counting by headers: clients are in several processes, and time what they get by
//! the moment that it carries.

use std::time::Duration;

use serde::Serialize;

use super::super::{Books, ROOM, addresses, assignment};
use crate::{
    args::{Durability, Plan},
    clock,
    crew::{Crew, split},
    error::BenchError,
    fleet::FIRST_NUMBER,
    progress,
    publisher::To,
    report::{Row, Section},
    server::Server,
    source::{Pace, Source, drive, finish},
    tally::median,
};

#[derive(Debug, Serialize)]
struct Figures {
    connections: usize,
    servers: usize,
    in_flight: usize,
    /// Deliveries a second, one entry a round.
    single: Vec<f64>,
    many: Vec<f64>,
    single_cpu_per_million: Option<f64>,
    many_cpu_per_million: Option<f64>,
    expected: u64,
    received: u64,
}

/// Connects everybody, then pushes in rounds.
pub(super) fn run(
    plan: &Plan,
    connections: usize,
    rounds: usize,
    servers: &[Server],
) -> Result<Section, BenchError> {
    let Some(first) = servers.first() else { return Err(BenchError::Arguments("there is no server".into())) };
    let mut assignment = assignment(plan, first);
    assignment.addresses = addresses(servers);
    let processes = plan.processes.max(servers.len());
    let mut crew = Crew::start(&assignment, &split(connections, processes, plan.per_process))?;
    crew.connect(connections, &progress::bar("fan-out: connecting", connections as u64))?;
    let durability = plan.durability_or(Durability::Memory);
    let source = |server: &Server| {
        Source::new(server.poster(plan, durability), 1, FIRST_NUMBER, 0, |_| To::Room(ROOM.to_owned()))
    };
    let sources = servers.iter().map(source).collect::<Result<Vec<_>, _>>()?;
    let mut run = Run { crew, sources, servers, connections, books: Books::new(plan, first), received: 0 };
    let bar = progress::bar("fan-out: rounds", 2 * rounds as u64);
    let (single, single_cpu) = run.series(rounds, 1, &bar)?;
    let (many, many_cpu) = run.series(rounds, plan.in_flight, &bar)?;
    bar.finish_and_clear();
    let figures = Figures {
        connections,
        servers: servers.len(),
        in_flight: plan.in_flight,
        single,
        many,
        single_cpu_per_million: single_cpu,
        many_cpu_per_million: many_cpu,
        expected: (rounds * (1 + plan.in_flight) * connections) as u64,
        received: run.received,
    };
    Ok(section(plan, &figures))
}

struct Run<'a> {
    crew: Crew,
    sources: Vec<Source>,
    servers: &'a [Server],
    connections: usize,
    books: Books,
    received: u64,
}

impl Run<'_> {
    /// Rounds of `window` pushes at once; answers the deliveries a second of each, and CPU seconds for a million.
    fn series(
        &mut self,
        rounds: usize,
        window: usize,
        bar: &indicatif::ProgressBar,
    ) -> Result<(Vec<f64>, Option<f64>), BenchError> {
        let before = self.cpu()?;
        let mut rates = Vec::new();
        for _ in 0..rounds {
            rates.push(self.round(window)?);
            bar.inc(1);
        }
        let deliveries = (rounds * window * self.connections) as f64;
        let cpu = self.cpu()?.zip(before).map(|(after, before)| (after - before) * 1e6 / deliveries);
        Ok((rates, cpu))
    }

    fn cpu(&self) -> Result<Option<f64>, BenchError> {
        let all: Result<Vec<Option<f64>>, _> = self.servers.iter().map(Server::cpu_seconds).collect();
        Ok(all?.into_iter().sum())
    }

    fn round(&mut self, window: usize) -> Result<f64, BenchError> {
        let begun = clock::now();
        for source in &mut self.sources {
            source.begin(Pace::Closed, window, window as u64);
        }
        let mut sources: Vec<&mut Source> = self.sources.iter_mut().collect();
        let mut sent = false;
        // One turn sends all of it: a window is one call.
        drive(&mut sources, || Ok(std::mem::replace(&mut sent, true)))?;
        finish(&mut sources)?;
        let Some(one) = self.sources.first() else { return Ok(0.0) };
        let heard = self.books.balance(one, self.connections as u64, &mut self.crew, "fan-out")?;
        self.received += heard.received;
        let took = Duration::from_nanos(heard.last.saturating_sub(begun).max(1));
        Ok(heard.received as f64 / took.as_secs_f64())
    }
}

fn section(plan: &Plan, figures: &Figures) -> Section {
    let mut section = Section::new("fanout", figures);
    let Figures { connections, servers, in_flight, expected, received, .. } = figures;
    let at_once = format!("{in_flight} in flight");
    section.row(Row::of("1 in flight: deliveries/s", median(&figures.single)));
    section.row(Row::of(format!("{at_once}: deliveries/s"), median(&figures.many)));
    section.row(Row::of("1 in flight: CPU s per M deliveries", figures.single_cpu_per_million));
    section.row(Row::of(format!("{at_once}: CPU s per M deliveries"), figures.many_cpu_per_million));
    section.note(format!(
        "{connections} connections ({}) at {servers} servers, every push to each of them; {expected} deliveries \
         expected, {received} received; medians of {} rounds",
        plan.protocol.about,
        figures.single.len()
    ));
    section
}
