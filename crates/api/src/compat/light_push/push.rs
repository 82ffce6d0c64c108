//! A push: one room, one message.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::json;
use serde_json::value::RawValue;
use tidings_model::{
    DeviceId, Durability, EventName, Except, Priority, Push, RoomName, Target, UserId, limit,
};
use tidings_node::Namespace;
use tidings_wire::compat::Aside;
use tidings_wire::compat::light_push::{USER_ROOM, device_of, is_room_name, room_name};
use tidings_wire::nesting;

use super::answer::{Refusal, json, too_large};
use super::auth::Backend;
use super::fields::Fields;
use crate::ApiState;

/// Hours that a message lives, unless it says otherwise, and at most.
const EXPIRE_DEFAULT: f64 = 1.0;
const EXPIRE_MAX: f64 = 10.0;

/// Most bytes of what an iPhone is to be told.
const APS_BYTES_MAX: usize = 4_000;

/// Longest text that is only kept with a message, in bytes.
const ASIDE_BYTES_MAX: usize = 1_024;

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
        let room = room_name(room);
        match room.strip_prefix(USER_ROOM) {
            Some(user) => UserId::new(user).ok().map(Self::User),
            None => RoomName::new(room).ok().map(Self::Room),
        }
    }
}

/// What a call asks to push.
fn draft(namespace: &Namespace, fields: &Fields) -> Result<Push, Refusal> {
    let room = fields.text("room").ok_or_else(|| Refusal::business("room can not be empty"))?;
    let means = Means::of(&room).ok_or_else(|| Refusal::business("room invalid"))?;
    let raw = fields.raw("pushData").unwrap_or_default();
    let Some(Parted { data, aps }) = Parted::of(raw) else {
        return Err(Refusal::business("pushData can not be empty and must be an Object"));
    };
    let largest = namespace.settings().largest_data();
    if raw.len() > largest {
        return Err(too_large(largest));
    }
    let except = match fields.value("except") {
        None => None,
        Some(serde_json::Value::String(except)) if except.len() <= ASIDE_BYTES_MAX => Some(except),
        Some(_) => return Err(Refusal::business("except must be string")),
    };
    if namespace.settings().suspended {
        return Err(Refusal::business("this namespace offline"));
    }
    let hours = match fields.value("expire") {
        None => EXPIRE_DEFAULT,
        Some(_) => fields
            .text("expire")
            .and_then(|text| text.trim().parse().ok())
            .filter(|hours| *hours > 0.0 && *hours <= EXPIRE_MAX)
            .ok_or_else(|| Refusal::business("expire invalid"))?,
    };
    let leave_message = fields.flag("leaveMessage");
    let stays = leave_message == Some(true);
    if stays && aps.is_some_and(|aps| aps.len() > APS_BYTES_MAX) {
        let why = format!("pushData.apsData size must be less then {APS_BYTES_MAX} bytes");
        return Err(Refusal::business(why));
    }
    let kept = |name: &str| match fields.text(name) {
        Some(text) if text.len() > ASIDE_BYTES_MAX => Err(Refusal::business(format!("{name} invalid"))),
        text => Ok(text.map(Cow::Owned)),
    };
    let path = format!("/{}", namespace.name);
    let excepted = except.as_deref().and_then(|client| device_of(&path, client));
    let devices = excepted.and_then(|device| DeviceId::new(device).ok()).into_iter().collect();
    let aside = Aside {
        from: kept("from")?,
        extra: kept("extra")?,
        apns_name: kept("apnsName")?,
        expire: Some(hours.to_string().into()),
        except: except.map(Cow::Owned),
        room: Some(room.into()),
        leave_message,
        ..Aside::default()
    };
    let ttl = Duration::from_secs_f64(hours * 3_600.0);
    let event = EventName::new("push").map_err(|why| Refusal::failed(why.to_string()))?;
    let (users, rooms) = match means {
        Means::User(user) => (vec![user], Vec::new()),
        Means::Room(room) => (Vec::new(), vec![room]),
    };
    Ok(Push {
        to: Target { users, rooms, ..Target::default() },
        except: Except { devices, ..Except::default() },
        event,
        data: data.map_or_else(|| Bytes::copy_from_slice(raw.as_bytes()), Bytes::from),
        id: None,
        fingerprint: [0; 16],
        ttl,
        priority: Priority::default(),
        durability: Durability::default(),
        keep: true,
        collapse_key: None,
        deliver_at: None,
        // Without leaveMessage nobody is woken: the message is over before that.
        escalate_after: (!stays).then_some(ttl + Duration::from_secs(60)),
        offline: aps.map_or_else(Bytes::new, |aps| Bytes::from(format!("{{\"apns\":{aps}}}"))),
        from: None,
        aside: Bytes::from(aside.to_json()),
    })
}

