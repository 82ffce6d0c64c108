//! Processes that the bench starts of itself, so that a measurement has a core and a descriptor table of its own.
//!
//! They are driven by lines: one on standard input is a command, one on standard output its answer (`ok …` or
//! `error …`). The end of standard input ends them, so none outlives the bench.

use std::{
    ffi::OsString,
    io::{BufRead, BufReader, Write},
    process::{self, ChildStdin, ChildStdout, Command, Stdio},
};

use crate::error::{BenchError, Doing};

/// A process of the bench's own, and the lines to it.
pub(crate) struct Child {
    name: String,
    process: process::Child,
    input: Option<ChildStdin>,
    /// Nothing when somebody else listens.
    output: Option<BufReader<ChildStdout>>,
}

impl Child {
    /// Starts this program again as `bench <arguments>`.
    pub(crate) fn start(name: &str, arguments: Vec<OsString>) -> Result<Self, BenchError> {
        let doing = format!("starting the {name} process");
        let program = std::env::current_exe().doing(&doing)?;
        let mut process = Command::new(program)
            .arg("bench")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .doing(&doing)?;
        let (input, output) = (process.stdin.take(), process.stdout.take());
        let output = output.ok_or_else(|| ended(name))?;
        Ok(Self { name: name.to_owned(), process, input, output: Some(BufReader::new(output)) })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What it says, for somebody who listens to several processes at once.
    pub(crate) fn take_output(&mut self) -> Option<BufReader<ChildStdout>> {
        self.output.take()
    }

    /// Gives a command without waiting for the answer.
    pub(crate) fn say(&mut self, command: &str) -> Result<(), BenchError> {
        let input = self.input.as_mut().ok_or_else(|| ended(&self.name))?;
        writeln!(input, "{command}").and_then(|()| input.flush()).map_err(|_| ended(&self.name))
    }

    /// Waits for the answer to the oldest command that has none.
    pub(crate) fn hear(&mut self) -> Result<String, BenchError> {
        let mut line = String::new();
        let output = self.output.as_mut().ok_or_else(|| ended(&self.name))?;
        let len = output.read_line(&mut line).map_err(|_| ended(&self.name))?;
        if len == 0 {
            return Err(ended(&self.name));
        }
        let line = line.trim_end();
        match line.strip_prefix("ok") {
            Some(answer) => Ok(answer.trim_start().to_owned()),
            None => {
                let what = line.strip_prefix("error ").unwrap_or(line).to_owned();
                Err(BenchError::Child { name: self.name.clone(), what })
            }
        }
    }

    /// Gives a command and waits for its answer.
    pub(crate) fn ask(&mut self, command: &str) -> Result<String, BenchError> {
        self.say(command)?;
        self.hear()
    }
}

fn ended(name: &str) -> BenchError {
    BenchError::Child { name: name.to_owned(), what: "ended without a word".to_owned() }
}

impl Drop for Child {
    fn drop(&mut self) {
        drop(self.input.take());
        // It may be in the middle of something that takes long; what it had to say has been heard.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The other end: answers each line of `input` with what `answer` makes of its words, until the input ends.
pub(crate) fn serve(
    input: impl BufRead,
    mut output: impl Write,
    mut answer: impl FnMut(&[&str]) -> Result<String, BenchError>,
) -> Result<(), BenchError> {
    for line in input.lines() {
        let line = line.doing("reading a command")?;
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let text = match answer(&words) {
            Ok(text) => format!("ok {text}\n"),
            Err(error) => format!("error {}\n", error.to_string().replace('\n', "; ")),
        };
        output.write_all(text.as_bytes()).and_then(|()| output.flush()).doing("answering a command")?;
    }
    Ok(())
}

/// The error for a command that is not known.
pub(crate) fn unknown(words: &[&str]) -> BenchError {
    BenchError::Arguments(format!("unknown command {words:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_gets_one_line() {
        let mut output = Vec::new();
        serve(&b"double 4\nfly\n"[..], &mut output, |words| match words {
            ["double", n] => Ok((n.parse::<u32>().unwrap() * 2).to_string()),
            other => Err(unknown(other)),
        })
        .unwrap();
        assert_eq!(String::from_utf8(output).unwrap(), "ok 8\nerror unknown command [\"fly\"]\n");
    }
}
