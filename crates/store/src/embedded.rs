//! The store in one directory: an LSM tree underneath, one writer thread, group commit.
//!
//! Whoever changes something hands a verb to the writer and waits. The writer takes as many as wait,
//! applies them to one transaction, commits it in one write and at most one `fdatasync`, and answers
//! all of them. Reading asks the tree directly, on the caller's thread when it is little, on a blocking
//! thread when it may be much. A durable change becomes visible to readers when it is on disk, not before.
//!
//! The directory: `LOCK` (held while open), `SYNCED` (the number of a batch that has reached the disk),
//! `db/` (the tree); `BEGINNING` while a store comes to be, `CHANGING` while it gets a newer format, `UNFINISHED` while it is
//! filled from another one, `unreadable.jnl` when there is something to show to whoever looks into damage. Nothing here knows what
//! the messages, devices and settings mean.
//!
//! Reading order: `verb`, `transaction`, `writer`, `disk`, `opening`, `journal`, `damage`; `sweep` (where space comes back),
//! `moment` (backups).

mod damage;
mod decoded;
mod disk;
mod erase;
mod fresh;
mod history;
mod journal;
mod moment;
mod opening;
mod owned;
mod read;
mod stats;
mod sweep;
#[cfg(test)]
pub(crate) mod testing;
mod transaction;
mod verb;
mod writer;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;

use bytes::Bytes;
use tidings_model::{
    Durability, Epoch, Granularity, Message, MessageId, NamespaceName, NoticeId, Ordinal, RoomName, Seq,
    Timestamp, Topic,
};
use tokio::sync::{Mutex, Semaphore, mpsc, oneshot};
use tokio::task::coop::unconstrained;

use crate::kv::namespace_head::Heads;
use crate::port::{
    Answer, Appended, Bucket, Census, Deadlines, Description, Device, Devices, Due, DueQueue, Erase, From,
    HookKey, Interval, LogSlice, Messages, NewMessage, Notices, Numbers, Pile, Piles, ReceiptRecord,
    Receipts, Recording, Registered, Registration, Retention, Settings, Statistics, StoreError, TraceStep,
    Tries, WaitingNotice, Which,
};
use disk::Disk;
pub(crate) use fresh::Fresh;
pub use moment::{Copied, CopyError, Moment, Progress};
pub use stats::WriterStats;
use verb::{
    Append, Attempt, ChangePile, ChangeRooms, Deal, Describe, Enqueue, Forget, Put, Record, Register, Remove,
    Settle, Tally, Task, Trim, Verb,
};
use writer::Command;

/// Most changes that wait for the writer; who comes later waits for room.
const QUEUE_CHANGES: usize = 4_096;

/// Most KiB of changes that wait for the writer. A single larger one is let in when it is alone.
const QUEUE_KIB: u32 = 64 * 1024;

/// Longest list of messages, devices, deadlines, or log entries from the newest back, that is read on the caller's thread.
const INLINE_READS: usize = 64;

/// Most log entries that are read on the caller's thread. They are small; and whoever connects asks for very many of each of
/// its topics, of which hardly ever more than a few are there.
const INLINE_ENTRIES: usize = 256;

/// How to open a store.
#[derive(Clone, Debug)]
pub struct Options {
    /// The epoch of the store if this is its first opening: a random number.
    pub epoch_if_new: Epoch,
    /// Memory for caching what is read, in bytes.
    pub cache_bytes: u64,
    /// Most disk space for journals before older ones are cleared away, in bytes; at least 64 MiB. It is
    /// also what has to be read again after a crash.
    pub journal_bytes: u64,
    /// The first thing that the writer's thread does, which every push waits for: a process may have something to
    /// arrange with its system.
    pub prepare_writer: fn(),
}

impl Options {
    /// The defaults: 64 MiB of cache, 256 MiB of journals, nothing to prepare.
    #[must_use]
    pub fn new(epoch_if_new: Epoch) -> Self {
        Self { epoch_if_new, cache_bytes: 64 << 20, journal_bytes: 256 << 20, prepare_writer: || () }
    }
}

/// A store in one directory. Dropping it writes what waits, makes it durable and joins the writer.
#[derive(Debug)]
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    queue: Option<mpsc::Sender<Command>>,
    writer: Option<JoinHandle<()>>,
    room: Arc<Semaphore>,
    /// Held by whoever makes the index of history grow.
    indexing: Mutex<()>,
}

