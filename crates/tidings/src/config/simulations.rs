//! Whether faults may be simulated.

use super::layers::Layers;
use super::{Key, Section, value};

pub(super) const SECTION: Section = Section {
    name: "simulations",
    doc: "Faults on purpose, for whoever tests how a client recovers: messages lost, late, doubled or out of order, connections \
        that end. Whoever has a key of a namespace may ask for them.",
    keys: &[Key {
        name: "simulations.enabled",
        default: "false",
        allowed: "true or false",
        doc: "Whether `POST …/simulations` does anything. With `--dev` it does.",
        flag: "",
        secret: false,
    }],
};

/// Whether faults may be simulated.
#[derive(Debug)]
pub(crate) struct Simulations {
    /// Whether they may.
    pub(crate) enabled: bool,
}

impl Simulations {
    pub(super) fn resolve(layers: &mut Layers) -> Self {
        Self { enabled: layers.take("simulations.enabled", value::switch) }
    }
}
