//! Who may call the API: the admin key, and the keys of namespaces with what each opens.
//!
//! A key is looked up by a keyed digest (HMAC-SHA256 under a secret of the store), in a microsecond; nothing is stored
//! that could be used as a key. The admin key may be an operator's own words, so what is stored of it is an argon2id
//! hash, which is computed once in the life of a process; from then on it is known by its digest too.

mod admin;
mod named;

use std::collections::HashMap;
use std::hash::RandomState;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use bytes::Bytes;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use tidings_hub::rates::Rates;
use tidings_model::{ClientAddress, NamespaceName, Timestamp};
use tidings_store::{Store, StoreError};

use crate::Node;
use crate::metrics::Refused;
use crate::rates::RetryAfter;

pub(crate) use named::PREFIX;
pub use named::{KEYS_MAX, Key, KeyError, NewKey};

/// Where the secret for digests is kept.
const SECRET: &str = "key/secret";

type Digest = [u8; 32];

/// Wrong keys from one address in a row, until it has to wait; and how many a second are heard from then on.
const FAILURES_MAX: u32 = 200;
const FAILURES_PER_SECOND: u32 = 10;

/// Addresses of which that is known.
const ADDRESSES: usize = 4_096;

/// The address of a caller that has none, in the table of failures.
const NO_ADDRESS: u64 = u64::MAX;

/// The keys.
#[derive(Debug)]
pub(crate) struct Keys {
    secret: Digest,
    admin: admin::AdminKey,
    /// A key that lives as long as the process, for one namespace.
    passing: RwLock<Option<(NamespaceName, Digest)>>,
    named: RwLock<HashMap<Digest, Arc<named::NamedKey>>>,
    /// Whoever makes, revokes or writes down a key has this.
    pub(crate) changing: Arc<tokio::sync::Mutex<()>>,
    failures: Option<Rates>,
    started: Instant,
}

/// What a key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// To push, and to recall.
    Push,
    /// To ask about messages, people and rooms.
    Read,
    /// To change what there is in the namespace.
    Manage,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Push, Self::Read, Self::Manage];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Read => "read",
            Self::Manage => "manage",
        }
    }

    /// The scope with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == word)
    }
}

/// Some scopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// All of them.
    pub const ALL: Self = Self(0b111);

    /// Whether this one is among them.
    #[must_use]
    pub fn has(self, scope: Scope) -> bool {
        self.0 & 1 << scope as u8 != 0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// Those that there are.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.has(*scope))
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | 1 << scope as u8))
    }
}

/// What a key opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everything.
    Admin,
    /// One namespace, for some purposes.
    Namespace(NamespaceName, Scopes),
}

/// Whoever has shown a key that opens something.
#[derive(Clone, Debug)]
pub struct Holder {
    /// What it opens.
    pub access: Access,
    /// The key, if it is one of a namespace's.
    key: Option<Arc<named::NamedKey>>,
}

impl Holder {
    const ADMIN: Self = Self { access: Access::Admin, key: None };

    /// Counts a push by the rate of the key, if it has one.
    ///
    /// # Errors
    /// [`RetryAfter`] when there have been too many.
    pub fn may_push(&self, now: Timestamp) -> Result<(), RetryAfter> {
        self.key.as_ref().map_or(Ok(()), |key| key.may_push(now))
    }
}

/// Why a key opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// Nobody was given it, or not any more.
    Unknown,
    /// Too many wrong keys came from where it came from. A little later one more is heard.
    TooOften,
}

