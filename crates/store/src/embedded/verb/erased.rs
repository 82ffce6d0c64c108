//! Erased: some keys are gone, whatever they had to say.

use super::Verb;
use crate::StoreError;
use crate::embedded::transaction::Transaction;
use crate::kv::Keyspace;

/// Removes keys.
pub(crate) struct Erased {
    pub(crate) keyspace: Keyspace,
    pub(crate) keys: Vec<Vec<u8>>,
}

impl Verb for Erased {
    type Outcome = ();

    fn bytes(&self) -> usize {
        self.keys.iter().map(|key| key.len() + 64).sum()
    }

    fn apply(&mut self, transaction: &mut Transaction<'_>) -> Result<(), StoreError> {
        for key in &self.keys {
            transaction.remove(self.keyspace, key.clone());
        }
        transaction.ask_sync();
        Ok(())
    }
}
