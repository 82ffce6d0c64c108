//! What the business system is told by itself: notices, to the hooks of a namespace that want them.
//!
//! A notice is written down for each hook that wants it before anybody relies on it, and removed when the hook has
//! answered 2xx. Between the two one sender for each hook tries, in order, for as long as it takes up to a day: at
//! least once, therefore, and never twice because of another hook. What a call looks like on the wire is not
//! known here.
//!
//! Reading order: `hook` (what is configured), `body` (what is sent), `queues` (who has what waiting), `sender` (the
//! actor of one hook), `pace` (when it tries again).

mod body;
mod hook;
mod pace;
mod queues;
mod sender;

use std::collections::HashMap;

use futures_util::future::join_all;
use tidings_model::{HookName, NoticeId, Timestamp};
use tidings_store::{HookKey, StoreError, Tries, WaitingNotice};

use crate::{Namespace, Node};
pub use hook::{Hook, SECRET_BYTES, Secret};
pub(crate) use queues::Hooks;
pub use tidings_outbound::hook::{Failure, HookUrl, URL_BYTES_MAX, UrlError};
pub use tidings_store::Piles;

/// What a notice is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    /// A device gave no receipt in time, and there is no other way to reach it (any more).
    Undelivered,
    /// A device gave no receipt in time, and was tried another way.
    Escalated,
}

impl NoticeKind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Undelivered, Self::Escalated];

    /// The type of the notice in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Undelivered => "undelivered",
            Self::Escalated => "escalated",
        }
    }

    /// The kind with this name in the API.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What it is about.
    pub kind: NoticeKind,
    /// When it happened.
    pub at: Timestamp,
    /// What happened: a JSON object.
    pub data: String,
}

impl Namespace {
    /// Whether any hook wants to hear of this.
    #[must_use]
    pub fn wants(&self, kind: NoticeKind) -> bool {
        self.settings().hooks.iter().any(|hook| hook.wants(kind))
    }
}

impl Node {
    /// Tells the hooks that want to hear of it. Answers when that is on disk; delivery goes on by itself.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub async fn notify(&self, namespace: &Namespace, notices: Vec<Notice>) -> Result<(), StoreError> {
        let settings = namespace.settings();
        let mut entries = Vec::new();
        let mut counts: HashMap<HookKey, u64> = HashMap::new();
        for notice in &notices {
            let mut wanting = settings.hooks.iter().filter(|hook| hook.wants(notice.kind)).peekable();
            if wanting.peek().is_none() {
                continue;
            }
            let now = self.now();
            let id = self.ids.next(now);
            let id = NoticeId::new(id.as_str()).unwrap_or_else(|_| unreachable!("one name is like another"));
            let body = body::of(&id, &namespace.name, notice);
            for hook in wanting {
                let key = HookKey { namespace: namespace.name.clone(), hook: hook.name.clone() };
                *counts.entry(key.clone()).or_default() += 1;
                let attempts = Tries::default();
                entries
                    .push((key, WaitingNotice { id: id.clone(), since: now, body: body.clone(), attempts }));
            }
        }
        if entries.is_empty() {
            return Ok(());
        }
        self.hooks.enqueue(entries, counts).await
    }

    /// Has what a hook was not told in time told after all. How much that is; `None` when there is no such hook.
    ///
    /// # Errors
    /// When the store cannot be read or written; some of it may be on its way then.
    pub async fn replay(&self, namespace: &Namespace, hook: &HookName) -> Result<Option<u64>, StoreError> {
        match key_of(namespace, hook) {
            Some(key) => self.hooks.replay(&key).await.map(Some),
            None => Ok(None),
        }
    }

    /// How much waits for a hook, and was given up and is kept; `None` when there is no such hook.
    #[must_use]
    pub fn hook_piles(&self, namespace: &Namespace, hook: &HookName) -> Option<Piles> {
        key_of(namespace, hook).map(|key| self.hooks.piles(&key))
    }

    /// Judges the addresses that these hooks have now, except for those that were hooks before: which of them have
    /// what wrong with them. They are judged again whenever they are called.
    pub async fn look_at_hooks(&self, hooks: &[Hook], before: &[Hook]) -> Vec<(usize, Failure)> {
        let known = |hook: &Hook| {
            before.iter().any(|old| old.url == hook.url && old.allow_private == hook.allow_private)
        };
        let look = async |(index, hook): (usize, &Hook)| {
            let looked = self.hooks.look(&hook.url, hook.allow_private).await;
            looked.err().map(|why| (index, why))
        };
        let new = hooks.iter().enumerate().filter(|(_, hook)| !known(hook));
        join_all(new.map(look)).await.into_iter().flatten().collect()
    }
}

fn key_of(namespace: &Namespace, hook: &HookName) -> Option<HookKey> {
    let known = namespace.settings().hooks.iter().any(|known| known.name == *hook);
    known.then(|| HookKey { namespace: namespace.name.clone(), hook: hook.clone() })
}

#[cfg(test)]
mod tests;
