//! How connections of clients are kept.

use std::time::Duration;

use tidings_gateway::settings::{Heartbeat, Origins};
use tidings_model::Platform;

use super::layers::Layers;
use super::{Key, Section, value};

pub(super) const SECTION: Section = Section {
    name: "clients",
    doc: "Connections of clients.",
    keys: &[
        Key {
            name: "clients.ping_interval",
            default: "25s",
            allowed: "a duration from 100ms to 1h",
            doc: "How long a connection may be silent before it is asked for a sign of life.",
            flag: "--ping-interval",
            secret: false,
        },
        Key {
            name: "clients.ping_timeout",
            default: "20s",
            allowed: "a duration from 100ms to 1h",
            doc: "How long it may take to give one before it is closed.",
            flag: "--ping-timeout",
            secret: false,
        },
        heartbeat("clients.ping_interval_web", "`ping_interval` of browsers."),
        heartbeat("clients.ping_timeout_web", "`ping_timeout` of browsers."),
        heartbeat(
            "clients.ping_interval_android",
            "`ping_interval` of Android apps: each heartbeat wakes the radio. A client says what it is in the query of \
                its handshake (`platform`), on a plain WebSocket also in `connect`.",
        ),
        heartbeat("clients.ping_timeout_android", "`ping_timeout` of Android apps."),
        heartbeat("clients.ping_interval_ios", "`ping_interval` of iOS apps."),
        heartbeat("clients.ping_timeout_ios", "`ping_timeout` of iOS apps."),
        heartbeat("clients.ping_interval_desktop", "`ping_interval` of desktop programs."),
        heartbeat("clients.ping_timeout_desktop", "`ping_timeout` of desktop programs."),
        Key {
            name: "clients.connect_timeout",
            default: "10s",
            allowed: "a duration from 100ms to 1h",
            doc: "How long a client may take to say who it is.",
            flag: "",
            secret: false,
        },
        Key {
            name: "clients.max_message",
            default: "1MB",
            allowed: "a size from 1KiB to 64MiB",
            doc: "Largest message from a client; a larger one ends the connection. By polling, a larger body is refused with 413.",
            flag: "",
            secret: false,
        },
        Key {
            name: "clients.compression",
            default: "true",
            allowed: "true or false",
            doc: "Whether WebSocket messages are compressed for clients that ask for it (permessage-deflate). Each message is compressed once, for all of them.",
            flag: "",
            secret: false,
        },
        Key {
            name: "clients.compression_min",
            default: "1KiB",
            allowed: "a size from 0B to 1MiB",
            doc: "Smallest payload that is compressed.",
            flag: "",
            secret: false,
        },
        Key {
            name: "clients.engineio3",
            default: "true",
            allowed: "true or false",
            doc: "Whether Socket.IO clients of versions 1 and 2 (Engine.IO 3) are served. Those of light-push and push always are.",
            flag: "",
            secret: false,
        },
        Key {
            name: "clients.allowed_origins",
            default: "*",
            allowed: "* or origins, as in \"https://app.example.com, https://*.example.com, http://localhost:3000\"; \
                null for pages without one",
            doc: "The pages whose scripts may connect, by the origin that browsers name. Others are answered 403. Programs \
                that are no browsers name none, and may connect. What a browser says to come from another site \
                (`Sec-Fetch-Site`) needs an origin, and JSONP polling (`j=`), whose answers every page can run as a \
                script, an origin or a `Referer`.",
            flag: "",
            secret: false,
        },
    ],
};

/// A time that is another one for one platform.
const fn heartbeat(name: &'static str, doc: &'static str) -> Key {
    Key {
        name,
        default: "",
        allowed: "a duration from 100ms to 1h; none for as with others",
        doc,
        flag: "",
        secret: false,
    }
}

/// How connections of clients are kept.
#[derive(Debug)]
pub(crate) struct Clients {
    pub(crate) ping_interval: Duration,
    pub(crate) ping_timeout: Duration,
    /// Where the two are others, at [`Platform`]'s index.
    pub(crate) heartbeats: [Heartbeat; Platform::ALL.len()],
    pub(crate) connect_timeout: Duration,
    /// In bytes.
    pub(crate) max_message: usize,
    pub(crate) engineio3: bool,
    /// Smallest payload that is compressed, in bytes; `None` for no compression.
    pub(crate) compression: Option<usize>,
    /// Which pages may connect.
    pub(crate) allowed_origins: Origins,
}

impl Clients {
    pub(super) fn resolve(layers: &mut Layers) -> Self {
        let time = |text: &str| value::time(text, Duration::from_millis(100)..=Duration::from_secs(3_600));
        let mut other =
            |name| layers.take(name, |text| if text.is_empty() { Ok(None) } else { time(text).map(Some) });
        let mut heartbeats = [Heartbeat::default(); Platform::ALL.len()];
        for (platform, interval, timeout) in [
            (Platform::Web, "clients.ping_interval_web", "clients.ping_timeout_web"),
            (Platform::Android, "clients.ping_interval_android", "clients.ping_timeout_android"),
            (Platform::Ios, "clients.ping_interval_ios", "clients.ping_timeout_ios"),
            (Platform::Desktop, "clients.ping_interval_desktop", "clients.ping_timeout_desktop"),
        ] {
            heartbeats[platform as usize] = Heartbeat { interval: other(interval), timeout: other(timeout) };
        }
        let size = |text: &str| value::size(text, 1 << 10..=64 << 20).map(|bytes| bytes as usize);
        let compression = layers.take("clients.compression", value::switch);
        let compression_min = layers.take("clients.compression_min", |text| value::size(text, 0..=1 << 20));
        Self {
            compression: compression.then_some(compression_min as usize),
            ping_interval: layers.take("clients.ping_interval", time),
            ping_timeout: layers.take("clients.ping_timeout", time),
            heartbeats,
            connect_timeout: layers.take("clients.connect_timeout", time),
            max_message: layers.take("clients.max_message", size),
            engineio3: layers.take("clients.engineio3", value::switch),
            allowed_origins: layers.take("clients.allowed_origins", Origins::parse),
        }
    }
}
