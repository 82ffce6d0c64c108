//! What holds for the whole process.

use tidings_hub::directory::SHARDS_MAX;

use super::layers::Layers;
use super::{Key, Section, value};

/// Shortest admin key, in characters: nobody guesses it.
const KEY_MIN: usize = 16;

/// Longest admin key, in characters.
const KEY_MAX: usize = 256;

pub(super) const SECTION: Section = Section {
    name: "",
    doc: "What holds for the whole process.",
    keys: &[
        Key {
            name: "shards",
            default: "0",
            allowed: "0 to 64; 0 means one for each core",
            doc: "How many threads own the connections of clients.",
            flag: "",
            secret: false,
        },
        Key {
            name: "admin_key",
            default: "",
            allowed: "16 to 256 printable characters without spaces",
            doc: "The key that may do everything. Without it, the first start makes one up and prints it once. \
                When it is set, it replaces the one before.",
            flag: "",
            secret: true,
        },
    ],
};

/// What holds for the whole process.
#[derive(Debug)]
pub(crate) struct Process {
    /// How many shards: one or more.
    pub(crate) shards: usize,
    /// The admin key, and where it was given.
    pub(crate) admin_key: Option<(String, String)>,
}

impl Process {
    pub(super) fn resolve(layers: &mut Layers) -> Self {
        let shards = layers.take("shards", |text| value::number(text, 0..=SHARDS_MAX));
        let cores = std::thread::available_parallelism().map_or(1, usize::from).min(SHARDS_MAX);
        let key = layers.take("admin_key", |text| match text {
            "" => Ok(None),
            text => admin_key(text).map(Some),
        });
        let origin = layers.origin("admin_key").unwrap_or_default().to_owned();
        Self { shards: if shards == 0 { cores } else { shards }, admin_key: key.map(|key| (key, origin)) }
    }
}

fn admin_key(text: &str) -> Result<String, String> {
    if (KEY_MIN..=KEY_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    Err(format!("must be {KEY_MIN} to {KEY_MAX} printable characters without spaces"))
}
