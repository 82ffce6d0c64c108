//! How often pushes are taken, and clients may publish or ask for anything: a token bucket for each namespace, each key, each
//! user and each device.
//!
//! A bucket knows when it will be full again, and nothing else; so who asks takes its token and is judged in one step, and of
//! many who ask at once no more are let through than there are tokens.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::time::Duration;

pub use tidings_hub::rates::Bucket;
use tidings_hub::rates::{Buckets, Rate};
use tidings_model::limit::REQUESTS_BURST;
use tidings_model::{Ordinal, Timestamp, UserId};

use crate::{Namespace, Node};

/// Users and devices of which it is known sharply how often they have done something lately, over all namespaces: a megabyte
/// for each kind of it. With more of them at once some are limited less sharply.
const CLIENTS: usize = 1 << 16;

/// What somebody may publish at once, where that is more than in a second: a word and who types it.
const PUBLISH_BURST: u32 = 5;

/// It was too often. After this time there is room for one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryAfter(pub Duration);

impl RetryAfter {
    /// In milliseconds, rounded up.
    #[must_use]
    pub fn as_ms(self) -> u64 {
        self.0.as_micros().div_ceil(1_000) as u64
    }

    /// In seconds, rounded up: for the header `Retry-After`.
    #[must_use]
    pub fn as_secs(self) -> u64 {
        self.as_ms().div_ceil(1_000).max(1)
    }
}

impl std::fmt::Display for RetryAfter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "retry in {} ms", self.as_ms())
    }
}

/// How often the clients of all namespaces have done something lately.
#[derive(Debug)]
pub(crate) struct Clients {
    published: Buckets,
    asked: Buckets,
    hasher: RandomState,
}

impl Default for Clients {
    fn default() -> Self {
        let buckets = || Buckets::new(CLIENTS, RandomState::new());
        Self { published: buckets(), asked: buckets(), hasher: RandomState::new() }
    }
}

impl Clients {
    /// The one of a namespace that a bucket is for.
    fn whose(&self, namespace: &Namespace, who: impl Hash) -> u64 {
        self.hasher.hash_one((namespace.name.as_str(), who))
    }
}

/// Whoever publishes: a user, with all of its devices, so that nobody may do more by having more of them; or a device that
/// has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Publisher<'a> {
    /// A user.
    User(&'a UserId),
    /// A device without a user.
    Device(Ordinal),
}

fn micros(now: Timestamp) -> u64 {
    now.0.saturating_mul(1_000)
}

/// Takes a token of a bucket that gets so many a second, and holds one second's worth; 0 for no limit.
pub(crate) fn take(bucket: &Bucket, per_second: u32, now: Timestamp) -> Result<(), RetryAfter> {
    let Some(rate) = Rate::new(per_second, per_second) else { return Ok(()) };
    bucket.take(micros(now), rate).map_err(|wait| RetryAfter(Duration::from_micros(wait)))
}

impl Namespace {
    /// Counts a push by the rate of the namespace.
    ///
    /// # Errors
    /// [`RetryAfter`] when there have been too many.
    pub(crate) fn may_push(&self, now: Timestamp) -> Result<(), RetryAfter> {
        take(&self.pushes, self.settings().limits.pushes_per_second, now)
    }
}

impl Node {
    /// Counts what somebody publishes, by `limits.publish_per_second` of its namespace. To be asked before anything is done
    /// with it.
    ///
    /// # Errors
    /// [`RetryAfter`] when it has published too often.
    pub fn may_publish(
        &self,
        namespace: &Namespace,
        who: Publisher<'_>,
        now: Timestamp,
    ) -> Result<(), RetryAfter> {
        let per_second = namespace.settings().limits.publish_per_second;
        let Some(rate) = Rate::new(per_second, per_second.max(PUBLISH_BURST)) else { return Ok(()) };
        let whose = self.clients.whose(namespace, who);
        let taken = self.clients.published.take(whose, micros(now), rate);
        taken.map_err(|wait| RetryAfter(Duration::from_micros(wait)))
    }

    /// Counts what a device asks for, by `limits.requests_per_second` of its namespace: one that is as much work as `cost`
    /// small ones. To be asked before anything is done about it.
    ///
    /// # Errors
    /// [`RetryAfter`] when it has asked too often.
    pub fn may_ask(&self, namespace: &Namespace, device: Ordinal, cost: u32) -> Result<(), RetryAfter> {
        let per_second = namespace.settings().limits.requests_per_second;
        let Some(rate) = Rate::new(per_second, per_second.max(REQUESTS_BURST)) else { return Ok(()) };
        let whose = self.clients.whose(namespace, device.0);
        let taken = self.clients.asked.take(whose, micros(self.now()), rate.costing(cost));
        taken.map_err(|wait| RetryAfter(Duration::from_micros(wait)))
    }
}
