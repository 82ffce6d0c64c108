//! Sending clients away: those of a user, perhaps to stay away for a while; or everybody, when a namespace is suspended.
//!
//! What keeps them out is set first, and the shards are told then; a client that is on its way in meanwhile is looked at
//! once more when it has arrived.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tidings_model::{Disconnect, NamespaceName, Timestamp, UserId};
use tidings_store::{Store, StoreError};

use crate::namespace::{Changing, Settings, whole};
use crate::{Namespace, Node, ToShard};

/// How each block begins in the settings; the name of its namespace and the user follow.
pub(crate) const PREFIX: &str = "block/";

/// Longest time that a user can be kept away.
pub const BLOCK_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Most users of a namespace that are kept away.
pub const BLOCKS_MAX: usize = 10_000;

/// Until when users are kept away.
pub(crate) type Blocks = HashMap<UserId, Timestamp>;

/// Why a user was not kept away.
#[derive(Debug, thiserror::Error)]
pub enum KickError {
    /// As many are as may be.
    #[error("{BLOCKS_MAX} users of the namespace are blocked, which is the limit")]
    TooMany,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The blocks of all namespaces. Those that are over go.
pub(crate) async fn load(
    store: &dyn Store,
    now: Timestamp,
) -> Result<HashMap<NamespaceName, Blocks>, StoreError> {
    let mut blocks: HashMap<NamespaceName, Blocks> = HashMap::new();
    for (setting, value) in store.list(PREFIX).await? {
        let names = setting[PREFIX.len()..].split_once('/');
        let names =
            names.and_then(|(name, user)| Some((NamespaceName::new(name).ok()?, UserId::new(user).ok()?)));
        let until = value[..].try_into().ok().map(|bytes| Timestamp(u64::from_be_bytes(bytes)));
        match (names, until) {
            (Some((name, user)), Some(until)) if until > now => {
                blocks.entry(name).or_default().insert(user, until);
            }
            _ => store.put(&setting, None).await?,
        }
    }
    Ok(blocks)
}

impl Namespace {
    /// Until when a user is kept away, if it is.
    pub(crate) fn blocked(&self, user: &UserId, now: Timestamp) -> Option<Timestamp> {
        let blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        blocks.get(user).copied().filter(|until| *until > now)
    }
}

impl Node {
    /// Ends the connections of a user. With `block` it is kept away for so long; zero ends an earlier block. Answers how
    /// many connections there were.
    ///
    /// # Errors
    /// [`KickError`]; nobody was sent away then.
    pub async fn kick(
        self: &Arc<Self>,
        namespace: &Arc<Namespace>,
        user: &UserId,
        block: Option<Duration>,
    ) -> Result<u64, KickError> {
        let devices: Vec<u32> =
            self.devices_of_user(namespace, user).await?.iter().map(|device| device.ordinal.0).collect();
        let turn = namespace.changing().await;
        let now = self.clock.now();
        let mut over = Vec::new();
        if let Some(block) = block.filter(|block| !block.is_zero()) {
            let mut blocks = namespace.blocks.lock().unwrap_or_else(PoisonError::into_inner);
            if blocks.len() >= BLOCKS_MAX {
                blocks.retain(|user, until| {
                    let holds = *until > now;
                    if !holds {
                        over.push(user.clone());
                    }
                    holds
                });
            }
            debug_assert!(block <= BLOCK_MAX, "the caller has looked");
            if blocks.len() >= BLOCKS_MAX && !blocks.contains_key(user) {
                return Err(KickError::TooMany);
            }
        }
        let until = block.map(|block| (!block.is_zero()).then(|| now.after(block.min(BLOCK_MAX))));
        let (node, namespace, user) = (Arc::clone(self), Arc::clone(namespace), user.clone());
        let kicked = whole(async move {
            let _turn = turn;
            for user in over {
                node.store.put(&setting(&namespace, &user), None).await?;
            }
            if let Some(until) = until {
                node.block(&namespace, user, until).await?;
            }
            let (connections, mask) = {
                let directory = namespace.directory();
                (directory.connections_of(&devices.iter().copied().collect()), directory.shards_of(&devices))
            };
            let (name, devices) = (namespace.name.clone(), Some(devices.into()));
            node.shards
                .tell(mask, ToShard::SendAway { namespace: name, devices, why: Disconnect::OPERATOR })
                .await;
            Ok(connections)
        });
        Ok(kicked.await?)
    }

    async fn block(
        &self,
        namespace: &Namespace,
        user: UserId,
        until: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let value = until.map(|until| Bytes::copy_from_slice(&until.0.to_be_bytes()));
        self.store.put(&setting(namespace, &user), value).await?;
        let mut blocks = namespace.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        match until {
            Some(until) => drop(blocks.insert(user, until)),
            None => drop(blocks.remove(&user)),
        }
        Ok(())
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

fn setting(namespace: &Namespace, user: &UserId) -> String {
    format!("{PREFIX}{}/{user}", namespace.name)
}
