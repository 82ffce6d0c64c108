//! message-push: `{"cmd":"RESPONSE","data":{"title","content","content_type","extras"},"type":"MESSAGE"}` over several lines, as
//! its server wrote everything; `LOGIN` and `HEARTBEAT` from its clients, and the token in their handshake.

use std::collections::HashMap;

use serde_json::value::RawValue;

use super::{Members, framed, members, nothing, said, text};
use crate::escape::{into_string, push_json_string};
use crate::push::{Encoded, PushView};

/// The fields of a message, in the order in which they are written.
pub const FIELDS: [&str; 4] = ["title", "content", "content_type", "extras"];

/// Encodes a message. Data that is no object with a `content` is the content as a whole.
#[must_use]
pub fn encode(view: &PushView<'_>) -> Encoded {
    if view.recalls.is_some() {
        return nothing();
    }
    let fields = serde_json::from_str::<HashMap<&str, &RawValue>>(view.data).unwrap_or_default();
    let data = if fields.contains_key("content") {
        let said = FIELDS.iter().filter_map(|name| Some((*name, string(fields.get(name)?)?)));
        said.collect()
    } else {
        vec![("content", text(view).into_owned())]
    };
    let data: Vec<_> = data.iter().map(|(name, value)| (*name, json(value))).collect();
    framed(&response("MESSAGE", &data))
}

/// A value as text; `None` for null.
fn string(value: &RawValue) -> Option<String> {
    match value.get() {
        "null" => None,
        raw => Some(serde_json::from_str(raw).unwrap_or_else(|_| raw.to_owned())),
    }
}

fn json(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    push_json_string(&mut out, text);
    into_string(out)
}

/// What every text of the server looks like: `data` are names and raw JSON.
#[must_use]
pub fn response(kind: &str, data: &[(&str, String)]) -> String {
    let fields: Vec<_> = data.iter().map(|(name, value)| format!("    \"{name}\" : {value}")).collect();
    let data = if fields.is_empty() { "{ }".to_owned() } else { format!("{{\n{}\n  }}", fields.join(",\n")) };
    format!("{{\n  \"cmd\" : \"RESPONSE\",\n  \"data\" : {data},\n  \"type\" : \"{kind}\"\n}}")
}

/// What a client says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It says what it is.
    Login(Login),
    /// It does so, and something is missing.
    LoginIncomplete,
    /// It is there.
    Heartbeat,
}

/// What a client says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// What it runs on, as written: `H5`, `Android`, `iOS`.
    pub platform: String,
    /// The device that it is, if it says so. Clients of message-push did not.
    pub device: Option<String>,
}

/// Why a text is nothing that a client says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsaid {
    /// It is no JSON object, or has a command that there is not.
    Format,
    /// It has no command.
    NoCommand,
}

impl Unsaid {
    /// What the client is told.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::Format => "消息格式错误,请确认JSON格式是否正确,并检查参数内容和参数值。",
            Self::NoCommand => "消息格式错误,cmd字段不能为空",
        }
    }
}

/// Reads a text of a client. Neither names nor commands care how they are written.
///
/// # Errors
/// [`Unsaid`] says what is wrong with it.
pub fn decode(text: &str) -> Result<Said, Unsaid> {
    let fields = members(text).map_err(|_| Unsaid::Format)?;
    let command = match fields.get("cmd") {
        None => return Err(Unsaid::NoCommand),
        Some(value) if value.get() == "null" => return Err(Unsaid::NoCommand),
        value => said(value).ok_or(Unsaid::Format)?,
    };
    if command.eq_ignore_ascii_case("HEARTBEAT") {
        return Ok(Said::Heartbeat);
    }
    if !command.eq_ignore_ascii_case("LOGIN") {
        return Err(if command.is_empty() { Unsaid::NoCommand } else { Unsaid::Format });
    }
    match fields.get("data").map_or("null", |data| data.get()) {
        "null" => Ok(Said::LoginIncomplete),
        data => login(&members(data).map_err(|_| Unsaid::Format)?),
    }
}

fn login(fields: &Members<'_>) -> Result<Said, Unsaid> {
    let text = |name| match fields.get(name) {
        Some(value) if value.get() == "null" => Ok(None),
        Some(_) => said(fields.get(name)).map(Some).ok_or(Unsaid::Format),
        None => Ok(None),
    };
    let (app_key, platform, device) = (text("appkey")?, text("platform")?, text("deviceid")?);
    let (Some(app_key), Some(platform)) = (app_key, platform.filter(|text| !text.is_empty())) else {
        return Ok(Said::LoginIncomplete);
    };
    if !is_app_key(&app_key) {
        return Ok(Said::LoginIncomplete);
    }
    let device = device.filter(|text| !text.is_empty());
    Ok(Said::Login(Login { platform, device }))
}

/// Whether a text is what the key of an application looks like: 32 hexadecimal digits.
#[must_use]
pub fn is_app_key(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// What a client shows in its handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown<'a> {
    /// `pc` or `mobile`, as written.
    pub platform: &'a str,
    /// Whose it is, somebody else knows.
    pub token: &'a str,
}

/// Reads `Bearer pc:<token>`, `Bearer mobile:<token>` or `Bearer <md5>|mobile:<token>`; `Bearer` may be left out. `None` when it is
/// none of these.
#[must_use]
pub fn shown(authorization: &str) -> Option<Shown<'_>> {
    let text = bearer(authorization);
    let text = text.split_once('|').map_or(text, |(_, text)| text);
    let (platform, token) = text.split_once(':')?;
    let known = ["pc", "mobile"].iter().any(|one| one.eq_ignore_ascii_case(platform));
    (known && !token.is_empty()).then_some(Shown { platform, token })
}

/// Without `Bearer`, if that is there.
fn bearer(text: &str) -> &str {
    let text = text.trim();
    match text.get(..7) {
        Some(scheme) if scheme.eq_ignore_ascii_case("bearer ") => text.get(7..).unwrap_or_default().trim(),
        Some(_) | None => text,
    }
}
