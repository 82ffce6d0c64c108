//! The tree on disk: the only file that talks to fjall about data. It knows keyspaces, keys and bytes,
//! and turns what fjall says when something goes wrong into a [`StoreError`].

use std::error::Error;
use std::io::{self, ErrorKind};
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use fjall::util::prefix_to_range;
use fjall::{AbstractTree as _, Database, OwnedWriteBatch, PersistMode, Readable, Slice, Snapshot};

use super::damage;
use super::decoded::Decoded;
use super::owned::Owned;
use crate::StoreError;
use crate::kv::{Keyspace, meta};

/// Memtables that wait to be written out, per keyspace, before a commit waits too.
///
/// At 4, fjall itself waits, and would do so for ever if its workers have died of a full disk; a commit
/// can add 2. So we wait earlier, with an eye on the workers.
const SEALED_MEMTABLES_MAX: usize = 1;

/// Tables that wait to be merged, per keyspace, before a commit waits too. fjall itself waits at 30.
const UNMERGED_TABLES_MAX: usize = 24;

/// How often a waiting commit looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// The open tree.
pub(super) struct Disk {
    db: Database,
    spaces: [fjall::Keyspace; Keyspace::ALL.len()],
    /// What has been read of it and decoded.
    pub(super) decoded: Decoded,
    /// What has been read of it about who has which devices.
    pub(super) owned: Owned,
}

/// Why a batch was not committed.
#[derive(Debug)]
pub(super) enum CommitError {
    /// The tree refuses writes because an earlier one failed, perhaps one of its own. Nothing was written.
    Refused,
    /// This write failed. How much of it is on disk is not known.
    Failed(StoreError),
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").finish_non_exhaustive()
    }
}

impl Disk {
    pub(super) fn new(
        db: Database,
        spaces: [fjall::Keyspace; Keyspace::ALL.len()],
        decoded: Decoded,
        owned: Owned,
    ) -> Self {
        Self { db, spaces, decoded, owned }
    }

    fn space(&self, keyspace: Keyspace) -> &fjall::Keyspace {
        &self.spaces[keyspace as usize]
    }

    /// The newest value of a key. The writer reads like this: nobody else writes.
    pub(super) fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Slice>, StoreError> {
        let space = self.space(keyspace);
        space.get(key).map_err(|error| read_error(keyspace, space, only(key), &error))
    }

