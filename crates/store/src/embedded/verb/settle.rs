//! Settle: move cursors forward, note when devices were seen.

use tidings_model::{NamespaceName, Ordinal, Seq, Timestamp};

use super::Verb;
use crate::StoreError;
use crate::embedded::transaction::Transaction;
use crate::kv::Keyspace;
use crate::kv::device_cursor::{self, Progress};

/// Moves cursors forward.
pub(crate) struct Settle {
    pub(crate) namespace: NamespaceName,
    pub(crate) devices: Vec<(Ordinal, Seq, Timestamp)>,
}

impl Verb for Settle {
    type Outcome = ();

    fn bytes(&self) -> usize {
        self.devices.len() * 128
    }

    fn apply(&mut self, transaction: &mut Transaction<'_>) -> Result<(), StoreError> {
        for (ordinal, cursor, seen_at) in &self.devices {
            let key = device_cursor::key(&self.namespace, *ordinal);
            // A device that is not there (any more) has nothing to settle.
            let Some(value) = transaction.get(Keyspace::DeviceCursor, &key)? else { continue };
            let old = device_cursor::decode(&key, &value)
                .map_err(|broken| Keyspace::DeviceCursor.damaged(&key, broken))?;
            let new = Progress { cursor: old.cursor.max(*cursor), seen_at: old.seen_at.max(*seen_at) };
            if new != old {
                let value = device_cursor::value(&key, &new);
                transaction.put(Keyspace::DeviceCursor, key, value);
            }
        }
        Ok(())
    }
}
