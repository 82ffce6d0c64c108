//! How the directory is opened, and begun: the lock, the order in which things come to be, and what is
//! checked before anything is believed.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fjall::{CompressionType, Database, KeyspaceCreateOptions};
use tidings_model::Epoch;

use super::Options;
use super::damage;
use super::decoded::Decoded;
use super::disk::{CommitError, Disk, engine_error, io_error, shield};
use super::journal;
use super::owned::Owned;
use super::sweep::Ground;
use super::transaction::ByNamespace;
use crate::StoreError;
use crate::kv::codec::Broken;
use crate::kv::namespace_head::{self, Heads};
use crate::kv::{FORMAT, FORMAT_1, KEYSPACES_OF_FORMAT_1, Keyspace, meta};

pub(super) const LOCK: &str = "LOCK";
pub(super) const SYNCED: &str = "SYNCED";
pub(super) const TREE: &str = "db";
/// Inside the tree.
const KEYSPACES: &str = "keyspaces";
const BEGINNING: &str = "BEGINNING";
const CHANGING: &str = "CHANGING";
const SWEPT: &str = "SWEPT";
/// While this is there, the directory is being filled: see [`super::fresh`].
pub(super) const UNFINISHED: &str = "UNFINISHED";
const EVIDENCE: &str = "unreadable.jnl";

/// The batch that holds format and epoch.
const FIRST_BATCH: u64 = 1;

/// Largest memtable for messages, in bytes. Up to three of them exist at a time.
const MESSAGE_MEMTABLE_BYTES: u64 = 16 << 20;

/// Largest memtable of a keyspace about devices, in bytes: what connects must not leave megabytes behind.
const DEVICE_MEMTABLE_BYTES: u64 = 512 << 10;

/// Largest memtable of cursors, in bytes: of all that is about devices they change most.
const CURSOR_MEMTABLE_BYTES: u64 = 1 << 20;

/// Largest memtable of every other keyspace, in bytes.
const MEMTABLE_BYTES: u64 = 8 << 20;

/// Threads that write out memtables and merge tables. Two, so that neither waits for the other; and one more, because the
/// first of them does not merge: it puts what is to be merged back into the queue and takes it out again, as fast as it can, for
/// as long as all others are busy.
const WORKERS: usize = 3;

/// An open directory.
pub(super) struct Opened {
    pub(super) directory: Directory,
    pub(super) disk: Arc<Disk>,
    pub(super) epoch: Epoch,
    pub(super) heads: ByNamespace<Heads>,
    /// The newest batch.
    pub(super) batch: u64,
}

/// The directory, ours for as long as this lives.
pub(super) struct Directory {
    path: PathBuf,
    options: Options,
    synced: File,
    /// What has been trimmed, for the filters of the tree.
    pub(super) ground: Arc<Ground>,
    lock: Lock,
}

/// Makes a directory for this user alone: there are secrets in it. One that is there stays as it is; those above it that are missing are
/// made as directories are.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent() {
        fs::create_dir_all(above)?;
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Opens the store in this directory, or begins one.
pub(super) fn open(path: &Path, options: Options) -> Result<Opened, StoreError> {
    let error = |error| io_error(path.display(), &error);
    make_directory(path).map_err(error)?;
    let lock = lock(path)?;
    let mut synced = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path.join(SYNCED))
        .map_err(error)?;
    let number = read_synced(&mut synced).map_err(error)?;
    let directory = Directory { path: path.to_owned(), options, synced, ground: Arc::default(), lock };
    if path.join(UNFINISHED).try_exists().map_err(error)? {
        let text =
            format!("{} was being made by a backup or an import, which did not finish", path.display());
        return Err(StoreError::Damaged(text));
    }
    let beginning = path.join(BEGINNING).try_exists().map_err(error)?;
    let tree = if beginning || !path.join(TREE).try_exists().map_err(error)? {
        if number > 0 {
            let tree = directory.tree();
            let text = format!("{} is gone, but {number} batches had been written", tree.display());
            return Err(StoreError::Damaged(text));
        }
        begin(&directory)?
    } else {
        let tree = read_tree(&directory, number, None)?;
        // Whoever began it may have been killed before the end of the beginning had reached the disk.
        sync_directory(path)?;
        tree
    };
    Ok(Opened { directory, disk: tree.disk, epoch: tree.epoch, heads: tree.heads, batch: tree.batch })
}

