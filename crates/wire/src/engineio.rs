//! Engine.IO protocol 3 and 4: one packet of a WebSocket frame, and the payloads of long polling.
//!
//! Source: the Engine.IO protocol documents, revisions 3 and 4, and for the payload bytes of revision 3
//! (which its document only sketches) what its JavaScript parser writes and reads. This module knows no
//! session, no transport state and no HTTP; the caller says which version the session speaks.

pub mod jsonp;
mod payload;

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};

use crate::escape::{into_string, push_json_string, push_u64};

pub use payload::{PayloadEncoder, PayloadFormat, decode_payload, written_once};

/// The server's ping (version 4).
pub const PING: &str = "2";
/// The server's answer to a ping (version 3).
pub const PONG: &str = "3";
/// Closes the session.
pub const CLOSE: &str = "1";
/// Answers a poll when there is nothing to say, and ends polling during an upgrade.
pub const NOOP: &str = "6";
/// What a client asks on a new transport before it upgrades…
pub const PROBE_PING: &str = "2probe";
/// …and what it must be answered there.
pub const PROBE_PONG: &str = "3probe";

/// Base64 as clients write it: with padding, or (some native ones) without.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The protocol revision of a session, `EIO` in its query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Clients 1.x and 2.x: the client pings.
    V3,
    /// Clients 3.x and 4.x: the server pings.
    V4,
}

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// The handshake, as JSON. Only servers send it.
    Open(&'a str),
    /// The peer closes this transport.
    Close,
    /// With whatever follows: empty, or `probe`.
    Ping(&'a str),
    /// With whatever follows: empty, or `probe`.
    Pong(&'a str),
    /// A message as text: a Socket.IO packet.
    Text(&'a str),
    /// A message as bytes: an attachment of a Socket.IO packet.
    Binary(Cow<'a, [u8]>),
    /// The client's last word before it uses the new transport.
    Upgrade,
    /// Nothing.
    Noop,
}

/// Why bytes are not the protocol. The session is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// No packet where one must be.
    Empty,
    /// The first character is not a packet type.
    UnknownType,
    /// Something follows a packet type that has nothing to say.
    UnexpectedBody,
    /// Not base64 after `b` or `b4`.
    BadBase64,
    /// Not UTF-8 where text must be.
    BadUtf8,
    /// A length that is missing, not a number, or not that of what follows.
    BadLength,
    /// Bytes in a packet that is not a message.
    NotAMessage,
    /// A binary request body; version 4 has none.
    BinaryBody,
    /// More packets in one body than allowed.
    TooManyPackets,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "empty packet",
            Self::UnknownType => "unknown packet type",
            Self::UnexpectedBody => "unexpected packet body",
            Self::BadBase64 => "invalid base64",
            Self::BadUtf8 => "invalid UTF-8",
            Self::BadLength => "invalid packet length",
            Self::NotAMessage => "binary packet is not a message",
            Self::BinaryBody => "binary body",
            Self::TooManyPackets => "too many packets",
        })
    }
}

impl std::error::Error for Error {}

/// Reads one WebSocket text frame, of either version.
///
/// A client that cannot send binary frames writes `b<base64>` (version 4) or `b4<base64>` (version 3).
/// Padded base64 is a multiple of four characters long, so the length tells the two apart.
///
/// # Errors
/// When it is not one packet.
pub fn decode_text(text: &str) -> Result<Packet<'_>, Error> {
    let version = match text.strip_prefix("b4") {
        Some(base64) if base64.len() % 4 == 0 => Version::V3,
        _ => Version::V4,
    };
    decode_packet(version, text)
}

/// Reads one packet in its text form, as the given version writes it.
///
/// # Errors
/// When it is not one packet.
pub fn decode_packet(version: Version, text: &str) -> Result<Packet<'_>, Error> {
    let mut chars = text.chars();
    let kind = chars.next().ok_or(Error::Empty)?;
    let body = chars.as_str();
    let bare = |packet| if body.is_empty() { Ok(packet) } else { Err(Error::UnexpectedBody) };
    match kind {
        '0' => Ok(Packet::Open(body)),
        '1' => bare(Packet::Close),
        '2' => Ok(Packet::Ping(body)),
        '3' => Ok(Packet::Pong(body)),
        '4' => Ok(Packet::Text(body)),
        '5' => bare(Packet::Upgrade),
        '6' => bare(Packet::Noop),
        'b' => {
            let base64 = match version {
                Version::V3 => body.strip_prefix('4').ok_or(Error::NotAMessage)?,
                Version::V4 => body,
            };
            let bytes = LENIENT.decode(base64).map_err(|_| Error::BadBase64)?;
            Ok(Packet::Binary(Cow::Owned(bytes)))
        }
        _ => Err(Error::UnknownType),
    }
}

/// Reads one WebSocket binary frame: version 4 sends the bytes alone, version 3 puts the packet type
/// in front, as a number.
///
/// # Errors
/// When a version 3 frame is not a message.
pub fn decode_binary(version: Version, bytes: &[u8]) -> Result<Packet<'_>, Error> {
    match (version, bytes) {
        (Version::V4, bytes) | (Version::V3, [4, bytes @ ..]) => Ok(Packet::Binary(Cow::Borrowed(bytes))),
        (Version::V3, []) => Err(Error::Empty),
        (Version::V3, [0..=6, ..]) => Err(Error::NotAMessage),
        (Version::V3, _) => Err(Error::UnknownType),
    }
}

/// The payload of a WebSocket binary frame that carries `bytes`; the inverse of [`decode_binary`].
#[must_use]
pub fn encode_binary(version: Version, bytes: &[u8]) -> Cow<'_, [u8]> {
    match version {
        Version::V4 => Cow::Borrowed(bytes),
        Version::V3 => Cow::Owned([&[4], bytes].concat()),
    }
}

/// The text form of a binary message, for a client that cannot receive bytes.
#[must_use]
pub fn encode_base64(version: Version, bytes: &[u8]) -> String {
    let mut out = String::from(match version {
        Version::V4 => "b",
        Version::V3 => "b4",
    });
    STANDARD.encode_string(bytes, &mut out);
    out
}

/// The handshake packet `0{…}`. `max_payload` is told to clients of version 4 only.
#[must_use]
pub fn open_packet(
    sid: &str,
    upgrades: &[&str],
    ping_interval_ms: u64,
    ping_timeout_ms: u64,
    max_payload: Option<usize>,
) -> String {
    let mut out = Vec::with_capacity(128);
    out.extend_from_slice(b"0{\"sid\":");
    push_json_string(&mut out, sid);
    out.extend_from_slice(b",\"upgrades\":[");
    for (index, upgrade) in upgrades.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_json_string(&mut out, upgrade);
    }
    out.extend_from_slice(b"],\"pingInterval\":");
    push_u64(&mut out, ping_interval_ms);
    out.extend_from_slice(b",\"pingTimeout\":");
    push_u64(&mut out, ping_timeout_ms);
    if let Some(max) = max_payload {
        out.extend_from_slice(b",\"maxPayload\":");
        push_u64(&mut out, max as u64);
    }
    out.push(b'}');
    into_string(out)
}

#[cfg(test)]
mod tests;
