//! What can be asked of the bench on the command line, and the checked form of it.

use std::{net::SocketAddr, net::ToSocketAddrs, path::PathBuf, time::Duration};

use crate::{
    error::BenchError,
    limits,
    peers::{self, Place},
    post::{Call, LINES_MAX},
    protocol::{self, Protocol},
    publisher::{self, Publisher},
    scenario::{acks, fairness, fanout, idle, resume, soak, storm, targeted},
};

/// Connections of `--quick`.
const QUICK_CONNECTIONS: usize = 200;
/// Rounds of `--quick`.
const QUICK_ROUNDS: usize = 3;
/// Seconds of a measurement in `--quick`.
const QUICK_SECONDS: f64 = 0.3;
/// Processes of clients or servers at most.
const PROCESSES_MAX: usize = 64;
/// Fewest connections that mean anything: the idle slope needs two different counts.
const CONNECTIONS_MIN: usize = 10;

/// Arguments of `tidings bench`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// What to measure; everything when left out
    #[command(subcommand)]
    pub(crate) scenario: Option<Scenario>,
    /// Use this running server instead of starting one, as in http://127.0.0.1:8080
    #[arg(long, global = true)]
    url: Option<String>,
    /// A key of that server that may push
    #[arg(long, global = true, env = "TIDINGS_BENCH_KEY", hide_env_values = true)]
    key: Option<String>,
    /// Process ids of that server, when it runs on this machine: its memory and CPU time are read from /proc
    #[arg(long, global = true, requires = "url", value_delimiter = ',')]
    pid: Vec<u32>,
    /// What the clients speak
    #[arg(long, global = true, value_parser = protocol::named, default_value = "ws", value_name = "NAME")]
    protocol: &'static Protocol,
    /// How pushes are handed to the server [default: as belongs to the protocol]
    #[arg(long, global = true, value_parser = publisher::named, value_name = "NAME")]
    publisher: Option<&'static Publisher>,
    /// Where pushes go when that is not where the clients go
    #[arg(long, global = true, requires = "url", value_name = "ADDRESS")]
    publish_to: Option<SocketAddr>,
    /// Namespace to use; it must accept any client
    #[arg(long, global = true, default_value = "demo")]
    namespace: String,
    /// Connections [default: what belongs to the scenario, mostly 10000]
    #[arg(long, short = 'n', global = true)]
    connections: Option<usize>,
    /// Rounds of each kind, of which the median is reported [default: 11]
    #[arg(long, global = true)]
    rounds: Option<usize>,
    /// Pushes kept outstanding in the second part of the fan-out
    #[arg(long, global = true, default_value_t = 20)]
    in_flight: usize,
    /// How pushes are called in while several are outstanding
    #[arg(long, global = true, value_enum, default_value_t = Call::Batch)]
    call: Call,
    /// Bytes of a frame on the wire, as far as the server's own part leaves room
    #[arg(long, global = true, default_value_t = 130)]
    frame_bytes: usize,
    /// `durability` of the pushes; with `memory` the disk is not part of the figure [default: memory for the fan-out
    /// and fairness, durable for the others]
    #[arg(long, global = true, value_enum)]
    durability: Option<Durability>,
    /// `ttl` of the pushes, as in 0s; the server's default when left out
    #[arg(long, global = true)]
    ttl: Option<String>,
    /// Handshakes under way at once
    #[arg(long, global = true, default_value_t = 128)]
    concurrency: usize,
    /// Processes that hold the clients, at least; more when one cannot hold them all
    #[arg(long, global = true, default_value_t = 1)]
    processes: usize,
    /// Servers to start, each with a part of the clients; pushes go to each of them (idle and fanout)
    #[arg(long, global = true, default_value_t = 1, conflicts_with = "url")]
    servers: usize,
    /// Seconds without any progress after which a run is given up
    #[arg(long, global = true, default_value_t = 10)]
    patience: u64,
    /// Write everything that was measured to this file as JSON
    #[arg(long, global = true)]
    json: Option<PathBuf>,
    /// A smoke test: 200 connections, few rounds, no meaningful figures
    #[arg(long, global = true)]
    quick: bool,
}

