//! gopusher: `join` and `ping` on a plain WebSocket; groups are users, by `card_id`. Those of a group who are of an application
//! are a room.

use std::rc::Rc;
use std::sync::Arc;

use tidings_model::{Disconnect, ErrorCode, Platform, RoomName, UserId};
use tidings_node::connect::Claim;
use tidings_node::ids;
use tidings_node::resume::Since;
use tidings_wire::compat::gopusher::{self as wire, Join, Said};
use tidings_wire::websocket;

use super::receipts::{self, Owed};
use super::{State as Compat, farewell, names_a_device};
use crate::compat::Gopusher;
use crate::connection::Connection;
use crate::dialect::Dialect;
use crate::local::Local;
use crate::session::{self, Opened, Refusal, Request};

/// Joins that a connection may do at once, and how many milliseconds one more takes: each may make a device.
const JOINS_AT_ONCE: u64 = 10;
const JOIN_MS: u64 = 1_000;

/// How far a connection has come.
#[derive(Debug)]
pub(crate) struct State {
    settings: Arc<Gopusher>,
    /// What came with the handshake.
    token: Option<Box<str>>,
    /// Where it is.
    joined: Option<Join>,
    /// When all joins that it has done will have taken their time, in the shard's milliseconds.
    joins_until: u64,
    passing: bool,
    pub(super) owed: Owed,
    /// What it is told as it is sent away.
    farewell: Option<(u16, String)>,
}

impl State {
    pub(crate) fn new(settings: Arc<Gopusher>, token: Option<&str>) -> Self {
        Self {
            settings,
            token: token.map(Box::from),
            joined: None,
            joins_until: 0,
            passing: true,
            owed: Owed::default(),
            farewell: None,
        }
    }

    pub(super) fn is_passing(&self) -> bool {
        self.passing
    }

    /// Whether it may join once more.
    fn may_join(&mut self, now: u64) -> bool {
        let after = self.joins_until.max(now) + JOIN_MS;
        let may = after <= now + JOINS_AT_ONCE * JOIN_MS;
        if may {
            self.joins_until = after;
        }
        may
    }
}

fn state<T>(connection: &Connection, act: impl FnOnce(&mut State) -> T) -> Option<T> {
    match &mut *connection.dialect.borrow_mut() {
        Dialect::Compat(compat) => match &mut **compat {
            Compat::Gopusher(state) => Some(act(state)),
            Compat::GoRedis(_) | Compat::MessagePush(_) | Compat::Monitor(_) => None,
        },
        Dialect::Json(_) | Dialect::EngineIo(_) | Dialect::Sse | Dialect::Echo => None,
    }
}

/// A text message came.
pub(super) fn text(local: &Rc<Local>, connection: &Rc<Connection>, text: &str) {
    receipts::ask(local, connection);
    match wire::decode(text) {
        Ok(Said::Ping) => local.send(connection, &wire::reply("ok")),
        Ok(Said::Read) => {}
        Ok(Said::Join(join)) => {
            if state(connection, |state| state.may_join(local.now_ms())) != Some(true) {
                let why = Refusal::new(ErrorCode::RATE_LIMITED, "this connection joins too often");
                return part(local, connection, &why);
            }
            connection.busy.set(true);
            tokio::task::spawn_local(answer(Rc::clone(local), Rc::clone(connection), join));
        }
        Err(why) => part(local, connection, &Refusal::new(ErrorCode::INVALID_REQUEST, why.reason())),
    }
}

/// Sends a client away, and says why: in a close frame that is one, with the words that there were.
fn part(local: &Local, connection: &Rc<Connection>, why: &Refusal) {
    let said = farewell(why);
    state(connection, |state| state.farewell = Some(said));
    local.close(connection, why.disconnect());
}

/// Joins, and says so.
async fn answer(local: Rc<Local>, connection: Rc<Connection>, join: Join) {
    match enter(&local, &connection, join).await {
        Ok(opened) => {
            local.send(&connection, &wire::reply("ok"));
            if let Some(opened) = opened {
                let (local, connection) = (Rc::clone(&local), Rc::clone(&connection));
                tokio::task::spawn_local(async move {
                    session::catch_up(Rc::clone(&local), Rc::clone(&connection), opened).await;
                    receipts::ask(&local, &connection);
                    local.settle();
                });
            }
            local.settle();
        }
        Err(Some(why)) => part(&local, &connection, &why),
        Err(None) => {}
    }
    local.unbusy(&connection);
}

