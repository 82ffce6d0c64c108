//! Put: set or remove a setting.

use bytes::Bytes;

use super::Verb;
use crate::StoreError;
use crate::embedded::transaction::Transaction;
use crate::kv::{Keyspace, setting};
use crate::rules;

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
        rules::check_setting(&self.key)?;
        let key = setting::key(&self.key);
        match &self.value {
            Some(bytes) => {
                let value = setting::value(&key, bytes);
                transaction.put(Keyspace::Setting, key, value);
            }
            None => transaction.remove(Keyspace::Setting, key),
        }
        transaction.ask_sync();
        Ok(())
    }
}
