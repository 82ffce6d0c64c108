//! What an operator may set about connections.

use std::time::Duration;

use tidings_hub::Bounds;

pub use crate::door::origins::Origins;

/// What an operator may set about connections.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a connection may be silent before it is asked for a sign of life.
    pub ping_interval: Duration,
    /// How long it may take to give one.
    pub ping_timeout: Duration,
    /// How long a client may take to say who it is.
    pub connect_timeout: Duration,
    /// How long the body of a POST may take to arrive.
    pub body_timeout: Duration,
    /// Largest message from a client, in bytes.
    pub max_message: usize,
    /// Whether clients of Engine.IO 3 (1.x and 2.x) are served.
    pub engineio3: bool,
    /// Smallest payload that is compressed for clients which ask for it, in bytes; `None` for no compression.
    pub compression: Option<usize>,
    /// How much may wait for one connection.
    pub outbox: Bounds,
    /// Who may come in.
    pub limits: Limits,
    /// Which pages may connect.
    pub origins: Origins,
    /// A shard that is later than this takes no new clients.
    pub lag: Duration,
    /// New clients are let in while the process uses less memory than this, in bytes.
    pub memory: Option<u64>,
}

/// Who may come in; 0 is no limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Most connections of this process.
    pub connections: usize,
    /// Most connections from one address.
    pub per_address: u32,
    /// Most handshakes in a second from one address.
    pub handshakes_per_second: u32,
    /// Most handshakes at once from one address.
    pub handshake_burst: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            connect_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(20),
            max_message: 1_000_000,
            engineio3: true,
            compression: Some(1_024),
            outbox: Bounds::default(),
            limits: Limits::default(),
            origins: Origins::default(),
            lag: Duration::from_millis(250),
            memory: None,
        }
    }
}
