//! Names: of namespaces, hooks, users, devices, rooms, events, messages and notices.
//!
//! A value of one of these types has been checked; nothing behind the edge checks again. Clones share
//! the text.

use std::fmt;
use std::sync::Arc;

use crate::limit::{COLLAPSE_KEY_BYTES_MAX, NAME_BYTES_MAX, NAMESPACE_BYTES_MAX, TAG_BYTES_MAX};
use crate::{Seq, Timestamp, ulid};

/// Why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameError {
    /// It has no characters.
    Empty,
    /// It has more bytes than the limit.
    TooLong {
        /// Its length in bytes.
        bytes: usize,
        /// The most that is allowed.
        limit: usize,
    },
    /// It has a control character (or a line or paragraph separator) at this byte.
    ControlCharacter {
        /// Byte offset of the character.
        at: usize,
    },
    /// A namespace or a hook has a character outside `[a-z0-9_-]`, or starts with `_` or `-`.
    NotNamespace {
        /// Byte offset of the character.
        at: usize,
    },
    /// An event has a name that some client version keeps for itself.
    Reserved,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("must not be empty"),
            Self::TooLong { bytes, limit } => write!(f, "has {bytes} bytes, at most {limit} are allowed"),
            Self::ControlCharacter { at } => write!(f, "has a control character at byte {at}"),
            Self::NotNamespace { at } => {
                write!(f, "must match [a-z0-9][a-z0-9_-]{{0,49}}, but does not at byte {at}")
            }
            Self::Reserved => f.write_str(
                "is reserved by clients or by the server (connect*, disconnect*, error, reconnect*, ping, pong, newListener, removeListener, ready, goaway, dropped, recall, presence, joined, left, room)",
            ),
        }
    }
}

