//! Server-sent events, as the WHATWG HTML standard defines the event stream format (section 9.2).
//!
//! Knows no HTTP and no connection: text that goes out, and the id that a client brings back. An event id
//! is `<epoch>-<seq>`: which life of the store, and where in it this stream had come.

use crate::escape::{into_string, push_u64};

/// A comment that keeps proxies and clients from thinking that the stream has died.
pub const HEARTBEAT: &str = ":\n\n";

/// One event: `id:` and `event:` when given, a `data:` line for each line of `data`, and the blank line
/// that dispatches it.
#[must_use]
pub fn event(id: Option<&str>, event: Option<&str>, data: &str) -> String {
    let mut out = Vec::with_capacity(data.len() + 64);
    if let Some(id) = id {
        field(&mut out, b"id: ", id);
    }
    if let Some(event) = event {
        field(&mut out, b"event: ", event);
    }
    push_data(&mut out, data);
    out.push(b'\n');
    into_string(out)
}

/// How long a client shall wait before it reconnects.
#[must_use]
pub fn retry(ms: u64) -> String {
    format!("retry: {ms}\n\n")
}

/// A comment, which clients ignore.
#[must_use]
pub fn comment(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 4);
    field(&mut out, b": ", text);
    out.push(b'\n');
    into_string(out)
}

/// What a client will bring back as `Last-Event-ID`.
#[must_use]
pub fn event_id(epoch: u32, seq: u64) -> String {
    let mut out = Vec::with_capacity(31);
    push_event_id(&mut out, epoch, seq);
    into_string(out)
}

/// Reads a `Last-Event-ID` that [`event_id`] made; `None` for any other text.
#[must_use]
pub fn parse_event_id(text: &str) -> Option<(u32, u64)> {
    let (epoch, seq) = text.split_once('-')?;
    // `parse` alone would take a plus sign.
    if !epoch.bytes().chain(seq.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((epoch.parse().ok()?, seq.parse().ok()?))
}

pub(crate) fn push_event_id(out: &mut Vec<u8>, epoch: u32, seq: u64) {
    push_u64(out, u64::from(epoch));
    out.push(b'-');
    push_u64(out, seq);
}

/// A field of one line. Line breaks in the value would begin another field, so they are left out; so is
/// NUL, which makes a client ignore an id.
pub(crate) fn field(out: &mut Vec<u8>, name: &[u8], value: &str) {
    out.extend_from_slice(name);
    out.extend(value.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n' | 0)));
    out.push(b'\n');
}

/// A `data:` line for each line of the text, however its lines end. A client joins them by line feeds.
pub(crate) fn push_data(out: &mut Vec<u8>, data: &str) {
    let mut rest = data.as_bytes();
    loop {
        out.extend_from_slice(b"data: ");
        let Some(at) = memchr::memchr2(b'\r', b'\n', rest) else { break };
        out.extend_from_slice(rest.get(..at).unwrap_or_default());
        out.push(b'\n');
        let ends_crlf = rest.get(at..at + 2) == Some(b"\r\n");
        rest = rest.get(at + 1 + usize::from(ends_crlf)..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out.push(b'\n');
}

#[cfg(test)]
mod tests;
