//! What was measured, for people (a table) and for programs (JSON).

pub(crate) mod beside;

use std::{fmt::Write as _, fs, path::Path};

use serde::Serialize;

use crate::{
    args::{Plan, TARGET_CONNECTIONS},
    error::{BenchError, Doing},
    scenario::{fanout, idle},
    tally::{Percentiles, spread},
};

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

/// Everything about one run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Under what conditions the figures hold, in sentences.
    conditions: Vec<String>,
    rows: Vec<Row>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idle: Option<idle::Figures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fanout: Option<fanout::Figures>,
    /// The target for an idle connection.
    #[serde(skip)]
    idle_bytes: Option<f64>,
    #[serde(skip)]
    judged: bool,
}

/// One line of the table.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    floor: Option<f64>,
    tidings: Option<f64>,
    ratio: Option<f64>,
    target: Option<String>,
    /// Whether the target is met; nothing where there is none or the conditions are not those of the target.
    met: Option<bool>,
}

impl Row {
    /// A line with a floor and no target.
    fn beside(name: impl Into<String>, floor: Option<f64>, tidings: Option<f64>) -> Self {
        let ratio =
            tidings.zip(floor).filter(|(_, floor)| *floor > 0.0).map(|(tidings, floor)| tidings / floor);
        Self { name: name.into(), floor, tidings, ratio, target: None, met: None }
    }

    fn with_target(mut self, target: &str, met: Option<bool>) -> Self {
        self.target = Some(target.to_owned());
        self.met = met;
        self
    }
}

impl Report {
    /// An empty report that states the conditions of `plan`.
    pub(crate) fn new(plan: &Plan) -> Self {
        let mut conditions = vec![format!("{} connections ({})", plan.connections, plan.protocol.about)];
        if plan.fanout {
            let ttl = plan.ttl.as_deref().unwrap_or("the server's default");
            conditions.push(format!(
                "pushes with durability \"{}\"{}, ttl {ttl}; medians of {} rounds, alternating with the floor",
                plan.durability.word(),
                if plan.durability == crate::args::Durability::Memory { " (the disk is not in the way)" } else { "" },
                plan.rounds
            ));
        }
        let judged = plan.connections >= TARGET_CONNECTIONS;
        if !judged {
            conditions
                .push(format!("no verdicts: the targets hold from {TARGET_CONNECTIONS} connections on"));
        }
        Self {
            conditions,
            rows: Vec::new(),
            idle: None,
            fanout: None,
            idle_bytes: plan.protocol.idle_bytes,
            judged,
        }
    }

    /// Adds idle connections.
    pub(crate) fn add_idle(&mut self, figures: idle::Figures) {
        let slope = figures.bytes_per_connection;
        let mut row = Row::beside("idle: server memory, bytes/connection", None, slope);
        if let Some(target) = self.idle_bytes {
            let met = slope.map(|slope| slope <= target).filter(|_| self.judged);
            row = row.with_target(&format!("≤ {target}"), met);
        }
        self.rows.push(row);
        let (lower, upper) = (figures.base_connections, figures.connections);
        self.conditions.push(match slope {
            None => "the server's memory and CPU time are not known: give --pid".to_owned(),
            Some(_) => format!("idle memory: RssAnon, slope between {lower} and {upper} connections"),
        });
        if !figures.settled {
            self.conditions.push("idle memory had NOT come to rest when it was read".to_owned());
        }
        self.idle = Some(figures);
    }

    /// Adds the fan-out.
    pub(crate) fn add_fanout(&mut self, figures: fanout::Figures) {
        let fanout::Figures { in_flight, fewer_frames, single, single_floor, many, many_floor, .. } =
            &figures;
        let judge = |met: bool| Some(met).filter(|_| self.judged);
        let fewer = &figures.many_floor_fewer;
        let factor = many.rate / single.rate;
        let at_once = format!("{in_flight} in flight");
        let mut rows = vec![
            Row::beside("1 in flight: deliveries/s", Some(single_floor.rate), Some(single.rate))
                .with_target("≥ 0.9 × floor", judge(single.rate >= SINGLE_OF_FLOOR * single_floor.rate)),
            Row::beside(format!("{at_once}: deliveries/s"), Some(many_floor.rate), Some(many.rate))
                .with_target("≥ 1.5 M", judge(many.rate >= MANY_RATE)),
            Row::beside(
                format!("  floor: {fewer_frames} frames per write"),
                Some(fewer.rate),
                Some(many.rate),
            ),
            Row::beside(
                format!("{at_once} ÷ 1 in flight"),
                Some(many_floor.rate / single_floor.rate),
                Some(factor),
            )
            .with_target("≥ 12", judge(factor >= MANY_TO_SINGLE)),
        ];
        for (name, tidings, floor) in [("1 in flight", single, single_floor), (&at_once, many, many_floor)] {
            rows.push(Row::beside(
                format!("{name}: CPU s per M deliveries"),
                floor.cpu_per_million,
                tidings.cpu_per_million,
            ));
            let (floor, tidings) = (latencies(floor), latencies(tidings));
            for (index, percentile) in LATENCIES.into_iter().enumerate() {
                let at = |of: &Option<[f64; LATENCIES.len()]>| of.map(|latencies| latencies[index]);
                rows.push(Row::beside(format!("{name}: latency {percentile}, ms"), at(&floor), at(&tidings)));
            }
        }
        self.rows.append(&mut rows);
        self.describe_fanout(&figures);
        self.fanout = Some(figures);
    }

