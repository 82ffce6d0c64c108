//! A hook as it is configured and kept.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings_model::HookName;
use tidings_outbound::hook::{Destination, HookUrl};

use super::NoticeKind;
use crate::ask::{Question, TIMEOUT_DEFAULT};

/// How long the secret of a hook may be, in bytes.
pub const SECRET_BYTES: std::ops::RangeInclusive<usize> = 16..=256;

/// Most notices in one call.
pub const BATCH_MAX: usize = 100;

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
    /// What it is asked: of a namespace's hooks one at most each.
    pub questions: Vec<Question>,
    /// How many notices it is told in one call, at most: with 1 each is the body of a call of its own, else the body is a list.
    pub batch: usize,
    /// How long it has to answer a question, in milliseconds.
    pub timeout_ms: u64,
    /// What its calls are signed with.
    pub secret: Secret,
    /// Whether it may have a private address.
    pub allow_private: bool,
}

impl Hook {
    /// The words for what it is told and asked.
    pub fn words(&self) -> impl Iterator<Item = &'static str> {
        let asked = self.questions.iter().map(|question| question.as_str());
        self.events.iter().map(|kind| kind.as_str()).chain(asked)
    }

    /// Whether it wants to hear of this.
    #[must_use]
    pub fn wants(&self, kind: NoticeKind) -> bool {
        self.events.contains(&kind)
    }

    /// Whether it is asked this.
    pub(crate) fn answers(&self, question: Question) -> bool {
        self.questions.contains(&question)
    }

    /// How long it has to answer a question.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// Where its calls go.
    pub(crate) fn destination(&self) -> Destination {
        Destination {
            url: self.url.clone(),
            secret: Some(self.secret.0.clone()),
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
    /// What it is told, and what it is asked.
    events: Vec<String>,
    #[serde(default = "batch_default")]
    batch: usize,
    #[serde(default = "timeout_default")]
    timeout_ms: u64,
    secret: String,
    allow_private: bool,
}

const fn batch_default() -> usize {
    1
}

fn timeout_default() -> u64 {
    TIMEOUT_DEFAULT.as_millis() as u64
}

impl From<Hook> for Kept {
    fn from(hook: Hook) -> Self {
        Self {
            name: hook.name.to_string(),
            url: hook.url.as_str().to_owned(),
            events: hook.words().map(str::to_owned).collect(),
            batch: hook.batch,
            timeout_ms: hook.timeout_ms,
            secret: hook.secret.0,
            allow_private: hook.allow_private,
        }
    }
}

impl TryFrom<Kept> for Hook {
    type Error = String;

    fn try_from(kept: Kept) -> Result<Self, String> {
        let (mut events, mut questions) = (Vec::new(), Vec::new());
        for name in &kept.events {
            match (NoticeKind::parse(name), Question::of_hook(name)) {
                (Some(kind), _) => events.push(kind),
                (None, Some(question)) => questions.push(question),
                (None, None) => return Err(format!("there is no event {name:?}")),
            }
        }
        Ok(Self {
            name: HookName::new(&kept.name).map_err(|why| format!("the name of a hook {why}"))?,
            url: HookUrl::parse(&kept.url).map_err(|why| format!("the URL of a hook {why}"))?,
            events,
            questions,
            batch: kept.batch,
            timeout_ms: kept.timeout_ms,
            secret: Secret(kept.secret),
            allow_private: kept.allow_private,
        })
    }
}
