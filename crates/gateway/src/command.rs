//! What the HTTP side tells a shard.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tidings_model::NamespaceName;
use tidings_model::RoomName;
use tidings_node::connect::Claim;
use tidings_node::resume::Since;
use tidings_wire::engineio::Version;
use tidings_wire::push::Codec;
use tidings_wire::websocket::Window;
use tokio::sync::mpsc::error::SendError;
use tokio::sync::{mpsc, oneshot};

use crate::dialect::Dialect;
use crate::door::Place;
use crate::drain::Plan;
use crate::session::Refusal;
use crate::socket::Detached;

/// Most commands that wait for a shard; with more, the HTTP side waits.
pub(crate) const COMMANDS: usize = 4_096;

/// The way to a shard.
#[derive(Clone, Debug)]
pub(crate) struct ShardHandle {
    pub(crate) commands: mpsc::Sender<Command>,
    /// How many connections it has, or is about to have.
    pub(crate) load: Arc<AtomicUsize>,
}

impl ShardHandle {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Command>) {
        let (commands, receiver) = mpsc::channel(COMMANDS);
        (Self { commands, load: Arc::new(AtomicUsize::new(0)) }, receiver)
    }

    /// Sends a connection to the shard, counted from now on: a burst of them must not all choose the same one.
    pub(crate) async fn open(&self, command: Command) -> Result<(), SendError<Command>> {
        self.load.fetch_add(1, Ordering::Relaxed);
        let coming = Coming(Arc::clone(&self.load));
        self.commands.send(Command::Open(Box::new(command), coming)).await
    }
}

/// A connection on its way to its shard: counted until the shard has counted it itself, or it has got lost.
#[derive(Debug)]
pub(crate) struct Coming(Arc<AtomicUsize>);

impl Drop for Coming {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A socket after its HTTP handshake, and what was read beyond it.
#[derive(Debug)]
pub(crate) struct Upgraded {
    pub(crate) socket: Detached,
    pub(crate) leftover: Bytes,
    /// How frames for it may be compressed.
    pub(crate) deflate: Option<Window>,
    /// The place that it takes; none for a connection that has one already.
    pub(crate) place: Option<Place>,
}

/// What the HTTP side tells a shard.
#[derive(Debug)]
pub(crate) enum Command {
    /// Any of those that begin a connection.
    Open(Box<Self>, Coming),
    /// A plain WebSocket, and what it speaks.
    Plain { socket: Upgraded, dialect: Box<Dialect> },
    /// A WebSocket that speaks Engine.IO from the start.
    EngineIo { socket: Upgraded, version: Version, claim: Box<Query>, application: Application },
    /// A new Engine.IO session by polling; answered with the body of the first poll.
    OpenPolling {
        version: Version,
        claim: Box<Query>,
        application: Application,
        place: Option<Place>,
        reply: oneshot::Sender<PollReply>,
    },
    /// A poll.
    Poll { sid: String, reply: oneshot::Sender<PollReply> },
    /// The client of a poll went away.
    PollGone { sid: String },
    /// Packets from the client.
    Post { sid: String, body: Bytes, binary: bool, reply: oneshot::Sender<Result<(), PollError>> },
    /// Whether a session takes a POST now; if so, it takes no other one until that has come or is gone. Asked
    /// before the body is read, so that a session has one body in memory at most.
    MayPost { sid: String, reply: oneshot::Sender<Result<(), PollError>> },
    /// The POST that a session waits for does not come.
    PostGone { sid: String },
    /// Whether a session may be upgraded; if so, it is reserved for this one socket.
    MayUpgrade { sid: String, reply: oneshot::Sender<MayUpgrade> },
    /// The socket for a session that was reserved; `None` when it did not come.
    Upgrade { sid: String, socket: Option<Upgraded> },
    /// A socket for a session that has one, or waits for one.
    Surplus { socket: Upgraded, version: Version },
    /// An event stream.
    Sse { request: Box<SseRequest>, reply: oneshot::Sender<Result<mpsc::Receiver<Bytes>, Refusal>> },
    /// Say goodbye to everybody, `of` connections of the node together; answered when the last one has gone.
    Drain { plan: Plan, of: usize, reply: oneshot::Sender<()> },
}

/// Whether a session may move to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MayUpgrade {
    /// It polls, and waits for this socket now.
    Yes,
    /// It has a socket, or waits for one.
    Taken,
    /// There is no such session.
    UnknownSession,
}

