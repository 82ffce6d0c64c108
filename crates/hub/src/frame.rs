//! Immutable bytes ready for a socket, shared by everybody who gets them.
//!
//! A frame knows which message it carries, so that an outbox can drop it when it expires and say what
//! it never wrote. It does not know who receives it.

use std::rc::Rc;

use tidings_model::{Seq, Timestamp};
use tidings_wire::push::Encoded;

/// Which of an outbox's queues a frame waits in. Earlier lanes leave first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Heartbeats, replies, goodbyes.
    Control = 0,
    /// Messages with high priority.
    High = 1,
    /// All other messages.
    Normal = 2,
}

/// Bytes ready for a socket.
#[derive(Debug)]
pub struct Frame {
    bytes: Box<[u8]>,
    payload_at: u8,
    /// Whether it carries a message of high priority, in whatever lane it waits.
    pub high: bool,
    /// Tells messages of one topic from others (mostly: different topics may share it).
    pub topic: u32,
    /// Tells messages of one topic and event from others, as far as 64 bits do. Its lower half is `topic`.
    pub subject: u64,
    /// The message inside; 0 when it is none of the messages, such as a reply.
    pub seq: Seq,
    /// The namespace of the message, as the shard numbers them.
    pub namespace: u32,
    /// From when on the frame is not worth writing.
    pub expires_at: Timestamp,
    /// Messages with the same number here take each other's place; 0 for one that takes nobody's.
    pub collapse: u64,
}

/// What a frame knows of the message that it carries.
#[derive(Clone, Copy, Debug)]
pub struct Carried {
    /// See [`Frame::high`].
    pub high: bool,
    /// See [`Frame::namespace`].
    pub namespace: u32,
    /// See [`Frame::subject`].
    pub subject: u64,
    /// See [`Frame::collapse`].
    pub collapse: u64,
    /// See [`Frame::seq`].
    pub seq: Seq,
    /// See [`Frame::expires_at`].
    pub expires_at: Timestamp,
}

impl Frame {
    /// A frame that carries a message.
    #[must_use]
    pub fn message(encoded: Encoded, carried: Carried) -> Rc<Self> {
        let Carried { high, namespace, subject, collapse, seq, expires_at } = carried;
        Rc::new(Self {
            topic: subject as u32,
            subject,
            bytes: encoded.bytes.into_boxed_slice(),
            payload_at: encoded.payload_at,
            high,
            seq,
            namespace,
            expires_at,
            collapse,
        })
    }

    /// The same message in other bytes.
    #[must_use]
    pub fn with(&self, encoded: Encoded) -> Rc<Self> {
        let Self { high, namespace, subject, collapse, seq, expires_at, .. } = *self;
        Self::message(encoded, Carried { high, namespace, subject, collapse, seq, expires_at })
    }

    /// A frame that belongs to the protocol: a reply, a heartbeat, a goodbye.
    #[must_use]
    pub fn control(encoded: Encoded) -> Rc<Self> {
        Self::no_message(encoded, 0)
    }

    /// A frame that is no message and waits among messages: nothing makes room for others at its expense.
    #[must_use]
    pub fn signal(encoded: Encoded) -> Rc<Self> {
        Self::no_message(encoded, u32::MAX)
    }

    fn no_message(encoded: Encoded, namespace: u32) -> Rc<Self> {
        let expires_at = Timestamp::NEVER;
        let carried = Carried { high: false, namespace, subject: 0, collapse: 0, seq: Seq(0), expires_at };
        Self::message(encoded, carried)
    }

    /// Everything, as a stream transport writes it.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What is inside the transport's own header, for transports that wrap payloads in their own way.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.bytes[usize::from(self.payload_at)..]
    }

    /// Whether the transport's header is a binary WebSocket frame's.
    #[must_use]
    pub fn is_binary(&self) -> bool {
        self.payload_at > 0 && self.bytes[0] & 0x0f == 2
    }
}
