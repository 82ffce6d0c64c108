//! What runs: a node with one shard and its connections, on a clock that only moves when it is told to.
//!
//! It does what the gateway does, in the same order, without sockets: see `gateway/src/session.rs` and
//! `gateway/src/local.rs`. A connection can fall deaf: what is written to it then is lost, as it is on a network that
//! fails without a word.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidings_hub::shard::Ordinals;
use tidings_hub::{Attach, Bounds, CatchUp, Event, MemberKey, PeerKey, Policy, Shard};
use tidings_model::{
    Disconnect, Epoch, MessageId, NamespaceName, Ordinal, Platform, Push, RoomName, Seq, Timestamp,
};
use tidings_node::connect::{Claim, ConnectionLimits, Identity, Went};
use tidings_node::namespace::{AuthMode, Settings};
use tidings_node::resume::{Missed, Since};
use tidings_node::{Clock, Metrics, Node, Parts, ToShard};
use tidings_store::memory::MemoryStore;
use tidings_wire::push::{Codec, Format};
use tidings_wire::websocket::Deflater;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use crate::model::DeviceNumber;

/// How long everything that goes on by itself may take to come to rest, in the time of the runtime.
const REST: Duration = Duration::from_millis(300);

/// The only shard.
const SHARD: u8 = 0;

/// What a device is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// A message.
    Push {
        /// Its id.
        id: String,
        /// Its topic.
        topic: String,
        /// Where it stands there.
        offset: u64,
    },
    /// The news that a message was recalled.
    Recall {
        /// The id of that message.
        id: String,
    },
}

/// One connection of a device.
#[derive(Debug)]
struct Connection {
    identity: Identity,
    peer: PeerKey,
    member: MemberKey,
    number: u64,
    /// What it is still to be given before it goes live.
    missed: Option<Missed>,
    deaf: bool,
}

/// A node between two crashes.
pub struct World {
    runtime: Runtime,
    node: Arc<Node>,
    inbox: mpsc::Receiver<ToShard>,
    shard: Shard,
    store: Arc<MemoryStore>,
    clock: Arc<AtomicU64>,
    connections: BTreeMap<DeviceNumber, Connection>,
    next_connection: u64,
    given: Vec<(DeviceNumber, Given)>,
}

fn demo() -> NamespaceName {
    "demo".parse().unwrap_or_else(|_| unreachable!("it is a name"))
}

/// The name of a device.
#[must_use]
pub fn device_name(device: DeviceNumber) -> String {
    format!("d{device}")
}

impl World {
    /// The first life of a node, on an empty store.
    #[must_use]
    pub fn new(now: u64) -> Self {
        let store = Arc::new(MemoryStore::new(Epoch(7)));
        let world = Self::start(store, Arc::new(AtomicU64::new(now)));
        let settings = Settings::new("", AuthMode::Open, Timestamp(now));
        let created = world.runtime.block_on(world.node.create_namespace(demo(), settings));
        created.unwrap_or_else(|why| panic!("a namespace: {why}"));
        world
    }

    fn start(store: Arc<MemoryStore>, clock: Arc<AtomicU64>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.unwrap_or_else(|why| panic!("a runtime: {why}"));
        let parts = Parts {
            store: Arc::clone(&store) as _,
            clock: Clock::Manual(Arc::clone(&clock)),
            shards: 1,
            name: "sim".to_owned(),
            limits: ConnectionLimits::default(),
            keep_statistics: tidings_node::statistics::Keep::default(),
            simulations: false,
            providers: Vec::new(),
            metrics: Arc::new(Metrics::default()),
        };
        let started = runtime.block_on(Node::start(parts));
        let (node, mut inboxes) = started.unwrap_or_else(|why| panic!("a node: {why}"));
        let inbox = inboxes.remove(0);
        let shard = Shard::new(Bounds::default(), Deflater::new(0));
        let (connections, given) = (BTreeMap::new(), Vec::new());
        Self { runtime, node, inbox, shard, store, clock, connections, next_connection: 0, given }
    }

