//! The table of Tidings beside other servers: one line for each, medians over all visits.

use std::fmt::Write as _;

use serde::Serialize;

use super::number;
use crate::{
    args::{Durability, Plan},
    error::BenchError,
    scenario::peers::Visit,
    tally::median,
};

/// What is told of each, in two lines of a head.
const HEAD: [[&str; 2]; COLUMNS] = [
    ["deliveries/s,", "1 in flight"],
    ["deliveries/s,", "many"],
    ["CPU s per M,", "1 in flight"],
    ["CPU s per M,", "many"],
    ["memory, bytes", "per connection"],
    ["latency p50,", "ms"],
    ["latency p99,", "ms"],
];
const COLUMNS: usize = 7;

/// Everything about one run.
#[derive(Debug, Serialize)]
pub(crate) struct Beside {
    /// Under what conditions the figures hold, in sentences.
    conditions: Vec<String>,
    in_flight: usize,
    rows: Vec<Row>,
}

/// Everything about one server.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    /// What it is, with its version.
    about: String,
    figures: Figures,
    visits: Vec<Visit>,
    /// Why a visit came to nothing.
    faults: Vec<String>,
}

/// Medians over the visits; nothing where nothing was measured.
#[derive(Debug, Default, Serialize)]
struct Figures {
    /// Deliveries a second, one push at a time: median of all rounds.
    single_rate: Option<f64>,
    /// The same with many pushes at once.
    many_rate: Option<f64>,
    /// CPU seconds of the server for a million deliveries, one push at a time.
    single_cpu: Option<f64>,
    /// The same with many pushes at once.
    many_cpu: Option<f64>,
    /// Memory of the server for each idle connection.
    bytes_per_connection: Option<f64>,
    /// From the intended start of a push to each delivery, one push at a time, in milliseconds.
    p50: Option<f64>,
    /// The same.
    p99: Option<f64>,
}

impl Figures {
    fn of(visits: &[Visit]) -> Self {
        let over = |figure: &dyn Fn(&Visit) -> Option<f64>| {
            median(&visits.iter().filter_map(figure).collect::<Vec<_>>())
        };
        let rates = |series: &dyn Fn(&Visit) -> &[f64]| {
            median(&visits.iter().flat_map(series).copied().collect::<Vec<_>>())
        };
        Self {
            single_rate: rates(&|visit| &visit.single.rates),
            many_rate: rates(&|visit| &visit.many.rates),
            single_cpu: over(&|visit| visit.single.cpu_per_million),
            many_cpu: over(&|visit| visit.many.cpu_per_million),
            bytes_per_connection: over(&|visit| visit.idle.as_ref()?.bytes_per_connection),
            p50: over(&|visit| Some(visit.single.latency?.p50)),
            p99: over(&|visit| Some(visit.single.latency?.p99)),
        }
    }

    fn columns(&self) -> [Option<f64>; COLUMNS] {
        let Self { single_rate, many_rate, single_cpu, many_cpu, bytes_per_connection, p50, p99 } = *self;
        [single_rate, many_rate, single_cpu, many_cpu, bytes_per_connection, p50, p99]
    }
}

impl Beside {
    /// An empty table that states the conditions of `plan`: how many connections, visits, and rounds of each.
    pub(crate) fn new(
        plan: &Plan,
        (connections, visits, rounds): (usize, usize, usize),
        frame_bytes: usize,
    ) -> Self {
        let in_flight = plan.in_flight;
        let conditions = vec![
            format!(
                "{connections} connections, frames of {frame_bytes} bytes on the wire, 1 and {in_flight} pushes in \
                 flight; medians over {visits} visits of {rounds} rounds of each kind, the servers in turn"
            ),
            format!("Tidings: durability \"{}\"", plan.durability_or(Durability::Memory).word()),
            "CPU: user and system time of all processes of the server. Memory: their RssAnon, slope between two \
             numbers of idle connections. Latency: from the intended start of a push to each delivery, 1 in flight"
                .to_owned(),
        ];
        Self { conditions, in_flight, rows: Vec::new() }
    }

