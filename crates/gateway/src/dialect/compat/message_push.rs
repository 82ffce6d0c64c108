//! message-push: a bearer token in the handshake, then `LOGIN` within ten seconds and `HEARTBEAT`, on a plain WebSocket.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tidings_model::Disconnect;

use crate::compat::MessagePush;
use crate::connection::Connection;
use crate::local::Local;

/// How far a connection has come.
#[derive(Debug)]
pub(crate) struct State {
    settings: Arc<MessagePush>,
}

impl State {
    pub(crate) fn new(settings: Arc<MessagePush>) -> Self {
        Self { settings }
    }

    pub(super) fn introduces_itself_within(&self) -> Option<Duration> {
        Some(self.settings.login_timeout)
    }

    pub(super) fn is_passing(&self) -> bool {
        false
    }
}

/// A text message came.
pub(super) fn text(local: &Rc<Local>, connection: &Rc<Connection>, text: &str) {
    let _ = text;
    local.close(connection, Disconnect::BAD_REQUEST);
}

/// Queues what the server said before it ended a connection.
pub(super) fn goodbye(local: &Local, connection: &Connection, why: Disconnect) {
    local.send_close(connection, why);
}