/// What readers and the writer both hold.
#[derive(Debug)]
struct Shared {
    epoch: Epoch,
    /// The tree, or why there is none: it is away while it is opened anew after a failure, and after the end.
    disk: RwLock<Result<Arc<Disk>, StoreError>>,
    ends: RwLock<HashMap<NamespaceName, Ends>>,
    stats: WriterStats,
}

/// Where the messages of a namespace begin and end.
#[derive(Debug, Default)]
struct Ends {
    /// The newest number given out.
    head: AtomicU64,
    /// The newest number that has been trimmed.
    trimmed: AtomicU64,
}

impl Ends {
    fn new(heads: &Heads) -> Self {
        Self { head: AtomicU64::new(heads.seq.0), trimmed: AtomicU64::new(heads.trimmed.0) }
    }

    fn set(&self, heads: &Heads) {
        self.head.store(heads.seq.0, Ordering::Release);
        self.trimmed.store(heads.trimmed.0, Ordering::Release);
    }
}

impl EmbeddedStore {
    /// Opens the store in this directory, and begins a new one when there is none. Blocks while it reads
    /// what has not left the journal yet (see [`Options::journal_bytes`]).
    ///
    /// # Errors
    /// [`StoreError::InUse`] when somebody else has it open, [`StoreError::Format`] when another version
    /// wrote it, [`StoreError::Damaged`] when something that had reached the disk is not there any more or
    /// is not what it was (nothing has been changed then), [`StoreError::Full`] and [`StoreError::Io`].
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Self, StoreError> {
        let prepare_writer = options.prepare_writer;
        let opened = opening::open(path.as_ref(), options)?;
        let ends = opened.heads.iter().map(|(name, heads)| (name.clone(), Ends::new(heads)));
        let shared = Arc::new(Shared {
            epoch: opened.epoch,
            disk: RwLock::new(Ok(Arc::clone(&opened.disk))),
            ends: RwLock::new(ends.collect()),
            stats: WriterStats::default(),
        });
        let (queue, waiting) = mpsc::channel(QUEUE_CHANGES);
        let writer = writer::spawn(Arc::clone(&shared), opened, waiting, prepare_writer)?;
        let room = Arc::new(Semaphore::new(QUEUE_KIB as usize));
        Ok(Self { shared, queue: Some(queue), writer: Some(writer), room, indexing: Mutex::default() })
    }

    /// Everything as it is at this moment, every change that was answered before included. Writing goes on meanwhile.
    ///
    /// # Errors
    /// When the store has been closed or cannot be used.
    pub async fn moment(&self) -> Result<Moment, StoreError> {
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or(StoreError::Closed)?;
        queue.send(Command::Look(reply)).await.map_err(|_| self.shared.ended())?;
        answer.await.unwrap_or_else(|_| Err(self.shared.ended()))
    }

    /// What the writer has done so far.
    #[must_use]
    pub fn stats(&self) -> &WriterStats {
        &self.shared.stats
    }

    async fn submit<V: Verb>(&self, verb: V) -> Result<V::Outcome, StoreError> {
        let kib = u32::try_from(verb.bytes() / 1024 + 1).unwrap_or(u32::MAX).min(QUEUE_KIB);
        let queue = self.queue.as_ref().ok_or(StoreError::Closed)?;
        let room = Arc::clone(&self.room).acquire_many_owned(kib).await.map_err(|_| self.shared.ended())?;
        let (task, answer) = Task::post(verb, room);
        queue.send(Command::Do(task)).await.map_err(|_| self.shared.ended())?;
        answer.await.unwrap_or_else(|_| Err(self.shared.ended()))
    }

    /// Reads: here when it is little, on a blocking thread when it may be much.
    async fn read<T: Send + 'static>(
        &self,
        little: bool,
        read: impl FnOnce(&Disk) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let disk = self.shared.disk()?;
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) if !little => {
                let reading = runtime.spawn_blocking(move || disk::shield(|| read(&disk)));
                reading.await.unwrap_or_else(|error| Err(StoreError::Io(error.to_string())))
            }
            Ok(_) | Err(_) => disk::shield(|| read(&disk)),
        }
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has said so; there is nothing left to do about it here.
            let _ = writer.join();
        }
    }
}

