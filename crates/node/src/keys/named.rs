//! The keys of namespaces: made, listed, revoked.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidings_model::{KeyName, NamespaceName, Timestamp};
use tidings_store::StoreError;

use super::{Access, Digest, Scope, Scopes};
use crate::namespace::whole;
use crate::rates::{self, Bucket, RetryAfter};
use crate::{Namespace, Node};

/// Most keys of a namespace.
pub const KEYS_MAX: usize = 100;

/// How each begins in the settings; the name of its namespace and its id follow.
pub(crate) const PREFIX: &str = "key/ns/";

/// The id of the key that is the password of light-push's backends of a namespace.
const PASSWORD: &str = "light-push";

/// How exactly it is kept when a key was last used, in milliseconds.
const USED_GRAIN_MS: u64 = 60_000;

/// A key of a namespace, as it is known to the hot path.
#[derive(Debug)]
pub(crate) struct NamedKey {
    namespace: NamespaceName,
    id: String,
    name: KeyName,
    scopes: Scopes,
    digest: Digest,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    /// Most pushes in a second; 0 for no limit of its own.
    pushes_per_second: u32,
    /// How many there have been lately.
    pushes: Bucket,
    /// 0 when it never was.
    used_at: AtomicU64,
}

/// A key of a namespace, without the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// What it is revoked by.
    pub id: String,
    /// What people call it.
    pub name: KeyName,
    /// What it may be used for.
    pub scopes: Scopes,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends by itself, if it does.
    pub expires_at: Option<Timestamp>,
    /// Most pushes in a second; 0 for no limit of its own.
    pub pushes_per_second: u32,
    /// When it was last used, to the minute.
    pub used_at: Option<Timestamp>,
}

/// What a key is to be like.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// What people call it.
    pub name: KeyName,
    /// What it may be used for.
    pub scopes: Scopes,
    /// When it ends by itself, if it does.
    pub expires_at: Option<Timestamp>,
    /// Most pushes in a second; 0 for no limit of its own.
    pub pushes_per_second: u32,
}

/// Why a key was not made.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The namespace has as many as it may have.
    #[error("the namespace has {KEYS_MAX} keys, which is the limit; revoke one that is not used")]
    TooMany,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A key as it is kept.
#[derive(Serialize, Deserialize)]
struct Stored {
    name: String,
    scopes: Vec<String>,
    digest: String,
    created_at: u64,
    expires_at: Option<u64>,
    #[serde(default)]
    pushes_per_second: u32,
    #[serde(default)]
    used_at: u64,
}

pub(super) fn load(settings: &HashMap<String, Bytes>) -> Result<HashMap<Digest, Arc<NamedKey>>, StoreError> {
    let mut keys = HashMap::new();
    for (setting, value) in settings {
        let Some((namespace, id)) = setting.strip_prefix(PREFIX).and_then(|rest| rest.split_once('/')) else {
            continue;
        };
        let damaged = |why: &dyn std::fmt::Display| StoreError::Damaged(format!("setting {setting}: {why}"));
        let stored: Stored = serde_json::from_slice(value).map_err(|why| damaged(&why))?;
        let digest = unhex(&stored.digest).ok_or_else(|| damaged(&"the digest is none"))?;
        let key = NamedKey {
            namespace: NamespaceName::new(namespace).map_err(|why| damaged(&why))?,
            id: id.to_owned(),
            name: KeyName::new(&stored.name).map_err(|why| damaged(&why))?,
            scopes: stored.scopes.iter().filter_map(|word| Scope::parse(word)).collect(),
            digest,
            created_at: Timestamp(stored.created_at),
            expires_at: stored.expires_at.map(Timestamp),
            pushes_per_second: stored.pushes_per_second,
            pushes: Bucket::default(),
            used_at: AtomicU64::new(stored.used_at),
        };
        keys.insert(digest, Arc::new(key));
    }
    Ok(keys)
}

