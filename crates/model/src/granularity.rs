//! How long the intervals of statistics are. They begin where minutes, hours and days do in UTC.

use crate::Timestamp;

/// How long an interval of statistics is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Granularity {
    /// A minute.
    Minute = 0,
    /// An hour.
    Hour = 1,
    /// A day.
    Day = 2,
}

impl Granularity {
    /// All of them, at the index that their discriminant says.
    pub const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    /// The name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    /// The one with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == name)
    }

    /// How many milliseconds it has.
    #[must_use]
    pub const fn ms(self) -> u64 {
        match self {
            Self::Minute => 60_000,
            Self::Hour => 3_600_000,
            Self::Day => 86_400_000,
        }
    }

    /// When the interval with this moment in it began.
    #[must_use]
    pub const fn start_of(self, at: Timestamp) -> Timestamp {
        Timestamp(at.0 - at.0 % self.ms())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_begin_with_the_clock() {
        let at = Timestamp(2 * 86_400_000 + 3 * 3_600_000 + 4 * 60_000 + 5);
        for (index, (granularity, name, start)) in [
            (Granularity::Minute, "minute", at.0 - 5),
            (Granularity::Hour, "hour", at.0 - 5 - 4 * 60_000),
            (Granularity::Day, "day", 2 * 86_400_000),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(granularity as usize, index);
            assert_eq!(Granularity::parse(name), Some(granularity));
            assert_eq!(granularity.start_of(at), Timestamp(start));
            assert_eq!(granularity.start_of(Timestamp(start)), Timestamp(start));
        }
        assert_eq!(Granularity::parse("week"), None);
    }
}