impl std::error::Error for NameError {}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident => $check:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text` and takes it.
            ///
            /// # Errors
            /// [`NameError`] says what is wrong with the text.
            pub fn new(text: &str) -> Result<Self, NameError> {
                $check(text)?;
                Ok(Self(text.into()))
            }

            /// The text of the name.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }
    )*};
}

names! {
    /// The name of a namespace: `[a-z0-9][a-z0-9_-]{0,49}`.
    NamespaceName => check_namespace;
    /// The name of a hook of a namespace: `[a-z0-9][a-z0-9_-]{0,49}`.
    HookName => check_namespace;
    /// What a key of a namespace is called: 1–255 bytes, no control characters.
    KeyName => check_printable;
    /// A person's id, chosen by the business system: 1–255 bytes, no control characters.
    UserId => check_printable;
    /// The id of an installation or browser profile: 1–255 bytes, no control characters.
    DeviceId => check_printable;
    /// The name of a room: 1–255 bytes, no control characters.
    RoomName => check_printable;
    /// The id of a message: the caller's, or one made up by the node. 1–255 bytes, no control characters.
    MessageId => check_printable;
    /// The id of something that hooks are told: 1–255 bytes, no control characters.
    NoticeId => check_printable;
    /// What a newer message has in common with an older one that it replaces: 1–64 bytes, no control characters.
    CollapseKey => check_collapse_key;
    /// What the business system puts on devices to find them by: 1–64 bytes, no control characters.
    Tag => check_tag;
    /// The name of an event as clients see it: 1–255 bytes, no control characters, not reserved.
    EventName => check_event;
}

fn check_printable(text: &str) -> Result<(), NameError> {
    check_text(text, NAME_BYTES_MAX)
}

fn check_collapse_key(text: &str) -> Result<(), NameError> {
    check_text(text, COLLAPSE_KEY_BYTES_MAX)
}

fn check_tag(text: &str) -> Result<(), NameError> {
    check_text(text, TAG_BYTES_MAX)
}

fn check_text(text: &str, limit: usize) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > limit {
        return Err(NameError::TooLong { bytes: text.len(), limit });
    }
    // U+2028 and U+2029 end lines in JavaScript source and in many log viewers.
    let control = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}');
    match text.char_indices().find(|(_, c)| control(*c)) {
        Some((at, _)) => Err(NameError::ControlCharacter { at }),
        None => Ok(()),
    }
}

fn check_namespace(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > NAMESPACE_BYTES_MAX {
        return Err(NameError::TooLong { bytes: text.len(), limit: NAMESPACE_BYTES_MAX });
    }
    let allowed = |at: usize, b: u8| {
        b.is_ascii_lowercase() || b.is_ascii_digit() || (at > 0 && matches!(b, b'_' | b'-'))
    };
    match text.bytes().enumerate().find(|&(at, b)| !allowed(at, b)) {
        Some((at, _)) => Err(NameError::NotNamespace { at }),
        None => Ok(()),
    }
}

/// How many bits of an id that the store makes are the number of its message; the others follow them.
const NUMBER_BITS: u32 = 48;

/// Bits behind the number: who makes an id brings them, so that two stores do not make the same one.
const SALT_BITS: u32 = 32;

impl MessageId {
    /// The id of a message that its caller has given none: a ULID of the time, the lowest 48 bits of its number, and `salt`.
    /// The message can be found by what is in the id.
    #[must_use]
    pub fn made(at: Timestamp, seq: Seq, salt: u32) -> Self {
        let number = seq.0 & ((1 << NUMBER_BITS) - 1);
        Self(ulid::encode(at, u128::from(number) << SALT_BITS | u128::from(salt)).into())
    }

    /// The number of the message, if the id was [made](MessageId::made) for it. Anybody can choose an id that looks like it.
    #[must_use]
    pub fn number(&self) -> Option<Seq> {
        ulid::decode(&self.0).map(|(_, low)| Seq((low >> SALT_BITS) as u64))
    }
}

/// The event under which clients are told that a message was recalled. No push may use it.
pub const RECALL_EVENT: &str = "recall";

impl EventName {
    /// The event of what announces a recall.
    #[must_use]
    pub fn recall() -> Self {
        Self(RECALL_EVENT.into())
    }

    /// An event as it is stored: one that a push may have, or one of ours.
    ///
    /// # Errors
    /// [`NameError`] says what is wrong with the text.
    pub fn stored(text: &str) -> Result<Self, NameError> {
        if text == RECALL_EVENT { Ok(Self::recall()) } else { Self::new(text) }
    }
}

fn check_event(text: &str) -> Result<(), NameError> {
    check_printable(text)?;
    // The clients compare exactly; prefixes are refused because each major version added its own
    // (`connect_error`, `reconnect_attempt`, `disconnecting`, …).
    let reserved = text.starts_with("connect")
        || text.starts_with("disconnect")
        || text.starts_with("reconnect")
        || matches!(text, "error" | "ping" | "pong" | "newListener" | "removeListener")
        // Ours: a client could not tell them from what the server says of itself.
        || matches!(text, "ready" | "goaway" | "dropped" | RECALL_EVENT | "presence" | "joined" | "left" | "room");
    if reserved { Err(NameError::Reserved) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_match_their_pattern() {
        for good in ["a", "0", "demo", "my-app_2", &"x".repeat(50)] {
            assert!(NamespaceName::new(good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("", NameError::Empty),
            ("Demo", NameError::NotNamespace { at: 0 }),
            ("-a", NameError::NotNamespace { at: 0 }),
            ("a/b", NameError::NotNamespace { at: 1 }),
            (&"x".repeat(51), NameError::TooLong { bytes: 51, limit: 50 }),
        ] {
            assert_eq!(NamespaceName::new(bad), Err(why), "{bad}");
        }
    }

    #[test]
    fn names_are_printable_and_bounded() {
        for good in ["a", "Ann Lee", "用户", "a/b#c$", &"é".repeat(127)] {
            assert!(UserId::new(good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("", NameError::Empty),
            ("a\nb", NameError::ControlCharacter { at: 1 }),
            ("a\u{2028}", NameError::ControlCharacter { at: 1 }),
            (&"x".repeat(256), NameError::TooLong { bytes: 256, limit: 255 }),
        ] {
            assert_eq!(UserId::new(bad), Err(why), "{bad:?}");
        }
    }

    #[test]
    fn an_id_that_was_made_has_the_number_of_its_message() {
        let id = |at, seq, salt| MessageId::made(Timestamp(at), Seq(seq), salt);
        for (at, seq, salt) in [(0, 0, 0), (1_000, 1, u32::MAX), (1_764_500_000_000, (1 << 48) - 1, 7)] {
            assert_eq!(id(at, seq, salt).number(), Some(Seq(seq)));
        }
        let ids = [id(1, 9, 9), id(2, 1, 9), id(2, 2, 0), id(2, 2, 1)];
        assert!(ids.is_sorted() && ids.windows(2).all(|pair| pair[0] != pair[1]), "{ids:?}");
        assert_eq!(MessageId::new("order-17").unwrap().number(), None);
    }

    #[test]
    fn events_leave_the_clients_own_names_alone() {
        for good in ["push", "order.shipped", "pinged", "errors"] {
            assert!(EventName::new(good).is_ok(), "{good}");
        }
        for bad in [
            "connect",
            "connect_error",
            "disconnecting",
            "reconnect_attempt",
            "error",
            "ping",
            "newListener",
            "ready",
            "goaway",
            "dropped",
        ] {
            assert_eq!(EventName::new(bad), Err(NameError::Reserved), "{bad}");
        }
    }
}
