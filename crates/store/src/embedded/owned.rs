//! Whose the topics of users and devices are, as it was last read. Each push to a user asks, and the tree would look into
//! all of its tables for an answer that hardly ever changes.
//!
//! It belongs to one open tree, and forgets what a batch changes as soon as readers see the batch.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fjall::Slice;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tidings_model::Ordinal;

use crate::StoreError;
use crate::kv::{Keyspace, user_device};

/// About what an answer takes besides its key and the ordinals, in bytes.
const ANSWER_BYTES: usize = 96;

/// The answers, each by the index of a keyspace and the beginning of the keys there that it was read from.
pub(super) struct Owned {
    answers: Cache<Vec<u8>, Arc<[Ordinal]>, Bytes>,
    /// How often an answer may have changed. Held while one is put in or taken out, so that what was read before a change
    /// is not put in behind it.
    changes: Mutex<u64>,
}

impl Owned {
    /// Room for so many bytes of answers.
    pub(super) fn new(bytes: u64) -> Self {
        let answers = Cache::with_weighter(bytes as usize / (2 * ANSWER_BYTES), bytes, Bytes);
        Self { answers, changes: Mutex::new(0) }
    }

    /// The answer that is under the keys with this beginning, read by `read` if it is not here.
    pub(super) fn get_or(
        &self,
        keyspace: Keyspace,
        prefix: &[u8],
        read: impl FnOnce() -> Result<Vec<Ordinal>, StoreError>,
    ) -> Result<Arc<[Ordinal]>, StoreError> {
        let place = place(keyspace, prefix);
        if let Some(answer) = self.answers.get(&place) {
            return Ok(answer);
        }
        let before = *self.changes();
        let answer: Arc<[Ordinal]> = read()?.into();
        let changes = self.changes();
        if *changes == before {
            self.answers.insert(place, Arc::clone(&answer));
        }
        Ok(answer)
    }

    /// Whether an answer depends on what is under a key.
    pub(super) fn depends_on(keyspace: Keyspace) -> bool {
        matches!(keyspace, Keyspace::UserDevice | Keyspace::DeviceId)
    }

    /// What is under these keys has changed, and readers see it.
    pub(super) fn changed(&self, keys: &[(Keyspace, Slice)]) {
        if keys.is_empty() {
            return;
        }
        let mut changes = self.changes();
        *changes += 1;
        for (keyspace, key) in keys {
            let prefix =
                if *keyspace == Keyspace::UserDevice { user_device::prefix_of(key) } else { &key[..] };
            self.answers.remove(&place(*keyspace, prefix));
        }
    }

    fn changes(&self) -> MutexGuard<'_, u64> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn place(keyspace: Keyspace, prefix: &[u8]) -> Vec<u8> {
    let mut place = Vec::with_capacity(1 + prefix.len());
    place.push(keyspace as u8);
    place.extend_from_slice(prefix);
    place
}

#[derive(Clone)]
struct Bytes;

impl Weighter<Vec<u8>, Arc<[Ordinal]>> for Bytes {
    fn weight(&self, place: &Vec<u8>, answer: &Arc<[Ordinal]>) -> u64 {
        (ANSWER_BYTES + place.len() + size_of_val::<[Ordinal]>(answer)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(owned: &Owned, keyspace: Keyspace, prefix: &[u8], on_disk: &[u32], expected: &[u32]) {
        let read = || Ok(on_disk.iter().copied().map(Ordinal).collect());
        let answer = owned.get_or(keyspace, prefix, read).unwrap();
        assert_eq!(answer.iter().map(|ordinal| ordinal.0).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn an_answer_stays_until_what_it_was_read_from_changes() {
        use Keyspace::{DeviceId, UserDevice};
        let owned = Owned::new(1 << 20);
        check(&owned, UserDevice, b"ann", &[1], &[1]);
        check(&owned, DeviceId, b"ann", &[7], &[7]);
        check(&owned, UserDevice, b"ann", &[1, 2], &[1]);
        owned.changed(&[(UserDevice, b"bob\0\0\0\x02".into())]);
        check(&owned, UserDevice, b"ann", &[1, 2], &[1]);
        owned.changed(&[(UserDevice, b"ann\0\0\0\x02".into())]);
        check(&owned, UserDevice, b"ann", &[1, 2], &[1, 2]);
        check(&owned, DeviceId, b"ann", &[], &[7]);
        owned.changed(&[(DeviceId, b"ann".into())]);
        check(&owned, DeviceId, b"ann", &[], &[]);
    }

    #[test]
    fn what_was_read_before_a_change_is_not_kept() {
        let owned = Owned::new(1 << 20);
        let overtaken = || {
            owned.changed(&[(Keyspace::UserDevice, b"ann\0\0\0\x02".into())]);
            Ok(vec![Ordinal(1)])
        };
        assert_eq!(&*owned.get_or(Keyspace::UserDevice, b"ann", overtaken).unwrap(), [Ordinal(1)]);
        check(&owned, Keyspace::UserDevice, b"ann", &[1, 2], &[1, 2]);
    }
}
