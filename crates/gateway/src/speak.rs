//! What a client says to others, and asks the business system: read in the same way from every dialect.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tidings_model::{ErrorCode, EventName, RoomName, duration, limit};
use tidings_node::ask::rpc::{Called, METHOD_BYTES_MAX};
use tidings_node::relay::{Said, Speaker};
use tidings_wire::nesting;

use crate::connection::Connection;
use crate::local::Local;
use crate::session::{Refusal, Session, json_string};

/// Most calls of one connection that wait for an answer.
const CALLS_MAX: u8 = 8;

/// The event of what is published without one.
const EVENT_DEFAULT: &str = "push";

/// A call to the business system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    method: String,
    /// JSON.
    data: String,
}

/// What a client publishes, field by field.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Publication<'a> {
    #[serde(borrow)]
    pub(crate) room: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) event: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) data: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) ttl: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) echo: Option<&'a RawValue>,
}

/// A call, field by field.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Calling<'a> {
    #[serde(borrow)]
    pub(crate) method: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) data: Option<&'a RawValue>,
}

impl Publication<'_> {
    /// Reads the fields.
    ///
    /// # Errors
    /// Names the field that is not what it must be.
    pub(crate) fn read(&self) -> Result<Said, Refusal> {
        let room = text("room", self.room)?.ok_or_else(|| Refusal::field("room", "is required"))?;
        let event = text("event", self.event)?.unwrap_or_else(|| EVENT_DEFAULT.to_owned());
        let most = Duration::from_secs(limit::TTL_SECS_MAX);
        let ttl = match text("ttl", self.ttl)? {
            None => Duration::ZERO,
            Some(text) => match duration::parse(&text) {
                Ok(ttl) if ttl <= most => ttl,
                Ok(_) => {
                    let why =
                        format!("is {}, at most {} is allowed", json_string(&text), duration::show(most));
                    return Err(Refusal::field("ttl", why));
                }
                Err(why) => return Err(Refusal::field("ttl", why)),
            },
        };
        let echo = match self.echo.map(RawValue::get) {
            None | Some("null" | "false") => false,
            Some("true") => true,
            Some(_) => return Err(Refusal::field("echo", "must be true or false")),
        };
        Ok(Said {
            room: RoomName::new(&room).map_err(|why| Refusal::field("room", why))?,
            event: EventName::new(&event).map_err(|why| Refusal::field("event", why))?,
            data: Bytes::copy_from_slice(flat_or_null("data", self.data)?.as_bytes()),
            ttl,
            echo,
            user: None,
            offline: Bytes::new(),
            aside: Bytes::new(),
        })
    }
}

impl Calling<'_> {
    /// Reads the fields.
    ///
    /// # Errors
    /// Names the field that is not what it must be.
    pub(crate) fn read(&self) -> Result<Call, Refusal> {
        let method = text("method", self.method)?.ok_or_else(|| Refusal::field("method", "is required"))?;
        if !(1..=METHOD_BYTES_MAX).contains(&method.len()) {
            let why = format!("has {} bytes, must have 1 to {METHOD_BYTES_MAX}", method.len());
            return Err(Refusal::field("method", why));
        }
        let data = flat_or_null("data", self.data)?.to_owned();
        Ok(Call { method, data })
    }
}

fn text(field: &str, value: Option<&RawValue>) -> Result<Option<String>, Refusal> {
    let Some(value) = value.filter(|value| value.get() != "null") else { return Ok(None) };
    let read = serde_json::from_str(value.get());
    read.map(Some).map_err(|_| Refusal::field(field, "must be a string"))
}

/// JSON that a client can read without ending itself; null where there is none.
fn flat_or_null<'a>(field: &str, value: Option<&'a RawValue>) -> Result<&'a str, Refusal> {
    let Some(value) = value else { return Ok("null") };
    let most = limit::DATA_DEPTH_MAX;
    if nesting::is_within(value.get(), most) {
        Ok(value.get())
    } else {
        Err(Refusal::field(field, format!("is nested deeper than {most} levels")))
    }
}

