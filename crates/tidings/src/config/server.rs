//! The listener and the life of the process around it.

use std::net::SocketAddr;
use std::time::Duration;

use super::layers::Layers;
use super::{Key, Section, value};

pub(super) const SECTION: Section = Section {
    name: "server",
    doc: "The listener for clients, REST, health and metrics.",
    keys: &[
        Key {
            name: "server.listen",
            default: "127.0.0.1:8080",
            allowed: "an IP address and a port, as in \"0.0.0.0:8080\" or \"[::]:8080\"; port 0 takes a free one",
            doc: "Where to listen.",
            flag: "--listen",
            secret: false,
        },
        Key {
            name: "server.backlog",
            default: "4096",
            allowed: "1 to 65535",
            doc: "How many connections may wait to be accepted. The kernel allows at most `net.core.somaxconn`.",
            flag: "",
            secret: false,
        },
        Key {
            name: "server.shutdown_timeout",
            default: "10s",
            allowed: "a duration from 1s to 1h",
            doc: "How long stopping may take: saying goodbye to clients, answering calls, writing everything down.",
            flag: "",
            secret: false,
        },
    ],
};

/// The listener and the life of the process around it.
#[derive(Debug)]
pub(crate) struct Server {
    /// Where to listen.
    pub(crate) listen: SocketAddr,
    /// How many connections may wait to be accepted.
    pub(crate) backlog: i32,
    /// How long stopping may take.
    pub(crate) shutdown_timeout: Duration,
}

impl Server {
    pub(super) fn resolve(layers: &mut Layers) -> Self {
        let address = |text: &str| {
            text.parse().map_err(|_| {
                "must be an IP address and a port, as in \"127.0.0.1:8080\", \"0.0.0.0:8080\" or \"[::]:8080\"".to_owned()
            })
        };
        Self {
            listen: layers.take("server.listen", address),
            backlog: layers.take("server.backlog", |text| value::number(text, 1..=65_535)),
            shutdown_timeout: layers.take("server.shutdown_timeout", |text| {
                value::time(text, Duration::from_secs(1)..=Duration::from_secs(3_600))
            }),
        }
    }
}
