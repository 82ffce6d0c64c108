//! From polling to a WebSocket: the client opens a socket, probes it (`2probe`, `3probe`), waits for its
//! poll to end, and then says `5`. Until then polling carries everything, and no poll waits any more once
//! the socket is probed; the one socket that was reserved for the session is the only one that may take over.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

use tidings_wire::engineio::{self, Packet};
use tidings_wire::websocket::{self, Decoder, Inflater, Message, Opcode};

use super::{State, with};
use crate::command::{MayUpgrade, PollError, PollReply, Upgraded};
use crate::connection::{Connection, ServeSocket, Transport};
use crate::local::Local;
use crate::socket::Socket;

/// How long an upgrade may take.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest message before the upgrade is done: a probe is six bytes.
const PROBE_BYTES_MAX: usize = 64;

/// How often polls are answered with nothing while the client is to move, as Engine.IO's own server does it.
const POLLS_END_EVERY: Duration = Duration::from_millis(100);

/// How long a poll that comes after the probe waits for its end. What the client says on its socket before it asks may arrive a moment
/// later: they are two connections.
const MOVES_WITHIN: Duration = Duration::from_millis(20);

/// Reserves a session for one socket, for a time: its request may be lost on the way.
pub(crate) fn reserve_upgrade(local: &Local, sid: &str) -> MayUpgrade {
    if !local.sids.borrow().contains_key(sid) {
        return MayUpgrade::UnknownSession;
    }
    let Some(connection) = local.by_sid(sid) else { return MayUpgrade::Taken };
    if !connection.is_open() {
        return MayUpgrade::UnknownSession;
    }
    let now = local.now_ms();
    let reserve = |state: &mut State| {
        if state.upgrading_until > now {
            return MayUpgrade::Taken;
        }
        state.upgrading_until = now + 2 * UPGRADE_TIMEOUT.as_millis() as u64;
        MayUpgrade::Yes
    };
    with(&connection, reserve).unwrap_or(MayUpgrade::UnknownSession)
}

/// The socket for which a session was reserved did not come, or did not get through: polling goes on.
pub(crate) fn release_upgrade(local: &Local, sid: &str) {
    if let Some(connection) = local.by_sid(sid) {
        with(&connection, |state| (state.upgrading_until, state.probed) = (0, false));
        local.flush_one(&connection);
        local.settle();
    }
}

/// The socket came: probes it, and moves the session over.
pub(crate) fn upgrade(local: &Rc<Local>, sid: String, upgraded: Upgraded) {
    let local = Rc::clone(local);
    tokio::task::spawn_local(async move {
        let Ok(socket) = upgraded.socket.attach() else {
            return release_upgrade(&local, &sid);
        };
        let Some(session) = local.by_sid(&sid) else { return };
        let deflate = upgraded.deflate;
        let probe = probe(&local, &session, &socket, upgraded.leftover.to_vec(), deflate.is_some());
        let rest = match tokio::time::timeout(UPGRADE_TIMEOUT, probe).await {
            Ok(Some(rest)) if session.is_open() => rest,
            Ok(_) | Err(_) => return release_upgrade(&local, &sid),
        };
        let waiting = session.transport.replace(Transport::Socket(socket));
        local.hub.borrow_mut().set_blocked(session.key, false);
        if let Some(window) = deflate {
            session.deflate.set(deflate);
            local.hub.borrow_mut().set_deflate(session.key, window);
        }
        with(&session, |state| (state.upgrading_until, state.probed) = (0, false));
        if let Transport::Poll(Some(reply)) = waiting {
            // It came when the client had moved already.
            let _ = reply.send(PollReply::Error(PollError::UnknownSession));
        }
        local.flush_one(&session);
        if !rest.is_empty() {
            let mut rest = rest;
            local.received(&session, &mut rest);
        }
        local.settle();
        ServeSocket::new(local, session).await;
    });
}

/// Answers the probe and waits for `5`. Answers what was read beyond it; `None` when the client did
/// anything else.
async fn probe(
    local: &Rc<Local>,
    session: &Rc<Connection>,
    socket: &Socket,
    mut waiting: Vec<u8>,
    deflate: bool,
) -> Option<Vec<u8>> {
    let mut decoder = Decoder::new();
    let mut inflater = deflate.then(Inflater::default);
    let mut probed = false;
    let mut next_end = Duration::ZERO;
    loop {
        let mut at = 0;
        while at < waiting.len() {
            let inflater = inflater.as_mut();
            let (taken, message) = decoder.decode_with(&mut waiting[at..], PROBE_BYTES_MAX, inflater).ok()?;
            at += taken;
            let Some(message) = message else { break };
            match step(message, probed)? {
                Step::Probed => {
                    probed = true;
                    next_end = if is_polled(session) { Duration::ZERO } else { MOVES_WITHIN };
                    with(session, |state| state.probed = true);
                    let pong = websocket::frame(Opcode::Text, engineio::PROBE_PONG.as_bytes());
                    write_all(socket, &pong).await?;
                }
                Step::Pong(pong) => write_all(socket, &pong).await?,
                Step::Moved => return Some(waiting.split_off(at)),
            }
        }
        waiting.clear();
        let asked = tokio::select! {
            readable = poll_fn(|context| socket.poll_read_ready(context)) => {
                readable.ok()?;
                false
            }
            () = polled(session, next_end), if probed => {
                // What the client wrote to its socket before it asked counts first, and the runtime may not have
                // looked at the socket since.
                tokio::task::yield_now().await;
                true
            }
        };
        let mut buffer = [0; 512];
        match socket.try_read(&mut buffer) {
            Ok(0) => return None,
            Ok(count) => waiting.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock && asked => {
                end_poll(local, session);
                next_end = POLLS_END_EVERY;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return None,
        }
    }
}

/// Comes back when a poll has waited for its answer for so long: one that waits as the socket is probed for no time, so that the client
/// moves, and the next ones not less than its own server let them, since to a client that was not told of its probe each answer is the
/// reason to ask again.
async fn polled(session: &Connection, wait: Duration) {
    session.until(|| is_polled(session)).await;
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
}

/// Whether a poll waits for its answer.
fn is_polled(session: &Connection) -> bool {
    matches!(&*session.transport.borrow(), Transport::Poll(Some(_)))
}

/// Answers the poll that waits, with nothing if there is nothing to say: the client moves when it has ended.
fn end_poll(local: &Local, session: &Rc<Connection>) {
    if !is_polled(session) {
        return;
    }
    local.tell_dropped(session);
    if !local.has_output(session) {
        local.send(session, engineio::NOOP);
    }
    local.flush_one(session);
    local.settle();
}

enum Step {
    Probed,
    Pong(Vec<u8>),
    Moved,
}

fn step(message: Message<'_>, probed: bool) -> Option<Step> {
    match message {
        Message::Text(engineio::PROBE_PING) if !probed => Some(Step::Probed),
        Message::Text(text) if probed => match engineio::decode_text(text) {
            Ok(Packet::Upgrade) => Some(Step::Moved),
            Ok(_) | Err(_) => None,
        },
        Message::Ping(payload) => Some(Step::Pong(websocket::frame(Opcode::Pong, payload))),
        Message::Text(_) | Message::Binary(_) | Message::Pong(_) | Message::Close { .. } => None,
    }
}

async fn write_all(socket: &Socket, mut bytes: &[u8]) -> Option<()> {
    while !bytes.is_empty() || socket.has_pending() {
        poll_fn(|context| socket.poll_write_ready(context)).await.ok()?;
        match socket.try_flush().and_then(|()| socket.try_write(bytes)) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return None,
        }
    }
    Some(())
}
