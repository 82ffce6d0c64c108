//! The push server of Go and Redis: `subscribe` on a plain WebSocket; channels are rooms.

use std::rc::Rc;
use std::sync::Arc;

use tidings_model::Disconnect;

use crate::compat::GoRedis;
use crate::connection::Connection;
use crate::local::Local;

/// How far a connection has come.
#[derive(Debug)]
pub(crate) struct State {
    settings: Arc<GoRedis>,
}

impl State {
    pub(crate) fn new(settings: Arc<GoRedis>) -> Self {
        Self { settings }
    }
}

/// The connection has come.
pub(super) fn welcome(local: &Rc<Local>, connection: &Rc<Connection>) {
    let _ = (local, connection);
}

/// A text message came.
pub(super) fn text(local: &Rc<Local>, connection: &Rc<Connection>, text: &str) {
    let _ = text;
    local.close(connection, Disconnect::BAD_REQUEST);
}
