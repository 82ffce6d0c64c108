//! What an operator may set about connections.

use std::time::Duration;

use tidings_hub::Bounds;
pub use tidings_model::Origins;
use tidings_model::Platform;

/// What an operator may set about connections.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a connection may be silent before it is asked for a sign of life.
    pub ping_interval: Duration,
    /// How long it may take to give one.
    pub ping_timeout: Duration,
    /// Where these are others for a platform, at [`Platform`]'s index.
    pub heartbeats: [Heartbeat; Platform::ALL.len()],
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

/// What a platform does otherwise than most.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heartbeat {
    /// How long a connection may be silent, if not `ping_interval`.
    pub interval: Option<Duration>,
    /// How long a sign of life may take, if not `ping_timeout`.
    pub timeout: Option<Duration>,
}

impl Settings {
    /// How long a connection may be silent, and how long a sign of life may then take. For a client that has
    /// not said what it is, whatever is soonest, so that no platform's first heartbeat is late.
    #[must_use]
    pub(crate) fn heartbeat(&self, platform: Option<Platform>) -> (Duration, Duration) {
        let of = |platform: Platform| {
            let other = self.heartbeats[platform as usize];
            (other.interval.unwrap_or(self.ping_interval), other.timeout.unwrap_or(self.ping_timeout))
        };
        platform.map_or_else(
            || {
                let all = Platform::ALL.map(of);
                let sooner = |one: (Duration, Duration), other: (Duration, Duration)| {
                    (one.0.min(other.0), one.1.max(other.1))
                };
                all.into_iter().fold((self.ping_interval, self.ping_timeout), sooner)
            },
            of,
        )
    }

    /// The shortest time of all heartbeats.
    pub(crate) fn shortest_beat(&self) -> Duration {
        let times = self.heartbeats.iter().flat_map(|one| [one.interval, one.timeout]).flatten();
        times.chain([self.ping_interval, self.ping_timeout]).min().unwrap_or(self.ping_interval)
    }
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
            heartbeats: [Heartbeat::default(); Platform::ALL.len()],
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
