//! Who may call the API.
//!
//! Keys are random and long, so a plain digest keeps them: nothing is stored that could be used.

use std::sync::{PoisonError, RwLock};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tidings_model::NamespaceName;
use tidings_store::{Store, StoreError};

use crate::Node;

const ADMIN: &str = "key/admin";

type Digest = [u8; 32];

/// The digests of the keys.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    admin: RwLock<Option<Digest>>,
    /// A key that lives as long as the process, for one namespace.
    passing: RwLock<Option<(NamespaceName, Digest)>>,
}

/// What a key opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everything.
    Admin,
    /// One namespace.
    Namespace(NamespaceName),
}

impl Access {
    /// Whether it opens this namespace.
    #[must_use]
    pub fn covers(&self, namespace: &str) -> bool {
        match self {
            Self::Admin => true,
            Self::Namespace(own) => own.as_str() == namespace,
        }
    }
}

impl Keys {
    pub(crate) async fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let found = store.list(ADMIN).await?.into_iter().find(|(key, _)| key == ADMIN);
        let digest = found.and_then(|(_, value)| Digest::try_from(&value[..]).ok());
        Ok(Self { admin: RwLock::new(digest), passing: RwLock::default() })
    }
}

impl Node {
    /// Whether an admin key has ever been set.
    #[must_use]
    pub fn has_admin_key(&self) -> bool {
        self.keys.admin.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Sets the admin key; the old one is worth nothing from now on.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn set_admin_key(&self, key: &str) -> Result<(), StoreError> {
        let digest = digest(key);
        self.store.put(ADMIN, Some(Bytes::copy_from_slice(&digest))).await?;
        *self.keys.admin.write().unwrap_or_else(PoisonError::into_inner) = Some(digest);
        Ok(())
    }

    /// Makes a key for one namespace that is worth nothing after this process ends: the demo page's.
    #[must_use]
    pub fn make_passing_key(&self, namespace: NamespaceName) -> String {
        let key = format!("demo_{}", crate::ids::token());
        let mut passing = self.keys.passing.write().unwrap_or_else(PoisonError::into_inner);
        *passing = Some((namespace, digest(&key)));
        key
    }

    /// Whether `key` is the admin key.
    #[must_use]
    pub fn is_admin_key(&self, key: &str) -> bool {
        self.access(key) == Some(Access::Admin)
    }

    /// What `key` opens; `None` for a key that nobody was given. Takes the same time for every wrong key.
    #[must_use]
    pub fn access(&self, key: &str) -> Option<Access> {
        let digest = digest(key);
        let admin = *self.keys.admin.read().unwrap_or_else(PoisonError::into_inner);
        let passing = self.keys.passing.read().unwrap_or_else(PoisonError::into_inner);
        let is_admin = admin.is_some_and(|admin| same(&admin, &digest));
        let is_passing = passing.as_ref().filter(|(_, passing)| same(passing, &digest));
        if is_admin {
            return Some(Access::Admin);
        }
        is_passing.map(|(namespace, _)| Access::Namespace(namespace.clone()))
    }
}

fn digest(key: &str) -> Digest {
    Sha256::digest(key.as_bytes()).into()
}

/// Comparing digests leaks nothing of the key, and this leaks nothing of the digest either.
fn same(one: &Digest, other: &Digest) -> bool {
    one.iter().zip(other).fold(0, |diff, (a, b)| diff | (a ^ b)) == 0
}
