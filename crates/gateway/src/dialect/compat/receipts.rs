//! Receipts of clients that know none. A pong comes behind everything that was written before its ping, so it says that all of that
//! has arrived. Without this a device that comes back would be given again what it has had.

use tidings_hub::MemberKey;
use tidings_model::Seq;
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
pub(super) type Owed = Vec<(MemberKey, Seq)>;

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
        sessions.iter().any(|session| hub.pending(session.member).len() >= MANY)
    };
    if many {
        ask(local, connection);
    }
}

/// Whether a device that catches up may be given more before it has answered for what it was given.
pub(super) fn takes_more(local: &Local, session: &Session) -> bool {
    local.hub.borrow().pending(session.member).len() < WINDOW
}

/// Notes what the answer to a ping that is sent now will say. False when there is nothing to say.
pub(super) fn expect(local: &Local, connection: &Connection) -> bool {
    // A ping goes before messages that still wait to be written.
    if connection.blocked.get() || local.has_output(connection) {
        return false;
    }
    let owed: Owed = {
        let (sessions, hub) = (connection.sessions.borrow(), local.hub.borrow());
        let of = |member| hub.pending(member).iter().map(move |seq| (member, *seq));
        sessions.iter().flat_map(|session| of(session.member)).collect()
    };
    let something = !owed.is_empty();
    if let Some(place) = place(&mut connection.dialect.borrow_mut()) {
        *place = owed;
    }
    something
}

pub(super) fn ping(local: &Local, connection: &Connection) {
    local.send_frame(connection, websocket::frame(Opcode::Ping, b""));
}

/// A pong came.
pub(super) fn arrived(local: &Local, connection: &Connection) {
    let owed = place(&mut connection.dialect.borrow_mut()).map(std::mem::take).unwrap_or_default();
    if owed.is_empty() {
        return;
    }
    let sessions = connection.sessions.borrow();
    for (member, seq) in owed {
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

fn place(dialect: &mut Dialect) -> Option<&mut Owed> {
    match dialect {
        Dialect::Compat(state) => state.owed(),
        Dialect::Json(_) | Dialect::EngineIo(_) | Dialect::Sse | Dialect::Echo => None,
    }
}
