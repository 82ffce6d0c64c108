//! From the node to the shards: which of them have somebody for a message.

use std::sync::Arc;

use tidings_hub::{Delivery, Directory, Fault};
use tidings_model::{Disconnect, NamespaceName, Network, Ordinal, RoomName, Seq, Topic};
use tokio::sync::mpsc;

use crate::connections::Live;
use crate::presence::signal::{Notice, Signal};
use crate::revoke::Revoked;

/// Most of what a shard is told that waits for it; with more, publishing waits for the shard.
pub const INBOX_TOLD: usize = 4_096;

/// Most messages that a shard, or the ledger, is told of at once.
pub(crate) const TOGETHER: usize = 16;

/// What a shard is told.
#[derive(Clone, Debug)]
pub enum ToShard {
    /// Give these messages to those they are meant for, in this order.
    Deliver(Vec<Arc<Delivery>>),
    /// A device has changed rooms: so do all of its connections.
    Rooms {
        /// Where the device belongs.
        namespace: NamespaceName,
        /// The device.
        device: Ordinal,
        /// The rooms it is in from now on.
        join: Arc<[RoomName]>,
        /// The rooms it is no longer in.
        leave: Arc<[RoomName]>,
    },
    /// A message is withdrawn from everybody to whom it has not begun to leave.
    Recall {
        /// Where the message belongs.
        namespace: NamespaceName,
        /// The message.
        seq: Seq,
        /// To be let go of once that is done, and the ledger told of it.
        done: mpsc::Sender<()>,
    },
    /// From now on these faults act on the messages of a namespace, instead of those before.
    Faults {
        /// Whose messages.
        namespace: NamespaceName,
        /// All that there are; each says when it ends.
        faults: Vec<Fault>,
    },
    /// The connections of these devices are to end, or of everybody in the namespace, a few at a time.
    SendAway {
        /// Where they belong.
        namespace: NamespaceName,
        /// Whose; `None` for everybody.
        devices: Option<Arc<[u32]>>,
        /// What they are told.
        why: Disconnect,
    },
    /// Whoever is here from these addresses is to go, a few at a time.
    Blocked {
        /// Where they belong.
        namespace: NamespaceName,
        /// Which.
        network: Network,
    },
    /// Who asks wants to know the connections of these devices.
    Connections {
        /// Where they belong.
        namespace: NamespaceName,
        /// Whose.
        devices: Arc<[u32]>,
        /// Where the answer goes.
        reply: mpsc::Sender<Vec<Live>>,
    },
    /// A connection is to end.
    End {
        /// Where it belongs.
        namespace: NamespaceName,
        /// Whose it is.
        device: Ordinal,
        /// Its number.
        connection: u64,
        /// What it is told.
        why: Disconnect,
    },
    /// Members of a room are told of another one.
    Signal(Arc<Signal>),
    /// Devices are told of what was done with them.
    Notice(Arc<Notice>),
    /// Whoever is here by one of these tokens is to go.
    Revoked {
        /// Where they belong.
        namespace: NamespaceName,
        /// Which.
        which: Arc<Revoked>,
    },
    /// A device belongs to another user now: the connections of the one before are to end.
    Replaced {
        /// Where the device belongs.
        namespace: NamespaceName,
        /// The number it had.
        device: Ordinal,
    },
}

/// The inboxes of the shards.
#[derive(Debug)]
pub(crate) struct Shards {
    inboxes: Vec<mpsc::Sender<ToShard>>,
}

impl Shards {
    pub(crate) fn new(count: usize) -> (Self, Vec<mpsc::Receiver<ToShard>>) {
        let (inboxes, receivers) = (0..count).map(|_| mpsc::channel(INBOX_TOLD)).unzip();
        (Self { inboxes }, receivers)
    }

    /// Tells the shards in `mask`, in order with everything else they are told.
    pub(crate) async fn tell(&self, mask: u64, what: ToShard) {
        for (index, inbox) in self.inboxes.iter().enumerate() {
            if mask & 1 << index != 0 {
                // A shard that is gone has no connections that could miss anything.
                let _ = inbox.send(what.clone()).await;
            }
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.inboxes.len()
    }

    /// Tells the shards in `mask` something that is not worth waiting for. Answers whether all of them have room for it.
    pub(crate) fn offer(&self, mask: u64, what: &ToShard) -> bool {
        let told = self.inboxes.iter().enumerate().filter(|(index, _)| mask & 1 << index != 0);
        told.map(|(_, inbox)| inbox.try_send(what.clone()).is_ok()).fold(true, |all, one| all & one)
    }

    /// Hands messages to the shards that may have somebody for each, in this order. Those that were accepted together
    /// arrive together: what a shard hears of at once leaves in the same writes.
    pub(crate) async fn deliver(&self, deliveries: Vec<(u64, Arc<Delivery>)>) {
        for (index, inbox) in self.inboxes.iter().enumerate() {
            let own = deliveries.iter().filter(|(shards, _)| shards & 1 << index != 0);
            let own: Vec<_> = own.map(|(_, delivery)| Arc::clone(delivery)).collect();
            for some in own.chunks(TOGETHER) {
                // A shard that is gone has no connections that could miss anything.
                let _ = inbox.send(ToShard::Deliver(some.to_vec())).await;
            }
        }
    }
}

/// The shards that may have somebody for a message, as a mask.
pub(crate) fn shards_for(directory: &Directory, delivery: &Delivery) -> u64 {
    let wide = |(topic, _): &(Topic, u64)| matches!(topic, Topic::All | Topic::Room(_));
    if delivery.message.topics.iter().any(wide) {
        return u64::MAX;
    }
    delivery.direct.iter().fold(0, |mask, devices| mask | directory.shards_of(devices))
}
