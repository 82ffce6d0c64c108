//! The sender of one hook: takes what waits in order, tells it, and keeps trying.
//!
//! One actor for each hook, so that one that hangs holds up nobody else. It holds a few of the next notices; the
//! rest waits in the store. A failure holds for the hook, not for the notice: the next attempt is at the same one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tidings_model::{NoticeId, Timestamp};
use tidings_outbound::hook::{Failure, Line, Told};
use tidings_store::{Pile, StoreError, WaitingNotice};
use tokio::sync::watch;

use super::log::{self, Attempt};
use super::pace::Pace;
use super::queues::{Duty, Queue, STOP_GRACE, Shared};
use super::{BATCH_MAX, Hook, body};
use crate::metrics::HookOutcome;

/// Most notices of one hook in memory: as many as a call may have.
const IN_MEMORY_MAX: usize = BATCH_MAX;

/// Bytes of notices from which on no more are put into a call.
const BATCH_BYTES: usize = 256 * 1024;

/// How many notices are given up, replayed or removed in one step.
pub(super) const STEP: usize = 256;

/// How long a sender without work keeps its connection, and stays.
const IDLE: Duration = Duration::from_secs(30);

/// How long it sleeps at most: clocks may be set while it does.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// How long it waits after a failure of the store.
const AFTER_STORE_FAILURE: Duration = Duration::from_secs(1);

/// What a turn has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// There may be more to do.
    Again,
    /// The hook is to be left alone for this long.
    Wait(Duration),
    /// Nothing waits.
    Idle,
}

/// The sender of one hook.
pub(super) struct Sender {
    shared: Arc<Shared>,
    queue: Arc<Queue>,
    line: Option<(Arc<Hook>, Line)>,
    /// The next ones, if they have been read.
    next: VecDeque<WaitingNotice>,
    pace: Pace,
    /// Whether what was noted before the process began has been looked at.
    resumed: bool,
}

impl Sender {
    pub(super) fn new(shared: Arc<Shared>, queue: Arc<Queue>) -> Self {
        Self { shared, queue, line: None, next: VecDeque::new(), pace: Pace::default(), resumed: false }
    }

