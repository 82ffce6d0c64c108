//! How much may wait for one connection.

use super::layers::Layers;
use super::{Key, Section, value};

pub(super) const SECTION: Section = Section {
    name: "outbox",
    doc: "What waits for a connection that reads more slowly than it is written to. At either bound it is closed \
        with a code that asks it to reconnect; it then gets what it missed.",
    keys: &[
        Key {
            name: "outbox.frames",
            default: "1024",
            allowed: "16 to 1000000",
            doc: "Most messages.",
            flag: "",
            secret: false,
        },
        Key {
            name: "outbox.size",
            default: "1MiB",
            allowed: "a size from 64KiB to 1GiB",
            doc: "Most bytes.",
            flag: "",
            secret: false,
        },
    ],
};

/// How much may wait for one connection.
#[derive(Debug)]
pub(crate) struct Outbox {
    pub(crate) frames: usize,
    /// In bytes.
    pub(crate) size: usize,
}

impl Outbox {
    pub(super) fn resolve(layers: &mut Layers) -> Self {
        let size = |text: &str| value::size(text, 64 << 10..=1 << 30).map(|bytes| bytes as usize);
        Self {
            frames: layers.take("outbox.frames", |text| value::number(text, 16..=1_000_000)),
            size: layers.take("outbox.size", size),
        }
    }
}