/// What can be measured, and the processes that the bench starts of itself.
#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum Scenario {
    /// Memory and CPU time of idle, connected and subscribed connections
    Idle(idle::Options),
    /// One push to a room that everybody is in
    Fanout(fanout::Options),
    /// Many small pushes, each to one user: how many, how fast, and the latency over the load
    Targeted(targeted::Options),
    /// A fresh fleet connects, is dropped at once, and comes back
    Storm(storm::Options),
    /// Devices come back for what they missed
    Resume(resume::Options),
    /// Every delivery is acknowledged
    Acks(acks::Options),
    /// A private message beside a big room under load
    Fairness(fairness::Options),
    /// A mix of everything for a long time: does anything grow?
    Soak(soak::Options),
    /// Memory and fan-out beside other servers, each started again for every visit
    Peers(Company),
    /// Receives what the floor sends, driven by lines on standard input
    #[command(hide = true)]
    FloorReader {
        /// Connections to the sender.
        #[arg(long)]
        sockets: usize,
        /// The frame in hexadecimal digits.
        #[arg(long)]
        frame: String,
    },
    /// The bare send loop, driven by lines on standard input
    #[command(hide = true)]
    FloorSender {
        /// Connections to accept.
        #[arg(long)]
        sockets: usize,
        /// The frame in hexadecimal digits.
        #[arg(long)]
        frame: String,
    },
    /// Holds clients, driven by lines on standard input
    #[command(hide = true)]
    Worker,
}

/// Which other servers are measured, and how often.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Company {
    /// The folder with `start`, which starts them
    #[arg(long, default_value = "crates/bench/peers", value_name = "FOLDER")]
    pub from: PathBuf,
    /// Only these, in this order [default: all that are installed]
    #[arg(long, value_parser = peers::named, value_delimiter = ',', value_name = "NAME")]
    pub only: Vec<Place>,
    /// How often each server is visited: visits alternate between servers, and `--rounds` are those of one visit
    #[arg(long, default_value_t = 3)]
    pub visits: usize,
}

/// `durability` of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Durability {
    /// Accepted when it is in memory.
    Memory,
    /// Accepted when it is on the disk.
    Durable,
}

impl Durability {
    /// The word of the contract.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Durable => "durable",
        }
    }
}

/// A server that runs already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// The value of the `Host` header.
    pub authority: String,
    /// Where pushes go.
    pub publish_to: SocketAddr,
    /// Key that may push; empty when it needs none.
    pub key: String,
    /// Its processes, when they are on this machine.
    pub pids: Vec<u32>,
}

/// Arguments that make sense together and fit the machine.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The server to use; nothing means to start one.
    pub running: Option<Running>,
    /// What the clients speak.
    pub protocol: &'static Protocol,
    /// How pushes are handed over.
    pub publisher: &'static Publisher,
    /// Namespace that accepts any client.
    pub namespace: String,
    /// Clients, when it was said how many.
    connections: Option<usize>,
    /// Clients that one process can hold.
    pub per_process: usize,
    /// Processes of clients, at least.
    pub processes: usize,
    /// Servers to start.
    pub servers: usize,
    /// Rounds, when it was said how many.
    rounds: Option<usize>,
    /// Pushes kept outstanding.
    pub in_flight: usize,
    /// How they are called in.
    pub call: Call,
    /// Bytes of a frame that is aimed at.
    pub frame_bytes: usize,
    /// `durability` of the pushes, when it was said.
    durability: Option<Durability>,
    /// `ttl` of the pushes.
    pub ttl: Option<String>,
    /// Handshakes under way at once.
    pub concurrency: usize,
    /// How long nothing may happen.
    pub patience: Duration,
    /// Where the JSON goes.
    pub json: Option<PathBuf>,
    /// A smoke test.
    pub quick: bool,
}