impl Shared {
    fn disk(&self) -> Result<Arc<Disk>, StoreError> {
        self.disk.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why the writer does not answer any more.
    fn ended(&self) -> StoreError {
        match self.disk() {
            Ok(_) => StoreError::Io("the writer has ended".to_owned()),
            Err(error) => error,
        }
    }

    fn head(&self, namespace: &NamespaceName) -> Seq {
        let ends = self.ends.read().unwrap_or_else(PoisonError::into_inner);
        Seq(ends.get(namespace).map_or(0, |ends| ends.head.load(Ordering::Acquire)))
    }

    fn trimmed(&self, namespace: &NamespaceName) -> Seq {
        let ends = self.ends.read().unwrap_or_else(PoisonError::into_inner);
        Seq(ends.get(namespace).map_or(0, |ends| ends.trimmed.load(Ordering::Acquire)))
    }

    /// The same, asked when it is needed.
    fn trimmed_later(self: &Arc<Self>, namespace: &NamespaceName) -> impl Fn() -> Seq + Clone + Send + use<> {
        let (shared, namespace) = (Arc::clone(self), namespace.clone());
        move || shared.trimmed(&namespace)
    }

    /// Up to where each namespace has been trimmed that has been.
    fn trims(&self) -> Vec<(NamespaceName, Seq)> {
        let ends = self.ends.read().unwrap_or_else(PoisonError::into_inner);
        let trims = ends.iter().map(|(name, ends)| (name, Seq(ends.trimmed.load(Ordering::Acquire))));
        trims
            .filter(|(_, trimmed)| *trimmed > Seq(0))
            .map(|(name, trimmed)| (name.clone(), trimmed))
            .collect()
    }

    fn set_ends(&self, namespace: &NamespaceName, heads: &Heads) {
        {
            let ends = self.ends.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(ends) = ends.get(namespace) {
                ends.set(heads);
                return;
            }
        }
        let mut ends = self.ends.write().unwrap_or_else(PoisonError::into_inner);
        ends.insert(namespace.clone(), Ends::new(heads));
    }
}

impl Messages for EmbeddedStore {
    fn append(&self, messages: Vec<NewMessage>, durability: Durability) -> Answer<'_, Vec<Appended>> {
        // A task without budget would be sent away at the first `await`, and could come back behind
        // an append that it made later.
        Box::pin(unconstrained(self.submit(Append::new(messages, durability, self.shared.epoch))))
    }

    fn read_topic(
        &self,
        namespace: &NamespaceName,
        topic: &Topic,
        from: From,
        limit: usize,
    ) -> Answer<'_, LogSlice> {
        let prefix = crate::kv::topic_entry::prefix(namespace, topic);
        let trimmed = self.shared.trimmed_later(namespace);
        let slice = move |limit| {
            let (prefix, trimmed) = (prefix.clone(), trimmed.clone());
            move |disk: &Disk| read::topic(disk, &prefix, from, limit, trimmed)
        };
        Box::pin(async move {
            let few = limit.min(INLINE_ENTRIES);
            let found = self.read(true, slice(few)).await?;
            if few == limit || !found.truncated || found.entries.len() < few {
                return Ok(found);
            }
            self.read(false, slice(limit)).await
        })
    }

    fn read_topic_back(
        &self,
        namespace: &NamespaceName,
        topic: &Topic,
        before: u64,
        limit: usize,
    ) -> Answer<'_, Vec<(u64, Seq)>> {
        let prefix = crate::kv::topic_entry::prefix(namespace, topic);
        let (little, trimmed) = (limit <= INLINE_READS, self.shared.trimmed_later(namespace));
        Box::pin(self.read(little, move |disk| read::topic_back(disk, &prefix, before, limit, trimmed)))
    }

    fn messages(&self, namespace: &NamespaceName, seqs: Vec<Seq>) -> Answer<'_, Vec<Option<Arc<Message>>>> {
        let (namespace, trimmed) = (namespace.clone(), self.shared.trimmed(namespace));
        let little = seqs.len() <= INLINE_READS;
        Box::pin(self.read(little, move |disk| read::messages(disk, &namespace, &seqs, trimmed)))
    }

    fn find(&self, namespace: &NamespaceName, id: &MessageId) -> Answer<'_, Option<Seq>> {
        let (namespace, id, trimmed) = (namespace.clone(), id.clone(), self.shared.trimmed(namespace));
        let find = move |disk: &Disk| read::find(disk, &namespace, &id);
        Box::pin(self.read(true, move |disk| Ok(find(disk)?.filter(|seq| *seq > trimmed))))
    }

    fn head(&self, namespace: &NamespaceName) -> Seq {
        self.shared.head(namespace)
    }
}

