//! How much waits for a device at most. The oldest messages go first, and the books say so.
//!
//! A mailbox is not counted while its device is away: that would cost a push something for each of a million
//! devices. It is held to its limit when somebody looks into it, which is when the device comes back.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidings_model::{Seq, Topic};
use tidings_store::StoreError;

use crate::Node;
use crate::connect::Identity;
use crate::resume::{Found, LOOK_MESSAGES};

/// Entries of a topic that are read together when they are written off.
const WINDOW: usize = 4_096;

/// Entries of a topic that are written off at most. What is older stays in the books as waiting until it expires;
/// no device gets it.
const WRITTEN_OFF_MAX: usize = 1 << 18;

impl Node {
    /// Keeps of what was found as much as a mailbox holds, the newest. The rest is written off in the background.
    pub(crate) async fn keep_within(
        self: &Arc<Self>,
        who: &Identity,
        topics: &[Topic],
        found: &mut Found,
    ) -> Result<(), StoreError> {
        let limit = who.namespace.settings().mailbox.messages;
        let mut first_kept = None;
        if found.send.len() > limit {
            first_kept = self.oldest_within(who, topics, found, limit).await?;
        }
        if first_kept.is_none() && !found.unseen.is_empty() {
            first_kept = found.send.keys().next().copied();
        }
        let Some(first_kept) = first_kept else { return Ok(()) };
        let kept = found.send.split_off(&first_kept);
        // What the client has asked for by position is no matter of its mailbox.
        let (asked, over): (Vec<_>, Vec<_>) =
            std::mem::replace(&mut found.send, kept).into_iter().partition(|(_, asked)| *asked);
        found.send.extend(asked);
        let announcements = self.announcements(who, topics, &over).await?;
        let over: Vec<Seq> =
            over.into_iter().map(|(seq, _)| seq).filter(|seq| !announcements.contains(seq)).collect();
        let first_kept = announcements.first().copied().unwrap_or(first_kept);
        found.send.extend(announcements.into_iter().map(|seq| (seq, false)));
        if over.is_empty() && found.unseen.is_empty() {
            return Ok(());
        }
        found.complete = false;
        let work = WriteOff {
            who: who.clone(),
            topics: topics.to_vec(),
            over,
            unseen: std::mem::take(&mut found.unseen),
            first_kept,
        };
        tokio::spawn(work.run(Arc::clone(self)));
        Ok(())
    }

    /// The oldest message that still fits into the mailbox; `None` when all of them do.
    async fn oldest_within(
        &self,
        who: &Identity,
        topics: &[Topic],
        found: &Found,
        limit: usize,
    ) -> Result<Option<Seq>, StoreError> {
        // What the client asks for again although it is done takes no place.
        let all: Vec<(Seq, bool)> = found.send.keys().map(|seq| (*seq, false)).collect();
        let mut room = limit;
        for chunk in all.rchunks(LOOK_MESSAGES) {
            let due = self.due(&who.namespace, &who.device, (topics, &[]), chunk).await?;
            let messages: Vec<Seq> =
                due.iter().filter(|(message, _)| message.recalls.is_none()).map(|(it, _)| it.seq).collect();
            if messages.len() > room {
                return Ok(Some(messages[messages.len() - room - 1].next()));
            }
            room -= messages.len();
        }
        Ok(None)
    }

    /// Those of `wanted` that announce a recall. They take no place from what people have been sent, and nobody is to miss them.
    async fn announcements(
        &self,
        who: &Identity,
        topics: &[Topic],
        wanted: &[(Seq, bool)],
    ) -> Result<BTreeSet<Seq>, StoreError> {
        let mut found = BTreeSet::new();
        for chunk in wanted.chunks(LOOK_MESSAGES) {
            let due = self.due(&who.namespace, &who.device, (topics, &[]), chunk).await?;
            found.extend(due.iter().filter(|(it, _)| it.recalls.is_some()).map(|(it, _)| it.seq));
        }
        Ok(found)
    }
}

/// What a mailbox has no room for.
struct WriteOff {
    who: Identity,
    topics: Vec<Topic>,
    over: Vec<Seq>,
    unseen: Vec<(Topic, u64)>,
    /// Everything before it is settled then.
    first_kept: Seq,
}

impl WriteOff {
    /// Notes in the books that the device does not get it, and moves the cursor behind it.
    async fn run(self, node: Arc<Node>) {
        let outcome = self.write_off(&node).await;
        let (namespace, device) = (&self.who.namespace, &self.who.device);
        match outcome {
            Ok(()) => node.settled(namespace, device.ordinal, Seq(self.first_kept.0.saturating_sub(1))),
            Err(why) => {
                tracing::error!(error = %why, namespace = %namespace.name, "a full mailbox cannot be written off");
            }
        }
    }

    async fn write_off(&self, node: &Node) -> Result<(), StoreError> {
        self.trim(node, &self.over).await?;
        for (topic, oldest) in &self.unseen {
            let mut before = *oldest;
            for _ in 0..WRITTEN_OFF_MAX / WINDOW {
                let name = &self.who.namespace.name;
                let entries = node.store.read_topic_back(name, topic, before, WINDOW).await?;
                let Some((first, _)) = entries.first() else { break };
                before = *first;
                let cursor = self.who.device.cursor;
                let more = entries.len() == WINDOW && entries[0].1 > cursor;
                let seqs: Vec<Seq> =
                    entries.into_iter().map(|(_, seq)| seq).filter(|seq| *seq > cursor).collect();
                self.trim(node, &seqs).await?;
                if !more {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn trim(&self, node: &Node, seqs: &[Seq]) -> Result<(), StoreError> {
        let (namespace, device) = (&self.who.namespace, &self.who.device);
        let wanted: Vec<(Seq, bool)> = seqs.iter().map(|seq| (*seq, false)).collect();
        for chunk in wanted.chunks(LOOK_MESSAGES) {
            let due = node.due(namespace, device, (&self.topics, &[]), chunk).await?;
            // An announcement further back than was looked stays in the books until it expires.
            let messages = due.into_iter().filter(|(message, _)| message.recalls.is_none());
            let seqs = messages.map(|(message, _)| message.seq).collect();
            node.ledger.trimmed(&namespace.name, device.ordinal, seqs).await;
        }
        Ok(())
    }
}
