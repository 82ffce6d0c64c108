//! Tally: replace rows of statistics, and remove those that are not kept any longer.

use super::Verb;
use crate::StoreError;
use crate::embedded::transaction::Transaction;
use crate::kv::{Keyspace, stat};
use crate::port::{Interval, Numbers};

/// Replaces rows, encoded already, and removes others.
pub(crate) struct Tally {
    rows: Vec<(Vec<u8>, Vec<u8>)>,
    gone: Vec<Vec<u8>>,
}

impl Tally {
    /// Encodes the rows. This is the work that need not wait for the writer.
    pub(crate) fn new(rows: &[(Interval, Numbers)], gone: &[Interval]) -> Self {
        let encode = |(interval, numbers): &(Interval, Numbers)| {
            let key = stat::key(interval);
            let value = stat::value(&key, numbers);
            (key, value)
        };
        Self { rows: rows.iter().map(encode).collect(), gone: gone.iter().map(stat::key).collect() }
    }
}

impl Verb for Tally {
    type Outcome = ();

    fn bytes(&self) -> usize {
        let rows = self.rows.iter().map(|(key, value)| key.len() + value.len() + 64);
        rows.chain(self.gone.iter().map(|key| key.len() + 64)).sum()
    }

    fn apply(&mut self, transaction: &mut Transaction<'_>) -> Result<(), StoreError> {
        for key in &self.gone {
            transaction.remove(Keyspace::Stat, key.clone());
        }
        for (key, value) in &self.rows {
            transaction.put(Keyspace::Stat, key.clone(), value.clone());
        }
        Ok(())
    }
}
