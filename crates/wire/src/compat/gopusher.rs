//! gopusher: `{"type":1,"data":"<text>"}` and a line feed, on a plain WebSocket; `join`, `ping` and `read` from its clients.

use super::{framed, members, nothing, said, text};
use crate::escape::{into_string, push_json_string};
use crate::push::{Encoded, PushView};

/// Encodes a message. Data that is no string is said as JSON in a string.
#[must_use]
pub fn encode(view: &PushView<'_>) -> Encoded {
    if view.recalls.is_some() { nothing() } else { framed(&reply(&text(view))) }
}

/// What every text of the server looks like, its answers included.
#[must_use]
pub fn reply(text: &str) -> String {
    let mut out = b"{\"type\":1,\"data\":".to_vec();
    push_json_string(&mut out, text);
    out.extend_from_slice(b"}\n");
    into_string(out)
}

/// What a client says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It wants to be in a group.
    Join(Join),
    /// It is there.
    Ping,
    /// It has read something. Nothing ever came of it.
    Read,
}

/// Where a client wants to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// The application that it is of; none where that is empty.
    pub app: String,
    /// The group: a user, as a rule.
    pub card: String,
    /// The device that it is, if it says so. Clients of gopusher did not.
    pub device: Option<String>,
}

/// Why a text is nothing that a client says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsaid {
    /// It is no JSON object, because of this.
    NotJson(String),
    /// There is no such event.
    UnknownEvent,
    /// A member of a `join` is not as it must be.
    Member(&'static str),
}

impl Unsaid {
    /// What the client is told as it is sent away.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::NotJson(why) => why.clone(),
            Self::UnknownEvent => "E_INVALID_EVENT - unknown event".to_owned(),
            Self::Member(name) => format!("{name} must be a string"),
        }
    }
}

/// Reads a text of a client.
///
/// # Errors
/// [`Unsaid`] says what is wrong with it.
pub fn decode(text: &str) -> Result<Said, Unsaid> {
    let fields = members(text).map_err(|why| Unsaid::NotJson(why.to_string()))?;
    match said(fields.get("event")).as_deref() {
        Some("join") => join(fields.get("data").map_or("{}", |data| data.get())).map(Said::Join),
        Some("ping") => Ok(Said::Ping),
        Some("read") => Ok(Said::Read),
        Some(_) | None => Err(Unsaid::UnknownEvent),
    }
}

fn join(data: &str) -> Result<Join, Unsaid> {
    let fields = members(data).map_err(|_| Unsaid::Member("card_id"))?;
    let maybe = |name: &'static str| match fields.get(name) {
        Some(value) if value.get() == "null" => Ok(None),
        Some(_) => said(fields.get(name)).map(Some).ok_or(Unsaid::Member(name)),
        None => Ok(None),
    };
    Ok(Join {
        app: maybe("app_id")?.unwrap_or_default(),
        card: maybe("card_id")?.ok_or(Unsaid::Member("card_id"))?,
        device: maybe("device_id")?.filter(|device| !device.is_empty()),
    })
}

/// What the rooms of groups begin with.
pub const ROOMS: &str = "gopusher/";

/// The room of those of a group who are of an application. No two pairs have the same.
#[must_use]
pub fn room(app: &str, card: &str) -> String {
    let part = |text: &str| text.replace('%', "%25").replace('/', "%2F");
    format!("{ROOMS}{}/{}", part(app), part(card))
}
