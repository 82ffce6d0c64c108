//! The listener and the life of the process around it.

use std::net::SocketAddr;
use std::time::Duration;

use tidings_wire::forwarded::Header;

use super::layers::Layers;
use super::{Key, Section, value};
use crate::listener::Sources;
use crate::networks::Networks;

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
        Key {
            name: "server.drain_pause",
            default: "0s",
            allowed: "a duration from 0s to 1h",
            doc: "How long everything goes on as before after a signal to stop, except that `/readyz` says no: the time \
                that load balancers need to notice. At most a quarter of `server.shutdown_timeout` is taken for it.",
            flag: "",
            secret: false,
        },
        Key {
            name: "server.drain_window",
            default: "5s",
            allowed: "a duration from 0s to 1h",
            doc: "Over which time clients are sent away when the server stops, a few at a time, so that they do not all \
                come back at once. At most half of `server.shutdown_timeout` is taken for it; with few clients it is \
                over sooner.",
            flag: "",
            secret: false,
        },
        Key {
            name: "server.proxy_protocol",
            default: "off",
            allowed: "off or required",
            doc: "Whether every connection begins with a PROXY header (version 1 or 2) that says whose it is, as load \
                balancers write it that pass bytes on. Needs `proxy_protocol_from`.",
            flag: "",
            secret: false,
        },
        Key {
            name: "server.proxy_protocol_from",
            default: "",
            allowed: "addresses and networks, as in \"10.0.0.0/8, 192.0.2.7, fd00::/8\"; or the word unix",
            doc: "Who may write PROXY headers: the load balancers. Connections from elsewhere are closed when headers \
                are required.",
            flag: "",
            secret: false,
        },
        Key {
            name: "server.trusted_proxies",
            default: "",
            allowed: "addresses and networks, as in \"10.0.0.0/8, 192.0.2.7, fd00::/8\"; or the word unix",
            doc: "The HTTP proxies that are believed when they say where a request came from: the rightmost address in \
                their header that is none of these is the client. The header of anybody else is ignored.",
            flag: "",
            secret: false,
        },
        Key {
            name: "server.forwarded_header",
            default: "x-forwarded-for",
            allowed: "x-forwarded-for or forwarded",
            doc: "The header in which trusted proxies say it. Only one is read, since a proxy passes the other one on \
                as the client wrote it.",
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
    /// How long everything goes on before clients are sent away.
    pub(crate) drain_pause: Duration,
    /// Over which time they are.
    pub(crate) drain_window: Duration,
    /// Who is believed when it says whose connection or request it passes on.
    pub(crate) sources: Sources,
}

impl Server {
    pub(super) fn resolve(layers: &mut Layers) -> Self {
        let up_to_an_hour = |text: &str| value::time(text, Duration::ZERO..=Duration::from_secs(3_600));
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
            drain_pause: layers.take("server.drain_pause", up_to_an_hour),
            drain_window: layers.take("server.drain_window", up_to_an_hour),
            sources: sources(layers),
        }
    }
}

fn sources(layers: &mut Layers) -> Sources {
    let sources = Sources {
        proxy_protocol: layers.take("server.proxy_protocol", |text| match text {
            "off" => Ok(false),
            "required" => Ok(true),
            _ => Err("must be off or required".to_owned()),
        }),
        proxy_protocol_from: layers.take("server.proxy_protocol_from", Networks::parse),
        trusted: layers.take("server.trusted_proxies", Networks::parse),
        header: layers.take("server.forwarded_header", |text| {
            [Header::XForwardedFor, Header::Forwarded]
                .into_iter()
                .find(|header| header.name() == text)
                .ok_or("must be x-forwarded-for or forwarded".to_owned())
        }),
    };
    if sources.proxy_protocol && sources.proxy_protocol_from.is_empty() {
        layers.refuse(
            "server.proxy_protocol",
            "needs server.proxy_protocol_from: without it nobody may write the header that everybody must",
        );
    }
    sources
}
