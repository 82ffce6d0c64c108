//! Index: note which messages have which term.

use tidings_model::{NamespaceName, Seq};

use super::Verb;
use crate::StoreError;
use crate::embedded::transaction::{Entry, Transaction};
use crate::kv::{Keyspace, term};
use crate::port::Term;

/// Writes entries of the index, encoded already. Whoever encodes them makes sure that nobody else does meanwhile.
pub(crate) struct Index(pub(crate) Vec<Entry>);

impl Verb for Index {
    type Outcome = ();

    fn bytes(&self) -> usize {
        self.0.iter().map(|(key, value)| key.len() + value.len() + 64).sum()
    }

    fn apply(&mut self, transaction: &mut Transaction<'_>) -> Result<(), StoreError> {
        for (key, value) in &self.0 {
            transaction.write(Keyspace::Term, key.clone(), value.clone());
        }
        Ok(())
    }
}

/// Notes whether a message has a term that the store knows by itself.
pub(super) fn mark(
    transaction: &mut Transaction<'_>,
    namespace: &NamespaceName,
    seq: Seq,
    what: &Term,
    has: bool,
) -> Result<(), StoreError> {
    let (block, place) = term::place(seq);
    let key = term::key(namespace, block, what);
    let before = transaction.get(Keyspace::Term, &key)?.map(|value| term::decode(&key, &value)).transpose();
    let mut places = before.map_err(|broken| Keyspace::Term.damaged(&key, broken))?.unwrap_or_default();
    let changed = if has { places.insert(place) } else { places.remove(place) };
    if changed && places.is_empty() {
        transaction.remove(Keyspace::Term, key);
    } else if changed {
        let value = term::value(&key, &places);
        transaction.put(Keyspace::Term, key, value);
    }
    Ok(())
}
