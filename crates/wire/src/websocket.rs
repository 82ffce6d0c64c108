//! The WebSocket protocol, RFC 6455: frames in, messages out, and the bytes of the opening handshake.
//!
//! Sections 5 (framing), 7.4 (close codes) and 8.1 (UTF-8), as strictly as the Autobahn suite asks; 4.2
//! for the handshake key. [`deflate`] is the one extension, RFC 7692. It does not know HTTP, timers, or what is in a message. A frame
//! that a server sends is not masked, so its bytes are the same for everybody; see [`frame`].

pub mod client;
mod decoder;
pub mod deflate;
mod head;
mod mask;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};
use std::fmt;

pub use decoder::Decoder;
pub use deflate::{Deflater, Inflater, Window};

/// Longest payload of a control frame (RFC 6455 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

/// Longest header of a frame that a server sends.
pub const HEADER_BYTES_MAX: usize = 10;

/// What a frame is (RFC 6455 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// A later fragment of a message.
    Continuation = 0,
    /// UTF-8 text, or its first fragment.
    Text = 1,
    /// Bytes, or their first fragment.
    Binary = 2,
    /// The peer ends the conversation.
    Close = 8,
    /// Asks for a pong with the same payload.
    Ping = 9,
    /// Answers a ping, or just says that the peer lives.
    Pong = 10,
}

impl Opcode {
    /// Control frames are short, are never fragmented, and may stand between the fragments of a message.
    #[must_use]
    pub fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }

    fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::Continuation),
            1 => Some(Self::Text),
            2 => Some(Self::Binary),
            8 => Some(Self::Close),
            9 => Some(Self::Ping),
            10 => Some(Self::Pong),
            _ => None,
        }
    }
}

/// A complete message or control frame, borrowed from the input or from the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// Valid UTF-8, all fragments joined.
    Text(&'a str),
    /// Bytes, all fragments joined.
    Binary(&'a [u8]),
    /// To be answered by a pong with these bytes.
    Ping(&'a [u8]),
    /// The answer to a ping, or an unasked sign of life.
    Pong(&'a [u8]),
    /// The peer closes; nothing that follows is to be read.
    Close {
        /// The code it gave, always one that may appear on the wire; `None` when the frame was empty.
        code: Option<u16>,
        /// Its words, possibly empty.
        reason: &'a str,
    },
}

impl Message<'_> {
    /// Bytes of its payload, decompressed.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) | Self::Ping(bytes) | Self::Pong(bytes) => bytes.len(),
            Self::Close { reason, .. } => reason.len(),
        }
    }

    /// Whether its payload is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Why the bytes are not the protocol. The connection is to be closed with [`Error::close_code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A reserved bit is set that no extension which was agreed on uses there.
    ReservedBits,
    /// The opcode is one that is not defined.
    ReservedOpcode,
    /// A control frame without FIN.
    FragmentedControl,
    /// A control frame of more than 125 bytes.
    LongControl,
    /// A continuation while no message is open.
    UnexpectedContinuation,
    /// A new message inside a fragmented one.
    InterruptedMessage,
    /// A client must mask, and did not.
    Unmasked,
    /// A server must not mask, and did.
    Masked,
    /// The length is not written in the fewest bytes, or has its highest bit set.
    BadLength,
    /// A close payload of one byte, or a code that may not appear on the wire.
    BadCloseCode,
    /// Text or a close reason that is not UTF-8.
    BadUtf8,
    /// The message is, or announces to be, larger than the limit.
    TooLarge,
    /// What is said to be compressed is not.
    BadDeflate,
}

impl Error {
    /// The code to close with: 1002, 1007 or 1009.
    #[must_use]
    pub fn close_code(self) -> u16 {
        match self {
            Self::ReservedBits
            | Self::ReservedOpcode
            | Self::FragmentedControl
            | Self::LongControl
            | Self::UnexpectedContinuation
            | Self::InterruptedMessage
            | Self::Unmasked
            | Self::Masked
            | Self::BadLength
            | Self::BadCloseCode
            | Self::BadDeflate => 1002,
            Self::BadUtf8 => 1007,
            Self::TooLarge => 1009,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReservedBits => "reserved bit set",
            Self::ReservedOpcode => "reserved opcode",
            Self::FragmentedControl => "fragmented control frame",
            Self::LongControl => "control frame too long",
            Self::UnexpectedContinuation => "continuation without a message",
            Self::InterruptedMessage => "new message inside a fragmented one",
            Self::Unmasked => "client frame not masked",
            Self::Masked => "server frame masked",
            Self::BadLength => "length not in its shortest form",
            Self::BadCloseCode => "invalid close code",
            Self::BadUtf8 => "invalid UTF-8",
            Self::TooLarge => "message too large",
            Self::BadDeflate => "invalid compressed data",
        })
    }
}

impl std::error::Error for Error {}

/// Appends the header of an unmasked, unfragmented frame.
pub fn header(out: &mut Vec<u8>, opcode: Opcode, payload_len: usize) {
    let (bytes, len) = header_bytes(opcode, payload_len);
    out.extend_from_slice(bytes.get(..len).unwrap_or_default());
}

/// The same as [`header`] on the stack: the bytes, and how many of them count.
pub(crate) fn header_bytes(opcode: Opcode, payload_len: usize) -> ([u8; HEADER_BYTES_MAX], usize) {
    let mut bytes = [0; HEADER_BYTES_MAX];
    let [first, second, extended @ ..] = &mut bytes;
    *first = 0x80 | opcode as u8;
    let len = match payload_len {
        0..=125 => {
            *second = payload_len as u8;
            2
        }
        126..=0xffff => {
            *second = 126;
            extended.iter_mut().zip((payload_len as u16).to_be_bytes()).for_each(|(to, byte)| *to = byte);
            4
        }
        _ => {
            *second = 127;
            *extended = (payload_len as u64).to_be_bytes();
            10
        }
    };
    (bytes, len)
}

/// A whole unmasked frame.
#[must_use]
pub fn frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES_MAX + payload.len());
    header(&mut out, opcode, payload.len());
    out.extend_from_slice(payload);
    out
}

/// A close frame. A reason that does not fit into a control frame is cut at a character.
#[must_use]
pub fn close_frame(code: u16, reason: &str) -> Vec<u8> {
    let reason = reason.get(..reason.floor_char_boundary(CONTROL_BYTES_MAX - 2)).unwrap_or_default();
    let mut out = Vec::with_capacity(4 + reason.len());
    header(&mut out, Opcode::Close, 2 + reason.len());
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
    out
}

/// Whether a close code may appear on the wire (RFC 6455 7.4, and the IANA registry for 1012–1014).
#[must_use]
pub fn is_valid_close_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// `Sec-WebSocket-Accept` for a client's `Sec-WebSocket-Key` (RFC 6455 4.2.2).
#[must_use]
pub fn accept_key(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(hash.finalize())
}

/// Whether a `Sec-WebSocket-Key` is what RFC 6455 4.2.1 asks for: 16 bytes in base64.
#[must_use]
pub fn is_valid_key(key: &str) -> bool {
    let mut nonce = [0; 18];
    key.len() == 24 && STANDARD.decode_slice(key, &mut nonce) == Ok(16)
}

#[cfg(test)]
mod tests;