/// A tree, and what the writer needs to know of it.
pub(super) struct Tree {
    pub(super) disk: Arc<Disk>,
    pub(super) heads: ByNamespace<Heads>,
    pub(super) batch: u64,
    epoch: Epoch,
}

impl Directory {
    fn tree(&self) -> PathBuf {
        self.path.join(TREE)
    }

    /// A directory without a tree, which becomes ours.
    pub(super) fn empty(path: &Path, options: Options) -> Result<Self, StoreError> {
        let lock = lock(path)?;
        let synced = File::create(path.join(SYNCED)).map_err(|error| io_error(path.display(), &error))?;
        Ok(Self { path: path.to_owned(), options, synced, ground: Arc::default(), lock })
    }

    /// Makes a tree with nothing in it.
    pub(super) fn make_tree(&self) -> Result<Disk, StoreError> {
        shield(|| {
            let failed = |error: fjall::Error| engine_error(self.tree().display(), &error);
            let db = builder(self).open().map_err(failed)?;
            disk(self, &db).map_err(failed)
        })
    }

    /// Opens the tree again after a failure, without what came after the batch `through`. The tree must
    /// have been dropped.
    pub(super) fn reopen(&mut self, through: u64) -> Result<Tree, StoreError> {
        let synced = read_synced(&mut self.synced).map_err(|error| io_error(SYNCED, &error))?;
        read_tree(self, synced, Some(through))
    }

    /// Notes that this batch has reached the disk. The note itself is not synced: it may lag behind.
    pub(super) fn note_synced(&mut self, batch: u64) -> io::Result<()> {
        let mut note = [0; 12];
        note[..8].copy_from_slice(&batch.to_be_bytes());
        note[8..].copy_from_slice(&crc32fast::hash(&batch.to_be_bytes()).to_be_bytes());
        self.synced.seek(SeekFrom::Start(0))?;
        self.synced.write_all(&note)
    }

    /// Where it is written down what has been given back.
    pub(super) fn swept(&self) -> PathBuf {
        self.path.join(SWEPT)
    }

    /// Looks through all tables for a damaged one, and names it.
    pub(super) fn damage(&self) -> Option<String> {
        damage::in_tree(&self.tree().join(KEYSPACES))
    }

    /// Finds out whether the directory is still there. Files that are open outlive it, and what is written to them is lost.
    pub(super) fn is_there(&self) -> Result<(), StoreError> {
        let removed = |name: &str| StoreError::Io(format!("{} was removed", self.path.join(name).display()));
        match self.lock.0.metadata() {
            Ok(lock) if lock.nlink() == 0 => Err(removed(LOCK)),
            Ok(_) if !self.tree().exists() => Err(removed(TREE)),
            Ok(_) => Ok(()),
            Err(error) => Err(io_error(self.path.display(), &error)),
        }
    }

    /// Finds out whether there is room again, by taking some.
    pub(super) fn probe(&self) -> Result<(), StoreError> {
        let path = self.path.join("PROBE");
        let take = || {
            let mut file = File::create(&path)?;
            file.write_all(&vec![0xa5; PROBE_BYTES])?;
            file.sync_all()
        };
        let taken = take();
        // The file may not be there; what matters is that it is not there now.
        let _ = fs::remove_file(&path);
        taken.map_err(|error| io_error(path.display(), &error))
    }
}

/// How much room there must be before a full store is opened anew: enough to write out a memtable.
const PROBE_BYTES: usize = 8 << 20;

/// The lock on a directory.
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is not enough: a process that is being started just now may hold a copy of it.
        let _ = self.0.unlock();
    }
}

fn lock(path: &Path) -> Result<Lock, StoreError> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path.join(LOCK));
    let file = file.map_err(|error| io_error(path.display(), &error))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(io_error(path.display(), &error)),
    }
}

/// The newest batch that is known to have reached the disk; 0 when the note is missing or torn.
fn read_synced(file: &mut File) -> io::Result<u64> {
    let mut note = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(12).read_to_end(&mut note)?;
    let (Some(number), Some(crc)) = (note.first_chunk::<8>(), note.last_chunk::<4>()) else { return Ok(0) };
    let whole = note.len() == 12 && crc32fast::hash(number).to_be_bytes() == *crc;
    Ok(if whole { u64::from_be_bytes(*number) } else { 0 })
}