    /// The node is gone from one moment to the next, and another one begins where the store is.
    #[must_use]
    pub fn crash(self) -> Self {
        let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
        drop(self);
        Self::start(store, clock)
    }

    /// What time it is.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    /// Time passes, and what is due happens.
    pub fn wait(&mut self, ms: u64) {
        self.clock.fetch_add(ms, Ordering::Relaxed);
        self.rest();
    }

    /// Lets everything that goes on by itself come to rest: the ledger has written down what it knows.
    pub fn rest(&mut self) {
        // What is due is looked for once a second.
        self.runtime.block_on(async { tokio::time::sleep(Duration::from_secs(1) + REST).await });
        self.turn();
        self.runtime.block_on(async { tokio::time::sleep(REST).await });
    }

    /// What devices were given since this was last asked, in order.
    pub fn take_given(&mut self) -> Vec<(DeviceNumber, Given)> {
        std::mem::take(&mut self.given)
    }

    /// Whether a device has a connection.
    #[must_use]
    pub fn is_connected(&self, device: DeviceNumber) -> bool {
        self.connections.contains_key(&device)
    }

    /// Accepts a push. Answers whether it is new.
    pub fn push(&mut self, push: Push) -> bool {
        let accepted = self.runtime.block_on(self.node.publish(&demo(), push));
        self.turn();
        !accepted.unwrap_or_else(|why| panic!("a push: {why}")).duplicate
    }

    /// A device comes, and is told what it missed; it is given nothing yet.
    pub fn come(&mut self, device: DeviceNumber, user: usize) {
        let claim = Claim {
            device: device_name(device).parse().ok(),
            user: format!("u{user}").parse().ok(),
            platform: Platform::Web,
            ..Claim::default()
        };
        let identity = self.runtime.block_on(self.node.identify(&demo(), claim));
        let identity = identity.unwrap_or_else(|why| panic!("an identity: {why}"));
        let peer = self.shard.add_peer();
        let attach = Attach {
            peer,
            format: Format::plain(Codec::Json),
            namespace: &demo(),
            ordinal: identity.device.ordinal,
            rooms: &[],
            policy: Policy::default(),
        };
        let member = self.shard.attach(attach).unwrap_or_else(|| panic!("the peer is there"));
        self.next_connection += 1;
        let number = self.next_connection;
        let rooms = self.runtime.block_on(self.node.came(&identity, number, SHARD));
        let rooms = rooms.unwrap_or_else(|why| panic!("rooms: {why}"));
        rooms.iter().for_each(|room| self.shard.join(member, room));
        let missed = self.runtime.block_on(self.node.missed(&identity, &rooms, &Since::Cursor));
        let missed = Some(missed.unwrap_or_else(|why| panic!("a mailbox: {why}")));
        let connection = Connection { identity, peer, member, number, missed, deaf: false };
        self.connections.insert(device, connection);
    }

    /// A device that has come is given what it missed, and goes live.
    pub fn catch_up(&mut self, device: DeviceNumber) {
        let Some(connection) = self.connections.get_mut(&device) else { return };
        let Some(missed) = connection.missed.take() else { return };
        let (identity, member) = (connection.identity.clone(), connection.member);
        let load = self.node.load_missed(&identity.namespace, &identity.device, &missed, 0..missed.len());
        let messages = self.runtime.block_on(load).unwrap_or_else(|why| panic!("a mailbox: {why}"));
        let first = messages.first().map_or(missed.floor, |(first, _)| Seq(first.seq.0 - 1));
        for (message, topic) in &messages {
            self.shard.replay(member, message, *topic);
        }
        if missed.settles && missed.complete {
            self.node.settled(&identity.namespace, identity.device.ordinal, first.min(missed.floor));
        }
        let live = self.shard.go_live(member, missed.floor);
        assert_eq!(live, CatchUp::Live, "nothing here is more than is held back");
        self.turn();
    }

    /// From now on whatever is written to a device is lost.
    pub fn deafen(&mut self, device: DeviceNumber) {
        if let Some(connection) = self.connections.get_mut(&device) {
            connection.deaf = true;
        }
    }

