//! Rooms that are suspended: clients do not join them, and nothing is pushed to them. Who is in one stays in it, and what waits
//! waits.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use tidings_model::{NamespaceName, RoomName};
use tidings_store::{Store, StoreError};

use crate::namespace::whole;
use crate::presence::signal::{NOBODY, Signal, SignalKind};
use crate::{Namespace, Node, ToShard};

/// How each suspended room begins in the settings; the name of its namespace and its own follow.
pub(crate) const PREFIX: &str = "suspended-room/";

/// Most rooms of a namespace that are suspended.
pub const SUSPENDED_MAX: usize = 1_000;

/// Most devices of a room that are online and told: signals are not given in slices.
const TOLD_MAX: u64 = 10_000;

/// The rooms of a namespace that are suspended.
pub(crate) type Suspended = HashSet<RoomName>;

/// Why a room was not suspended.
#[derive(Debug, thiserror::Error)]
pub enum RoomError {
    /// As many are as may be.
    #[error("{SUSPENDED_MAX} rooms of the namespace are suspended, which is the limit")]
    TooMany,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The suspended rooms of all namespaces.
pub(crate) async fn load(store: &dyn Store) -> Result<HashMap<NamespaceName, Suspended>, StoreError> {
    let mut suspended: HashMap<NamespaceName, Suspended> = HashMap::new();
    for (setting, _) in store.list(PREFIX).await? {
        let names = setting[PREFIX.len()..].split_once('/');
        let names =
            names.and_then(|(name, room)| Some((NamespaceName::new(name).ok()?, RoomName::new(room).ok()?)));
        match names {
            Some((name, room)) => drop(suspended.entry(name).or_default().insert(room)),
            None => store.put(&setting, None).await?,
        }
    }
    Ok(suspended)
}

impl Namespace {
    /// Whether a room is suspended.
    #[must_use]
    pub fn is_suspended(&self, room: &RoomName) -> bool {
        self.first_suspended(std::slice::from_ref(room)).is_some()
    }

    /// Where the first suspended one of these rooms stands.
    #[must_use]
    pub fn first_suspended(&self, rooms: &[RoomName]) -> Option<usize> {
        if rooms.is_empty() {
            return None;
        }
        let suspended = self.suspended_rooms.lock().unwrap_or_else(PoisonError::into_inner);
        if suspended.is_empty() { None } else { rooms.iter().position(|room| suspended.contains(room)) }
    }
}

impl Node {
    /// Suspends a room, or lets it go on. Idempotent; nobody has to be in it.
    ///
    /// # Errors
    /// [`RoomError`]; nothing has changed then.
    pub async fn suspend_room(
        self: &Arc<Self>,
        namespace: &Arc<Namespace>,
        room: &RoomName,
        suspended: bool,
    ) -> Result<(), RoomError> {
        let turn = namespace.changing().await;
        {
            let all = namespace.suspended_rooms.lock().unwrap_or_else(PoisonError::into_inner);
            if all.contains(room) == suspended {
                return Ok(());
            }
            if suspended && all.len() >= SUSPENDED_MAX {
                return Err(RoomError::TooMany);
            }
        }
        let (node, namespace, room) = (Arc::clone(self), Arc::clone(namespace), room.clone());
        let written = whole(async move {
            let _turn = turn;
            let setting = format!("{PREFIX}{}/{room}", namespace.name);
            let value = suspended.then(|| Bytes::from_static(b"1"));
            node.store.put(&setting, value).await?;
            {
                let mut all = namespace.suspended_rooms.lock().unwrap_or_else(PoisonError::into_inner);
                if suspended {
                    all.insert(room.clone());
                } else {
                    all.remove(&room);
                }
            }
            node.tell_members(&namespace, room, suspended).await;
            Ok(())
        });
        Ok(written.await?)
    }

    async fn tell_members(&self, namespace: &Namespace, room: RoomName, suspended: bool) {
        let told = {
            let directory = namespace.directory();
            directory.room(&room).map_or(0, |members| members.intersection_len(directory.online()))
        };
        if (1..=TOLD_MAX).contains(&told) {
            let data = serde_json::json!({"room": room.as_str(), "suspended": suspended}).to_string();
            let (namespace, kind) = (namespace.name.clone(), SignalKind::Room);
            let signal = Signal { namespace, room, kind, about: NOBODY, data };
            self.shards.tell(u64::MAX, ToShard::Signal(Arc::new(signal))).await;
        }
    }
}
