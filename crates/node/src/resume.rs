//! What a device missed: its topics read from its cursor on, without what it has, what has expired and
//! what was not meant for it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tidings_hub::WhenFull;
use tidings_model::{DropReason, Epoch, Message, Position, RoomName, Seq, Topic};
use tidings_store::{Device, From, StoreError};

use crate::connect::Identity;
use crate::ledger::Standing;
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
    /// Whether everything older is settled. Not so when the client wants to go on behind messages that it
    /// has not acknowledged: they stay in its mailbox.
    pub settles: bool,
    topics: Vec<Topic>,
    /// Where the client says that it is, in topics whose offsets are of this store.
    reached: Vec<(Topic, u64)>,
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

/// Entries of one topic that are looked at when a device comes back, the newest, unless its mailbox holds more. What
/// lies further back is too much to wait: see [`crate::mailbox`].
const SCAN_ENTRIES: usize = 16_384;

/// Most messages that are counted of what waits for a device.
pub const WAITING_MAX: usize = 1_000;

/// Messages that are looked at to count them.
const LOOKED_AT_WAITING: usize = 4 * WAITING_MAX;

/// Messages that are looked at together.
pub(crate) const LOOK_MESSAGES: usize = 256;

/// Whether a message stands in one of these topics no further than they were reached.
fn has_reached(message: &Message, reached: &[(Topic, u64)]) -> bool {
    message.topics.iter().any(|(topic, offset)| reached.iter().any(|(of, at)| of == topic && offset <= at))
}

/// What is found in the topics of a device behind its cursor, and behind the positions it asked for.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// To be sent; true when the client asked for exactly that.
    pub(crate) send: BTreeMap<Seq, bool>,
    /// Not to be sent, because the client says that it has it.
    behind: Vec<Seq>,
    /// Topics of which not everything behind the cursor was looked at, and the oldest offset that was.
    pub(crate) unseen: Vec<(Topic, u64)>,
    pub(crate) complete: bool,
}