/// Begins a store. While it comes to be there is a file that says so, and whoever finds that file begins
/// again: half a tree is never taken for one, and nothing but half a tree is ever thrown away. Before it goes,
/// everything that leads to the tree is on the disk.
fn begin(directory: &Directory) -> Result<Tree, StoreError> {
    let (path, beginning) = (directory.tree(), directory.path.join(BEGINNING));
    let error = |error| io_error(path.display(), &error);
    File::create(&beginning).map_err(error)?;
    sync_directory(&directory.path)?;
    sync_ancestors(&directory.path)?;
    if path.try_exists().map_err(error)? {
        fs::remove_dir_all(&path).map_err(error)?;
    }
    let epoch = directory.options.epoch_if_new;
    let disk = shield(|| {
        let disk = directory.make_tree()?;
        let number = |key: &[u8], number| (Keyspace::Meta, key.into(), Some(meta::value(key, number).into()));
        let first = [number(meta::FORMAT_KEY, FORMAT), number(meta::EPOCH_KEY, epoch.0)];
        write(&disk, FIRST_BATCH, first, &path)?;
        Ok(disk)
    })?;
    // fjall syncs the directory of each keyspace, and not the one that these are in.
    sync_directory(&path.join(KEYSPACES))?;
    sync_directory(&directory.path)?;
    fs::remove_file(&beginning).map_err(error)?;
    sync_directory(&directory.path)?;
    let (disk, heads) = (Arc::new(disk), ByNamespace::default());
    directory.ground.opened(&disk, &heads);
    Ok(Tree { disk, heads, batch: FIRST_BATCH, epoch })
}

/// Writes a batch of our own, durably.
fn write<const N: usize>(
    disk: &Disk,
    number: u64,
    changes: [(Keyspace, fjall::Slice, Option<fjall::Slice>); N],
    path: &Path,
) -> Result<(), StoreError> {
    match disk.commit(number, changes.into_iter(), true) {
        Ok(()) => Ok(()),
        Err(CommitError::Failed(error)) => Err(error),
        Err(CommitError::Refused) => Err(StoreError::Io(format!("{} refuses", path.display()))),
    }
}

/// Makes the names in a directory durable: a synced file is lost all the same when its name is.
fn sync_directory(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(|error| io_error(path.display(), &error))
}

/// Makes durable that a directory is where it is: it, and those that it is in, may have been made just now. They
/// are on the same file system then, and none of them is closed to us.
pub(super) fn sync_ancestors(path: &Path) -> Result<(), StoreError> {
    let error = |error| io_error(path.display(), &error);
    let whole = fs::canonicalize(path).map_err(error)?;
    let device = fs::metadata(&whole).map_err(error)?.dev();
    for above in whole.ancestors().skip(1) {
        if fs::metadata(above).map_err(error)?.dev() != device {
            break;
        }
        match File::open(above) {
            Ok(folder) => folder.sync_all().map_err(|error| io_error(above.display(), &error))?,
            Err(denied) if denied.kind() == ErrorKind::PermissionDenied => {}
            Err(other) => return Err(io_error(above.display(), &other)),
        }
    }
    Ok(())
}

fn builder(directory: &Directory) -> fjall::DatabaseBuilder<Database> {
    let (options, ground) = (&directory.options, Arc::clone(&directory.ground));
    Database::builder(directory.tree())
        .with_compaction_filter_factories(Arc::new(move |name| ground.filters(name)))
        .cache_size(options.cache_bytes - decoded_bytes(options) - owned_bytes(options))
        .max_journaling_size(options.journal_bytes.max(64 << 20))
        // The journal is read by [`journal`], and the time is better spent elsewhere.
        .journal_compression(CompressionType::None)
        .worker_threads(WORKERS)
}

/// How much of the cache is for messages, decoded; what nothing else takes is for blocks of the tables.
fn decoded_bytes(options: &Options) -> u64 {
    options.cache_bytes / 4
}

