//! What is on record of a user who is online, and the numbers of stays.
//!
//! A stay is the time between the `online` and the `offline` of a user. Its record is written together with its `online`
//! and removed together with its `offline`: whoever has a record when a node starts was online when it ended. The
//! records are settings of the store: `stay/<namespace>/<user>`.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tidings_model::{NamespaceName, Timestamp, UserId};
use tidings_store::{Store, StoreError};

/// How each record begins in the settings.
pub(crate) const PREFIX: &str = "stay/";

/// The number that no stay has been given yet, nor is given before it is raised.
const NUMBERS: &str = "stays";

/// How many numbers are reserved at once: what a crash may skip.
const RESERVED: u64 = 100_000;

const VERSION: u8 = 1;

/// The time that a user is online.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stay {
    /// Its number: greater than that of any stay before.
    pub(super) number: u64,
    /// Since when.
    pub(super) since: Timestamp,
}

impl Stay {
    /// The record: a version, the number (8), since when (8).
    pub(super) fn record(self) -> Bytes {
        let mut record = BytesMut::with_capacity(17);
        record.put_u8(VERSION);
        record.put_u64(self.number);
        record.put_u64(self.since.0);
        record.freeze()
    }

    fn read(mut record: Bytes) -> Option<Self> {
        if record.len() != 17 || record.get_u8() != VERSION {
            return None;
        }
        Some(Self { number: record.get_u64(), since: Timestamp(record.get_u64()) })
    }
}

fn prefix(namespace: &NamespaceName) -> String {
    format!("{PREFIX}{namespace}/")
}

/// Where the record of a user is.
pub(super) fn key(namespace: &NamespaceName, user: &UserId) -> String {
    format!("{PREFIX}{namespace}/{user}")
}

/// The stays on record of a namespace.
pub(super) async fn load(
    store: &dyn Store,
    namespace: &NamespaceName,
) -> Result<Vec<(UserId, Stay)>, StoreError> {
    let prefix = prefix(namespace);
    let read = |(key, record): (String, Bytes)| {
        let parts = || Some((UserId::new(&key[prefix.len()..]).ok()?, Stay::read(record)?));
        parts().ok_or_else(|| StoreError::Damaged(format!("setting {key}: is no record of a stay")))
    };
    store.list(&prefix).await?.into_iter().map(read).collect()
}

/// The numbers of stays, of all namespaces: so they grow for each user, whatever becomes of the namespace. They begin at
/// the time in milliseconds, so that they grow, too, when an old backup is brought back.
#[derive(Debug)]
pub(crate) struct Numbers(tokio::sync::Mutex<Range>);

#[derive(Debug)]
struct Range {
    next: u64,
    reserved: u64,
}

impl Numbers {
    pub(crate) async fn load(store: &dyn Store, now: Timestamp) -> Result<Self, StoreError> {
        let found = store.list(NUMBERS).await?.into_iter().find(|(key, _)| key == NUMBERS);
        let reserved = match found {
            None => 0,
            Some((_, value)) => value
                .as_ref()
                .try_into()
                .map(u64::from_be_bytes)
                .map_err(|_| StoreError::Damaged(format!("setting {NUMBERS}: is no number")))?,
        };
        let next = reserved.max(now.0);
        Ok(Self(tokio::sync::Mutex::new(Range { next, reserved: next })))
    }

    /// The first of `count` numbers in a row that nobody else is given.
    pub(super) async fn take(&self, store: &dyn Store, count: u64) -> Result<u64, StoreError> {
        let mut range = self.0.lock().await;
        if count > 0 && range.next + count > range.reserved {
            let reserved = range.next + count + RESERVED;
            store.put(NUMBERS, Some(Bytes::copy_from_slice(&reserved.to_be_bytes()))).await?;
            range.reserved = reserved;
        }
        let first = range.next;
        range.next += count;
        Ok(first)
    }
}

#[cfg(test)]
mod tests {
    use tidings_model::Epoch;
    use tidings_store::Settings as _;
    use tidings_store::memory::MemoryStore;

    use super::*;

    #[test]
    fn old_bytes_still_decode() {
        let old: [u8; 17] = [1, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 3, 232];
        let stay = Stay { number: 258, since: Timestamp(1_000) };
        assert_eq!(Stay::read(Bytes::copy_from_slice(&old)), Some(stay));
        assert_eq!(stay.record(), old[..]);
        for broken in [&old[..16], &[2; 17], &[]] {
            assert_eq!(Stay::read(Bytes::copy_from_slice(broken)), None);
        }
    }

    #[tokio::test]
    async fn numbers_grow_whatever_happens() {
        let store = MemoryStore::new(Epoch(1));
        let first = Numbers::load(&store, Timestamp(5_000)).await.unwrap();
        assert_eq!(first.take(&store, 2).await.unwrap(), 5_000);
        assert_eq!(first.take(&store, 1).await.unwrap(), 5_002);
        // The process ends without a word, and the clock is set back.
        let second = Numbers::load(&store, Timestamp(10)).await.unwrap();
        let after = second.take(&store, 1).await.unwrap();
        assert!(after > 5_002, "{after}");
        // What had been reserved is lost with the disk, but not the time.
        store.put(NUMBERS, None).await.unwrap();
        let third = Numbers::load(&store, Timestamp(9_000_000)).await.unwrap();
        assert!(third.take(&store, RESERVED * 2).await.unwrap() > after);
        assert!(third.take(&store, 1).await.unwrap() >= 9_000_000 + RESERVED * 2);
    }
}
