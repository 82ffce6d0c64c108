//! The hooks of all namespaces: what is configured, how much waits for each, and whose sender is at work.
//!
//! What waits is in the store; here is only how much. A hook has a sender while something waits for it, and for a
//! while afterwards.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use tidings_model::{NamespaceName, NoticeId};
use tidings_outbound::hook::{self as destined, Client, Line};
use tidings_store::{HookKey, Pile, Piles, Store, StoreError, WaitingNotice};
use tokio::sync::{Notify, Semaphore, watch};

use super::log::{Attempt, Log};
use super::sender::{STEP, Sender};
use super::{Hook, Told, body as bodies};
use crate::{Clock, Metrics, Namespace};

/// Most hooks that are called at once; the next ones wait for their turn, for no longer than a call takes.
const CALLS_MAX: usize = 512;

/// Most hooks that are tried out at once; one more is refused.
const TESTS_MAX: usize = 16;

/// The type of what a hook is told when it is tried out.
const TEST: &str = "test";

/// How long a call that is under way may take when the node stops. It is made again after the start.
pub(super) const STOP_GRACE: Duration = Duration::from_millis(500);

/// How much there may be for one hook, on disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Most notices that wait. Beyond that the oldest are given up.
    pub(super) waiting: u64,
    /// Most notices that were given up and are kept. Beyond that the oldest are removed.
    pub(super) dead: u64,
}

/// Room for one notice for each device of a message to a million.
const BOUNDS: Bounds = Bounds { waiting: 1_000_000, dead: 100_000 };

/// What all senders share.
pub(super) struct Shared {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) client: Client,
    pub(super) bounds: Bounds,
    pub(super) calls: Semaphore,
    /// How many more hooks may be tried out at once.
    tests: Semaphore,
    pub(super) stopping: watch::Sender<bool>,
    /// How many senders are at work.
    running: watch::Sender<usize>,
}

/// What is known of one hook.
pub(super) struct Queue {
    pub(super) key: HookKey,
    /// What is configured; nothing when it is no hook (any more).
    pub(super) hook: ArcSwapOption<Hook>,
    /// How much waits, counted before it is written.
    pub(super) waiting: AtomicU64,
    pub(super) dead: AtomicU64,
    /// Something was added, or configured anew.
    pub(super) changed: Notify,
    /// Whether its sender is at work. Locked by whoever would change that.
    at_work: Mutex<bool>,
    /// What came of the last attempts.
    pub(super) log: Log,
    /// It was configured anew: what it failed at before says nothing any more.
    pub(super) renewed: AtomicBool,
    /// It was no hook in between: what waited then is nobody's, whatever it is now, and has to go first.
    pub(super) left_out: watch::Sender<bool>,
}

impl Queue {
    pub(super) fn new(key: HookKey) -> Arc<Self> {
        Arc::new(Self {
            key,
            hook: ArcSwapOption::empty(),
            waiting: AtomicU64::new(0),
            dead: AtomicU64::new(0),
            changed: Notify::new(),
            at_work: Mutex::new(false),
            renewed: AtomicBool::new(false),
            left_out: watch::Sender::new(false),
            log: Log::default(),
        })
    }

    /// It is no hook any more. Whether somebody has to clear away what is left.
    fn leave_out(&self) -> bool {
        self.hook.store(None);
        self.left_out.send_replace(true);
        self.log.clear();
        self.is_used()
    }

    /// Whether there is anything of it, or somebody is at it.
    fn is_used(&self) -> bool {
        let at_work = *self.at_work.lock().unwrap_or_else(PoisonError::into_inner);
        at_work || self.piles() != Piles::default()
    }

    fn piles(&self) -> Piles {
        Piles { waiting: self.waiting.load(Ordering::Acquire), dead: self.dead.load(Ordering::Acquire) }
    }

    /// Notes that less waits now.
    pub(super) fn less_waits(&self, by: u64) {
        less(&self.waiting, by);
    }