/// How much of the cache is for who has which devices: some 60,000 users of the default.
fn owned_bytes(options: &Options) -> u64 {
    options.cache_bytes / 8
}

fn disk(directory: &Directory, db: &Database) -> fjall::Result<Disk> {
    let decoded = Decoded::new(decoded_bytes(&directory.options));
    let owned = Owned::new(owned_bytes(&directory.options));
    Ok(Disk::new(db.clone(), keyspaces(db)?, decoded, owned))
}

fn keyspaces(db: &Database) -> fjall::Result<[fjall::Keyspace; Keyspace::ALL.len()]> {
    let mut opened = Vec::with_capacity(Keyspace::ALL.len());
    for keyspace in Keyspace::ALL {
        opened.push(db.keyspace(keyspace.name(), || options(keyspace))?);
    }
    opened.try_into().map_err(|_| fjall::Error::Unrecoverable)
}

fn options(keyspace: Keyspace) -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default().max_memtable_size(memtable_bytes(keyspace))
}

fn memtable_bytes(keyspace: Keyspace) -> u64 {
    match keyspace {
        Keyspace::Message => MESSAGE_MEMTABLE_BYTES,
        Keyspace::Device | Keyspace::DeviceId | Keyspace::UserDevice | Keyspace::RoomMember => {
            DEVICE_MEMTABLE_BYTES
        }
        Keyspace::DeviceCursor => CURSOR_MEMTABLE_BYTES,
        _ => MEMTABLE_BYTES,
    }
}

fn read_tree(directory: &Directory, synced: u64, through: Option<u64>) -> Result<Tree, StoreError> {
    let path = directory.tree();
    clear_half_made(directory)?;
    refuse_incomplete(&path)?;
    damage::check_manifests(&path.join(KEYSPACES))?;
    let audit = journal::audit(&path, synced, through)?;
    let evidence = directory.path.join(EVIDENCE);
    if let Some(unreadable) = &audit.unreadable {
        fs::copy(unreadable, &evidence).map_err(|error| io_error(evidence.display(), &error))?;
    }
    let known = synced.max(audit.newest.unwrap_or(0));
    let tree = shield(|| open_tree(directory, known)).map_err(|error| match error {
        StoreError::Damaged(mut text) => {
            if let Some(table) = directory.damage() {
                text = format!("{table} ({text})");
            }
            if audit.unreadable.is_some() {
                text += &format!("; the journal, as it was, is in {}", evidence.display());
            }
            StoreError::Damaged(text)
        }
        other => other,
    })?;
    if audit.unreadable.is_some() {
        fs::remove_file(&evidence).map_err(|error| io_error(evidence.display(), &error))?;
    }
    Ok(tree)
}

/// Opens the tree, and checks that it holds the batch `known`.
fn open_tree(directory: &Directory, known: u64) -> Result<Tree, StoreError> {
    let path = directory.tree();
    let failed = |error: fjall::Error| engine_error(path.display(), &error);
    let db = builder(directory).open().map_err(failed)?;
    let expected = |keyspaces: &[Keyspace]| {
        let missing = keyspaces.iter().find(|keyspace| !db.keyspace_exists(keyspace.name()));
        missing.map_or(Ok(()), |missing| {
            Err(StoreError::Damaged(format!("{}: {} is missing", path.display(), missing.name())))
        })
    };
    expected(&Keyspace::ALL[..KEYSPACES_OF_FORMAT_1])?;
    let format = format(&db)?;
    if !(FORMAT_1..=FORMAT).contains(&format) {
        return Err(StoreError::Format { found: format, expected: FORMAT });
    }
    if format != FORMAT_1 {
        expected(&Keyspace::ALL)?;
    }
    let changing = directory.path.join(CHANGING);
    if format == FORMAT_1 {
        File::create(&changing).map_err(|error| io_error(changing.display(), &error))?;
        sync_directory(&directory.path)?;
    }
    let disk = disk(directory, &db).map_err(failed)?;
    let mut batch = batch(&disk)?;
    if batch < known.max(FIRST_BATCH) {
        let text = format!("{} holds {batch} batches, but {known} had been written", path.display());
        return Err(StoreError::Damaged(text));
    }
    if format != FORMAT {
        // What was missing has just been made, empty; everything else is as it was.
        sync_directory(&path.join(KEYSPACES))?;
        batch += 1;
        let value = meta::value(meta::FORMAT_KEY, FORMAT);
        write(&disk, batch, [(Keyspace::Meta, meta::FORMAT_KEY.into(), Some(value.into()))], &path)?;
    }
    if changing.try_exists().map_err(|error| io_error(changing.display(), &error))? {
        fs::remove_file(&changing).map_err(|error| io_error(changing.display(), &error))?;
        sync_directory(&directory.path)?;
    }
    let epoch = Epoch(number(&disk, meta::EPOCH_KEY)?);
    let heads = heads(&disk)?;
    let disk = Arc::new(disk);
    directory.ground.opened(&disk, &heads);
    Ok(Tree { disk, heads, batch, epoch })
}

