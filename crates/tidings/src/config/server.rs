//! The listener and the life of the process around it.

use std::path::PathBuf;
use std::time::Duration;

use tidings_wire::forwarded::Header;

use super::layers::Layers;
use super::{Key, Section, value};
use crate::listener::tls::Files;
use crate::listener::{Address, Manner, Sources};
use crate::networks::Networks;

pub(super) const SECTION: Section = Section {
    name: "server",
    doc: "The listener for clients, REST, health and metrics.",
    keys: &[
        Key {
            name: "server.listen",
            default: "127.0.0.1:8080",
            allowed: "an IP address and a port, as in \"0.0.0.0:8080\" or \"[::]:8080\"; port 0 takes a free one; or a \
                Unix socket, as in \"unix:/run/tidings.sock\"",
            doc: "Where to listen. The file of a Unix socket is made, taken over from a process that is gone, and \
                removed at the end.",
            flag: "--listen",
            secret: false,
        },
        Key {
            name: "server.unix_mode",
            default: "0660",
            allowed: "an octal mode, as in \"0660\" or 0o660",
            doc: "Who may connect to a Unix socket: the mode of its file.",
            flag: "",
            secret: false,
        },
        Key {
            name: "server.reuse_port",
            default: "false",
            allowed: "true or false",
            doc: "Whether several processes may listen on the address (`SO_REUSEPORT`); the kernel then shares the \
                connections out. Off, a second process is told that the address is taken.",
            flag: "",
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

pub(super) const TLS: Section = Section {
    name: "server.tls",
    doc: "TLS 1.2 and 1.3 on the listener, with HTTP/2 and HTTP/1.1. The files are read again by a reload and when they \
        have changed; when they cannot be used then, the log says so and the certificate of before is shown. Turning it on or off \
        needs a restart.",
    keys: &[
        Key {
            name: "server.tls.cert",
            default: "",
            allowed: "a PEM file: the certificate, then those that lead to one that clients know",
            doc: "The certificate. Without it, connections are not encrypted.",
            flag: "",
            secret: false,
        },
        Key {
            name: "server.tls.key",
            default: "",
            allowed: "a PEM file without a password",
            doc: "The key of the certificate.",
            flag: "",
            secret: false,
        },
        Key {
            name: "server.tls.check_interval",
            default: "10s",
            allowed: "a duration from 100ms to 1d",
            doc: "How often to look whether the files have changed.",
            flag: "",
            secret: false,
        },
    ],
};

/// The listener and the life of the process around it.
#[derive(Debug)]
pub(crate) struct Server {
    /// Where to listen.
    pub(crate) listen: Address,
    /// How to listen there.
    pub(crate) manner: Manner,
    /// The certificate, if connections are encrypted.
    pub(crate) tls: Option<Files>,
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
            Address::parse(text).ok_or_else(|| {
                "must be an IP address and a port, as in \"127.0.0.1:8080\", \"0.0.0.0:8080\" or \"[::]:8080\", or a Unix \
                 socket, as in \"unix:/run/tidings.sock\"".to_owned()
            })
        };
        let listen = layers.take("server.listen", address);
        let mode = |text: &str| {
            let mode = u32::from_str_radix(text.strip_prefix("0o").unwrap_or(text), 8)
                .ok()
                .filter(|mode| *mode <= 0o777);
            mode.ok_or("must be an octal mode from 0000 to 0777, as in \"0660\"".to_owned())
        };
        Self {
            tls: tls(layers, &listen),
            listen,
            manner: Manner {
                reuse_port: layers.take("server.reuse_port", value::switch),
                unix_mode: layers.take("server.unix_mode", mode),
            },
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

fn tls(layers: &mut Layers, listen: &Address) -> Option<Files> {
    let file = |text: &str| Ok(Some(PathBuf::from(text)).filter(|path| !path.as_os_str().is_empty()));
    let (cert, key) = (layers.take("server.tls.cert", file), layers.take("server.tls.key", file));
    let check_interval = layers.take("server.tls.check_interval", |text| {
        value::time(text, Duration::from_millis(100)..=Duration::from_secs(86_400))
    });
    match (cert, key) {
        (None, None) => None,
        (Some(_), None) => {
            layers.refuse("server.tls.cert", "needs server.tls.key");
            None
        }
        (None, Some(_)) => {
            layers.refuse("server.tls.key", "needs server.tls.cert");
            None
        }
        (Some(_), Some(_)) if matches!(listen, Address::Unix(_)) => {
            layers.refuse("server.tls.cert", "is for TCP: on a Unix socket nothing is encrypted");
            None
        }
        (Some(cert), Some(key)) => Some(Files { cert, key, check_interval }),
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
