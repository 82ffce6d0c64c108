//! Deal: what was due has been dealt with, and other things are due later.

use super::Verb;
use crate::StoreError;
use crate::embedded::transaction::Transaction;
use crate::kv::{Keyspace, due};
use crate::port::Due;

/// Removes deadlines, and adds others.
pub(crate) struct Deal {
    pub(crate) done: Vec<Due>,
    pub(crate) add: Vec<Due>,
}

impl Verb for Deal {
    type Outcome = ();

    fn bytes(&self) -> usize {
        self.done.iter().chain(&self.add).map(|due| 128 + due.seqs.len() * 8).sum()
    }

    fn apply(&mut self, transaction: &mut Transaction<'_>) -> Result<(), StoreError> {
        for done in &self.done {
            transaction.remove(Keyspace::Due, due::key(done));
        }
        for add in &self.add {
            let key = due::key(add);
            let value = due::value(&key, add);
            transaction.put(Keyspace::Due, key, value);
        }
        transaction.ask_sync();
        Ok(())
    }
}
