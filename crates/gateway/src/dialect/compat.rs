//! Plain WebSockets of the older systems. Those of them that spoke Socket.IO are in [`super::socketio`].

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tidings_model::{DeviceId, Disconnect, NamespaceName};
use tidings_node::ids;
use tidings_wire::push::Codec;

use self::receipts::Owed;
use super::Dialect;
use crate::connection::Connection;
use crate::local::Local;
use crate::session::{Refusal, Session};

pub(crate) mod go_redis;
pub(crate) mod gopusher;
pub(crate) mod message_push;
pub(crate) mod monitor;
mod receipts;

/// Which of them a connection speaks, and how far it has come.
#[derive(Debug)]
pub(crate) enum State {
    Gopusher(gopusher::State),
    GoRedis(go_redis::State),
    /// What the push server of Go and Redis shows of itself.
    Monitor(Arc<monitor::Board>),
    MessagePush(message_push::State),
}

/// The system that a connection speaks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum System {
    Gopusher,
    GoRedis,
    Monitor,
    MessagePush,
}

impl State {
    fn system(&self) -> System {
        match self {
            Self::Gopusher(_) => System::Gopusher,
            Self::GoRedis(_) => System::GoRedis,
            Self::Monitor(_) => System::Monitor,
            Self::MessagePush(_) => System::MessagePush,
        }
    }

    pub(super) fn codec(&self) -> Codec {
        match self {
            Self::Gopusher(_) => Codec::Gopusher,
            Self::GoRedis(_) | Self::Monitor(_) => Codec::GoRedis,
            Self::MessagePush(_) => Codec::MessagePush,
        }
    }

    /// The name in metrics.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Gopusher(_) => "gopusher",
            Self::GoRedis(_) => "go_redis",
            Self::Monitor(_) => "go_redis_monitor",
            Self::MessagePush(_) => "message_push",
        }
    }

    pub(super) fn introduces_itself_within(&self) -> Option<Duration> {
        match self {
            // None of them was ever asked who they are.
            Self::Gopusher(_) | Self::GoRedis(_) | Self::Monitor(_) => None,
            Self::MessagePush(state) => state.introduces_itself_within(),
        }
    }

    /// What was written to it before a ping that it has not answered yet, where its system gives no receipts.
    fn owed(&mut self) -> Option<&mut Owed> {
        match self {
            Self::Gopusher(state) => Some(&mut state.owed),
            Self::MessagePush(state) => Some(&mut state.owed),
            Self::GoRedis(state) => Some(&mut state.owed),
            Self::Monitor(_) => None,
        }
    }

    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Gopusher(state) => state.is_passing(),
            Self::GoRedis(_) => true,
            // It is no device.
            Self::Monitor(_) => false,
            Self::MessagePush(state) => state.is_passing(),
        }
    }
}

fn system(connection: &Connection) -> Option<System> {
    match &*connection.dialect.borrow() {
        Dialect::Compat(state) => Some(state.system()),
        Dialect::Json(_) | Dialect::EngineIo(_) | Dialect::Sse | Dialect::Echo => None,
    }
}

/// The connection has come.
pub(super) fn welcome(local: &Rc<Local>, connection: &Rc<Connection>) {
    match system(connection) {
        Some(System::GoRedis) => go_redis::welcome(local, connection),
        Some(System::Monitor) => monitor::welcome(local, connection),
        Some(System::Gopusher | System::MessagePush) | None => {}
    }
}

/// A text message came.
pub(super) fn text(local: &Rc<Local>, connection: &Rc<Connection>, text: &str) {
    match system(connection) {
        Some(System::Gopusher) => gopusher::text(local, connection, text),
        Some(System::GoRedis) => go_redis::text(local, connection, text),
        Some(System::MessagePush) => message_push::text(local, connection, text),
        // It has nothing to say.
        Some(System::Monitor) | None => {}
    }
}

/// The device that a client says it is. One that is named like those that are forgotten would be forgotten with them.
fn device(field: &str, said: Option<&str>) -> Result<Option<DeviceId>, Refusal> {
    let device = said.map(DeviceId::new).transpose().map_err(|why| Refusal::field(field, why))?;
    if device.as_ref().is_some_and(ids::is_passing) {
        return Err(Refusal::field(field, format!("must not begin with {}", ids::PASSING)));
    }
    Ok(device)
}

/// Whether a token names a device: it is for that one, which stays when the connection ends.
async fn names_a_device(local: &Local, namespace: &NamespaceName, token: Option<&str>) -> bool {
    match (local.node.namespace(namespace.as_str()), token) {
        (Some(namespace), Some(token)) if namespace.settings().auth.verifies() => {
            local.node.verify(&namespace, token).await.is_ok_and(|permit| permit.device.is_some())
        }
        (Some(_) | None, _) => false,
    }
}

/// The close code and the words for who is not let in: policy violation (1008), or try again later (1013).
fn farewell(why: &Refusal) -> (u16, String) {
    let code = if why.disconnect().reconnect() { 1013 } else { 1008 };
    (code, why.message.clone())
}

/// It is asked for a sign of life.
pub(super) fn beat(local: &Local, connection: &Connection) {
    receipts::expect(local, connection);
    receipts::ping(local, connection);
}

/// Everything was written that waited for it.
pub(super) fn written(local: &Local, connection: &Connection) {
    receipts::ask_if_many(local, connection);
}

/// Whether it may be given more before it has answered for what it was given.
pub(super) fn takes_more(local: &Local, session: &Session) -> bool {
    receipts::takes_more(local, session)
}

/// It gave one.
pub(super) fn pong(local: &Local, connection: &Connection, payload: &[u8]) {
    receipts::arrived(local, connection, payload);
}

/// Queues what the system said before it ended a connection.
pub(super) fn goodbye(local: &Local, connection: &Connection, why: Disconnect) {
    match system(connection) {
        Some(System::Gopusher) => gopusher::goodbye(local, connection, why),
        Some(System::MessagePush) => message_push::goodbye(local, connection, why),
        Some(System::GoRedis | System::Monitor) | None => local.send_close(connection, why),
    }
}
