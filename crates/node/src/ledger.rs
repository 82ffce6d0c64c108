//! Who has it, and who has not: the books of every message.
//!
//! One actor owns the books of the messages that something happens to; the store has those of all
//! others. What happened is written down in batches: a crash may forget the last moments (and a device
//! is then given a message again), but never invents a receipt. The ledger does not know how a message
//! reaches a device.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use roaring::RoaringBitmap;
use tidings_hub::Event;
use tidings_hub::shard::Ordinals;
use tidings_model::{DropReason, Durability, Message, NamespaceName, Ordinal, Seq, Timestamp};
use tidings_store::{Store, StoreError};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::ack::Ack;
use crate::deliver::TOGETHER;
use crate::metrics::Why;
use crate::observe::Observers;
use crate::presence::Receipts;
use crate::statistics::{Counting, Tally};
use crate::{Clock, Metrics};

mod entry;
pub mod report;
mod seen;
mod shelf;
mod watch;

pub(crate) use entry::{Claim, Entry, Tried, bucket_of, percentile};

/// Most things that wait to be put in the books.
const QUEUE: usize = 16_384;

/// How long what happened may wait to be written down.
const WRITE_AFTER: Duration = Duration::from_millis(50);

/// How long a receipt may wait: what a crash forgets has to be sent again.
const WRITE_RECEIPTS_AFTER: Duration = Duration::from_millis(5);

/// Cursors that are written down together. When everybody leaves at once, pushes come in between.
const CURSORS_AT_ONCE: usize = 512;

/// How long the next ones wait then.
const WRITE_MORE_AFTER: Duration = Duration::from_millis(2);

/// How often books are let go that nothing happens to any more.
const LET_GO_EVERY: Duration = Duration::from_secs(1);

/// How long the books of a message stay in memory after the last thing happened to it.
const IDLE_MS: u64 = 10_000;

/// With more messages than this in memory, the books of one stay for a second only.
const MESSAGES_IN_MEMORY: usize = 65_536;

type Key = (NamespaceName, Seq);

/// The handle of the ledger.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    queue: mpsc::Sender<Entered>,
}

/// What became of a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Acked {
    /// Whether the message was meant for the device.
    pub(crate) meant: bool,
    /// The message that announces its recall, if it was recalled.
    pub(crate) announced: Option<Seq>,
}

/// How one device stands to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Whether it has given a receipt.
    pub(crate) acked: bool,
    /// Why it does not get the message, if it does not.
    pub(crate) dropped: Option<DropReason>,
    /// Whether the message was recalled.
    pub(crate) recalled: bool,
}

/// What a change does, and at what time.
type ChangeOfBooks = Box<dyn FnOnce(&mut Entry, Timestamp) + Send + Sync>;

/// A change of the books of one message, see [`Ledger::change`].
struct Change {
    namespace: NamespaceName,
    seq: Seq,
    durability: Durability,
    change: ChangeOfBooks,
    done: oneshot::Sender<Result<(), StoreError>>,
}

/// What became of receipts, once they are on record.
type Told = Result<Vec<Acked>, StoreError>;

/// A message that was accepted, and those that it takes the place of.
pub(crate) type Opened = (Arc<Message>, Vec<Arc<Message>>);

enum Entered {
    Opened(Vec<Opened>),
    Happened(Vec<Event>),
    Acked(Vec<Ack>),
    AckedTell(Vec<Ack>, oneshot::Sender<Told>),
    Trimmed(NamespaceName, Ordinal, Vec<Seq>),
    Expired(NamespaceName, Vec<Seq>),
    Change(Change),
    Settled(NamespaceName, Ordinal, Seq, Timestamp),
    Look(NamespaceName, Vec<Seq>, oneshot::Sender<Vec<Option<Entry>>>),
    Standing(NamespaceName, Ordinal, Vec<Seq>, oneshot::Sender<Vec<Option<Standing>>>),
    Watch(NamespaceName, Seq, RoaringBitmap, oneshot::Sender<()>),
    Cleared(NamespaceName),
    Flush(oneshot::Sender<()>),
}