    /// Notes that less is kept now.
    pub(super) fn less_is_kept(&self, by: u64) {
        less(&self.dead, by);
    }
}

fn less(count: &AtomicU64, by: u64) {
    let subtract = |count: u64| Some(count.saturating_sub(by));
    let _ = count.fetch_update(Ordering::AcqRel, Ordering::Acquire, subtract);
}

/// How it goes with a hook.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) key: HookKey,
    pub(crate) piles: Piles,
    /// How many attempts have failed in a row, and a word for what came of the last one; nothing, where nothing waits.
    pub(crate) failing: Option<(usize, &'static str)>,
}

/// The hooks of a node. Their senders end with it.
pub(crate) struct Hooks {
    shared: Arc<Shared>,
    queues: Mutex<HashMap<HookKey, Arc<Queue>>>,
}

impl Hooks {
    /// Finds what was left behind, and goes on with it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn start(
        store: Arc<dyn Store>,
        clock: Clock,
        metrics: Arc<Metrics>,
        client: Client,
        namespaces: &HashMap<NamespaceName, Arc<Namespace>>,
    ) -> Result<Self, StoreError> {
        let piles = store.piles().await?;
        let shared = Arc::new(Shared::new(store, clock, metrics, client));
        let hooks = Self { shared, queues: Mutex::default() };
        for (key, Piles { waiting, dead }) in piles {
            let queue = Queue::new(key.clone());
            queue.waiting.store(waiting, Ordering::Release);
            queue.dead.store(dead, Ordering::Release);
            hooks.lock().insert(key, queue);
        }
        for namespace in namespaces.values() {
            hooks.configure(namespace);
        }
        let left: Vec<_> = hooks.lock().values().cloned().collect();
        for queue in left {
            // What belongs to no hook any more is cleared away by a sender, too.
            if queue.hook.load().is_none() {
                queue.left_out.send_replace(true);
                hooks.shared.wake(&queue);
            } else if queue.waiting.load(Ordering::Acquire) > 0 {
                hooks.shared.wake(&queue);
            }
        }
        Ok(hooks)
    }

    /// The hooks of a namespace are as its settings say now.
    pub(crate) fn configure(&self, namespace: &Namespace) {
        let mut queues = self.lock();
        // Read under the lock: of two changes at once, the last one to come here sees what holds.
        let settings = namespace.settings();
        for hook in &settings.hooks {
            let key = HookKey { namespace: namespace.name.clone(), hook: hook.name.clone() };
            let queue = queues.entry(key.clone()).or_insert_with(|| Queue::new(key));
            if queue.hook.load().as_deref() == Some(hook) {
                continue;
            }
            if queue.hook.swap(Some(Arc::new(hook.clone()))).is_some() {
                queue.renewed.store(true, Ordering::Release);
            }
            queue.changed.notify_one();
        }
        queues.retain(|key, queue| {
            if key.namespace != namespace.name || settings.hooks.iter().any(|hook| hook.name == key.hook) {
                return true;
            }
            // What is left is cleared away by its sender, before it does anything else.
            let used = queue.leave_out();
            if used {
                self.shared.wake(queue);
            }
            used
        });
    }

    /// A namespace goes: nobody is told anything of it any more, and what waited is cleared away.
    pub(crate) fn let_go(&self, namespace: &NamespaceName) {
        self.lock().retain(|key, queue| {
            if key.namespace != *namespace {
                return true;
            }
            let used = queue.leave_out();
            if used {
                self.shared.wake(queue);
            }
            used
        });
    }

    /// Whether nothing of a namespace waits or is kept.
    pub(crate) fn is_empty(&self, namespace: &NamespaceName) -> bool {
        let queues = self.lock();
        let mut own = queues.values().filter(|queue| queue.key.namespace == *namespace);
        own.all(|queue| queue.piles() == Piles::default())
    }

    /// Writes down what hooks are to be told, and in the same step what it is about; and has it told.
    pub(crate) async fn enqueue(
        &self,
        told: Told,
        records: Vec<(String, Option<Bytes>)>,
    ) -> Result<(), StoreError> {
        let Told { entries, counts } = told;
        for key in counts.keys() {
            let queue = self.lock().get(key).cloned();
            self.shared.cleared(queue).await;
        }
        let mut queues = Vec::with_capacity(counts.len());
        for (key, count) in counts {
            // Counted under the lock: what is counted is not taken out.
            let mut all = self.lock();
            let queue = all.entry(key.clone()).or_insert_with(|| Queue::new(key));
            queue.waiting.fetch_add(count, Ordering::AcqRel);
            queues.push((Arc::clone(queue), count));
        }
        let outcome = self.shared.store.enqueue_and_put(entries, records).await;
        for (queue, count) in queues {
            let added =
                outcome.as_ref().map(|known| known.iter().filter(|key| **key == queue.key).count() as u64);
            queue.less_waits(added.map_or(count, |known| known));
            self.shared.wake(&queue);
        }
        outcome.map(drop)
    }

    /// Has what a hook was not told in time told after all. How much that is.
    pub(super) async fn replay(&self, key: &HookKey) -> Result<u64, StoreError> {
        let queue = self.lock().get(key).cloned();
        let Some(queue) = queue else { return Ok(0) };
        let mut replayed = 0;
        loop {
            let found = self.shared.store.notices(key, Pile::Dead, STEP).await?;
            let last = found.len() < STEP;
            // Counted before it waits, like everything that does.
            let most = found.len() as u64;
            queue.waiting.fetch_add(most, Ordering::AcqRel);
            let ids = found.into_iter().map(|notice| notice.id).collect();
            let moved = self.shared.store.revive(key, ids).await;
            let count = moved.as_ref().map_or(0, |count| *count);
            queue.less_waits(most - count);
            queue.less_is_kept(count);
            self.shared.wake(&queue);
            moved?;
            replayed += count;
            if last {
                return Ok(replayed);
            }
        }
    }

    /// How much there is for a hook.
    pub(super) fn piles(&self, key: &HookKey) -> Piles {
        self.lock().get(key).map_or(Piles::default(), |queue| queue.piles())
    }

    /// What came of the last attempts, the newest first.
    pub(super) fn log(&self, key: &HookKey) -> Vec<Attempt> {
        self.lock().get(key).map(|queue| queue.log.newest()).unwrap_or_default()
    }

    /// Tells a hook something now, once and whatever waits for it. `None` when too many are being tested.
    pub(super) async fn try_out(&self, hook: &Hook, id: NoticeId, body: Bytes) -> Option<Attempt> {
        let _turn = self.shared.tests.try_acquire().ok()?;
        let mut line = Line::new(self.shared.client.clone(), hook.destination());
        let told = destined::Told { id: id.to_string(), body: bodies::of_call(&[&body], hook.batch) };
        let (at, began) = (self.shared.clock.now(), Instant::now());
        let outcome = line.tell(&told, at).await;
        Some(Attempt { at, notices: 1, id, kind: TEST.to_owned(), took: began.elapsed(), outcome })
    }

    /// What was given up and is kept, in order: behind `after`, at most `limit`.
    pub(super) async fn dead(
        &self,
        key: &HookKey,
        after: Option<NoticeId>,
        limit: usize,
    ) -> Result<Vec<WaitingNotice>, StoreError> {
        match after {
            Some(after) => self.shared.store.notices_after(key, Pile::Dead, &after, limit).await,
            None => self.shared.store.notices(key, Pile::Dead, limit).await,
        }
    }

    /// How it goes with each hook, in the order of their names.
    pub(crate) fn look(&self) -> Vec<Standing> {
        let queues = self.lock();
        let configured = queues.values().filter(|queue| queue.hook.load().is_some());
        let standing = |queue: &Arc<Queue>| {
            let piles = queue.piles();
            let failing = if piles.waiting > 0 { queue.log.failing() } else { None };
            Standing { key: queue.key.clone(), piles, failing }
        };
        let mut all: Vec<_> = configured.map(standing).collect();
        all.sort_by(|one, other| one.key.cmp(&other.key));
        all
    }

    /// How much waits for hooks, and how much was given up and is kept.
    pub(crate) fn len(&self) -> Piles {
        let queues = self.lock();
        queues.values().map(|queue| queue.piles()).fold(Piles::default(), |sum, piles| Piles {
            waiting: sum.waiting + piles.waiting,
            dead: sum.dead + piles.dead,
        })
    }

    /// Stops all senders. What still waits is told after the next start.
    pub(crate) async fn stop(&self) {
        self.shared.stopping.send_replace(true);
        let mut running = self.shared.running.subscribe();
        // Senders end within the grace; the store is closed whether they have or not.
        let _ = tokio::time::timeout(STOP_GRACE * 2, running.wait_for(|running| *running == 0)).await;
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<HookKey, Arc<Queue>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hooks {
    fn drop(&mut self) {
        self.shared.stopping.send_replace(true);
    }
}

impl Shared {
    pub(super) fn new(store: Arc<dyn Store>, clock: Clock, metrics: Arc<Metrics>, client: Client) -> Self {
        let (stopping, running) = (watch::Sender::new(false), watch::Sender::new(0));
        Self {
            store,
            clock,
            metrics,
            client,
            bounds: BOUNDS,
            calls: Semaphore::new(CALLS_MAX),
            tests: Semaphore::new(TESTS_MAX),
            stopping,
            running,
        }
    }

    /// Waits until what is left of a hook that was removed is gone, when there is one of its name again; or until the node stops.
    async fn cleared(self: &Arc<Self>, queue: Option<Arc<Queue>>) {
        let Some(queue) = queue.filter(|queue| queue.hook.load().is_some() && *queue.left_out.borrow())
        else {
            return;
        };
        self.wake(&queue);
        let (mut left_out, mut stopping) = (queue.left_out.subscribe(), self.stopping.subscribe());
        tokio::select! {
            _ = left_out.wait_for(|left_out| !*left_out) => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    }

    /// Sees to it that a sender is at work for this hook, and looks.
    pub(super) fn wake(self: &Arc<Self>, queue: &Arc<Queue>) {
        let mut at_work = queue.at_work.lock().unwrap_or_else(PoisonError::into_inner);
        if !*at_work && !*self.stopping.borrow() {
            *at_work = true;
            let duty = Duty::new(Arc::clone(self), Arc::clone(queue));
            tokio::spawn(Sender::new(Arc::clone(self), Arc::clone(queue)).run(duty));
        }
        queue.changed.notify_one();
    }
}

/// That a sender is at work. However it ends, another one may begin then.
pub(super) struct Duty {
    shared: Arc<Shared>,
    queue: Arc<Queue>,
    over: bool,
}

impl Duty {
    fn new(shared: Arc<Shared>, queue: Arc<Queue>) -> Self {
        shared.running.send_modify(|running| *running += 1);
        Self { shared, queue, over: false }
    }

    /// Ends it when nothing waits: whoever adds something from then on begins another one.
    pub(super) fn end_if_idle(&mut self) -> bool {
        let mut at_work = self.queue.at_work.lock().unwrap_or_else(PoisonError::into_inner);
        self.over = self.queue.waiting.load(Ordering::Acquire) == 0 && !*self.queue.left_out.borrow();
        *at_work = !self.over;
        self.over
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        if !self.over {
            *self.queue.at_work.lock().unwrap_or_else(PoisonError::into_inner) = false;
        }
        self.shared.running.send_modify(|running| *running -= 1);
    }
}