impl Plan {
    /// Checks the arguments against each other and against what one process can hold.
    pub(crate) fn resolve(args: Args, per_process: u64) -> Result<Self, BenchError> {
        let wrong = |what: String| Err(BenchError::Arguments(what));
        if args.connections.is_some_and(|connections| connections < CONNECTIONS_MIN) {
            let connections = args.connections.unwrap_or_default();
            return wrong(format!("--connections {connections}: at least {CONNECTIONS_MIN} are needed"));
        }
        if args.rounds == Some(0) {
            return wrong("--rounds 0: at least one round is needed".to_owned());
        }
        if let Some(Scenario::Peers(company)) = &args.scenario {
            if company.visits == 0 {
                return wrong("--visits 0: at least one visit is needed".to_owned());
            }
            if args.url.is_some() {
                return wrong("--url: the servers beside others are started here".to_owned());
            }
        }
        if !(1..=1000).contains(&args.in_flight) {
            return wrong(format!("--in-flight {}: allowed is 1 to 1000", args.in_flight));
        }
        let publisher = match args.publisher {
            Some(publisher) => publisher,
            None => publisher::named(args.protocol.publisher).map_err(BenchError::Arguments)?,
        };
        if (args.call == Call::Single || !publisher.batches) && args.in_flight > LINES_MAX {
            let in_flight = args.in_flight;
            return wrong(format!("--in-flight {in_flight} with single calls: allowed is 1 to {LINES_MAX}"));
        }
        if args.frame_bytes > 60_000 {
            return wrong(format!("--frame-bytes {}: allowed is up to 60000", args.frame_bytes));
        }
        if args.concurrency == 0 || args.patience == 0 {
            return wrong("--concurrency and --patience must be at least 1".to_owned());
        }
        for (name, value) in [("--processes", args.processes), ("--servers", args.servers)] {
            if !(1..=PROCESSES_MAX).contains(&value) {
                return wrong(format!("{name} {value}: allowed is 1 to {PROCESSES_MAX}"));
            }
        }
        if args.url.is_some() && args.key.is_none() && publisher.name == "tidings" {
            return wrong("--url needs --key, a key of that server that may push".to_owned());
        }
        if args.url.is_none() && publisher.name != "tidings" {
            return wrong(format!("--publisher {}: start the server and give its --url", publisher.name));
        }
        let running = match args.url {
            Some(url) => {
                let (authority, address) = parse_url(&url)?;
                let publish_to = args.publish_to.unwrap_or(address);
                let key = args.key.unwrap_or_default();
                Some(Running { address, authority, publish_to, key, pids: args.pid })
            }
            None => None,
        };
        Ok(Self {
            running,
            protocol: args.protocol,
            publisher,
            namespace: args.namespace,
            connections: args.connections,
            per_process: usize::try_from(per_process).unwrap_or(usize::MAX),
            processes: args.processes,
            servers: args.servers,
            rounds: args.rounds,
            in_flight: args.in_flight,
            call: args.call,
            frame_bytes: args.frame_bytes,
            durability: args.durability,
            ttl: args.ttl,
            concurrency: args.concurrency,
            patience: Duration::from_secs(args.patience),
            json: args.json,
            quick: args.quick,
        })
    }

    /// Clients: as many as were asked for, or `default`, or few in a smoke test. An error when the servers that are
    /// started cannot hold them.
    pub(crate) fn connections_or(&self, default: usize) -> Result<usize, BenchError> {
        let default = if self.quick { QUICK_CONNECTIONS.min(default) } else { default };
        let connections = self.connections.unwrap_or(default);
        if self.running.is_none() {
            limits::check(connections.div_ceil(self.servers) as u64, self.per_process as u64)?;
        }
        Ok(connections)
    }

    /// Rounds: as many as were asked for, or `default`, or few in a smoke test.
    pub(crate) fn rounds_or(&self, default: usize) -> usize {
        self.rounds.unwrap_or(if self.quick { QUICK_ROUNDS.min(default) } else { default })
    }

    /// `durability` of the pushes: what was asked for, or `default`.
    pub(crate) fn durability_or(&self, default: Durability) -> Durability {
        self.durability.unwrap_or(default)
    }

    /// `seconds`, or an instant in a smoke test.
    pub(crate) fn seconds(&self, seconds: f64) -> Duration {
        Duration::from_secs_f64(if self.quick { seconds.min(QUICK_SECONDS) } else { seconds })
    }
}

