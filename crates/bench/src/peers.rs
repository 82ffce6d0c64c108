//! The servers of others that Tidings is measured beside. A peer is one line in [`PLACES`], a case in `peers/start` and
//! one in `peers/install.sh`, besides what it speaks (`protocol/`, `publisher/`).

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::{
    args::Running,
    error::{BenchError, Doing},
    process,
    protocol::{Protocol, json, nats, plain, pusher, rooms, socketio},
    server::{Own, Server},
};

/// Everything that can be visited, in the order of the table.
pub(crate) const PLACES: &[Place] = &[
    Place::Peer(Peer { name: "socketio", protocol: &rooms::ROOMS, publishes_apart: false }),
    Place::Peer(Peer { name: "ws", protocol: &plain::PLAIN, publishes_apart: false }),
    Place::Peer(Peer { name: "nchan", protocol: &plain::NCHAN, publishes_apart: false }),
    Place::Peer(Peer { name: "nats", protocol: &nats::NATS, publishes_apart: true }),
    Place::Peer(Peer { name: "sockudo", protocol: &pusher::PUSHER, publishes_apart: false }),
    Place::Tidings { name: "tidings", protocol: &json::WS },
    Place::Tidings { name: "tidings-socketio", protocol: &socketio::SOCKETIO },
    Place::Floor,
];

/// What is visited.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    /// Somebody else's server.
    Peer(Peer),
    /// This program's own.
    Tidings {
        /// The word for it on the command line.
        name: &'static str,
        /// What its clients speak.
        protocol: &'static Protocol,
    },
    /// The bare `send()` loop.
    Floor,
}

impl Place {
    /// The word for it on the command line.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Peer(Peer { name, .. }) | Self::Tidings { name, .. } => name,
            Self::Floor => "floor",
        }
    }

    /// What it is, in a line; an error when it is not installed.
    pub(crate) fn about(&self, folder: &Path) -> Result<String, BenchError> {
        match self {
            Self::Peer(peer) => peer.version(folder),
            Self::Tidings { protocol, .. } => {
                Ok(format!("Tidings {}, {}", env!("CARGO_PKG_VERSION"), protocol.about))
            }
            Self::Floor => Ok("a bare send() loop, no server at all".to_owned()),
        }
    }
}

/// Somebody else's server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    /// The word for it on the command line and for `peers/start`.
    pub name: &'static str,
    /// What its clients speak; the protocol says who publishes.
    pub protocol: &'static Protocol,
    /// Whether publishers come to a port of their own.
    pub publishes_apart: bool,
}

impl Peer {
    /// What is installed, in a line; an error when it is not.
    fn version(&self, folder: &Path) -> Result<String, BenchError> {
        let output = Command::new(folder.join("start")).args([self.name, "--version"]).output();
        let output = output.doing(&format!("starting {}", folder.join("start").display()))?;
        let said = String::from_utf8_lossy(&output.stdout);
        match said.trim().lines().next() {
            Some(line) if output.status.success() => Ok(line.to_owned()),
            _ => Err(BenchError::Arguments(format!("{} is not installed", self.name))),
        }
    }

    /// Starts it from `folder` on free ports and waits until it listens.
    pub(crate) fn start(&self, folder: &Path) -> Result<Server, BenchError> {
        let doing = format!("starting {}", self.name);
        let directory = TempDir::with_prefix("tidings-bench-").doing(&doing)?;
        let [address, apart] = free_addresses().doing(&doing)?;
        let publish_to = if self.publishes_apart { apart } else { address };
        let mut command = Command::new(folder.join("start"));
        command
            .arg(self.name)
            .env("PEER_PORT", address.port().to_string())
            .env("PEER_PUBLISH_PORT", apart.port().to_string())
            .env("PEER_DIR", directory.path())
            .stdout(Stdio::null());
        let mut own = Own::start(&mut command, directory, true)?;
        own.wait_for(&[address, publish_to])?;
        let pids = process::group(own.pid())?;
        let (authority, key) = (address.to_string(), String::new());
        Ok(Server::over(own, Running { address, authority, publish_to, key, pids }))
    }
}

/// Two addresses of this machine at which nobody listens now.
fn free_addresses() -> std::io::Result<[SocketAddr; 2]> {
    let [one, other] =
        [TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?, TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?];
    Ok([one.local_addr()?, other.local_addr()?])
}

/// The place with this name; `clap` parses `--only` with it.
pub(crate) fn named(name: &str) -> Result<Place, String> {
    PLACES.iter().find(|place| place.name() == name).copied().ok_or_else(|| {
        let names: Vec<&str> = PLACES.iter().map(Place::name).collect();
        format!("allowed is {}", names.join(", "))
    })
}
