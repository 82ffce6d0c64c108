//! What light-push had that nothing else here has: callbacks that a namespace's clients are let in by, what it says of a device,
//! and who is near. Its clients and its backends (see the contracts of the older systems) come by this.
//!
//! Reading order: [`kept`] (what a namespace has set), `callback` (the business system is asked and told),
//! `entering` (nobody is here twice), `record` (a device in
//! light-push's words), `near` (who is near).

mod callback;
mod entering;
pub mod kept;
mod near;
mod record;

use arc_swap::ArcSwap;
use tidings_model::{RoomName, Seq};
use tidings_store::StoreError;

pub use callback::{Caller, Vouched, is_callback};
pub use entering::Entering;
pub use kept::Kept;
pub(crate) use kept::{PREFIX, load};
pub use near::NEAR_MAX;
pub use record::{FIELDS, SetError};

use crate::{Namespace, Node};

/// What a namespace has of light-push in memory.
#[derive(Debug, Default)]
pub(crate) struct OfNamespace {
    pub(crate) kept: ArcSwap<Kept>,
    asks: callback::Turns,
    tells: callback::Turns,
    door: entering::Door,
    pub(crate) places: near::Places,
}

/// A room as it is kept: without one `room_` before it, however that is written.
fn room_name(room: &str) -> Option<RoomName> {
    let bare = match room.get(..5) {
        Some(prefix) if prefix.eq_ignore_ascii_case("room_") => room.get(5..).unwrap_or_default(),
        Some(_) | None => room,
    };
    RoomName::new(bare).ok()
}

impl Node {
    /// The message with this number, by which light-push's backends know it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn message_by_number(
        &self,
        namespace: &Namespace,
        seq: Seq,
    ) -> Result<Option<std::sync::Arc<tidings_model::Message>>, StoreError> {
        Ok(self.store.messages(&namespace.name, vec![seq]).await?.into_iter().flatten().next())
    }
}