/// The authority of an `http://` URL and the address behind it.
pub(crate) fn parse_url(url: &str) -> Result<(String, SocketAddr), BenchError> {
    let wrong = |why: &str| BenchError::Arguments(format!("--url {url}: {why}"));
    let Some(rest) = url.strip_prefix("http://") else {
        return Err(wrong("must begin with http:// (TLS is not part of what is measured)"));
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if !path.is_empty() {
        return Err(wrong("must not have a path"));
    }
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let with_port = if has_port { authority.to_owned() } else { format!("{authority}:80") };
    let mut addresses = with_port.to_socket_addrs().map_err(|error| wrong(&error.to_string()))?;
    let address = addresses.next().ok_or_else(|| wrong("the name has no address"))?;
    Ok((authority.to_owned(), address))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        args: Args,
    }

    fn plan(line: &str) -> Result<Plan, String> {
        let words = std::iter::once("bench").chain(line.split_ascii_whitespace());
        let program = Program::try_parse_from(words).map_err(|error| error.to_string())?;
        Plan::resolve(program.args, 19_500).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn refused(line: &str, because: &str) {
        let text = plan(line).unwrap_err();
        assert!(text.contains(because), "{line}: {text}");
    }

    #[test]
    fn defaults_are_the_conditions_of_the_targets() {
        let plan = plan("").unwrap();
        assert_eq!(
            (plan.connections_or(10_000).unwrap(), plan.in_flight, plan.frame_bytes),
            (10_000, 20, 130)
        );
        assert_eq!((plan.rounds_or(11), plan.call, plan.protocol.name), (11, Call::Batch, "ws"));
        assert_eq!(plan.durability_or(Durability::Memory), Durability::Memory);
        assert!(plan.running.is_none());
    }

    #[test]
    fn a_scenario_takes_the_common_arguments_on_either_side() {
        for line in ["idle --connections 500", "--connections 500 idle"] {
            assert_eq!(plan(line).unwrap().connections_or(10_000).unwrap(), 500, "{line}");
        }
        let plan = plan("fanout --quick --url http://127.0.0.1:9 --key k --publish-to 127.0.0.1:7").unwrap();
        assert_eq!((plan.connections_or(10_000).unwrap(), plan.rounds_or(11)), (200, 3));
        let running = plan.running.unwrap();
        assert_eq!((running.authority.as_str(), running.publish_to.port()), ("127.0.0.1:9", 7));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_reason() {
        refused("--connections 1", "at least 10");
        let text = plan("--connections 20000").unwrap().connections_or(10).unwrap_err().to_string();
        assert!(text.contains("use --connections 19500"), "{text}");
        assert_eq!(plan("--connections 20000 --servers 2").unwrap().connections_or(10).unwrap(), 20_000);
        refused("--servers 0", "allowed is 1 to 64");
        refused("--rounds 0", "at least one round");
        refused("--in-flight 0", "allowed is 1 to 1000");
        refused("--in-flight 65 --call single", "allowed is 1 to 64");
        refused("--protocol pigeon", "allowed is ws, socketio");
        refused("--publisher pigeon", "allowed is tidings");
        refused("--frame-bytes 70000", "up to 60000");
        refused("--patience 0", "at least 1");
        refused("--url http://127.0.0.1:1", "--key");
        refused("--pid 1", "--url");
        refused("peers --visits 0", "at least one visit");
        refused("peers --only pigeon", "allowed is socketio, ws, nchan");
        refused("peers --url http://127.0.0.1:1 --key k", "are started here");
        refused("--durability disk", "memory, durable");
    }

    #[test]
    fn urls_are_plain_http_without_a_path() {
        assert_eq!(parse_url("http://127.0.0.1/").unwrap().1.port(), 80);
        assert_eq!(parse_url("http://[::1]:81").unwrap().1.port(), 81);
        let check = |url: &str, why: &str| {
            let text = parse_url(url).unwrap_err().to_string();
            assert!(text.contains(why), "{text}");
        };
        check("https://127.0.0.1", "http://");
        check("127.0.0.1:80", "http://");
        check("http://127.0.0.1/v1", "path");
    }
}
