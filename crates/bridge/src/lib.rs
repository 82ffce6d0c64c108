//! Somebody else's Redis: what is published there is heard, and something is said there.
//!
//! Backends of an older system publish with plain `PUBLISH`, which has neither positions nor receipts: what is published while
//! nobody is subscribed is lost, and nothing can tell what it was. So this crate says how long it was away instead, is away as
//! briefly as it can, and never waits for whoever reads: what does not fit is dropped and counted.
//!
//! It knows no room, no namespace and no push; what a message becomes is decided by whoever reads it.
//!
//! Reading order: [`subscriber`] (what is published comes in), [`counters`] (what came and what did not), [`speaker`] (something is
//! said), `backoff` (when it is tried again).

mod backoff;
pub mod counters;
pub mod speaker;
pub mod subscriber;
#[cfg(test)]
mod tests;

pub use counters::{Counters, Dropped};
pub use speaker::{NotSaid, Speaker};
pub use subscriber::{Heard, Options, Subscriber, Timing};

/// Why a URL is none of a Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be the URL of a Redis, as in \"redis://127.0.0.1:6379\" or \"rediss://user:password@redis.example:6379/0\""
)]
pub struct BadUrl;

/// Checks a URL without going there.
///
/// # Errors
/// When it is none that can be gone to.
pub fn check_url(url: &str) -> Result<(), BadUrl> {
    client(url).map(drop)
}

fn client(url: &str) -> Result<redis::Client, BadUrl> {
    redis::Client::open(url).map_err(|_| BadUrl)
}

/// Where it is, as it may be logged: without the password.
fn place(client: &redis::Client) -> String {
    client.get_connection_info().addr().to_string()
}
