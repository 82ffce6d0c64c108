//! How the figures of a fan-out are told.

use super::{Figures, Series};
use crate::{
    args::{Durability, Plan},
    report::{Row, Section, Table},
    tally::{Percentiles, spread},
};

/// Connections from which on the targets hold.
const JUDGED_FROM: usize = 10_000;
/// Part of the floor's rate that a fan-out of one push at a time must reach.
const SINGLE_OF_FLOOR: f64 = 0.9;
/// Deliveries a second with many pushes outstanding.
const MANY_RATE: f64 = 1.5e6;
/// How many times the rate of one push at a time that is, at least.
const MANY_TO_SINGLE: f64 = 12.0;
/// Spread of the floor between rounds from which on the report warns.
const RESTLESS: f64 = 0.25;
/// The latencies of the table; the JSON has more.
const LATENCIES: [&str; 4] = ["p50", "p90", "p99", "max"];

/// One size.
pub(super) fn one(plan: &Plan, figures: &Figures) -> Section {
    let mut section = Section::new("fanout", figures);
    let Figures { in_flight, fewer_frames, single, single_floor, many, many_floor, .. } = figures;
    // The targets are for plain WebSocket.
    let judged = figures.connections >= JUDGED_FROM && plan.protocol.name == "ws";
    let judge = |met: bool| Some(met).filter(|_| judged);
    let factor = many.rate / single.rate;
    let at_once = format!("{in_flight} in flight");
    section.row(
        Row::beside("1 in flight: deliveries/s", Some(single_floor.rate), Some(single.rate))
            .with_target("≥ 0.9 × floor", judge(single.rate >= SINGLE_OF_FLOOR * single_floor.rate)),
    );
    section.row(
        Row::beside(format!("{at_once}: deliveries/s"), Some(many_floor.rate), Some(many.rate))
            .with_target("≥ 1.5 M", judge(many.rate >= MANY_RATE)),
    );
    let fewer = Some(figures.many_floor_fewer.rate);
    section.row(Row::beside(format!("  floor: {fewer_frames} frames per write"), fewer, Some(many.rate)));
    let floor_factor = Some(many_floor.rate / single_floor.rate);
    section.row(
        Row::beside(format!("{at_once} ÷ 1 in flight"), floor_factor, Some(factor))
            .with_target("≥ 12", judge(factor >= MANY_TO_SINGLE)),
    );
    for (name, tidings, floor) in [("1 in flight", single, single_floor), (&at_once, many, many_floor)] {
        let name_of_cpu = format!("{name}: CPU s per M deliveries");
        section.row(Row::beside(name_of_cpu, floor.cpu_per_million, tidings.cpu_per_million));
        let (floor, tidings) = (latencies(floor), latencies(tidings));
        for (index, percentile) in LATENCIES.into_iter().enumerate() {
            let at = |of: &Option<[f64; LATENCIES.len()]>| of.map(|latencies| latencies[index]);
            section.row(Row::beside(format!("{name}: latency {percentile}, ms"), at(&floor), at(&tidings)));
        }
    }
    notes(plan, figures, &mut section);
    section
}

fn notes(plan: &Plan, figures: &Figures, section: &mut Section) {
    let Figures { connections, rounds, frame_bytes, samples, accepted, expected, received, .. } = figures;
    let durability = plan.durability_or(Durability::Memory);
    let ttl = plan.ttl.as_deref().unwrap_or("the server's default");
    section.note(format!(
        "fan-out: {connections} connections ({}); durability \"{}\"{}, ttl {ttl}; medians of {rounds} rounds, \
         alternating with the floor",
        plan.protocol.about,
        durability.word(),
        if durability == Durability::Memory { " (the disk is not in the way)" } else { "" },
    ));
    if *connections < JUDGED_FROM {
        section.note(format!("no verdicts: the targets hold from {JUDGED_FROM} connections on"));
    }
    section.note(format!(
        "frames of {frame_bytes} bytes; the floor is a bare send() loop with the same frame; latency is from the \
         intended start of the push"
    ));
    section.note(format!(
        "{accepted} pushes accepted, {expected} deliveries expected, {received} received; every connection counted, \
         {samples} read in full (each number once, in order)"
    ));
    if let Some(restless) = spread(&figures.single_floor.rates).filter(|spread| *spread > RESTLESS) {
        section.note(format!(
            "the floor itself moved by {:.0} % between rounds: the machine had other work, run it again",
            restless * 100.0
        ));
    }
    let (single, many) = (&figures.single, &figures.many);
    if let (Some(one), Some(many)) = (single.client_cpu_per_million, many.client_cpu_per_million) {
        section.note(format!(
            "receiving side: {one:.2} CPU s per M deliveries with 1 in flight, {many:.2} with {}",
            figures.in_flight
        ));
    }
}

fn latencies(series: &Series) -> Option<[f64; LATENCIES.len()]> {
    series.latency.map(|Percentiles { p50, p90, p99, max, .. }| [p50, p90, p99, max])
}

/// Several sizes in one table.
pub(super) fn curve(plan: &Plan, sizes: &[Figures]) -> Section {
    let mut section = Section::new("fanout", &serde_json::json!({ "sizes": sizes }));
    let columns = [
        "connections",
        "floor/s",
        "1 in flight/s",
        "ratio",
        "CPU s/M",
        "p99 ms",
        "floor, many/s",
        "many/s",
        "CPU s/M",
        "p99 ms",
    ];
    let p99 = |series: &Series| series.latency.map_or(0.0, |latency| latency.p99);
    let lines = sizes.iter().map(|size| {
        vec![
            size.connections as f64,
            size.single_floor.rate,
            size.single.rate,
            size.single.rate / size.single_floor.rate,
            size.single.cpu_per_million.unwrap_or_default(),
            p99(&size.single),
            size.many_floor.rate,
            size.many.rate,
            size.many.cpu_per_million.unwrap_or_default(),
            p99(&size.many),
        ]
    });
    section.table(Table {
        title: format!("Fan-out by connections, 1 and {} in flight", plan.in_flight),
        columns: columns.map(str::to_owned).into(),
        lines: lines.collect(),
    });
    if let Some(last) = sizes.last() {
        notes(plan, last, &mut section);
    }
    section
}
