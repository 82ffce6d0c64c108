//! Who may call the API.
//!
//! Keys are random and long, so a plain digest keeps them: nothing is stored that could be used.

use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::sync::{PoisonError, RwLock};
use tidings_store::{Store, StoreError};

use crate::Node;

const ADMIN: &str = "key/admin";

/// The digests of the keys.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    admin: RwLock<Option<[u8; 32]>>,
}

impl Keys {
    pub(crate) async fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let found = store.list(ADMIN).await?.into_iter().find(|(key, _)| key == ADMIN);
        let digest = found.and_then(|(_, value)| <[u8; 32]>::try_from(&value[..]).ok());
        Ok(Self { admin: RwLock::new(digest) })
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
        let digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        self.store.put(ADMIN, Some(Bytes::copy_from_slice(&digest))).await?;
        *self.keys.admin.write().unwrap_or_else(PoisonError::into_inner) = Some(digest);
        Ok(())
    }

    /// Whether `key` is the admin key. Takes the same time for every wrong key.
    #[must_use]
    pub fn is_admin_key(&self, key: &str) -> bool {
        let digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        let admin = *self.keys.admin.read().unwrap_or_else(PoisonError::into_inner);
        // Comparing digests leaks nothing of the key: the caller cannot steer them byte by byte.
        admin.is_some_and(|admin| admin.iter().zip(digest).fold(0, |diff, (a, b)| diff | (a ^ b)) == 0)
    }
}