impl Deadlines for EmbeddedStore {
    fn due(&self, queue: DueQueue, from: Timestamp, until: Timestamp, limit: usize) -> Answer<'_, Vec<Due>> {
        Box::pin(self.read(limit <= INLINE_READS, move |disk| read::due(disk, queue, from, until, limit)))
    }

    fn next_due(&self, queue: DueQueue, from: Timestamp) -> Answer<'_, Option<Timestamp>> {
        Box::pin(self.read(true, move |disk| read::next_due(disk, queue, from)))
    }

    fn deal(&self, done: Vec<Due>, add: Vec<Due>) -> Answer<'_, ()> {
        Box::pin(self.submit(Deal { done, add }))
    }
}

impl Devices for EmbeddedStore {
    fn register(&self, registration: Registration) -> Answer<'_, Registered> {
        Box::pin(self.submit(Register(registration)))
    }

    fn describe(&self, description: Description) -> Answer<'_, Option<Registered>> {
        Box::pin(self.submit(Describe(description)))
    }

    fn change_rooms(
        &self,
        namespace: &NamespaceName,
        device: Ordinal,
        join: Vec<RoomName>,
        leave: Vec<RoomName>,
    ) -> Answer<'_, Option<Vec<RoomName>>> {
        Box::pin(self.submit(ChangeRooms { namespace: namespace.clone(), device, join, leave }))
    }

    fn forget(&self, namespace: &NamespaceName, devices: Vec<Ordinal>) -> Answer<'_, Vec<Device>> {
        Box::pin(self.submit(Forget { namespace: namespace.clone(), devices }))
    }

    fn settle(&self, namespace: &NamespaceName, devices: Vec<(Ordinal, Seq, Timestamp)>) -> Answer<'_, ()> {
        Box::pin(self.submit(Settle { namespace: namespace.clone(), devices }))
    }

    fn devices(&self, namespace: &NamespaceName, which: Which) -> Answer<'_, Vec<Option<Device>>> {
        let namespace = namespace.clone();
        let little = match &which {
            Which::Ids(ids) => ids.len() <= INLINE_READS,
            Which::Ordinals(ordinals) => ordinals.len() <= INLINE_READS,
            // People have few devices, and whoever gave one many pays for it here, once.
            Which::OfUser(_) => true,
        };
        Box::pin(self.read(little, move |disk| read::devices(disk, &namespace, &which)))
    }

    fn owners(&self, namespace: &NamespaceName, topics: Vec<Topic>) -> Answer<'_, Vec<Arc<[Ordinal]>>> {
        let namespace = namespace.clone();
        let little = topics.len() <= INLINE_READS;
        Box::pin(self.read(little, move |disk| read::owners(disk, &namespace, &topics)))
    }

    fn census(&self, namespace: &NamespaceName) -> Answer<'_, Census> {
        let namespace = namespace.clone();
        Box::pin(self.read(false, move |disk| read::census(disk, &namespace)))
    }
}

impl Receipts for EmbeddedStore {
    fn record(&self, books: Vec<Recording>, durability: Durability) -> Answer<'_, ()> {
        Box::pin(self.submit(Record::new(books, durability)))
    }

    fn steps(&self, namespace: &NamespaceName, seq: Seq) -> Answer<'_, Vec<TraceStep>> {
        if seq <= self.shared.trimmed(namespace) {
            return Box::pin(std::future::ready(Ok(Vec::new())));
        }
        let prefix = crate::kv::trace::prefix(namespace, seq);
        Box::pin(self.read(false, move |disk| read::steps(disk, &prefix)))
    }

    fn receipts(&self, namespace: &NamespaceName, seqs: Vec<Seq>) -> Answer<'_, Vec<Option<ReceiptRecord>>> {
        let (namespace, trimmed) = (namespace.clone(), self.shared.trimmed(namespace));
        let little = seqs.len() <= INLINE_READS;
        Box::pin(self.read(little, move |disk| read::receipts(disk, &namespace, &seqs, trimmed)))
    }
}

impl Retention for EmbeddedStore {
    fn buckets(&self, namespace: &NamespaceName) -> Answer<'_, Vec<Bucket>> {
        let namespace = namespace.clone();
        Box::pin(self.read(false, move |disk| read::buckets(disk, &namespace)))
    }

    fn trim(&self, namespace: &NamespaceName, through: Seq) -> Answer<'_, ()> {
        Box::pin(self.submit(Trim { namespace: namespace.clone(), through }))
    }

    fn trimmed(&self, namespace: &NamespaceName) -> Seq {
        self.shared.trimmed(namespace)
    }

    fn erase(&self, namespace: &NamespaceName, what: Erase) -> Answer<'_, ()> {
        Box::pin(self.erase_all(namespace.clone(), what))
    }
}