impl Keys {
    pub(crate) async fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let mut found: HashMap<_, _> = store.list("key/").await?.into_iter().collect();
        let secret = match found.remove(SECRET).and_then(|secret| Digest::try_from(&secret[..]).ok()) {
            Some(secret) => secret,
            None => {
                let secret = crate::ids::random();
                store.put(SECRET, Some(Bytes::copy_from_slice(&secret))).await?;
                secret
            }
        };
        Ok(Self {
            secret,
            admin: admin::AdminKey::load(&found),
            passing: RwLock::default(),
            named: RwLock::new(named::load(&found)?),
            changing: Arc::default(),
            failures: Rates::new(FAILURES_PER_SECOND, FAILURES_MAX, ADDRESSES, RandomState::new()),
            started: Instant::now(),
        })
    }

    /// From now on no key opens this namespace. What is kept of them is not its matter.
    pub(crate) fn forget_all(&self, namespace: &NamespaceName) {
        self.named.write().unwrap_or_else(PoisonError::into_inner).retain(|_, key| !key.is_of(namespace));
        let mut passing = self.passing.write().unwrap_or_else(PoisonError::into_inner);
        passing.take_if(|(of, _)| of == namespace);
    }

    fn digest(&self, key: &str) -> Digest {
        let mac = Hmac::<Sha256>::new_from_slice(&self.secret);
        let mut mac = mac.unwrap_or_else(|_| unreachable!("any secret will do"));
        mac.update(key.as_bytes());
        mac.finalize().into_bytes().into()
    }

    /// What is known by its digest. That is an answer to nothing that a caller could choose, so it takes no care of time.
    fn known(&self, digest: &Digest, now: Timestamp) -> Option<Holder> {
        if self.admin.is_known_as(digest) {
            return Some(Holder::ADMIN);
        }
        let passing = self.passing.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((namespace, _)) = passing.as_ref().filter(|(_, passing)| passing == digest) {
            return Some(Holder { access: Access::Namespace(namespace.clone(), Scopes::ALL), key: None });
        }
        let named = self.named.read().unwrap_or_else(PoisonError::into_inner);
        let key = named.get(digest).filter(|key| key.holds(now))?;
        Some(Holder { access: key.access(), key: Some(Arc::clone(key)) })
    }

    /// Whether an address may be heard that may be guessing.
    fn may_guess(&self, from: ClientAddress) -> bool {
        let now = self.started.elapsed().as_micros() as u64;
        let address = from.counted_as().unwrap_or(NO_ADDRESS);
        self.failures.as_ref().is_none_or(|failures| failures.has(address, now))
    }

    /// Counts a wrong key from an address; false when there have been too many.
    fn may_fail(&self, from: ClientAddress) -> bool {
        let now = self.started.elapsed().as_micros() as u64;
        let address = from.counted_as().unwrap_or(NO_ADDRESS);
        self.failures.as_ref().is_none_or(|failures| failures.take(address, now))
    }
}

impl Node {
    /// Makes a key for one namespace that is worth nothing after this process ends: the demo page's.
    #[must_use]
    pub fn make_passing_key(&self, namespace: NamespaceName) -> String {
        let key = format!("demo_{}", crate::ids::token());
        let mut passing = self.keys.passing.write().unwrap_or_else(PoisonError::into_inner);
        *passing = Some((namespace, self.keys.digest(&key)));
        key
    }

    /// Whoever shows a key, and what it opens.
    ///
    /// # Errors
    /// [`Denied`]: a wrong key, of which an address has only so many.
    pub async fn access(self: &Arc<Self>, key: &str, from: ClientAddress) -> Result<Holder, Denied> {
        let digest = self.keys.digest(key);
        // What is digested with a namespace is a password, and nobody may guess it here.
        let known = self.keys.known(&digest, self.clock.now()).filter(|_| !key.contains(PARTED));
        if let Some(holder) = known {
            if let Some(key) = &holder.key {
                self.used(key);
            }
            return Ok(holder);
        }
        let refused = |reason, denied| {
            self.metrics.keys_refused.get_or_create(&Refused { reason }).inc();
            Err(denied)
        };
        if !self.keys.may_fail(from) {
            return refused("too_often", Denied::TooOften);
        }
        if self.keys.admin.is(key, digest).await {
            if self.keys.admin.is_plain()
                && let Err(why) = self.set_admin_key(key).await
            {
                tracing::warn!(error = %why, "the admin key stays kept as a plain digest");
            }
            return Ok(Holder::ADMIN);
        }
        tracing::warn!(client = %from, "a key was refused: nobody was given it, or not any more");
        refused("unknown", Denied::Unknown)
    }

    /// Whoever shows the password of a namespace (see [`Node::set_password`]) or any key, and what it opens. People choose
    /// passwords: an address with too many wrong ones has to wait, with a right one too.
    ///
    /// # Errors
    /// [`Denied`]: a wrong one, of which an address has only so many.
    pub async fn access_by_password(
        self: &Arc<Self>,
        namespace: &NamespaceName,
        password: &str,
        from: ClientAddress,
    ) -> Result<Holder, Denied> {
        if !self.keys.may_guess(from) {
            self.metrics.keys_refused.get_or_create(&Refused { reason: "too_often" }).inc();
            return Err(Denied::TooOften);
        }
        let digest = self.keys.digest(&of_namespace(namespace, password));
        if let Some(holder) = self.keys.known(&digest, self.clock.now()) {
            if let Some(key) = &holder.key {
                self.used(key);
            }
            return Ok(holder);
        }
        self.access(password, from).await
    }
}

/// What stands between a namespace and its password where they are digested. No key has it.
const PARTED: char = '\0';

/// A password as it is digested: two namespaces may have the same.
fn of_namespace(namespace: &NamespaceName, password: &str) -> String {
    format!("{namespace}{PARTED}{password}")
}
