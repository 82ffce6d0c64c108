//! Encode once for each format and topic, share with everybody.
//!
//! The fan-out loop asks for the frame of a member's format; the first one to ask pays for the encoding, and
//! for the compression if there is one.

use std::hash::{Hash, Hasher};
use std::rc::Rc;

use tidings_model::{Message, Priority, Topic, message};
use tidings_wire::push::{self, Codec, Encoded, Format, PushView};
use tidings_wire::websocket::{Deflater, Opcode};

use crate::frame::{Carried, Frame};

/// The frames of one message as it stands in one topic, by format.
#[derive(Debug, Default)]
pub struct Broadcast {
    frames: [Option<Rc<Frame>>; Format::COUNT],
}

impl Broadcast {
    /// The frame of `message` for receivers in its `topic`th topic, in their `format`.
    pub fn frame(
        &mut self,
        message: &Message,
        topic: usize,
        namespace: u32,
        format: Format,
        deflater: &mut Deflater,
    ) -> Rc<Frame> {
        if let Some(frame) = &self.frames[format.index()] {
            return Rc::clone(frame);
        }
        let plain = &mut self.frames[Format::plain(format.codec).index()];
        let plain = plain.get_or_insert_with(|| encode(message, topic, namespace, format.codec)).clone();
        let frame = compress(plain, format, deflater);
        self.frames[format.index()] = Some(Rc::clone(&frame));
        frame
    }
}

/// The frame as a connection of this format gets it.
#[must_use]
pub fn compress(plain: Rc<Frame>, format: Format, deflater: &mut Deflater) -> Rc<Frame> {
    let Some(window) = format.deflate else { return plain };
    match deflater.frame(window, Opcode::Text, plain.payload()) {
        Some(bytes) => plain.with(Encoded { bytes, payload_at: 0 }),
        None => plain,
    }
}

/// Encodes a message for one codec, as it stands in its `topic`th topic.
#[must_use]
pub fn encode(message: &Message, topic: usize, namespace: u32, codec: Codec) -> Rc<Frame> {
    let (name, offset) = &message.topics[topic];
    let encoded = push::encode(
        codec,
        &PushView {
            id: message.id.as_str(),
            event: message.event.as_str(),
            // The edge checked that it is JSON, hence UTF-8.
            data: std::str::from_utf8(&message.data).unwrap_or("null"),
            room: if let Topic::Room(room) = name { Some(room.as_str()) } else { None },
            user: if let Topic::User(user) = name { Some(user.as_str()) } else { None },
            sent_at_ms: message.sent_at.0,
            topic: &name.to_string(),
            epoch: message.epoch.0,
            offset: *offset,
            seq: message.seq.0,
            ack_id: message::ack_id(message.seq),
            namespace: message.namespace.as_str(),
            from: message
                .from
                .as_ref()
                .map(|from| (from.user.as_ref().map(|user| user.as_str()), from.device.as_str())),
            recalls: message.recalls.as_ref().map(|id| id.as_str()),
            // Written by us, so it is UTF-8.
            aside: std::str::from_utf8(&message.aside).unwrap_or_default(),
        },
    );
    // What is already in a queue when the message expires is dropped there; a message that reaches only
    // who is connected now is not: being queued, it has reached them.
    let expires_at = if message.keep { message.expires_at } else { tidings_model::Timestamp::NEVER };
    let subject = hash(&message.event) << 32 | hash(name) & u64::from(u32::MAX);
    // 0 is for messages without a key.
    let collapse = message.collapse_key.as_ref().map_or(0, |key| hash(key) | 1);
    let (high, seq) = (message.priority == Priority::High, message.seq);
    Frame::message(encoded, Carried { high, namespace, subject, collapse, seq, expires_at })
}

fn hash(thing: &impl Hash) -> u64 {
    let mut hasher = rustc_hash::FxHasher::default();
    thing.hash(&mut hasher);
    hasher.finish()
}
