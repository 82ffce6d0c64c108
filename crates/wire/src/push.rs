//! A pushed message in each format that clients read: the bytes that go to every socket of a codec.
//!
//! Encoded once per message, topic and codec, then shared; so nothing here is about a recipient. It
//! knows no topic rules and no queue: what it is shown, it writes. `data` passes through byte for byte.

use crate::escape::{into_string, push_json_string, push_u64};
use crate::websocket::{self, Opcode, Window};
use crate::{compat, sse, time};

/// A format in which clients receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Codec {
    /// The JSON protocol on a plain WebSocket.
    Json,
    /// Socket.IO, on a WebSocket or by polling.
    SocketIo,
    /// An event stream.
    Sse,
    /// Socket.IO as light-push spoke it.
    LightPush,
    /// Socket.IO as push (koa) spoke it.
    PushKoa,
    /// A plain WebSocket of gopusher.
    Gopusher,
    /// A plain WebSocket of the push server of Go and Redis.
    GoRedis,
    /// A plain WebSocket of message-push.
    MessagePush,
}

impl Codec {
    /// Every codec.
    pub const ALL: [Self; 8] = [
        Self::Json,
        Self::SocketIo,
        Self::Sse,
        Self::LightPush,
        Self::PushKoa,
        Self::Gopusher,
        Self::GoRedis,
        Self::MessagePush,
    ];

    /// Its place in [`Codec::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

/// How frames are written to one connection: its codec, and how they are compressed, if they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Format {
    /// What is written.
    pub codec: Codec,
    /// What was agreed on for a WebSocket; `None` for everything else.
    pub deflate: Option<Window>,
}

impl Format {
    /// How many there are; a cache of encoded messages has this many places.
    pub const COUNT: usize = 3 * Codec::ALL.len();

    /// Without compression.
    #[must_use]
    pub fn plain(codec: Codec) -> Self {
        Self { codec, deflate: None }
    }

    /// Its place among all of them.
    #[must_use]
    pub fn index(self) -> usize {
        let deflate = match self.deflate {
            None => 0,
            Some(Window::Full) => 1,
            Some(Window::Small) => 2,
        };
        3 * self.codec.index() + deflate
    }
}

/// What of a message is written to clients.
#[derive(Clone, Copy, Debug)]
pub struct PushView<'a> {
    /// The message's id.
    pub id: &'a str,
    /// The event's name.
    pub event: &'a str,
    /// Raw JSON; must be valid.
    pub data: &'a str,
    /// The room that it was pushed to, if this topic is one.
    pub room: Option<&'a str>,
    /// The user that it was pushed to, if this topic is one.
    pub user: Option<&'a str>,
    /// When it was accepted, in milliseconds since the Unix epoch.
    pub sent_at_ms: u64,
    /// The topic through which it reaches the client.
    pub topic: &'a str,
    /// Which life of the topic `offset` belongs to.
    pub epoch: u32,
    /// Where the message stands in the topic.
    pub offset: u64,
    /// Where the message stands among all of its namespace; what an event stream resumes from.
    pub seq: u64,
    /// The Socket.IO acknowledgement id, the same for every receiver; below 2³¹.
    pub ack_id: u32,
    /// The namespace's name, without a slash.
    pub namespace: &'a str,
    /// The user and the device of the client that published it, if one did.
    pub from: Option<(Option<&'a str>, &'a str)>,
    /// The id of the message whose recall this one announces; it is then written as that, without data.
    pub recalls: Option<&'a str>,
    /// What an older system's call said besides: see [`compat::Aside`].
    pub aside: &'a str,
}

/// Bytes that are ready for every socket of a codec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// For WebSocket codecs a complete text frame, for event streams the event.
    pub bytes: Vec<u8>,
    /// Where the payload begins: what follows the frame header. Polling sends the payload alone.
    pub payload_at: u8,
}

impl Encoded {
    /// The bytes without the frame header.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.bytes.get(usize::from(self.payload_at)..).unwrap_or_default()
    }
}

/// Room for the header of a frame of usual size (126 to 65,535 bytes), so that it need not be moved.
const HEADER_GUESS: usize = 4;

/// Bytes of an object besides its strings: keys, time, numbers, punctuation.
const OBJECT_OVERHEAD: usize = 192;

/// Encodes a message.
#[must_use]
pub fn encode(codec: Codec, push: &PushView<'_>) -> Encoded {
    let mut out = Vec::with_capacity(capacity(push));
    match codec {
        Codec::Json => {
            out.extend_from_slice(&[0; HEADER_GUESS]);
            let begin: &[u8] = if push.recalls.is_some() { b"{\"recall\":" } else { b"{\"push\":" };
            out.extend_from_slice(begin);
            push_object(&mut out, push);
            out.push(b'}');
            framed(out)
        }
        Codec::SocketIo => {
            out.extend_from_slice(&[0; HEADER_GUESS]);
            out.extend_from_slice(b"42");
            if !push.namespace.is_empty() {
                out.push(b'/');
                out.extend_from_slice(push.namespace.as_bytes());
                out.push(b',');
            }
            push_u64(&mut out, u64::from(push.ack_id));
            out.push(b'[');
            push_json_string(&mut out, push.event);
            out.push(b',');
            push_object(&mut out, push);
            out.push(b']');
            framed(out)
        }
        Codec::Sse => {
            out.extend_from_slice(b"id: ");
            sse::push_event_id(&mut out, push.epoch, push.seq);
            out.push(b'\n');
            sse::field(&mut out, b"event: ", push.event);
            push_sse_object(&mut out, push);
            out.push(b'\n');
            Encoded { bytes: out, payload_at: 0 }
        }
        Codec::LightPush => compat::light_push::encode(push),
        Codec::PushKoa => compat::push_koa::encode(push),
        Codec::Gopusher => compat::gopusher::encode(push),
        Codec::GoRedis => compat::go_redis::encode(push),
        Codec::MessagePush => compat::message_push::encode(push),
    }
}

