//! Engine.IO 4 and 3: sessions, polling, upgrade, heartbeats. What travels inside is [`super::socketio`]'s.
//!
//! Source: the Engine.IO protocol documents, revisions 3 and 4.

use std::borrow::Cow;
use std::rc::Rc;

use bytes::Bytes;
use tidings_hub::{Bounds, Lane};
use tidings_model::{Disconnect, Platform};
use tidings_wire::engineio::{self, Packet, PayloadEncoder, PayloadFormat, Version};
use tidings_wire::socketio::Assembler;
use tokio::sync::oneshot;

use super::{Dialect, conformance, socketio};
use crate::command::{Application, PollError, PollReply, Query};
use crate::connection::{Connection, Transport};
use crate::local::Local;
use crate::session::Session;

mod upgrade;

pub(crate) use upgrade::{release_upgrade, reserve_upgrade, upgrade};

/// Most packets in one POST: a client answers all that one poll brought at once. Bytes are limited apart.
const POST_PACKETS_MAX: usize = 10_000;

/// Packets of a POST that are taken before everybody else has a turn.
const SHARE_PACKETS: usize = 512;

/// Most bytes in the answer to one poll, unless a single packet is larger.
const POLL_BYTES: usize = 1_000_000;

/// How far a session has come.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) version: Version,
    pub(crate) sid: String,
    /// Whether a namespace was ever joined.
    pub(crate) has_connected: bool,
    pub(super) query: Query,
    pub(super) assembler: Assembler,
    pub(super) application: Application,
    /// The namespaces of the fixture that were joined.
    pub(super) joined: conformance::Joined,
    /// How far a client of push (koa) has come.
    pub(super) koa: socketio::push_koa::State,
    /// When a client of light-push has last pushed, in the shard's milliseconds, and as which connection of a namespace.
    pub(super) pushed: (u64, u64),
    /// Until when a socket may take over from polling, in the shard's milliseconds; 0 when none is about to.
    upgrading_until: u64,
    /// That socket was probed, and its task answers the polls.
    probed: bool,
    /// A POST is being worked on; there may be only one.
    posting: bool,
}

impl State {
    pub(super) fn new(shard: u8, version: Version, query: Query, application: Application) -> Self {
        Self {
            version,
            sid: format!("{shard:02x}{}", tidings_node::ids::token()),
            // Below Socket.IO there is nothing to join.
            has_connected: application == Application::Echo,
            application,
            joined: conformance::Joined::default(),
            koa: socketio::push_koa::State::default(),
            pushed: (0, 0),
            query,
            assembler: Assembler::new(),
            upgrading_until: 0,
            probed: false,
            posting: false,
        }
    }
}

/// Does something with the state of an Engine.IO connection.
pub(super) fn with<T>(connection: &Connection, act: impl FnOnce(&mut State) -> T) -> Option<T> {
    match &mut *connection.dialect.borrow_mut() {
        Dialect::EngineIo(state) => Some(act(state)),
        Dialect::Json(_) | Dialect::Sse | Dialect::Echo | Dialect::Compat(_) => None,
    }
}

/// What answers the messages of a session.
pub(super) fn application(connection: &Connection) -> Application {
    with(connection, |state| state.application).unwrap_or(Application::Push)
}

pub(super) fn version(connection: &Connection) -> Version {
    with(connection, |state| state.version).unwrap_or(Version::V4)
}

/// The first words of the server: the handshake packet, and in version 3 the root namespace, which every
/// client of that age is in.
pub(crate) fn greet(local: &Rc<Local>, connection: &Rc<Connection>) {
    let polling = matches!(&*connection.transport.borrow(), Transport::Poll(_));
    let settings = &local.settings;
    let open = with(connection, |state| {
        // Its times are announced here, so what it says later comes too late.
        let platform = state.query.platform.as_deref().and_then(Platform::parse).unwrap_or_default();
        connection.platform.set(Some(platform));
        let upgrades: &[&str] = if polling { &["websocket"] } else { &[] };
        // The suites for version 3 ask for what its servers never said.
        let told = state.version == Version::V4 || state.application.is_fixture();
        let payload = told.then_some(settings.max_message);
        let own = state.application.heartbeat();
        let (interval, timeout) = own.unwrap_or_else(|| settings.heartbeat(Some(platform)));
        let (interval, timeout) = (interval.as_millis() as u64, timeout.as_millis() as u64);
        engineio::open_packet(&state.sid, upgrades, interval, timeout, payload)
    });
    local.send(connection, &open.unwrap_or_default());
    if version(connection) == Version::V3 {
        match application(connection) {
            Application::Push | Application::LightPush | Application::PushKoa => local.send(connection, "40"),
            Application::Fixture => conformance::connect(local, connection, "/", None),
            Application::Echo => {}
        }
    }
    local.settle();
}

