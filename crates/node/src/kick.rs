//! Sending clients away: those of a user, perhaps to stay away for a while; or everybody, when a namespace is suspended.

use std::sync::Arc;
use std::time::Duration;

use tidings_model::{Ordinal, UserId};
use tidings_store::StoreError;

use crate::block::{BlockError, NewBlock, Whom};
use crate::namespace::{Changing, Settings};
use crate::{Namespace, Node};

/// Longest time that a user can be kept away when it is sent away.
pub const BLOCK_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);

impl Node {
    /// Ends the connections of a user. With `block` it is kept away for so long; zero ends an earlier block. Answers how
    /// many connections there were.
    ///
    /// # Errors
    /// [`BlockError`]; nobody was sent away then.
    pub async fn kick(
        self: &Arc<Self>,
        namespace: &Arc<Namespace>,
        user: &UserId,
        block: Option<Duration>,
    ) -> Result<u64, BlockError> {
        let devices: Vec<Ordinal> =
            self.devices_of_user(namespace, user).await?.iter().map(|device| device.ordinal).collect();
        let ordinals = devices.iter().map(|device| device.0).collect();
        let connections = namespace.directory().connections_of(&ordinals);
        let whom = Whom::User(user.clone());
        match block {
            None => {
                self.end_connections(namespace, &devices).await;
            }
            Some(Duration::ZERO) => {
                if let Some(block) = self.block_of(namespace, &whom) {
                    self.unblock(namespace, &block.id).await?;
                }
                self.end_connections(namespace, &devices).await;
            }
            Some(lasts) => {
                let reason = "sent away for a while".to_owned();
                self.block(namespace, NewBlock { whom, reason, lasts: Some(lasts) }).await?;
            }
        }
        Ok(connections)
    }

    /// Suspends a namespace, or lets it go on. Suspended, it refuses pushes and clients, and those that are connected are
    /// sent away, a few at a time; what waits for them waits.
    ///
    /// # Errors
    /// When it cannot be written down; nothing has changed then.
    pub async fn suspend(self: &Arc<Self>, changing: Changing, suspended: bool) -> Result<(), StoreError> {
        let settings = Settings { suspended, ..Settings::clone(&changing.namespace().settings()) };
        self.change_namespace(changing, settings).await
    }
}