    fn describe_fanout(&mut self, figures: &fanout::Figures) {
        let fanout::Figures { frame_bytes, samples, accepted, expected, received, .. } = figures;
        self.conditions.push(format!(
            "frames of {frame_bytes} bytes; the floor is a bare send() loop with the same frame; latency is from the \
             intended start of the push"
        ));
        self.conditions.push(format!(
            "{accepted} pushes accepted, {expected} deliveries expected, {received} received; every connection \
             counted, {samples} read in full (each number once, in order)"
        ));
        if let Some(restless) = spread(&figures.single_floor.rates).filter(|spread| *spread > RESTLESS) {
            self.conditions.push(format!(
                "the floor itself moved by {:.0} % between rounds: the machine had other work, run it again",
                restless * 100.0
            ));
        }
        if let (Some(one), Some(many)) =
            (figures.single.client_cpu_per_million, figures.many.client_cpu_per_million)
        {
            self.conditions.push(format!(
                "receiving side: {one:.2} CPU s per M deliveries with 1 in flight, {many:.2} with {}",
                figures.in_flight
            ));
        }
    }

    /// The table, with the conditions below it.
    pub(crate) fn table(&self) -> String {
        let head = ["", "floor", "tidings", "ratio", "target", ""].map(str::to_owned);
        let mut lines = vec![head];
        for row in &self.rows {
            let met = match row.met {
                Some(true) => "met",
                Some(false) => "MISSED",
                None => "",
            };
            lines.push([
                row.name.clone(),
                row.floor.map_or_else(|| "–".to_owned(), number),
                row.tidings.map_or_else(|| "–".to_owned(), number),
                row.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
                row.target.clone().unwrap_or_default(),
                met.to_owned(),
            ]);
        }
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; 5] = std::array::from_fn(width);
        let mut text = String::new();
        for [name, floor, tidings, ratio, target, met] in &lines {
            let [a, b, c, d, e] = widths;
            let line = format!("{name:a$}  {floor:>b$}  {tidings:>c$}  {ratio:>d$}  {target:e$}  {met}");
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{}", line.trim_end());
        }
        text.push('\n');
        for condition in &self.conditions {
            let _ = writeln!(text, "* {condition}");
        }
        text
    }
}

/// Writes everything that `report` knows, single rounds included, to `path`.
pub(crate) fn write_json(path: &Path, report: &impl Serialize) -> Result<(), BenchError> {
    let doing = format!("writing {}", path.display());
    let text = serde_json::to_string_pretty(report).map_err(std::io::Error::from).doing(&doing)?;
    fs::write(path, text + "\n").doing(&doing)
}

fn latencies(series: &fanout::Series) -> Option<[f64; LATENCIES.len()]> {
    series.latency.map(|Percentiles { p50, p90, p99, max, .. }| [p50, p90, p99, max])
}

/// An error when `path` cannot be written, before the time for a run is spent.
pub(crate) fn check_writable(path: &Path) -> Result<(), BenchError> {
    let opened = fs::OpenOptions::new().append(true).create(true).open(path);
    opened.map(drop).map_err(|error| BenchError::Arguments(format!("--json {}: {error}", path.display())))
}

/// A figure with about three digits: 1.94 M, 109 k, 982, 7.31.
fn number(value: f64) -> String {
    match value.abs() {
        x if x >= 1e6 => format!("{:.2} M", value / 1e6),
        x if x >= 1e5 => format!("{:.0} k", value / 1e3),
        x if x >= 1e4 => format!("{:.1} k", value / 1e3),
        x if x >= 100.0 => format!("{value:.0}"),
        x if x >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_about_three_digits() {
        let check = |value, text: &str| assert_eq!(number(value), text);
        check(1_940_000.0, "1.94 M");
        check(109_400.0, "109 k");
        check(12_340.0, "12.3 k");
        check(1165.4, "1165");
        check(10.51, "10.5");
        check(7.312, "7.31");
    }

    #[test]
    fn the_table_lines_up_and_tells_missed_from_unjudged() {
        let rows = vec![
            Row::beside("a: deliveries/s", Some(100.0), Some(95.0)).with_target("≥ 0.9 × floor", Some(true)),
            Row::beside("b", None, Some(3000.0)).with_target("≤ 2048", Some(false)),
            Row::beside("c", Some(0.0), Some(1.0)),
        ];
        let conditions = vec!["10 connections".to_owned()];
        let report = Report { conditions, rows, idle: None, fanout: None, idle_bytes: None, judged: true };
        let expected = "                 floor  tidings  ratio  target\n\
                        a: deliveries/s    100     95.0   0.95  ≥ 0.9 × floor  met\n\
                        b                    –     3000         ≤ 2048         MISSED\n\
                        c                 0.00     1.00\n\n\
                        * 10 connections\n";
        assert_eq!(report.table(), expected);
    }
}
