//! A message is withdrawn: whoever has not got it does not get it any more, whoever has it is told.
//!
//! Order matters. First it is on record, so that no mailbox gives it any more; then it is taken out of all that
//! waits on the shards; only then the ledger knows who has it, and these are told by a message of its own, which
//! waits for them like any other.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use roaring::RoaringBitmap;
use tidings_model::{Durability, EventName, Except, Message, Priority, Seq, Target, Topic, limit};
use tidings_store::{NewMessage, StoreError};
use tokio::sync::{RwLockReadGuard, mpsc};

use crate::namespace::whole;
use crate::publish::PublishError;
use crate::{Namespace, Node, ToShard};

/// For how long who is away can still be told of a recall.
const ANNOUNCED_FOR: Duration = Duration::from_secs(limit::TTL_SECS_MAX);

/// What a recall came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recalled {
    /// From how many devices it was withdrawn: they had not acknowledged it.
    pub withdrawn: u64,
    /// How many devices are told of it: it was written to them, or they have it.
    pub announced: u64,
}

impl Node {
    /// Recalls a message, also when whoever asks goes away meanwhile. Idempotent: whatever a recall that a crash has interrupted has
    /// not done is done then.
    ///
    /// # Errors
    /// When the store cannot be read or written; the message may be withdrawn then, and not announced.
    pub async fn recall(
        self: &Arc<Self>,
        namespace: &Arc<Namespace>,
        message: &Arc<Message>,
    ) -> Result<Recalled, PublishError> {
        let (node, namespace, message) = (Arc::clone(self), Arc::clone(namespace), Arc::clone(message));
        whole(async move {
            let (_unsent, message) = node.as_it_is_now(&namespace, message).await?;
            // Two at once would each tell everybody.
            let _turn = node.recalls.of(message.seq.0).await;
            Ok(node.recall_whole(&namespace, &message).await)
        })
        .await?
    }

    /// A message that was scheduled, when its caller looked, may be sent by now, under another number. As long as the guard is
    /// there it is not.
    async fn as_it_is_now(
        &self,
        namespace: &Namespace,
        message: Arc<Message>,
    ) -> Result<(Option<RwLockReadGuard<'_, ()>>, Arc<Message>), StoreError> {
        if !message.is_scheduled() {
            return Ok((None, message));
        }
        let unsent = self.sending.read().await;
        let now = self.message(namespace, &message.id).await?.unwrap_or(message);
        Ok((Some(unsent), now))
    }

    async fn recall_whole(
        &self,
        namespace: &Arc<Namespace>,
        message: &Arc<Message>,
    ) -> Result<Recalled, PublishError> {
        let name = &namespace.name;
        // Also when it is known already: the last time it may not have reached the disk.
        let recall = |entry: &mut crate::ledger::Entry, now| entry.recalled(now);
        if self.ledger.change(name, message.seq, Durability::Durable, recall).await? {
            self.metrics.recalls.inc();
        }
        self.withdraw(namespace, message.seq).await;
        let books = self.ledger.look(name, vec![message.seq]).await.into_iter().flatten().next();
        let Some(books) = books else { return Ok(Recalled { withdrawn: 0, announced: 0 }) };
        let holders = &books.record.written | &books.record.acked;
        let withdrawn = if books.is_withdrawn() { books.pending().len() } else { 0 };
        let recalled = Recalled { withdrawn, announced: holders.len() };
        if books.record.announced.is_none() && !holders.is_empty() {
            let announcement = self.announce(namespace, message, holders).await?;
            let announced =
                move |entry: &mut crate::ledger::Entry, _| entry.record.announced = Some(announcement);
            // Before it is answered: whoever asks again after a crash would have them told again.
            self.ledger.change(name, message.seq, Durability::Durable, announced).await?;
        }
        Ok(recalled)
    }

    /// Takes a message out of everything that waits on the shards, and waits until they have done so.
    async fn withdraw(&self, namespace: &Namespace, seq: Seq) {
        // Nothing is ever sent: each shard lets go of its end when it is done.
        let (done, mut all_done) = mpsc::channel(1);
        self.shards.tell(u64::MAX, ToShard::Recall { namespace: namespace.name.clone(), seq, done }).await;
        let _ = all_done.recv().await;
    }

    /// Tells these devices that they have a message that was recalled.
    async fn announce(
        &self,
        namespace: &Arc<Namespace>,
        message: &Message,
        holders: RoaringBitmap,
    ) -> Result<Seq, PublishError> {
        let now = self.now();
        let topics: Vec<Topic> = message.topics.iter().map(|(topic, _)| topic.clone()).collect();
        let direct = self.owners(namespace, topics.clone()).await?;
        let announcement = NewMessage {
            namespace: namespace.name.clone(),
            id: self.made_id(),
            fingerprint: [0; 16],
            event: EventName::recall(),
            data: Bytes::from_static(b"null"),
            to: Target::default(),
            except: Except::default(),
            topics,
            meant: Arc::new(holders),
            accepted_at: now,
            expires_at: now.after(namespace.life(ANNOUNCED_FOR)),
            priority: Priority::Normal,
            keep: true,
            collapse_key: None,
            deliver_at: None,
            sent_at: now,
            escalate_after: None,
            offline: Bytes::new(),
            recalls: Some(message.id.clone()),
            from: None,
            aside: Bytes::new(),
            replaces: None,
        };
        let pending = self.enqueue(Arc::clone(namespace), announcement, direct, Durability::Durable).await?;
        let accepted = pending.await.map_err(|_| StoreError::Closed)??;
        Ok(accepted.message.seq)
    }
}
