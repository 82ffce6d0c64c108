//! How much may come in, from whom, and how fast.

use std::time::Duration;

use super::layers::Layers;
use super::{Key, Section, value};

pub(super) const SECTION: Section = Section {
    name: "limits",
    doc: "How much may come in, and how fast. What is over a limit is refused; what is in already stays.",
    keys: &[
        Key {
            name: "limits.connections",
            default: "0",
            allowed: "0 to 100000000; 0 means as many as the files that the process may open",
            doc: "Most connections of clients. With one more, handshakes are answered 503 with `Retry-After`.",
            flag: "",
            secret: false,
        },
        Key {
            name: "limits.connections_per_address",
            default: "0",
            allowed: "0 to 100000000; 0 means no limit",
            doc: "Most connections from one IPv4 address, or from the first 64 bits of an IPv6 address. No limit unless \
                it is set: many people may share an address, and behind a proxy that is not among \
                `server.trusted_proxies` everybody has the proxy's.",
            flag: "",
            secret: false,
        },
        Key {
            name: "limits.connections_per_user",
            default: "0",
            allowed: "0 to 100000000; 0 means no limit",
            doc: "Most connections of one user of a namespace. No limit unless it is set: a user may be an account that \
                thousands of screens share. Counting takes some 20 to 40 bytes for each user who is there.",
            flag: "",
            secret: false,
        },
        Key {
            name: "limits.connections_per_device",
            default: "100",
            allowed: "0 to 100000000; 0 means no limit",
            doc: "Most connections of one device of a namespace: more tabs than a person keeps open in one browser, \
                and few enough to stop a client that opens one after the other and closes none.",
            flag: "",
            secret: false,
        },
        Key {
            name: "limits.handshakes_per_second",
            default: "0",
            allowed: "0 to 1000000; 0 means no limit",
            doc: "How many connections one address may begin in a second, for long. More are answered 429 with \
                `Retry-After`. No limit unless it is set, for the same reasons as `connections_per_address`.",
            flag: "",
            secret: false,
        },
        Key {
            name: "limits.handshake_burst",
            default: "100",
            allowed: "1 to 1000000",
            doc: "How many connections one address may begin at once, after it has been quiet.",
            flag: "",
            secret: false,
        },
        Key {
            name: "limits.waiting",
            default: "8192",
            allowed: "16 to 1000000",
            doc: "Most connections that have not sent a request yet. The next ones wait to be accepted until one of \
                them has, or until the oldest was silent for a third of `first_request_timeout` (5 s at most) and is \
                closed. Those of an address that has more than an eighth of the places, and is no proxy that is \
                believed, have a tenth of that time. At most half of the files that the process may open.",
            flag: "",
            secret: false,
        },
        Key {
            name: "limits.first_request_timeout",
            default: "15s",
            allowed: "a duration from 100ms to 1h",
            doc: "How long a new connection may take until its first request is there, PROXY header included, \
                whatever it sends meanwhile.",
            flag: "",
            secret: false,
        },
        Key {
            name: "limits.head_timeout",
            default: "10s",
            allowed: "a duration from 100ms to 1h",
            doc: "How long the head of a request on HTTP/1 may take to arrive, from the first byte that comes after the answer \
                before it; the first one of a connection has `first_request_timeout`. On HTTP/2, how long a client may take to \
                answer a ping.",
            flag: "",
            secret: false,
        },
        Key {
            name: "limits.head_size",
            default: "64KiB",
            allowed: "a size from 8KiB to 1MiB",
            doc: "Largest head of a request.",
            flag: "",
            secret: false,
        },
        Key {
            name: "limits.headers",
            default: "100",
            allowed: "16 to 1000",
            doc: "Most headers of a request.",
            flag: "",
            secret: false,
        },
        Key {
            name: "limits.body_timeout",
            default: "20s",
            allowed: "a duration from 100ms to 1h",
            doc: "How long the body of a request may take to arrive, be it of a client or of a call of the API; it is answered with \
                408 then. A call of the API has 30 s for everything, so more than that is of use to clients only. Streams of gRPC \
                last as long as they want.",
            flag: "",
            secret: false,
        },
        Key {
            name: "limits.idle_timeout",
            default: "75s",
            allowed: "a duration from 100ms to 1h",
            doc: "How long an HTTP connection may be without a request. An event stream is one. Proxies and HTTP clients that \
                keep connections must let go of them earlier, or they ask on one that is just being closed: nginx does after 60 s.",
            flag: "",
            secret: false,
        },
    ],
};

/// How much may come in, from whom, and how fast.
#[derive(Debug)]
pub(crate) struct Limits {
    pub(crate) connections: usize,
    pub(crate) connections_per_address: u32,
    pub(crate) connections_per_user: u32,
    pub(crate) connections_per_device: u32,
    pub(crate) handshakes_per_second: u32,
    pub(crate) handshake_burst: u32,
    pub(crate) waiting: usize,
    pub(crate) first_request_timeout: Duration,
    pub(crate) head_timeout: Duration,
    /// In bytes.
    pub(crate) head_size: usize,
    pub(crate) headers: usize,
    pub(crate) body_timeout: Duration,
    pub(crate) idle_timeout: Duration,
}

impl Limits {
    pub(super) fn resolve(layers: &mut Layers) -> Self {
        let time = |text: &str| value::time(text, Duration::from_millis(100)..=Duration::from_secs(3_600));
        let count = |text: &str| value::number(text, 0..=100_000_000);
        Self {
            connections: layers.take("limits.connections", |text| value::number(text, 0..=100_000_000)),
            connections_per_address: layers.take("limits.connections_per_address", count),
            connections_per_user: layers.take("limits.connections_per_user", count),
            connections_per_device: layers.take("limits.connections_per_device", count),
            handshakes_per_second: layers
                .take("limits.handshakes_per_second", |text| value::number(text, 0..=1_000_000)),
            handshake_burst: layers.take("limits.handshake_burst", |text| value::number(text, 1..=1_000_000)),
            waiting: layers.take("limits.waiting", |text| value::number(text, 16..=1_000_000)),
            first_request_timeout: layers.take("limits.first_request_timeout", time),
            head_timeout: layers.take("limits.head_timeout", time),
            head_size: layers.take("limits.head_size", |text| {
                value::size(text, 8 << 10..=1 << 20).map(|size| size as usize)
            }),
            headers: layers.take("limits.headers", |text| value::number(text, 16..=1_000)),
            body_timeout: layers.take("limits.body_timeout", time),
            idle_timeout: layers.take("limits.idle_timeout", time),
        }
    }
}
