//! What a client or a backend of light-push pushes: `{"room","pushData",…}`, checked in the words and the order of its server.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::is_room_name;
use crate::compat::Aside;

/// Hours that a message lives unless its push says, and at most.
pub const EXPIRE_HOURS: f64 = 1.0;
/// See [`EXPIRE_HOURS`].
pub const EXPIRE_HOURS_MAX: f64 = 10.0;

/// Most bytes of `pushData.apsData`.
pub const APS_BYTES_MAX: usize = 4_000;

/// A push.
#[derive(Clone, Debug, PartialEq)]
pub struct Pushed {
    /// The room, as it was written.
    pub room: String,
    /// `pushData` without `apsData`: a JSON object.
    pub data: String,
    /// `pushData.apsData`, if it is there: JSON.
    pub aps: Option<String>,
    /// How long it lives, in hours.
    pub expire: f64,
    /// Whether who is away is to be woken.
    pub leave_message: bool,
    /// What is to be told again.
    pub aside: Aside<'static>,
}

/// Reads a push.
///
/// # Errors
/// What light-push said is wrong with it.
pub fn read(json: &str) -> Result<Pushed, String> {
    let fields: HashMap<Cow<'_, str>, &RawValue> = serde_json::from_str(json).unwrap_or_default();
    let given = |name: &str| fields.get(name).map(|raw| raw.get()).filter(|raw| *raw != "null");
    let text = |name: &str| given(name).and_then(|raw| serde_json::from_str::<String>(raw).ok());
    let room = text("room").filter(|room| !room.is_empty());
    let room = room.ok_or_else(|| "room can not be empty".to_owned())?;
    if !is_room_name(&room) {
        return Err("room invalid".to_owned());
    }
    let data = given("pushData").filter(|raw| raw.starts_with('{'));
    let data = data.ok_or_else(|| "pushData can not be empty and must be an Object".to_owned())?;
    let except = match given("except") {
        None => None,
        Some(_) => Some(text("except").ok_or_else(|| "except must be string".to_owned())?),
    };
    let expire = match given("expire") {
        None => EXPIRE_HOURS,
        // Forms and careless callers write numbers as strings.
        Some(raw) => {
            let hours = raw.trim_matches('"').parse::<f64>().ok();
            let fits = hours.filter(|hours| *hours > 0.0 && *hours <= EXPIRE_HOURS_MAX);
            fits.ok_or_else(|| "expire invalid".to_owned())?
        }
    };
    let leave_message = given("leaveMessage").is_some_and(|raw| raw == "true" || raw == "\"true\"");
    let (data, aps) = split(data);
    if aps.as_ref().is_some_and(|aps| aps.len() > APS_BYTES_MAX) {
        return Err(format!("pushData.apsData size must be less then {APS_BYTES_MAX} bytes"));
    }
    let aside = Aside {
        room: Some(room.clone().into()),
        from: text("from").map(Cow::Owned),
        except: except.map(Cow::Owned),
        extra: text("extra").map(Cow::Owned),
        expire: Some(expire.to_string().into()),
        apns_name: text("apnsName").map(Cow::Owned),
        leave_message: given("leaveMessage").map(|_| leave_message),
        ..Aside::default()
    };
    Ok(Pushed { room, data, aps, expire, leave_message, aside })
}

/// An object without its `apsData`, and that; everything else stays as it was written.
fn split(object: &str) -> (String, Option<String>) {
    let whole = || (object.to_owned(), None);
    if !object.contains("apsData") {
        return whole();
    }
    let Ok(Pairs(pairs)) = serde_json::from_str::<Pairs<'_>>(object) else { return whole() };
    let (aps, others): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|(name, _)| name == "apsData");
    let written: Vec<_> = others.iter().map(|(name, value)| format!("{}:{value}", json(name))).collect();
    let aps = aps.last().map(|(_, value)| value.get().to_owned());
    (format!("{{{}}}", written.join(",")), aps)
}

/// An object with its `apsData` in it again.
#[must_use]
pub fn join(data: &str, aps: Option<&str>) -> String {
    match (aps, data.trim_end().strip_suffix('}')) {
        (Some(aps), Some("{")) => format!(r#"{{"apsData":{aps}}}"#),
        (Some(aps), Some(open)) => format!(r#"{open},"apsData":{aps}}}"#),
        (_, _) => data.to_owned(),
    }
}

fn json(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    crate::escape::push_json_string(&mut out, text);
    crate::escape::into_string(out)
}

/// The members of an object, in order.
struct Pairs<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(pairs)
            }
        }
        deserializer.deserialize_map(Members).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_is_read_and_what_is_wrong_is_said_as_ever() {
        for (json, expected) in [
            (r#"{"room":"r1","pushData":{"a": 1.50}}"#, Ok((r#"{"a": 1.50}"#, None, 1.0))),
            (
                r#"{"room":"r1","pushData":{"a":1,"apsData":{"aps":{}},"b":"é"},"expire":2}"#,
                Ok((r#"{"a":1,"b":"é"}"#, Some(r#"{"aps":{}}"#), 2.0)),
            ),
            (r#"{"room":"r1","pushData":{"apsData":1}}"#, Ok(("{}", Some("1"), 1.0))),
            (
                r#"{"room":"r1","pushData":{"x":"apsData"},"expire":"10"}"#,
                Ok((r#"{"x":"apsData"}"#, None, 10.0)),
            ),
            ("{}", Err("room can not be empty")),
            ("nonsense", Err("room can not be empty")),
            (r#"{"room":""}"#, Err("room can not be empty")),
            (r#"{"room":7}"#, Err("room can not be empty")),
            (r#"{"room":"a b"}"#, Err("room invalid")),
            (r#"{"room":"r1"}"#, Err("pushData can not be empty and must be an Object")),
            (r#"{"room":"r1","pushData":"x"}"#, Err("pushData can not be empty and must be an Object")),
            (r#"{"room":"r1","pushData":[]}"#, Err("pushData can not be empty and must be an Object")),
            (r#"{"room":"r1","pushData":{},"except":1}"#, Err("except must be string")),
            (r#"{"room":"r1","pushData":{},"expire":11}"#, Err("expire invalid")),
            (r#"{"room":"r1","pushData":{},"expire":0}"#, Err("expire invalid")),
            (r#"{"room":"r1","pushData":{},"expire":"x"}"#, Err("expire invalid")),
        ] {
            let read = read(json);
            let found = read.as_ref().map(|one| (one.data.as_str(), one.aps.as_deref(), one.expire));
            assert_eq!(found.map_err(String::as_str), expected, "{json}");
        }
        let long = format!(r#"{{"room":"r","pushData":{{"apsData":"{}"}}}}"#, "x".repeat(4_000));
        assert_eq!(read(&long).unwrap_err(), "pushData.apsData size must be less then 4000 bytes");
    }

    #[test]
    fn what_was_split_is_joined_again() {
        for (data, aps, whole) in [
            (r#"{"a":1}"#, Some("{}"), r#"{"a":1,"apsData":{}}"#),
            ("{}", Some("1"), r#"{"apsData":1}"#),
            (r#"{"a":1}"#, None, r#"{"a":1}"#),
            ("7", Some("1"), "7"),
        ] {
            assert_eq!(join(data, aps), whole);
        }
    }
}
