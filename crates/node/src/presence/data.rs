//! What is told of comings and goings, as JSON.

use serde_json::{Value, json};
use tidings_model::{DeviceId, Disconnect, Message, RoomName, Timestamp, UserId};

use super::Person;
use super::stay::Stay;
use crate::connect::connection_id;
use crate::notify::rfc3339;

/// Most devices that are named when a user comes or goes.
pub(super) const DEVICES_MAX: usize = 100;

fn user(person: Option<&Person>) -> Option<&str> {
    person.and_then(|person| person.user.as_ref()).map(UserId::as_str)
}

fn device(person: Option<&Person>) -> Option<&str> {
    person.map(|person| person.device.as_str())
}

/// A user is online, or is not any more.
pub(super) fn stay(user: &UserId, stay: Stay, since: Timestamp, devices: &[DeviceId]) -> String {
    let devices: Vec<&str> = devices.iter().take(DEVICES_MAX).map(DeviceId::as_str).collect();
    let since = rfc3339(since);
    json!({ "user": user.as_str(), "session": stay.number, "since": since, "devices": devices }).to_string()
}

/// A connection has ended.
pub(super) fn disconnected(who: Option<&Person>, connection: u64, why: Disconnect) -> String {
    json!({
        "user": user(who),
        "device": device(who),
        "connection": connection_id(connection),
        "code": why.code,
        "reason": why.reason,
    })
    .to_string()
}

/// A device is in a room from now on, or no longer.
pub(super) fn moved(room: &RoomName, who: Option<&Person>) -> String {
    json!({ "room": room.as_str(), "user": user(who), "device": device(who) }).to_string()
}

/// A room has somebody online, or nobody any more.
pub(super) fn room(room: &RoomName) -> String {
    json!({ "room": room.as_str() }).to_string()
}

/// A member of a room has come online, or is so no longer.
pub(super) fn presence(room: &RoomName, who: Option<&Person>, online: bool) -> String {
    json!({ "room": room.as_str(), "user": user(who), "device": device(who), "online": online }).to_string()
}

/// A device has given a receipt.
pub(super) fn acked(message: &Message, who: Option<&Person>) -> String {
    let (id, event) = (message.id.as_str(), message.event.as_str());
    Value::to_string(&json!({ "message": id, "event": event, "user": user(who), "device": device(who) }))
}
