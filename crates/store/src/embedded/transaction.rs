//! What one batch is going to change, and how it looks to the changes that follow in the same batch.
//!
//! A transaction reads through itself to the tree. It is either committed as a whole and then absorbed
//! into [`Memory`], or dropped, and nothing has happened. It knows no verbs.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use fjall::Slice;
use rustc_hash::FxHashMap;
use tidings_model::{Message, NamespaceName, Seq, Timestamp, Topic};

use super::disk::Disk;
use crate::StoreError;
use crate::kv::namespace_head::{self, Heads};
use crate::kv::{Keyspace, bucket, due, topic_entry};
use crate::port::{Bucket, Due, DueKind};
use crate::rules;

/// Most topics whose newest offset is kept in memory. The others are looked up.
const TOPIC_HEADS_MAX: usize = 65_536;

/// Something of each of some namespaces. It is looked up for every message; only operators choose the names.
pub(super) type ByNamespace<T> = FxHashMap<NamespaceName, T>;

/// What the writer knows without looking: always as of the last batch that was committed.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The newest numbers of every namespace there is.
    pub(super) heads: ByNamespace<Heads>,
    /// The newest offset of some topics, by the prefix of their keys.
    topics: HashMap<Vec<u8>, u64>,
    /// The newest bucket of some namespaces; `None` when there is none.
    buckets: ByNamespace<Option<Bucket>>,
}

impl Memory {
    pub(super) fn new(heads: ByNamespace<Heads>) -> Self {
        Self { heads, topics: HashMap::new(), buckets: ByNamespace::default() }
    }

    /// Takes over what a committed transaction has learned.
    pub(super) fn absorb(&mut self, learned: Learned) {
        self.heads.extend(learned.heads);
        self.buckets.extend(learned.buckets.into_iter().map(|(name, filled)| (name, filled.newest)));
        if self.topics.len() + learned.topics.len() > TOPIC_HEADS_MAX {
            // Forgetting all of them is crude, but it is bounded, and the busy ones are back at once.
            self.topics.clear();
        }
        if learned.topics.len() <= TOPIC_HEADS_MAX {
            self.topics.extend(learned.topics);
        }
    }
}

/// What a transaction has learned about numbers.
#[derive(Debug, Default)]
pub(super) struct Learned {
    pub(super) heads: ByNamespace<Heads>,
    topics: HashMap<Vec<u8>, u64>,
    buckets: ByNamespace<Filled>,
    /// The namespaces that something was trimmed from.
    pub(super) trimmed: Vec<NamespaceName>,
}

/// What a transaction has put into the buckets of a namespace.
#[derive(Debug, Default)]
struct Filled {
    /// The buckets behind the newest that were changed.
    before: Vec<Bucket>,
    /// The newest bucket, changed or not; `None` when there is none.
    newest: Option<Bucket>,
}

/// A key and its value.
pub(super) type Entry = (Vec<u8>, Vec<u8>);

/// A batch in the making.
pub(super) struct Transaction<'a> {
    disk: &'a Disk,
    memory: &'a Memory,
    learned: Learned,
    /// Written, and never read again within the batch.
    written: [Vec<(Slice, Slice)>; Keyspace::ALL.len()],
    /// Changed, and read through.
    changed: [BTreeMap<Vec<u8>, Option<Slice>>; Keyspace::ALL.len()],
    /// The messages of this batch by namespace, in the order of their numbers: their ids may come again.
    fresh: ByNamespace<Vec<Arc<Message>>>,
    /// What the messages of this batch leave to be done: what is due together shares an entry.
    due: BTreeMap<(Timestamp, DueKind, NamespaceName), Vec<Seq>>,
    /// The number of the batch.
    number: u64,
    sync: bool,
}

impl<'a> Transaction<'a> {
    pub(super) fn new(disk: &'a Disk, memory: &'a Memory, number: u64) -> Self {
        Self {
            disk,
            memory,
            learned: Learned::default(),
            written: Default::default(),
            changed: Default::default(),
            fresh: ByNamespace::default(),
            due: BTreeMap::new(),
            number,
            sync: false,
        }
    }

    /// The value of a key, as this batch has left it.
    pub(super) fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Slice>, StoreError> {
        match self.changed[keyspace as usize].get(key) {
            Some(changed) => Ok(changed.clone()),
            None => self.disk.get(keyspace, key),
        }
    }

