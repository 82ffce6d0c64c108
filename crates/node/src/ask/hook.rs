//! The hook that decides who may connect, as it is configured and kept.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings_outbound::hook::{Destination, HookUrl};

use crate::notify::Secret;

/// How long a hook has to answer a question, unless the namespace says otherwise.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(3);

/// How long it may have, in milliseconds. A client that connects waits for it.
pub const TIMEOUT_MS: std::ops::RangeInclusive<u64> = 100..=10_000;

/// The hook that decides who may connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Kept", into = "Kept")]
pub struct ConnectHook {
    /// Where it is.
    pub url: HookUrl,
    /// How long it has to answer, in milliseconds.
    pub timeout_ms: u64,
    /// What questions are signed with; without one they are not signed.
    pub secret: Option<Secret>,
    /// Whether it may have a private address.
    pub allow_private: bool,
}

impl ConnectHook {
    /// Where questions go.
    #[must_use]
    pub fn destination(&self) -> Destination {
        Destination {
            url: self.url.clone(),
            secret: self.secret.as_ref().map(|secret| secret.0.clone()),
            allow_private: self.allow_private,
        }
    }

    /// How long it has to answer.
    pub(super) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}

/// The hook in the settings of a namespace, as they are stored.
#[derive(Serialize, Deserialize)]
struct Kept {
    url: String,
    timeout_ms: u64,
    secret: Option<String>,
    allow_private: bool,
}

impl From<ConnectHook> for Kept {
    fn from(hook: ConnectHook) -> Self {
        Self {
            url: hook.url.as_str().to_owned(),
            timeout_ms: hook.timeout_ms,
            secret: hook.secret.map(|secret| secret.0),
            allow_private: hook.allow_private,
        }
    }
}

impl TryFrom<Kept> for ConnectHook {
    type Error = String;

    fn try_from(kept: Kept) -> Result<Self, String> {
        Ok(Self {
            url: HookUrl::parse(&kept.url).map_err(|why| format!("the URL of the connect hook {why}"))?,
            timeout_ms: kept.timeout_ms,
            secret: kept.secret.map(Secret),
            allow_private: kept.allow_private,
        })
    }
}
