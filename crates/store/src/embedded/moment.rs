//! A store as it was at one moment, while it goes on: what backups and exports are made of. It knows keyspaces and
//! bytes, and nothing of what they mean.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fjall::{Slice, Snapshot};
use tidings_model::Epoch;

use super::disk::{Disk, shield};
use super::fresh::Fresh;
use super::{Options, Shared};
use crate::StoreError;
use crate::kv::{Keyspace, message, meta};

/// After how many entries it is looked whether the store is still there, and progress is told.
const LOOK_UP: u64 = 4_096;

/// How far a copy has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Entries done.
    pub done: u64,
    /// About how many there are.
    pub of: u64,
}

/// What was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// How many entries.
    pub entries: u64,
    /// How many bytes the copy takes.
    pub bytes: u64,
}

/// Why a store was not copied. Nothing of the copy is left.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// There is something there already.
    #[error("{} is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// What is to be copied cannot be read any more.
    #[error(transparent)]
    Read(StoreError),
    /// The copy cannot be written.
    #[error("the copy cannot be written: {0}")]
    Write(StoreError),
}

/// Everything in a store at one moment.
pub struct Moment {
    shared: Arc<Shared>,
    disk: Arc<Disk>,
    snapshot: Snapshot,
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Moment").finish_non_exhaustive()
    }
}

impl Moment {
    /// This moment. To be called where no batch is under way.
    pub(super) fn now(shared: &Arc<Shared>) -> Result<Self, StoreError> {
        let disk = shared.disk()?;
        let snapshot = disk.snapshot();
        Ok(Self { shared: Arc::clone(shared), disk, snapshot })
    }

    /// About how many entries there are.
    #[must_use]
    pub fn about(&self) -> u64 {
        Keyspace::ALL.into_iter().map(|keyspace| self.disk.about(keyspace)).sum()
    }

    /// Everything of a keyspace, in the order of keys. Ends with an error when the store is closed or has to be opened
    /// anew: whoever reads on would hold that up.
    pub(crate) fn scan(
        &self,
        keyspace: Keyspace,
    ) -> impl Iterator<Item = Result<(Slice, Slice), StoreError>> + use<'_> {
        let mut entries = self.disk.all_of(&self.snapshot, keyspace);
        let mut taken = 0u64;
        std::iter::from_fn(move || {
            if taken.is_multiple_of(LOOK_UP)
                && let Err(gone) = self.shared.disk().map(drop)
            {
                return Some(Err(gone));
            }
            taken += 1;
            entries.next()
        })
    }

    /// Makes a store of it in a directory that is empty or not there yet. Blocks until the copy is on disk.
    ///
    /// The copy is another life, with the epoch of its options: what it accepts, and what the store accepts after this
    /// moment, gets the same offsets, and no client may take one for the other.
    ///
    /// # Errors
    /// [`CopyError`] says what was in the way.
    pub fn copy(
        &self,
        to: &Path,
        options: Options,
        mut progress: impl FnMut(Progress),
    ) -> Result<Copied, CopyError> {
        let mut told = Progress { done: 0, of: self.about() };
        let (mut batch, epoch) = (0, options.epoch_if_new);
        let fresh = Fresh::begin(to, options).map_err(CopyError::Write)?;
        let fresh = fresh.ok_or_else(|| CopyError::NotEmpty(to.to_owned()))?;
        for keyspace in Keyspace::ALL {
            let mut unread = None;
            let entries = self.scan(keyspace).map_while(|entry| {
                told.done += 1;
                if told.done.is_multiple_of(LOOK_UP) {
                    progress(told);
                }
                match entry.and_then(|(key, value)| relive(keyspace, key, value, epoch)) {
                    Ok((key, value)) => {
                        if keyspace == Keyspace::Meta && *key == *meta::BATCH_KEY {
                            batch = meta::decode_batch(&value).unwrap_or(0);
                        }
                        Some(Ok((key, value)))
                    }
                    Err(error) => {
                        unread = Some(error);
                        None
                    }
                }
            });
            let filled = shield(|| fresh.disk()?.fill(keyspace, entries));
            if let Some(error) = unread {
                return Err(CopyError::Read(error));
            }
            filled.map_err(CopyError::Write)?;
        }
        let bytes = fresh.finish(batch).map_err(CopyError::Write)?;
        Ok(Copied { entries: told.done, bytes })
    }
}

/// An entry as it is in another life of the store.
fn relive(keyspace: Keyspace, key: Slice, value: Slice, epoch: Epoch) -> Result<(Slice, Slice), StoreError> {
    let relived = match keyspace {
        Keyspace::Message => message::relive(&key, &value, epoch),
        Keyspace::Meta if *key == *meta::EPOCH_KEY => Ok(meta::value(&key, epoch.0)),
        _ => return Ok((key, value)),
    };
    match relived {
        Ok(value) => Ok((key, value.into())),
        Err(broken) => Err(keyspace.damaged(&key, broken)),
    }
}
