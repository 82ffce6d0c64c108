//! Who a push is for.

use std::fmt;

use crate::name::{DeviceId, RoomName, UserId};

/// What kind of client a device is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Platform {
    /// A browser.
    Web = 0,
    /// An Android app.
    Android = 1,
    /// An iOS app.
    Ios = 2,
    /// A desktop program.
    Desktop = 3,
    /// Anything else, and what did not say.
    #[default]
    Other = 4,
}

impl Platform {
    /// Every platform, at the index that its discriminant says.
    pub const ALL: [Self; 5] = [Self::Web, Self::Android, Self::Ios, Self::Desktop, Self::Other];

    /// The name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::Android => "android",
            Self::Ios => "ios",
            Self::Desktop => "desktop",
            Self::Other => "other",
        }
    }

    /// Reads the name in the API, in any case; `None` for a text that is no platform.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|platform| platform.as_str().eq_ignore_ascii_case(text))
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who is meant: the sets are united, then filtered by platform.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Everybody in the namespace.
    pub all: bool,
    /// Users, each with all of their devices.
    pub users: Vec<UserId>,
    /// Single devices.
    pub devices: Vec<DeviceId>,
    /// Rooms, each with the devices that are in it.
    pub rooms: Vec<RoomName>,
    /// Only devices on these platforms; empty means every platform.
    pub platforms: Vec<Platform>,
}

impl Target {
    /// Whether the target names nobody at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.all && self.users.is_empty() && self.devices.is_empty() && self.rooms.is_empty()
    }

    /// The user that it names, if it names nobody else: whatever is meant then is a device of this user, or was one.
    #[must_use]
    pub fn only_user(&self) -> Option<&UserId> {
        let others = self.all || !self.devices.is_empty() || !self.rooms.is_empty();
        if let ([user], false) = (&self.users[..], others) { Some(user) } else { None }
    }
}

/// Who is not meant although the target names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Except {
    /// Users, with all of their devices.
    pub users: Vec<UserId>,
    /// Single devices.
    pub devices: Vec<DeviceId>,
    /// The devices that are in these rooms.
    pub rooms: Vec<RoomName>,
    /// The devices behind these connections, by connection id.
    pub connections: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_stand_at_their_index_and_read_in_any_case() {
        for (index, platform) in Platform::ALL.into_iter().enumerate() {
            assert_eq!(platform as usize, index);
            assert_eq!(Platform::parse(&platform.as_str().to_uppercase()), Some(platform));
        }
        assert_eq!(Platform::parse("toaster"), None);
    }
}
