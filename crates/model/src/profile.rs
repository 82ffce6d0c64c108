//! What is kept of a device besides who it is: tags, metadata, tokens for phone push, and when it is to be left alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::{RoomName, Tag, Timestamp};

/// What is kept of a device besides who it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// What the business system has put on it.
    pub tags: BTreeSet<Tag>,
    /// Anything else: the JSON text of an object, or nothing.
    pub metadata: String,
    /// How its vendors reach it, one token for each.
    pub tokens: BTreeMap<Vendor, VendorToken>,
    /// The rooms that do not wake it, each until when; for ever where that is `None`.
    pub muted: BTreeMap<RoomName, Option<Timestamp>>,
    /// When nothing is to wake it.
    pub quiet: Quiet,
}

/// When nothing is to wake a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quiet {
    /// Until this time.
    pub until: Option<Timestamp>,
    /// And in these hours of every day.
    pub windows: Vec<Window>,
}

/// Hours of every day. What ends before it begins goes over midnight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first minute, counted from midnight.
    pub from: u16,
    /// The minute at which it is over.
    pub to: u16,
    /// Where it is that time.
    pub zone: Zone,
}

/// Minutes in a day.
pub const DAY_MINUTES: u16 = 24 * 60;

/// A time zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Zone {
    /// So many minutes east of Greenwich.
    Offset(i16),
    /// By its name in the IANA database.
    Named(Arc<str>),
}

/// Whose phone push a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Vendor {
    /// Apple.
    Apns = 0,
    /// Google.
    Fcm = 1,
    /// Browsers.
    WebPush = 2,
}

impl Vendor {
    /// All of them, at the index that their discriminant says.
    pub const ALL: [Self; 3] = [Self::Apns, Self::Fcm, Self::WebPush];

    /// The name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Apns => "apns",
            Self::Fcm => "fcm",
            Self::WebPush => "webpush",
        }
    }

    /// The vendor of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|vendor| vendor.as_str() == name)
    }
}

/// What a vendor reaches a device by: JSON text, a string or an object, which only the vendor's provider reads. Not to be seen
/// in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct VendorToken(pub String);

impl fmt::Debug for VendorToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Profile {
    /// Whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The same without what is over.
    #[must_use]
    pub fn current(mut self, now: Timestamp) -> Self {
        self.muted.retain(|_, until| until.is_none_or(|until| until > now));
        self.quiet.until = self.quiet.until.filter(|until| *until > now);
        self
    }

    /// Whether a room is muted now, and until when: `Some(None)` is for ever.
    #[must_use]
    pub fn mutes(&self, room: &RoomName, now: Timestamp) -> Option<Option<Timestamp>> {
        self.muted.get(room).copied().filter(|until| until.is_none_or(|until| until > now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_goes() {
        let room = |name: &str| RoomName::new(name).unwrap();
        let profile = Profile {
            muted: [(room("a"), None), (room("b"), Some(Timestamp(5))), (room("c"), Some(Timestamp(6)))]
                .into(),
            quiet: Quiet { until: Some(Timestamp(5)), windows: Vec::new() },
            ..Profile::default()
        };
        for (now, muted, quiet) in [(4, "abc", true), (5, "ac", false), (6, "a", false)] {
            let left = profile.clone().current(Timestamp(now));
            assert_eq!(left.muted.keys().map(RoomName::as_str).collect::<String>(), muted, "{now}");
            assert_eq!(left.quiet.until.is_some(), quiet, "{now}");
            for name in ["a", "b", "c"] {
                assert_eq!(profile.mutes(&room(name), Timestamp(now)).is_some(), muted.contains(name));
            }
        }
        assert!(!profile.is_empty() && Profile::default().is_empty());
    }

    #[test]
    fn vendors_stand_at_their_index() {
        for (index, vendor) in Vendor::ALL.into_iter().enumerate() {
            assert_eq!((vendor as usize, Vendor::parse(vendor.as_str())), (index, Some(vendor)));
        }
        assert_eq!(format!("{:?}", VendorToken("secret".to_owned())), "***");
    }
}