    /// Everything whose key begins with `prefix`, as this batch has left it.
    pub(super) fn scan(
        &self,
        keyspace: Keyspace,
        prefix: &[u8],
    ) -> Result<Vec<(Vec<u8>, Slice)>, StoreError> {
        let mut found = BTreeMap::new();
        for entry in self.disk.view().scan(keyspace, prefix) {
            let (key, value) = entry?;
            found.insert(key.to_vec(), value);
        }
        let changed = self.changed[keyspace as usize].range(prefix.to_vec()..);
        for (key, value) in changed.take_while(|(key, _)| key.starts_with(prefix)) {
            match value {
                Some(value) => found.insert(key.clone(), value.clone()),
                None => found.remove(key),
            };
        }
        Ok(found.into_iter().collect())
    }

    /// Sets a key.
    pub(super) fn put(&mut self, keyspace: Keyspace, key: Vec<u8>, value: Vec<u8>) {
        self.changed[keyspace as usize].insert(key, Some(value.into()));
    }

    /// Removes a key.
    pub(super) fn remove(&mut self, keyspace: Keyspace, key: Vec<u8>) {
        self.changed[keyspace as usize].insert(key, None);
    }

    /// Sets a key that nothing in this batch reads any more.
    pub(super) fn write(&mut self, keyspace: Keyspace, key: Vec<u8>, value: Vec<u8>) {
        self.written[keyspace as usize].push((key.into(), value.into()));
    }

    /// The number of the batch.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Leaves something to be done to a message of this batch.
    pub(super) fn leave(&mut self, at: Timestamp, what: DueKind, message: &Message) {
        self.due.entry((at, what, message.namespace.clone())).or_default().push(message.seq);
    }

    /// Asks for the disk: the answer waits for an `fdatasync`.
    pub(super) fn ask_sync(&mut self) {
        self.sync = true;
    }

    /// The newest numbers of a namespace.
    pub(super) fn heads(&self, namespace: &NamespaceName) -> Heads {
        let heads = self.learned.heads.get(namespace).or_else(|| self.memory.heads.get(namespace));
        heads.copied().unwrap_or_default()
    }

    /// Gives out numbers of a namespace.
    pub(super) fn set_heads(&mut self, namespace: &NamespaceName, heads: Heads) {
        match self.learned.heads.get_mut(namespace) {
            Some(known) => *known = heads,
            None => drop(self.learned.heads.insert(namespace.clone(), heads)),
        }
    }

    /// Gives a message the next offset of a topic: the offset, and the entry to write for it.
    pub(super) fn next_entry(
        &mut self,
        namespace: &NamespaceName,
        topic: &Topic,
        seq: Seq,
    ) -> Result<(u64, Entry), StoreError> {
        let prefix = topic_entry::prefix(namespace, topic);
        let known = self.learned.topics.get(&prefix).or_else(|| self.memory.topics.get(&prefix));
        let head = match known {
            Some(head) => *head,
            None => super::read::topic_head(&self.disk.view(), &prefix)?,
        };
        let key = topic_entry::key(&prefix, head + 1);
        let value = topic_entry::value(&key, seq);
        self.learned.topics.insert(prefix, head + 1);
        Ok((head + 1, (key, value)))
    }

    /// Remembers a message for the rest of the batch. It has the number after that of the one before.
    pub(super) fn remember(&mut self, message: &Arc<Message>) {
        match self.fresh.get_mut(&message.namespace) {
            Some(fresh) => fresh.push(Arc::clone(message)),
            None => drop(self.fresh.insert(message.namespace.clone(), vec![Arc::clone(message)])),
        }
    }

    /// Counts a message that takes so many bytes.
    pub(super) fn count(&mut self, message: &Message, bytes: usize) -> Result<(), StoreError> {
        let namespace = &message.namespace;
        let newest = match self.learned.buckets.get(namespace) {
            Some(filled) => filled.newest,
            None => self.newest_bucket(namespace)?,
        };
        let bucket = rules::fill(newest, message, bytes as u64);
        let filled = match self.learned.buckets.get_mut(namespace) {
            Some(filled) => filled,
            None => self.learned.buckets.entry(namespace.clone()).or_default(),
        };
        filled.before.extend(newest.filter(|newest| newest.first != bucket.first));
        filled.newest = Some(bucket);
        Ok(())
    }

