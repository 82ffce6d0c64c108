//! Socket.IO protocol 4 and 5 (clients 2.x, and 3.x and 4.x): the packets inside Engine.IO messages.
//!
//! Source: the Socket.IO protocol documents, revisions 4 and 5; where they leave a choice, what the
//! reference parser refuses is refused here. The two revisions share one syntax and differ only in what
//! CONNECT and CONNECT_ERROR (4: ERROR) carry. This module knows no session, no namespace that exists
//! and no event: it says what was written. Reading order: [`decode`], [`Args`], [`Assembler`], then the
//! encoders.

mod args;
mod assembler;
mod encode;

use std::fmt;

use serde_json::value::RawValue;

use crate::nesting::{self, DEPTH_MAX};

pub use args::{ARGS_MAX, Args};
pub use assembler::{ATTACHMENTS_DEFAULT, ATTACHMENTS_MAX, Assembled, Assembler, Limits};
pub use encode::{
    ack, binary_ack, binary_event, connect_error_v5, connect_v4, connect_v5, disconnect, error_v4, event,
    write_ack, write_event,
};

/// Longest namespace, its slash included, in bytes.
pub const NAMESPACE_BYTES_MAX: usize = 256;

/// Largest acknowledgement id: the largest integer that JavaScript counts exactly.
pub const ID_MAX: u64 = (1 << 53) - 1;

/// Event names that mean something to a client's own emitter; a peer may not send them.
const RESERVED_EVENTS: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Asks for a namespace, or grants it.
    Connect,
    /// Leaves a namespace.
    Disconnect,
    /// An event with arguments.
    Event,
    /// Answers an event that had an id.
    Ack,
    /// Refuses a namespace; ERROR in protocol 4.
    ConnectError,
    /// An event whose attachments follow as binary messages.
    BinaryEvent,
    /// An answer whose attachments follow as binary messages.
    BinaryAck,
}

impl Kind {
    fn from_digit(digit: char) -> Option<Self> {
        Some(match digit {
            '0' => Self::Connect,
            '1' => Self::Disconnect,
            '2' => Self::Event,
            '3' => Self::Ack,
            '4' => Self::ConnectError,
            '5' => Self::BinaryEvent,
            '6' => Self::BinaryAck,
            _ => return None,
        })
    }

    /// Whether attachments are announced.
    #[must_use]
    pub fn is_binary(self) -> bool {
        matches!(self, Self::BinaryEvent | Self::BinaryAck)
    }
}

/// One packet, borrowed from its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What it is.
    pub kind: Kind,
    /// How many binary messages follow; 0 unless the kind is binary.
    pub attachments: usize,
    /// `/` for the root, else the path without its query.
    pub namespace: &'a str,
    /// What follows `?` in the namespace of a protocol 4 client (`/demo?uuid=d1`).
    pub query: Option<&'a str>,
    /// Id of the acknowledgement that is asked for, or given.
    pub id: Option<u64>,
    /// Valid JSON, of the type that the kind asks for, nested at most [`DEPTH_MAX`] deep.
    pub data: Option<&'a str>,
}

/// Why text or attachments are not the protocol. The connection is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// No first character.
    Empty,
    /// The first character is not a packet type.
    UnknownType,
    /// A binary packet without a number of attachments and a dash.
    BadAttachments,
    /// More attachments than allowed.
    TooManyAttachments,
    /// The namespace is too long.
    LongNamespace,
    /// An id beyond [`ID_MAX`].
    BadId,
    /// An acknowledgement that does not say of what.
    MissingId,
    /// What follows is not JSON, or more than one JSON text.
    BadJson,
    /// JSON nested too deep.
    TooDeep,
    /// JSON of another type than the kind of packet carries.
    BadPayload,
    /// An event name that only a client's own emitter may use.
    ReservedEvent,
    /// More arguments than [`ARGS_MAX`].
    TooManyArguments,
    /// Placeholders that do not name each attachment once.
    BadPlaceholder,
    /// A binary message while no packet waits for one.
    UnexpectedBinary,
    /// A text packet while attachments are due.
    AttachmentsDue,
    /// Packet and attachments together are larger than allowed.
    TooLarge,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "empty packet",
            Self::UnknownType => "unknown packet type",
            Self::BadAttachments => "illegal attachments",
            Self::TooManyAttachments => "too many attachments",
            Self::LongNamespace => "namespace too long",
            Self::BadId => "acknowledgement id out of range",
            Self::MissingId => "acknowledgement without id",
            Self::BadJson => "invalid JSON",
            Self::TooDeep => "JSON nested too deep",
            Self::BadPayload => "invalid payload",
            Self::ReservedEvent => "reserved event name",
            Self::TooManyArguments => "too many arguments",
            Self::BadPlaceholder => "illegal placeholders",
            Self::UnexpectedBinary => "binary message without a packet",
            Self::AttachmentsDue => "text packet while attachments are due",
            Self::TooLarge => "attachments too large",
        })
    }
}

