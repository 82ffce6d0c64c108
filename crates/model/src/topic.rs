//! Topics, the addressable logs that messages are appended to, and the numbers that order them.

use std::fmt;

use crate::name::{DeviceId, NameError, RoomName, UserId};

/// An addressable log within a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Everybody: `all`.
    All,
    /// All devices of a user: `user:<id>`.
    User(UserId),
    /// One device: `device:<id>`.
    Device(DeviceId),
    /// The devices in a room: `room:<name>`.
    Room(RoomName),
}

impl Topic {
    /// Reads a topic as clients and the API write it.
    ///
    /// # Errors
    /// `None` inside when the kind is none of the four, else what is wrong with the name.
    pub fn parse(text: &str) -> Result<Self, Option<NameError>> {
        if text == "all" {
            return Ok(Self::All);
        }
        let (kind, name) = text.split_once(':').ok_or(None)?;
        match kind {
            "user" => UserId::new(name).map(Self::User).map_err(Some),
            "device" => DeviceId::new(name).map(Self::Device).map_err(Some),
            "room" => RoomName::new(name).map(Self::Room).map_err(Some),
            _ => Err(None),
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::User(id) => write!(f, "user:{id}"),
            Self::Device(id) => write!(f, "device:{id}"),
            Self::Room(name) => write!(f, "room:{name}"),
        }
    }
}

/// Tells one life of a store from another. When a store is lost and begins anew, its offsets begin
/// anew too; the epoch differs, so nobody takes new offsets for old ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u32);

/// Where a message stands in a topic: the first message of a topic has offset 1, and each next one 1 more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// Which life of the store the offset belongs to.
    pub epoch: Epoch,
    /// 1 for the first message of the topic.
    pub offset: u64,
}

/// The order of messages in a namespace, across its topics: 1 for the first, never reused, with gaps
/// allowed. It orders; it does not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

impl Seq {
    /// The number after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A device's small number in its namespace, for bitmaps. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ordinal(pub u32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_read_back_what_they_print() {
        for text in ["all", "user:ann", "device:d-1", "room:lobby", "room:a:b"] {
            assert_eq!(Topic::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "lobby", "team:x"] {
            assert_eq!(Topic::parse(text), Err(None), "{text}");
        }
        assert_eq!(Topic::parse("room:"), Err(Some(NameError::Empty)));
    }
}
