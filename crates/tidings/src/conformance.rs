//! `tidings conformance`: what the public protocol suites expect to talk to, on the code that serves
//! everybody. It keeps nothing, knows no namespace and has no other routes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgAction, Args, builder::RangedU64ValueParser};
use tidings_gateway::{Gateway, Settings};
use tidings_model::Epoch;
use tidings_node::connect::ConnectionLimits;
use tidings_node::{Clock, Metrics, Node, Parts};
use tidings_store::MemoryStore;

use crate::config::Config;
use crate::listener::{self, Address, Listener, Manner};
use crate::run::{self, Fatal};
use crate::signals::Stop;
use crate::{greeting, limits};

/// Longest time that can be set, in milliseconds.
const TIME_MS_MAX: u64 = 3_600_000;

/// Largest payload that can be set, in bytes.
const PAYLOAD_MAX: u64 = 64 << 20;

/// Arguments of `tidings conformance`.
#[derive(Debug, Args)]
pub(crate) struct ConformanceArgs {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:3000")]
    listen: SocketAddr,
    /// Engine.IO: milliseconds between two heartbeats
    #[arg(long, value_name = "MS", default_value_t = 300, value_parser = RangedU64ValueParser::<u64>::new().range(1..=TIME_MS_MAX))]
    ping_interval: u64,
    /// Engine.IO: milliseconds that the answer to a heartbeat may take
    #[arg(long, value_name = "MS", default_value_t = 200, value_parser = RangedU64ValueParser::<u64>::new().range(1..=TIME_MS_MAX))]
    ping_timeout: u64,
    /// Engine.IO: largest payload of a client, in bytes (a plain echo takes 64 MiB)
    #[arg(long, value_name = "BYTES", default_value_t = 1_000_000, value_parser = RangedU64ValueParser::<u64>::new().range(1..=PAYLOAD_MAX))]
    max_payload: u64,
    /// Socket.IO: milliseconds that a client may take to join a namespace
    #[arg(long, value_name = "MS", default_value_t = 1_000, value_parser = RangedU64ValueParser::<u64>::new().range(1..=TIME_MS_MAX))]
    connect_timeout: u64,
    /// Whether clients of Engine.IO 3 are served as well
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    engineio3: bool,
    /// Whether permessage-deflate is offered; every message is compressed then, however small
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    compression: bool,
}

impl ConformanceArgs {
    fn settings(&self, config: &Config) -> Settings {
        Settings {
            ping_interval: Duration::from_millis(self.ping_interval),
            ping_timeout: Duration::from_millis(self.ping_timeout),
            connect_timeout: Duration::from_millis(self.connect_timeout),
            max_message: self.max_payload as usize,
            engineio3: self.engineio3,
            compression: self.compression.then_some(0),
            ..run::gateway_settings(config)
        }
    }
}

/// Serves until it is told to stop.
pub(crate) fn serve(args: &ConformanceArgs) -> Result<(), Fatal> {
    let files = limits::raise_open_files();
    let config = Config::defaults();
    let address = Address::Tcp(args.listen);
    let in_listen = |why| Fatal::Listen(run::LISTEN, address.clone(), why);
    let bound = listener::bind(&address, Manner::default()).map_err(in_listen)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("http")
        .build()
        .map_err(|why| Fatal::System("the runtime cannot be started", why))?;
    let outcome = runtime.block_on(async {
        let mut stop = Stop::listen().map_err(|why| Fatal::System("signals cannot be listened for", why))?;
        let parts = Parts {
            providers: Vec::new(),
            store: Arc::new(MemoryStore::new(Epoch(1))),
            clock: Clock::System,
            shards: config.process.shards,
            name: "conformance".to_owned(),
            limits: ConnectionLimits::default(),
            keep_statistics: tidings_node::statistics::Keep::default(),
            simulations: false,
            metrics: Arc::new(Metrics::default()),
        };
        let in_memory = |why| Fatal::Store("(memory)".into(), why);
        let (node, inboxes) = Node::start(parts).await.map_err(in_memory)?;
        let gateway = Gateway::start(node, inboxes, args.settings(&config))
            .map_err(|why| Fatal::System("a shard thread cannot be started", why))?;
        let listener = Listener::new(
            bound,
            config.server.backlog,
            run::manners(&config, files),
            listener::Metrics::default(),
            gateway.conformance_router(),
        )
        .map_err(in_listen)?;
        let address = listener.address().map_err(in_listen)?;
        let _ = greeting::say(&format!(
            "listening on http://{address}\n\n  \
             /echo         plain WebSocket: text and bytes come back\n  \
             /engine.io/   Engine.IO: every message comes back\n  \
             /socket.io/   Socket.IO: namespaces / and /custom; auth, message, message-with-ack\n\n"
        ));
        tokio::select! {
            _ = stop.next() => Ok(()),
            () = listener.accept() => unreachable!("accepting never ends"),
        }
    });
    runtime.shutdown_background();
    outcome
}
