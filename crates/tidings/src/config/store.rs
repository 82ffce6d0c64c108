//! What survives, and where.

use std::path::PathBuf;

use super::layers::Layers;
use super::{Key, Section, value};

pub(super) const SECTION: Section = Section {
    name: "store",
    doc: "What survives a restart.",
    keys: &[
        Key {
            name: "store.path",
            default: "./tidings-data",
            allowed: "a directory; it is made when it is not there",
            doc: "Where everything is kept. One process at a time.",
            flag: "--store",
            secret: false,
        },
        Key {
            name: "store.cache",
            default: "64MiB",
            allowed: "a size from 1MiB to 1024GiB",
            doc: "Memory for caching what is read.",
            flag: "",
            secret: false,
        },
    ],
};

/// What survives, and where.
#[derive(Debug)]
pub(crate) struct Store {
    /// The directory.
    pub(crate) path: PathBuf,
    /// Memory for caching, in bytes.
    pub(crate) cache: u64,
}

impl Store {
    pub(super) fn resolve(layers: &mut Layers) -> Self {
        Self {
            path: layers.take("store.path", |text| match text {
                "" => Err("must be a directory".to_owned()),
                path => Ok(PathBuf::from(path)),
            }),
            cache: layers.take("store.cache", |text| value::size(text, 1 << 20..=1 << 40)),
        }
    }
}
