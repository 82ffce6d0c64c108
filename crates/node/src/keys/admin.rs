//! The admin key.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::{PasswordHasher as _, PasswordVerifier as _};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tidings_store::StoreError;

use super::Digest;
use crate::Node;

const ADMIN: &str = "key/admin";

/// What is known of the admin key.
#[derive(Debug, Default)]
pub(super) struct AdminKey {
    stored: RwLock<Option<Stored>>,
    /// Its digest, once it was seen.
    known: RwLock<Option<Digest>>,
    /// Only one guess is looked at at a time: that is slow on purpose.
    guessing: Arc<tokio::sync::Mutex<()>>,
}

/// How it is kept.
#[derive(Clone, Debug)]
enum Stored {
    /// An argon2id hash, in the form that everybody writes these in (PHC string).
    Argon2(String),
    /// A plain digest, as the first versions wrote it.
    Plain(Digest),
}

impl AdminKey {
    pub(super) fn load(settings: &HashMap<String, Bytes>) -> Self {
        let stored = settings.get(ADMIN).and_then(|value| match Digest::try_from(&value[..]) {
            Ok(digest) => Some(Stored::Plain(digest)),
            Err(_) => String::from_utf8(value.to_vec()).ok().map(Stored::Argon2),
        });
        Self { stored: RwLock::new(stored), ..Self::default() }
    }

    fn stored(&self) -> Option<Stored> {
        self.stored.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it is kept as the first versions did.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.stored(), Some(Stored::Plain(_)))
    }

    pub(super) fn is_known_as(&self, digest: &Digest) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).as_ref() == Some(digest)
    }

    /// Whether this is the admin key. Slow, unless that is known already.
    pub(super) async fn is(&self, key: &str, digest: Digest) -> bool {
        let known = || *self.known.read().unwrap_or_else(PoisonError::into_inner);
        let turn = Arc::clone(&self.guessing).lock_owned().await;
        if let Some(known) = known() {
            // Another key is another key.
            return known == digest;
        }
        let Some(stored) = self.stored() else { return false };
        let key = key.to_owned();
        let guess = tokio::task::spawn_blocking(move || {
            // The next one waits for this one, whether anybody still waits for it or not.
            let _turn = turn;
            stored.is(&key)
        });
        let is = guess.await.unwrap_or(false);
        if is {
            *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(digest);
        }
        is
    }

    fn set(&self, stored: Stored, digest: Digest) {
        *self.stored.write().unwrap_or_else(PoisonError::into_inner) = Some(stored);
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(digest);
    }
}

impl Stored {
    fn is(&self, key: &str) -> bool {
        match self {
            Self::Argon2(hash) => PasswordHash::new(hash)
                .is_ok_and(|hash| Argon2::default().verify_password(key.as_bytes(), &hash).is_ok()),
            // Comparing digests tells nothing of the key.
            Self::Plain(digest) => Digest::from(Sha256::digest(key.as_bytes())) == *digest,
        }
    }
}

impl Node {
    /// Whether an admin key has ever been set.
    #[must_use]
    pub fn has_admin_key(&self) -> bool {
        self.keys.admin.stored().is_some()
    }

    /// Whether this is the admin key. For whoever may try as often as they like.
    pub async fn is_admin_key(&self, key: &str) -> bool {
        self.keys.admin.is(key, self.keys.digest(key)).await
    }

    /// Sets the admin key; the old one is worth nothing from now on.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn set_admin_key(&self, key: &str) -> Result<(), StoreError> {
        let text = key.to_owned();
        let hash = tokio::task::spawn_blocking(move || {
            Argon2::default().hash_password(text.as_bytes()).map(|hash| hash.to_string())
        });
        let hash = hash.await.map_err(|why| StoreError::Io(why.to_string()))?;
        let hash = hash.map_err(|why| StoreError::Io(format!("the admin key cannot be hashed: {why}")))?;
        self.store.put(ADMIN, Some(Bytes::from(hash.clone()))).await?;
        self.keys.admin.set(Stored::Argon2(hash), self.keys.digest(key));
        Ok(())
    }
}
