//! Who a Socket.IO client says it is: `auth` in the CONNECT packet (protocol 5), the query of the
//! namespace (protocol 4), or the query of the handshake, under our names or those of light-push.

use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tidings_node::connect::Claim;
use tidings_wire::socketio::Packet;

use crate::command::Query;
use crate::session::{self, Refusal};

/// Sets a persistent session id apart from one of the same device whose history was lost.
const LOST: char = '~';

/// Reads the claim of a CONNECT packet. `auth` wins; then the handshake's query; then the namespace's own.
/// The second answer is the persistent session id that the client brought.
///
/// # Errors
/// Names the field that is not what it must be.
pub(super) fn claim(packet: &Packet<'_>, query: &Query) -> Result<(Claim, Option<String>), Refusal> {
    let auth: serde_json::Map<String, serde_json::Value> = match packet.data {
        Some(data) => serde_json::from_str(data).map_err(|_| Refusal::field("auth", "must be an object"))?,
        None => serde_json::Map::new(),
    };
    let own = packet.query.map(Query::parse).transpose()?.unwrap_or_default();
    let pick = |name: &str, of: fn(&Query) -> &Option<Box<str>>| -> Result<Option<String>, Refusal> {
        let given = text(&auth, name)?;
        Ok(given.or_else(|| of(query).clone().or_else(|| of(&own).clone()).map(String::from)))
    };
    let pid = text(&auth, "pid")?;
    let device = pick("device", |query| &query.device)?;
    // A client that never chose a device has the one of its session.
    let device = device.or_else(|| pid.as_deref().and_then(|pid| pid.split(LOST).next()).map(str::to_owned));
    let claim = session::claim(
        device.as_deref(),
        pick("user", |query| &query.user)?.as_deref(),
        pick("platform", |query| &query.platform)?.as_deref(),
        pick("token", |query| &query.token)?.as_deref(),
    )?;
    Ok((claim, pid))
}

/// The token of a `refresh`: `{"token":…}`.
///
/// # Errors
/// When there is none.
pub(super) fn token(argument: &RawValue) -> Result<String, Refusal> {
    let fields = serde_json::from_str(argument.get())
        .map_err(|_| Refusal::field("", "the argument must be an object"))?;
    text(&fields, "token")?.ok_or_else(|| Refusal::field("token", "is required"))
}

fn text(auth: &serde_json::Map<String, serde_json::Value>, name: &str) -> Result<Option<String>, Refusal> {
    match auth.get(name) {
        None | Some(serde_json::Value::Null) => Ok(None),
        Some(serde_json::Value::String(text)) => Ok(Some(text.clone())),
        // Business systems number their users.
        Some(serde_json::Value::Number(number)) => Ok(Some(number.to_string())),
        Some(_) => Err(Refusal::field(name, "must be a string")),
    }
}

/// The persistent session id that a client is given: the one it brought when nothing was lost since, so
/// that it sees itself as recovered; else one that it has never seen.
pub(super) fn pid(device: &str, brought: Option<String>, recovered: bool) -> String {
    match brought {
        Some(pid) if recovered && pid.split(LOST).next() == Some(device) => pid,
        Some(_) => format!("{device}{LOST}{}", tidings_node::ids::token()),
        None => device.to_owned(),
    }
}

/// What a `device` asks: `{"get":true}` or `{"set":{…}}`, the patch if there is one.
///
/// # Errors
/// When it is neither.
pub(super) fn device(argument: Option<&RawValue>) -> Result<Option<Map<String, Value>>, Refusal> {
    #[derive(Default, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Asked {
        #[serde(rename = "get")]
        _get: Option<bool>,
        set: Option<Map<String, Value>>,
    }
    let Some(argument) = argument.filter(|argument| argument.get().starts_with('{')) else {
        return match argument.map(RawValue::get) {
            None | Some("null") => Ok(None),
            Some(_) => Err(Refusal::field("", "the argument must be {\"get\":true} or {\"set\":{…}}")),
        };
    };
    let asked: Asked = serde_json::from_str(argument.get()).map_err(|why| {
        Refusal::field("", format!("the argument must be {{\"get\":true}} or {{\"set\":{{…}}}}: {why}"))
    })?;
    Ok(asked.set)
}

