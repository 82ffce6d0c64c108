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
    type Outcome = ();

    fn bytes(&self) -> usize {
        self.keys.iter().map(|key| key.len() + 64).sum()
    }

    fn apply(&mut self, transaction: &mut Transaction<'_>) -> Result<(), StoreError> {
        for key in &self.keys {
            transaction.remove(Keyspace::Notice, key.clone());
        }
        Ok(())
    }
}
