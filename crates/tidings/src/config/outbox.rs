//! How much may wait for one connection.

use tidings_model::limit::{OUTBOX_BYTES, OUTBOX_FRAMES};

use super::layers::Layers;
use super::{Key, Section, value};

pub(super) const SECTION: Section = Section {
    name: "outbox",
    doc: "What waits for a connection that reads more slowly than it is written to. What happens at either bound is \
        the namespace's to say (`outbox.when_full`): the connection is closed with a code that asks it to reconnect, \
        and it then gets what it missed (the default); or what waits makes room for what is newer. A namespace may \
        have bounds of its own.",
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
        Key {
            name: "outbox.unsent",
            default: "64KiB",
            allowed: "a size from 16KiB to 16MiB",
            doc: "How much the kernel may hold for a connection and not have sent yet (TCP_NOTSENT_LOWAT), before more \
                waits here. What is on its way to the client does not count, so distance costs no throughput.",
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
    /// Most that the kernel has not sent, in bytes.
    pub(crate) unsent: u32,
}

impl Outbox {
    pub(super) fn resolve(layers: &mut Layers) -> Self {
        let size = |text: &str| value::size(text, OUTBOX_BYTES).map(|bytes| bytes as usize);
        Self {
            frames: layers.take("outbox.frames", |text| value::number(text, OUTBOX_FRAMES)),
            size: layers.take("outbox.size", size),
            unsent: layers.take("outbox.unsent", |text| {
                value::size(text, 16 << 10..=16 << 20).map(|bytes| bytes as u32)
            }),
        }
    }
}