/// A WebSocket text message came.
pub(super) fn text(local: &Rc<Local>, connection: &Rc<Connection>, text: &str) {
    match engineio::decode_packet(version(connection), text) {
        Ok(packet) => take(local, connection, &packet),
        Err(_) => local.close(connection, Disconnect::PROTOCOL_ERROR),
    }
}

/// A WebSocket binary message came.
pub(super) fn binary(local: &Rc<Local>, connection: &Rc<Connection>, bytes: &[u8]) {
    match engineio::decode_binary(version(connection), bytes) {
        Ok(packet) => take(local, connection, &packet),
        Err(_) => local.close(connection, Disconnect::PROTOCOL_ERROR),
    }
}

fn take(local: &Rc<Local>, connection: &Rc<Connection>, packet: &Packet<'_>) {
    connection.heard_at.set(local.now_ms());
    match (packet, version(connection)) {
        (Packet::Text(text), _) => match application(connection) {
            Application::Push | Application::LightPush | Application::PushKoa | Application::Fixture => {
                socketio::text(local, connection, text);
            }
            Application::Echo => local.send(connection, &format!("4{text}")),
        },
        (Packet::Binary(bytes), version) => match application(connection) {
            Application::Push | Application::LightPush | Application::PushKoa | Application::Fixture => {
                socketio::binary(local, connection, bytes);
            }
            Application::Echo => conformance::send_binary(local, connection, version, bytes),
        },
        (Packet::Ping(payload), Version::V3) => local.send(connection, &format!("3{payload}")),
        (Packet::Pong(_), Version::V4) => connection.pinged_at.set(0),
        (Packet::Close, _) => local.close(connection, Disconnect::NORMAL),
        (Packet::Noop, _) => {}
        // Heartbeats in the wrong direction, a second handshake, an upgrade outside of one.
        (Packet::Ping(_), Version::V4)
        | (Packet::Pong(_), Version::V3)
        | (Packet::Open(_) | Packet::Upgrade, _) => local.close(connection, Disconnect::PROTOCOL_ERROR),
    }
}

/// The timer fired. Version 4: asks for a sign of life. Version 3: there was none.
pub(super) fn beat(local: &Rc<Local>, connection: &Rc<Connection>, now: u64) {
    match version(connection) {
        Version::V4 => {
            connection.pinged_at.set(now);
            local.send(connection, engineio::PING);
        }
        // Its pings wait to be read; it goes by itself when it has no answer.
        Version::V3 if connection.busy.get() => connection.heard_at.set(now),
        Version::V3 => local.close(connection, Disconnect::NO_PONG),
    }
}

/// Tells each namespace why, then closes the transport. A client that is to come back by itself must
/// not be told that its namespace is gone, so that goes only to those that are not.
pub(super) fn goodbye(local: &Local, connection: &Connection, sessions: &[Session], why: Disconnect) {
    for session in sessions {
        goodbye_of(local, connection, session, why, !why.reconnect());
    }
    if matches!(&*connection.transport.borrow(), Transport::Socket(_)) {
        local.send_close(connection, why);
    } else if !local.has_output(connection) {
        // A client that closes by itself only wants its poll to end.
        local.send(connection, if why == Disconnect::NORMAL { engineio::NOOP } else { engineio::CLOSE });
    }
    // Otherwise the close packet goes with the next poll: a client that finds it behind an event in the same
    // answer closes before it has looked at the event.
}

