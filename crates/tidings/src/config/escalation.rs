//! What happens when a device gives no receipt in time.

use std::path::PathBuf;

use super::layers::Layers;
use super::{Key, Section};

pub(super) const SECTION: Section = Section {
    name: "escalation",
    doc: "What happens when a device gives no receipt in time. How long that is, a namespace (`offline.escalate_after`) or \
        a push says.",
    keys: &[Key {
        name: "escalation.record_to",
        default: "",
        allowed: "a path; nothing for none",
        doc: "A file to which whoever would be woken is written, a line of JSON for each attempt: a provider for tests and \
            development, which accepts everybody.",
        flag: "",
        secret: false,
    }],
};

/// What happens when a device gives no receipt in time.
#[derive(Debug)]
pub(crate) struct Escalation {
    /// Where attempts are written down.
    pub(crate) record_to: Option<PathBuf>,
}

impl Escalation {
    pub(super) fn resolve(layers: &mut Layers) -> Self {
        let record_to = layers.take("escalation.record_to", |text| Ok(text.to_owned()));
        Self { record_to: Some(PathBuf::from(record_to)).filter(|path| !path.as_os_str().is_empty()) }
    }
}
