//! Where the disk space of trimmed messages comes back: behind the writer and the readers, to whom all of it is gone
//! already. Whatever is interrupted here is merely still there.
//!
//! Three ways, from cheap to dear. Tables that hold nothing but trimmed messages of one namespace are let go unread.
//! Whenever the tree merges tables for reasons of its own, a filter leaves out what has been trimmed. And where keys do
//! not follow the order of messages (ids, topics), so that tables may never be merged, all of a keyspace is rewritten
//! once as many messages have been trimmed, since that was last done, as are left.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak, mpsc};
use std::thread::JoinHandle;
use std::{fs, io};

use fjall::compaction::filter::{
    CompactionFilter, CompactionFilterResult, Context, Factory, ItemAccessor, Verdict,
};
use tidings_model::{NamespaceName, Seq};

use super::Shared;
use super::disk::{Disk, io_error, shield};
use super::transaction::ByNamespace;
use crate::StoreError;
use crate::kv::namespace_head::Heads;
use crate::kv::{Keyspace, bucket, codec, collapse, message, message_id, term, topic_entry};

/// The name of the thread that gives space back.
const THREAD: &str = "store-sweeper";

/// Fewer dead messages than this are not worth rewriting anything for.
const DEAD_MIN: u64 = 10_000;

/// The keyspaces whose keys are a namespace and the number of a message: what is trimmed lies side by side.
const BY_NUMBER: [Keyspace; 3] = [Keyspace::Message, Keyspace::Receipt, Keyspace::Trace];

/// The keyspaces in which what is trimmed lies between what is not.
const SCATTERED: [Keyspace; 3] = [Keyspace::MessageId, Keyspace::TopicEntry, Keyspace::Collapse];

/// What of a namespace is dead.
#[derive(Clone, Copy, Debug)]
struct Floor {
    /// Messages up to this one have been trimmed, and that is on disk.
    trimmed: Seq,
    /// Messages up to this one are on disk.
    durable: Seq,
}

/// By the bytes of the name of a namespace.
type Floors = HashMap<Vec<u8>, Floor>;

/// What is dead, for the filters of the tree.
#[derive(Debug, Default)]
pub(super) struct Ground {
    floors: RwLock<Arc<Floors>>,
    disk: RwLock<Weak<Disk>>,
    /// Somebody waits for the tree to be let go.
    hurry: AtomicBool,
}

impl Ground {
    /// The tree has been opened.
    pub(super) fn opened(&self, disk: &Arc<Disk>, heads: &ByNamespace<Heads>) {
        *self.disk.write().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(disk);
        // What was read back from the journal may not have reached the disk; a trim that is on disk came after
        // everything that it trims.
        let floors = heads.iter().filter(|(_, heads)| heads.trimmed > Seq(0));
        let floor = |heads: &Heads| Floor { trimmed: heads.trimmed, durable: heads.trimmed };
        self.put(floors.map(|(name, heads)| (name.as_str().into(), floor(heads))).collect());
        self.hurry.store(false, Ordering::Release);
    }

    /// Something has been trimmed from these namespaces, and everything up to these heads is on disk.
    pub(super) fn trimmed(&self, names: &[NamespaceName], heads: &ByNamespace<Heads>) {
        let mut floors = Floors::clone(&self.floors());
        for name in names {
            if let Some(heads) = heads.get(name) {
                floors.insert(name.as_str().into(), Floor { trimmed: heads.trimmed, durable: heads.seq });
            }
        }
        self.put(floors);
    }

    /// The tree is to be let go as soon as possible.
    pub(super) fn hurry(&self) {
        self.hurry.store(true, Ordering::Release);
    }

    fn hurried(&self) -> bool {
        self.hurry.load(Ordering::Acquire)
    }

    fn put(&self, floors: Floors) {
        *self.floors.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(floors);
    }