/// What answers the messages of an Engine.IO session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Application {
    /// Socket.IO, and behind it the use cases.
    Push,
    /// The same as light-push spoke it.
    LightPush,
    /// The same as push (koa) spoke it.
    PushKoa,
    /// Every message comes back; for protocol suites.
    Echo,
    /// Socket.IO, and behind it the events that protocol suites send.
    Fixture,
}

impl Application {
    /// The format in which messages are written.
    pub(crate) fn codec(self) -> Codec {
        match self {
            Self::Push | Self::Echo | Self::Fixture => Codec::SocketIo,
            Self::LightPush => Codec::LightPush,
            Self::PushKoa => Codec::PushKoa,
        }
    }

    /// Whether protocol suites speak to it.
    pub(crate) fn is_fixture(self) -> bool {
        matches!(self, Self::Echo | Self::Fixture)
    }

    /// How long a connection may be silent, and how long a sign of life may then take, where an older system said so.
    pub(crate) fn heartbeat(self) -> Option<(Duration, Duration)> {
        let seconds = |interval, timeout| Some((Duration::from_secs(interval), Duration::from_secs(timeout)));
        match self {
            Self::LightPush => seconds(20, 10),
            Self::PushKoa => seconds(15, 20),
            Self::Push | Self::Echo | Self::Fixture => None,
        }
    }
}

/// What an Engine.IO handshake said. It is kept as long as the connection, which may join namespaces for as long.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    pub(crate) device: Option<Box<str>>,
    pub(crate) user: Option<Box<str>>,
    pub(crate) platform: Option<Box<str>>,
    pub(crate) token: Option<Box<str>>,
    /// The one namespace that may be entered, if there is only one.
    pub(crate) only: Option<NamespaceName>,
    /// The page that it belongs to; none for programs.
    pub(crate) page: Option<Box<str>>,
    /// A version 3 client that cannot take bytes in a poll.
    pub(crate) base64: bool,
    /// All of it, for a client of light-push: its business system is shown it.
    pub(crate) verbatim: Option<Box<Verbatim>>,
}

/// A handshake as it was said.
#[derive(Clone, Debug)]
pub(crate) struct Verbatim {
    /// The query.
    pub(crate) query: Box<str>,
    pub(crate) cookie: Option<Box<str>>,
    /// The port that it was said to.
    pub(crate) port: u16,
}

/// Who wants an event stream, and from where on.
#[derive(Debug)]
pub(crate) struct SseRequest {
    pub(crate) namespace: NamespaceName,
    pub(crate) claim: Claim,
    pub(crate) rooms: Vec<RoomName>,
    pub(crate) since: Since,
    pub(crate) place: Option<Place>,
}

/// The answer to a poll.
#[derive(Debug)]
pub(crate) enum PollReply {
    /// Packets.
    Body {
        /// The session, told to version 3 clients in a cookie.
        sid: String,
        content_type: &'static str,
        body: Vec<u8>,
    },
    /// No such session, or a poll that may not be.
    Error(PollError),
}

/// Why a polling request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PollError {
    /// There is no such session.
    UnknownSession,
    /// The request breaks the protocol; the session is closed.
    BadRequest,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_is_counted_from_the_moment_it_is_sent() {
        let (shard, mut commands) = ShardHandle::new();
        let load = || shard.load.load(Ordering::Relaxed);
        let polling = || {
            let (reply, _) = oneshot::channel();
            let (version, claim, application) = (Version::V4, Box::default(), Application::Push);
            Command::OpenPolling { version, claim, application, place: None, reply }
        };
        for sent in 1..=3 {
            shard.open(polling()).await.unwrap();
            assert_eq!(load(), sent);
        }
        // Two are lost on their way, the third finds nobody.
        drop(commands.recv().await);
        assert_eq!(load(), 2);
        drop(commands);
        assert_eq!(load(), 0);
        assert!(shard.open(polling()).await.is_err());
        assert_eq!(load(), 0);
    }
}
