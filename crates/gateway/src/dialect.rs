//! The dialects: what the packets of each client protocol mean.
//!
//! To add one: a module here, a variant of [`Dialect`], and an answer wherever the compiler then asks.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tidings_model::{Disconnect, Message, NamespaceName};
use tidings_node::connect::Claim;
use tidings_wire::engineio::Version;
use tidings_wire::push::{Codec, Encoded};

use crate::command::{Application, Query};
use crate::connection::Connection;
use crate::local::Local;
use crate::session::Session;
use crate::settings::Settings;

pub(crate) mod compat;
pub(crate) mod conformance;
pub(crate) mod engineio;
pub(crate) mod json;
pub(crate) mod socketio;
pub(crate) mod sse;

/// What a connection speaks, and how far it has come.
#[derive(Debug)]
pub(crate) enum Dialect {
    /// The JSON protocol on a plain WebSocket.
    Json(json::State),
    /// Socket.IO over Engine.IO.
    EngineIo(Box<engineio::State>),
    /// An event stream.
    Sse,
    /// A plain WebSocket whose messages come back.
    Echo,
    /// A plain WebSocket of one of the older systems.
    Compat(Box<compat::State>),
}

impl Dialect {
    pub(crate) fn json(namespace: NamespaceName, claim: Claim) -> Self {
        Self::Json(json::State::new(namespace, claim))
    }

    pub(crate) fn engineio(shard: u8, version: Version, query: Query, application: Application) -> Self {
        Self::EngineIo(Box::new(engineio::State::new(shard, version, query, application)))
    }

    /// The format in which messages are written to it.
    pub(crate) fn codec(&self) -> Codec {
        match self {
            Self::Json(_) | Self::Echo => Codec::Json,
            Self::EngineIo(state) => state.application.codec(),
            Self::Compat(state) => state.codec(),
            Self::Sse => Codec::Sse,
        }
    }

    /// The name in metrics.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Json(_) => "json",
            Self::EngineIo(state) => match (state.application, state.version) {
                (Application::LightPush, _) => "light_push",
                (Application::PushKoa, _) => "push_koa",
                (_, Version::V3) => "engineio3",
                (_, Version::V4) => "engineio4",
            },
            Self::Compat(state) => state.name(),
            Self::Sse => "sse",
            Self::Echo => "echo",
        }
    }

    /// The session id that further requests name it by.
    pub(crate) fn sid(&self) -> Option<&str> {
        match self {
            Self::EngineIo(state) => Some(&state.sid),
            Self::Json(_) | Self::Sse | Self::Echo | Self::Compat(_) => None,
        }
    }

    /// Largest message that it may send, in bytes.
    pub(crate) fn max_message(&self, settings: &Settings) -> usize {
        match self {
            Self::Json(_) | Self::EngineIo(_) | Self::Sse | Self::Compat(_) => settings.max_message,
            Self::Echo => conformance::ECHO_BYTES_MAX,
        }
    }

    /// How long it may take to say who it is; `None` once it has, and for those who need not.
    fn introduces_itself_within(&self, settings: &Settings) -> Option<Duration> {
        match self {
            Self::Json(state) => state.is_connecting().then_some(settings.connect_timeout),
            Self::EngineIo(state) => (!state.has_connected).then_some(settings.connect_timeout),
            Self::Compat(state) => state.introduces_itself_within(),
            Self::Sse | Self::Echo => None,
        }
    }

    /// Whether its device is there for this one connection only: whoever comes back cannot be known again.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Compat(state) => state.is_passing(),
            Self::Json(_) | Self::EngineIo(_) | Self::Sse | Self::Echo => false,
        }
    }
}

enum Kind {
    Json,
    EngineIo,
    Sse,
    Echo,
    Compat,
}

fn kind(connection: &Connection) -> Kind {
    match &*connection.dialect.borrow() {
        Dialect::Json(_) => Kind::Json,
        Dialect::EngineIo(_) => Kind::EngineIo,
        Dialect::Sse => Kind::Sse,
        Dialect::Echo => Kind::Echo,
        Dialect::Compat(_) => Kind::Compat,
    }
}

/// A plain WebSocket has come.
pub(crate) fn welcome(local: &Rc<Local>, connection: &Rc<Connection>) {
    if matches!(kind(connection), Kind::Compat) {
        compat::welcome(local, connection);
    }
}

/// A text message came.
pub(crate) fn text(local: &Rc<Local>, connection: &Rc<Connection>, text: &str) {
    match kind(connection) {
        Kind::Json => json::text(local, connection, text),
        Kind::EngineIo => engineio::text(local, connection, text),
        Kind::Sse => {}
        Kind::Echo => local.send(connection, text),
        Kind::Compat => compat::text(local, connection, text),
    }
}