/// While a directory of format 1 becomes one of this format there is a file that says so. Whoever finds it throws
/// away the new keyspaces that had not got their manifest yet; fjall numbers them behind those that were there.
fn clear_half_made(directory: &Directory) -> Result<(), StoreError> {
    let clear = || {
        if !directory.path.join(CHANGING).try_exists()? {
            return Ok(());
        }
        for entry in fs::read_dir(directory.tree().join(KEYSPACES))? {
            let path = entry?.path();
            let number =
                path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<usize>().ok());
            let is_new = number.is_some_and(|number| number > KEYSPACES_OF_FORMAT_1);
            if is_new && !path.join("current").try_exists()? {
                fs::remove_dir_all(path)?;
            }
        }
        Ok(())
    };
    clear().map_err(|error| io_error(directory.path.display(), &error))
}

/// fjall deletes a keyspace that has lost its manifest, and a tree that has lost its version begins anew.
/// All of ours were complete before the tree got its name, so this is damage.
fn refuse_incomplete(path: &Path) -> Result<(), StoreError> {
    let check = || {
        let mut expected = vec![path.join("version"), path.join("lock")];
        for entry in fs::read_dir(path.join(KEYSPACES))? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                expected.push(entry.path().join("current"));
            }
        }
        for file in expected {
            if !file.try_exists()? {
                return Ok(Some(file));
            }
        }
        Ok(None)
    };
    match check() {
        Ok(None) => Ok(()),
        Ok(Some(file)) => Err(StoreError::Damaged(format!("{} is missing", file.display()))),
        Err(error) => Err(io_error(path.display(), &error)),
    }
}

/// The format of the directory, before anything else in it is touched.
fn format(db: &Database) -> Result<u32, StoreError> {
    let failed = |error: fjall::Error| engine_error(Keyspace::Meta.name(), &error);
    let meta = db.keyspace(Keyspace::Meta.name(), || options(Keyspace::Meta)).map_err(failed)?;
    let value = meta.get(meta::FORMAT_KEY).map_err(failed)?;
    let value = value.ok_or_else(|| Keyspace::Meta.damaged(meta::FORMAT_KEY, Broken::Dangling))?;
    meta::decode(meta::FORMAT_KEY, &value).map_err(|broken| Keyspace::Meta.damaged(meta::FORMAT_KEY, broken))
}

fn number(disk: &Disk, key: &[u8]) -> Result<u32, StoreError> {
    let value =
        disk.get(Keyspace::Meta, key)?.ok_or_else(|| Keyspace::Meta.damaged(key, Broken::Dangling))?;
    meta::decode(key, &value).map_err(|broken| Keyspace::Meta.damaged(key, broken))
}

/// How many batches the tree holds.
fn batch(disk: &Disk) -> Result<u64, StoreError> {
    match disk.get(Keyspace::Meta, meta::BATCH_KEY)? {
        Some(value) => {
            meta::decode_batch(&value).map_err(|broken| Keyspace::Meta.damaged(meta::BATCH_KEY, broken))
        }
        None => Ok(0),
    }
}

fn heads(disk: &Disk) -> Result<ByNamespace<Heads>, StoreError> {
    let entries = disk.view().scan(Keyspace::NamespaceHead, &[]);
    entries
        .map(|entry| {
            let (key, value) = entry?;
            namespace_head::decode(&key, &value)
                .map_err(|broken| Keyspace::NamespaceHead.damaged(&key, broken))
        })
        .collect()
}
