//! A push as the older systems made them, which could say little else than what, and to whom: it is kept for a day for who is away.

use std::time::Duration;

use bytes::Bytes;
use tidings_model::{Durability, EventName, Except, Priority, Push, Target, limit};

/// What its event is called.
const EVENT: &str = "push";

/// A push of JSON text.
pub(super) fn push(to: Target, data: Bytes, aside: Bytes) -> Push {
    Push {
        to,
        except: Except::default(),
        event: EventName::new(EVENT).unwrap_or_else(|_| unreachable!("letters are a name")),
        data,
        id: None,
        fingerprint: [0; 16],
        ttl: Duration::from_secs(limit::TTL_DEFAULT_SECS),
        priority: Priority::Normal,
        durability: Durability::Durable,
        keep: true,
        collapse_key: None,
        deliver_at: None,
        escalate_after: None,
        offline: Bytes::new(),
        from: None,
        aside,
    }
}

/// Text as JSON.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