/// Says goodbye in one namespace; with `end`, the client is taken out of it.
pub(crate) fn goodbye_of(
    local: &Local,
    connection: &Connection,
    session: &Session,
    why: Disconnect,
    end: bool,
) {
    let path = format!("/{}", session.namespace.name);
    let knows_why = matches!(application(connection), Application::Push | Application::Fixture);
    if why.code >= 3000 && knows_why {
        let event = tidings_wire::socketio::event(&path, None, "goaway", &[&super::goaway(local, why)]);
        local.send(connection, &format!("4{event}"));
    }
    if end {
        local.send(connection, &format!("4{}", tidings_wire::socketio::disconnect(&path)));
    }
}

/// Tells a namespace how many of its messages were let go.
pub(super) fn dropped(local: &Local, connection: &Connection, session: &Session, messages: u64) {
    if application(connection) != Application::Push {
        return;
    }
    let path = format!("/{}", session.namespace.name);
    let event = tidings_wire::socketio::event(&path, None, "dropped", &[&super::dropped_json(messages)]);
    local.send(connection, &format!("4{event}"));
}

/// The session that a request names, if it has not run out of time meanwhile.
fn in_time(local: &Rc<Local>, sid: &str) -> Option<Rc<Connection>> {
    let connection = local.by_sid(sid)?;
    super::check_deadline(local, &connection);
    local.by_sid(sid)
}

/// A poll came.
pub(crate) fn poll(local: &Rc<Local>, sid: &str, reply: oneshot::Sender<PollReply>) {
    let unknown = PollReply::Error(PollError::UnknownSession);
    let Some(connection) = in_time(local, sid) else {
        let _ = reply.send(unknown);
        return;
    };
    let taken = match &mut *connection.transport.borrow_mut() {
        Transport::Poll(waiting) if waiting.as_ref().is_some_and(|waiting| !waiting.is_closed()) => false,
        Transport::Poll(waiting) => {
            *waiting = Some(reply);
            true
        }
        Transport::Socket(_) | Transport::Stream(_) | Transport::Gone => {
            let _ = reply.send(PollReply::Error(PollError::BadRequest));
            return;
        }
    };
    if !taken {
        // Two polls at once: nobody knows which one the client reads. The session ends; the first poll
        // is told so, and the second one, dropped here, is refused.
        return local.close(&connection, Disconnect::PROTOCOL_ERROR);
    }
    connection.notify();
    if with(&connection, |state| state.probed).unwrap_or_default() {
        return;
    }
    local.tell_dropped(&connection);
    local.flush_one(&connection);
    local.settle();
}

/// The client of a poll went away without its answer. Whatever was about to be written to it is gone, so
/// the session is: its mailbox has what was not acknowledged.
pub(crate) fn poll_gone(local: &Rc<Local>, sid: &str) {
    if let Some(connection) = local.by_sid(sid) {
        let gone = match &*connection.transport.borrow() {
            Transport::Poll(Some(waiting)) => waiting.is_closed(),
            Transport::Poll(None) | Transport::Socket(_) | Transport::Stream(_) | Transport::Gone => false,
        };
        if gone {
            local.close(&connection, Disconnect::GONE);
            local.settle();
        }
    }
}

/// Answers the poll that waits, if one does and there is something to say.
pub(crate) fn flush_poll(local: &Local, connection: &Rc<Connection>) {
    if !local.has_output(connection) {
        return;
    }
    let waiting = match &mut *connection.transport.borrow_mut() {
        Transport::Poll(waiting) => waiting.take(),
        Transport::Socket(_) | Transport::Stream(_) | Transport::Gone => None,
    };
    let Some(reply) = waiting else { return };
    if reply.is_closed() {
        return local.close(connection, Disconnect::GONE);
    }
    let (version, takes_binary, sid) =
        with(connection, |state| (state.version, !state.query.base64, state.sid.clone())).unwrap_or((
            Version::V4,
            false,
            String::new(),
        ));
    let mut frames = Vec::new();
    if let Some(outbox) = local.hub.borrow_mut().outbox(connection.key) {
        let mut bytes = 0;
        while bytes < POLL_BYTES
            && let Some(frame) = outbox.pop_frame()
        {
            bytes += frame.bytes().len();
            frames.push(frame);
        }
    }
    let any_binary = frames.iter().any(|frame| frame.is_binary());
    let socketio = application(connection) != Application::Echo;
    let format = PayloadFormat::choose(version, takes_binary, any_binary, socketio);
    let mut body = PayloadEncoder::new(format);
    for frame in &frames {
        match std::str::from_utf8(frame.payload()) {
            Ok(text) if !frame.is_binary() => body.text(text),
            _ => body.binary(frame.payload()),
        }
    }
    let body = body.finish();
    local.wrote(body.len());
    if reply.send(PollReply::Body { sid, content_type: format.content_type(), body }).is_err() {
        // The client has just gone away. What was in this answer was never written, and is told so.
        if let Some(outbox) = local.hub.borrow_mut().outbox(connection.key) {
            for frame in frames {
                let _ = outbox.push(Lane::Normal, frame, Bounds::NONE);
            }
        }
        return local.close(connection, Disconnect::GONE);
    }
    connection.notify();
}