/// What a push says, apart from what only iPhones are told that are away.
#[derive(Debug, PartialEq, Eq)]
struct Parted<'a> {
    /// Without it, where there was any; else it is as it was.
    data: Option<String>,
    aps: Option<&'a str>,
}

/// What only iPhones are told that are away.
const APS: &str = "apsData";

impl<'a> Parted<'a> {
    /// `None` for what is not a JSON object, or is nested too deep.
    fn of(raw: &'a str) -> Option<Self> {
        if !nesting::is_within(raw, limit::DATA_DEPTH_MAX) {
            return None;
        }
        let Members(members) = serde_json::from_str(raw).ok()?;
        if !members.iter().any(|(name, _)| name == APS) {
            return Some(Self { data: None, aps: None });
        }
        let mut data = String::with_capacity(raw.len());
        for (name, value) in members.iter().filter(|(name, _)| name != APS) {
            data.push(if data.is_empty() { '{' } else { ',' });
            data.push_str(&serde_json::to_string(name).ok()?);
            data.push(':');
            data.push_str(value);
        }
        data.push_str(if data.is_empty() { "{}" } else { "}" });
        let aps = members.iter().find(|(name, _)| name == APS).map(|(_, value)| *value);
        Some(Self { data: Some(data), aps: aps.filter(|aps| *aps != "null") })
    }
}

/// A push's data as it was said: with what only iPhones are told, and without white space.
pub(super) fn whole(data: &str, offline: &str) -> String {
    let aps: Option<Offline<'_>> = serde_json::from_str(offline).ok();
    let data = compact(data);
    let Some(aps) = aps.and_then(|said| said.apns) else { return data };
    match data.strip_suffix('}') {
        Some("{") => format!("{{\"{APS}\":{}}}", compact(aps.get())),
        Some(data) => format!("{data},\"{APS}\":{}}}", compact(aps.get())),
        None => data,
    }
}

/// What a message says to who is away.
#[derive(Deserialize)]
struct Offline<'a> {
    #[serde(borrow)]
    apns: Option<&'a RawValue>,
}

/// JSON without white space between its tokens.
fn compact(json: &str) -> String {
    let (mut out, mut in_string, mut escaped) = (String::with_capacity(json.len()), false, false);
    for char in json.chars() {
        match char {
            ' ' | '\t' | '\n' | '\r' if !in_string => continue,
            '"' if !escaped => in_string = !in_string,
            _ => {}
        }
        escaped = in_string && char == '\\' && !escaped;
        out.push(char);
    }
    out
}

/// The members of an object in their order; of those with the same name, the last one.
struct Members<'a>(Vec<(String, &'a str)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;

        impl<'de> Visitor<'de> for Read {
            type Value = Vec<(String, &'de str)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut members, mut seen) = (Vec::new(), HashSet::new());
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    if !seen.insert(name.clone()) {
                        members.retain(|(other, _)| *other != name);
                    }
                    members.push((name, value.get()));
                }
                Ok(members)
            }
        }

        from.deserialize_map(Read).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_iphones_are_told_is_apart_and_comes_back() {
        for (raw, data, aps, again) in [
            ("{}", None, None, "{}"),
            (r#"{"a": [1, "b c"]}"#, None, None, r#"{"a":[1,"b c"]}"#),
            (r#"{"apsData":{"aps":1}}"#, Some("{}"), Some(r#"{"aps":1}"#), r#"{"apsData":{"aps":1}}"#),
            (
                r#"{"a":1.50,"apsData":{"x": "\" }"},"b":"ä"}"#,
                Some(r#"{"a":1.50,"b":"ä"}"#),
                Some(r#"{"x": "\" }"}"#),
                r#"{"a":1.50,"b":"ä","apsData":{"x":"\" }"}}"#,
            ),
            (r#"{"a":1,"apsData":null}"#, Some(r#"{"a":1}"#), None, r#"{"a":1}"#),
            (
                r#"{"a":1,"a":2,"apsData":3,"apsData":4}"#,
                Some(r#"{"a":2}"#),
                Some("4"),
                r#"{"a":2,"apsData":4}"#,
            ),
        ] {
            let parted = Parted::of(raw).unwrap();
            assert_eq!((parted.data.as_deref(), parted.aps), (data, aps), "{raw}");
            let offline = parted.aps.map_or_else(String::new, |aps| format!("{{\"apns\":{aps}}}"));
            assert_eq!(whole(parted.data.as_deref().unwrap_or(raw), &offline), again, "{raw}");
        }
        for raw in [
            "",
            "[]",
            "7",
            "\"x\"",
            "{",
            "null",
            &format!("{{\"a\":{}1{}}}", "[".repeat(101), "]".repeat(101)),
        ] {
            assert_eq!(Parted::of(raw), None, "{raw}");
        }
        assert_eq!(whole(r#""a text""#, r#"{"apns":1}"#), r#""a text""#);
    }

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
