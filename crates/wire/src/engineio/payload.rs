//! Several packets in one HTTP body: what a client posts, and what a poll is answered with.
//!
//! Version 4 joins packets by U+001E (which JSON never contains unescaped). Version 3 puts the length
//! before each, counted as JavaScript counts, in UTF-16 units; when bytes are among them and the client
//! can take them, it uses a binary form instead: `<0 text | 1 binary><decimal digits as bytes 0–9><255><packet>`.
//!
//! Clients of Socket.IO 1 speak version 3 as well, and encode each text twice: they take the bytes of its UTF-8 for characters
//! of Latin-1, and count those (engine.io-parser before 2.0, `encodePayload`). Nothing says which client one is. So
//! what is written for Socket.IO has no character that the two would read differently, and [`written_once`] tells what came twice.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Error, Packet, Version, decode_binary, decode_packet, encode_base64};
use crate::escape::{push_ascii_json, push_u64};

const SEPARATOR: u8 = 0x1e;

/// Most digits of a length. Ten hold any body that a server would accept.
const LENGTH_DIGITS_MAX: usize = 10;

/// Reads the body of a POST. `binary_content`: its content type is `application/octet-stream`.
///
/// # Errors
/// When any part of it is not a packet, or there are more than `max_packets`: a body is taken whole or not at all.
pub fn decode_payload(
    version: Version,
    body: &[u8],
    binary_content: bool,
    max_packets: usize,
) -> Result<Vec<Packet<'_>>, Error> {
    let mut packets = Vec::new();
    let mut take = |packet| {
        if packets.len() >= max_packets {
            return Err(Error::TooManyPackets);
        }
        packets.push(packet);
        Ok(())
    };
    match (version, binary_content) {
        (Version::V4, true) => return Err(Error::BinaryBody),
        (Version::V4, false) => {
            for packet in text(body)?.split(char::from(SEPARATOR)) {
                take(decode_packet(version, packet)?)?;
            }
        }
        (Version::V3, false) => {
            let mut rest = text(body)?;
            while !rest.is_empty() {
                let (packet, after) = split_counted(rest)?;
                take(decode_packet(version, packet)?)?;
                rest = after;
            }
        }
        (Version::V3, true) => {
            let mut rest = body;
            while !rest.is_empty() {
                let (packet, after) = split_binary(rest)?;
                take(packet)?;
                rest = after;
            }
        }
    }
    if packets.is_empty() { Err(Error::Empty) } else { Ok(packets) }
}

fn text(body: &[u8]) -> Result<&str, Error> {
    simdutf8::basic::from_utf8(body).map_err(|_| Error::BadUtf8)
}

/// `<utf-16 units>:<packet>` off the front.
fn split_counted(body: &str) -> Result<(&str, &str), Error> {
    let digits = body.bytes().take(LENGTH_DIGITS_MAX).take_while(u8::is_ascii_digit).count();
    let (number, rest) = body.split_at_checked(digits).ok_or(Error::BadLength)?;
    let rest = rest.strip_prefix(':').ok_or(Error::BadLength)?;
    let mut units: u64 = number.parse().map_err(|_| Error::BadLength)?;
    let mut end = 0;
    for char in rest.chars() {
        if units == 0 {
            break;
        }
        // A length that ends inside a surrogate pair is nobody's length.
        units = units.checked_sub(char.len_utf16() as u64).ok_or(Error::BadLength)?;
        end += char.len_utf8();
    }
    if units > 0 {
        return Err(Error::BadLength);
    }
    rest.split_at_checked(end).ok_or(Error::BadLength)
}

/// The body of a version 3 POST, not binary, as a client would have written it that encodes text once. A packet was
/// encoded twice when all of its characters are in Latin-1, some not in ASCII, and their bytes are UTF-8 again: who
/// writes that on purpose writes gibberish. What is no such body, or has more than `max_packets`, stays as it is, and is refused
/// by [`decode_payload`].
#[must_use]
pub fn written_once(body: &[u8], max_packets: usize) -> Cow<'_, [u8]> {
    if body.is_ascii() {
        return Cow::Borrowed(body);
    }
    let Ok(mut rest) = text(body) else { return Cow::Borrowed(body) };
    let (mut once, mut packets) = (Vec::with_capacity(body.len()), 0);
    while !rest.is_empty() {
        let Ok((packet, after)) = split_counted(rest) else { return Cow::Borrowed(body) };
        packets += 1;
        if packets > max_packets {
            return Cow::Borrowed(body);
        }
        let inner = latin1(packet).and_then(|bytes| String::from_utf8(bytes).ok());
        let packet = inner.as_deref().unwrap_or(packet);
        push_u64(&mut once, utf16_len(packet) as u64);
        once.push(b':');
        once.extend_from_slice(packet.as_bytes());
        rest = after;
    }
    Cow::Owned(once)
}

/// The characters of a text as bytes, when each fits into one.
fn latin1(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|char| u8::try_from(char).ok()).collect()
}

