//! What clients speak. A protocol is one file in `protocol/` and one line in [`PROTOCOLS`].
//!
//! The loop over sockets (`fleet`, `client`) knows none of them: it hands over the bytes that came, sends the bytes it
//! is given, and is told through the [`Ear`] what the client heard. A protocol whose messages travel in WebSocket
//! frames is a [`websocket::Dialect`] and has nothing to do with frames, pings and closes.

pub(crate) mod json;
pub(crate) mod nats;
pub(crate) mod plain;
pub(crate) mod polling;
pub(crate) mod pusher;
pub(crate) mod rooms;
pub(crate) mod socketio;
pub(crate) mod sse;
pub(crate) mod websocket;

use std::io;

use crate::{frame::FrameError, inbox::Ear};

/// All of them, by the name that `--protocol` takes.
pub(crate) const PROTOCOLS: &[Protocol] = &[
    json::WS,
    socketio::SOCKETIO,
    polling::POLLING,
    sse::SSE,
    rooms::ROOMS,
    plain::PLAIN,
    plain::NCHAN,
    nats::NATS,
    pusher::PUSHER,
];

/// One client protocol.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Protocol {
    /// The word for it on the command line.
    pub name: &'static str,
    /// What it is, for the report.
    pub about: &'static str,
    /// Who publishes to servers that speak it, when `--publisher` does not say: a name of `publisher::PUBLISHERS`.
    pub publisher: &'static str,
    /// Whether clients can say that they have a message.
    pub acks: bool,
    /// Bytes of an idle connection that are the target, where there is one.
    pub idle_bytes: Option<f64>,
    /// Begins the conversation of one client.
    pub open: fn(&Identity<'_>) -> Box<dyn Conversation>,
}

/// Who a client is, and what it wants.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity<'a> {
    /// The value of the `Host` header.
    pub authority: &'a str,
    /// Namespace (or application) to connect to.
    pub namespace: &'a str,
    /// Room (or channel, or subject) to join or subscribe to; nothing when it is in it already, or does not want to be.
    pub room: Option<&'a str>,
    /// A name that no other client of this run has.
    pub device: &'a str,
    /// The person to whom the device belongs, where a scenario has persons.
    pub user: Option<&'a str>,
    /// Whether every message is to be acknowledged.
    pub acks: bool,
}

/// One client's side of a connection.
pub(crate) trait Conversation {
    /// The connection stands: appends what is to be sent first.
    fn begin(&mut self, out: &mut Vec<u8>);

    /// Takes what came, in any pieces; appends what is to be sent because of it, and tells `ear` when the client has
    /// become ready (connected and joined), and of each message.
    fn receive(&mut self, bytes: &[u8], out: &mut Vec<u8>, ear: &mut Ear<'_>) -> Result<(), LinkError>;
}

/// Why a client is of no more use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// The socket failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// What came is not WebSocket.
    #[error("{0}")]
    Frame(#[from] FrameError),
    /// The server did not do what was asked, or nothing that can be understood.
    #[error("{0}")]
    Refused(String),
    /// The server closed.
    #[error("closed by the server{}", close_text(*.0))]
    Closed(Option<u16>),
}

fn close_text(code: Option<u16>) -> String {
    code.map_or_else(|| " without a close frame".to_owned(), |code| format!(" with code {code}"))
}

/// The protocol with this name; `clap` parses `--protocol` with it.
pub(crate) fn named(name: &str) -> Result<&'static Protocol, String> {
    PROTOCOLS.iter().find(|protocol| protocol.name == name).ok_or_else(|| {
        let names: Vec<&str> = PROTOCOLS.iter().map(|protocol| protocol.name).collect();
        format!("allowed is {}", names.join(", "))
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::inbox::Inbox;

    /// The answer to the upgrade of every WebSocket.
    pub(crate) const GRANTED: &[u8] =
        b"HTTP/1.1 101 x\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

    /// A client that hears `pieces`; answers what it said to each, and its inbox.
    #[track_caller]
    pub(crate) fn talk(
        protocol: &Protocol,
        identity: &Identity<'_>,
        pieces: &[&[u8]],
    ) -> (Vec<Vec<u8>>, Inbox) {
        let mut conversation = (protocol.open)(identity);
        let mut inbox = Inbox::default();
        let mut said = vec![Vec::new()];
        conversation.begin(&mut said[0]);
        for piece in pieces {
            let mut out = Vec::new();
            conversation.receive(piece, &mut out, &mut Ear::with(&mut inbox, None)).unwrap();
            said.push(out);
        }
        (said, inbox)
    }

    #[test]
    fn names_are_known_and_have_publishers() {
        for protocol in PROTOCOLS {
            assert_eq!(named(protocol.name).unwrap().name, protocol.name);
            assert!(crate::publisher::named(protocol.publisher).is_ok(), "{}", protocol.publisher);
        }
        assert!(named("pigeon").unwrap_err().contains("ws, socketio"));
    }
}