impl Statistics for EmbeddedStore {
    fn tally(&self, rows: Vec<(Interval, Numbers)>, gone: Vec<Interval>) -> Answer<'_, ()> {
        Box::pin(self.submit(Tally::new(&rows, &gone)))
    }

    fn tallied(
        &self,
        namespace: &NamespaceName,
        granularity: Granularity,
        from: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Answer<'_, Vec<(Timestamp, Numbers)>> {
        let from = Interval { namespace: namespace.clone(), granularity, at: from };
        Box::pin(self.read(limit <= INLINE_READS, move |disk| read::tallied(disk, from, until, limit)))
    }
}

impl Notices for EmbeddedStore {
    fn enqueue(&self, notices: Vec<(HookKey, WaitingNotice)>) -> Answer<'_, Vec<HookKey>> {
        Box::pin(self.submit(Enqueue::new(notices, Vec::new())))
    }

    fn enqueue_and_put(
        &self,
        notices: Vec<(HookKey, WaitingNotice)>,
        settings: Vec<(String, Option<Bytes>)>,
    ) -> Answer<'_, Vec<HookKey>> {
        Box::pin(self.submit(Enqueue::new(notices, settings)))
    }

    fn notices(&self, of: &HookKey, pile: Pile, limit: usize) -> Answer<'_, Vec<WaitingNotice>> {
        let prefix = crate::kv::notice::prefix(of, pile);
        Box::pin(self.read(limit <= INLINE_READS, move |disk| read::notices(disk, &prefix, limit)))
    }

    fn notices_after(
        &self,
        of: &HookKey,
        pile: Pile,
        after: &NoticeId,
        limit: usize,
    ) -> Answer<'_, Vec<WaitingNotice>> {
        let (prefix, after) = (crate::kv::notice::prefix(of, pile), crate::kv::notice::key(of, pile, after));
        let little = limit <= INLINE_READS;
        Box::pin(self.read(little, move |disk| read::notices_after(disk, &prefix, after, limit)))
    }

    fn attempted(&self, of: &HookKey, id: &NoticeId, attempts: Tries) -> Answer<'_, ()> {
        let key = crate::kv::notice::key(of, Pile::Waiting, id);
        Box::pin(self.submit(Attempt { key, attempts }))
    }

    fn remove(&self, of: &HookKey, pile: Pile, ids: Vec<NoticeId>) -> Answer<'_, u64> {
        let keys = ids.iter().map(|id| crate::kv::notice::key(of, pile, id)).collect();
        Box::pin(self.submit(Remove { keys }))
    }

    fn bury(&self, of: &HookKey, ids: Vec<NoticeId>) -> Answer<'_, u64> {
        Box::pin(self.submit(ChangePile { hook: of.clone(), ids, to: Pile::Dead }))
    }

    fn revive(&self, of: &HookKey, ids: Vec<NoticeId>) -> Answer<'_, u64> {
        Box::pin(self.submit(ChangePile { hook: of.clone(), ids, to: Pile::Waiting }))
    }

    fn piles(&self) -> Answer<'_, Vec<(HookKey, Piles)>> {
        Box::pin(self.read(false, read::piles))
    }
}

impl Settings for EmbeddedStore {
    fn put(&self, key: &str, value: Option<Bytes>) -> Answer<'_, ()> {
        Box::pin(self.submit(Put { key: key.to_owned(), value }))
    }

    fn list(&self, prefix: &str) -> Answer<'_, Vec<(String, Bytes)>> {
        let prefix = prefix.to_owned();
        Box::pin(self.read(false, move |disk| read::settings(disk, &prefix)))
    }

    fn epoch(&self) -> Epoch {
        self.shared.epoch
    }

    fn close(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            let queue = self.queue.as_ref().ok_or(StoreError::Closed)?;
            let sent = queue.send(Command::Close(reply)).await.is_ok();
            let result = if sent { answer.await.ok() } else { None };
            match result.unwrap_or_else(|| Err(self.shared.ended())) {
                // Somebody else closed it: that is what was asked for.
                Err(StoreError::Closed) => Ok(()),
                other => other,
            }
        })
    }
}