fn hex(digest: &Digest) -> String {
    use std::fmt::Write as _;
    digest.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Digest> {
    let bytes: Option<Vec<u8>> =
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect();
    bytes?.try_into().ok()
}

impl NamedKey {
    pub(super) fn holds(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }

    pub(super) fn is_of(&self, namespace: &NamespaceName) -> bool {
        self.namespace == *namespace
    }

    pub(super) fn access(&self) -> Access {
        Access::Namespace(self.namespace.clone(), self.scopes)
    }

    /// Counts a push.
    pub(super) fn may_push(&self, now: Timestamp) -> Result<(), RetryAfter> {
        rates::take(&self.pushes, self.pushes_per_second, now)
    }

    fn setting(&self) -> String {
        format!("{PREFIX}{}/{}", self.namespace, self.id)
    }

    fn value(&self) -> Result<Bytes, StoreError> {
        let stored = Stored {
            name: self.name.to_string(),
            scopes: self.scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
            digest: hex(&self.digest),
            created_at: self.created_at.0,
            expires_at: self.expires_at.map(|at| at.0),
            pushes_per_second: self.pushes_per_second,
            used_at: self.used_at.load(Ordering::Relaxed),
        };
        let value = serde_json::to_vec(&stored);
        value.map(Bytes::from).map_err(|why| StoreError::Io(format!("{}: {why}", self.setting())))
    }

    fn shown(&self) -> Key {
        let used_at = self.used_at.load(Ordering::Relaxed);
        Key {
            id: self.id.clone(),
            name: self.name.clone(),
            scopes: self.scopes,
            created_at: self.created_at,
            expires_at: self.expires_at,
            pushes_per_second: self.pushes_per_second,
            used_at: (used_at > 0).then_some(Timestamp(used_at)),
        }
    }
}

impl Node {
    /// Makes a key for a namespace. It is answered this once, and cannot be found out again.
    ///
    /// # Errors
    /// [`KeyError`]; there is no key then.
    pub async fn make_key(
        self: &Arc<Self>,
        namespace: &Namespace,
        new: NewKey,
    ) -> Result<(Key, String), KeyError> {
        let turn = Arc::clone(&self.keys.changing).lock_owned().await;
        if self.keys_of(namespace).len() >= KEYS_MAX {
            return Err(KeyError::TooMany);
        }
        let secret = format!("nk_{}", crate::ids::token());
        let key = Arc::new(NamedKey {
            namespace: namespace.name.clone(),
            id: format!("key-{}", crate::ids::token()),
            name: new.name,
            scopes: new.scopes,
            digest: self.keys.digest(&secret),
            created_at: self.clock.now(),
            expires_at: new.expires_at,
            pushes_per_second: new.pushes_per_second,
            pushes: Bucket::default(),
            used_at: AtomicU64::new(0),
        });
        let shown = key.shown();
        let node = Arc::clone(self);
        let made = whole(async move {
            let _turn = turn;
            node.store.put(&key.setting(), Some(key.value()?)).await?;
            node.keys.named.write().unwrap_or_else(PoisonError::into_inner).insert(key.digest, key);
            Ok::<_, StoreError>(())
        });
        made.await?;
        Ok((shown, secret))
    }

    /// Sets the password with which light-push's backends come to a namespace, as a key with all scopes; the old one is worth nothing
    /// from now on. It is listed and revoked as any other key.
    ///
    /// # Errors
    /// When it cannot be written down; the old one holds then.
    pub async fn set_password(
        self: &Arc<Self>,
        namespace: &Namespace,
        password: &str,
    ) -> Result<(), StoreError> {
        let turn = Arc::clone(&self.keys.changing).lock_owned().await;
        let name = KeyName::new(PASSWORD).map_err(|why| StoreError::Io(why.to_string()))?;
        let digest = self.keys.digest(&super::of_namespace(&namespace.name, password));
        let key = NamedKey {
            namespace: namespace.name.clone(),
            id: PASSWORD.to_owned(),
            name: name.clone(),
            scopes: Scopes::ALL,
            digest,
            created_at: self.clock.now(),
            expires_at: None,
            pushes_per_second: 0,
            pushes: Bucket::default(),
            used_at: AtomicU64::new(0),
        };
        let (node, key) = (Arc::clone(self), Arc::new(key));
        whole(async move {
            let _turn = turn;
            node.store.put(&key.setting(), Some(key.value()?)).await?;
            let mut named = node.keys.named.write().unwrap_or_else(PoisonError::into_inner);
            named.retain(|_, other| other.namespace != key.namespace || other.id != PASSWORD);
            named.insert(key.digest, key);
            Ok(())
        })
        .await
    }

    /// Whether a namespace has a password for light-push's backends.
    #[must_use]
    pub fn has_password(&self, namespace: &Namespace) -> bool {
        let named = self.keys.named.read().unwrap_or_else(PoisonError::into_inner);
        named.values().any(|key| key.namespace == namespace.name && key.id == PASSWORD)
    }

    /// The keys of a namespace, in the order in which they were made.
    #[must_use]
    pub fn keys_of(&self, namespace: &Namespace) -> Vec<Key> {
        let named = self.keys.named.read().unwrap_or_else(PoisonError::into_inner);
        let own = named.values().filter(|key| key.namespace == namespace.name);
        let mut keys: Vec<Key> = own.map(|key| key.shown()).collect();
        keys.sort_unstable_by(|one, other| (one.created_at, &one.id).cmp(&(other.created_at, &other.id)));
        keys
    }

    /// Revokes a key of a namespace: it opens nothing from now on. False when there is no such key.
    ///
    /// # Errors
    /// When it cannot be written down; the key holds then.
    pub async fn revoke_key(self: &Arc<Self>, namespace: &Namespace, id: &str) -> Result<bool, StoreError> {
        let turn = Arc::clone(&self.keys.changing).lock_owned().await;
        let found = {
            let named = self.keys.named.read().unwrap_or_else(PoisonError::into_inner);
            named.values().find(|key| key.namespace == namespace.name && key.id == id).cloned()
        };
        let Some(key) = found else { return Ok(false) };
        let node = Arc::clone(self);
        whole(async move {
            let _turn = turn;
            node.store.put(&key.setting(), None).await?;
            node.keys.named.write().unwrap_or_else(PoisonError::into_inner).remove(&key.digest);
            Ok(true)
        })
        .await
    }

    /// Remembers that a key was used. It is written down once a minute at most, and nobody waits for it.
    pub(super) fn used(self: &Arc<Self>, key: &Arc<NamedKey>) {
        let now = self.clock.now().0;
        let before = key.used_at.load(Ordering::Relaxed);
        if now < before.saturating_add(USED_GRAIN_MS)
            || key.used_at.compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed).is_err()
        {
            return;
        }
        let (node, key) = (Arc::clone(self), Arc::clone(key));
        tokio::spawn(async move {
            let _turn = node.keys.changing.lock().await;
            // It may have been revoked just now.
            let named = || node.keys.named.read().unwrap_or_else(PoisonError::into_inner);
            let (true, Ok(value)) = (named().contains_key(&key.digest), key.value()) else { return };
            if let Err(why) = node.store.put(&key.setting(), Some(value)).await {
                tracing::warn!(error = %why, key = %key.id, "when a key was last used could not be written down");
            }
        });
    }
}
