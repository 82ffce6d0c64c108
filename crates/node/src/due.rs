//! What is to happen later: scheduled messages are sent, other ways are tried, the end of messages is noted.
//!
//! Deadlines are in the store, in the order of time, so a restart forgets none. An actor for each queue deals with
//! what is due and only then takes it off the record: whatever is interrupted is dealt with again, and nothing here minds
//! that. It does not know how a message reaches anybody.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tidings_model::{Message, NamespaceName, Seq, Timestamp};
use tidings_store::{Due, DueQueue, StoreError};
use tokio::sync::Notify;

use crate::Node;
use crate::publish::PublishError;

/// Entries that are dealt with together.
const ENTRIES: usize = 256;

/// How long the actor sleeps at most: clocks may be set while it does.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// How long the actor waits after a failure of the store.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// When something is due next, queue by queue, as far as is known.
#[derive(Debug, Default)]
pub(crate) struct DueTimes([QueueTimes; DueQueue::ALL.len()]);

/// Both are 0 at first: whatever is on record is to be looked at.
#[derive(Debug, Default)]
struct QueueTimes {
    next: AtomicU64,
    /// Nothing older than this is on record: looking begins here, behind what has been removed.
    from: AtomicU64,
    changed: Notify,
}

impl DueTimes {
    fn of(&self, queue: DueQueue) -> &QueueTimes {
        &self.0[queue as usize]
    }

    /// A message has been appended, and may have left deadlines.
    pub(crate) fn expect(&self, message: &Message) {
        if message.is_scheduled() {
            let at = message.deliver_at.unwrap_or(message.sent_at);
            return self.expect_at(DueQueue::Deliver, at);
        }
        if let Some(after) = message.escalate_after {
            self.expect_at(DueQueue::Escalate, message.sent_at.after(after));
        }
        self.expect_at(DueQueue::Expire, message.expires_at);
    }

    /// Something is due at this time.
    pub(crate) fn expect_at(&self, queue: DueQueue, at: Timestamp) {
        let times = self.of(queue);
        // After a clock was set back there may be something due before what has been dealt with.
        times.from.fetch_min(at.0, Ordering::AcqRel);
        if times.next.fetch_min(at.0, Ordering::AcqRel) > at.0 {
            times.changed.notify_one();
        }
    }
}

/// Deals with what is due in a queue, until the node is gone.
pub(crate) async fn run(node: Weak<Node>, queue: DueQueue) {
    loop {
        let Some(here) = node.upgrade() else { return };
        let due = Arc::clone(&here.due);
        let pause = match here.deal_with_due(queue).await {
            Ok(()) => {
                let next = Timestamp(due.of(queue).next.load(Ordering::Acquire));
                next.since(here.now()).min(SLEEP_MAX)
            }
            Err(StoreError::Closed) => return,
            Err(why) => {
                tracing::error!(error = %why, ?queue, "what is due cannot be dealt with; trying again");
                AFTER_FAILURE
            }
        };
        drop(here);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = due.of(queue).changed.notified() => {}
        }
    }
}

impl Node {
    /// Deals with everything that is due now in a queue.
    ///
    /// # Errors
    /// When the store cannot be read or written: what was not dealt with stays on record.
    pub async fn deal_with_due(&self, queue: DueQueue) -> Result<(), StoreError> {
        let times = self.due.of(queue);
        if times.next.load(Ordering::Acquire) > self.now().0 {
            return Ok(());
        }
        let dealt = self.deal_with_all(queue, times).await;
        if dealt.is_err() {
            times.next.store(0, Ordering::Release);
        }
        dealt
    }

    async fn deal_with_all(&self, queue: DueQueue, times: &QueueTimes) -> Result<(), StoreError> {
        loop {
            // Whoever adds something from here on moves these again.
            let from = Timestamp(times.from.load(Ordering::Acquire));
            times.next.store(u64::MAX, Ordering::Release);
            let entries = self.store.due(queue, from, self.now(), ENTRIES).await?;
            let Some(last) = entries.last().map(|due| due.at) else { break };
            let full = entries.len() == ENTRIES;
            self.deal_with(queue, entries).await?;
            // What was added meanwhile may be older, and then has moved it already.
            let _ = times.from.compare_exchange(from.0, last.0, Ordering::AcqRel, Ordering::Acquire);
            if !full {
                break;
            }
        }
        let from = Timestamp(times.from.load(Ordering::Acquire));
        if let Some(next) = self.store.next_due(queue, from).await? {
            times.next.fetch_min(next.0, Ordering::AcqRel);
        }
        Ok(())
    }

    async fn deal_with(&self, queue: DueQueue, entries: Vec<Due>) -> Result<(), StoreError> {
        let add = match queue {
            DueQueue::Deliver => self.send_all_scheduled(&entries).await.map(|()| Vec::new())?,
            DueQueue::Escalate => self.escalate_all(&entries).await?,
            DueQueue::Expire => {
                for due in &entries {
                    self.ledger.expired(&due.namespace, due.seqs.clone()).await;
                }
                Vec::new()
            }
        };
        let times: Vec<Timestamp> = add.iter().map(|due| due.at).collect();
        self.store.deal(entries, add).await?;
        times.into_iter().for_each(|at| self.due.expect_at(queue, at));
        Ok(())
    }

    async fn send_all_scheduled(&self, entries: &[Due]) -> Result<(), StoreError> {
        // Until they have their places: a recall finds a message that is not sent, or one that was.
        let _alone = self.sending.write().await;
        let (mut sending, mut failed) = (Vec::new(), None);
        for due in entries {
            for seq in &due.seqs {
                match self.send_scheduled(&due.namespace, *seq).await {
                    Ok(sent) => sending.extend(sent),
                    Err(why) => failed = failed.or(Some(why)),
                }
            }
        }
        // All of them, whatever became of the first: until then nobody may take them away.
        for sent in sending {
            match sent.await.unwrap_or(Err(PublishError::Store(StoreError::Closed))) {
                Ok(_) | Err(PublishError::Gone) => {}
                Err(PublishError::Store(why)) => failed = failed.or(Some(why)),
                Err(
                    why @ (PublishError::NoNamespace
                    | PublishError::Suspended
                    | PublishError::RoomSuspended { .. }
                    | PublishError::Conflict
                    | PublishError::Overloaded
                    | PublishError::TooOften(_)
                    | PublishError::TooLate(_)
                    | PublishError::TooLarge { .. }),
                ) => tracing::error!(error = %why, "a scheduled message could not be sent"),
            }
        }
        failed.map_or(Ok(()), Err)
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
        let unread = || StoreError::Io("the books of a scheduled message cannot be read".to_owned());
        if books.ok_or_else(unread)?.record.recalled_at.is_some() {
            return Ok(None);
        }
        self.submit_scheduled(namespace, &message).await.map(Some)
    }
}
