//! Trim: everything that a namespace accepted up to a number is gone.
//!
//! It writes one number down, whatever there is behind it: readers look no further back. [`super::super::sweep`] gives
//! the disk space back.

use tidings_model::{NamespaceName, Seq};

use super::Verb;
use crate::StoreError;
use crate::embedded::transaction::Transaction;

/// Moves the point before which everything is gone.
pub(crate) struct Trim {
    pub(crate) namespace: NamespaceName,
    pub(crate) through: Seq,
}

impl Verb for Trim {
    type Outcome = ();

    fn bytes(&self) -> usize {
        128
    }

    fn apply(&mut self, transaction: &mut Transaction<'_>) -> Result<(), StoreError> {
        transaction.trim(&self.namespace, self.through)?;
        // What is thrown away afterwards must not come back to readers.
        transaction.ask_sync();
        Ok(())
    }
}