    /// Works until nothing has waited for a while, or the node stops.
    pub(super) async fn run(mut self, mut duty: Duty) {
        let mut stopping = self.shared.stopping.subscribe();
        let queue = Arc::clone(&self.queue);
        loop {
            let mut late = stopping.clone();
            let turn = tokio::select! {
                turn = self.turn() => turn,
                () = stopped_for_long(&mut late) => return,
            };
            if *stopping.borrow() {
                return;
            }
            let (idle, broken) = (matches!(turn, Ok(Turn::Idle)), turn.is_err());
            let pause = match turn {
                Ok(Turn::Again) => continue,
                Ok(Turn::Wait(pause)) => pause.min(SLEEP_MAX),
                Ok(Turn::Idle) => IDLE,
                Err(why) => {
                    let key = &queue.key;
                    tracing::error!(error = %why, namespace = %key.namespace, hook = %key.hook, "what waits for a hook cannot be read or written; trying again");
                    AFTER_STORE_FAILURE
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {
                    if idle && duty.end_if_idle() {
                        return;
                    }
                }
                // After a failure of the store what comes in would only have it tried again at once.
                () = queue.changed.notified(), if !broken => {}
                _ = stopping.wait_for(|stopping| *stopping) => return,
            }
        }
    }

    /// Does the next thing that is to be done.
    pub(super) async fn turn(&mut self) -> Result<Turn, StoreError> {
        // Looked at first: what is a hook again by now was none in between all the same.
        let left_out = *self.queue.left_out.borrow();
        let Some(hook) = self.queue.hook.load_full().filter(|_| !left_out) else {
            return self.forget().await;
        };
        if self.queue.waiting.load(Ordering::Acquire) > self.shared.bounds.waiting {
            self.give_up_surplus().await?;
        }
        if self.next.is_empty() {
            let store = &self.shared.store;
            self.next = store.notices(&self.queue.key, Pile::Waiting, IN_MEMORY_MAX).await?.into();
        }
        let Some(first) = self.next.front() else { return Ok(Turn::Idle) };
        if !std::mem::replace(&mut self.resumed, true) {
            self.pace = Pace::resumed(first.attempts);
        }
        if self.queue.renewed.swap(false, Ordering::AcqRel) {
            self.pace = Pace::default();
        }
        let wait = self.pace.wait(self.shared.clock.now());
        if wait > Duration::ZERO {
            return Ok(Turn::Wait(wait));
        }
        let (id, kind) = (first.id.clone(), log::kind_of(&first.body));
        let (notices, body) = call(&self.next, hook.batch);
        let told = Told { id: id.to_string(), body };
        let (at, began) = (self.shared.clock.now(), Instant::now());
        let mut left_out = self.queue.left_out.subscribe();
        // A call to what is no hook any more is not waited for.
        let heard = tokio::select! {
            biased;
            _ = left_out.wait_for(|left_out| *left_out) => return Ok(Turn::Again),
            heard = self.tell(&hook, &told) => heard,
        };
        let outcome = heard.clone();
        self.queue.log.add(Attempt { at, notices, id, kind, took: began.elapsed(), outcome });
        let outcome = heard.as_ref().map_or_else(Failure::word, |_| "accepted");
        self.shared.metrics.hook_attempts.get_or_create(&HookOutcome { outcome }).inc();
        match heard {
            Ok(_) => self.heard(&hook, notices).await,
            Err(why) => self.failed(&hook, &why).await,
        }
    }

    async fn tell(&mut self, hook: &Arc<Hook>, told: &Told) -> Result<u16, Failure> {
        // Never closed; should it be, the call is made all the same.
        let _call = self.shared.calls.acquire().await;
        let line = match &mut self.line {
            Some((known, line)) if Arc::ptr_eq(known, hook) => line,
            other => {
                let line = Line::new(self.shared.client.clone(), hook.destination());
                &mut other.insert((Arc::clone(hook), line)).1
            }
        };
        line.tell(told, self.shared.clock.now()).await
    }

    async fn heard(&mut self, hook: &Hook, notices: usize) -> Result<Turn, StoreError> {
        if self.pace.failed() > 0 {
            let key = &self.queue.key;
            tracing::info!(
                namespace = %key.namespace, hook = %key.hook, url = %hook.url, failed = self.pace.failed(),
                waiting = self.queue.waiting.load(Ordering::Acquire), "a hook hears again"
            );
        }
        self.pace = Pace::default();
        let ids = self.next.drain(..notices).map(|notice| notice.id).collect();
        let removed = self.shared.store.remove(&self.queue.key, Pile::Waiting, ids).await?;
        self.queue.less_waits(removed);
        Ok(Turn::Again)
    }

    async fn failed(&mut self, hook: &Hook, why: &Failure) -> Result<Turn, StoreError> {
        let now = self.shared.clock.now();
        self.pace.fail(now, u64::from_le_bytes(crate::ids::random()));
        let wait = self.pace.wait(now);
        let key = &self.queue.key;
        tracing::warn!(
            namespace = %key.namespace, hook = %key.hook, url = %hook.url, error = %why, failed = self.pace.failed(),
            next_in = ?wait, waiting = self.queue.waiting.load(Ordering::Acquire), "a hook does not hear"
        );
        // What waits behind it is read again when it is its turn.
        self.next.truncate(1);
        if let Some(first) = self.next.front() {
            self.shared.store.attempted(key, &first.id, self.pace.noted()).await?;
        }
        self.give_up(now).await?;
        Ok(Turn::Wait(wait))
    }

    /// Gives up what has been tried for long enough.
    async fn give_up(&mut self, now: Timestamp) -> Result<(), StoreError> {
        while self.next.front().is_some_and(|first| self.pace.gives_up(first, now)) {
            let found = self.shared.store.notices(&self.queue.key, Pile::Waiting, STEP).await?;
            let over = found.into_iter().filter(|notice| self.pace.gives_up(notice, now));
            let ids: Vec<_> = over.map(|notice| notice.id).collect();
            if ids.is_empty() {
                break;
            }
            self.bury(ids, "it has failed for a day").await?;
            self.next = self.shared.store.notices(&self.queue.key, Pile::Waiting, 1).await?.into();
        }
        Ok(())
    }

    /// Gives up the oldest of what waits, down to as many as may.
    async fn give_up_surplus(&mut self) -> Result<(), StoreError> {
        loop {
            let surplus =
                self.queue.waiting.load(Ordering::Acquire).saturating_sub(self.shared.bounds.waiting);
            let step = usize::try_from(surplus).unwrap_or(STEP).min(STEP);
            if step == 0 {
                return Ok(());
            }
            let found = self.shared.store.notices(&self.queue.key, Pile::Waiting, step).await?;
            if found.is_empty() {
                return Ok(());
            }
            self.bury(found.into_iter().map(|notice| notice.id).collect(), "too many wait for it").await?;
        }
    }

    /// Takes these out of what waits, and keeps them as far as there is room.
    async fn bury(&mut self, ids: Vec<NoticeId>, why: &str) -> Result<(), StoreError> {
        let key = self.queue.key.clone();
        self.next.clear();
        let count = self.shared.store.bury(&key, ids).await?;
        self.queue.less_waits(count);
        self.queue.dead.fetch_add(count, Ordering::AcqRel);
        self.shared.metrics.hook_dead_letters.inc_by(count);
        tracing::error!(
            namespace = %key.namespace, hook = %key.hook, count, because = why,
            kept = self.queue.dead.load(Ordering::Acquire).min(self.shared.bounds.dead), "a hook will not be told, unless this is replayed"
        );
        loop {
            let surplus = self.queue.dead.load(Ordering::Acquire).saturating_sub(self.shared.bounds.dead);
            let step = usize::try_from(surplus).unwrap_or(STEP).min(STEP);
            let removed = self.remove_some(Pile::Dead, step).await?;
            if removed == 0 {
                return Ok(());
            }
            self.shared.metrics.hook_dead_letters_lost.inc_by(removed);
        }
    }

    /// There is no such hook any more: nothing is left behind.
    async fn forget(&mut self) -> Result<Turn, StoreError> {
        (self.line, self.pace, self.resumed) = (None, Pace::default(), false);
        self.next.clear();
        let waiting = self.remove_some(Pile::Waiting, STEP).await?;
        let dead = self.remove_some(Pile::Dead, STEP).await?;
        if waiting + dead > 0 {
            return Ok(Turn::Again);
        }
        self.queue.left_out.send_replace(false);
        Ok(if self.queue.hook.load().is_some() { Turn::Again } else { Turn::Idle })
    }

    /// Removes the first ones of a pile; how many.
    async fn remove_some(&self, pile: Pile, most: usize) -> Result<u64, StoreError> {
        let (store, key) = (&self.shared.store, &self.queue.key);
        if most == 0 {
            return Ok(0);
        }
        let found: Vec<_> =
            store.notices(key, pile, most).await?.into_iter().map(|notice| notice.id).collect();
        if found.is_empty() {
            return Ok(0);
        }
        let removed = store.remove(key, pile, found).await?;
        match pile {
            Pile::Waiting => self.queue.less_waits(removed),
            Pile::Dead => self.queue.less_is_kept(removed),
        }
        Ok(removed)
    }
}

/// What one call tells of what waits: how many notices, and the body.
fn call(next: &VecDeque<WaitingNotice>, batch: usize) -> (usize, Bytes) {
    let mut bytes = 0;
    // One alone is always told, whatever its size.
    let fits = |(index, notice): &(usize, &WaitingNotice)| {
        bytes += notice.body.len() + 1;
        *index == 0 || bytes <= BATCH_BYTES
    };
    let bodies: Vec<&[u8]> =
        next.iter().take(batch).enumerate().take_while(fits).map(|(_, notice)| &notice.body[..]).collect();
    (bodies.len(), body::of_call(&bodies, batch))
}

/// Answers some time after the node has begun to stop.
async fn stopped_for_long(stopping: &mut watch::Receiver<bool>) {
    // A sender of the news that is gone is as good as the news.
    let _ = stopping.wait_for(|stopping| *stopping).await;
    tokio::time::sleep(STOP_GRACE).await;
}
