//! light-push: the Socket.IO event `push` with `{"room","pushData","namespace","id","sendDate"}`, and no acknowledgement:
//! its clients say `ackPush`.

use super::{Aside, framed};
use crate::escape::{into_string, push_json_string, push_u64};
use crate::push::{self, Encoded, PushView};
use crate::socketio;

/// Before the id of a user, the name of the room that all of its clients are in.
pub const USER_ROOM: &str = "user_";

/// Encodes a message, an Engine.IO `4` included. The announcement of a recall, which light-push did not know, is the event `recall`.
#[must_use]
pub fn encode(view: &PushView<'_>) -> Encoded {
    let path = format!("/{}", view.namespace);
    if view.recalls.is_some() {
        return framed(&format!("4{}", socketio::event(&path, None, "recall", &[&push::object(view)])));
    }
    let aside = Aside::read(view.aside);
    let mut object = b"{\"room\":".to_vec();
    push_json_string(&mut object, &aside.room.unwrap_or_else(|| room(view).into()));
    object.extend_from_slice(b",\"pushData\":");
    object.extend_from_slice(view.data.as_bytes());
    object.extend_from_slice(b",\"namespace\":");
    push_json_string(&mut object, &path);
    object.extend_from_slice(b",\"id\":");
    push_u64(&mut object, view.seq);
    object.extend_from_slice(b",\"sendDate\":");
    push_u64(&mut object, view.sent_at_ms);
    object.push(b'}');
    framed(&format!("4{}", socketio::event(&path, None, "push", &[&into_string(object)])))
}

/// The room that a topic is in light-push's words.
fn room(view: &PushView<'_>) -> String {
    match (view.room, view.user) {
        (Some(room), _) => room.to_owned(),
        (None, Some(user)) => format!("{USER_ROOM}{user}"),
        (None, None) => view.topic.to_owned(),
    }
}