impl Ledger {
    /// Starts the actor on this runtime; it ends, having written everything down, when the last handle goes.
    pub(crate) fn start(
        store: Arc<dyn Store>,
        clock: Clock,
        metrics: &Arc<Metrics>,
        tally: &Arc<Tally>,
        receipts: &Arc<Receipts>,
        observers: &Arc<Observers>,
    ) -> Self {
        let (queue, entered) = mpsc::channel(QUEUE);
        let books = Books {
            store,
            clock,
            metrics: Arc::clone(metrics),
            tally: Arc::clone(tally),
            receipts: Arc::clone(receipts),
            observers: Arc::clone(observers),
            shelf: shelf::Shelf::default(),
            dirty: Vec::new(),
            settled: HashMap::new(),
            refused: false,
            watchers: watch::Watchers::default(),
            promised: Vec::new(),
            write_at: None,
        };
        tokio::spawn(books.run(entered));
        Self { queue }
    }

    /// How much waits to be put in the books.
    pub(crate) fn len(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// Messages were accepted, and each takes the place of older ones.
    pub(crate) async fn opened(&self, messages: Vec<Opened>) {
        let mut messages = messages.into_iter();
        loop {
            let some: Vec<_> = messages.by_ref().take(TOGETHER).collect();
            if some.is_empty() {
                return;
            }
            let _ = self.queue.send(Entered::Opened(some)).await;
        }
    }

    /// A device does not get these messages any more, because more waited for it than may.
    pub(crate) async fn trimmed(&self, namespace: &NamespaceName, device: Ordinal, seqs: Vec<Seq>) {
        let _ = self.queue.send(Entered::Trimmed(namespace.clone(), device, seqs)).await;
    }

    /// The life of these messages is over.
    pub(crate) async fn expired(&self, namespace: &NamespaceName, seqs: Vec<Seq>) {
        let _ = self.queue.send(Entered::Expired(namespace.clone(), seqs)).await;
    }

    /// Changes the books of a message, and answers what the change did, once it is as durable as asked.
    ///
    /// # Errors
    /// When the message is not known, or the books could not be read or written.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        namespace: &NamespaceName,
        seq: Seq,
        durability: Durability,
        change: impl FnOnce(&mut Entry, Timestamp) -> T + Send + Sync + 'static,
    ) -> Result<T, StoreError> {
        let (tell, told) = oneshot::channel();
        let (done, is_done) = oneshot::channel();
        let change = Box::new(move |entry: &mut Entry, now| {
            let _ = tell.send(change(entry, now));
        });
        let change = Change { namespace: namespace.clone(), seq, durability, change, done };
        let _ = self.queue.send(Entered::Change(change)).await;
        is_done.await.map_err(|_| StoreError::Closed)??;
        told.await.map_err(|_| StoreError::Io("the books of a message cannot be read".to_owned()))
    }

    /// Something happened on a shard. Gives it back when there is no room now.
    pub(crate) fn happened(&self, events: Vec<Event>) -> Vec<Event> {
        match self.queue.try_send(Entered::Happened(events)) {
            Err(mpsc::error::TrySendError::Full(Entered::Happened(events))) => events,
            Ok(()) | Err(_) => Vec::new(),
        }
    }

    /// Receipts came. Gives them back when there is no room now.
    pub(crate) fn acked(&self, acks: Vec<Ack>) -> Vec<Ack> {
        match self.queue.try_send(Entered::Acked(acks)) {
            Err(mpsc::error::TrySendError::Full(Entered::Acked(acks))) => acks,
            Ok(()) | Err(_) => Vec::new(),
        }
    }

    /// Receipts came; answers what became of each, and only once they are written down: a device that was told so
    /// may forget that it has the message.
    ///
    /// # Errors
    /// When they could not be written down.
    pub(crate) async fn ack_and_tell(&self, acks: Vec<Ack>) -> Result<Vec<Acked>, StoreError> {
        let (tell, told) = oneshot::channel();
        let _ = self.queue.send(Entered::AckedTell(acks, tell)).await;
        told.await.map_err(|_| StoreError::Closed)?
    }

    /// Comes back when what was entered before is on record: it survives the end of the process. When it could not be written down, the
    /// log says so.
    pub(crate) async fn recorded(&self) {
        let _ = self.ack_and_tell(Vec::new()).await;
    }

    /// Everything up to `seq` is settled for a device, last seen at `now`. Dropped when there is no room:
    /// the device is then asked about more than needed when it comes back.
    pub(crate) fn settle(&self, namespace: &NamespaceName, device: Ordinal, seq: Seq, now: Timestamp) {
        let _ = self.queue.try_send(Entered::Settled(namespace.clone(), device, seq, now));
    }