    /// A connection ends.
    pub fn go(&mut self, device: DeviceNumber) {
        let Some(connection) = self.connections.remove(&device) else { return };
        let settled = self.shard.detach(connection.member);
        self.tell();
        let Identity { namespace, device, .. } = &connection.identity;
        let went = Went {
            device: device.ordinal,
            connection: connection.number,
            shard: SHARD,
            user: self.node.counted(&connection.identity),
            settled,
            why: Disconnect::GONE,
        };
        self.node.went(namespace, went);
        self.shard.remove_peer(connection.peer);
        self.turn();
    }

    /// A device joins or leaves a room.
    pub fn change_room(&mut self, device: DeviceNumber, room: usize, join: bool) {
        let Some(connection) = self.connections.get(&device) else { return };
        let Identity { namespace, device, .. } = &connection.identity;
        let rooms: Vec<RoomName> = format!("r{room}").parse().into_iter().collect();
        let changed = if join {
            let joined = self.runtime.block_on(self.node.join(namespace, device.ordinal, rooms));
            joined.map_err(|why| why.to_string())
        } else {
            let left = self.runtime.block_on(self.node.leave(namespace, device.ordinal, rooms));
            left.map_err(|why| why.to_string())
        };
        changed.unwrap_or_else(|why| panic!("rooms: {why}"));
        self.turn();
    }

    /// A device acknowledges messages by their ids, and is answered.
    pub fn acknowledge(&mut self, device: DeviceNumber, ids: &[String]) {
        let Some(connection) = self.connections.get(&device) else { return };
        let (namespace, ordinal) = (Arc::clone(&connection.identity.namespace), self.ordinal(device));
        let ids: Vec<MessageId> = ids.iter().filter_map(|id| id.parse().ok()).collect();
        let outcome = self.runtime.block_on(self.node.ack_ids(&namespace, ordinal, ids));
        let member = self.connections[&device].member;
        let outcome = outcome.unwrap_or_else(|why| panic!("receipts: {why}"));
        for seq in outcome.acked.into_iter().chain(outcome.heard) {
            self.shard.acknowledge(member, seq);
        }
        self.turn();
    }

    /// A device acknowledges a message by a callback, and hears nothing.
    pub fn call_back(&mut self, device: DeviceNumber, id: &str) {
        let Some(connection) = self.connections.get(&device) else { return };
        let namespace = &connection.identity.namespace;
        let Ok(id) = id.parse() else { return };
        let message = self.runtime.block_on(self.node.message(namespace, &id));
        let Ok(Some(message)) = message else { return };
        self.shard.acknowledge(connection.member, message.seq);
        let ack = tidings_node::ack::Ack {
            namespace: demo(),
            seq: message.seq,
            device: self.ordinal(device),
            at: Timestamp(self.now()),
        };
        assert!(self.node.acks(vec![ack]).is_empty(), "the ledger has room");
    }

    /// A message is recalled.
    pub fn recall(&mut self, id: &str) {
        let Some(namespace) = self.node.namespace("demo") else { return };
        let Ok(id) = id.parse() else { return };
        let found = self.runtime.block_on(self.node.message(&namespace, &id));
        let Ok(Some(message)) = found else { panic!("{id:?} is not there: {found:?}") };
        let node = Arc::clone(&self.node);
        let mut recall = std::pin::pin!(async move { node.recall(&namespace, &message).await });
        loop {
            enum Next {
                Told(Option<ToShard>),
                Done,
            }
            let next = self.runtime.block_on(async {
                tokio::select! {
                    biased;
                    told = self.inbox.recv() => Next::Told(told),
                    recalled = &mut recall => {
                        recalled.unwrap_or_else(|why| panic!("a recall: {why}"));
                        Next::Done
                    }
                }
            });
            match next {
                Next::Told(Some(told)) => self.obey(told),
                Next::Told(None) | Next::Done => break,
            }
        }
        self.turn();
    }

