//! Sets of keys (JWK sets, RFC 7517): what tokens of the business system are verified with, fetched from where the namespace says.
//!
//! They are fetched from the configured URL and from nowhere else: nothing that a token says leads anywhere. What was fetched is
//! looked up by the name of a key, and verifying waits for nothing. A key that nobody knows has the set fetched again, at most
//! once in ten seconds, however many tokens name one; otherwise it is fetched again every few minutes. When that fails, what
//! there is holds for a day.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::stream::{self, StreamExt as _};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use serde::Deserialize;
use tidings_outbound::hook::{Client, HookUrl};
use tokio::time::Instant;

use crate::token::TokenError;
use crate::{Namespace, Node};

/// Most bytes of a set.
pub(crate) const SET_BYTES_MAX: usize = 64 << 10;

/// Most keys of a set; those after them are not looked at.
const KEYS_MAX: usize = 100;

/// Longest name of a key, in bytes.
const KID_BYTES_MAX: usize = 255;

/// Shortest RSA modulus, in bytes: 2,048 bits.
const RSA_BYTES_MIN: usize = 256;

/// How soon a set is fetched again because of a key that nobody knows.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// How old a set may be until it is fetched again anyway.
const FRESH_FOR: Duration = Duration::from_secs(5 * 60);

/// For how long a key holds that the set has no more: tokens that it signed are still about.
const GRACE: Duration = Duration::from_secs(10 * 60);

/// For how long keys hold when their set cannot be fetched.
const HOLD_FOR: Duration = Duration::from_secs(24 * 3_600);

/// How often it is looked whether a set is to be fetched, and how many at once.
const LOOK_EVERY: Duration = Duration::from_secs(5);
const SIDE_BY_SIDE: usize = 8;

/// The keys of a namespace's business system.
pub(crate) struct Jwks {
    url: HookUrl,
    allow_private: bool,
    algorithms: Vec<Algorithm>,
    keys: ArcSwap<Keys>,
    /// When it was last tried to fetch the set. Whoever does holds it, and the others wait for what comes of it.
    tried: tokio::sync::Mutex<Option<Instant>>,
    /// Whether the last try came to nothing.
    failed: AtomicBool,
}

/// The keys that there are, and how old they are.
#[derive(Clone, Default)]
struct Keys {
    by_kid: HashMap<Box<str>, Known>,
    fetched: Option<Instant>,
}

#[derive(Clone)]
struct Known {
    key: Arc<DecodingKey>,
    /// The only algorithm that it is for, if it says so.
    algorithm: Option<Algorithm>,
    /// Since when the set has it no more.
    gone: Option<Instant>,
}

/// A set as it comes. A key that is not understood spoils no other.
#[derive(Deserialize)]
struct Set<'a> {
    #[serde(borrow)]
    keys: Vec<&'a serde_json::value::RawValue>,
}

impl Jwks {
    pub(crate) fn new(url: HookUrl, allow_private: bool, algorithms: Vec<Algorithm>) -> Arc<Self> {
        let (keys, tried) = (ArcSwap::default(), tokio::sync::Mutex::default());
        let failed = AtomicBool::new(false);
        Arc::new(Self { url, allow_private, algorithms, keys, tried, failed })
    }

    /// Whether it is what these would make.
    pub(crate) fn is_of(&self, url: &HookUrl, allow_private: bool, algorithms: &[Algorithm]) -> bool {
        self.url == *url && self.allow_private == allow_private && self.algorithms == algorithms
    }

