//! Bury: a hook could not be told in time; what it was to be told is kept.

use tidings_model::NoticeId;

use super::Verb;
use crate::StoreError;
use crate::embedded::transaction::Transaction;
use crate::kv::{Keyspace, notice};
use crate::port::{HookKey, Pile};

/// Moves notices from one pile to the other.
pub(crate) struct Bury {
    pub(crate) hook: HookKey,
    pub(crate) ids: Vec<NoticeId>,
}

impl Verb for Bury {
    type Outcome = u64;

    fn bytes(&self) -> usize {
        self.ids.len() * 1_024
    }

    fn apply(&mut self, transaction: &mut Transaction<'_>) -> Result<u64, StoreError> {
        let mut moved = 0;
        for id in &self.ids {
            let from = notice::key(&self.hook, Pile::Waiting, id);
            let Some(value) = transaction.get(Keyspace::Notice, &from)? else { continue };
            let found = notice::decode(&from, &value);
            let found = found.map_err(|broken| Keyspace::Notice.damaged(&from, broken))?;
            let to = notice::key(&self.hook, Pile::Dead, id);
            let value = notice::value(&to, &found);
            transaction.put(Keyspace::Notice, to, value);
            transaction.remove(Keyspace::Notice, from);
            moved += 1;
        }
        Ok(moved)
    }
}
