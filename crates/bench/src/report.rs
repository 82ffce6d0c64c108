//! What was measured, for people (a table) and for programs (JSON).

pub(crate) mod beside;

use std::{fmt::Write as _, fs, path::Path};

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::error::{BenchError, Doing};

/// Everything about one run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    sections: Vec<Section>,
}

/// What one scenario found out.
#[derive(Debug, Default)]
pub(crate) struct Section {
    /// Its name in the JSON.
    name: &'static str,
    rows: Vec<Row>,
    /// Tables of its own, with their titles.
    tables: Vec<Table>,
    /// Under what conditions the figures hold, in sentences.
    notes: Vec<String>,
    /// Everything that was measured.
    figures: Value,
}

/// One line of the common table.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    name: String,
    floor: Option<f64>,
    tidings: Option<f64>,
    ratio: Option<f64>,
    target: Option<String>,
    /// Whether the target is met; nothing where there is none or the conditions are not those of the target.
    met: Option<bool>,
}

/// A table that is not about targets: a curve, a series of moments.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Table {
    /// What it shows.
    pub title: String,
    /// The names of its columns.
    pub columns: Vec<String>,
    /// One entry for each column.
    pub lines: Vec<Vec<f64>>,
}

impl Row {
    /// A line with a figure and nothing beside it.
    pub(crate) fn of(name: impl Into<String>, tidings: Option<f64>) -> Self {
        Self::beside(name, None, tidings)
    }

    /// A line with a floor and no target.
    pub(crate) fn beside(name: impl Into<String>, floor: Option<f64>, tidings: Option<f64>) -> Self {
        let ratio =
            tidings.zip(floor).filter(|(_, floor)| *floor > 0.0).map(|(tidings, floor)| tidings / floor);
        Self { name: name.into(), floor, tidings, ratio, target: None, met: None }
    }

    /// The same with a target, and whether it is met, where that can be said.
    pub(crate) fn with_target(mut self, target: &str, met: Option<bool>) -> Self {
        self.target = Some(target.to_owned());
        self.met = met;
        self
    }
}

impl Section {
    /// A section whose JSON is `figures`.
    pub(crate) fn new(name: &'static str, figures: &impl Serialize) -> Self {
        Self { name, figures: serde_json::to_value(figures).unwrap_or_default(), ..Self::default() }
    }

    /// Adds a line of the common table.
    pub(crate) fn row(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Adds a table of its own.
    pub(crate) fn table(&mut self, table: Table) {
        self.tables.push(table);
    }

    /// Adds a condition.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }
}

impl Report {
    /// Adds what a scenario found out.
    pub(crate) fn add(&mut self, section: Section) {
        self.sections.push(section);
    }

    /// The table, with the conditions below it.
    pub(crate) fn table(&self) -> String {
        let head = ["", "floor", "tidings", "ratio", "target", ""].map(str::to_owned);
        let mut lines = vec![head.to_vec()];
        for row in self.sections.iter().flat_map(|section| &section.rows) {
            let met = match row.met {
                Some(true) => "met",
                Some(false) => "MISSED",
                None => "",
            };
            lines.push(vec![
                row.name.clone(),
                row.floor.map_or_else(|| "–".to_owned(), number),
                row.tidings.map_or_else(|| "–".to_owned(), number),
                row.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
                row.target.clone().unwrap_or_default(),
                met.to_owned(),
            ]);
        }
        let mut text = if lines.len() > 1 { aligned(&lines, &[0, 4, 5]) } else { String::new() };
        for table in self.sections.iter().flat_map(|section| &section.tables) {
            let mut lines = vec![table.columns.clone()];
            lines.extend(table.lines.iter().map(|line| line.iter().copied().map(number).collect()));
            let _ = write!(text, "\n{}\n{}", table.title, aligned(&lines, &[]));
        }
        text.push('\n');
        let mut said = Vec::new();
        for note in self.sections.iter().flat_map(|section| &section.notes) {
            if !said.contains(&note) {
                said.push(note);
                let _ = writeln!(text, "* {note}");
            }
        }
        text
    }

    /// Writes everything, single rounds included, to `path`.
    pub(crate) fn write_json(&self, path: &Path) -> Result<(), BenchError> {
        let mut all = Map::new();
        for Section { name, rows, tables, notes, figures } in &self.sections {
            let mut section = figures.clone();
            section["rows"] = json!(rows);
            section["tables"] = json!(tables);
            section["conditions"] = json!(notes);
            all.insert((*name).to_owned(), section);
        }
        write_json(path, &all)
    }
}

/// Writes everything that `report` knows, single rounds included, to `path`.
pub(crate) fn write_json(path: &Path, report: &impl Serialize) -> Result<(), BenchError> {
    let doing = format!("writing {}", path.display());
    let text = serde_json::to_string_pretty(report).map_err(std::io::Error::from).doing(&doing)?;
    fs::write(path, text + "\n").doing(&doing)
}

/// Lines in columns; those whose index is in `left` begin at the same place, the others end there.
fn aligned(lines: &[Vec<String>], left: &[usize]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |line: &Vec<String>, column: usize| line.get(column).map_or(0, |cell| cell.chars().count());
    let widths: Vec<usize> =
        (0..columns).map(|column| lines.iter().map(|line| cell(line, column)).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for line in lines {
        let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            if left.contains(&column) { format!("{cell:width$}") } else { format!("{cell:>width$}") }
        });
        let line: Vec<String> = cells.collect();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", line.join("  ").trim_end());
    }
    text
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
        let mut section = Section::new("x", &json!({"n": 1}));
        let rows = [
            Row::beside("a: deliveries/s", Some(100.0), Some(95.0)).with_target("≥ 0.9 × floor", Some(true)),
            Row::of("b", Some(3000.0)).with_target("≤ 2048", Some(false)),
            Row::beside("c", Some(0.0), Some(1.0)),
        ];
        rows.into_iter().for_each(|row| section.row(row));
        let columns = vec!["rate".to_owned(), "p99".to_owned()];
        section.table(Table { title: "A curve".to_owned(), columns, lines: vec![vec![1000.0, 2.5]] });
        section.note("10 connections");
        section.note("10 connections");
        let mut report = Report::default();
        report.add(section);
        let expected = "                 floor  tidings  ratio  target\n\
                        a: deliveries/s    100     95.0   0.95  ≥ 0.9 × floor  met\n\
                        b                    –     3000         ≤ 2048         MISSED\n\
                        c                 0.00     1.00\n\n\
                        A curve\n\
                        rate   p99\n\
                        1000  2.50\n\n\
                        * 10 connections\n";
        assert_eq!(report.table(), expected);
    }
}