/// A POST is about to come: the session takes no other one meanwhile. Two at once end it, as nobody knows which
/// one comes first.
pub(crate) fn reserve_post(local: &Rc<Local>, sid: &str, reply: oneshot::Sender<Result<(), PollError>>) {
    let Some(connection) = in_time(local, sid) else {
        let _ = reply.send(Err(PollError::UnknownSession));
        return;
    };
    if !connection.is_open() {
        // Its last words wait for its next poll. An error now would make the client give up before it asks;
        // what it sends is not looked at any more, and its mailbox has what it would have acknowledged.
        let _ = reply.send(Ok(()));
        return;
    }
    let polling = matches!(&*connection.transport.borrow(), Transport::Poll(_));
    let first = with(&connection, |state| !std::mem::replace(&mut state.posting, true)).unwrap_or_default();
    if !polling || !first {
        let _ = reply.send(Err(PollError::BadRequest));
        return local.close(&connection, Disconnect::PROTOCOL_ERROR);
    }
    if reply.send(Ok(())).is_err() {
        release_post(local, sid);
    }
}

/// The POST for which a session was reserved does not come.
pub(crate) fn release_post(local: &Local, sid: &str) {
    if let Some(connection) = local.by_sid(sid) {
        with(&connection, |state| state.posting = false);
    }
}

/// Packets came by POST, for which the session was reserved: takes them one after the other, and answers when the last one has been taken.
pub(crate) fn post(
    local: &Rc<Local>,
    sid: &str,
    body: Bytes,
    is_binary: bool,
    reply: oneshot::Sender<Result<(), PollError>>,
) {
    let Some(connection) = in_time(local, sid) else {
        let _ = reply.send(Err(PollError::UnknownSession));
        return;
    };
    if !matches!(&*connection.transport.borrow(), Transport::Poll(_)) {
        let _ = reply.send(Err(PollError::BadRequest));
        return local.close(&connection, Disconnect::PROTOCOL_ERROR);
    }
    local.metrics().bytes_read.inc_by(body.len() as u64);
    let local = Rc::clone(local);
    tokio::task::spawn_local(async move {
        let outcome = take_all(&local, &connection, &body, is_binary).await;
        with(&connection, |state| state.posting = false);
        let _ = reply.send(outcome);
        local.settle();
    });
}

async fn take_all(
    local: &Rc<Local>,
    connection: &Rc<Connection>,
    body: &[u8],
    is_binary: bool,
) -> Result<(), PollError> {
    let version = version(connection);
    let may_be_twice = version == Version::V3 && !is_binary && application(connection) != Application::Echo;
    let body =
        if may_be_twice { engineio::written_once(body, POST_PACKETS_MAX) } else { Cow::Borrowed(body) };
    let packets = engineio::decode_payload(version, &body, is_binary, POST_PACKETS_MAX);
    let Ok(packets) = packets else {
        local.close(connection, Disconnect::PROTOCOL_ERROR);
        return Err(PollError::BadRequest);
    };
    for (index, packet) in packets.iter().enumerate() {
        if index % SHARE_PACKETS == SHARE_PACKETS - 1 {
            local.next_share().await;
        }
        connection.until(|| !connection.is_open() || !connection.busy.get()).await;
        if !connection.is_open() {
            break;
        }
        take(local, connection, packet);
    }
    match connection.closing() {
        Some(Disconnect::PROTOCOL_ERROR) => Err(PollError::BadRequest),
        Some(_) | None => Ok(()),
    }
}
