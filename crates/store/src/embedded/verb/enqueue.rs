//! Enqueue: hooks are to be told something; what it is about may be written down with it.

use bytes::Bytes;

use super::Verb;
use crate::StoreError;
use crate::embedded::transaction::Transaction;
use crate::kv::{Keyspace, notice, setting};
use crate::port::{HookKey, Pile, WaitingNotice};
use crate::rules;

/// Adds notices, encoded already, and changes settings.
pub(crate) struct Enqueue {
    entries: Vec<(HookKey, Vec<u8>, Vec<u8>)>,
    settings: Vec<(String, Option<Bytes>)>,
}

impl Enqueue {
    /// Encodes the notices. This is the work that need not wait for the writer.
    pub(crate) fn new(
        notices: Vec<(HookKey, WaitingNotice)>,
        settings: Vec<(String, Option<Bytes>)>,
    ) -> Self {
        let encode = |(hook, notice): (HookKey, WaitingNotice)| {
            let key = notice::key(&hook, Pile::Waiting, &notice.id);
            let value = notice::value(&key, &notice);
            (hook, key, value)
        };
        Self { entries: notices.into_iter().map(encode).collect(), settings }
    }
}

impl Verb for Enqueue {
    type Outcome = Vec<HookKey>;

    fn bytes(&self) -> usize {
        let settings =
            self.settings.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Bytes::len) + 64);
        self.entries.iter().map(|(_, key, value)| key.len() + value.len() + 64).chain(settings).sum()
    }

    fn apply(&mut self, transaction: &mut Transaction<'_>) -> Result<Vec<HookKey>, StoreError> {
        self.settings.iter().try_for_each(|(key, _)| rules::check_setting(key))?;
        let mut known = Vec::new();
        for (hook, key, value) in &self.entries {
            if transaction.get(Keyspace::Notice, key)?.is_some() {
                known.push(hook.clone());
            } else {
                transaction.put(Keyspace::Notice, key.clone(), value.clone());
            }
        }
        for (key, value) in &self.settings {
            let key = setting::key(key);
            match value {
                Some(bytes) => {
                    let value = setting::value(&key, bytes);
                    transaction.put(Keyspace::Setting, key, value);
                }
                None => transaction.remove(Keyspace::Setting, key),
            }
        }
        transaction.ask_sync();
        Ok(known)
    }
}
