//! `presence` of a namespace: what the members of a room are told of each other.

use serde::{Deserialize, Serialize};
use tidings_node::namespace::Presence;
use utoipa::ToSchema;

use crate::shape::Shape;

/// What it looks like in a request.
pub(super) const SHAPE: Shape = Shape::Object(&[("notify", Shape::Flag)]);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PresenceBody {
    notify: Option<bool>,
}

impl PresenceBody {
    /// Nothing that has the right shape can be wrong with it.
    pub(super) fn read(&self) -> Presence {
        Presence { notify: self.notify.unwrap_or_default() }
    }
}

/// What the members of a room are told of each other.
#[derive(Serialize, ToSchema)]
#[schema(as = NamespacePresence)]
pub(super) struct PresenceShown {
    /// Whether they are told who joins and leaves, and who comes online and goes.
    notify: bool,
}

impl PresenceShown {
    pub(super) fn of(presence: &Presence) -> Self {
        Self { notify: presence.notify }
    }
}