impl std::error::Error for Error {}

/// Reads one packet: the text of an Engine.IO message, its `4` removed.
///
/// # Errors
/// When it is not exactly one packet.
pub fn decode(text: &str) -> Result<Packet<'_>, Error> {
    let mut chars = text.chars();
    let kind = Kind::from_digit(chars.next().ok_or(Error::Empty)?).ok_or(Error::UnknownType)?;
    let rest = chars.as_str();
    let (attachments, rest) = if kind.is_binary() { split_attachments(rest)? } else { (0, rest) };
    let (path, rest) = split_namespace(rest);
    let (namespace, query) = match path.split_once('?') {
        Some((namespace, query)) => (namespace, Some(query)),
        None => (path, None),
    };
    if namespace.len() > NAMESPACE_BYTES_MAX {
        return Err(Error::LongNamespace);
    }
    let (id, rest) = split_id(rest)?;
    let data = if rest.is_empty() { None } else { Some(valid_json(rest)?) };
    check_payload(kind, id, data)?;
    Ok(Packet { kind, attachments, namespace, query, id, data })
}

fn split_attachments(text: &str) -> Result<(usize, &str), Error> {
    let (number, rest) = text.split_once('-').ok_or(Error::BadAttachments)?;
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Error::BadAttachments);
    }
    match number.parse() {
        Ok(number) if number <= ATTACHMENTS_MAX => Ok((number, rest)),
        _ => Err(Error::TooManyAttachments),
    }
}

/// `/path,` off the front; the comma may be missing when nothing follows, the whole when it is the root.
fn split_namespace(text: &str) -> (&str, &str) {
    if text.starts_with('/') { text.split_once(',').unwrap_or((text, "")) } else { ("/", text) }
}

fn split_id(text: &str) -> Result<(Option<u64>, &str), Error> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return Ok((None, text));
    }
    let (number, rest) = text.split_at_checked(digits).ok_or(Error::BadId)?;
    match number.parse() {
        Ok(id) if id <= ID_MAX => Ok((Some(id), rest)),
        _ => Err(Error::BadId),
    }
}

/// The one JSON text that `text` is, white space around it removed.
fn valid_json(text: &str) -> Result<&str, Error> {
    if !nesting::is_within(text, DEPTH_MAX) {
        return Err(Error::TooDeep);
    }
    serde_json::from_str::<&RawValue>(text).map(RawValue::get).map_err(|_| Error::BadJson)
}

fn check_payload(kind: Kind, id: Option<u64>, data: Option<&str>) -> Result<(), Error> {
    let first = data.and_then(|data| data.bytes().next());
    match (kind, first, data) {
        (Kind::Connect, None | Some(b'{'), _)
        | (Kind::Disconnect, None, _)
        | (Kind::ConnectError, Some(b'{' | b'"'), _) => Ok(()),
        (Kind::Event | Kind::BinaryEvent, Some(b'['), Some(array)) => check_event_name(array),
        (Kind::Ack | Kind::BinaryAck, Some(b'['), _) => id.map(|_| ()).ok_or(Error::MissingId),
        _ => Err(Error::BadPayload),
    }
}

/// An event's array begins with its name: a string, or (as the reference parser allows) a number.
fn check_event_name(array: &str) -> Result<(), Error> {
    let inside = array.strip_prefix('[').unwrap_or_default().trim_start();
    match inside.bytes().next() {
        Some(b'-' | b'0'..=b'9') => Ok(()),
        Some(b'"') => {
            let after = nesting::after_string(inside.as_bytes().get(1..).unwrap_or_default());
            let literal = inside.get(..inside.len() - after.len()).unwrap_or_default();
            let plain = literal.get(1..literal.len() - 1).unwrap_or_default();
            // An escaped name is rare, and costs a copy: `"\u0063onnect"` is reserved too.
            let reserved = if plain.contains('\\') {
                let name: String = serde_json::from_str(literal).map_err(|_| Error::BadJson)?;
                RESERVED_EVENTS.contains(&name.as_str())
            } else {
                RESERVED_EVENTS.contains(&plain)
            };
            if reserved { Err(Error::ReservedEvent) } else { Ok(()) }
        }
        _ => Err(Error::BadPayload),
    }
}

#[cfg(test)]
mod tests;
