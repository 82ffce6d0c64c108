//! light-push: the Socket.IO event `push` with `{"room","pushData","namespace","id","sendDate"}`, and no acknowledgement:
//! its clients say `ackPush`.

use super::{Aside, framed};
use crate::escape::{into_string, push_json_string, push_u64};
use crate::push::{self as messages, Encoded, PushView};
use crate::socketio;

pub mod push;

/// Before the id of a user, the name of the room that all of its clients are in.
pub const USER_ROOM: &str = "user_";

/// The device that a client of light-push is: what its client id says behind the namespace. Two users with one `uuid` are two
/// devices, as they were two clients.
#[must_use]
pub fn device_id(userid: &str, platform: &str, uuid: &str) -> String {
    format!("{userid}#{platform}-{uuid}")
}

/// The id by which clients and backends of light-push know a device: `/demo#ann#ios-d1`. `path` is the namespace with its slash.
#[must_use]
pub fn client_id(path: &str, device: &str) -> String {
    format!("{path}#{device}")
}

/// The device that a client id names; `None` when it is one of another namespace. `path` is the namespace with its slash.
#[must_use]
pub fn device_of<'a>(path: &str, client: &'a str) -> Option<&'a str> {
    client.strip_prefix(path)?.strip_prefix('#')
}

/// A room as it is kept: without one `room_` before it, however that is written.
#[must_use]
pub fn room_name(room: &str) -> &str {
    match room.get(..5) {
        Some(prefix) if prefix.eq_ignore_ascii_case("room_") => room.get(5..).unwrap_or_default(),
        Some(_) | None => room,
    }
}

/// The user whose room this is, if it is a user's.
#[must_use]
pub fn user_of(room: &str) -> Option<&str> {
    room_name(room).strip_prefix(USER_ROOM)
}

/// Whether a room has a name that light-push takes: letters, digits, `_`, and any of `\ . - $ # /`, at most 100 characters.
#[must_use]
pub fn is_room_name(room: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_\\.-$#/".contains(&byte);
    (1..=100).contains(&room.len()) && room.bytes().all(fits)
}

/// Encodes a message, an Engine.IO `4` included. The announcement of a recall, which light-push did not know, is the event `recall`.
#[must_use]
pub fn encode(view: &PushView<'_>) -> Encoded {
    let path = format!("/{}", view.namespace);
    if view.recalls.is_some() {
        return framed(&format!("4{}", socketio::event(&path, None, "recall", &[&messages::object(view)])));
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
