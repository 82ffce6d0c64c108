//! Attempt: how attempts to tell a hook something have gone.

use super::Verb;
use crate::StoreError;
use crate::embedded::transaction::Transaction;
use crate::kv::{Keyspace, notice};
use crate::port::Tries;

/// Notes attempts at what has this key.
pub(crate) struct Attempt {
    pub(crate) key: Vec<u8>,
    pub(crate) attempts: Tries,
}

impl Verb for Attempt {
    type Outcome = ();

    fn bytes(&self) -> usize {
        self.key.len() + 128
    }

    fn apply(&mut self, transaction: &mut Transaction<'_>) -> Result<(), StoreError> {
        let Some(value) = transaction.get(Keyspace::Notice, &self.key)? else { return Ok(()) };
        let found = notice::decode(&self.key, &value);
        let mut found = found.map_err(|broken| Keyspace::Notice.damaged(&self.key, broken))?;
        found.attempts = self.attempts;
        transaction.put(Keyspace::Notice, self.key.clone(), notice::value(&self.key, &found));
        Ok(())
    }
}