    /// The books of these messages, each `None` for an unknown one.
    pub(crate) async fn look(&self, namespace: &NamespaceName, seqs: Vec<Seq>) -> Vec<Option<Entry>> {
        let (tell, told) = oneshot::channel();
        let _ = self.queue.send(Entered::Look(namespace.clone(), seqs, tell)).await;
        told.await.unwrap_or_default()
    }

    /// How a device stands to each of these messages, `None` for an unknown one. The books themselves may be long; when
    /// many devices come back at once, each asks for those of the same messages.
    pub(crate) async fn standing(
        &self,
        namespace: &NamespaceName,
        device: Ordinal,
        seqs: Vec<Seq>,
    ) -> Vec<Option<Standing>> {
        let (tell, told) = oneshot::channel();
        let _ = self.queue.send(Entered::Standing(namespace.clone(), device, seqs, tell)).await;
        told.await.unwrap_or_default()
    }

    /// Comes back when all of these devices have given a receipt for the message, or it is recalled or over. Whoever waits no longer
    /// may drop it.
    pub(crate) async fn acked_by_all(&self, namespace: &NamespaceName, seq: Seq, devices: RoaringBitmap) {
        let (done, told) = oneshot::channel();
        let _ = self.queue.send(Entered::Watch(namespace.clone(), seq, devices, done)).await;
        let _ = told.await;
    }

    /// All messages of a namespace are gone.
    pub(crate) async fn cleared(&self, namespace: &NamespaceName) {
        let _ = self.queue.send(Entered::Cleared(namespace.clone())).await;
    }

    /// Writes everything down that was entered before.
    pub(crate) async fn flush(&self) {
        let (tell, told) = oneshot::channel();
        let _ = self.queue.send(Entered::Flush(tell)).await;
        let _ = told.await;
    }
}

/// The books themselves, owned by the actor.
struct Books {
    store: Arc<dyn Store>,
    clock: Clock,
    metrics: Arc<Metrics>,
    tally: Arc<Tally>,
    receipts: Arc<Receipts>,
    observers: Arc<Observers>,
    /// Nobody outside chooses the keys.
    shelf: shelf::Shelf,
    dirty: Vec<Key>,
    settled: HashMap<(NamespaceName, Ordinal), (Seq, Timestamp)>,
    /// Whether the store has refused receipts since it last took some: that is said once.
    refused: bool,
    watchers: watch::Watchers,
    /// Answers that wait until everything is written down.
    promised: Vec<(oneshot::Sender<Told>, Vec<Acked>)>,
    /// When what happened is written down at the latest, and the shortest wait that was asked for since it was last.
    write_at: Option<(Instant, Duration)>,
}

