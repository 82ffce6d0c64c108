//! Enqueue: hooks are to be told something.

use super::Verb;
use crate::StoreError;
use crate::embedded::transaction::Transaction;
use crate::kv::{Keyspace, notice};
use crate::port::{HookKey, Pile, WaitingNotice};

/// Adds notices, encoded already.
pub(crate) struct Enqueue {
    entries: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Enqueue {
    /// Encodes the notices. This is the work that need not wait for the writer.
    pub(crate) fn new(notices: &[(HookKey, WaitingNotice)]) -> Self {
        let encode = |(hook, notice): &(HookKey, WaitingNotice)| {
            let key = notice::key(hook, Pile::Waiting, &notice.id);
            let value = notice::value(&key, notice);
            (key, value)
        };
        Self { entries: notices.iter().map(encode).collect() }
    }
}

impl Verb for Enqueue {
    type Outcome = ();

    fn bytes(&self) -> usize {
        self.entries.iter().map(|(key, value)| key.len() + value.len() + 64).sum()
    }

    fn apply(&mut self, transaction: &mut Transaction<'_>) -> Result<(), StoreError> {
        for (key, value) in &self.entries {
            transaction.put(Keyspace::Notice, key.clone(), value.clone());
        }
        transaction.ask_sync();
        Ok(())
    }
}