/// A binary message came.
pub(crate) fn binary(local: &Rc<Local>, connection: &Rc<Connection>, bytes: &[u8]) {
    match kind(connection) {
        Kind::Json => local.close(connection, Disconnect::UNSUPPORTED),
        // Their servers never looked which of the two it was.
        Kind::Compat => match std::str::from_utf8(bytes) {
            Ok(text) => compat::text(local, connection, text),
            Err(_) => local.close(connection, Disconnect::UNSUPPORTED),
        },
        Kind::EngineIo => engineio::binary(local, connection, bytes),
        Kind::Sse => {}
        Kind::Echo => local.send_binary(connection, bytes),
    }
}

/// A session has ended, whatever becomes of its connection.
pub(crate) fn has_left(local: &Local, connection: &Connection, session: &Session) {
    if session.passing {
        local.node.forget_soon(&session.namespace, session.ordinal);
    }
    if matches!(kind(connection), Kind::EngineIo) {
        socketio::light_push::has_left(local, connection, session);
    }
}

/// A pong came: what was written before its ping has arrived.
pub(crate) fn pong(local: &Local, connection: &Connection, payload: &[u8]) {
    connection.pinged_at.set(0);
    if matches!(kind(connection), Kind::Compat) {
        compat::pong(local, connection, payload);
    }
}

/// Everything was written that waited for a WebSocket.
pub(crate) fn written(local: &Local, connection: &Connection) {
    connection.notify();
    if matches!(kind(connection), Kind::Compat) {
        compat::written(local, connection);
    }
}

/// Whether a device that catches up may be given more now.
pub(crate) fn takes_more(local: &Local, connection: &Connection, session: &Session) -> bool {
    local.hub.borrow().has_room(session.member)
        && (!matches!(kind(connection), Kind::Compat) || compat::takes_more(local, session))
}

/// The sessions of a connection end because others have taken their place. Answers whether that was all, and the connection stays.
pub(crate) fn logs_out(local: &Local, connection: &Connection, sessions: &[Session]) -> bool {
    let stays = socketio::push_koa::stays(connection);
    if stays {
        sessions.iter().for_each(|session| socketio::push_koa::repeat(local, connection, session));
    }
    stays
}

/// What stands in the places of missed messages, where a client is told of several of them in one packet.
pub(crate) fn together(connection: &Connection, messages: &[(Arc<Message>, usize)]) -> Option<Vec<Encoded>> {
    match kind(connection) {
        Kind::EngineIo => socketio::light_push::together(connection, messages),
        Kind::Json | Kind::Sse | Kind::Echo | Kind::Compat => None,
    }
}

/// Queues what the protocol says before the server ends a connection.
pub(crate) fn goodbye(local: &Local, connection: &Connection, sessions: &[Session], why: Disconnect) {
    match kind(connection) {
        Kind::Json => json::goodbye(local, connection, why),
        Kind::Echo => conformance::goodbye(local, connection, why),
        Kind::Compat => compat::goodbye(local, connection, why),
        Kind::EngineIo => engineio::goodbye(local, connection, sessions, why),
        Kind::Sse => sse::goodbye(local, connection, why),
    }
}

