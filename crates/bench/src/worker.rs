//! A process of clients. It is given orders, one line of JSON each, and answers each with one line when it is done.
//!
//! The parent's side is `crew`. The end of standard input ends the process.

use std::{
    io::{self, BufRead, Write},
    net::SocketAddr,
    sync::mpsc::{Receiver, TryRecvError, sync_channel},
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::{
    error::{BenchError, Doing},
    fleet::{Destination, Fleet, Script},
    precedence, process, protocol,
    stamps::{Heard, Stamps},
};

/// Longest wait for sockets; an order ends it.
const TURN: Duration = Duration::from_millis(200);
/// Orders that may wait.
const ORDERS_MAX: usize = 16;
/// Time between two lines about progress.
const PROGRESS: Duration = Duration::from_millis(100);
/// Broken connections that are told.
const BROKEN_MAX: usize = 5;

/// Who the clients of a process are and what they do: the first line it is given.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Assignment {
    /// Name of the protocol.
    pub protocol: String,
    /// Where the servers listen.
    pub addresses: Vec<SocketAddr>,
    /// The value of the `Host` header.
    pub authority: String,
    /// Namespace to connect to.
    pub namespace: String,
    /// Room to join.
    pub room: Option<String>,
    /// Whether each is a person of its own.
    pub users: bool,
    /// The name of the run.
    pub run: String,
    /// Whether they acknowledge every message.
    pub acks: bool,
    /// The number of the first client.
    pub first: usize,
    /// Handshakes under way at once.
    pub concurrency: usize,
    /// Seconds without progress after which an order is given up.
    pub patience: u64,
    /// Whether a client that is refused tries again.
    pub tries_again: bool,
    /// Whether messages are stamped; else they are only counted, as cheaply as can be.
    pub stamped: bool,
    /// Whether it may nap between messages, which costs a little latency and saves many wake-ups.
    pub naps: bool,
    /// Whether its thread goes first, where the system permits it: for a few clients whose messages are timed beside others.
    pub first_in_line: bool,
    /// Whether each message is meant for one client only.
    pub distinct: bool,
    /// The number of the first message of every client, when they must come in order.
    pub in_order_from: Option<u64>,
}

/// What a process of clients is to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Have this many clients that are connected and have joined.
    Connect(usize),
    /// End all connections at once.
    Drop,
    /// End the connections of the last so many clients.
    DropLast(usize),
    /// Report, and begin to count anew.
    Report,
    /// Report which messages have come since the beginning, where each is meant for one client only.
    Seen,
}

/// What is answered when an order is carried out.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Done {
    /// Clients that are connected and have joined, and are still there.
    pub ready: usize,
    /// How long the order took, in seconds.
    pub seconds: f64,
    /// Refusals so far after which a client tried again.
    pub refused: u64,
    /// CPU time of this process so far, in seconds.
    pub cpu_seconds: f64,
    /// Connections that broke, in words.
    pub broken: Vec<String>,
    /// What was heard; only from a report.
    pub heard: Heard,
    /// The bits of the numbers that came; only when asked for.
    pub seen: Vec<u64>,
}

/// A line to the parent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Said {
    /// So many clients are connected.
    Progress(usize),
    /// The order is carried out.
    Done(Box<Done>),
    /// It cannot be.
    Failed(String),
}

/// The process.
pub(crate) fn run() -> Result<(), BenchError> {
    let mut lines = io::stdin().lock().lines();
    let Some(line) = lines.next() else { return Ok(()) };
    let assignment: Assignment = parse(&line.doing("reading the assignment")?)?;
    drop(lines);
    if assignment.first_in_line {
        precedence::go_first();
    }
    let protocol = protocol::named(&assignment.protocol).map_err(BenchError::Arguments)?;
    let Assignment { authority, namespace, room, users, run, acks, .. } = assignment.clone();
    let script = Script { protocol, authority, namespace, room, users, run, acks };
    let mut fleet = Fleet::new(script.clone(), assignment.first)?;
    if assignment.stamped {
        fleet.stamp(Stamps::new(assignment.in_order_from, assignment.distinct), assignment.naps);
    }
    let waker = fleet.waker()?;
    let (sender, orders) = sync_channel(ORDERS_MAX);
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() || waker.wake().is_err() {
                return;
            }
        }
        drop(sender);
        let _ = waker.wake();
    });
    let to = Destination {
        addresses: assignment.addresses,
        script,
        concurrency: assignment.concurrency,
        patience: Duration::from_secs(assignment.patience),
        tries_again: assignment.tries_again,
    };
    Worker { fleet, to }.serve(&orders)
}

struct Worker {
    fleet: Fleet,
    to: Destination,
}

impl Worker {
    fn serve(mut self, orders: &Receiver<String>) -> Result<(), BenchError> {
        loop {
            match orders.try_recv() {
                Ok(line) => {
                    let order = parse(&line)?;
                    let said = match self.carry_out(&order) {
                        Ok(done) => Said::Done(Box::new(done)),
                        Err(error) => Said::Failed(error.to_string()),
                    };
                    say(&said)?;
                }
                Err(TryRecvError::Empty) => self.fleet.turn(TURN, None)?,
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
            self.fleet.take_foreign();
        }
    }

    fn carry_out(&mut self, order: &Order) -> Result<Done, BenchError> {
        let begin = Instant::now();
        let (mut heard, mut seen) = (Heard::default(), Vec::new());
        match order {
            Order::Connect(count) => {
                let mut last = Instant::now();
                self.fleet.connect(&self.to, *count, |ready| {
                    if last.elapsed() > PROGRESS {
                        last = Instant::now();
                        // The next line fails as well, and is looked at.
                        let _ = say(&Said::Progress(ready));
                    }
                })?;
            }
            Order::Drop => self.fleet.drop_all(),
            Order::DropLast(count) => self.fleet.drop_last(*count),
            Order::Seen => {
                let stamps = self.fleet.stamps_mut();
                seen = stamps.map_or_else(Vec::new, |stamps| stamps.seen().to_vec());
            }
            Order::Report => {
                let stamps = self.fleet.stamps_mut();
                heard = stamps.map_or_else(Heard::default, Stamps::take);
            }
        }
        Ok(Done {
            ready: self.fleet.alive(),
            seconds: begin.elapsed().as_secs_f64(),
            refused: self.fleet.refused(),
            cpu_seconds: process::cpu_seconds(std::process::id())?,
            broken: self.fleet.broken(BROKEN_MAX),
            heard,
            seen,
        })
    }
}

fn parse<'a, T: Deserialize<'a>>(line: &'a str) -> Result<T, BenchError> {
    serde_json::from_str(line).map_err(|error| BenchError::Arguments(format!("order {line}: {error}")))
}

fn say(said: &Said) -> Result<(), BenchError> {
    let line = serde_json::to_string(said).map_err(io::Error::from).doing("answering")?;
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).doing("answering")
}
