//! Change pile: what a hook could not be told in time is given up and kept, or is tried again.

use tidings_model::NoticeId;

use super::Verb;
use crate::StoreError;
use crate::embedded::transaction::Transaction;
use crate::kv::{Keyspace, notice};
use crate::port::{HookKey, Pile, Tries};

/// Moves notices of a hook from the other pile to this one.
pub(crate) struct ChangePile {
    pub(crate) hook: HookKey,
    pub(crate) ids: Vec<NoticeId>,
    pub(crate) to: Pile,
}

impl Verb for ChangePile {
    type Outcome = u64;

    fn bytes(&self) -> usize {
        self.ids.len() * 1_024
    }

    fn apply(&mut self, transaction: &mut Transaction<'_>) -> Result<u64, StoreError> {
        let from = match self.to {
            Pile::Waiting => Pile::Dead,
            Pile::Dead => Pile::Waiting,
        };
        let mut moved = 0;
        for id in &self.ids {
            let old = notice::key(&self.hook, from, id);
            let Some(value) = transaction.get(Keyspace::Notice, &old)? else { continue };
            let found = notice::decode(&old, &value);
            let mut found = found.map_err(|broken| Keyspace::Notice.damaged(&old, broken))?;
            if self.to == Pile::Waiting {
                found.attempts = Tries::default();
            }
            let new = notice::key(&self.hook, self.to, id);
            let value = notice::value(&new, &found);
            transaction.put(Keyspace::Notice, new, value);
            transaction.remove(Keyspace::Notice, old);
            moved += 1;
        }
        if self.to == Pile::Waiting {
            transaction.ask_sync();
        }
        Ok(moved)
    }
}
