//! What a client or a backend of light-push pushes: `{"room","pushData",…}`, checked in the words and the order of its server.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::is_room_name;
use crate::compat::Aside;
use crate::escape::{into_string, push_json_string};
use crate::nesting;

/// Hours that a message lives unless its push says, and at most.
const EXPIRE_HOURS: f64 = 1.0;
const EXPIRE_HOURS_MAX: f64 = 10.0;

/// Most bytes of what an iPhone is to be told that is away.
const APS_BYTES_MAX: usize = 4_000;

/// Longest text that is only kept with a message, in bytes.
const ASIDE_BYTES_MAX: usize = 1_024;

/// The part of `pushData` that only iPhones are told.
const APS: &str = "apsData";

/// A push.
#[derive(Clone, Debug, PartialEq)]
pub struct Pushed {
    /// The room, as it was written.
    pub room: String,
    /// `pushData` without what only iPhones are told: a JSON object.
    pub data: String,
    /// What only iPhones are told that are away, if there is any: JSON.
    pub aps: Option<String>,
    /// How long it lives, in hours.
    pub expire: f64,
    /// Whether who is away is to be woken.
    pub leave_message: bool,
    /// What is to be told again.
    pub aside: Aside<'static>,
}

/// Reads a push from its fields, each as JSON. `pushData` may be nested so deep.
///
/// # Errors
/// What light-push said is wrong with it.
pub fn read<'a>(field: impl Fn(&str) -> Option<&'a str>, depth: usize) -> Result<Pushed, String> {
    let given = |name: &str| field(name).filter(|raw| *raw != "null");
    let kept = |name: &str| match given(name).and_then(text) {
        Some(text) if text.len() > ASIDE_BYTES_MAX => Err(format!("{name} invalid")),
        text => Ok(text.map(Cow::Owned)),
    };
    let room = given("room").and_then(text).ok_or_else(|| "room can not be empty".to_owned())?;
    if !is_room_name(&room) {
        return Err("room invalid".to_owned());
    }
    let data = given("pushData").filter(|raw| nesting::is_within(raw, depth));
    let (data, aps) =
        data.and_then(split).ok_or_else(|| "pushData can not be empty and must be an Object".to_owned())?;
    let except = match given("except") {
        None => None,
        Some(raw) => {
            let except = serde_json::from_str::<String>(raw).ok();
            let except = except.filter(|except| except.len() <= ASIDE_BYTES_MAX);
            Some(except.ok_or_else(|| "except must be string".to_owned())?)
        }
    };
    let expire = match given("expire") {
        None => EXPIRE_HOURS,
        Some(raw) => {
            let hours = text(raw).and_then(|text| text.trim().parse::<f64>().ok());
            let fits = hours.filter(|hours| *hours > 0.0 && *hours <= EXPIRE_HOURS_MAX);
            fits.ok_or_else(|| "expire invalid".to_owned())?
        }
    };
    let leave_message = given("leaveMessage").and_then(flag);
    let stays = leave_message == Some(true);
    if stays && aps.as_ref().is_some_and(|aps| aps.len() > APS_BYTES_MAX) {
        return Err(format!("pushData.apsData size must be less then {APS_BYTES_MAX} bytes"));
    }
    let aside = Aside {
        room: Some(room.clone().into()),
        from: kept("from")?,
        except: except.map(Cow::Owned),
        extra: kept("extra")?,
        expire: Some(expire.to_string().into()),
        apns_name: kept("apnsName")?,
        leave_message,
        ..Aside::default()
    };
    Ok(Pushed { room, data, aps, expire, leave_message: stays, aside })
}

/// What a string or a number says, if that is not nothing: callers were never careful which of them they wrote.
fn text(raw: &str) -> Option<String> {
    let text = serde_json::from_str::<String>(raw).ok().filter(|text| !text.is_empty());
    text.or_else(|| serde_json::from_str::<serde_json::Number>(raw).ok().map(|number| number.to_string()))
}

/// A yes or no, as a word, a number or in a string.
fn flag(raw: &str) -> Option<bool> {
    match raw.trim_matches('"') {
        "true" | "1" => Some(true),
        "false" | "0" | "" => Some(false),
        _ => None,
    }
}

/// An object without what only iPhones are told, and that. What has none stays as it was written. `None` for what is no object.
fn split(object: &str) -> Option<(String, Option<String>)> {
    let Pairs(pairs) = serde_json::from_str(object).ok()?;
    if !pairs.iter().any(|(name, _)| name == APS) {
        return Some((object.to_owned(), None));
    }
    let (aps, others): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|(name, _)| name == APS);
    let written: Vec<_> = others.iter().map(|(name, value)| format!("{}:{value}", json(name))).collect();
    let aps = aps.last().map(|(_, value)| value.get().to_owned()).filter(|aps| aps != "null");
    Some((format!("{{{}}}", written.join(",")), aps))
}

