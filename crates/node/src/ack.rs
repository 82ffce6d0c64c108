//! A device has a message.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tidings_hub::shard::Ordinals;
use tidings_hub::{Event, Unwritten};
use tidings_model::{Message, MessageId, NamespaceName, Ordinal, Seq, Timestamp};
use tidings_store::port::Which;
use tidings_store::{Device, StoreError};

use crate::{Namespace, Node};

/// One receipt.
#[derive(Clone, Debug)]
pub struct Ack {
    /// Where the message belongs.
    pub namespace: NamespaceName,
    /// The message.
    pub seq: Seq,
    /// Who has it.
    pub device: Ordinal,
    /// Since when.
    pub at: Timestamp,
}

/// What became of receipts that named messages by their public ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AckOutcome {
    /// The messages that the device has (now, or already before).
    pub acked: Vec<Seq>,
    /// The recalls of some of them that the device has heard of therewith.
    pub heard: Vec<Seq>,
    /// The ids that are unknown, or of messages that were not meant for the device.
    pub unknown: Vec<MessageId>,
}

/// Who has given a receipt in time.
#[derive(Clone, Debug)]
pub struct Awaited {
    /// How many devices have.
    pub acked: u64,
    /// How many have not.
    pub waiting: u64,
    /// The first of them, and whether each has.
    pub devices: Vec<(Device, bool)>,
}

impl Node {
    /// Takes receipts. Gives back those that the ledger has no room for now; offer them again.
    pub fn acks(&self, acks: Vec<Ack>) -> Vec<Ack> {
        self.ledger.acked(acks)
    }

    /// Takes what happened on a shard. Gives it back when the ledger has no room now.
    pub fn happened(&self, events: Vec<tidings_hub::Event>) -> Vec<tidings_hub::Event> {
        self.ledger.happened(events)
    }

    /// Whether it holds for the device what happened on one of its connections: a message that did not leave there may have left,
    /// or leave, on another one. Nobody knows whether it has; that a device hears of the recall of what it never saw is better than
    /// that it does not hear of the recall of what it shows.
    #[must_use]
    pub fn holds_for_device(&self, event: &Event) -> bool {
        let Event::Unwritten { namespace, ordinal, why, .. } = event else { return true };
        let Some(found) = self.namespace(namespace.as_str()) else { return true };
        match why {
            Unwritten::ConnectionLost => !found.directory().is_online(*ordinal),
            Unwritten::Recalled | Unwritten::Expired => !found.directory().several().contains(ordinal.0),
        }
    }

    /// Of devices for which a message was let go, those that will not get it: what another connection of a
    /// device has, or its mailbox, is not lost.
    #[must_use]
    pub fn without_others(&self, namespace: &NamespaceName, by: Ordinals) -> Ordinals {
        match self.namespace(namespace.as_str()) {
            Some(found) => by.without(found.directory().several()),
            None => by,
        }
    }

    /// The message that a Socket.IO acknowledgement id means now.
    #[must_use]
    pub fn seq_of_ack(&self, namespace: &NamespaceName, ack_id: u64) -> Option<Seq> {
        let ack_id = u32::try_from(ack_id).ok()?;
        tidings_model::message::seq_of_ack(ack_id, self.store.head(namespace))
    }

    /// Waits until everybody who is meant by a message and online now has given a receipt, or for so long, or until `stop`, or
    /// until the message is recalled or over. Answers who has and who has not by then, at most `limit` of them. Of a `duplicate`,
    /// which was accepted before, also those are waited for to whom it was written; and where that is nobody, because this process
    /// may have begun since, all whom it is for.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn await_acks(
        &self,
        namespace: &Namespace,
        message: &Message,
        duplicate: bool,
        wait: Duration,
        stop: impl Future<Output = ()>,
        limit: usize,
    ) -> Result<Awaited, StoreError> {
        let mut online = &*message.meant & namespace.directory().online();
        let name = &namespace.name;
        if duplicate {
            let books = self.ledger.look(name, vec![message.seq]).await.into_iter().flatten().next();
            if let Some(books) = books {
                online |= &books.record.written | &books.record.acked;
            }
            if online.is_empty() {
                online.clone_from(&message.meant);
            }
        }
        // When its time is over, nobody gets it any more.
        let left = message.expires_at.since(self.clock.now());
        let wait = if message.keep { wait.min(left) } else { wait };
        let by_all = self.ledger.acked_by_all(name, message.seq, online.clone());
        tokio::select! {
            // Time is over is an answer, too.
            _ = tokio::time::timeout(wait, by_all) => {}
            () = stop => {}
        }
        let books = self.ledger.look(name, vec![message.seq]).await.into_iter().flatten().next();
        let acked = books.map(|books| &books.record.acked & &online).unwrap_or_default();
        let ordinals = online.iter().take(limit).map(Ordinal).collect();
        let found = self.store.devices(name, Which::Ordinals(ordinals)).await?;
        let devices = found.into_iter().flatten().map(|device| {
            let has_it = acked.contains(device.ordinal.0);
            (device, has_it)
        });
        Ok(Awaited { acked: acked.len(), waiting: online.len() - acked.len(), devices: devices.collect() })
    }

    /// Takes receipts for messages that are named by their public ids. Answers once they are written
    /// down: they survive the end of the process (not a power cut, until the next sync).
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn ack_ids(
        &self,
        namespace: &Arc<Namespace>,
        device: Ordinal,
        ids: Vec<MessageId>,
    ) -> Result<AckOutcome, StoreError> {
        let at = self.clock.now();
        let (mut outcome, mut known) = (AckOutcome::default(), Vec::new());
        let mut named = HashSet::with_capacity(ids.len());
        for id in ids {
            if !named.insert(id.clone()) {
                continue;
            }
            match self.store.find(&namespace.name, &id).await? {
                Some(seq) => known.push((id, seq)),
                None => outcome.unknown.push(id),
            }
        }
        let acks: Vec<Ack> = known
            .iter()
            .map(|(_, seq)| Ack { namespace: namespace.name.clone(), seq: *seq, device, at })
            .collect();
        if acks.is_empty() {
            return Ok(outcome);
        }
        let became = self.ledger.ack_and_tell(acks).await?;
        let mut announcements: Vec<Seq> = Vec::new();
        for ((id, seq), became) in known.into_iter().zip(became) {
            // Who acknowledges a message that was recalled has heard of that, too: both have its id.
            announcements.extend(became.announced);
            if became.meant {
                outcome.acked.push(seq);
            } else {
                outcome.unknown.push(id);
            }
        }
        if !announcements.is_empty() {
            let namespace = namespace.name.clone();
            let ack = |seq| Ack { namespace: namespace.clone(), seq, device, at };
            let acks = announcements.iter().copied().map(ack).collect();
            let became = self.ledger.ack_and_tell(acks).await?;
            let heard = announcements.into_iter().zip(became).filter(|(_, became)| became.meant);
            outcome.heard.extend(heard.map(|(seq, _)| seq));
        }
        Ok(outcome)
    }
}
