//! Clients: listen, upgrade, connections, transports and dialects.
//!
//! The HTTP side (`http`) runs on the ordinary runtime: it judges a request and hands what becomes of
//! it to a shard. A shard (`shard`) is a thread that owns its connections outright (`connection`);
//! it reads and writes their sockets, and a `dialect` maps the packets of a client protocol to use
//! cases of the node (`session`). No policy lives here: who may connect, what a room is and what
//! becomes of a message is the node's.

mod breath;
mod command;
pub mod compat;
mod connection;
mod connections;
mod dialect;
mod door;
mod drain;
mod expiry;
mod http;
mod local;
mod presence;
mod pressure;
mod react;
mod refusal;
mod send;
mod session;
pub mod settings;
mod shard;
mod signal;
mod socket;
mod speak;
pub mod stream;

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tidings_node::{Node, ToShard};
use tokio::sync::{mpsc, oneshot};

pub use drain::Plan;
pub use settings::Settings;
pub use stream::{Noted, Stream, Traffic};

use command::{Command, ShardHandle};
use pressure::Pressure;
use shard::Parts;

/// The exit code of a process that a bug has ended (EX_SOFTWARE of sysexits.h).
const EXIT_PANIC: i32 = 70;

/// How often a drain says how far it has come.
const PROGRESS: Duration = Duration::from_secs(1);

/// The gateway: the shards and the way to them.
#[derive(Clone)]
pub struct Gateway {
    front: Arc<Front>,
}

/// What the HTTP side knows of the shards.
pub(crate) struct Front {
    pub(crate) node: Arc<Node>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) shards: Vec<ShardHandle>,
    pub(crate) door: door::Door,
    pressure: Arc<Pressure>,
    draining: AtomicBool,
}

impl Gateway {
    /// Starts one shard thread for each inbox of the node.
    ///
    /// # Errors
    /// When the operating system starts no more threads.
    pub fn start(
        node: Arc<Node>,
        inboxes: Vec<mpsc::Receiver<ToShard>>,
        settings: Settings,
    ) -> std::io::Result<Self> {
        let settings = Arc::new(settings);
        let pressure = Arc::new(Pressure::new(inboxes.len(), settings.lag, settings.memory));
        let mut shards = Vec::with_capacity(inboxes.len());
        for (index, inbox) in inboxes.into_iter().enumerate() {
            let (handle, commands) = ShardHandle::new();
            let (node, settings, load) = (Arc::clone(&node), Arc::clone(&settings), Arc::clone(&handle.load));
            let pressure = Arc::clone(&pressure);
            thread::Builder::new().name(format!("shard-{index}")).spawn(move || {
                let run = || {
                    shard::run(Parts { index: index as u8, node, settings, load, pressure, inbox, commands })
                };
                if panic::catch_unwind(AssertUnwindSafe(run)).is_err() {
                    // Half a server that looks like a whole one helps nobody. What was accepted is on disk.
                    tracing::error!(shard = index, "a shard has panicked; this process ends");
                    std::process::exit(EXIT_PANIC);
                }
            })?;
            shards.push(handle);
        }
        let door = door::Door::new(&settings);
        let draining = AtomicBool::new(false);
        Ok(Self { front: Arc::new(Front { node, settings, shards, door, pressure, draining }) })
    }

    /// The routes that clients use.
    pub fn router(&self) -> axum::Router {
        http::router(Arc::clone(&self.front))
    }

    /// The routes that public protocol suites use, on the same code: `/echo` (a plain WebSocket),
    /// `/engine.io/` (every message comes back) and `/socket.io/` (namespaces `/` and `/custom`).
    pub fn conformance_router(&self) -> axum::Router {
        http::conformance_router(Arc::clone(&self.front))
    }

    /// From now on these pages may connect. Connections that are there stay.
    pub fn allow_origins(&self, origins: settings::Origins) {
        self.front.door.allow(origins);
    }

    /// How many connections there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.front.shards.iter().map(|shard| shard.load.load(Ordering::Relaxed)).sum()
    }

    /// Says goodbye to every connection, a few at a time, and waits until the last one has ended. New ones are
    /// refused from now on. Answers how many were left when the time was over.
    pub async fn drain(&self, plan: Plan) -> usize {
        self.front.draining.store(true, Ordering::Relaxed);
        let all = self.connections();
        let mut done = Vec::new();
        for shard in &self.front.shards {
            let (reply, told) = oneshot::channel();
            // A shard that is too busy to be told is not waited for longer than the others.
            let command = shard.commands.send(Command::Drain { plan, of: all, reply });
            let _ = tokio::time::timeout(plan.timeout, command).await;
            done.push(told);
        }
        let gone = async {
            for told in done {
                let _ = told.await;
            }
        };
        let progress = async {
            let mut seconds = tokio::time::interval(PROGRESS);
            seconds.tick().await;
            loop {
                seconds.tick().await;
                let left = self.connections();
                tracing::info!("draining: {} of {all} connections gone", all.saturating_sub(left));
            }
        };
        tokio::select! {
            () = gone => {}
            () = progress => {}
            () = tokio::time::sleep(plan.timeout) => {}
        }
        self.connections()
    }
}

impl Front {
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Why no shard takes new clients now, if none does.
    pub(crate) fn overload(&self) -> Option<&'static str> {
        let mut why = None;
        for index in 0..self.shards.len() {
            why = Some(self.pressure.shut(index)?);
        }
        why
    }

    /// The shard with the fewest connections, of those that are not overloaded if there are such.
    pub(crate) fn least_loaded(&self) -> &ShardHandle {
        let load = |(index, shard): &(usize, &ShardHandle)| {
            (self.pressure.shut(*index).is_some(), shard.load.load(Ordering::Relaxed))
        };
        let shard = self.shards.iter().enumerate().min_by_key(load).map(|(_, shard)| shard);
        shard.unwrap_or_else(|| unreachable!("a node has at least one shard"))
    }

    /// The shard that a session id names.
    pub(crate) fn shard_of(&self, sid: &str) -> Option<&ShardHandle> {
        self.shards.get(usize::from(u8::from_str_radix(sid.get(..2)?, 16).ok()?))
    }
}