/// One packet of the binary form off the front.
fn split_binary(body: &[u8]) -> Result<(Packet<'_>, &[u8]), Error> {
    let (&kind, rest) = body.split_first().ok_or(Error::Empty)?;
    let digits = rest.iter().take(LENGTH_DIGITS_MAX).take_while(|&&digit| digit <= 9).count();
    let (number, rest) = rest.split_at_checked(digits).ok_or(Error::BadLength)?;
    let Some((&255, rest)) = rest.split_first() else { return Err(Error::BadLength) };
    if number.is_empty() {
        return Err(Error::BadLength);
    }
    let len = number.iter().fold(0_u64, |len, &digit| len * 10 + u64::from(digit));
    let len = usize::try_from(len).map_err(|_| Error::BadLength)?;
    let (packet, rest) = rest.split_at_checked(len).ok_or(Error::BadLength)?;
    let packet = match kind {
        0 => decode_packet(Version::V3, text(packet)?)?,
        1 => decode_binary(Version::V3, packet)?,
        _ => return Err(Error::UnknownType),
    };
    Ok((packet, rest))
}

/// How the answer to a poll is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadFormat {
    /// Version 4; bytes as base64.
    V4,
    /// Version 3, text; bytes as base64.
    V3Text,
    /// The same for Socket.IO: its JSON has escapes for all that is not ASCII.
    V3Json,
    /// Version 3, binary.
    V3Binary,
}

impl PayloadFormat {
    /// What a session's poll is answered in. A version 3 client takes the binary form unless its query
    /// says `b64`; it is used, as its own server did, only when there are bytes to send. `socketio`: every text is a packet
    /// of Socket.IO.
    #[must_use]
    pub fn choose(version: Version, takes_binary: bool, any_binary: bool, socketio: bool) -> Self {
        match version {
            Version::V4 => Self::V4,
            Version::V3 if takes_binary && any_binary => Self::V3Binary,
            Version::V3 if socketio => Self::V3Json,
            Version::V3 => Self::V3Text,
        }
    }

    /// The `Content-Type` of such a body.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::V4 | Self::V3Text | Self::V3Json => "text/plain; charset=UTF-8",
            Self::V3Binary => "application/octet-stream",
        }
    }
}

/// Puts packets into the body of a poll's answer.
#[derive(Debug)]
pub struct PayloadEncoder {
    format: PayloadFormat,
    body: Vec<u8>,
}

impl PayloadEncoder {
    /// An empty body.
    #[must_use]
    pub fn new(format: PayloadFormat) -> Self {
        Self { format, body: Vec::new() }
    }

    /// Appends a packet in its text form, type included (`4…`).
    pub fn text(&mut self, packet: &str) {
        match self.format {
            PayloadFormat::V4 => self.separate(),
            PayloadFormat::V3Text => {
                push_u64(&mut self.body, utf16_len(packet) as u64);
                self.body.push(b':');
            }
            PayloadFormat::V3Json => return self.json_text(packet),
            PayloadFormat::V3Binary => self.binary_head(0, packet.len()),
        }
        self.body.extend_from_slice(packet.as_bytes());
    }

    /// Appends a binary message.
    pub fn binary(&mut self, bytes: &[u8]) {
        match self.format {
            PayloadFormat::V4 => {
                self.separate();
                self.body.extend_from_slice(encode_base64(Version::V4, bytes).as_bytes());
            }
            PayloadFormat::V3Text | PayloadFormat::V3Json => {
                let base64 = STANDARD.encode(bytes);
                push_u64(&mut self.body, base64.len() as u64 + 2);
                self.body.extend_from_slice(b":b4");
                self.body.extend_from_slice(base64.as_bytes());
            }
            PayloadFormat::V3Binary => {
                self.binary_head(1, bytes.len() + 1);
                self.body.push(4);
                self.body.extend_from_slice(bytes);
            }
        }
    }

    /// Bytes so far: when to stop adding.
    #[must_use]
    pub fn len(&self) -> usize {
        self.body.len()
    }

    /// Whether nothing was appended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    /// The body.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.body
    }

    /// A packet of Socket.IO: of what is in front of its JSON, a namespace may be anything.
    fn json_text(&mut self, packet: &str) {
        let json = packet.find(['[', '{', '"']).unwrap_or(packet.len());
        let (head, json) = packet.split_at_checked(json).unwrap_or((packet, ""));
        let mut escaped = Vec::with_capacity(json.len());
        push_ascii_json(&mut escaped, json);
        push_u64(&mut self.body, (utf16_len(head) + escaped.len()) as u64);
        self.body.push(b':');
        self.body.extend_from_slice(head.as_bytes());
        self.body.append(&mut escaped);
    }

    fn separate(&mut self) {
        if !self.body.is_empty() {
            self.body.push(SEPARATOR);
        }
    }

    fn binary_head(&mut self, kind: u8, len: usize) {
        self.body.push(kind);
        let start = self.body.len();
        push_u64(&mut self.body, len as u64);
        self.body.iter_mut().skip(start).for_each(|digit| *digit -= b'0');
        self.body.push(255);
    }
}

/// Length as JavaScript counts it: one per character, two beyond the basic plane.
fn utf16_len(text: &str) -> usize {
    // Every byte that begins a character counts one, and one more when it begins one of four bytes.
    text.bytes().map(|byte| usize::from(byte & 0xc0 != 0x80) + usize::from(byte >= 0xf0)).sum()
}
