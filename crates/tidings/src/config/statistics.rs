//! For how long statistics are kept.

use std::time::Duration;

use tidings_node::statistics::Keep;

use super::layers::Layers;
use super::{Key, Section, value};

pub(super) const SECTION: Section = Section {
    name: "statistics",
    doc: "For how long `GET …/stats` can look back. A row takes some hundred bytes, and there is one only where something \
        happened or somebody was connected.",
    keys: &[
        Key {
            name: "statistics.keep_minutes",
            default: "2d",
            allowed: "a duration from 1h to 366d",
            doc: "How long there are numbers for each minute.",
            flag: "",
            secret: false,
        },
        Key {
            name: "statistics.keep_hours",
            default: "60d",
            allowed: "a duration from 1d to 3660d",
            doc: "How long there are numbers for each hour.",
            flag: "",
            secret: false,
        },
        Key {
            name: "statistics.keep_days",
            default: "1825d",
            allowed: "a duration from 2d to 36600d",
            doc: "How long there are numbers for each day.",
            flag: "",
            secret: false,
        },
    ],
};

/// For how long statistics are kept.
#[derive(Debug)]
pub(crate) struct Statistics {
    /// How long the rows of each granularity are.
    pub(crate) keep: Keep,
}

impl Statistics {
    pub(super) fn resolve(layers: &mut Layers) -> Self {
        const HOUR: Duration = Duration::from_secs(3_600);
        let mut time = |key, from, to| layers.take(key, |text| value::time(text, HOUR * from..=HOUR * to));
        Self {
            keep: Keep {
                minutes: time("statistics.keep_minutes", 1, 366 * 24),
                hours: time("statistics.keep_hours", 24, 3_660 * 24),
                days: time("statistics.keep_days", 48, 36_600 * 24),
            },
        }
    }
}
