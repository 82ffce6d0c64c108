//! The packets that a server sends, without the Engine.IO `4`. Namespaces are written as on the wire:
//! with their slash; the root (`/`, or nothing) is left out.

use crate::escape::{into_string, push_json_string, push_u64};

/// `2/demo,7["push",{…}]`: an event, with an id when an acknowledgement is wanted. `args` are raw JSON.
#[must_use]
pub fn event(namespace: &str, id: Option<u32>, name: &str, args: &[&str]) -> String {
    let mut out = Vec::with_capacity(size(namespace, args) + name.len());
    write_event(&mut out, namespace, id, name, args);
    into_string(out)
}

/// The same as [`event`], appended to what is there (an Engine.IO `4`, for instance).
pub fn write_event(out: &mut Vec<u8>, namespace: &str, id: Option<u32>, name: &str, args: &[&str]) {
    head(out, b'2', namespace);
    if let Some(id) = id {
        push_u64(out, u64::from(id));
    }
    out.push(b'[');
    push_json_string(out, name);
    for arg in args {
        out.push(b',');
        out.extend_from_slice(arg.as_bytes());
    }
    out.push(b']');
}

/// `3/demo,7[{…}]`: answers the event with that id. `args` are raw JSON.
#[must_use]
pub fn ack(namespace: &str, id: u64, args: &[&str]) -> String {
    let mut out = Vec::with_capacity(size(namespace, args));
    write_ack(&mut out, namespace, id, args);
    into_string(out)
}

/// The same as [`ack`], appended to what is there.
pub fn write_ack(out: &mut Vec<u8>, namespace: &str, id: u64, args: &[&str]) {
    head(out, b'3', namespace);
    push_u64(out, id);
    out.push(b'[');
    for (index, arg) in args.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(arg.as_bytes());
    }
    out.push(b']');
}

/// `52-/demo,["event",{…}]`: an event whose attachments follow. `args` are raw JSON with their placeholders.
#[must_use]
pub fn binary_event(namespace: &str, attachments: usize, name: &str, args: &[&str]) -> String {
    let plain = event(namespace, None, name, args);
    format!("5{attachments}-{}", plain.get(1..).unwrap_or_default())
}

/// `62-/demo,7[{…}]`: answers the event with that id; attachments follow.
#[must_use]
pub fn binary_ack(namespace: &str, attachments: usize, id: u64, args: &[&str]) -> String {
    let plain = ack(namespace, id, args);
    format!("6{attachments}-{}", plain.get(1..).unwrap_or_default())
}

/// `0/demo,{"sid":"…","pid":"…"}`: grants a namespace to a protocol 5 client.
#[must_use]
pub fn connect_v5(namespace: &str, sid: &str, pid: Option<&str>) -> String {
    let mut out = start(b'0', namespace);
    out.extend_from_slice(b"{\"sid\":");
    push_json_string(&mut out, sid);
    if let Some(pid) = pid {
        out.extend_from_slice(b",\"pid\":");
        push_json_string(&mut out, pid);
    }
    out.push(b'}');
    into_string(out)
}

/// `0/demo,`: grants a namespace to a protocol 4 client.
#[must_use]
pub fn connect_v4(namespace: &str) -> String {
    into_string(start(b'0', namespace))
}

/// `4/demo,{"message":"…","data":{…}}`: refuses a namespace to a protocol 5 client. `data` is raw JSON.
#[must_use]
pub fn connect_error_v5(namespace: &str, message: &str, data: Option<&str>) -> String {
    let mut out = start(b'4', namespace);
    out.extend_from_slice(b"{\"message\":");
    push_json_string(&mut out, message);
    if let Some(data) = data {
        out.extend_from_slice(b",\"data\":");
        out.extend_from_slice(data.as_bytes());
    }
    out.push(b'}');
    into_string(out)
}

/// `4/demo,"…"`: refuses a namespace to a protocol 4 client. `message_json` is raw JSON, usually a string.
#[must_use]
pub fn error_v4(namespace: &str, message_json: &str) -> String {
    let mut out = start(b'4', namespace);
    out.extend_from_slice(message_json.as_bytes());
    into_string(out)
}

/// `1/demo,`: the server ends a namespace.
#[must_use]
pub fn disconnect(namespace: &str) -> String {
    into_string(start(b'1', namespace))
}

fn start(kind: u8, namespace: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + namespace.len());
    head(&mut out, kind, namespace);
    out
}

fn head(out: &mut Vec<u8>, kind: u8, namespace: &str) {
    out.push(kind);
    let path = namespace.strip_prefix('/').unwrap_or(namespace);
    if !path.is_empty() {
        out.push(b'/');
        out.extend_from_slice(path.as_bytes());
        out.push(b',');
    }
}

fn size(namespace: &str, args: &[&str]) -> usize {
    args.iter().map(|arg| arg.len() + 1).sum::<usize>() + namespace.len() + 32
}
