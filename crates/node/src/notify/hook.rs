//! A hook as it is configured and kept.

use std::fmt;

use serde::{Deserialize, Serialize};
use tidings_model::HookName;
use tidings_outbound::hook::{Destination, HookUrl};

use super::NoticeKind;

/// How long the secret of a hook may be, in bytes.
pub const SECRET_BYTES: std::ops::RangeInclusive<usize> = 16..=256;

/// A hook of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Kept", into = "Kept")]
pub struct Hook {
    /// What it is called, once in a namespace. What waits for it goes by this name.
    pub name: HookName,
    /// Where it is.
    pub url: HookUrl,
    /// What it wants to hear of.
    pub events: Vec<NoticeKind>,
    /// What its calls are signed with.
    pub secret: Secret,
    /// Whether it may have a private address.
    pub allow_private: bool,
}

impl Hook {
    /// Whether it wants to hear of this.
    #[must_use]
    pub fn wants(&self, kind: NoticeKind) -> bool {
        self.events.contains(&kind)
    }

    /// Where its calls go.
    pub(super) fn destination(&self) -> Destination {
        Destination {
            url: self.url.clone(),
            secret: self.secret.0.clone(),
            allow_private: self.allow_private,
        }
    }
}

/// What calls are signed with. Not to be seen in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A hook in the settings of a namespace, as they are stored.
#[derive(Serialize, Deserialize)]
struct Kept {
    name: String,
    url: String,
    events: Vec<String>,
    secret: String,
    allow_private: bool,
}

impl From<Hook> for Kept {
    fn from(hook: Hook) -> Self {
        Self {
            name: hook.name.to_string(),
            url: hook.url.as_str().to_owned(),
            events: hook.events.iter().map(|kind| kind.as_str().to_owned()).collect(),
            secret: hook.secret.0,
            allow_private: hook.allow_private,
        }
    }
}

impl TryFrom<Kept> for Hook {
    type Error = String;

    fn try_from(kept: Kept) -> Result<Self, String> {
        let kind =
            |name: &String| NoticeKind::parse(name).ok_or_else(|| format!("there is no event {name:?}"));
        Ok(Self {
            name: HookName::new(&kept.name).map_err(|why| format!("the name of a hook {why}"))?,
            url: HookUrl::parse(&kept.url).map_err(|why| format!("the URL of a hook {why}"))?,
            events: kept.events.iter().map(kind).collect::<Result<_, _>>()?,
            secret: Secret(kept.secret),
            allow_private: kept.allow_private,
        })
    }
}