impl Node {
    /// Finds out what a device missed.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn missed(
        self: &Arc<Self>,
        who: &Identity,
        rooms: &[RoomName],
        since: &Since,
    ) -> Result<Missed, StoreError> {
        let namespace = &who.namespace;
        let floor = self.store.head(&namespace.name);
        let topics = topics_of(&who.device, rooms);
        let mut found = Found { complete: !who.new, ..Found::default() };
        let positions: HashMap<&Topic, Position> = match since {
            // Of two for a topic the first one holds.
            Since::Positions(named) => named.iter().rev().map(|(topic, at)| (topic, *at)).collect(),
            Since::Cursor | Since::Seq(..) => HashMap::new(),
        };
        // Most of those who come back have missed nothing, and whoever is new cannot have.
        let nothing = *since == Since::Cursor && who.device.cursor >= floor;
        let mut looked = 0;
        for topic in topics.iter().filter(|_| !nothing) {
            looked += 1 + self.look(who, topic, (since, positions.get(topic)), floor, &mut found).await?;
            if looked >= LOOK_MESSAGES {
                // Of a device in many rooms, reading takes long, and is not waited for.
                tokio::task::yield_now().await;
                looked = 0;
            }
        }
        let drops = namespace.settings().outbox.when_full != WhenFull::Disconnect;
        if drops && found.complete {
            found.complete = !self.any_dropped(who, found.send.keys().copied().collect()).await;
        }
        self.keep_within(who, &topics, &mut found).await?;
        let mut missed = Missed {
            seqs: found.send.into_iter().filter(|(seq, _)| *seq <= floor).collect(),
            floor,
            complete: found.complete,
            settles: true,
            topics,
            reached: self.reached(&positions),
        };
        missed.settles = !self.any_due(who, &missed.topics, found.behind).await?;
        Ok(missed)
    }

    /// Looks into one topic. Answers how many entries were read.
    async fn look(
        &self,
        who: &Identity,
        topic: &Topic,
        (since, position): (&Since, Option<&Position>),
        head: Seq,
        found: &mut Found,
    ) -> Result<usize, StoreError> {
        let name = &who.namespace.name;
        let cursor = From::After(who.device.cursor);
        let most = SCAN_ENTRIES.max(who.namespace.settings().mailbox.messages);
        let waiting = self.store.read_topic(name, topic, cursor, most).await?;
        found.complete &= !waiting.truncated;
        if let (true, Some((oldest, _))) = (waiting.entries.len() == most, waiting.entries.first()) {
            found.unseen.push((topic.clone(), *oldest));
        }
        let epoch = self.store.epoch();
        let asked = match since {
            Since::Cursor => None,
            Since::Seq(of, seq) if *of == epoch && *seq <= head => Some(From::After(*seq)),
            Since::Positions(_) => match position {
                Some(at) if at.epoch == epoch && at.offset <= waiting.head => {
                    Some(From::AfterOffset(at.offset))
                }
                // A position that the topic has not reached tells of another history than ours.
                Some(_) => {
                    found.complete = false;
                    None
                }
                None => None,
            },
            Since::Seq(..) => {
                found.complete = false;
                None
            }
        };
        let mut read = waiting.entries.len();
        let Some(asked) = asked else {
            for (_, seq) in waiting.entries {
                found.send.entry(seq).or_default();
            }
            return Ok(read);
        };
        let after = self.store.read_topic(name, topic, asked, most).await?;
        found.complete &= !after.truncated;
        read += after.entries.len();
        let first = after.entries.first().map_or(Seq(u64::MAX), |(_, seq)| *seq);
        found.behind.extend(waiting.entries.into_iter().map(|(_, seq)| seq).filter(|seq| *seq < first));
        for (_, seq) in after.entries {
            found.send.insert(seq, true);
        }
        Ok(read)
    }

    /// Whether the device is to get any of these.
    async fn any_due(&self, who: &Identity, topics: &[Topic], seqs: Vec<Seq>) -> Result<bool, StoreError> {
        let wanted: Vec<(Seq, bool)> = seqs.into_iter().map(|seq| (seq, false)).collect();
        for chunk in wanted.chunks(LOOK_MESSAGES) {
            if !self.due(&who.namespace, &who.device, (topics, &[]), chunk).await?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether any of these was let go because the device did not read.
    async fn any_dropped(&self, who: &Identity, seqs: Vec<Seq>) -> bool {
        for chunk in seqs.chunks(LOOK_MESSAGES) {
            let standing =
                self.ledger.standing(&who.namespace.name, who.device.ordinal, chunk.to_vec()).await;
            let is_slow = |standing: Standing| standing.dropped == Some(DropReason::SlowReader);
            if standing.into_iter().flatten().any(is_slow) {
                return true;
            }
        }
        false
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
        self.due(namespace, device, (&missed.topics, &missed.reached), wanted).await
    }

    /// The positions that are of this store.
    fn reached(&self, positions: &HashMap<&Topic, Position>) -> Vec<(Topic, u64)> {
        let epoch = self.store.epoch();
        let ours = positions.iter().filter(|(_, at)| at.epoch == epoch);
        ours.map(|(topic, at)| ((*topic).clone(), at.offset)).collect()
    }

    /// Those of `wanted` that the device is to get by its `topics`: alive, meant for it, and not acknowledged unless asked for. What went
    /// by several topics is shown by one of them, and the others' positions do not tell of it: when it is acknowledged, that one of
    /// them has `reached` it says that the client has it.
    pub(crate) async fn due(
        &self,
        namespace: &Namespace,
        device: &Device,
        (topics, reached): (&[Topic], &[(Topic, u64)]),
        wanted: &[(Seq, bool)],
    ) -> Result<Vec<(Arc<Message>, usize)>, StoreError> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let seqs: Vec<Seq> = wanted.iter().map(|(seq, _)| *seq).collect();
        let messages = self.store.messages(&namespace.name, seqs.clone()).await?;
        let standing = self.ledger.standing(&namespace.name, device.ordinal, seqs).await;
        let now = self.clock.now();
        let mut due = Vec::with_capacity(wanted.len());
        for (((_, asked), message), standing) in wanted.iter().zip(messages).zip(standing) {
            let Some(message) = message else { continue };
            let recalled = standing.is_some_and(|standing| standing.recalled);
            let acked = standing.is_some_and(|standing| standing.acked);
            let dropped = standing.and_then(|standing| standing.dropped);
            let done = acked || dropped.is_some();
            // What another message has taken the place of is given to nobody, whatever of it the topics still have.
            let asked = *asked
                && !(acked && has_reached(&message, reached))
                && dropped != Some(DropReason::Collapsed);
            let wants = message.is_live(now)
                && message.meant.contains(device.ordinal.0)
                && !recalled
                && (asked || !done);
            let topic = message.topics.iter().position(|(topic, _)| topics.contains(topic));
            if let (true, Some(topic)) = (wants, topic) {
                due.push((message, topic));
            }
        }
        Ok(due)
    }

    /// How many messages wait for a device, at most [`WAITING_MAX`].
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn waiting(&self, namespace: &Namespace, device: &Device) -> Result<usize, StoreError> {
        if device.cursor >= self.store.head(&namespace.name) {
            return Ok(0);
        }
        let topics = topics_of(device, &device.rooms);
        let mut seqs = BTreeMap::new();
        for (number, topic) in topics.iter().enumerate() {
            let since = From::After(device.cursor);
            let slice = self.store.read_topic(&namespace.name, topic, since, WAITING_MAX).await?;
            seqs.extend(slice.entries.into_iter().map(|(_, seq)| (seq, false)));
            // The newest are as good as any for counting; some of them may be the device's already.
            while seqs.len() > LOOKED_AT_WAITING {
                seqs.pop_first();
            }
            if number % LOOK_MESSAGES == LOOK_MESSAGES - 1 {
                tokio::task::yield_now().await;
            }
        }
        let wanted: Vec<(Seq, bool)> = seqs.into_iter().collect();
        let mut waiting = 0;
        for chunk in wanted.rchunks(LOOK_MESSAGES) {
            let due = self.due(namespace, device, (&topics, &[]), chunk).await?;
            waiting += due.iter().filter(|(message, _)| message.recalls.is_none()).count();
            if waiting >= WAITING_MAX {
                break;
            }
        }
        Ok(waiting.min(WAITING_MAX))
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

/// Whether a device still gets what was for these topics: it may have left the rooms, or have another user by now.
pub(crate) fn reaches(message: &Message, device: &Device) -> bool {
    message.topics.iter().any(|(topic, _)| match topic {
        Topic::Device(id) => *id == device.id,
        Topic::User(user) => device.user.as_ref() == Some(user),
        Topic::Room(room) => device.rooms.binary_search(room).is_ok(),
        Topic::All => true,
    })
}

fn topics_of(device: &Device, rooms: &[RoomName]) -> Vec<Topic> {
    let mut topics = vec![Topic::Device(device.id.clone())];
    topics.extend(device.user.clone().map(Topic::User));
    topics.extend(rooms.iter().cloned().map(Topic::Room));
    topics.push(Topic::All);
    topics
}
