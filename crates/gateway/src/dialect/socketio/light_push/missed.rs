//! What a client has missed, as those of Android get it: a list.

use std::sync::Arc;

use serde_json::{Value, json};
use tidings_model::{Message, Platform, Topic};
use tidings_wire::compat::Aside;
use tidings_wire::compat::light_push::{USER_ROOM, push};
use tidings_wire::push::Encoded;
use tidings_wire::socketio;
use tidings_wire::websocket::{self, Opcode};

use super::{client, with};
use crate::command::Application;
use crate::connection::Connection;

/// What the messages that a client has missed are to it in one packet: the list as the event `offlineMessage`, in the place of
/// the last of them; in the places of the others, a packet that says nothing. `None` for all who get them one by one.
pub(in crate::dialect) fn together(
    connection: &Connection,
    messages: &[(Arc<Message>, usize)],
) -> Option<Vec<Encoded>> {
    let is_one = with(connection, |state| state.application == Application::LightPush)?;
    if !is_one || client(connection)?.platform != Platform::Android {
        return None;
    }
    let (last, others) = messages.split_last()?;
    let path = format!("/{}", last.0.namespace);
    let list: Vec<Value> = messages.iter().map(|(message, topic)| stored(message, *topic)).collect();
    let event = socketio::event(&path, None, "offlineMessage", &[&Value::from(list).to_string()]);
    let mut packets: Vec<_> = others.iter().map(|_| framed(tidings_wire::engineio::NOOP)).collect();
    packets.push(framed(&format!("4{event}")));
    Some(packets)
}

fn framed(payload: &str) -> Encoded {
    let bytes = websocket::frame(Opcode::Text, payload.as_bytes());
    let payload_at = (bytes.len() - payload.len()) as u8;
    Encoded { bytes, payload_at }
}

/// A message as light-push stored it: strings, but for the data.
fn stored(message: &Message, topic: usize) -> Value {
    let aside = std::str::from_utf8(&message.aside).unwrap_or_default();
    let Aside { room, from, except, extra, expire, apns_name, leave_message, .. } = Aside::read(aside);
    let room = room.map(std::borrow::Cow::into_owned).or_else(|| {
        message.topics.get(topic).map(|(topic, _)| match topic {
            Topic::Room(room) => room.to_string(),
            Topic::User(user) => format!("{USER_ROOM}{user}"),
            Topic::All | Topic::Device(_) => topic.to_string(),
        })
    });
    let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
    let data = push::whole(text(&message.data), text(&message.offline));
    let mut fields = json!({
        "room": room,
        "pushData": serde_json::from_str::<Value>(&data).unwrap_or_default(),
        "id": message.seq.0.to_string(),
        "namespace": format!("/{}", message.namespace),
        "sendDate": message.sent_at.0.to_string(),
    });
    for (name, value) in [
        ("from", from),
        ("except", except),
        ("extra", extra),
        ("expire", expire),
        ("apnsName", apns_name),
        ("leaveMessage", leave_message.map(|leave| leave.to_string().into())),
    ] {
        if let Some(value) = value {
            fields[name] = value.into();
        }
    }
    fields
}
