//! A push as it is asked for, and the message that it becomes once accepted.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use roaring::RoaringBitmap;

use crate::name::{CollapseKey, DeviceId, EventName, MessageId, NamespaceName, UserId};
use crate::target::{Except, Target};
use crate::time::Timestamp;
use crate::topic::{Epoch, Position, Seq, Topic};

/// Which queue of a connection a message waits in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Leaves after everything high.
    #[default]
    Normal,
    /// Leaves before everything normal.
    High,
}

/// What must have happened before a push is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Durability {
    /// The message is on disk: it survives a power cut.
    #[default]
    Durable,
    /// The message is ordered and on its way; a crash may lose it.
    Memory,
}

/// The client that published a message. Decided when it connected; nothing that it says changes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// Its user, if it has one.
    pub user: Option<UserId>,
    /// Its device.
    pub device: DeviceId,
}

/// The command "send this to that target", checked, not yet accepted.
#[derive(Clone, Debug)]
pub struct Push {
    /// Who is meant.
    pub to: Target,
    /// Who is not.
    pub except: Except,
    /// The event that clients see.
    pub event: EventName,
    /// The payload: JSON text, passed through as written.
    pub data: Bytes,
    /// The caller's id, which makes a retry safe.
    pub id: Option<MessageId>,
    /// What the caller sent, in digest: tells a retry from another push with the same id.
    pub fingerprint: [u8; 16],
    /// How long the message lives; zero reaches only who is connected now.
    pub ttl: Duration,
    /// Which queue it waits in.
    pub priority: Priority,
    /// When it is answered.
    pub durability: Durability,
    /// Whether it waits for devices that are away.
    pub keep: bool,
    /// It replaces older messages with this key that a device has not got yet.
    pub collapse_key: Option<CollapseKey>,
    /// When it is to be delivered, if not at once. Its life begins then.
    pub deliver_at: Option<Timestamp>,
    /// How long a device may be without a receipt before another way is tried; `None`: as the namespace says.
    pub escalate_after: Option<Duration>,
    /// What other ways are to say: a JSON object, or nothing.
    pub offline: Bytes,
    /// Who published it, if that was a client.
    pub from: Option<Sender>,
    /// What an older system's call said that has no meaning here: a JSON object, or nothing. Its dialect tells it again.
    pub aside: Bytes,
}

/// A push that was accepted: it has an id, an order, and a fixed set of devices that are meant.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Where it belongs.
    pub namespace: NamespaceName,
    /// Its order among the messages of the namespace.
    pub seq: Seq,
    /// Its public id.
    pub id: MessageId,
    /// The event that clients see.
    pub event: EventName,
    /// The payload: JSON text.
    pub data: Bytes,
    /// Who was meant, as asked.
    pub to: Target,
    /// Who was not, as asked.
    pub except: Except,
    /// The topics it was appended to, in the order in which a connection looks for it, with its offset in each.
    pub topics: Vec<(Topic, u64)>,
    /// The life of the store that the offsets belong to.
    pub epoch: Epoch,
    /// The ordinals of the devices that were meant when it was accepted.
    pub meant: Arc<RoaringBitmap>,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// From when on it is no longer delivered.
    pub expires_at: Timestamp,
    /// Which queue it waits in.
    pub priority: Priority,
    /// Whether it waits for devices that are away.
    pub keep: bool,
    /// It replaces older messages with this key that a device has not got yet.
    pub collapse_key: Option<CollapseKey>,
    /// When it was to be delivered, if not at once.
    pub deliver_at: Option<Timestamp>,
    /// When it got its place in its topics: when it was accepted or, if it was scheduled, when its time had come.
    pub sent_at: Timestamp,
    /// How long a device may be without a receipt before another way is tried; `None`: none is.
    pub escalate_after: Option<Duration>,
    /// What other ways are to say: a JSON object, or nothing.
    pub offline: Bytes,
    /// The message whose recall this one announces, if that is what it is.
    pub recalls: Option<MessageId>,
    /// Who published it, if that was a client.
    pub from: Option<Sender>,
    /// What an older system's call said that has no meaning here: a JSON object, or nothing. Its dialect tells it again.
    pub aside: Bytes,
}

impl Message {
    /// Where the message stands in the `index`th of its topics.
    ///
    /// # Panics
    /// When the message has no such topic.
    #[must_use]
    pub fn position(&self, index: usize) -> Position {
        Position { epoch: self.epoch, offset: self.topics[index].1 }
    }

    /// Whether its time has not come yet: it has no place in any topic, and nobody is meant so far.
    #[must_use]
    pub fn is_scheduled(&self) -> bool {
        self.topics.is_empty()
    }

    /// Whether an older system's call asked that it be lost on its way to whoever is online: their mailboxes have it all the same.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        const LOST: &[u8] = br#""extra":"lost""#;
        self.aside.windows(LOST.len()).any(|part| part == LOST)
    }

    /// Whether it is still to be delivered at `now`.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        now < self.expires_at
    }
}

/// The Socket.IO acknowledgement id under which a message is sent: its order, folded into 31 bits
/// because some clients read a signed 32-bit integer. Every receiver gets the same one, so that the
/// frame can be shared.
#[must_use]
pub fn ack_id(seq: Seq) -> u32 {
    (seq.0 & 0x7fff_ffff) as u32
}

/// The message that an acknowledgement id means, seen from `head`, the newest message of the namespace:
/// the newest one that was sent under this id.
#[must_use]
pub fn seq_of_ack(ack_id: u32, head: Seq) -> Option<Seq> {
    let behind = (head.0.wrapping_sub(u64::from(ack_id))) & 0x7fff_ffff;
    head.0.checked_sub(behind).filter(|seq| *seq > 0).map(Seq)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_ack_id_leads_back_to_the_newest_two_billion_messages(head in 1u64..1 << 40, behind in 0u64..0x7fff_ffff) {
            prop_assume!(behind < head);
            let seq = Seq(head - behind);
            prop_assert_eq!(seq_of_ack(ack_id(seq), Seq(head)), Some(seq));
        }
    }

    #[test]
    fn an_ack_id_from_the_future_leads_nowhere() {
        assert_eq!(seq_of_ack(8, Seq(7)), None);
        assert_eq!(seq_of_ack(0, Seq(7)), None);
    }
}
