//! What the writer counts, for whoever makes metrics of it. Plain numbers; no names, no labels.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What the writer has done since the store was opened.
#[derive(Debug, Default)]
pub struct WriterStats {
    /// Batches committed.
    pub batches: AtomicU64,
    /// Changes in them: calls, not messages.
    pub changes: AtomicU64,
    /// Messages in them.
    pub messages: AtomicU64,
    /// Most messages in one batch.
    pub messages_max: AtomicU64,
    /// Batches committed with an `fdatasync`.
    pub syncs: AtomicU64,
    /// Time spent on committing those, in microseconds.
    pub sync_micros: AtomicU64,
    /// Longest time spent on committing one of those, in microseconds.
    pub sync_micros_max: AtomicU64,
    /// Batches that could not be committed.
    pub failures: AtomicU64,
    /// How often the tree was opened anew after a failure.
    pub reopenings: AtomicU64,
}

impl WriterStats {
    pub(super) fn committed(&self, changes: usize, messages: usize) {
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.changes.fetch_add(changes as u64, Ordering::Relaxed);
        self.messages.fetch_add(messages as u64, Ordering::Relaxed);
        self.messages_max.fetch_max(messages as u64, Ordering::Relaxed);
    }

    pub(super) fn synced(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.sync_micros.fetch_add(micros, Ordering::Relaxed);
        self.sync_micros_max.fetch_max(micros, Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn reopened(&self) {
        self.reopenings.fetch_add(1, Ordering::Relaxed);
    }
}