    /// Everything as it is now. Readers that need more than one key read like this.
    pub(super) fn view(&self) -> View<'_> {
        View { disk: self, snapshot: self.db.snapshot() }
    }

    /// What [`Disk::view`] sees, for somebody who holds on to it for long.
    pub(super) fn snapshot(&self) -> Snapshot {
        self.db.snapshot()
    }

    /// Everything of a keyspace as a snapshot has it, in the order of keys.
    pub(super) fn all_of(
        &self,
        snapshot: &Snapshot,
        keyspace: Keyspace,
    ) -> impl Iterator<Item = Result<(Slice, Slice), StoreError>> + use<> {
        let space = self.space(keyspace).clone();
        let entries = snapshot.iter(&space);
        let failed = move |error| read_error(keyspace, &space, ALL_KEYS, &error);
        entries.map(move |entry| entry.into_inner().map_err(&failed))
    }

    /// Fills an empty keyspace with entries in the order of keys, past the journal.
    pub(super) fn fill(
        &self,
        keyspace: Keyspace,
        entries: impl Iterator<Item = Result<(Slice, Slice), StoreError>>,
    ) -> Result<(), StoreError> {
        let failed = |error: fjall::Error| engine_error(keyspace.name(), &error);
        let mut filling = self.space(keyspace).start_ingestion().map_err(failed)?;
        for entry in entries {
            let (key, value) = entry?;
            filling.write(key, value).map_err(failed)?;
        }
        filling.finish().map_err(failed)
    }

    /// Writes a batch: all of it or nothing, visible to readers when this returns. `number` counts
    /// batches; it is written first, where the journal can be counted through.
    pub(super) fn commit(
        &self,
        number: u64,
        changes: impl Iterator<Item = (Keyspace, Slice, Option<Slice>)>,
        sync: bool,
    ) -> Result<(), CommitError> {
        self.wait_for_room()?;
        let mode = if sync { PersistMode::SyncData } else { PersistMode::Buffer };
        let items = changes.size_hint().0 + 1;
        let mut batch = OwnedWriteBatch::with_capacity(self.db.clone(), items).durability(Some(mode));
        batch.insert(self.space(Keyspace::Meta), meta::BATCH_KEY, meta::batch_value(number));
        let mut owners = Vec::new();
        for (keyspace, key, value) in changes {
            if Owned::depends_on(keyspace) {
                owners.push((keyspace, key.clone()));
            }
            match value {
                Some(value) => batch.insert(self.space(keyspace), key, value),
                None => batch.remove(self.space(keyspace), key),
            }
        }
        batch.commit().map_err(|error| commit_error(&error))?;
        self.owned.changed(&owners);
        Ok(())
    }

    /// Writes all memtables out to tables.
    #[cfg(test)]
    pub(super) fn write_out(&self) {
        for space in &self.spaces {
            space.rotate_memtable_and_wait().unwrap();
        }
    }

    /// Removes all keyspaces from this one on.
    #[cfg(test)]
    pub(super) fn forget_keyspaces(&self, from: usize) {
        for space in &self.spaces[from..] {
            self.db.delete_keyspace(space.clone()).unwrap();
        }
    }

    /// Lets go of the tables of which every key is from `from` on and before `to`.
    pub(super) fn drop_tables(&self, keyspace: Keyspace, from: &[u8], to: &[u8]) -> Result<(), StoreError> {
        let space = self.space(keyspace);
        let dropped = space.tree.drop_range(from..to);
        dropped.map_err(|error| read_error(keyspace, space, ALL_KEYS, &error.into()))
    }

    /// Removes the files of tables that have been let go of and that nobody reads any more. fjall does so for every
    /// keyspace whenever it begins a memtable, so a small one is made to begin.
    pub(super) fn remove_files(&self) -> Result<(), StoreError> {
        let space = self.space(Keyspace::NamespaceHead);
        let rotated = space.rotate_memtable().map(drop);
        rotated.map_err(|error| read_error(Keyspace::NamespaceHead, space, ALL_KEYS, &error))
    }

    /// Merges all tables of a keyspace.
    pub(super) fn rewrite(&self, keyspace: Keyspace) -> Result<(), StoreError> {
        let space = self.space(keyspace);
        space.major_compact().map_err(|error| read_error(keyspace, space, ALL_KEYS, &error))
    }

    /// About how many entries a keyspace has.
    pub(super) fn about(&self, keyspace: Keyspace) -> u64 {
        self.space(keyspace).approximate_len() as u64
    }

    /// Makes everything durable.
    pub(super) fn sync(&self) -> Result<(), CommitError> {
        self.db.persist(PersistMode::SyncAll).map_err(|error| commit_error(&error))
    }

    fn wait_for_room(&self) -> Result<(), CommitError> {
        let crowded = |space: &fjall::Keyspace| {
            space.sealed_memtable_count() > SEALED_MEMTABLES_MAX
                || space.l0_table_count() > UNMERGED_TABLES_MAX
        };
        while self.spaces.iter().any(crowded) {
            // Says so when a worker has failed, because then nothing will ever make room.
            self.db.persist(PersistMode::Buffer).map_err(|error| commit_error(&error))?;
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }
}

/// The tree as it was at one moment.
pub(super) struct View<'a> {
    disk: &'a Disk,
    snapshot: Snapshot,
}