/// Queues the notice that messages were let go because the client did not read.
pub(crate) fn dropped(local: &Local, connection: &Connection, session: &Session, messages: u64) {
    match kind(connection) {
        Kind::Json => local.send(connection, &format!(r#"{{"dropped":{}}}"#, dropped_json(messages))),
        Kind::EngineIo => engineio::dropped(local, connection, session, messages),
        // These have no words for it.
        Kind::Echo | Kind::Compat => {}
        Kind::Sse => {
            let event = tidings_wire::sse::event(None, Some("dropped"), &dropped_json(messages));
            local.send(connection, &event);
        }
    }
}

/// `{"messages":3,"reason":"slow_reader"}`
fn dropped_json(messages: u64) -> String {
    format!(r#"{{"messages":{messages},"reason":"slow_reader"}}"#)
}

/// `{"code":3001,"reason":"shutdown","reconnect":true,"after_ms":1730}`
pub(crate) fn goaway(local: &Local, why: Disconnect) -> String {
    goaway_because(local, why, "")
}

/// The same with more fields, which begin with a comma if there are any.
pub(crate) fn goaway_because(local: &Local, why: Disconnect, more: &str) -> String {
    let reconnect = why.reconnect();
    let after = if reconnect { format!(r#","after_ms":{}"#, return_after_ms(local)) } else { String::new() };
    format!(r#"{{"code":{},"reason":"{}","reconnect":{reconnect}{after}{more}}}"#, why.code, why.reason)
}

/// Over which time clients that are sent away are asked to spread their return, in milliseconds; longer when
/// many are.
pub(crate) const ADVISE_MS: u32 = 2_000;

/// Nobody is asked to come back sooner than this.
const RETURN_MS_MIN: u32 = 200;

/// When a client that is sent away should come back: not all of them at once.
pub(crate) fn return_after_ms(local: &Local) -> u32 {
    let spread = local.advise_ms.get().saturating_sub(RETURN_MS_MIN).max(1);
    RETURN_MS_MIN + u32::from_le_bytes(tidings_node::ids::random()) % spread
}

/// How long a connection may be silent, and how long a sign of life may then take.
pub(crate) fn heartbeat(local: &Local, connection: &Connection) -> (Duration, Duration) {
    let own = match &*connection.dialect.borrow() {
        Dialect::EngineIo(state) => state.application.heartbeat(),
        Dialect::Json(_) | Dialect::Sse | Dialect::Echo | Dialect::Compat(_) => None,
    };
    own.unwrap_or_else(|| local.settings.heartbeat(connection.platform.get()))
}

/// When the next timer of a connection is due, in the shard's milliseconds.
pub(crate) fn next_timer(local: &Local, connection: &Connection) -> u64 {
    let (interval, timeout) = heartbeat(local, connection);
    let (interval, timeout) = (interval.as_millis() as u64, timeout.as_millis() as u64);
    let heard = connection.heard_at.get();
    let within = connection.dialect.borrow().introduces_itself_within(&local.settings);
    let beat = match (connection.pinged_at.get(), &*connection.dialect.borrow()) {
        // A suite counts the frames that it gets.
        (_, Dialect::Echo) => u64::MAX / 2,
        // The clients of version 3 send the pings.
        (_, Dialect::EngineIo(state)) if state.version == Version::V3 => heard + interval + timeout,
        (0, Dialect::Sse | Dialect::EngineIo(_)) => connection.beat_at.get() + interval,
        (0, Dialect::Json(_) | Dialect::Compat(_)) => heard.max(connection.beat_at.get()) + interval,
        (pinged, _) => pinged + timeout,
    };
    within.map_or(beat, |within| beat.min(connection.opened_at + within.as_millis() as u64))
}

/// When to look at a connection again. While it owes a sign of life that may take longer than an interval,
/// that is earlier than its timer: once it has given it, the next heartbeat is due by the interval.
pub(crate) fn next_look(local: &Local, connection: &Connection) -> u64 {
    let timer = next_timer(local, connection);
    if connection.pinged_at.get() == 0 {
        return timer;
    }
    let (interval, _) = heartbeat(local, connection);
    timer.min(local.now_ms() + interval.as_millis() as u64)
}

/// The timer of a connection has fired: sends a heartbeat, or ends what shows no sign of life.
pub(crate) fn timer(local: &Rc<Local>, connection: &Rc<Connection>) {
    local.note_settled(connection);
    let now = local.now_ms();
    if now < next_timer(local, connection) {
        // It was heard since the timer was set.
        return;
    }
    let pinged = connection.pinged_at.get();
    let within = connection.dialect.borrow().introduces_itself_within(&local.settings);
    if within.is_some_and(|within| now >= connection.opened_at + within.as_millis() as u64) {
        return local.close(connection, Disconnect::NO_CONNECT);
    }
    // What comes behind a command that is not answered yet is not read, a sign of life included: it is asked for again.
    if pinged != 0 && !connection.busy.get() {
        return local.close(connection, Disconnect::NO_PONG);
    }
    // When it was due: a client may count on the announced times. Unless the shard was so late that the client
    // would be left less than half of its time.
    let due = next_timer(local, connection);
    let (_, timeout) = heartbeat(local, connection);
    let now = if now - due <= timeout.as_millis() as u64 / 2 { due } else { now };
    connection.beat_at.set(now);
    match kind(connection) {
        Kind::Compat => {
            connection.pinged_at.set(now);
            compat::beat(local, connection);
        }
        Kind::Json => {
            connection.pinged_at.set(now);
            let ping = tidings_wire::websocket::frame(tidings_wire::websocket::Opcode::Ping, b"");
            local.send_frame(connection, ping);
        }
        Kind::EngineIo => engineio::beat(local, connection, now),
        Kind::Sse => local.send(connection, tidings_wire::sse::HEARTBEAT),
        Kind::Echo => {}
    }
    local.settle();
}

/// Runs the timer of a connection now if it is due: what comes after a deadline is late, however coarse
/// the timers are.
pub(crate) fn check_deadline(local: &Rc<Local>, connection: &Rc<Connection>) {
    if connection.is_open() && local.now_ms() >= next_timer(local, connection) {
        timer(local, connection);
    }
}
