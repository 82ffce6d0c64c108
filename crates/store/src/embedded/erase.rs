//! Erase: what has happened in a namespace goes, a piece at a time, so that nobody's changes wait for it.
//!
//! Messages go by the number that [`super::verb::Trim`] writes down; what else there is is looked up on the caller's side and
//! removed by its keys, so many in a change. Whatever is interrupted is partly done, and can be done again.

use tidings_model::NamespaceName;

use super::disk::Disk;
use super::verb::{Erased, Trim};
use super::{EmbeddedStore, read};
use crate::StoreError;
use crate::kv::{Keyspace, codec, due};
use crate::port::Erase;

/// Keys that are looked at together, and removed in one change.
const TOGETHER: usize = 1_024;

/// What of statistics, devices and hooks lies under the name of a namespace.
const HAPPENED: [Keyspace; 1] = [Keyspace::Stat];
const EVERYTHING: [Keyspace; 7] = [
    Keyspace::Stat,
    Keyspace::Notice,
    // Whoever looks a device up begins with its id.
    Keyspace::DeviceId,
    Keyspace::UserDevice,
    Keyspace::RoomMember,
    Keyspace::DeviceCursor,
    Keyspace::Device,
];

/// A stretch of keys: where it begins, and what it does not reach.
struct Stretch {
    keyspace: Keyspace,
    from: Vec<u8>,
    end: Vec<u8>,
}

impl EmbeddedStore {
    /// See [`crate::port::Retention::erase`].
    pub(super) async fn erase_all(&self, namespace: NamespaceName, what: Erase) -> Result<(), StoreError> {
        let through = self.shared.head(&namespace);
        self.submit(Trim { namespace: namespace.clone(), through }).await?;
        let keyspaces = match what {
            Erase::Happened => &HAPPENED[..],
            Erase::Everything => &EVERYTHING[..],
        };
        for keyspace in keyspaces {
            let from = codec::namespace_prefix(&namespace, 0);
            let mut end = from.clone();
            // The last byte of a name is a letter, a digit, `_` or `-`: there is one behind it.
            end.last_mut().into_iter().for_each(|last| *last += 1);
            self.erase_stretch(Stretch { keyspace: *keyspace, from, end }, |_| true).await?;
        }
        let all = Stretch { keyspace: Keyspace::Due, from: Vec::new(), end: vec![u8::MAX] };
        self.erase_stretch(all, move |key| due::is_of(key, &namespace)).await
    }

    async fn erase_stretch(
        &self,
        mut left: Stretch,
        goes: impl Fn(&[u8]) -> bool + Clone + Send + 'static,
    ) -> Result<(), StoreError> {
        loop {
            let (keyspace, from, end, goes) = (left.keyspace, left.from, left.end.clone(), goes.clone());
            let look = move |disk: &Disk| read::keys(disk, keyspace, &from, &end, TOGETHER, goes);
            let (keys, next) = self.read(false, look).await?;
            if !keys.is_empty() {
                self.submit(Erased { keyspace, keys }).await?;
            }
            match next {
                Some(next) => left.from = next,
                None => return Ok(()),
            }
        }
    }
}