impl View<'_> {
    /// The value of a key.
    pub(super) fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Slice>, StoreError> {
        let space = self.disk.space(keyspace);
        self.snapshot.get(space, key).map_err(|error| read_error(keyspace, space, only(key), &error))
    }

    /// Everything whose key begins with `prefix`, in the order of keys; `.rev()` for the other order.
    pub(super) fn scan(
        &self,
        keyspace: Keyspace,
        prefix: &[u8],
    ) -> impl DoubleEndedIterator<Item = Result<(Slice, Slice), StoreError>> + use<> {
        let entries = self.snapshot.prefix(self.disk.space(keyspace), prefix);
        self.read(keyspace, prefix_to_range(prefix), entries)
    }

    /// Everything whose key is not before `from` and before `to`, in the order of keys.
    pub(super) fn range(
        &self,
        keyspace: Keyspace,
        from: &[u8],
        to: &[u8],
    ) -> impl DoubleEndedIterator<Item = Result<(Slice, Slice), StoreError>> + use<> {
        let keys = (Bound::Included(from), Bound::Excluded(to));
        let entries = self.snapshot.range::<&[u8], _>(self.disk.space(keyspace), keys);
        self.read(keyspace, (Bound::Included(from.into()), Bound::Excluded(to.into())), entries)
    }

    fn read(
        &self,
        keyspace: Keyspace,
        (from, to): (Bound<Slice>, Bound<Slice>),
        entries: fjall::Iter,
    ) -> impl DoubleEndedIterator<Item = Result<(Slice, Slice), StoreError>> + use<> {
        let space = self.disk.space(keyspace).clone();
        entries.map(move |entry| {
            let keys = || (from.as_ref().map(Slice::as_ref), to.as_ref().map(Slice::as_ref));
            entry.into_inner().map_err(|error| read_error(keyspace, &space, keys(), &error))
        })
    }
}

/// Runs what reads the tree. It has checksums of its own, but where it trusts damaged bytes it may
/// panic; whoever asked then gets an answer, and the store goes on.
pub(super) fn shield<T>(read: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|panic| {
        let said = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        Err(StoreError::Damaged(format!("the storage engine gave up: {said}")))
    })
}

/// What an error of the operating system means.
pub(super) fn io_error(what: impl std::fmt::Display, error: &io::Error) -> StoreError {
    let text = format!("{what}: {error}");
    let full = [ErrorKind::StorageFull, ErrorKind::QuotaExceeded, ErrorKind::FileTooLarge];
    let damaged = [ErrorKind::UnexpectedEof, ErrorKind::InvalidData];
    if full.contains(&error.kind()) {
        StoreError::Full(text)
    } else if damaged.contains(&error.kind()) {
        StoreError::Damaged(text)
    } else {
        StoreError::Io(text)
    }
}

/// What an error of fjall means: the operating system's, if there is one behind it, else damage.
pub(super) fn engine_error(what: impl std::fmt::Display, error: &fjall::Error) -> StoreError {
    if matches!(error, fjall::Error::Locked) {
        // The lock of the directory was removed, not that of the engine.
        return StoreError::InUse(what.to_string().into());
    }
    if matches!(error, fjall::Error::InvalidVersion(_)) {
        let why = "its format is not known, so a newer version has written it, or its number is damaged";
        return StoreError::Damaged(format!("{what}: {why}"));
    }
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return io_error(what, error);
        }
        cause = error.source();
    }
    StoreError::Damaged(format!("{what}: {error}"))
}

const ALL_KEYS: (Bound<&[u8]>, Bound<&[u8]>) = (Bound::Unbounded, Bound::Unbounded);

fn only(key: &[u8]) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (Bound::Included(key), Bound::Included(key))
}

/// What an error means that came up between these keys; when something is damaged, with the name of the file.
fn read_error(
    keyspace: Keyspace,
    space: &fjall::Keyspace,
    keys: (Bound<&[u8]>, Bound<&[u8]>),
    error: &fjall::Error,
) -> StoreError {
    match engine_error(keyspace.name(), error) {
        StoreError::Damaged(text) => {
            let file = damage::in_keyspace(space, keys);
            StoreError::Damaged(file.map_or_else(|| text.clone(), |file| format!("{file} ({text})")))
        }
        other => other,
    }
}

fn commit_error(error: &fjall::Error) -> CommitError {
    if matches!(error, fjall::Error::Poisoned) {
        CommitError::Refused
    } else {
        CommitError::Failed(engine_error("writing a batch", error))
    }
}
