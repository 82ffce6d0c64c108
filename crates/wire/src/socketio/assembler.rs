//! Binary packets: the text that announces attachments, and the binary messages that must follow it.
//!
//! What is held is bounded in number and bytes, and forgotten with the first thing that is out of
//! order. It knows neither time nor connection: who waits too long is the caller's to notice.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::{Error, Kind, Packet};

/// Attachments of one packet unless the caller allows another number.
pub const ATTACHMENTS_DEFAULT: usize = 16;

/// Attachments that nobody can allow more of.
pub const ATTACHMENTS_MAX: usize = 64;

/// How much one binary packet may bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most attachments, at most [`ATTACHMENTS_MAX`].
    pub attachments: usize,
    /// Largest total of the packet's data and its attachments, in bytes.
    pub bytes: usize,
}

/// A binary packet with all its attachments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assembled {
    /// `BinaryEvent` or `BinaryAck`.
    pub kind: Kind,
    /// As in [`Packet::namespace`].
    pub namespace: String,
    /// As in [`Packet::id`].
    pub id: Option<u64>,
    /// The array, with `{"_placeholder":true,"num":n}` in place of each attachment, each named once.
    pub data: String,
    /// By number.
    pub attachments: Vec<Vec<u8>>,
}

impl Assembled {
    /// The packet that announced the attachments.
    #[must_use]
    pub fn as_packet(&self) -> Packet<'_> {
        Packet {
            kind: self.kind,
            attachments: self.attachments.len(),
            namespace: &self.namespace,
            query: None,
            id: self.id,
            data: Some(&self.data),
        }
    }
}

/// Collects the attachments of one packet at a time.
#[derive(Debug, Default)]
pub struct Assembler {
    pending: Option<Box<Pending>>,
}

#[derive(Debug)]
struct Pending {
    packet: Assembled,
    due: usize,
    bytes: usize,
}

impl Assembler {
    /// Waits for nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether attachments are due, so that a text message would be out of order.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.pending.is_some()
    }

    /// Drops what was collected.
    pub fn forget(&mut self) {
        self.pending = None;
    }

    /// To be called for every text packet that is not binary.
    ///
    /// # Errors
    /// When attachments are due; they are forgotten.
    pub fn check_text(&mut self) -> Result<(), Error> {
        match self.pending.take() {
            Some(_) => Err(Error::AttachmentsDue),
            None => Ok(()),
        }
    }

    /// Begins with a binary packet. Answers it at once when it announces no attachment.
    ///
    /// # Errors
    /// When attachments of an earlier packet are due, or this one's are too many, too large, or not named
    /// by placeholders once each. Nothing is held afterwards.
    pub fn begin(&mut self, packet: &Packet<'_>, limits: Limits) -> Result<Option<Assembled>, Error> {
        self.check_text()?;
        if packet.attachments > limits.attachments.min(ATTACHMENTS_MAX) {
            return Err(Error::TooManyAttachments);
        }
        let data = packet.data.ok_or(Error::BadPayload)?;
        if data.len() > limits.bytes {
            return Err(Error::TooLarge);
        }
        check_placeholders(data, packet.attachments)?;
        let assembled = Assembled {
            kind: packet.kind,
            namespace: packet.namespace.to_owned(),
            id: packet.id,
            data: data.to_owned(),
            attachments: Vec::with_capacity(packet.attachments),
        };
        if packet.attachments == 0 {
            return Ok(Some(assembled));
        }
        let bytes = data.len();
        self.pending = Some(Box::new(Pending { packet: assembled, due: packet.attachments, bytes }));
        Ok(None)
    }

    /// Takes one binary message. Answers the packet when it was the last that was due.
    ///
    /// # Errors
    /// When none is due, or the limit on bytes is exceeded. Nothing is held afterwards.
    pub fn attach(&mut self, bytes: &[u8], limits: Limits) -> Result<Option<Assembled>, Error> {
        let mut pending = self.pending.take().ok_or(Error::UnexpectedBinary)?;
        pending.bytes = pending.bytes.saturating_add(bytes.len());
        if pending.bytes > limits.bytes {
            return Err(Error::TooLarge);
        }
        pending.packet.attachments.push(bytes.to_vec());
        if pending.packet.attachments.len() == pending.due {
            return Ok(Some(pending.packet));
        }
        self.pending = Some(pending);
        Ok(None)
    }
}

/// Each of the `announced` attachments must be named by exactly one placeholder: more would let a few
/// bytes stand for many copies, fewer would hold what nobody can use.
fn check_placeholders(data: &str, announced: usize) -> Result<(), Error> {
    let mut found = Found { announced, named: 0, wrong: false };
    let mut json = serde_json::Deserializer::from_str(data);
    json.deserialize_any(Walk(&mut found)).map_err(|_| Error::BadJson)?;
    if found.wrong || found.named.count_ones() as usize != announced {
        return Err(Error::BadPlaceholder);
    }
    Ok(())
}

struct Found {
    announced: usize,
    /// One bit per attachment.
    named: u64,
    wrong: bool,
}

impl Found {
    fn name(&mut self, num: Option<u64>) {
        let bit =
            num.filter(|&num| num < self.announced as u64).and_then(|num| 1_u64.checked_shl(num as u32));
        match bit {
            Some(bit) if self.named & bit == 0 => self.named |= bit,
            _ => self.wrong = true,
        }
    }
}

const _: () = assert!(ATTACHMENTS_MAX <= u64::BITS as usize);

/// Descends into a value whose nesting was bounded before.
struct Walk<'f>(&'f mut Found);

/// As much of a value as its parent has to know.
enum Seen {
    True,
    Number(u64),
    Other,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Seen;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Seen, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = Seen;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Seen, E> {
        Ok(if value { Seen::True } else { Seen::Other })
    }

    fn visit_u64<E>(self, value: u64) -> Result<Seen, E> {
        Ok(Seen::Number(value))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Seen, E> {
        Ok(Seen::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Seen, E> {
        Ok(Seen::Other)
    }

    fn visit_str<E>(self, _: &str) -> Result<Seen, E> {
        Ok(Seen::Other)
    }

    fn visit_unit<E>(self) -> Result<Seen, E> {
        Ok(Seen::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Seen, A::Error> {
        while seq.next_element_seed(Walk(self.0))?.is_some() {}
        Ok(Seen::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Seen, A::Error> {
        let mut placeholder = false;
        let mut num = None;
        while let Some(key) = map.next_key_seed(KeySeed)? {
            let value = map.next_value_seed(Walk(self.0))?;
            match (key, value) {
                (Key::Placeholder, value) => placeholder = matches!(value, Seen::True),
                (Key::Num, Seen::Number(value)) => num = Some(value),
                (Key::Num, _) => num = None,
                (Key::Other, _) => {}
            }
        }
        if placeholder {
            self.0.name(num);
        }
        Ok(Seen::Other)
    }
}

enum Key {
    Placeholder,
    Num,
    Other,
}

struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Key, E> {
        Ok(match key {
            "_placeholder" => Key::Placeholder,
            "num" => Key::Num,
            _ => Key::Other,
        })
    }
}
