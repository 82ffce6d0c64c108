//! Record: replace the receipts of messages.

use tidings_model::{NamespaceName, Seq};

use super::Verb;
use crate::StoreError;
use crate::embedded::transaction::Transaction;
use crate::kv::{Keyspace, receipt};
use crate::port::ReceiptRecord;

/// Replaces receipts, encoded already.
pub(crate) struct Record(Vec<(Vec<u8>, Vec<u8>)>);

impl Record {
    /// Encodes the receipts. This is the work that need not wait for the writer.
    pub(crate) fn new(receipts: &[(NamespaceName, Seq, ReceiptRecord)]) -> Self {
        let encode = |(namespace, seq, record): &(NamespaceName, Seq, ReceiptRecord)| {
            let key = receipt::key(namespace, *seq);
            let value = receipt::value(&key, record);
            (key, value)
        };
        Self(receipts.iter().map(encode).collect())
    }
}

impl Verb for Record {
    type Outcome = ();

    fn bytes(&self) -> usize {
        self.0.iter().map(|(key, value)| key.len() + value.len() + 64).sum()
    }

    fn apply(&mut self, transaction: &mut Transaction<'_>) -> Result<(), StoreError> {
        for (key, value) in &self.0 {
            transaction.put(Keyspace::Receipt, key.clone(), value.clone());
        }
        Ok(())
    }
}
