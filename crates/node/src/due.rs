//! What is to happen later: scheduled messages are sent, and the end of messages is noted.
//!
//! Deadlines are in the store, in the order of time, so a restart forgets none. One actor deals with what is due
//! and only then takes it off the record: whatever is interrupted is dealt with again, and nothing here minds
//! that. It does not know how a message reaches anybody.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tidings_model::{Message, NamespaceName, Seq, Timestamp};
use tidings_store::{Due, DueKind, StoreError};
use tokio::sync::Notify;

use crate::Node;
use crate::publish::PublishError;

/// Entries that are dealt with together.
const ENTRIES: usize = 256;

/// How long the actor sleeps at most: clocks may be set while it does.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// How long the actor waits after a failure of the store.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// When something is due next, as far as is known.
#[derive(Debug)]
pub(crate) struct DueTimes {
    next: AtomicU64,
    /// Nothing older than this is on record: looking begins here, behind what has been removed.
    from: AtomicU64,
    changed: Notify,
}

impl Default for DueTimes {
    fn default() -> Self {
        // Whatever is on record is to be looked at first.
        Self { next: AtomicU64::new(0), from: AtomicU64::new(0), changed: Notify::new() }
    }
}

impl DueTimes {
    /// A message has been appended, and may have left deadlines.
    pub(crate) fn expect(&self, message: &Message) {
        // The end of a message is looked at within a second or so; nobody waits for it.
        let escalate = message.escalate_after.map(|after| message.sent_at.after(after));
        let at =
            if message.is_scheduled() { message.deliver_at } else { escalate.or(Some(message.expires_at)) };
        if let Some(at) = at {
            self.expect_at(at);
        }
    }

    /// Something is due at this time.
    pub(crate) fn expect_at(&self, at: Timestamp) {
        // After a clock was set back there may be something due before what has been dealt with.
        self.from.fetch_min(at.0, Ordering::AcqRel);
        if self.next.fetch_min(at.0, Ordering::AcqRel) > at.0 {
            self.changed.notify_one();
        }
    }
}

/// Deals with what is due, until the node is gone.
pub(crate) async fn run(node: Weak<Node>) {
    loop {
        let Some(here) = node.upgrade() else { return };
        let due = Arc::clone(&here.due);
        let pause = match here.deal_with_due().await {
            Ok(()) => {
                let next = Timestamp(due.next.load(Ordering::Acquire));
                next.since(here.now()).min(SLEEP_MAX)
            }
            Err(why) => {
                tracing::error!(error = %why, "what is due cannot be dealt with; trying again");
                AFTER_FAILURE
            }
        };
        drop(here);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = due.changed.notified() => {}
        }
    }
}

impl Node {
    /// Deals with everything that is due now.
    ///
    /// # Errors
    /// When the store cannot be read or written: what was not dealt with stays on record.
    pub async fn deal_with_due(&self) -> Result<(), StoreError> {
        if self.due.next.load(Ordering::Acquire) > self.now().0 {
            return Ok(());
        }
        loop {
            // Whoever adds something from here on moves these again.
            let from = Timestamp(self.due.from.load(Ordering::Acquire));
            self.due.next.store(u64::MAX, Ordering::Release);
            let entries = self.store.due(from, self.now(), ENTRIES).await?;
            let Some(last) = entries.last().map(|due| due.at) else { break };
            let full = entries.len() == ENTRIES;
            let dealt = self.deal_with(entries).await;
            if dealt.is_ok() {
                // What was added meanwhile may be older, and then has moved it already.
                let _ = self.due.from.compare_exchange(from.0, last.0, Ordering::AcqRel, Ordering::Acquire);
            }
            dealt?;
            if !full {
                break;
            }
        }
        let from = Timestamp(self.due.from.load(Ordering::Acquire));
        if let Some(next) = self.store.next_due(from).await? {
            self.due.next.fetch_min(next.0, Ordering::AcqRel);
        }
        Ok(())
    }

    async fn deal_with(&self, entries: Vec<Due>) -> Result<(), StoreError> {
        let mut sending = Vec::new();
        let mut over: HashMap<NamespaceName, Vec<Seq>> = HashMap::new();
        for due in &entries {
            match due.what {
                DueKind::Deliver => {
                    for seq in &due.seqs {
                        sending.extend(self.send_scheduled(&due.namespace, *seq).await?);
                    }
                }
                DueKind::Expire => over.entry(due.namespace.clone()).or_default().extend(&due.seqs),
                DueKind::Escalate(_) => {}
            }
        }
        for sent in sending {
            match sent.await.unwrap_or(Err(PublishError::Store(StoreError::Closed))) {
                Ok(_) | Err(PublishError::Gone) => {}
                Err(PublishError::Store(why)) => return Err(why),
                Err(
                    why @ (PublishError::NoNamespace
                    | PublishError::Conflict
                    | PublishError::Overloaded
                    | PublishError::TooLarge { .. }),
                ) => {
                    tracing::error!(error = %why, "a scheduled message could not be sent");
                }
            }
        }
        for (namespace, seqs) in over {
            self.ledger.expired(&namespace, seqs).await;
        }
        self.store.deal(entries, Vec::new()).await
    }

    /// The time of a scheduled message has come: whoever is meant now gets it. `None` when it is not there any more,
    /// or was recalled.
    async fn send_scheduled(
        &self,
        namespace: &NamespaceName,
        seq: Seq,
    ) -> Result<Option<crate::publish::Pending>, StoreError> {
        let Some(namespace) = self.namespace(namespace.as_str()) else { return Ok(None) };
        let message = self.store.messages(&namespace.name, vec![seq]).await?.into_iter().flatten().next();
        let Some(message) = message else { return Ok(None) };
        let books = self.ledger.look(&namespace.name, vec![seq]).await.into_iter().flatten().next();
        if books.is_some_and(|books| books.record.recalled_at.is_some()) {
            return Ok(None);
        }
        self.submit_scheduled(namespace, &message).await.map(Some)
    }
}