impl Books {
    async fn run(mut self, mut entered: mpsc::Receiver<Entered>) {
        let mut batch = Vec::new();
        let mut let_go = tokio::time::interval(LET_GO_EVERY);
        let_go.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let write_at = self.write_at.map_or_else(|| Instant::now() + LET_GO_EVERY, |(at, _)| at);
            tokio::select! {
                // Neither may starve the other, hence not biased.
                count = entered.recv_many(&mut batch, 256) => {
                    if count == 0 {
                        return self.write_all().await;
                    }
                    self.load_missing(&batch).await;
                    for one in batch.drain(..) {
                        self.enter(one).await;
                    }
                    if !self.promised.is_empty() {
                        self.write_down().await;
                    }
                }
                () = tokio::time::sleep_until(write_at), if self.write_at.is_some() => {
                    self.write_down().await;
                }
                _ = let_go.tick() => self.let_go(),
            }
        }
    }

    /// Brings the books of the messages that `batch` is about into memory, with as few reads as possible. Those of new
    /// messages are opened at once: what has happened to them already may be in the same batch, and nothing is on record,
    /// unless the publisher has been held up for so long that receipts came and went before it could say that there is a message.
    async fn load_missing(&mut self, batch: &[Entered]) {
        let now = self.clock.now();
        for one in batch {
            if let Entered::Opened(messages) = one {
                messages.iter().for_each(|(message, _)| self.shelf.open(message, None, now));
            }
        }
        let mut missing: HashMap<NamespaceName, Vec<Seq>> = HashMap::new();
        let mut want = |namespace: &NamespaceName, seq: Seq| {
            if !self.shelf.has(namespace, seq) {
                missing.entry(namespace.clone()).or_default().push(seq);
            }
        };
        for one in batch {
            match one {
                Entered::Acked(acks) | Entered::AckedTell(acks, _) => {
                    acks.iter().for_each(|ack| want(&ack.namespace, ack.seq));
                }
                Entered::Happened(events) => events.iter().for_each(|event| match event {
                    Event::Written { message, .. } => want(&message.namespace, message.seq),
                    Event::Unwritten { namespace, seq, .. }
                    | Event::Dropped { namespace, seq, .. }
                    | Event::Befallen { namespace, seq, .. } => want(namespace, *seq),
                    Event::Slow(_) | Event::EndOnPurpose(_) => {}
                }),
                Entered::Look(namespace, seqs, _)
                | Entered::Standing(namespace, _, seqs, _)
                | Entered::Trimmed(namespace, _, seqs)
                | Entered::Expired(namespace, seqs) => seqs.iter().for_each(|seq| want(namespace, *seq)),
                Entered::Opened(messages) => {
                    let superseded = messages.iter().flat_map(|(_, superseded)| superseded);
                    superseded.for_each(|old| want(&old.namespace, old.seq));
                }
                Entered::Change(change) => want(&change.namespace, change.seq),
                Entered::Watch(namespace, seq, ..) => want(namespace, *seq),
                Entered::Settled(..) | Entered::Cleared(_) | Entered::Flush(_) => {}
            }
        }
        for (namespace, mut seqs) in missing {
            seqs.sort_unstable();
            seqs.dedup();
            self.load(&namespace, seqs).await;
        }
    }

    async fn load(&mut self, namespace: &NamespaceName, seqs: Vec<Seq>) {
        let messages = self.store.messages(namespace, seqs.clone()).await;
        let receipts = self.store.receipts(namespace, seqs.clone()).await;
        let (messages, receipts) = match (messages, receipts) {
            (Ok(messages), Ok(receipts)) => (messages, receipts),
            (Err(why), _) | (_, Err(why)) => {
                tracing::error!(error = %why, %namespace, "the ledger cannot read its books");
                return;
            }
        };
        let now = self.clock.now();
        for (message, record) in messages.into_iter().zip(receipts) {
            if let Some(message) = message {
                self.shelf.open(&message, record, now);
            }
        }
    }

    async fn enter(&mut self, one: Entered) {
        let now = self.clock.now();
        match one {
            Entered::Opened(messages) => {
                for (message, superseded) in messages {
                    self.superseded(&message, &superseded, now);
                }
            }
            Entered::Trimmed(namespace, device, seqs) => {
                for seq in seqs {
                    let by = Ordinals::One(device.0);
                    self.update((namespace.clone(), seq), now, |entry, metrics| {
                        if entry.dropped(DropReason::Trimmed, &by, now) != Ordinals::None {
                            metrics.trimmed.inc();
                        }
                    });
                }
            }
            Entered::Expired(namespace, seqs) => {
                for seq in seqs {
                    let entry = self.shelf.get(&namespace, seq);
                    seen::expired(&self.observers, &namespace, seq, entry, now);
                    let Some(entry) = entry else { continue };
                    if entry.keep {
                        self.watchers.over(&(namespace.clone(), seq));
                    }
                    let counts = report::counts(entry, None, now);
                    self.metrics.expired.inc_by(counts.expired);
                    // Of a message for who was there only: it has reached them by now.
                    let missed = counts.dropped.get(report::NOT_CONNECTED).copied().unwrap_or_default();
                    self.tally.over(&namespace, now, counts.expired, missed);
                }
            }
            Entered::Change(Change { namespace, seq, durability, change, done }) => {
                let key = (namespace, seq);
                self.update(key.clone(), now, |entry, _| change(entry, now));
                if self.shelf.get(&key.0, key.1).is_some_and(|entry| entry.record.recalled_at.is_some()) {
                    self.watchers.over(&key);
                }
                let written = match durability {
                    Durability::Durable => self.write_receipts(durability).await,
                    Durability::Memory => Ok(()),
                };
                let _ = done.send(written);
            }
            Entered::Happened(events) => events.into_iter().for_each(|event| self.happened(event, now)),
            Entered::Acked(acks) => acks.into_iter().for_each(|ack| {
                self.ack(ack);
            }),
            Entered::AckedTell(acks, tell) => {
                let acked = acks.into_iter().map(|ack| self.ack(ack)).collect();
                self.promised.push((tell, acked));
            }
            Entered::Settled(namespace, device, seq, at) => {
                let entry = self.settled.entry((namespace, device)).or_insert((seq, at));
                *entry = (entry.0.max(seq), entry.1.max(at));
                self.write_within(WRITE_AFTER);
            }
            Entered::Look(namespace, seqs, tell) => {
                let found = seqs.into_iter().map(|seq| self.shelf.get(&namespace, seq).cloned());
                let _ = tell.send(found.collect());
            }
            Entered::Standing(namespace, device, seqs, tell) => {
                let entry = |seq| self.shelf.get(&namespace, seq);
                let found = seqs.into_iter().map(|seq| entry(seq).map(|entry| entry.standing(device)));
                let _ = tell.send(found.collect());
            }
            Entered::Watch(namespace, seq, mut devices, done) => {
                // Of what is not there (any more), was recalled or is over there is nothing to wait for.
                match self.shelf.get(&namespace, seq).filter(|entry| entry.may_be_acked(now)) {
                    Some(entry) => devices -= &entry.record.acked,
                    None => devices.clear(),
                }
                self.watchers.watch((namespace, seq), devices, done);
            }
            Entered::Cleared(namespace) => self.watchers.cleared(&namespace),
            Entered::Flush(tell) => {
                self.write_all().await;
                let _ = tell.send(());
            }
        }
    }

    /// A message takes the place of others, for those for whom both are meant.
    fn superseded(&mut self, message: &Message, superseded: &[Arc<Message>], now: Timestamp) {
        for old in superseded {
            let both = Ordinals::Many(&*old.meant & &*message.meant);
            let key = (old.namespace.clone(), old.seq);
            self.update(key, now, |entry, _| drop(entry.dropped(DropReason::Collapsed, &both, now)));
        }
    }

    /// Changes the books of a message. Without an entry they could not be read; writing down others would lose what is
    /// in them.
    fn update(&mut self, key: Key, now: Timestamp, change: impl FnOnce(&mut Entry, &Metrics)) {
        if let Some(entry) = self.shelf.get_mut(&key.0, key.1) {
            let counting = Counting::of(&entry.record);
            seen::during(&self.observers, &key, entry, |entry| change(entry, &self.metrics));
            if !entry.announces {
                self.tally.count(&key.0, now, counting, &entry.record);
            }
            mark(&mut self.dirty, entry, key);
            self.write_within(WRITE_AFTER);
        }
    }

    fn write_within(&mut self, wait: Duration) {
        // Who asked before for as little is served by then.
        if self.write_at.is_none_or(|(_, asked)| wait < asked) {
            let at = Instant::now() + wait;
            self.write_at = Some(self.write_at.map_or((at, wait), |(before, _)| (before.min(at), wait)));
        }
    }

    fn happened(&mut self, event: Event, now: Timestamp) {
        match event {
            Event::Written { message, by } => {
                let key = (message.namespace.clone(), message.seq);
                self.update(key, now, |entry, metrics| {
                    metrics.deliveries.inc_by(entry.written(&by, now));
                });
            }
            Event::Unwritten { namespace, seq, ordinal, why } => {
                self.update((namespace, seq), now, |entry, metrics| {
                    let count = entry.unwritten(ordinal, why, now);
                    metrics.unwritten.get_or_create(&Why::of_unwritten(why)).inc_by(count);
                });
            }
            Event::Dropped { namespace, seq, why, by } => {
                self.update((namespace, seq), now, |entry, metrics| {
                    let count = entry.let_go(why, &by, now);
                    metrics.unwritten.get_or_create(&Why::of_drop(why)).inc_by(count);
                });
            }
            Event::Befallen { namespace, seq, device, step } => {
                self.update((namespace, seq), now, |entry, _| {
                    entry.note(now, step, &Ordinals::One(device.0))
                });
            }
            Event::Slow(_) | Event::EndOnPurpose(_) => {}
        }
    }

    fn ack(&mut self, ack: Ack) -> Acked {
        let key = (ack.namespace, ack.seq);
        let entry = self.shelf.get_mut(&key.0, key.1).filter(|entry| entry.meant.contains(ack.device.0));
        let Some(entry) = entry else {
            self.metrics.acks_refused.inc();
            return Acked { meant: false, announced: None };
        };
        let announced = entry.record.announced;
        let before = entry.record.written.len();
        if seen::during(&self.observers, &key, entry, |entry| entry.acked(ack.device, ack.at)) {
            self.metrics.acks.inc();
            // A receipt may overtake the news that its message was written, which then finds nothing new.
            let delivered = entry.record.written.len() - before;
            self.metrics.deliveries.inc_by(delivered);
            if !entry.announces {
                self.tally.acked(&key.0, ack.at, delivered, entry.sent_at);
                self.receipts.acked(&key.0, key.1, ack.device, ack.at);
            }
            self.watchers.acked(&key, ack.device.0);
            mark(&mut self.dirty, entry, key);
            self.write_within(WRITE_RECEIPTS_AFTER);
        }
        Acked { meant: true, announced }
    }

    /// Writes everything down; what the store refuses is lost with the process.
    async fn write_all(&mut self) {
        loop {
            let before = self.settled.len();
            self.write_down().await;
            if self.settled.is_empty() || self.settled.len() == before {
                return;
            }
        }
    }

    async fn write_down(&mut self) {
        self.write_at = None;
        let written = self.write_receipts(Durability::Memory).await;
        if written.is_ok() {
            self.write_cursors().await;
            if !self.settled.is_empty() {
                self.write_within(WRITE_MORE_AFTER);
            }
        } else {
            self.write_within(WRITE_AFTER);
        }
        for (tell, acked) in self.promised.drain(..) {
            let _ = tell.send(written.clone().map(|()| acked));
        }
    }

    /// Receipts come before cursors: what a cursor has passed must be on record. When the store fails the receipts are kept;
    /// steps that are not in them are not worth it.
    async fn write_receipts(&mut self, durability: Durability) -> Result<(), StoreError> {
        let keys = std::mem::take(&mut self.dirty);
        let mut books = Vec::with_capacity(keys.len());
        for key in &keys {
            if let Some(entry) = self.shelf.get_mut(&key.0, key.1) {
                books.push(entry.recording(key.0.clone(), key.1));
            }
        }
        if books.is_empty() {
            return Ok(());
        }
        let Err(why) = self.store.record(books, durability).await else {
            if std::mem::take(&mut self.refused) {
                tracing::info!("receipts are written down again");
            }
            return Ok(());
        };
        if matches!(why, StoreError::Closed) {
            // Everything had been written down, and something happened still: nobody will ask again.
            tracing::debug!("receipts came after the end");
        } else if !std::mem::replace(&mut self.refused, true) {
            tracing::error!(error = %why, "receipts cannot be written down; kept in memory until they can");
        }
        for key in keys {
            if let Some(entry) = self.shelf.get_mut(&key.0, key.1) {
                mark(&mut self.dirty, entry, key);
            }
        }
        Err(why)
    }

    async fn write_cursors(&mut self) {
        let mut by_namespace: HashMap<NamespaceName, Vec<(Ordinal, Seq, Timestamp)>> = HashMap::new();
        let some: Vec<_> = self.settled.keys().take(CURSORS_AT_ONCE).cloned().collect();
        for (namespace, device) in some {
            let key = (namespace, device);
            if let Some((seq, at)) = self.settled.remove(&key) {
                by_namespace.entry(key.0).or_default().push((device, seq, at));
            }
        }
        for (namespace, devices) in by_namespace {
            if let Err(why) = self.store.settle(&namespace, devices).await {
                tracing::error!(error = %why, %namespace, "cursors could not be written down");
            }
        }
    }

    fn let_go(&mut self) {
        self.watchers.let_go();
        let idle = if self.shelf.len() > MESSAGES_IN_MEMORY { IDLE_MS / 10 } else { IDLE_MS };
        let before = Timestamp(self.clock.now().0.saturating_sub(idle));
        self.shelf.retain(|entry| entry.dirty || entry.touched_at > before);
        self.metrics.ledger_messages.set(i64::try_from(self.shelf.len()).unwrap_or(i64::MAX));
    }
}

fn mark(dirty: &mut Vec<Key>, entry: &mut Entry, key: Key) {
    if !entry.dirty {
        entry.dirty = true;
        dirty.push(key);
    }
}
