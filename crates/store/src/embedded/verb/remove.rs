//! Remove: a hook has been told, or is not to be told any more.

use super::Verb;
use crate::StoreError;
use crate::embedded::transaction::Transaction;
use crate::kv::Keyspace;

/// Removes notices.
pub(crate) struct Remove {
    pub(crate) keys: Vec<Vec<u8>>,
}

impl Verb for Remove {
    type Outcome = u64;

    fn bytes(&self) -> usize {
        self.keys.iter().map(|key| key.len() + 64).sum()
    }

    fn apply(&mut self, transaction: &mut Transaction<'_>) -> Result<u64, StoreError> {
        let mut removed = 0;
        for key in &self.keys {
            if transaction.get(Keyspace::Notice, key)?.is_some() {
                transaction.remove(Keyspace::Notice, key.clone());
                removed += 1;
            }
        }
        Ok(removed)
    }
}
