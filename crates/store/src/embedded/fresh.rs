//! A store that is being filled with what another one held, by a backup or an import. It knows no keyspaces.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use fjall::Slice;

use super::Options;
use super::disk::{CommitError, Disk, io_error, shield};
use super::opening::{Directory, LOCK, SYNCED, TREE, UNFINISHED, make_directory, sync_ancestors};
use crate::StoreError;
use crate::kv::Keyspace;

/// A store that is being made of what another one held. Until it is finished, there is a file that says so, and nobody
/// opens it. Dropped before, it leaves nothing.
pub(crate) struct Fresh {
    /// There until it is finished or dropped.
    disk: Option<Disk>,
    path: PathBuf,
    /// Whether the directory was not there before.
    new: bool,
    directory: Directory,
    finished: bool,
}

impl Fresh {
    /// Begins a store in a directory that is empty or not there yet. `None` when there is something in it.
    pub(crate) fn begin(path: &Path, options: Options) -> Result<Option<Self>, StoreError> {
        let error = |error| io_error(path.display(), &error);
        let new = !path.try_exists().map_err(error)?;
        make_directory(path).map_err(error)?;
        if fs::read_dir(path).map_err(error)?.next().is_some() {
            return Ok(None);
        }
        File::create(path.join(UNFINISHED)).and_then(|file| file.sync_all()).map_err(error)?;
        File::open(path).and_then(|folder| folder.sync_all()).map_err(error)?;
        let made = Directory::empty(path, options).and_then(|directory| {
            let disk = Some(directory.make_tree()?);
            Ok(Self { path: path.to_owned(), new, disk, directory, finished: false })
        });
        match made {
            Ok(fresh) => Ok(Some(fresh)),
            Err(why) => {
                discard(path, new);
                Err(why)
            }
        }
    }

    /// The tree to be filled.
    pub(super) fn disk(&self) -> Result<&Disk, StoreError> {
        self.disk.as_ref().ok_or(StoreError::Closed)
    }

    /// Writes a batch; batches count from 1.
    pub(crate) fn write(
        &self,
        batch: u64,
        changes: Vec<(Keyspace, Slice, Option<Slice>)>,
        sync: bool,
    ) -> Result<(), StoreError> {
        let disk = self.disk()?;
        shield(|| match disk.commit(batch, changes.into_iter(), sync) {
            Ok(()) => Ok(()),
            Err(CommitError::Failed(error)) => Err(error),
            Err(CommitError::Refused) => Err(refused()),
        })
    }

    /// Makes everything durable, and a store of it whose newest batch this is. Answers how many bytes it takes.
    pub(crate) fn finish(mut self, batch: u64) -> Result<u64, StoreError> {
        // Closed first: nothing may move while it is gone through.
        let disk = self.disk.take();
        match disk.as_ref().map_or(Ok(()), Disk::sync) {
            Ok(()) => {}
            Err(CommitError::Failed(error)) => return Err(error),
            Err(CommitError::Refused) => return Err(refused()),
        }
        drop(disk);
        let path = self.path.clone();
        let error = |error| io_error(path.display(), &error);
        self.directory.note_synced(batch).map_err(error)?;
        // The tables are files of their own, not all of which the tree has synced.
        let bytes = sync_all(&path).map_err(error)?;
        sync_ancestors(&path)?;
        fs::remove_file(path.join(UNFINISHED)).map_err(error)?;
        File::open(&path).and_then(|folder| folder.sync_all()).map_err(error)?;
        self.finished = true;
        Ok(bytes)
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if !self.finished {
            self.disk = None;
            discard(&self.path, self.new);
        }
    }
}

fn refused() -> StoreError {
    StoreError::Io("the storage engine had to give up writing".to_owned())
}

/// Throws away what a backup or an import has begun. The file that says so goes last.
fn discard(path: &Path, new: bool) {
    // Whatever cannot be removed keeps that file company.
    let gone = |removed: io::Result<()>| match removed {
        Err(error) => error.kind() == io::ErrorKind::NotFound,
        Ok(()) => true,
    };
    let gone = gone(fs::remove_dir_all(path.join(TREE)))
        && [SYNCED, LOCK].iter().all(|name| gone(fs::remove_file(path.join(name))));
    if gone {
        let _ = fs::remove_file(path.join(UNFINISHED));
        if new {
            let _ = fs::remove_dir(path);
        }
    }
}

/// Syncs every file and folder below a folder. Answers how many bytes the files have.
fn sync_all(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            bytes += sync_all(&entry.path())?;
        } else {
            let file = File::open(entry.path())?;
            file.sync_all()?;
            bytes += file.metadata()?.len();
        }
    }
    File::open(folder)?.sync_all()?;
    Ok(bytes)
}
