//! Put: set or remove a setting.

use bytes::Bytes;

use super::Verb;
use crate::StoreError;
use crate::embedded::transaction::Transaction;
use crate::kv::{Keyspace, setting};

/// Sets a setting, or removes it.
pub(crate) struct Put {
    pub(crate) key: String,
    pub(crate) value: Option<Bytes>,
}

impl Verb for Put {
    type Outcome = ();

    fn bytes(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Bytes::len)
    }

    fn apply(&mut self, transaction: &mut Transaction<'_>) -> Result<(), StoreError> {
        let key = self.key.as_bytes();
        match &self.value {
            Some(bytes) => transaction.put(Keyspace::Setting, key.to_vec(), setting::value(key, bytes)),
            None => transaction.remove(Keyspace::Setting, key.to_vec()),
        }
        transaction.ask_sync();
        Ok(())
    }
}
