//! message-push: `{"cmd":"RESPONSE","data":{"title","content","content_type","extras"},"type":"MESSAGE"}` over several lines, as
//! its server wrote everything.

use std::collections::HashMap;

use serde_json::value::RawValue;

use super::{framed, nothing, text};
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