    /// Adds a server of which nothing is known yet.
    pub(crate) fn add_row(&mut self, name: &str, about: String) {
        let (figures, visits, faults) = (Figures::default(), Vec::new(), Vec::new());
        self.rows.push(Row { name: name.to_owned(), about, figures, visits, faults });
    }

    /// Adds a sentence below the table.
    pub(crate) fn add_note(&mut self, note: String) {
        self.conditions.push(note);
    }

    /// Adds what a visit to server `row` came to.
    pub(crate) fn add_visit(&mut self, row: usize, visit: Result<Visit, BenchError>) {
        let Some(row) = self.rows.get_mut(row) else { return };
        match visit {
            Ok(visit) => row.visits.push(visit),
            Err(error) => row.faults.push(format!("{}: {error}", row.name)),
        }
        row.figures = Figures::of(&row.visits);
    }

    /// What went wrong in all visits, frames that were lost among it.
    pub(crate) fn faults(&self) -> Vec<String> {
        self.rows.iter().flat_map(|row| row.faults.iter().cloned()).collect()
    }

    /// The table, with the conditions below it.
    pub(crate) fn table(&self) -> String {
        let many = format!("{} in flight", self.in_flight);
        let mut lines: Vec<Vec<String>> = (0..2)
            .map(|line| {
                let head = HEAD.iter().map(|head| head[line].replace("many", &many));
                std::iter::once(String::new()).chain(head).collect()
            })
            .collect();
        for row in &self.rows {
            let columns = row.figures.columns().into_iter();
            let mut line = vec![row.name.clone()];
            line.extend(columns.map(|figure| figure.map_or_else(|| "–".to_owned(), number)));
            if !row.faults.is_empty() {
                line.push(format!(
                    "{} of {} visits FAILED",
                    row.faults.len(),
                    row.faults.len() + row.visits.len()
                ));
            }
            lines.push(line);
        }
        let width = |column: usize| {
            lines
                .iter()
                .filter_map(|line| line.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..=COLUMNS + 1).map(width).collect();
        let mut text = String::new();
        // Writing to a string cannot fail.
        for line in &lines {
            let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
                0 => format!("{cell:width$}"),
                _ => format!("{cell:>width$}"),
            });
            let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
        }
        text.push('\n');
        for Row { name, about, .. } in &self.rows {
            let _ = writeln!(text, "* {name}: {about}");
        }
        for condition in &self.conditions {
            let _ = writeln!(text, "* {condition}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::fanout::Series;

    fn series(rates: &[f64], cpu: f64) -> Series {
        Series {
            rate: 0.0,
            rates: rates.to_vec(),
            cpu_per_million: Some(cpu),
            client_cpu_per_million: None,
            latency: None,
        }
    }

    #[test]
    fn medians_are_over_all_visits_and_failures_show() {
        let visit = |rates: &[f64], cpu| Visit {
            frame_bytes: 220,
            idle: None,
            single: series(rates, cpu),
            many: series(&[2e6], 0.5),
            counts: None,
        };
        let mut beside =
            Beside { conditions: vec!["on a table".to_owned()], in_flight: 20, rows: Vec::new() };
        beside.add_row("one", "One 1.0".to_owned());
        beside.add_row("two", "Two 2.0".to_owned());
        beside.add_visit(0, Ok(visit(&[100.0, 300.0], 9.0)));
        beside.add_visit(0, Ok(visit(&[200.0], 7.0)));
        beside.add_visit(1, Err(BenchError::Lost("3 missing".to_owned())));
        let expected = "     deliveries/s,  deliveries/s,  CPU s per M,  CPU s per M,   memory, bytes  latency p50,  latency p99,
       1 in flight   20 in flight   1 in flight  20 in flight  per connection            ms            ms
one            200         2.00 M          8.00          0.50               –             –             –
two              –              –             –             –               –             –             –  1 of 1 visits FAILED

* one: One 1.0
* two: Two 2.0
* on a table
";
        assert_eq!(beside.table(), expected);
        assert_eq!(beside.faults(), ["two: 3 missing"]);
    }
}
