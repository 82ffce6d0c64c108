//! What a client may do, as its token or the connect hook says. In an open namespace there is no permit, and it may do everything.

use std::fmt;

use serde::{Deserialize, Serialize};
use tidings_model::{DeviceId, NameError, Platform, RoomName, Timestamp, UserId};

/// Longest `meta` of a client, in bytes of JSON.
pub const META_BYTES_MAX: usize = 4 << 10;

/// What a client may do, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    /// Who it is.
    pub user: UserId,
    /// The device that it is on, if that is said.
    pub device: Option<DeviceId>,
    /// What it is, if that is said.
    pub platform: Option<Platform>,
    /// The rooms that it joins when it connects.
    pub rooms: Vec<RoomName>,
    /// The rooms that it may join.
    pub join: Vec<Pattern>,
    /// The rooms that it may publish to.
    pub publish: Vec<Pattern>,
    /// The rooms whose members it may see; those that it is in, where that is `None`.
    pub presence: Option<Vec<Pattern>>,
    /// What the business system wants to be told of it again: JSON.
    pub meta: Option<String>,
    /// When all of this ends; never, where a connect hook does not say.
    pub expires_at: Timestamp,
    /// The id of the token that says so (`jti`), if it has one.
    pub jti: Option<Box<str>>,
    /// When that was issued; the beginning of time, when it does not say.
    pub issued_at: Timestamp,
}

impl Permit {
    /// Whether it may join this room.
    #[must_use]
    pub fn may_join(&self, room: &RoomName) -> bool {
        self.rooms.contains(room) || self.join.iter().any(|pattern| pattern.fits(room.as_str()))
    }

    /// Whether it may see who is in this room, where it is `in_it` itself or not.
    #[must_use]
    pub fn may_see(&self, room: &RoomName, in_it: bool) -> bool {
        match &self.presence {
            None => in_it,
            Some(patterns) => patterns.iter().any(|pattern| pattern.fits(room.as_str())),
        }
    }

    /// Whether it may publish to this room.
    #[must_use]
    pub fn may_publish(&self, room: &RoomName) -> bool {
        self.publish.iter().any(|pattern| pattern.fits(room.as_str()))
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        now >= self.expires_at
    }
}

/// The names of some rooms: a text in which each `*` stands for any characters, or none.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(String);

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// When it is none: what is no name fits none.
    pub fn new(text: &str) -> Result<Self, NameError> {
        RoomName::new(text).map(|_| Self(text.to_owned()))
    }

    /// Whether a name is one of those that are meant. Takes a time like the product of both lengths at most.
    #[must_use]
    pub fn fits(&self, name: &str) -> bool {
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut at, mut seen) = (0, 0);
        // Where the last star was, and how far it reaches by now.
        let mut star: Option<(usize, usize)> = None;
        while seen < name.len() {
            if pattern.get(at) == Some(&b'*') {
                star = Some((at, seen));
                at += 1;
            } else if pattern.get(at) == Some(&name[seen]) {
                at += 1;
                seen += 1;
            } else if let Some((back, reach)) = star {
                star = Some((back, reach + 1));
                at = back + 1;
                seen = reach + 1;
            } else {
                return false;
            }
        }
        pattern[at..].iter().all(|byte| *byte == b'*')
    }
}

impl TryFrom<String> for Pattern {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(&text)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.0
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_fit() {
        for (pattern, name, fits) in [
            ("lobby", "lobby", true),
            ("lobby", "lobby2", false),
            ("*", "anything", true),
            ("score.*", "score.7", true),
            ("score.*", "score.", true),
            ("score.*", "score", false),
            ("*-room", "big-room", true),
            ("*-room", "big-rooms", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "acb", false),
            ("a**", "a", true),
            ("组*", "组一", true),
        ] {
            assert_eq!(Pattern::new(pattern).unwrap().fits(name), fits, "{pattern} {name}");
        }
        for bad in ["", "a\nb", &"x".repeat(256)] {
            assert!(Pattern::new(bad).is_err(), "{bad:?}");
        }
    }

    /// The same, in a way that is easier to believe.
    fn fits_slowly(pattern: &[u8], name: &[u8]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some((b'*', rest)) => (0..=name.len()).any(|taken| fits_slowly(rest, &name[taken..])),
            Some((byte, rest)) => name.first() == Some(byte) && fits_slowly(rest, &name[1..]),
        }
    }

    proptest! {
        #[test]
        fn a_pattern_fits_what_its_stars_can_stand_for(pattern in "[ab*]{1,8}", name in "[ab]{0,10}") {
            let expected = fits_slowly(pattern.as_bytes(), name.as_bytes());
            prop_assert_eq!(Pattern::new(&pattern).unwrap().fits(&name), expected);
        }
    }
}
