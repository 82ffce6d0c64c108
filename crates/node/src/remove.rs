//! A namespace is cleared, or goes whole.
//!
//! Going whole takes time: clients are sent away a few at a time, and what is on disk goes piece by piece. So it is written down
//! first that the namespace goes; from then on it is not there for anybody, and whatever interrupts the rest, the next
//! start goes on with it. Its name is free when all of it is gone. Numbers, offsets and the ordinals of devices are never given
//! out again, so that what a client remembers of the old namespace means nothing in a new one of the same name.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use tidings_model::{Disconnect, NamespaceName};
use tidings_store::{Erase, Store, StoreError};

use crate::namespace::{Changing, whole};
use crate::{Namespace, Node, ToShard};

/// Where it is kept that a namespace goes; its name follows.
const PREFIX: &str = "deleting/";

/// How often it is looked whether somebody is still there.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Looks until a line in the log says that somebody still is.
const LOOKS_UNTIL_LOGGED: u32 = 500;

/// How long to wait after the store has failed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// What became of a namespace that was to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// There is none.
    Unknown,
    /// It goes, and is there for nobody any more.
    Going,
}

/// The namespaces that go.
pub(crate) async fn load(store: &dyn Store) -> Result<HashSet<NamespaceName>, StoreError> {
    let going = store.list(PREFIX).await?.into_iter();
    Ok(going.filter_map(|(key, _)| NamespaceName::new(&key[PREFIX.len()..]).ok()).collect())
}

impl Namespace {
    /// Whether it is there for nobody any more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }
}

impl Node {
    /// Takes away what has happened in a namespace: its messages, and with them all mailboxes, deadlines and books; its
    /// history and its statistics. Rules, keys, hooks and what they are still to be told, devices and their rooms stay.
    /// What a connection is being sent at this moment still arrives.
    ///
    /// # Errors
    /// When the store cannot be written; some of it may be gone then.
    pub async fn clear_namespace(self: &Arc<Self>, changing: Changing) -> Result<(), StoreError> {
        let node = Arc::clone(self);
        whole(async move {
            let name = changing.namespace().name.clone();
            // What is being sent at this moment has its place first, and goes with everything else.
            let _unsent = node.sending.read().await;
            node.ledger.flush().await;
            node.erase(&name, Erase::Happened).await?;
            node.ledger.cleared(&name).await;
            tracing::warn!(namespace = %name, "a namespace was cleared");
            drop(changing);
            Ok(())
        })
        .await
    }

    /// Has a namespace go: its clients are sent away, and then everything of it goes. Answers when that has begun and
    /// cannot be stopped any more.
    ///
    /// # Errors
    /// When it cannot be written down; nothing has changed then.
    pub async fn delete_namespace(self: &Arc<Self>, name: &NamespaceName) -> Result<Removal, StoreError> {
        let turn = Arc::clone(&self.creating).lock_owned().await;
        let Some(namespace) = self.namespace(name.as_str()) else {
            let going = self.going.borrow().contains(name);
            return Ok(if going { Removal::Going } else { Removal::Unknown });
        };
        let node = Arc::clone(self);
        whole(async move {
            let name = namespace.name.clone();
            let changing = namespace.changing().await;
            node.store.put(&format!("{PREFIX}{name}"), Some(Bytes::from_static(b"1"))).await?;
            node.going.send_if_modified(|going| going.insert(name.clone()));
            namespace.end();
            node.namespaces.write().unwrap_or_else(PoisonError::into_inner).remove(&name);
            node.keys.forget_all(&name);
            node.watch(&namespace);
            node.hooks.let_go(&name);
            let away = ToShard::SendAway { namespace: name.clone(), devices: None, why: Disconnect::OPERATOR };
            node.shards.tell(u64::MAX, away).await;
            tracing::warn!(namespace = %name, "a namespace goes: its clients are sent away, and everything of it is removed");
            drop((changing, turn));
            node.go_on_removing(name, Some(namespace));
            Ok(Removal::Going)
        })
        .await
    }

    /// Waits until all of a namespace is gone that is going, for no longer than this. Whether it is.
    pub async fn removed(&self, name: &NamespaceName, within: Duration) -> bool {
        let mut going = self.going.subscribe();
        let gone = going.wait_for(|going| !going.contains(name));
        matches!(tokio::time::timeout(within, gone).await, Ok(Ok(_)))
    }

    /// Removes a namespace by and by, beside everything else.
    pub(crate) fn go_on_removing(self: &Arc<Self>, name: NamespaceName, namespace: Option<Arc<Namespace>>) {
        let node = Arc::downgrade(self);
        self.runtime.spawn(async move {
            if let Some(namespace) = namespace {
                left_alone(&namespace).await;
            }
            remove(node, name).await;
        });
    }

    /// Everything of a namespace that nobody has to do with any more.
    async fn remove_all(&self, name: &NamespaceName) -> Result<(), StoreError> {
        self.ledger.flush().await;
        self.erase(name, Erase::Everything).await?;
        self.simulations.forget_all(name);
        let faults = ToShard::Faults { namespace: name.clone(), faults: Vec::new() };
        self.shards.tell(u64::MAX, faults).await;
        self.remove_settings(name).await?;
        self.keys.forget_all(name);
        // The last thing, and durable with all that came before.
        self.store.put(&format!("{PREFIX}{name}"), None).await
    }

    /// What is on disk, and what statistics have in memory.
    async fn erase(&self, name: &NamespaceName, what: Erase) -> Result<(), StoreError> {
        let rows = self.statistics.forget(name).await;
        self.store.erase(name, what).await?;
        drop(rows);
        Ok(())
    }

    async fn remove_settings(&self, name: &NamespaceName) -> Result<(), StoreError> {
        // Whoever writes down when a key was last used has its turn before or after.
        let _turn = self.keys.changing.lock().await;
        for of in crate::namespace::SETTINGS {
            self.store.put(&format!("{of}{name}"), None).await?;
        }
        for below in crate::namespace::SETTINGS_BELOW {
            for (key, _) in self.store.list(&format!("{below}{name}/")).await? {
                self.store.put(&key, None).await?;
            }
        }
        Ok(())
    }
}

/// Waits until nobody has to do with a namespace any more: no connection, no call, no push that waits.
async fn left_alone(namespace: &Arc<Namespace>) {
    let mut looks = 0;
    while Arc::strong_count(namespace) > 1 {
        looks += 1;
        if looks % LOOKS_UNTIL_LOGGED == 0 {
            let holders = Arc::strong_count(namespace) - 1;
            tracing::info!(namespace = %namespace.name, holders, "a namespace that goes is not left alone yet");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn remove(node: Weak<Node>, name: NamespaceName) {
    loop {
        let Some(here) = node.upgrade() else { return };
        if !here.hooks.is_empty(&name) {
            drop(here);
            tokio::time::sleep(LOOK_EVERY).await;
            continue;
        }
        match here.remove_all(&name).await {
            Ok(()) => {
                here.going.send_if_modified(|going| going.remove(&name));
                tracing::warn!(namespace = %name, "a namespace is gone");
                return;
            }
            Err(StoreError::Closed) => return,
            Err(why) => {
                tracing::error!(error = %why, namespace = %name, "a namespace cannot be removed; trying again");
                drop(here);
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }
}
