//! What the node asks of a store about hooks: what they are to be told, until they have heard it.

use bytes::Bytes;
use tidings_model::{HookName, NamespaceName, NoticeId, Timestamp};

use super::Answer;

/// What hooks are to be told. Each hook has two piles: what waits for it, and what was given up and is kept. A pile
/// is in the order of its ids as text.
pub trait Notices {
    /// Adds to what waits, durably and in one step. What waits already under its id stays as it is; for each such one its
    /// hook is answered.
    fn enqueue(&self, notices: Vec<(HookKey, WaitingNotice)>) -> Answer<'_, Vec<HookKey>>;

    /// Adds to what waits, and sets or removes settings, durably and in one step: what has happened and that hooks are to
    /// be told of it stand on disk together or not at all. Answers as [`Notices::enqueue`].
    fn enqueue_and_put(
        &self,
        notices: Vec<(HookKey, WaitingNotice)>,
        settings: Vec<(String, Option<Bytes>)>,
    ) -> Answer<'_, Vec<HookKey>>;

    /// The first ones of a pile.
    fn notices(&self, of: &HookKey, pile: Pile, limit: usize) -> Answer<'_, Vec<WaitingNotice>>;

    /// The next ones of a pile, behind this id, whether it is there or not.
    fn notices_after(
        &self,
        of: &HookKey,
        pile: Pile,
        after: &NoticeId,
        limit: usize,
    ) -> Answer<'_, Vec<WaitingNotice>>;

    /// Notes how the attempts at something that waits have gone; nothing when it does not wait (any more). Not
    /// synced on its own: losing it tells the hook sooner.
    fn attempted(&self, of: &HookKey, id: &NoticeId, attempts: Tries) -> Answer<'_, ()>;

    /// Removes from a pile what is there; how much that was. Not synced on its own: losing it tells the hook again.
    fn remove(&self, of: &HookKey, pile: Pile, ids: Vec<NoticeId>) -> Answer<'_, u64>;

    /// Gives up what waits, and keeps it; how much that was. Not synced on its own: losing it tries again.
    fn bury(&self, of: &HookKey, ids: Vec<NoticeId>) -> Answer<'_, u64>;

    /// Has what was given up wait again, durably, as if nothing had been tried; how much that was.
    fn revive(&self, of: &HookKey, ids: Vec<NoticeId>) -> Answer<'_, u64>;

    /// The hooks that have anything, and how much waits and is kept of each.
    fn piles(&self) -> Answer<'_, Vec<(HookKey, Piles)>>;
}

/// Which hook.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HookKey {
    /// Whose it is.
    pub namespace: NamespaceName,
    /// What it is called.
    pub hook: HookName,
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pile {
    /// What the hook is still to be told.
    Waiting,
    /// What was given up.
    Dead,
}

/// How much there is for a hook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Piles {
    /// How much waits.
    pub waiting: u64,
    /// How much was given up and is kept.
    pub dead: u64,
}

/// Something that a hook is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingNotice {
    /// Its id: later ones sort behind it.
    pub id: NoticeId,
    /// Since when it waits.
    pub since: Timestamp,
    /// What it says, as it is sent.
    pub body: Bytes,
    /// How the attempts have gone.
    pub attempts: Tries,
}

/// How attempts have gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tries {
    /// How many have failed.
    pub failed: u32,
    /// Since when every attempt at this hook has failed; of no meaning when none has.
    pub failing_since: Timestamp,
    /// When the next one is to be made.
    pub next_at: Timestamp,
}
