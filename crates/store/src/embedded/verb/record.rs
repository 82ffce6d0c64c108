//! Record: replace the receipts of messages, and add to what is known of their way.

use tidings_model::{Durability, NamespaceName, Seq};

use super::{Verb, index};
use crate::StoreError;
use crate::embedded::transaction::Transaction;
use crate::kv::{Keyspace, receipt, trace};
use crate::port::{Recording, Term, TraceStep};

/// Replaces receipts, encoded already, and adds steps.
pub(crate) struct Record {
    receipts: Vec<(NamespaceName, Seq, Vec<u8>, Vec<u8>)>,
    steps: Vec<(NamespaceName, Seq, Vec<TraceStep>)>,
    recalled: Vec<(NamespaceName, Seq)>,
    durability: Durability,
}

impl Record {
    /// Encodes the receipts. This is the work that need not wait for the writer.
    pub(crate) fn new(books: Vec<Recording>, durability: Durability) -> Self {
        let (mut receipts, mut steps) = (Vec::with_capacity(books.len()), Vec::new());
        let mut recalled = Vec::new();
        for book in books {
            if book.record.recalled_at.is_some() {
                recalled.push((book.namespace.clone(), book.seq));
            }
            let key = receipt::key(&book.namespace, book.seq);
            let value = receipt::value(&key, &book.record);
            if !book.steps.is_empty() {
                steps.push((book.namespace.clone(), book.seq, book.steps));
            }
            receipts.push((book.namespace, book.seq, key, value));
        }
        Self { receipts, steps, recalled, durability }
    }
}

impl Verb for Record {
    type Outcome = ();

    fn bytes(&self) -> usize {
        let steps = self.steps.iter().flat_map(|(.., steps)| steps);
        self.receipts.iter().map(|(.., key, value)| key.len() + value.len() + 64).sum::<usize>()
            + steps.map(|step| step.by.serialized_size() + step.detail.len() + 128).sum::<usize>()
    }

    fn apply(&mut self, transaction: &mut Transaction<'_>) -> Result<(), StoreError> {
        // What is known of messages that have been trimmed is of no use to anybody.
        for (namespace, seq, key, value) in &self.receipts {
            if *seq > transaction.heads(namespace).trimmed {
                transaction.put(Keyspace::Receipt, key.clone(), value.clone());
            }
        }
        for (namespace, seq, steps) in &self.steps {
            if *seq <= transaction.heads(namespace).trimmed {
                continue;
            }
            let key = trace::key(namespace, *seq, transaction.number());
            // The same message may have come twice in one batch.
            let value = match transaction.get(Keyspace::Trace, &key)? {
                None => trace::value(&key, steps),
                Some(before) => {
                    let before = trace::decode(&key, &before);
                    let mut all = before.map_err(|broken| Keyspace::Trace.damaged(&key, broken))?;
                    all.extend_from_slice(steps);
                    trace::value(&key, &all)
                }
            };
            transaction.put(Keyspace::Trace, key, value);
        }
        for (namespace, seq) in &self.recalled {
            if *seq > transaction.heads(namespace).trimmed {
                index::mark(transaction, namespace, *seq, &Term::Recalled, true)?;
            }
        }
        if self.durability == Durability::Durable {
            transaction.ask_sync();
        }
        Ok(())
    }
}
