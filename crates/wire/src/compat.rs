//! Messages in the formats of the five older systems. Each file is one system's; what their calls said besides is an
//! [`Aside`], which only the system that said it shows again.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::push::{Encoded, PushView};
use crate::websocket::{self, Opcode};

pub mod go_redis;
pub mod gopusher;
pub mod light_push;
pub mod message_push;
pub mod push_koa;

/// What the call of an older system said that has no meaning here. It is kept with the message as a JSON object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Aside<'a> {
    /// light-push: the room as it was written (`room_x` is the room `x`).
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub room: Option<Cow<'a, str>>,
    /// light-push, gopusher: who says that it is from them.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub from: Option<Cow<'a, str>>,
    /// light-push: the client id that was to be left out.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub except: Option<Cow<'a, str>>,
    /// light-push: `lost` puts the message on nobody's connection.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Cow<'a, str>>,
    /// light-push: hours that it was to live.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub expire: Option<Cow<'a, str>>,
    /// light-push: which of the namespace's APNs settings to use.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub apns_name: Option<Cow<'a, str>>,
    /// light-push: whether it waits for who is away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leave_message: Option<bool>,
    /// push: the caller's name for the message, which may be used again.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub msg_id: Option<Cow<'a, str>>,
    /// push: whether clients are asked for a receipt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ack: Option<bool>,
}

impl<'a> Aside<'a> {
    /// Reads what is kept with a message; nothing when that is none of ours.
    #[must_use]
    pub fn read(json: &'a str) -> Self {
        if json.is_empty() { Self::default() } else { serde_json::from_str(json).unwrap_or_default() }
    }

    /// As it is kept with a message.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// A text frame whose payload is this.
fn framed(payload: &str) -> Encoded {
    let bytes = websocket::frame(Opcode::Text, payload.as_bytes());
    let payload_at = (bytes.len() - payload.len()) as u8;
    Encoded { bytes, payload_at }
}

/// What clients get that know no recall: a sign of life, which every client passes over.
fn nothing() -> Encoded {
    let bytes = websocket::frame(Opcode::Ping, b"");
    let payload_at = bytes.len() as u8;
    Encoded { bytes, payload_at }
}

/// The data as text: what a JSON string says, or the JSON itself.
fn text<'a>(push: &PushView<'a>) -> Cow<'a, str> {
    serde_json::from_str::<String>(push.data).map_or(Cow::Borrowed(push.data), Cow::Owned)
}

/// The members of a JSON object, by their names in lower case: some of these systems did not care how names were written. Of two
/// that are the same then, the one in lower case is the last.
fn members(json: &str) -> Result<Members<'_>, serde_json::Error> {
    let members: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(json)?;
    Ok(members.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect())
}

type Members<'a> = BTreeMap<String, &'a RawValue>;

/// What a JSON string says; `None` for every other value.
fn said(value: Option<&&RawValue>) -> Option<String> {
    serde_json::from_str(value?.get()).ok()
}

#[cfg(test)]
mod tests;