/// Moves a connection to a group. What was opened is `None` where it stays the same device.
///
/// # Errors
/// `Err(None)` when the connection ended meanwhile.
async fn enter(
    local: &Local,
    connection: &Rc<Connection>,
    join: Join,
) -> Result<Option<Opened>, Option<Refusal>> {
    let found = state(connection, |state| {
        (state.settings.namespace.clone(), state.token.clone(), state.joined.clone())
    });
    let (namespace, token, before) = found.ok_or(None)?;
    let user = UserId::new(&join.card).map_err(|why| Refusal::field("card_id", why))?;
    let room = room(&join)?;
    let session = connection.sessions.borrow().first().cloned();
    if let (Some(before), Some(session)) = (&before, session)
        && before.card == join.card
        && before.device == join.device
    {
        let old = self::room(before)?.filter(|old| Some(old) != room.as_ref());
        if let Some(room) = room {
            session::perform(local, connection, &session, Request::Join(vec![room])).await?;
        }
        if let Some(old) = old {
            session::perform(local, connection, &session, Request::Leave(vec![old])).await?;
        }
        state(connection, |state| state.joined = Some(join));
        return Ok(None);
    }
    // Everything is read before anything is left.
    let device = super::device("device_id", join.device.as_deref())?;
    let named = device.is_none() && names_a_device(local, &namespace, token.as_deref()).await;
    let sessions = connection.sessions.borrow().clone();
    sessions.iter().for_each(|old| session::close(local, connection, old, Disconnect::NORMAL));
    state(connection, |state| {
        state.joined = None;
        state.passing = device.is_none();
    });
    let claim = Claim {
        device: if named { None } else { Some(device.unwrap_or_else(ids::passing_device_id)) },
        user: Some(user),
        platform: Platform::Other,
        token: token.map(String::from),
        ..Claim::default()
    };
    let rooms = room.iter().cloned().collect();
    let opened = session::open(local, connection, &namespace, claim, rooms, &Since::Cursor).await?;
    // A device that stays may still be where it was when it was last here.
    let device = &opened.identity.device;
    let old = device.rooms.iter().filter(|one| one.as_str().starts_with(wire::ROOMS));
    let old: Vec<_> = old.filter(|one| Some(*one) != room.as_ref()).cloned().collect();
    if !old.is_empty() {
        let left = local.node.leave(&opened.session.namespace, device.ordinal, old).await;
        left.map_err(Refusal::from)?;
    }
    connection.platform.set(Some(device.platform));
    state(connection, |state| state.joined = Some(join));
    Ok(Some(opened))
}

/// The room of those of its group who are of its application, if it has one.
fn room(join: &Join) -> Result<Option<RoomName>, Refusal> {
    if join.app.is_empty() {
        return Ok(None);
    }
    let room = RoomName::new(&wire::room(&join.app, &join.card));
    let named = |why| Refusal::field("app_id", format_args!("and card_id make a room whose name {why}"));
    room.map(Some).map_err(named)
}

/// Queues what the client is told as it is sent away.
pub(super) fn goodbye(local: &Local, connection: &Connection, why: Disconnect) {
    let said = state(connection, |state| state.farewell.take()).flatten();
    match said {
        Some((code, reason)) if connection.close_code.get() == 0 => {
            local.send_frame(connection, websocket::close_frame(code, &reason));
        }
        Some(_) | None => local.send_close(connection, why),
    }
}

#[cfg(test)]
mod tests {
    use tidings_model::NamespaceName;

    use super::*;

    #[test]
    fn joins_are_so_many_and_then_one_a_second() {
        let namespace = NamespaceName::new("gopusher").unwrap();
        let mut state = State::new(Arc::new(Gopusher { namespace }), None);
        let at = |now, state: &mut State| (0..20).take_while(|_| state.may_join(now)).count();
        assert_eq!(at(5, &mut state), 10);
        assert_eq!(at(6, &mut state), 0);
        assert_eq!(at(1_005, &mut state), 1);
        assert_eq!(at(3_500, &mut state), 2);
        assert_eq!(at(1_000_000, &mut state), 10);
    }
}
