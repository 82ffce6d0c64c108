//! What a device missed: its topics read from its cursor on, without what it has, what has expired and
//! what was not meant for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidings_model::{Epoch, Message, Position, RoomName, Seq, Topic};
use tidings_store::{Device, From, StoreError};

use crate::connect::Identity;
use crate::{Namespace, Node};

/// From where a client wants to go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Since {
    /// From what it has not acknowledged.
    #[default]
    Cursor,
    /// From the messages after these; topics that are not named go on from the cursor.
    Positions(Vec<(Topic, Position)>),
    /// From what the namespace accepted after this (an SSE event id).
    Seq(Epoch, Seq),
}

/// What a device missed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    /// The messages, oldest first, each with whether it is to be sent even if it was acknowledged before.
    seqs: Vec<(Seq, bool)>,
    /// Everything up to here is in `seqs`; what comes later is delivered live.
    pub floor: Seq,
    /// Whether nothing that still lives is missing.
    pub complete: bool,
    topics: Vec<Topic>,
}

impl Missed {
    /// How many messages may be to be sent.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seqs.len()
    }

    /// Whether nothing was missed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seqs.is_empty()
    }
}

impl Node {
    /// Finds out what a device missed.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn missed(
        &self,
        who: &Identity,
        rooms: &[RoomName],
        since: &Since,
    ) -> Result<Missed, StoreError> {
        let namespace = &who.namespace;
        let floor = self.store.head(&namespace.name);
        let limit = namespace.settings.mailbox_messages;
        let topics = topics_of(&who.device, rooms);
        let mut complete = !who.new;
        let mut found: BTreeMap<Seq, bool> = BTreeMap::new();
        for topic in &topics {
            let (from, asked, known) = self.read_from(who.device.cursor, topic, since, floor);
            complete &= known;
            let slice = self.store.read_topic(&namespace.name, topic, from, limit).await?;
            // A position that the topic has not reached yet tells of another history than ours.
            if let From::AfterOffset(offset) = from
                && offset > slice.head
            {
                complete = false;
                let from = From::After(who.device.cursor);
                let slice = self.store.read_topic(&namespace.name, topic, from, limit).await?;
                found.extend(slice.entries.into_iter().map(|(_, seq)| (seq, false)));
                continue;
            }
            complete &= !slice.truncated;
            for (_, seq) in slice.entries {
                *found.entry(seq).or_default() |= asked;
            }
        }
        let mut seqs: Vec<(Seq, bool)> = found.into_iter().filter(|(seq, _)| *seq <= floor).collect();
        if seqs.len() > limit {
            complete = false;
            seqs.drain(..seqs.len() - limit);
        }
        Ok(Missed { seqs, floor, complete, topics })
    }

    /// Where to read a topic from, whether the client asked for exactly that, and whether it makes sense.
    fn read_from(&self, cursor: Seq, topic: &Topic, since: &Since, head: Seq) -> (From, bool, bool) {
        let epoch = self.store.epoch();
        match since {
            Since::Cursor => (From::After(cursor), false, true),
            Since::Seq(of, seq) if *of == epoch && *seq <= head => (From::After(*seq), true, true),
            Since::Seq(..) => (From::After(cursor), false, false),
            Since::Positions(positions) => match positions.iter().find(|(named, _)| named == topic) {
                Some((_, position)) if position.epoch == epoch => {
                    (From::AfterOffset(position.offset), true, true)
                }
                Some(_) => (From::After(cursor), false, false),
                None => (From::After(cursor), false, true),
            },
        }
    }

    /// Loads a stretch of what was missed: the messages to send, each with the topic that the device
    /// has it by. Shorter than asked for where messages have expired, were acknowledged meanwhile, or
    /// were not meant for the device.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn load_missed(
        &self,
        namespace: &Namespace,
        device: &Device,
        missed: &Missed,
        range: std::ops::Range<usize>,
    ) -> Result<Vec<(Arc<Message>, usize)>, StoreError> {
        let wanted = &missed.seqs[range.start.min(missed.len())..range.end.min(missed.len())];
        let seqs: Vec<Seq> = wanted.iter().map(|(seq, _)| *seq).collect();
        let messages = self.store.messages(&namespace.name, seqs.clone()).await?;
        let books = self.ledger.look(&namespace.name, seqs).await;
        let now = self.clock.now();
        let mut send = Vec::with_capacity(wanted.len());
        for (((_, asked), message), books) in wanted.iter().zip(messages).zip(books) {
            let Some(message) = message else { continue };
            let acked = books.is_some_and(|books| books.record.acked.contains(device.ordinal.0));
            let due = message.is_live(now) && message.meant.contains(device.ordinal.0) && (*asked || !acked);
            let topic = message.topics.iter().position(|(topic, _)| missed.topics.contains(topic));
            if let (true, Some(topic)) = (due, topic) {
                send.push((message, topic));
            }
        }
        Ok(send)
    }

    /// Where a device stands in its topics, for its client to keep: the newest offset of each.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn positions(
        &self,
        namespace: &Namespace,
        device: &Device,
        rooms: &[RoomName],
    ) -> Result<Vec<(Topic, Position)>, StoreError> {
        let mut positions = Vec::new();
        for topic in topics_of(device, rooms) {
            let slice =
                self.store.read_topic(&namespace.name, &topic, From::AfterOffset(u64::MAX), 0).await?;
            positions.push((topic, Position { epoch: self.store.epoch(), offset: slice.head }));
        }
        Ok(positions)
    }
}

fn topics_of(device: &Device, rooms: &[RoomName]) -> Vec<Topic> {
    let mut topics = vec![Topic::Device(device.id.clone())];
    topics.extend(device.user.clone().map(Topic::User));
    topics.extend(rooms.iter().cloned().map(Topic::Room));
    topics.push(Topic::All);
    topics
}
