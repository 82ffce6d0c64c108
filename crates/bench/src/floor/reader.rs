//! The reading side of the floor: the fleet of clients, without handshakes.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use super::{Round, arguments, from_hex};
use crate::{
    child::{Child, serve, unknown},
    error::BenchError,
    fleet::{Fleet, Script},
    process::cpu_seconds,
    protocol,
    tally::{Percentiles, Tally, new_histogram},
};

/// How long nothing may arrive before a round is given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// The process: `connect` opens all sockets, `round PASSES FRAMES` measures one round.
pub(crate) fn run(sockets: usize, frame: &str) -> Result<(), BenchError> {
    from_hex(frame)?;
    let mut floor: Option<Reader> = None;
    serve(io::stdin().lock(), io::stdout().lock(), |words| match (words, &mut floor) {
        (["connect"], None) => {
            let sender = Child::start("floor sender", arguments("floor-sender", sockets, frame))?;
            floor = Some(Reader::connect(sender, sockets)?);
            Ok(String::new())
        }
        (["round", passes, frames], Some(reader)) => {
            let (Ok(passes), Ok(frames)) = (passes.parse(), frames.parse()) else {
                return Err(unknown(words));
            };
            let round = reader.round(passes, frames)?;
            serde_json::to_string(&round).map_err(|error| wrong(error.to_string()))
        }
        _ => Err(unknown(words)),
    })
}

struct Reader {
    sender: Child,
    fleet: Fleet,
    tally: Tally,
    /// By passes and frames.
    latencies: BTreeMap<(usize, usize), Histogram<u64>>,
}

impl Reader {
    fn connect(mut sender: Child, sockets: usize) -> Result<Self, BenchError> {
        let listening = sender.ask("listen")?;
        let address: SocketAddr = listening.parse().map_err(|_| wrong(format!("address {listening}")))?;
        let protocol = &protocol::json::WS;
        let script = Script {
            protocol,
            authority: listening,
            namespace: String::new(),
            room: None,
            users: false,
            run: String::new(),
            acks: false,
        };
        let mut fleet = Fleet::new(script, 0)?;
        sender.say("accept")?;
        fleet.connect_bare(address, sockets)?;
        sender.hear()?;
        Ok(Self { sender, fleet, tally: Tally::new(sockets), latencies: BTreeMap::new() })
    }

    fn round(&mut self, passes: usize, frames: usize) -> Result<Round, BenchError> {
        let first = self.tally.intended();
        let (received, cpu) = (self.tally.received(), cpu_seconds(self.sender.pid())?);
        let start = Instant::now();
        for _ in 0..passes * frames {
            self.tally.intend(start);
        }
        self.sender.say(&format!("send {passes} {frames}"))?;
        let mut progress = (received, Instant::now());
        while self.tally.completed() < self.tally.intended() {
            self.fleet.turn(Duration::from_millis(100), Some(&mut self.tally))?;
            if self.tally.received() != progress.0 {
                progress = (self.tally.received(), Instant::now());
            } else if progress.1.elapsed() > PATIENCE {
                let missing = self.tally.expected() - self.tally.received();
                return Err(wrong(format!("{missing} frames of the bare loop have not arrived")));
            }
        }
        self.sender.hear()?;
        let latency = self.latencies.entry((passes, frames)).or_insert_with(new_histogram);
        // Both histograms have the same bounds.
        let _ = latency.add(self.tally.take_latency());
        let span = self.tally.span(first, self.tally.intended() - 1).unwrap_or_default();
        Ok(Round {
            seconds: span.as_secs_f64(),
            deliveries: self.tally.received() - received,
            cpu_seconds: cpu_seconds(self.sender.pid())? - cpu,
            latency: Percentiles::of(latency),
        })
    }
}

fn wrong(what: String) -> BenchError {
    BenchError::Protocol { who: "floor".to_owned(), what }
}
