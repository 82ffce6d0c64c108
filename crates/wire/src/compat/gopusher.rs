//! gopusher: `{"type":1,"data":"<text>"}` and a line feed, on a plain WebSocket.

use super::{framed, nothing, text};
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