    /// The books of a message: acked, waiting, expired, dropped, recalled. They add up.
    #[must_use]
    pub fn report(&self, id: &str) -> Option<[u64; 5]> {
        let namespace = self.node.namespace("demo")?;
        let message = self.runtime.block_on(self.node.message(&namespace, &id.parse().ok()?)).ok()??;
        let total = self.runtime.block_on(self.node.report(&namespace, &message)).total;
        let dropped = total.dropped.values().sum();
        let sum = total.acked + total.waiting + total.escalated + total.expired + dropped + total.recalled;
        assert_eq!(total.meant, sum, "the books of {id} do not add up: {total:?}");
        Some([total.acked, total.waiting, total.expired, dropped, total.recalled])
    }

    fn ordinal(&self, device: DeviceNumber) -> Ordinal {
        self.connections[&device].identity.device.ordinal
    }

    /// The shard does what it was told, writes what it has, and tells the ledger.
    fn turn(&mut self) {
        while let Ok(told) = self.inbox.try_recv() {
            self.obey(told);
        }
        loop {
            let mut dirty = Vec::new();
            let more = self.shard.turn(&mut dirty);
            for peer in dirty {
                self.write(peer);
            }
            self.tell();
            if !more && !self.shard.has_output() {
                break;
            }
        }
    }

    fn obey(&mut self, told: ToShard) {
        match told {
            ToShard::Deliver(deliveries) => {
                deliveries.into_iter().for_each(|delivery| self.shard.deliver(delivery));
            }
            ToShard::Rooms { namespace, device, join, leave } => {
                for member in self.shard.members_of_device(&namespace, device) {
                    join.iter().for_each(|room| self.shard.join(member, room));
                    leave.iter().for_each(|room| self.shard.leave(member, room));
                }
            }
            ToShard::Recall { namespace, seq, done } => {
                self.shard.recall(&namespace, seq);
                self.tell();
                drop(done);
            }
            ToShard::Replaced { .. } => panic!("no device changes its user here"),
            ToShard::Revoked { .. } => panic!("no token is revoked here"),
            ToShard::SendAway { .. } | ToShard::Blocked { .. } => panic!("nobody is sent away here"),
            ToShard::Faults { .. } => panic!("no fault is made on purpose here"),
            ToShard::Connections { .. } | ToShard::End { .. } => panic!("nobody asks for connections here"),
            ToShard::Signal(_) | ToShard::Notice(_) => panic!("no room asks to be told here"),
        }
    }

    fn write(&mut self, peer: PeerKey) {
        self.shard.drop_expired(peer, Timestamp(self.clock.load(Ordering::Relaxed)));
        let Some((device, deaf)) = self
            .connections
            .iter()
            .find(|(_, connection)| connection.peer == peer)
            .map(|(device, connection)| (*device, connection.deaf))
        else {
            return;
        };
        while let Some(frame) = self.shard.outbox(peer).and_then(tidings_hub::Outbox::pop_frame) {
            if !deaf {
                self.given.push((device, read(frame.payload())));
            }
        }
    }

    /// What happened goes to the ledger, as in the gateway.
    fn tell(&mut self) {
        let mut events = Vec::new();
        self.shard.take_events(&mut events);
        for event in &mut events {
            if let Event::Dropped { namespace, seq, by, .. } = event {
                let all = std::mem::replace(by, Ordinals::None);
                *by = self.node.without_others(namespace, all);
                self.shard.settle_dropped(namespace, *seq, by);
            }
        }
        events.retain(|event| self.node.holds_for_device(event));
        if !events.is_empty() {
            assert!(self.node.happened(events).is_empty(), "the ledger has room");
        }
    }
}

/// What a client reads out of a frame.
fn read(payload: &[u8]) -> Given {
    let value: serde_json::Value =
        serde_json::from_slice(payload).unwrap_or_else(|why| panic!("a frame that is no JSON: {why}"));
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    match (value.get("push"), value.get("recall")) {
        (Some(push), None) => Given::Push {
            id: text(&push["id"]),
            topic: text(&push["topic"]),
            offset: push["offset"].as_u64().unwrap_or_default(),
        },
        (None, Some(recall)) => Given::Recall { id: text(&recall["id"]) },
        _ => panic!("a frame that is nothing: {value}"),
    }
}