/// Publishes. Answers the fields of the reply.
///
/// # Errors
/// Why nothing was published.
pub(crate) async fn publish(local: &Local, session: &Session, said: Said) -> Result<String, Refusal> {
    let speaker = speaker(local, session).await?;
    let message = local.node.relay(&speaker, said).await?;
    Ok(format!(r#"{{"id":{}}}"#, json_string(message.id.as_str())))
}

/// Asks the business system. Answers the fields of the reply.
///
/// # Errors
/// Why there is no answer, or what the business system says is wrong.
pub(crate) async fn call(
    local: &Local,
    connection: &Connection,
    session: &Session,
    call: &Call,
) -> Result<String, Refusal> {
    let _turn = Turn::take(connection)?;
    let bytes = call.data.len();
    let most = session.namespace.settings().largest_data();
    if bytes > most {
        let why = format!("data has {bytes} bytes, at most {most} are allowed");
        return Err(Refusal {
            field: Some("data".to_owned()),
            ..Refusal::new(ErrorCode::PAYLOAD_TOO_LARGE, why)
        });
    }
    let speaker = speaker(local, session).await?;
    match local.node.call(&speaker, &call.method, &call.data).await? {
        Called::Data(data) => Ok(format!(r#"{{"data":{data}}}"#)),
        Called::Error { code, message } => {
            Err(Refusal { word: Some(code.into()), ..Refusal::new(ErrorCode::CONFLICT, message) })
        }
    }
}

pub(crate) async fn speaker(local: &Local, session: &Session) -> Result<Speaker, Refusal> {
    let Session { namespace, ordinal, connection, .. } = session;
    // As of now: a newer token may have come.
    let known = local.node.speaker(namespace, *ordinal, *connection, session.permit.clone()).await?;
    known.ok_or_else(|| Refusal::new(ErrorCode::CONFLICT, "this device is not registered any more"))
}

/// One of the calls of a connection that wait for an answer.
struct Turn<'a>(&'a Connection);

impl<'a> Turn<'a> {
    fn take(connection: &'a Connection) -> Result<Self, Refusal> {
        let calls = connection.calls.get();
        if calls >= CALLS_MAX {
            let why = format!("{CALLS_MAX} calls wait for an answer already");
            return Err(Refusal::new(ErrorCode::RATE_LIMITED, why));
        }
        connection.calls.set(calls + 1);
        Ok(Self(connection))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.calls.set(self.0.calls.get().saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_is_read_field_by_field() {
        let deep = format!(r#"{{"room":"r","data":{}{}}}"#, "[".repeat(101), "]".repeat(101));
        for (text, expected) in [
            (r#"{"room":"r","data":{"n": 1.50}}"#, Ok(("r", "push", r#"{"n": 1.50}"#, 0, false))),
            (
                r#"{"room":"r","event":"typing","data":null,"ttl":"1h","echo":true}"#,
                Ok(("r", "typing", "null", 3_600, true)),
            ),
            (r#"{"data":1}"#, Err("room is required")),
            (r#"{"room":7,"data":1}"#, Err("room must be a string")),
            (r#"{"room":"","data":1}"#, Err("room ")),
            (r#"{"room":"r"}"#, Ok(("r", "push", "null", 0, false))),
            (r#"{"room":"r","event":"disconnect","data":1}"#, Err("event ")),
            (r#"{"room":"r","data":1,"ttl":"soon"}"#, Err("ttl must be")),
            (r#"{"room":"r","data":1,"ttl":"400d"}"#, Err("ttl is \"400d\", at most 30d is allowed")),
            (r#"{"room":"r","data":1,"echo":"yes"}"#, Err("echo must be true or false")),
            (&deep, Err("data is nested deeper than 100 levels")),
        ] {
            let publication: Publication<'_> = serde_json::from_str(text).unwrap();
            match (publication.read(), expected) {
                (Ok(said), Ok((room, event, data, seconds, echo))) => {
                    assert_eq!(
                        (said.room.as_str(), said.event.as_str(), &said.data[..]),
                        (room, event, data.as_bytes())
                    );
                    assert_eq!((said.ttl.as_secs(), said.echo), (seconds, echo));
                }
                (Err(why), Err(expected)) => {
                    assert!(why.message.starts_with(expected), "{text}: {}", why.message)
                }
                (said, expected) => panic!("{text}: {said:?}, not {expected:?}"),
            }
        }
    }

    #[test]
    fn a_call_names_what_is_called() {
        let read = |text: &str| serde_json::from_str::<Calling<'_>>(text).unwrap().read();
        let call = read(r#"{"method":"order","data":[1]}"#).unwrap();
        assert_eq!((call.method.as_str(), call.data.as_str()), ("order", "[1]"));
        assert_eq!(read(r#"{"method":"order"}"#).unwrap().data, "null");
        for bad in ["{}", r#"{"method":""}"#, r#"{"method":1}"#] {
            assert_eq!(read(bad).unwrap_err().field.as_deref(), Some("method"), "{bad}");
        }
        let long = format!(r#"{{"method":"{}"}}"#, "m".repeat(256));
        assert!(read(&long).unwrap_err().message.contains("has 256 bytes, must have 1 to 255"));
    }
}
