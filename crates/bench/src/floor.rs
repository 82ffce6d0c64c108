//! The floor: what a bare `send()` loop delivers on this machine, with the same frames and as many sockets.
//!
//! Two processes besides the bench itself: `sender` writes, `reader` is the same reading code that measures the
//! server, in a process of its own because both together would need twice the descriptors. The reader starts the
//! sender and tells it to go; the time runs from there to the last frame at the last socket, as it does for a server.

mod reader;
mod sender;

use std::ffi::OsString;

use serde::{Deserialize, Serialize};

pub(crate) use reader::run as run_reader;
pub(crate) use sender::run as run_sender;

use crate::{child::Child, error::BenchError, tally::Percentiles};

/// One round of the floor.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Round {
    /// From the command to the last frame at the last socket.
    pub seconds: f64,
    /// Frames at sockets.
    pub deliveries: u64,
    /// CPU time of the sender.
    pub cpu_seconds: f64,
    /// From the command to the frame, over all rounds so far with as many passes and frames.
    pub latency: Percentiles,
}

/// The floor, ready to be measured.
pub(crate) struct Floor {
    reader: Child,
}

impl Floor {
    /// Starts reader and sender and connects `sockets` of them.
    pub(crate) fn start(sockets: usize, frame: &[u8]) -> Result<Self, BenchError> {
        let mut reader = Child::start("floor reader", arguments("floor-reader", sockets, &to_hex(frame)))?;
        reader.ask("connect")?;
        Ok(Self { reader })
    }

    /// Writes `passes` times to every socket, `frames` frames in each write.
    pub(crate) fn round(&mut self, passes: usize, frames: usize) -> Result<Round, BenchError> {
        let answer = self.reader.ask(&format!("round {passes} {frames}"))?;
        serde_json::from_str(&answer)
            .map_err(|error| BenchError::Child { name: "floor reader".to_owned(), what: error.to_string() })
    }
}

fn arguments(process: &str, sockets: usize, frame: &str) -> Vec<OsString> {
    [process, "--sockets", &sockets.to_string(), "--frame", frame].map(OsString::from).into()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Result<Vec<u8>, BenchError> {
    let wrong = || BenchError::Arguments("--frame: not hexadecimal".to_owned());
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
    let digits = digits.ok_or_else(wrong)?;
    if digits.is_empty() || digits.len() % 2 == 1 {
        return Err(wrong());
    }
    Ok(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_the_command_line() {
        let frame = [0x81, 0x02, b'{', b'}', 0x00, 0xff];
        assert_eq!(from_hex(&to_hex(&frame)).unwrap(), frame);
        for wrong in ["", "8", "xy", "é1"] {
            assert!(from_hex(wrong).is_err(), "{wrong}");
        }
    }
}
