//! When new clients are asked to come back later.

use std::time::Duration;

use super::layers::Layers;
use super::{Key, Section, value};

pub(super) const SECTION: Section = Section {
    name: "overload",
    doc: "When new clients are asked to come back later, with 503 and `Retry-After`. Clients that are here, and what is \
        published, come first.",
    keys: &[
        Key {
            name: "overload.lag",
            default: "250ms",
            allowed: "a duration from 10ms to 1m",
            doc: "How late a shard may be for what is due. A shard that is later takes no new clients until it has been \
                half as late, or less, for half a second.",
            flag: "",
            secret: false,
        },
        Key {
            name: "overload.memory",
            default: "0B",
            allowed: "a size; 0B means nine tenths of what the control group of the process may use, if that is limited",
            doc: "How much memory the process may use while it lets new clients in.",
            flag: "",
            secret: false,
        },
    ],
};

/// When new clients are asked to come back later.
#[derive(Debug)]
pub(crate) struct Overload {
    /// How late a shard may be.
    pub(crate) lag: Duration,
    /// How much memory the process may use, in bytes; 0 for what its control group says.
    pub(crate) memory: u64,
}

impl Overload {
    pub(super) fn resolve(layers: &mut Layers) -> Self {
        Self {
            lag: layers.take("overload.lag", |text| {
                value::time(text, Duration::from_millis(10)..=Duration::from_secs(60))
            }),
            memory: layers.take("overload.memory", |text| value::size(text, 0..=u64::MAX)),
        }
    }
}