    fn newest_bucket(&self, namespace: &NamespaceName) -> Result<Option<Bucket>, StoreError> {
        match self.memory.buckets.get(namespace) {
            Some(known) => Ok(*known),
            None => super::read::newest_bucket(&self.disk.view(), namespace),
        }
    }

    /// Takes everything up to a number away from a namespace.
    pub(super) fn trim(&mut self, namespace: &NamespaceName, through: Seq) -> Result<(), StoreError> {
        let mut heads = self.heads(namespace);
        let through = through.min(heads.seq);
        if through <= heads.trimmed {
            return Ok(());
        }
        heads.trimmed = through;
        self.set_heads(namespace, heads);
        let prefix = bucket::prefix(namespace);
        for entry in self.disk.view().scan(Keyspace::Bucket, &prefix) {
            let (key, value) = entry?;
            let (_, bucket) =
                bucket::decode(&key, &value).map_err(|broken| Keyspace::Bucket.damaged(&key, broken))?;
            if bucket.last > through {
                break;
            }
            self.remove(Keyspace::Bucket, key.to_vec());
        }
        let newest = self.newest_bucket(namespace)?;
        let filled =
            self.learned.buckets.entry(namespace.clone()).or_insert(Filled { before: Vec::new(), newest });
        filled.before.retain(|bucket| bucket.last > through);
        filled.newest = filled.newest.filter(|bucket| bucket.last > through);
        // What this batch has added to a bucket may be all that is left of it.
        for kept in filled.before.iter().chain(&filled.newest) {
            self.changed[Keyspace::Bucket as usize].remove(&bucket::key(namespace, kept.first));
        }
        self.learned.trimmed.push(namespace.clone());
        Ok(())
    }

    /// A message with this number.
    pub(super) fn message(
        &self,
        namespace: &NamespaceName,
        seq: Seq,
    ) -> Result<Option<Arc<Message>>, StoreError> {
        if seq <= self.heads(namespace).trimmed {
            return Ok(None);
        }
        let fresh = self.fresh.get(namespace).map_or(&[][..], Vec::as_slice);
        let index = fresh.first().and_then(|first| seq.0.checked_sub(first.seq.0));
        match index.and_then(|index| fresh.get(usize::try_from(index).ok()?)) {
            Some(message) => Ok(Some(Arc::clone(message))),
            None => super::read::message(self.disk, namespace, seq),
        }
    }

    /// Whether somebody asked for the disk.
    pub(super) fn wants_sync(&self) -> bool {
        self.sync
    }

    /// What is to be written, and what is to be remembered once it is. Messages come before the entries
    /// that lead to them, and both before everything else. Of each keyspace, what is only written is in the order of its
    /// keys: the tree then finds the place of each near that of the one before, which is still in the processor's cache.
    pub(super) fn finish(mut self) -> (Vec<(Keyspace, Slice, Option<Slice>)>, Learned) {
        for (namespace, heads) in &self.learned.heads {
            let key = namespace_head::key(namespace);
            let value = namespace_head::value(&key, *heads);
            self.written[Keyspace::NamespaceHead as usize].push((key.into(), value.into()));
        }
        for (namespace, filled) in &self.learned.buckets {
            for bucket in filled.before.iter().chain(&filled.newest) {
                let key = bucket::key(namespace, bucket.first);
                let value = bucket::value(&key, bucket);
                self.written[Keyspace::Bucket as usize].push((key.into(), value.into()));
            }
        }
        for ((at, what, namespace), seqs) in std::mem::take(&mut self.due) {
            let entry = Due { at, what, namespace, seqs };
            let key = due::key(&entry);
            let value = due::value(&key, &entry);
            self.written[Keyspace::Due as usize].push((key.into(), value.into()));
        }
        let written: usize = self.written.iter().map(Vec::len).sum();
        let changed: usize = self.changed.iter().map(BTreeMap::len).sum();
        let mut changes = Vec::with_capacity(written + changed);
        for (keyspace, mut written) in Keyspace::ALL.into_iter().zip(self.written) {
            // Of two values of a key the later one stays.
            written.sort_by(|(one, _), (other, _)| one.cmp(other));
            changes.extend(written.into_iter().map(|(key, value)| (keyspace, key, Some(value))));
        }
        for (keyspace, changed) in Keyspace::ALL.into_iter().zip(self.changed) {
            changes.extend(changed.into_iter().map(|(key, value)| (keyspace, key.into(), value)));
        }
        (changes, self.learned)
    }
}
