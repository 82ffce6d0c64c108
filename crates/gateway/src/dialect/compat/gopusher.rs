//! gopusher: `join` and `ping` on a plain WebSocket; groups are users, by `card_id`.

use std::rc::Rc;
use std::sync::Arc;

use tidings_model::Disconnect;

use crate::compat::Gopusher;
use crate::connection::Connection;
use crate::local::Local;

/// How far a connection has come.
#[derive(Debug)]
pub(crate) struct State {
    settings: Arc<Gopusher>,
}

impl State {
    pub(crate) fn new(settings: Arc<Gopusher>) -> Self {
        Self { settings }
    }

    pub(super) fn is_passing(&self) -> bool {
        true
    }
}

/// A text message came.
pub(super) fn text(local: &Rc<Local>, connection: &Rc<Connection>, text: &str) {
    let _ = text;
    local.close(connection, Disconnect::BAD_REQUEST);
}
