//! The answers to commands.

use super::Id;
use crate::escape::{into_string, push_json_string};

/// `{"id":1,"ok":{…}}`. `body` is raw JSON.
#[must_use]
pub fn ok(id: Option<Id<'_>>, body: &str) -> String {
    let mut out = start(id, body.len() + 32);
    out.extend_from_slice(b"\"ok\":");
    out.extend_from_slice(body.as_bytes());
    out.push(b'}');
    into_string(out)
}

/// `{"id":1,"error":{"code":"…","message":"…"}}`.
#[must_use]
pub fn error(id: Option<Id<'_>>, code: &str, message: &str) -> String {
    let mut out = start(id, code.len() + message.len() + 64);
    out.extend_from_slice(b"\"error\":{\"code\":");
    push_json_string(&mut out, code);
    out.extend_from_slice(b",\"message\":");
    push_json_string(&mut out, message);
    out.extend_from_slice(b"}}");
    into_string(out)
}

fn start(id: Option<Id<'_>>, more: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(more + id.map_or(0, |id| id.as_json().len()));
    out.push(b'{');
    if let Some(id) = id {
        out.extend_from_slice(b"\"id\":");
        out.extend_from_slice(id.as_json().as_bytes());
        out.push(b',');
    }
    out
}