    /// The key that a token names. A token that names none means the only one that there is.
    pub(crate) fn key(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Arc<DecodingKey>, TokenError> {
        let keys = self.keys.load();
        if keys.fetched.is_none_or(|at| at.elapsed() > HOLD_FOR) {
            return Err(TokenError::NoKeys);
        }
        let known = match kid {
            Some(kid) => keys.by_kid.get(kid),
            None => {
                let mut held = keys.by_kid.values().filter(|known| known.gone.is_none());
                held.next().filter(|_| held.next().is_none())
            }
        };
        let known = known.filter(|known| known.gone.is_none_or(|since| since.elapsed() < GRACE));
        let known = known.ok_or(TokenError::UnknownKey)?;
        if known.algorithm.is_some_and(|only| only != algorithm) {
            return Err(TokenError::Algorithm);
        }
        Ok(Arc::clone(&known.key))
    }

    /// Fetches the set again, unless that was tried just now. Whoever comes meanwhile waits for what comes of it.
    async fn look_again(&self, client: &Client, unless_within: Duration) {
        let mut tried = self.tried.lock().await;
        if tried.is_some_and(|at| at.elapsed() < unless_within) {
            return;
        }
        *tried = Some(Instant::now());
        let fetched = client.fetch(&self.url, self.allow_private, SET_BYTES_MAX).await;
        let taken = fetched.map_err(|why| why.to_string()).and_then(|bytes| self.take(&bytes));
        self.failed.store(taken.is_err(), Ordering::Relaxed);
        match taken {
            Ok(count) => tracing::debug!(url = %self.url, count, "a set of keys was fetched"),
            Err(why) => {
                tracing::warn!(url = %self.url, error = why, "a set of keys cannot be fetched; what there is holds for a day")
            }
        }
    }

    /// Takes a set. How many keys of it are of use.
    pub(crate) fn take(&self, bytes: &[u8]) -> Result<usize, String> {
        let set: Set<'_> =
            serde_json::from_slice(bytes).map_err(|why| format!("it is no set of keys: {why}"))?;
        let now = Instant::now();
        let mut by_kid = HashMap::new();
        for raw in set.keys.into_iter().take(KEYS_MAX) {
            match serde_json::from_str::<Jwk>(raw.get()).ok().and_then(|jwk| self.known(&jwk)) {
                // Of two keys with one name the first holds.
                Some((kid, known)) => drop(by_kid.entry(kid).or_insert(known)),
                None => tracing::debug!(url = %self.url, "a key of a set is of no use here"),
            }
        }
        let count = by_kid.len();
        if count == 0 {
            return Err(format!("none of its keys is of use for {:?}", self.algorithms));
        }
        for (kid, known) in &self.keys.load().by_kid {
            let gone = known.gone.unwrap_or(now);
            if by_kid.len() < 2 * KEYS_MAX && !by_kid.contains_key(kid) && gone.elapsed() < GRACE {
                by_kid.insert(kid.clone(), Known { gone: Some(gone), ..known.clone() });
            }
        }
        self.keys.store(Arc::new(Keys { by_kid, fetched: Some(now) }));
        Ok(count)
    }

    /// A key of a set, if it is one to verify tokens of this namespace with.
    fn known(&self, jwk: &Jwk) -> Option<(Box<str>, Known)> {
        let family = self.algorithms.first()?.family();
        let common = &jwk.common;
        if common.public_key_use.as_ref().is_some_and(|usage| *usage != PublicKeyUse::Signature) {
            return None;
        }
        let operations = common.key_operations.as_ref();
        if operations.is_some_and(|all| !all.contains(&KeyOperations::Verify)) {
            return None;
        }
        let algorithm = match common.key_algorithm {
            Some(named) => {
                let known = Algorithm::try_from(named).ok()?;
                Some(self.algorithms.contains(&known).then_some(known)?)
            }
            None => None,
        };
        // What a key is decides what it may be used with: a secret in a set is nobody's.
        let algorithm = match (&jwk.algorithm, family) {
            (AlgorithmParameters::RSA(key), AlgorithmFamily::Rsa) => {
                (bytes_of(&key.n) >= RSA_BYTES_MIN).then_some(algorithm)?
            }
            (AlgorithmParameters::EllipticCurve(key), AlgorithmFamily::Ec) => {
                let of_curve = match key.curve {
                    EllipticCurve::P256 => Algorithm::ES256,
                    EllipticCurve::P384 => Algorithm::ES384,
                    _ => return None,
                };
                let fits =
                    self.algorithms.contains(&of_curve) && algorithm.is_none_or(|named| named == of_curve);
                fits.then_some(Some(of_curve))?
            }
            (AlgorithmParameters::OctetKeyPair(key), AlgorithmFamily::Ed) => {
                (key.curve == EllipticCurve::Ed25519).then_some(algorithm)?
            }
            _ => return None,
        };
        let kid = common.key_id.as_deref().unwrap_or_default();
        let key = DecodingKey::from_jwk(jwk).ok().filter(|_| kid.len() <= KID_BYTES_MAX)?;
        Some((kid.into(), Known { key: Arc::new(key), algorithm, gone: None }))
    }
}

/// How many bytes a number in base64url has, leading zeros aside.
fn bytes_of(number: &str) -> usize {
    use base64::Engine as _;
    let decoded = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(number).unwrap_or_default();
    decoded.iter().skip_while(|byte| **byte == 0).count()
}

impl Namespace {
    /// Whether the keys of its business system could not be fetched when that was last tried.
    pub(crate) fn keys_failed(&self) -> bool {
        self.jwks().is_some_and(|jwks| jwks.failed.load(Ordering::Relaxed))
    }

    fn jwks(&self) -> Option<Arc<Jwks>> {
        self.verifier.load().jwks().cloned()
    }
}

impl Node {
    /// Has the keys of a namespace fetched, if it has any to fetch and that was not tried just now.
    pub(crate) async fn look_for_keys(&self, namespace: &Namespace) {
        let Some(jwks) = namespace.jwks() else { return };
        let client = self.outbound.clone();
        // Whoever asked may go away; what was begun is of use to the others.
        let _ = self.runtime.spawn(async move { jwks.look_again(&client, AGAIN_AFTER).await }).await;
    }
}

/// Fetches what is old, until the node is gone.
pub(crate) async fn run(node: Weak<Node>) {
    loop {
        {
            let Some(node) = node.upgrade() else { return };
            let sets: Vec<_> = node.namespaces().iter().filter_map(|namespace| namespace.jwks()).collect();
            let client = &node.outbound;
            let looks =
                stream::iter(sets).map(|jwks| async move { jwks.look_again(client, FRESH_FOR).await });
            looks.buffer_unordered(SIDE_BY_SIDE).collect::<()>().await;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
