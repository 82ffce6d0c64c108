//! A client asks who else is here, or says whether it wants to be told of others.

use serde::Deserialize;
use serde_json::value::RawValue;
use tidings_model::{ErrorCode, Ordinal, RoomName};
use tidings_node::namespace::AuthMode;

use crate::connection::Connection;
use crate::local::Local;
use crate::session::{Refusal, Request, Session, json_string};

/// How many members are named at once unless the client says, and at most.
const LIMIT_DEFAULT: u64 = 100;
const LIMIT_MAX: u64 = 1_000;

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Who is in a room and online: at most so many, behind this device.
    Who(RoomName, usize, Option<Ordinal>),
    /// To be told of others from now on, or not to be.
    Notify(bool),
}

/// Reads what is asked.
///
/// # Errors
/// Names the field that is not what it must be.
pub(crate) fn read(
    room: Option<&str>,
    limit: Option<u64>,
    cursor: Option<&str>,
    notify: Option<bool>,
) -> Result<Request, Refusal> {
    let presence = match (room, notify) {
        (Some(room), None) => {
            let room = RoomName::new(room).map_err(|why| Refusal::field("room", why))?;
            let limit = limit.unwrap_or(LIMIT_DEFAULT);
            if !(1..=LIMIT_MAX).contains(&limit) {
                let why = format!("is {limit}, must be a number from 1 to {LIMIT_MAX}");
                return Err(Refusal::field("limit", why));
            }
            let after = cursor.map(|text| u32::from_str_radix(text, 16).map(Ordinal)).transpose();
            let after =
                after.map_err(|_| Refusal::field("cursor", "must be the next_cursor of an answer"))?;
            Presence::Who(room, limit as usize, after)
        }
        (None, Some(notify)) if limit.is_none() && cursor.is_none() => Presence::Notify(notify),
        (Some(_), Some(_)) => return Err(Refusal::field("notify", "goes without room")),
        (None, _) => return Err(Refusal::field("room", "is required: whose members to name")),
    };
    Ok(Request::Presence(presence))
}

/// Reads the argument of an event: a room, or an object with the fields of the command.
///
/// # Errors
/// Names the field that is not what it must be.
pub(crate) fn read_argument(argument: &RawValue) -> Result<Request, Refusal> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Fields {
        room: Option<String>,
        limit: Option<u64>,
        cursor: Option<String>,
        notify: Option<bool>,
    }
    if let Ok(room) = serde_json::from_str::<String>(argument.get()) {
        return read(Some(&room), None, None, None);
    }
    let fields: Fields = serde_json::from_str(argument.get()).map_err(|_| {
        Refusal::field("", "the argument must be a room, or an object of room, limit, cursor, or of notify")
    })?;
    read(fields.room.as_deref(), fields.limit, fields.cursor.as_deref(), fields.notify)
}

/// Carries it out. Answers the fields of the reply: a JSON object.
///
/// # Errors
/// What the client is told instead.
pub(crate) async fn perform(
    local: &Local,
    connection: &Connection,
    session: &Session,
    presence: Presence,
) -> Result<String, Refusal> {
    let (room, limit, after) = match presence {
        Presence::Who(room, limit, after) => (room, limit, after),
        Presence::Notify(notify) => {
            let mut sessions = connection.sessions.borrow_mut();
            if let Some(own) = sessions.iter_mut().find(|other| other.member == session.member) {
                own.hushed = !notify;
            }
            return Ok(format!(r#"{{"notify":{notify}}}"#));
        }
    };
    let namespace = &session.namespace;
    let in_it = {
        let directory = namespace.directory();
        directory.room(&room).is_some_and(|members| members.contains(session.ordinal.0))
    };
    let may_see = match &session.permit {
        Some(permit) => permit.may_see(&room, in_it),
        None => namespace.settings().auth == AuthMode::Open,
    };
    if !may_see {
        let why = format!("it is not allowed to see who is in {}", json_string(room.as_str()));
        return Err(Refusal { field: Some("room".to_owned()), ..Refusal::new(ErrorCode::FORBIDDEN, why) });
    }
    let (online, members, next) = local.node.present(namespace, &room, after, limit).await?;
    let members: Vec<String> = members
        .iter()
        .map(|device| {
            let user = device.user.as_ref().map_or("null".to_owned(), |user| json_string(user.as_str()));
            format!(r#"{{"user":{user},"device":{}}}"#, json_string(device.id.as_str()))
        })
        .collect();
    let next = next.map_or("null".to_owned(), |next| format!(r#""{:x}""#, next.0));
    let (room, members) = (json_string(room.as_str()), members.join(","));
    Ok(format!(r#"{{"room":{room},"online":{online},"members":[{members}],"next_cursor":{next}}}"#))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_comes_in_every_shape() {
        let who = |limit, after: Option<u32>| {
            Ok(Request::Presence(Presence::Who("lobby".parse().unwrap(), limit, after.map(Ordinal))))
        };
        for (json, expected) in [
            (r#""lobby""#, who(100, None)),
            (r#"{"room":"lobby"}"#, who(100, None)),
            (r#"{"room":"lobby","limit":7,"cursor":"ff"}"#, who(7, Some(255))),
            (r#"{"notify":true}"#, Ok(Request::Presence(Presence::Notify(true)))),
            (r#"{"room":"lobby","limit":0}"#, Err("limit is 0, must be a number from 1 to 1000")),
            (r#"{"room":"lobby","cursor":"x"}"#, Err("cursor must be the next_cursor of an answer")),
            (r#"{"room":"lobby","notify":true}"#, Err("notify goes without room")),
            (r#"{"limit":5,"notify":true}"#, Err("room is required: whose members to name")),
            (r#"{}"#, Err("room is required: whose members to name")),
            (r#"{"room":""}"#, Err("room must not be empty")),
            (r#"[1]"#, Err("the argument must be a room, or an object of room, limit, cursor, or of notify")),
        ] {
            let raw = RawValue::from_string(json.to_owned()).unwrap();
            let found = read_argument(&raw);
            match expected {
                Ok(expected) => assert_eq!(found, Ok(expected), "{json}"),
                Err(why) => assert_eq!(found.unwrap_err().message, why, "{json}"),
            }
        }
    }
}