/// A push's data as it was said: with what only iPhones are told, which is in `offline`, and without white space.
#[must_use]
pub fn whole(data: &str, offline: &str) -> String {
    let said: Option<Offline<'_>> = serde_json::from_str(offline).ok();
    let data = compact(data);
    let Some(aps) = said.and_then(|said| said.apns) else { return data };
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

fn json(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    push_json_string(&mut out, text);
    into_string(out)
}

/// The members of an object in their order; of those with the same name, the last one.
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
                let (mut pairs, mut seen) = (Vec::new(), HashSet::new());
                while let Some((name, value)) = map.next_entry::<Cow<'de, str>, &RawValue>()? {
                    if !seen.insert(name.clone()) {
                        pairs.retain(|(other, _)| *other != name);
                    }
                    pairs.push((name, value));
                }
                Ok(pairs)
            }
        }

        deserializer.deserialize_map(Members).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn of(json: &str) -> Result<Pushed, String> {
        let fields: HashMap<String, &RawValue> = serde_json::from_str(json).unwrap_or_default();
        read(|name| fields.get(name).map(|raw| raw.get()), 100)
    }

    #[test]
    fn a_push_is_read_and_what_is_wrong_is_said_as_ever() {
        for (json, expected) in [
            (r#"{"room":"r1","pushData":{"a": 1.50}}"#, Ok((r#"{"a": 1.50}"#, None, 1.0))),
            (
                r#"{"room":"r1","pushData":{"a":1,"apsData":{"aps":{}},"b":"é"},"expire":2}"#,
                Ok((r#"{"a":1,"b":"é"}"#, Some(r#"{"aps":{}}"#), 2.0)),
            ),
            (r#"{"room":7,"pushData":{"apsData":1}}"#, Ok(("{}", Some("1"), 1.0))),
            (
                r#"{"room":"r1","pushData":{"x":"apsData"},"expire":"10"}"#,
                Ok((r#"{"x":"apsData"}"#, None, 10.0)),
            ),
            ("{}", Err("room can not be empty")),
            ("nonsense", Err("room can not be empty")),
            (r#"{"room":""}"#, Err("room can not be empty")),
            (r#"{"room":"a b"}"#, Err("room invalid")),
            (r#"{"room":"r1"}"#, Err("pushData can not be empty and must be an Object")),
            (r#"{"room":"r1","pushData":"x"}"#, Err("pushData can not be empty and must be an Object")),
            (r#"{"room":"r1","pushData":[]}"#, Err("pushData can not be empty and must be an Object")),
            (r#"{"room":"r1","pushData":{},"except":1}"#, Err("except must be string")),
            (r#"{"room":"r1","pushData":{},"expire":11}"#, Err("expire invalid")),
            (r#"{"room":"r1","pushData":{},"expire":0}"#, Err("expire invalid")),
            (r#"{"room":"r1","pushData":{},"expire":"x"}"#, Err("expire invalid")),
        ] {
            let read = of(json);
            let found = read.as_ref().map(|one| (one.data.as_str(), one.aps.as_deref(), one.expire));
            assert_eq!(found.map_err(String::as_str), expected, "{json}");
        }
        let deep = format!(r#"{{"room":"r","pushData":{{"a":{}1{}}}}}"#, "[".repeat(101), "]".repeat(101));
        assert!(of(&deep).unwrap_err().starts_with("pushData"));
        let long = |leave| {
            let aps = "x".repeat(4_000);
            of(&format!(r#"{{"room":"r","pushData":{{"apsData":"{aps}"}},"leaveMessage":{leave}}}"#))
        };
        assert_eq!(long("true").unwrap_err(), "pushData.apsData size must be less then 4000 bytes");
        assert!(long("false").is_ok(), "nobody is woken");
        let from = of(&format!(r#"{{"room":"r","pushData":{{}},"from":"{}"}}"#, "x".repeat(1_025)));
        assert_eq!(from.unwrap_err(), "from invalid");
    }

    #[test]
    fn what_only_iphones_are_told_is_apart_and_comes_back() {
        for (raw, data, aps, again) in [
            ("{}", "{}", None, "{}"),
            (r#"{"a": [1, "b c"]}"#, r#"{"a": [1, "b c"]}"#, None, r#"{"a":[1,"b c"]}"#),
            (r#"{"apsData":{"aps":1}}"#, "{}", Some(r#"{"aps":1}"#), r#"{"apsData":{"aps":1}}"#),
            (
                r#"{"a":1.50,"apsData":{"x": "\" }"},"b":"ä"}"#,
                r#"{"a":1.50,"b":"ä"}"#,
                Some(r#"{"x": "\" }"}"#),
                r#"{"a":1.50,"b":"ä","apsData":{"x":"\" }"}}"#,
            ),
            (r#"{"a":1,"apsData":null}"#, r#"{"a":1}"#, None, r#"{"a":1}"#),
            (r#"{"a":1,"a":2,"apsData":3,"apsData":4}"#, r#"{"a":2}"#, Some("4"), r#"{"a":2,"apsData":4}"#),
        ] {
            let (parted, told) = split(raw).unwrap();
            assert_eq!((parted.as_str(), told.as_deref()), (data, aps), "{raw}");
            let offline = told.map_or_else(String::new, |aps| format!("{{\"apns\":{aps}}}"));
            assert_eq!(whole(&parted, &offline), again, "{raw}");
        }
        for raw in ["", "[]", "7", "\"x\"", "{", "null"] {
            assert_eq!(split(raw), None, "{raw}");
        }
        assert_eq!(whole(r#""a text""#, r#"{"apns":1}"#), r#""a text""#);
    }
}
