//! What waits for the actor of a namespace, and whether it is at work.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidings_hub::directory::UserKey;
use tidings_model::{Disconnect, Ordinal, RoomName, Seq, Timestamp};
use tokio::sync::{Notify, oneshot};

use super::Person;

/// Most hints that wait in a namespace. What happens beyond is not told; who is online is looked up anew.
const HINTS_MAX: usize = 262_144;

/// Most hints that wait before receipts are no longer told of: who comes and goes matters more.
const HINTS_BEFORE_ACKS: usize = HINTS_MAX / 2;

/// Something that has happened, or where to look.
#[derive(Debug)]
pub(crate) enum Hint {
    /// A connection has come.
    Came {
        who: Person,
        user: Option<UserKey>,
        /// Whether it was the first one of the device.
        first: bool,
        /// The rooms that the device is in.
        rooms: Vec<RoomName>,
        at: Timestamp,
    },
    /// A connection has gone.
    Went {
        who: Ordinal,
        user: Option<UserKey>,
        connection: u64,
        why: Disconnect,
        /// Whether it was the last one of the device.
        last: bool,
        at: Timestamp,
    },
    /// A device has changed rooms.
    Moved { who: Person, joined: Vec<RoomName>, left: Vec<RoomName>, at: Timestamp },
    /// A device is not known any more: it was forgotten, or became another user's.
    Gone(Person),
    /// A device has given a receipt.
    Acked { device: Ordinal, seq: Seq, at: Timestamp },
    /// Somebody waits for everything before this.
    Flush(oneshot::Sender<()>),
}

/// What waits for the actor of a namespace.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    waiting: Mutex<Waiting>,
    changed: Notify,
    /// What was not told because too much waited.
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    hints: Vec<Hint>,
    at_work: bool,
    /// Hints were lost: who is online has to be looked up.
    stale: bool,
}

/// What an actor takes at once.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) hints: Vec<Hint>,
    pub(super) stale: bool,
    pub(super) more: bool,
}

impl Inbox {
    /// Leaves a hint. Costs a short lock and never waits.
    pub(crate) fn push(&self, hint: Hint) {
        let mut waiting = self.lock();
        let most = match hint {
            Hint::Acked { .. } => HINTS_BEFORE_ACKS,
            Hint::Came { .. } | Hint::Went { .. } | Hint::Moved { .. } | Hint::Gone(_) => HINTS_MAX,
            Hint::Flush(_) => usize::MAX,
        };
        if waiting.hints.len() >= most {
            waiting.stale |= !matches!(hint, Hint::Acked { .. });
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.hints.push(hint);
        let wake = waiting.hints.len() == 1;
        drop(waiting);
        if wake {
            self.changed.notify_one();
        }
    }

    /// Has the actor look at the rules again.
    pub(crate) fn look(&self) {
        self.changed.notify_one();
    }

    /// Whether an actor is to begin: none is at work. It counts as begun from now on.
    pub(super) fn begin(&self) -> bool {
        !std::mem::replace(&mut self.lock().at_work, true)
    }

    /// Whether the actor may end, because nothing waits. Another one may begin from then on.
    pub(super) fn end(&self) -> bool {
        let mut waiting = self.lock();
        waiting.at_work = !waiting.hints.is_empty();
        !waiting.at_work
    }

    /// Takes the first `most` of what waits.
    pub(super) fn take(&self, most: usize) -> Taken {
        let mut waiting = self.lock();
        let count = most.min(waiting.hints.len());
        let hints = if count == waiting.hints.len() {
            std::mem::take(&mut waiting.hints)
        } else {
            waiting.hints.drain(..count).collect()
        };
        Taken { hints, stale: std::mem::take(&mut waiting.stale), more: !waiting.hints.is_empty() }
    }

    /// How much was not told since this was last asked.
    pub(super) fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }

    /// Waits until there may be something to do, or for so long.
    pub(super) async fn changed(&self, wait: Duration) {
        tokio::select! {
            () = self.changed.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }

    /// Waits until everything that waits now is done with. At once where no actor is at work.
    pub(super) async fn flushed(&self) {
        let (done, is_done) = oneshot::channel();
        {
            let mut waiting = self.lock();
            if !waiting.at_work {
                return;
            }
            waiting.hints.push(Hint::Flush(done));
        }
        self.changed.notify_one();
        // An actor that ends first has nothing left to do.
        let _ = is_done.await;
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
