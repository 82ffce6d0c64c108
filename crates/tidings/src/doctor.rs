//! `tidings doctor`: looks at the machine and says what stands in the way of so many connections, what that
//! means, and which command changes it. It changes nothing.

mod kernel;
mod place;

use std::fmt::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use crate::config::{Config, ConfigErrors};
use crate::greeting::say;

/// How good something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// Nothing to do.
    Ok,
    /// It works, and not as well as it could.
    Warn,
    /// It does not work.
    Fail,
}

/// What was found out about one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What was looked at.
    check: &'static str,
    verdict: Verdict,
    /// What it is now.
    value: String,
    /// What that means.
    meaning: String,
    /// What changes it; empty when nothing has to be changed.
    #[serde(skip_serializing_if = "String::is_empty")]
    change: String,
}

impl Finding {
    fn new(
        check: &'static str,
        value: impl fmt::Display,
        verdict: Verdict,
        meaning: impl Into<String>,
    ) -> Self {
        Self { check, verdict, value: value.to_string(), meaning: meaning.into(), change: String::new() }
    }

    /// Names what changes it, unless it is good as it is.
    fn change(mut self, command: impl Into<String>) -> Self {
        if self.verdict != Verdict::Ok {
            self.change = command.into();
        }
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "fail",
        };
        write!(f, "{verdict:<5} {}: {} — {}", self.check, self.value, self.meaning)?;
        if !self.change.is_empty() {
            write!(f, "; change it: {}", self.change)?;
        }
        Ok(())
    }
}

/// Everything that was found out.
#[derive(Debug, Serialize)]
struct Report {
    connections: u64,
    worst: Verdict,
    findings: Vec<Finding>,
}

/// Looks at everything and prints it. Ends with 0, 1 or 2: all is well, there is a warning, something fails.
pub(crate) fn run(config: Result<Config, ConfigErrors>, connections: u64, json: bool) -> ExitCode {
    let (config, first) = match config {
        Ok(config) => {
            let file = config
                .file
                .as_ref()
                .map_or("defaults, no file".to_owned(), |file| file.display().to_string());
            (config, vec![Finding::new("configuration", file, Verdict::Ok, "every key and value is known")])
        }
        Err(errors) => {
            let wrong = errors.0.iter().map(|error| {
                Finding::new("configuration", &error.key, Verdict::Fail, error.to_string())
                    .change("edit the configuration; what follows is checked with the defaults")
            });
            (Config::defaults(), wrong.collect())
        }
    };
    let mut findings = first;
    findings.extend(kernel::check(
        Path::new("/"),
        connections,
        u64::from(config.server.backlog.unsigned_abs()),
    ));
    findings.extend(place::check(&config));
    let worst = findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Ok);
    let report = Report { connections, worst, findings };
    let mut text = String::new();
    if json {
        let _ = writeln!(text, "{}", serde_json::to_string_pretty(&report).unwrap_or_default());
    } else {
        let _ = writeln!(text, "for {connections} connections (--connections N for another number):");
        for finding in &report.findings {
            let _ = writeln!(text, "{finding}");
        }
    }
    if let Err(why) = say(&text) {
        eprintln!("tidings: standard output cannot be written to: {why}");
        return ExitCode::from(Verdict::Fail as u8);
    }
    ExitCode::from(worst as u8)
}