/// The message ids of an `ack`: `{"id":…}`, `{"ids":[…]}`, or one or a list of ids.
///
/// # Errors
/// When it is none of these, or says more.
pub(super) fn ids(argument: &RawValue) -> Result<Vec<String>, Refusal> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Said<'a> {
        #[serde(borrow)]
        id: Option<&'a RawValue>,
        #[serde(borrow)]
        ids: Option<&'a RawValue>,
    }
    if !argument.get().starts_with('{') {
        return session::one_or_many("ids", argument);
    }
    match super::fields(argument)? {
        Said { id: Some(_), ids: Some(_) } => Err(Refusal::field("ids", "cannot be there beside id")),
        Said { ids: Some(ids), .. } => session::one_or_many("ids", ids),
        Said { id: Some(id), .. } => session::one_or_many("id", id),
        Said { .. } => Err(Refusal::field("id", "is missing")),
    }
}

/// The same of an `ackPush`. light-push passed over whatever else its clients said.
pub(super) fn ids_as_light_push(argument: &RawValue) -> Result<Vec<String>, Refusal> {
    #[derive(serde::Deserialize)]
    struct Said<'a> {
        #[serde(borrow)]
        id: Option<&'a RawValue>,
        #[serde(borrow)]
        ids: Option<&'a RawValue>,
    }
    if !argument.get().starts_with('{') {
        return session::one_or_many("ids", argument);
    }
    let Said { id, ids } = super::fields(argument)?;
    session::one_or_many("id", ids.or(id).ok_or_else(|| Refusal::field("id", "is missing"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_sees_itself_recovered_only_when_it_was() {
        for (brought, recovered, same) in [
            (Some("d1"), true, true),
            (Some("d1"), false, false),
            (Some("d1~x"), true, true),
            (Some("d2"), true, false),
        ] {
            let given = pid("d1", brought.map(str::to_owned), recovered);
            assert_eq!(Some(given.as_str()) == brought, same, "{brought:?} {recovered}");
            assert_eq!(given.split(LOST).next(), Some("d1"));
        }
        assert_eq!(pid("d1", None, false), "d1");
    }

    #[test]
    fn acks_come_in_every_shape() {
        for (json, expected) in [
            (r#"{"id":"m1"}"#, vec!["m1"]),
            (r#"{"ids":["m1","m2"]}"#, vec!["m1", "m2"]),
            (r#"["m1"]"#, vec!["m1"]),
            (r#""m1""#, vec!["m1"]),
        ] {
            let raw = RawValue::from_string(json.to_owned()).unwrap();
            assert_eq!(ids(&raw).unwrap(), expected, "{json}");
            assert_eq!(ids_as_light_push(&raw).unwrap(), expected, "{json}");
        }
        for (json, wrong, as_light_push) in [
            ("{}", "id is missing", Err("id is missing")),
            (r#"{"id":null,"ids":null}"#, "id is missing", Err("id is missing")),
            (r#"{"id":"m1","ids":["m2"]}"#, "ids cannot be there beside id", Ok("m2")),
            (r#"{"id":"m1","seq":7}"#, "unknown field `seq`, expected `id` or `ids`", Ok("m1")),
            (r#"{"id":"m1","room":null}"#, "unknown field `room`, expected `id` or `ids`", Ok("m1")),
            (r#"{"id":"m1","id":"m2"}"#, "duplicate field `id`", Err("duplicate field `id`")),
        ] {
            let raw = RawValue::from_string(json.to_owned()).unwrap();
            assert_eq!(ids(&raw).unwrap_err().message, wrong, "{json}");
            let read = ids_as_light_push(&raw).map_err(|why| why.message);
            let expected = as_light_push.map(|id| vec![id.to_owned()]).map_err(str::to_owned);
            assert_eq!(read, expected, "{json}");
        }
        let raw = RawValue::from_string(r#"{"ids":7}"#.to_owned()).unwrap();
        assert_eq!(ids(&raw).unwrap_err().message, "ids must be a string or a list of strings");
    }
}