/// Any other text in the framing of a codec: a reply, a notice. For event streams it is taken as it is,
/// so it must come from [`crate::sse`].
#[must_use]
pub fn control(codec: Codec, payload: &str) -> Encoded {
    match codec {
        Codec::Json
        | Codec::SocketIo
        | Codec::LightPush
        | Codec::PushKoa
        | Codec::Gopusher
        | Codec::GoRedis
        | Codec::MessagePush => {
            let bytes = websocket::frame(Opcode::Text, payload.as_bytes());
            let payload_at = (bytes.len() - payload.len()) as u8;
            Encoded { bytes, payload_at }
        }
        Codec::Sse => Encoded { bytes: payload.as_bytes().to_vec(), payload_at: 0 },
    }
}

/// The object that every codec carries: `{"id","event","data","room"?,"user"?,"from"?,"sent_at","topic","epoch","offset"}`; that
/// of a recall has neither event nor data, and its id is that of the message that was recalled.
#[must_use]
pub fn object(push: &PushView<'_>) -> String {
    let mut out = Vec::with_capacity(capacity(push));
    push_object(&mut out, push);
    into_string(out)
}

/// An estimate; only strings full of escapes exceed it.
fn capacity(push: &PushView<'_>) -> usize {
    let strings = push.id.len() + 2 * push.event.len() + push.data.len() + push.topic.len();
    let names = push.room.map_or(0, str::len) + push.user.map_or(0, str::len) + push.namespace.len();
    let from = push.from.map_or(0, |(user, device)| user.map_or(0, str::len) + device.len() + 32);
    strings + from + names + OBJECT_OVERHEAD
}

fn push_object(out: &mut Vec<u8>, push: &PushView<'_>) {
    push_before_data(out, push);
    out.extend_from_slice(data(push));
    push_after_data(out, push);
}

/// What is written as data: nothing for a recall.
fn data<'a>(push: &PushView<'a>) -> &'a [u8] {
    if push.recalls.is_some() { b"" } else { push.data.as_bytes() }
}

/// The object on `data:` lines. Only `data` can contain line breaks: the caller's own white space.
fn push_sse_object(out: &mut Vec<u8>, push: &PushView<'_>) {
    let start = out.len();
    out.extend_from_slice(b"data: ");
    push_before_data(out, push);
    if memchr::memchr2(b'\r', b'\n', data(push)).is_none() {
        out.extend_from_slice(data(push));
        push_after_data(out, push);
        out.push(b'\n');
    } else {
        out.truncate(start);
        sse::push_data(out, &object(push));
    }
}

fn push_before_data(out: &mut Vec<u8>, push: &PushView<'_>) {
    out.extend_from_slice(b"{\"id\":");
    push_json_string(out, push.recalls.unwrap_or(push.id));
    if push.recalls.is_some() {
        return;
    }
    out.extend_from_slice(b",\"event\":");
    push_json_string(out, push.event);
    out.extend_from_slice(b",\"data\":");
}

fn push_after_data(out: &mut Vec<u8>, push: &PushView<'_>) {
    if let Some(room) = push.room {
        out.extend_from_slice(b",\"room\":");
        push_json_string(out, room);
    }
    if let Some(user) = push.user {
        out.extend_from_slice(b",\"user\":");
        push_json_string(out, user);
    }
    if let Some((user, device)) = push.from {
        out.extend_from_slice(b",\"from\":{");
        if let Some(user) = user {
            out.extend_from_slice(b"\"user\":");
            push_json_string(out, user);
            out.push(b',');
        }
        out.extend_from_slice(b"\"device\":");
        push_json_string(out, device);
        out.push(b'}');
    }
    out.extend_from_slice(b",\"sent_at\":\"");
    out.extend_from_slice(&time::rfc3339_bytes(push.sent_at_ms));
    out.extend_from_slice(b"\",\"topic\":");
    push_json_string(out, push.topic);
    out.extend_from_slice(b",\"epoch\":");
    push_u64(out, u64::from(push.epoch));
    out.extend_from_slice(b",\"offset\":");
    push_u64(out, push.offset);
    out.push(b'}');
}

/// Puts the frame header before a payload that begins at [`HEADER_GUESS`].
fn framed(mut out: Vec<u8>) -> Encoded {
    let payload_len = out.len().saturating_sub(HEADER_GUESS);
    let (header, len) = websocket::header_bytes(Opcode::Text, payload_len);
    let header = header.get(..len).unwrap_or_default();
    out.splice(..HEADER_GUESS, header.iter().copied());
    Encoded { bytes: out, payload_at: len as u8 }
}

#[cfg(test)]
mod tests;
