//! Whether a client may publish something, and what becomes of it.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tidings_model::{EventName, RoomName};
use tidings_outbound::hook::Failure;

use super::{AskError, Question};
use crate::Node;
use crate::relay::{RelayError, Speaker};

/// Who asks or wants to publish, as the business system is told.
#[derive(Serialize)]
pub(crate) struct Who<'a> {
    pub(crate) user: Option<&'a str>,
    pub(crate) device: &'a str,
    pub(crate) connection: &'a str,
    /// What the business system said of it when it connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) meta: Option<&'a RawValue>,
}

/// What is asked.
#[derive(Serialize)]
struct Asked<'a> {
    #[serde(flatten)]
    who: Who<'a>,
    room: &'a str,
    event: &'a str,
    data: &'a RawValue,
}

/// What is answered.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    allow: bool,
    reason: Option<String>,
    data: Option<Box<RawValue>>,
}

/// Longest reason that a client is told, in characters.
const REASON_CHARS_MAX: usize = 200;

/// The data instead of the client's, if there is other; or why it may not.
fn read(body: &[u8]) -> Result<Result<Option<Bytes>, String>, String> {
    let said: Said = serde_json::from_slice(body).map_err(|why| why.to_string())?;
    if said.allow {
        return Ok(Ok(said.data.map(|data| Bytes::from(String::from(<Box<str>>::from(data))))));
    }
    let reason = said.reason.unwrap_or_else(|| "the business system does not allow it".to_owned());
    Ok(Err(reason.chars().filter(|char| !char.is_control()).take(REASON_CHARS_MAX).collect()))
}

impl Node {
    /// Asks whether this may be published, where the namespace has somebody to ask. Answers with what is to be published.
    ///
    /// # Errors
    /// [`RelayError`] when it may not, or there is no answer.
    pub(crate) async fn ask_whether(
        self: &Arc<Self>,
        speaker: &Speaker,
        room: &RoomName,
        event: &EventName,
        data: Bytes,
    ) -> Result<Bytes, RelayError> {
        let namespace = &speaker.namespace;
        let askers = namespace.askers();
        let Some(asker) = askers.of(Question::Publish) else { return Ok(data) };
        let raw: &RawValue = serde_json::from_slice(&data).map_err(|_| AskError::NotUnderstood)?;
        let asked = Asked { who: speaker.who(), room: room.as_str(), event: event.as_str(), data: raw };
        let asked = serde_json::to_string(&asked).map_err(|_| AskError::NotUnderstood)?;
        let body = match self.question(asker, &namespace.name, Question::Publish, asked).await {
            Err(AskError::Failed(Failure::Refused(403))) => {
                return Err(RelayError::Denied("the business system does not allow it".to_owned()));
            }
            body => body?,
        };
        let said = read(&body).map_err(|why| {
            tracing::error!(namespace = %namespace.name, error = %why, "the publish hook answered what is not understood; nothing was published");
            AskError::NotUnderstood
        })?;
        said.map(|other| other.unwrap_or(data)).map_err(RelayError::Denied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_understood_lets_anything_through() {
        for (answer, expected) in [
            (r#"{"allow":true}"#, Some(Ok(None))),
            (r#"{"allow":true,"data":{"n": 1.50}}"#, Some(Ok(Some(r#"{"n": 1.50}"#)))),
            (r#"{"allow":false,"reason":"be\tnice"}"#, Some(Err("benice"))),
            (r#"{"allow":false}"#, Some(Err("the business system does not allow it"))),
            ("{}", None),
            (r#"{"allow":true,"date":1}"#, None),
            ("", None),
        ] {
            let expected = expected.map(|outcome| {
                outcome
                    .map(|data| data.map(|data| Bytes::from_static(data.as_bytes())))
                    .map_err(str::to_owned)
            });
            assert_eq!(read(answer.as_bytes()).ok(), expected, "{answer}");
        }
    }
}