    fn floors(&self) -> Arc<Floors> {
        Arc::clone(&self.floors.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn disk(&self) -> Option<Arc<Disk>> {
        self.disk.read().unwrap_or_else(PoisonError::into_inner).upgrade()
    }

    /// What makes the filters of a keyspace, if anything is ever trimmed from it.
    pub(super) fn filters(self: &Arc<Self>, name: &str) -> Option<Arc<dyn Factory>> {
        let keyspace = BY_NUMBER
            .into_iter()
            .chain([Keyspace::Term])
            .chain(SCATTERED)
            .find(|keyspace| keyspace.name() == name)?;
        Some(Arc::new(Filters { keyspace, ground: Arc::clone(self) }))
    }
}

struct Filters {
    keyspace: Keyspace,
    ground: Arc<Ground>,
}

impl Factory for Filters {
    fn name(&self) -> &str {
        self.keyspace.name()
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        Box::new(Filter {
            keyspace: self.keyspace,
            floors: self.ground.floors(),
            ground: Arc::clone(&self.ground),
            ours: std::thread::current().name() == Some(THREAD),
            topic: None,
        })
    }
}

/// Leaves out what has been trimmed from one merge of tables.
struct Filter {
    keyspace: Keyspace,
    floors: Arc<Floors>,
    ground: Arc<Ground>,
    /// Whether the merge is one that this file asked for: only those may be broken off.
    ours: bool,
    /// The topic that was last asked about, by the prefix of its keys, and the oldest of its entries that stays.
    topic: Option<(Vec<u8>, u64)>,
}

impl CompactionFilter for Filter {
    fn filter_item(&mut self, item: ItemAccessor<'_>, _: &Context) -> CompactionFilterResult {
        if self.ours && self.ground.hurried() {
            return Err(io::Error::from(io::ErrorKind::Interrupted).into());
        }
        if self.floors.is_empty() {
            return Ok(Verdict::Keep);
        }
        let key = item.key();
        let Some(floor) = namespace_of(key).and_then(|name| self.floors.get(name)).copied() else {
            return Ok(Verdict::Keep);
        };
        let dead = match self.keyspace {
            Keyspace::MessageId => {
                message_id::decode(key, &item.value()?).is_ok_and(|known| known.seq <= floor.trimmed)
            }
            Keyspace::Collapse => collapse::decode(key, &item.value()?)
                .is_ok_and(|seqs| seqs.iter().all(|seq| *seq <= floor.trimmed)),
            Keyspace::TopicEntry => {
                topic_entry::decode(key, &item.value()?).is_ok_and(|seq| seq <= floor.trimmed)
                    && self.has_a_newer_one(key, floor)
            }
            // A block goes when all of it is trimmed.
            Keyspace::Term => {
                number_of(key).is_some_and(|block| block.0 < term::place(floor.trimmed.next()).0)
            }
            // Message, Receipt, Trace.
            _ => number_of(key).is_some_and(|seq| seq <= floor.trimmed),
        };
        // A version that lies below may come to light by this: it is as dead.
        Ok(if dead { Verdict::Destroy } else { Verdict::Keep })
    }
}

impl Filter {
    /// Whether a topic has an entry after this one that survives whatever happens: the newest one tells where the
    /// topic goes on. Asked once for each topic of a merge.
    fn has_a_newer_one(&mut self, key: &[u8], floor: Floor) -> bool {
        let Some((prefix, offset)) = key.split_last_chunk::<8>() else { return false };
        let offset = u64::from_be_bytes(*offset);
        if self.topic.as_ref().is_none_or(|(known, _)| known != prefix) {
            let found = self.ground.disk().and_then(|disk| {
                let found = shield(|| first_to_stay(&disk, prefix, key, floor));
                // An entry that cannot be read is reported to whoever needs it.
                found.ok()
            });
            self.topic = Some((prefix.to_vec(), found.unwrap_or(0)));
        }
        self.topic.as_ref().is_some_and(|(_, stays)| offset < *stays)
    }
}

/// Of the entries of a topic from this key on, the first that has not been trimmed, or the last that is on disk.
fn first_to_stay(disk: &Disk, prefix: &[u8], from: &[u8], floor: Floor) -> Result<u64, StoreError> {
    let mut stays = 0;
    let end = topic_entry::key(prefix, u64::MAX);
    for entry in disk.view().range(Keyspace::TopicEntry, from, &end) {
        let (key, value) = entry?;
        let damaged = |broken| Keyspace::TopicEntry.damaged(&key, broken);
        let seq = topic_entry::decode(&key, &value).map_err(damaged)?;
        if seq > floor.durable {
            break;
        }
        stays = topic_entry::offset(prefix, &key).map_err(damaged)?;
        if seq > floor.trimmed {
            break;
        }
    }
    Ok(stays)
}

fn namespace_of(key: &[u8]) -> Option<&[u8]> {
    let (length, rest) = key.split_first()?;
    rest.get(..usize::from(*length))
}

/// The number of the message in a key that begins with a namespace and a number.
fn number_of(key: &[u8]) -> Option<Seq> {
    let behind = key.get(1 + usize::from(*key.first()?)..)?;
    behind.first_chunk::<8>().map(|number| Seq(u64::from_be_bytes(*number)))
}

/// The thread that gives space back. Joined when this is dropped.
#[derive(Debug)]
pub(super) struct Sweeper {
    asked: Option<mpsc::SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// How often the thread may be asked in advance: it looks at everything each time.
const ASKED: usize = 1;

impl Sweeper {
    /// Starts the thread, which looks at once. What it has done is written down in `note`.
    pub(super) fn spawn(shared: Arc<Shared>, note: PathBuf) -> Result<Self, StoreError> {
        let (asked, asks) = mpsc::sync_channel(ASKED);
        let run = move || {
            let mut swept = Swept::read(note);
            loop {
                // Nothing waits for this, and the next trim comes by here again.
                let _ = shield(|| sweep(&shared, &mut swept));
                if asks.recv().is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name(THREAD.to_owned()).spawn(run);
        let thread = thread.map_err(|error| io_error(THREAD, &error))?;
        Ok(Self { asked: Some(asked), thread: Some(thread) })
    }

    /// Something has been trimmed.
    pub(super) fn sweep(&self) {
        if let Some(asked) = &self.asked {
            // Full: it has been asked already, and has not looked yet. Gone: it has said so.
            let _ = asked.try_send(());
        }
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.asked = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the thread has done.
#[derive(Debug)]
struct Swept {
    /// Up to which message the tables of each namespace have been let go.
    through: HashMap<NamespaceName, Seq>,
    /// Up to which message each namespace had been trimmed when what is scattered was last rewritten.
    rewritten: HashMap<NamespaceName, Seq>,
    /// Where that is written down, a number and a name on each line. Without it something is rewritten once more than it need be.
    note: PathBuf,
}

impl Swept {
    /// What was done before this process began.
    fn read(note: PathBuf) -> Self {
        let text = fs::read_to_string(&note).unwrap_or_default();
        let line = |line: &str| {
            let (seq, name) = line.split_once(' ')?;
            Some((NamespaceName::new(name).ok()?, Seq(seq.parse().ok()?)))
        };
        Self { through: HashMap::new(), rewritten: text.lines().filter_map(line).collect(), note }
    }

    /// What is scattered has been rewritten, without all that had been trimmed by then.
    fn rewrote(&mut self, trims: Vec<(NamespaceName, Seq)>) -> io::Result<()> {
        let text: String = trims.iter().map(|(name, seq)| format!("{} {name}\n", seq.0)).collect();
        self.rewritten = trims.into_iter().collect();
        let new = self.note.with_extension("new");
        fs::write(&new, text)?;
        fs::rename(&new, &self.note)
    }

    /// How many messages have been trimmed since.
    fn dead(&self, trims: &[(NamespaceName, Seq)]) -> u64 {
        let before = |name| self.rewritten.get(name).copied().unwrap_or_default();
        trims.iter().map(|(name, trimmed)| trimmed.0.saturating_sub(before(name).0)).sum()
    }
}

fn sweep(shared: &Shared, swept: &mut Swept) -> Result<(), StoreError> {
    let mut any = false;
    let trims = shared.trims();
    for (name, trimmed) in trims.iter().cloned() {
        if swept.through.get(&name).is_some_and(|through| *through >= trimmed) {
            continue;
        }
        let (from, to) = (codec::namespace_prefix(&name, 0), message::key(&name, trimmed.next()));
        for keyspace in BY_NUMBER {
            // Not for longer than needed: the tree may have to be let go.
            shared.disk()?.drop_tables(keyspace, &from, &to)?;
        }
        let (first, kept) = (term::prefix(&name, 0), term::prefix(&name, term::place(trimmed.next()).0));
        shared.disk()?.drop_tables(Keyspace::Term, &first, &kept)?;
        swept.through.insert(name, trimmed);
        any = true;
    }
    if !any {
        return Ok(());
    }
    let disk = shared.disk()?;
    disk.remove_files()?;
    let mut live = 0;
    for entry in disk.view().scan(Keyspace::Bucket, &[]) {
        let (key, value) = entry?;
        let bucket = bucket::decode(&key, &value);
        live += bucket.map_err(|broken| Keyspace::Bucket.damaged(&key, broken))?.1.messages;
    }
    if swept.dead(&trims) < live + DEAD_MIN {
        return Ok(());
    }
    for keyspace in SCATTERED {
        disk.rewrite(keyspace)?;
    }
    swept.rewrote(trims).map_err(|error| io_error(THREAD, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dead_is_known_after_a_restart() {
        let place = tempfile::tempdir().unwrap();
        let trims = |list: &[(&str, u64)]| {
            let trim = |&(name, seq): &(&str, u64)| (NamespaceName::new(name).unwrap(), Seq(seq));
            list.iter().map(trim).collect::<Vec<_>>()
        };
        let mut swept = Swept::read(place.path().join("SWEPT"));
        assert_eq!(swept.dead(&trims(&[("a", 1_000), ("b", 20)])), 1_020, "there is no note");
        swept.rewrote(trims(&[("a", 1_000), ("b", 20)])).unwrap();
        for swept in [&swept, &Swept::read(swept.note.clone())] {
            for (now, expected) in [
                (&[("a", 1_000), ("b", 20)][..], 0),
                (&[("a", 1_500), ("b", 20), ("c", 7)], 507),
                (&[("a", 10), ("b", 21)], 1),
            ] {
                assert_eq!(swept.dead(&trims(now)), expected, "{now:?}");
            }
        }
        fs::write(&swept.note, "1000 a\n20 B!\nb\n\0\0\n").unwrap();
        assert_eq!(
            Swept::read(swept.note).dead(&trims(&[("a", 1_001), ("b", 20)])),
            21,
            "half of the note is damaged"
        );
    }
}
