//! A push: one room, one message.

use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use serde_json::json;
use tidings_model::{
    DeviceId, Durability, EventName, Except, Priority, Push, RoomName, Target, UserId, limit,
};
use tidings_node::Namespace;
use tidings_wire::compat::light_push::push::{self, Pushed};
use tidings_wire::compat::light_push::{device_of, is_room_name, room_name, user_of};

use super::answer::{Refusal, json, too_large};
use super::auth::Backend;
use super::fields::Fields;
use crate::ApiState;

/// Pushes a message.
pub(super) async fn push(
    State(state): State<ApiState>,
    Extension(backend): Extension<Backend>,
    fields: Fields,
) -> Result<Response, Refusal> {
    let push = draft(&backend.namespace, &fields)?;
    let counted = backend.holder.may_push(state.node.now());
    counted.map_err(|_| Refusal::business("limited access in 1s"))?;
    let accepted = state.node.publish(&backend.namespace.name, push).await?;
    Ok(json(&json!({"id": accepted.message.seq.0})))
}

/// Whom a room means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Means {
    User(UserId),
    Room(RoomName),
}

impl Means {
    /// What a room means as it is written; `None` when no room is written like that.
    pub(super) fn of(room: &str) -> Option<Self> {
        if !is_room_name(room) {
            return None;
        }
        match user_of(room) {
            Some(user) => UserId::new(user).ok().map(Self::User),
            None => RoomName::new(room_name(room)).ok().map(Self::Room),
        }
    }
}

/// What a call asks to push.
fn draft(namespace: &Namespace, fields: &Fields) -> Result<Push, Refusal> {
    let read = push::read(|name| fields.raw(name), limit::DATA_DEPTH_MAX);
    let Pushed { room, data, aps, expire, leave_message, aside } = read.map_err(Refusal::business)?;
    let means = Means::of(&room).ok_or_else(|| Refusal::business("room invalid"))?;
    let largest = namespace.settings().largest_data();
    if data.len() + aps.as_ref().map_or(0, String::len) > largest {
        return Err(too_large(largest));
    }
    if namespace.settings().suspended {
        return Err(Refusal::business("this namespace offline"));
    }
    let path = format!("/{}", namespace.name);
    let excepted = aside.except.as_deref().and_then(|client| device_of(&path, client));
    let devices = excepted.and_then(|device| DeviceId::new(device).ok()).into_iter().collect();
    let ttl = Duration::from_secs_f64(expire * 3_600.0);
    let event = EventName::new("push").map_err(|why| Refusal::failed(why.to_string()))?;
    let (users, rooms) = match means {
        Means::User(user) => (vec![user], Vec::new()),
        Means::Room(room) => (Vec::new(), vec![room]),
    };
    Ok(Push {
        to: Target { users, rooms, ..Target::default() },
        except: Except { devices, ..Except::default() },
        event,
        data: Bytes::from(data),
        id: None,
        fingerprint: [0; 16],
        ttl,
        priority: Priority::default(),
        durability: Durability::default(),
        keep: true,
        collapse_key: None,
        deliver_at: None,
        // Without leaveMessage nobody is woken: the message is over before that.
        escalate_after: (!leave_message).then_some(ttl + Duration::from_secs(60)),
        offline: aps.map_or_else(Bytes::new, |aps| Bytes::from(format!("{{\"apns\":{aps}}}"))),
        from: None,
        aside: Bytes::from(aside.to_json()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_mean_users_and_rooms() {
        let user = |user| Some(Means::User(UserId::new(user).unwrap()));
        let room = |room| Some(Means::Room(RoomName::new(room).unwrap()));
        for (text, expected) in [
            ("r1", room("r1")),
            ("room_r1", room("r1")),
            ("Room_room_r1", room("room_r1")),
            ("user_u1", user("u1")),
            ("room_user_u1", user("u1")),
            ("User_u1", room("User_u1")),
            ("a/b#c$d.e-f\\g", room("a/b#c$d.e-f\\g")),
            ("user_", None),
            ("room_", None),
            ("a b", None),
            ("", None),
            (&"x".repeat(101), None),
        ] {
            assert_eq!(Means::of(text), expected, "{text}");
        }
    }
}
