//! Receipts of clients that know none. A pong comes behind everything that was written before its ping, so it says that all of that
//! has arrived. Without this a device that comes back would be given again what it has had.
//!
//! Each such ping has a number in it that nobody can guess, and only the answer with the newest one counts: pongs also come without having been asked for,
//! or for a ping of before (a recall is one).

use tidings_hub::MemberKey;
use tidings_model::Seq;
use tidings_node::ids;
use tidings_wire::websocket::{self, Opcode};

use crate::connection::Connection;
use crate::dialect::Dialect;
use crate::local::Local;
use crate::session::Session;

/// After how many messages it is asked without waiting for a sign of life.
const MANY: usize = 32;

/// How many a device that catches up is given before it has answered.
const WINDOW: usize = 1_024;

/// What was written before a ping that is not answered yet.
#[derive(Debug, Default)]
pub(super) struct Owed {
    messages: Vec<(MemberKey, Seq)>,
    /// What is in the newest ping.
    ping: [u8; 8],
}

/// Asks whether everything has arrived that was written, unless that is asked already. To be called whenever a client is heard.
pub(super) fn ask(local: &Local, connection: &Connection) {
    if connection.pinged_at.get() == 0 && expect(local, connection) {
        connection.pinged_at.set(local.now_ms());
        ping(local, connection);
    }
}

/// The same, once so much has been written that it is time.
pub(super) fn ask_if_many(local: &Local, connection: &Connection) {
    let many = {
        let (sessions, hub) = (connection.sessions.borrow(), local.hub.borrow());
        sessions.iter().any(|session| hub.pending(session.member).nth(MANY - 1).is_some())
    };
    if many {
        ask(local, connection);
    }
}

/// Whether a device that catches up may be given more before it has answered for what it was given.
pub(super) fn takes_more(local: &Local, session: &Session) -> bool {
    local.hub.borrow().pending(session.member).nth(WINDOW - 1).is_none()
}

/// Notes what the answer to a ping that is sent now will say. False when there is nothing to say.
pub(super) fn expect(local: &Local, connection: &Connection) -> bool {
    // A ping goes before messages that still wait to be written.
    if connection.blocked.get() || local.has_output(connection) {
        return false;
    }
    let (mut messages, mut hub) = (Vec::new(), local.hub.borrow_mut());
    for session in &*connection.sessions.borrow() {
        let member = session.member;
        messages.extend(hub.pending(member).map(|seq| (member, seq)));
        hub.note_again(member);
    }
    let something = !messages.is_empty();
    if let Some(owed) = owed(&mut connection.dialect.borrow_mut()) {
        owed.messages = messages;
    }
    something
}

/// Sends a ping, whose answer says what was noted.
pub(super) fn ping(local: &Local, connection: &Connection) {
    let number = ids::random();
    if let Some(owed) = owed(&mut connection.dialect.borrow_mut()) {
        owed.ping = number;
    }
    local.send_frame(connection, websocket::frame(Opcode::Ping, &number));
}

/// A pong came.
pub(super) fn arrived(local: &Local, connection: &Connection, payload: &[u8]) {
    let messages = match owed(&mut connection.dialect.borrow_mut()) {
        Some(owed) if payload == owed.ping => std::mem::take(&mut owed.messages),
        Some(_) | None => Vec::new(),
    };
    let sessions = connection.sessions.borrow();
    for (member, seq) in messages {
        if let Some(session) = sessions.iter().find(|session| session.member == member) {
            local.acked(session, seq);
        }
    }
    drop(sessions);
    // More may have been written meanwhile.
    ask_if_many(local, connection);
    // Whoever catches up waits for it.
    connection.notify();
}

fn owed(dialect: &mut Dialect) -> Option<&mut Owed> {
    match dialect {
        Dialect::Compat(state) => state.owed(),
        Dialect::Json(_) | Dialect::EngineIo(_) | Dialect::Sse | Dialect::Echo => None,
    }
}
