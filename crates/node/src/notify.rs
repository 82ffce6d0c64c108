//! What the business system is told by itself: notices, to the hooks of a namespace that want them.
//!
//! A notice is written down for each hook that wants it before anybody relies on it, and removed when the hook has
//! answered 2xx. Between the two one sender for each hook tries, in order, for as long as it takes up to a day: at
//! least once, therefore, and never twice because of another hook. What a call looks like on the wire is not
//! known here.
//!
//! Reading order: `hook` (what is configured), `body` (what is sent), `queues` (who has what waiting), `sender` (the
//! actor of one hook), `pace` (when it tries again), `log` (what came of it lately).

mod body;
mod hook;
mod log;
mod pace;
mod queues;
mod sender;

use std::collections::HashMap;

use tidings_model::{HookName, NoticeId, Timestamp};
use tidings_store::{HookKey, StoreError, Tries};

use crate::presence::Interest;
use crate::{Namespace, Node};
pub(crate) use body::around as body;
pub(crate) use body::rfc3339;
pub use hook::{BATCH_MAX, Hook, SECRET_BYTES, Secret};
pub use log::{ATTEMPTS_MAX, Attempt};
pub(crate) use queues::Hooks;
pub use tidings_outbound::hook::{Failure, HookUrl, URL_BYTES_MAX, UrlError};
pub use tidings_store::{Piles, WaitingNotice};

/// What a notice is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    /// A device gave no receipt in time, and there is no other way to reach it (any more).
    Undelivered,
    /// A device gave no receipt in time, and was tried another way.
    Escalated,
    /// A user has a connection, who had none.
    Online,
    /// A user has had no connection for a while.
    Offline,
    /// A connection has ended.
    Disconnected,
    /// A device is in a room from now on.
    Joined,
    /// A device is in a room no longer.
    Left,
    /// A room has a member who is online, and had none.
    Occupied,
    /// A room has no member any more who is online.
    Vacated,
    /// A device has given a receipt.
    Acked,
}

impl NoticeKind {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Undelivered,
        Self::Escalated,
        Self::Online,
        Self::Offline,
        Self::Disconnected,
        Self::Joined,
        Self::Left,
        Self::Occupied,
        Self::Vacated,
        Self::Acked,
    ];

    /// The type of the notice in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Undelivered => "undelivered",
            Self::Escalated => "escalated",
            Self::Online => "online",
            Self::Offline => "offline",
            Self::Disconnected => "disconnected",
            Self::Joined => "joined",
            Self::Left => "left",
            Self::Occupied => "occupied",
            Self::Vacated => "vacated",
            Self::Acked => "acked",
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
    /// Its id, where it is the same one when it happens again after a crash; one is made up otherwise.
    pub id: Option<NoticeId>,
    /// What it is about.
    pub kind: NoticeKind,
    /// When it happened.
    pub at: Timestamp,
    /// What happened: a JSON object.
    pub data: String,
}

/// Too many hooks are being tried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many hooks are being tried out")]
pub struct TooManyTests;

/// Notices as they are written down.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    /// Each for one hook.
    entries: Vec<(HookKey, WaitingNotice)>,
    /// How many there are for each hook.
    counts: HashMap<HookKey, u64>,
}

impl Told {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.entries.extend(other.entries);
        other.counts.into_iter().for_each(|(key, count)| *self.counts.entry(key).or_default() += count);
    }
}

impl Namespace {
    /// Whether any hook wants to hear of this.
    #[must_use]
    pub fn wants(&self, kind: NoticeKind) -> bool {
        self.interest().has(Interest::of(kind))
    }
}

impl Node {
    /// Tells the hooks that want to hear of it. Answers when that is on disk; delivery goes on by itself.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub async fn notify(&self, namespace: &Namespace, notices: Vec<Notice>) -> Result<(), StoreError> {
        let told = self.told(namespace, &notices);
        if told.is_empty() { Ok(()) } else { self.hooks.enqueue(told, Vec::new()).await }
    }

    /// What is written down of notices, for the hooks that want to hear of them.
    pub(crate) fn told(&self, namespace: &Namespace, notices: &[Notice]) -> Told {
        let settings = namespace.settings();
        let mut told = Told::default();
        for notice in notices {
            let mut wanting = settings.hooks.iter().filter(|hook| hook.wants(notice.kind)).peekable();
            if wanting.peek().is_none() {
                continue;
            }
            let now = self.now();
            let id = notice.id.clone().unwrap_or_else(|| self.notice_id(now));
            let body = body::of(&id, &namespace.name, notice);
            for hook in wanting {
                let key = HookKey { namespace: namespace.name.clone(), hook: hook.name.clone() };
                *told.counts.entry(key.clone()).or_default() += 1;
                let attempts = Tries::default();
                let waiting = WaitingNotice { id: id.clone(), since: now, body: body.clone(), attempts };
                told.entries.push((key, waiting));
            }
        }
        told
    }

    /// An id for a notice that there is none like.
    fn notice_id(&self, now: Timestamp) -> NoticeId {
        self.ids.next(now)
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

    /// Tells a hook that it is being tried out: now, once, signed like anything else. What came of it; `None` when there is
    /// no such hook.
    ///
    /// # Errors
    /// When too many hooks are being tried out.
    pub async fn try_hook(
        &self,
        namespace: &Namespace,
        hook: &HookName,
    ) -> Result<Option<Attempt>, TooManyTests> {
        let settings = namespace.settings();
        let Some(hook) = settings.hooks.iter().find(|known| known.name == *hook) else { return Ok(None) };
        let now = self.now();
        let id = self.notice_id(now);
        let body = body(id.as_str(), "test", &namespace.name, now, "{}");
        self.hooks.try_out(hook, id, body).await.map(Some).ok_or(TooManyTests)
    }

    /// What came of the last attempts at a hook, the newest first; `None` when there is no such hook.
    #[must_use]
    pub fn hook_log(&self, namespace: &Namespace, hook: &HookName) -> Option<Vec<Attempt>> {
        key_of(namespace, hook).map(|key| self.hooks.log(&key))
    }

    /// What a hook was not told in time and is kept: behind `after`, at most `limit`. `None` when there is no such hook.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn dead_letters(
        &self,
        namespace: &Namespace,
        hook: &HookName,
        after: Option<NoticeId>,
        limit: usize,
    ) -> Result<Option<Vec<WaitingNotice>>, StoreError> {
        match key_of(namespace, hook) {
            Some(key) => self.hooks.dead(&key, after, limit).await.map(Some),
            None => Ok(None),
        }
    }

    /// How much waits for a hook, and was given up and is kept; `None` when there is no such hook.
    #[must_use]
    pub fn hook_piles(&self, namespace: &Namespace, hook: &HookName) -> Option<Piles> {
        key_of(namespace, hook).map(|key| self.hooks.piles(&key))
    }

    /// Judges the addresses that a hook has now. They are judged again whenever it is called.
    ///
    /// # Errors
    /// [`Failure`] says what is wrong with them.
    pub async fn look_at(&self, url: &HookUrl, allow_private: bool) -> Result<(), Failure> {
        self.outbound.look(url, allow_private).await
    }
}

fn key_of(namespace: &Namespace, hook: &HookName) -> Option<HookKey> {
    let known = namespace.settings().hooks.iter().any(|known| known.name == *hook);
    known.then(|| HookKey { namespace: namespace.name.clone(), hook: hook.clone() })
}

#[cfg(test)]
mod tests;
