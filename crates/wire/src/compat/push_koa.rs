//! push (koa): the Socket.IO event `message` with two arguments, the caller's id of the message and the message, and an
//! acknowledgement unless its caller wanted none.

use super::{Aside, framed};
use crate::escape::{into_string, push_json_string};
use crate::push::{self, Encoded, PushView};
use crate::socketio;

/// The device of a user of push, who is logged in on one at a time.
#[must_use]
pub fn device_id(uid: &str) -> String {
    format!("push-{uid}")
}

/// The event that tells a client into which rooms it was moved, and its id, which no other event has.
pub const CHANGE_ROOM: &str = "changeRoom";

/// The id of every [`CHANGE_ROOM`].
pub const CHANGE_ROOM_ID: &str = "-2";

/// Encodes a message, an Engine.IO `4` included. The announcement of a recall, which push did not know, is the event `recall`.
#[must_use]
pub fn encode(view: &PushView<'_>) -> Encoded {
    let path = format!("/{}", view.namespace);
    if view.recalls.is_some() {
        return framed(&format!("4{}", socketio::event(&path, None, "recall", &[&push::object(view)])));
    }
    let aside = Aside::read(view.aside);
    let mut id = Vec::new();
    push_json_string(&mut id, aside.msg_id.as_deref().unwrap_or(view.id));
    if view.event == CHANGE_ROOM && aside.msg_id.as_deref() == Some(CHANGE_ROOM_ID) {
        let told = socketio::event(&path, None, CHANGE_ROOM, &[&into_string(id), view.data]);
        return framed(&format!("4{told}"));
    }
    let ack = aside.ack.unwrap_or(true).then_some(view.ack_id);
    framed(&format!("4{}", socketio::event(&path, ack, "message", &[&into_string(id), view.data])))
}
