//! Devices come back for what they missed: everything, in order, without a gap.

use std::time::Instant;

use serde::Serialize;

use super::{Books, ROOM, assignment, gone};
use crate::{
    args::{Durability, Plan},
    crew::{Crew, split},
    error::BenchError,
    fleet::FIRST_NUMBER,
    progress,
    publisher::To,
    report::{Row, Section},
    server::Server,
    source::{Source, push_all},
    tally::median,
    worker::Order,
};

/// Devices, where nothing else is said.
const DEVICES: usize = 5_000;
/// Devices a second that are the target, with 100 messages each.
const DEVICES_RATE: f64 = 2_000.0;
/// Messages for which the target holds.
const MESSAGES: usize = 100;
/// Devices from which on the target holds.
const JUDGED_FROM: usize = 1_000;

/// What can be asked of this scenario.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Messages that each device missed
    #[arg(long, default_value_t = MESSAGES, value_name = "N")]
    missed: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { missed: MESSAGES }
    }
}

#[derive(Debug, Serialize)]
struct Figures {
    devices: usize,
    missed: usize,
    /// One entry a round.
    devices_per_second: Vec<f64>,
    /// Their median.
    rate: f64,
    server_cpu_per_device_us: Option<f64>,
    accepted: u64,
    expected: u64,
    received: u64,
}

/// Everybody joins a room and goes; messages come; everybody comes back, several times (nothing is acknowledged, so
/// that every time all of it is missed).
pub(crate) fn run(plan: &Plan, options: &Options, server: &Server) -> Result<Section, BenchError> {
    if plan.protocol.name == "polling" {
        let what = "--protocol polling: its sessions outlive their connections, so that nobody comes back";
        return Err(BenchError::Arguments(what.to_owned()));
    }
    let devices = plan.connections_or(DEVICES)?;
    let rounds = plan.rounds_or(3);
    let parts = split(devices, plan.processes, plan.per_process);
    let mut assignment = assignment(plan, server);
    let mut members = Crew::start(&assignment, &parts)?;
    members.connect(devices, &progress::bar("resume: joining", devices as u64))?;
    members.ask(&Order::Drop)?;
    drop(members);
    gone(server)?;

    let missed = options.missed.max(1) as u64;
    let poster = server.poster(plan, plan.durability_or(Durability::Durable));
    let mut source = Source::new(poster, 1, FIRST_NUMBER, 0, |_| To::Room(ROOM.to_owned()))?;
    push_all(&mut source, options.missed, missed)?;

    (assignment.room, assignment.in_order_from) = (None, Some(FIRST_NUMBER));
    let mut crew = Crew::start(&assignment, &parts)?;
    let bar = progress::bar("resume: coming back", rounds as u64);
    let mut rates = Vec::new();
    let (mut received, cpu) = (0, server.cpu_seconds()?);
    for _ in 0..rounds {
        let begin = Instant::now();
        crew.order_connect(devices)?;
        crew.wait()?;
        let mut books = Books::new(plan, server);
        let heard = books.balance(&source, devices as u64, &mut crew, "resume")?;
        rates.push(devices as f64 / begin.elapsed().as_secs_f64());
        received += heard.received;
        crew.ask(&Order::Drop)?;
        gone(server)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    let cpu = server.cpu_seconds()?.zip(cpu).map(|(after, before)| after - before);
    let figures = Figures {
        devices,
        missed: options.missed,
        rate: median(&rates).unwrap_or_default(),
        devices_per_second: rates,
        server_cpu_per_device_us: cpu.map(|cpu| cpu * 1e6 / (devices * rounds) as f64),
        accepted: source.accepted(),
        expected: missed * (devices * rounds) as u64,
        received,
    };
    Ok(section(plan, &figures))
}

fn section(plan: &Plan, figures: &Figures) -> Section {
    let mut section = Section::new("resume", figures);
    let Figures { devices, missed, rate, accepted, expected, received, .. } = figures;
    let judged = *missed == MESSAGES && *devices >= JUDGED_FROM;
    let name = format!("resume: devices/s, {missed} missed messages each");
    let met = Some(*rate >= DEVICES_RATE).filter(|_| judged);
    section.row(Row::of(name, Some(*rate)).with_target("≥ 2 k", met));
    section.row(Row::of("resume: messages/s", Some(rate * *missed as f64)));
    section.row(Row::of("resume: server CPU µs/device", figures.server_cpu_per_device_us));
    section.note(format!(
        "resume: {devices} devices ({}), {} rounds, connecting included; {accepted} pushes accepted, {expected} \
         messages expected, {received} received, each device's in order and without a gap",
        plan.protocol.about,
        figures.devices_per_second.len()
    ));
    section
}
