//! `offline` of a namespace: what happens to what a device does not get in time, and when a user is taken for gone.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings_model::limit::{ESCALATE_AFTER_SECS_MAX, OFFLINE_GRACE_SECS_MAX};
use tidings_node::namespace::Offline;
use utoipa::ToSchema;

use crate::shape::{Shape, shown};
use crate::{duration, openapi};

/// What it looks like in a request.
pub(super) const SHAPE: Shape = Shape::Object(&[("escalate_after", Shape::Text), ("grace", Shape::Text)]);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfflineBody {
    escalate_after: Option<String>,
    grace: Option<String>,
}

impl OfflineBody {
    /// Checks it; what is wrong is told to `wrong`, by field.
    pub(super) fn check(&self, mut wrong: impl FnMut(&str, String)) -> Offline {
        let mut offline = Offline::default();
        if let Some(text) = &self.escalate_after {
            match escalate_after(text) {
                Ok(after) => offline.escalate_after_ms = after.as_millis() as u64,
                Err(why) => wrong("offline.escalate_after", why),
            }
        }
        if let Some(text) = &self.grace {
            match at_most(text, OFFLINE_GRACE_SECS_MAX) {
                Ok(grace) => offline.grace_ms = grace.as_millis() as u64,
                Err(why) => wrong("offline.grace", why),
            }
        }
        offline
    }
}

/// Reads how long a device may be without a receipt before another way is tried.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn escalate_after(text: &str) -> Result<Duration, String> {
    at_most(text, ESCALATE_AFTER_SECS_MAX)
}

fn at_most(text: &str, seconds: u64) -> Result<Duration, String> {
    let most = Duration::from_secs(seconds);
    match duration::parse(text) {
        Ok(after) if after <= most => Ok(after),
        Ok(_) => Err(format!("is {}, at most {} is allowed", shown(text), duration::show(most))),
        Err(why) => Err(format!("is {}, {why}", shown(text))),
    }
}

/// What happens to what a device does not get in time, and when a user is taken for gone.
#[derive(Serialize, ToSchema)]
#[schema(as = NamespaceOffline)]
pub(super) struct OfflineShown {
    /// How long a device may be without a receipt before another way is tried, unless a push says otherwise.
    #[schema(value_type = openapi::Duration)]
    escalate_after: String,
    /// How long a user may be without a connection before hooks are told `offline`.
    #[schema(value_type = openapi::Duration)]
    grace: String,
}

impl OfflineShown {
    pub(super) fn of(offline: &Offline) -> Self {
        Self {
            escalate_after: duration::show(Duration::from_millis(offline.escalate_after_ms)),
            grace: duration::show(Duration::from_millis(offline.grace_ms)),
        }
    }
}
