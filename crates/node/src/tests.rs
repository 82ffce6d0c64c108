//! Use cases against the in-memory store, with a clock that the tests move.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tidings_hub::shard::Ordinals;
use tidings_hub::{Event, Unwritten, WhenFull};
use tidings_model::{
    DeviceId, Disconnect, Durability, Epoch, EventName, Except, MessageId, NamespaceName, Platform, Position,
    Priority, Push, RoomName, Seq, Target, Timestamp, Topic, UserId,
};
use tidings_outbound::Provider;
use tidings_store::memory::MemoryStore;
use tidings_store::{Store, TraceStep};
use tokio::sync::mpsc;

use crate::ack::Ack;
use crate::connect::{Claim, ConnectionLimits, Identity, UserKey, Went};
use crate::ledger::report::State;
use crate::namespace::{AuthMode, Settings};
use crate::publish::{Accepted, PublishError};
use crate::resume::Since;
use crate::{Clock, Metrics, Node, Parts, ToShard};

mod alerts;
mod alone;
mod asking;
mod blocks;
mod channels;
mod escalation;
mod history;
mod jwks;
mod kept;
mod later;
mod light_push;
mod limits;
mod observe;
mod presence;
mod profile;
mod races;
mod removal;
mod simulate;
mod statistics;
mod tokens;

struct World {
    node: Arc<Node>,
    inboxes: Vec<mpsc::Receiver<ToShard>>,
    time: Arc<AtomicU64>,
}

fn demo() -> NamespaceName {
    NamespaceName::new("demo").unwrap()
}

fn rooms(names: &[&str]) -> Vec<RoomName> {
    names.iter().map(|name| RoomName::new(name).unwrap()).collect()
}

fn users(names: &[&str]) -> Target {
    Target { users: names.iter().map(|name| UserId::new(name).unwrap()).collect(), ..Target::default() }
}

fn room(name: &str) -> Target {
    Target { rooms: rooms(&[name]), ..Target::default() }
}

fn push(to: Target) -> Push {
    Push {
        to,
        except: Except::default(),
        event: EventName::new("push").unwrap(),
        data: Bytes::from_static(b"1"),
        id: None,
        fingerprint: [0; 16],
        ttl: Duration::from_secs(60),
        priority: Priority::Normal,
        durability: Durability::Durable,
        keep: true,
        collapse_key: None,
        deliver_at: None,
        escalate_after: None,
        offline: Bytes::new(),
        from: None,
        aside: Bytes::new(),
    }
}

impl World {
    async fn new() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(rules: impl FnOnce(&mut Settings)) -> Self {
        Self::start(Arc::new(MemoryStore::new(Epoch(7))), Vec::new(), rules).await
    }

    /// A node on a store that may have been another node's before.
    async fn start(
        store: Arc<dyn Store>,
        providers: Vec<Arc<dyn Provider>>,
        rules: impl FnOnce(&mut Settings),
    ) -> Self {
        let world = Self::bare(store, providers).await;
        let mut settings = Settings::new("", AuthMode::Open, Timestamp(0));
        rules(&mut settings);
        if world.node.namespace("demo").is_none() {
            world.node.create_namespace(demo(), settings).await.unwrap();
        }
        world
    }

    /// A node as the store has it.
    async fn bare(store: Arc<dyn Store>, providers: Vec<Arc<dyn Provider>>) -> Self {
        let time = Arc::new(AtomicU64::new(1_000));
        let parts = Parts {
            store,
            clock: Clock::Manual(Arc::clone(&time)),
            shards: 2,
            name: "n1".to_owned(),
            limits: ConnectionLimits::default(),
            providers,
            keep_statistics: crate::statistics::Keep::default(),
            simulations: true,
            metrics: Arc::new(Metrics::default()),
        };
        let (node, inboxes) = Node::start(parts).await.unwrap();
        Self { node, inboxes, time }
    }

    async fn device(&self, device: &str, user: &str) -> Identity {
        let claim = Claim {
            device: Some(DeviceId::new(device).unwrap()),
            user: Some(UserId::new(user).unwrap()),
            platform: Platform::Web,
            ..Claim::default()
        };
        self.node.identify(&demo(), claim).await.unwrap()
    }

    /// A connection of a device goes.
    fn went(&self, who: &Identity, connection: u64, shard: u8, user: Option<UserKey>) {
        let (device, settled, why) = (who.device.ordinal, None, Disconnect::GONE);
        self.node.went(&who.namespace, Went { device, connection, shard, user, settled, why });
    }

    async fn push(&self, push: Push) -> Accepted {
        self.node.publish(&demo(), push).await.unwrap()
    }

    /// The messages that wait for a device, as `seq@topic`, and whether nothing is missing.
    async fn missed(&self, who: &Identity, in_rooms: &[&str], since: &Since) -> (Vec<String>, bool) {
        let missed = self.node.missed(who, &rooms(in_rooms), since).await.unwrap();
        let loaded =
            self.node.load_missed(&who.namespace, &who.device, &missed, 0..missed.len()).await.unwrap();
        let shown =
            loaded.iter().map(|(message, topic)| format!("{}@{}", message.seq.0, message.topics[*topic].0));
        (shown.collect(), missed.complete)
    }

    fn delivered(&mut self, shard: usize) -> Vec<u64> {
        let mut seqs = Vec::new();
        while let Ok(told) = self.inboxes[shard].try_recv() {
            if let ToShard::Deliver(deliveries) = told {
                seqs.extend(deliveries.iter().map(|delivery| delivery.message.seq.0));
            }
        }
        seqs
    }

    /// What is on record of a message's way.
    async fn steps(&self, seq: Seq) -> Vec<TraceStep> {
        let mut records = self.node.store.receipts(&demo(), vec![seq]).await.unwrap();
        let mut steps = records.pop().flatten().unwrap_or_default().first_steps;
        steps.extend(self.node.store.steps(&demo(), seq).await.unwrap());
        steps
    }

    async fn report(&self, accepted: &Accepted) -> String {
        let namespace = self.node.namespace("demo").unwrap();
        let report = self.node.report(&namespace, &accepted.message).await;
        let total = report.total;
        let dropped: u64 = total.dropped.values().sum();
        let sum = total.acked + total.waiting + total.escalated + total.expired + dropped + total.recalled;
        assert_eq!(total.meant, sum, "the books balance");
        let of = |count: fn(&crate::ledger::report::Counts) -> u64| -> u64 {
            report.platforms.iter().map(|(_, counts)| count(counts)).sum()
        };
        let by_platform = (of(|counts| counts.meant), of(|counts| counts.written), of(|counts| counts.acked));
        assert_eq!((total.meant, total.written, total.acked), by_platform, "by platform, too");
        let text = format!(
            "meant {} written {} acked {} waiting {} expired {} dropped {:?} rate {:?}",
            total.meant,
            total.written,
            total.acked,
            total.waiting,
            total.expired,
            total.dropped,
            report.delivery_rate
        );
        if total.recalled > 0 { format!("{text} recalled {}", total.recalled) } else { text }
    }
}

#[tokio::test]
async fn a_push_goes_to_the_shards_that_have_somebody() {
    let mut world = World::new().await;
    let ann = world.device("d1", "ann").await;
    let bob = world.device("d2", "bob").await;
    world.node.came(&ann, 1, 0).await.unwrap();
    world.node.came(&bob, 2, 1).await.unwrap();
    world.node.join(&ann.namespace, bob.device.ordinal, rooms(&["lobby"])).await.unwrap();
    let to_ann = world.push(push(users(&["ann"]))).await;
    let to_room = world.push(push(room("lobby"))).await;
    assert_eq!((to_ann.online, to_room.online), (1, 1));
    assert_eq!(world.delivered(0), [1, 2], "the room may have somebody anywhere");
    assert_eq!(world.delivered(1), [2]);
    world.went(&ann, 1, 0, None);
    assert_eq!(world.push(push(users(&["ann"]))).await.online, 0);
    assert_eq!((world.delivered(0), world.delivered(1)), (vec![], vec![]));
}

#[tokio::test]
async fn the_same_push_again_is_the_same_message() {
    let mut world = World::new().await;
    let ann = world.device("d1", "ann").await;
    world.node.came(&ann, 1, 0).await.unwrap();
    let with_id = |fingerprint| Push {
        id: Some(MessageId::new("order-1").unwrap()),
        fingerprint: [fingerprint; 16],
        ..push(users(&["ann"]))
    };
    let first = world.push(with_id(1)).await;
    let again = world.push(with_id(1)).await;
    assert_eq!((first.duplicate, again.duplicate), (false, true));
    assert_eq!(first.message.seq, again.message.seq);
    assert_eq!((first.meant, first.online, again.meant, again.online), (1, 1, 1, 1));
    let other = world.node.publish(&demo(), with_id(2)).await;
    assert!(matches!(other, Err(PublishError::Conflict)), "{other:?}");
    assert_eq!((world.delivered(0), world.delivered(1)), (vec![1], vec![]), "once");
}

#[tokio::test]
async fn a_retry_waits_for_those_the_first_call_waited_for() {
    let world = World::new().await;
    let (ann, _) = (world.device("d1", "ann").await, world.device("d2", "bob").await);
    let accepted = world.push(push(users(&["ann", "bob"]))).await;
    let awaited = async |duplicate| {
        let (wait, never) = (Duration::ZERO, std::future::pending());
        let message = &accepted.message;
        let awaited =
            world.node.await_acks(&ann.namespace, message, duplicate, wait, never, 10).await.unwrap();
        (awaited.acked, awaited.waiting)
    };
    assert_eq!(awaited(false).await, (0, 0), "nobody is online");
    assert_eq!(awaited(true).await, (0, 2), "somebody may have been, before this process began");
    let by = Ordinals::One(ann.device.ordinal.0);
    world.node.happened(vec![Event::Written { message: Arc::clone(&accepted.message), by }]);
    assert_eq!(awaited(true).await, (0, 1), "it was written to one");
    world.node.ack_ids(&ann.namespace, ann.device.ordinal, vec![accepted.message.id.clone()]).await.unwrap();
    assert_eq!(awaited(true).await, (1, 0));
}

#[tokio::test]
async fn a_batch_is_answered_in_order_and_one_bad_entry_spoils_nothing() {
    let world = World::new().await;
    let large = Push { data: Bytes::from(vec![b'1'; 70_000]), ..push(users(&["ann"])) };
    let results =
        world.node.publish_batch(&demo(), [push(users(&["ann"])), large, push(users(&["ann"]))]).await;
    let seqs: Vec<_> =
        results.iter().map(|result| result.as_ref().ok().map(|one| one.message.seq.0)).collect();
    assert_eq!(seqs, [Some(1), None, Some(2)]);
    assert!(matches!(results[1], Err(PublishError::TooLarge { bytes: 70_000, limit: 65_536 })));
}

#[tokio::test]
async fn who_was_away_misses_nothing_and_gets_nothing_twice() {
    let world = World::new().await;
    let who = world.device("d1", "ann").await;
    world.node.join(&who.namespace, who.device.ordinal, rooms(&["lobby"])).await.unwrap();
    world.push(push(users(&["ann"]))).await;
    world.push(push(room("lobby"))).await;
    world.push(push(Target { all: true, ..users(&["ann"]) })).await;
    world.push(push(users(&["bob"]))).await;
    let back = world.device("d1", "ann").await;
    let all = world.missed(&back, &["lobby"], &Since::Cursor).await;
    assert_eq!(all, (vec!["1@user:ann".into(), "2@room:lobby".into(), "3@user:ann".into()], true));
    let ack = Ack { namespace: demo(), seq: Seq(2), device: back.device.ordinal, at: Timestamp(1_500) };
    assert!(world.node.acks(vec![ack]).is_empty());
    let (left, _) = world.missed(&back, &["lobby"], &Since::Cursor).await;
    assert_eq!(left, ["1@user:ann", "3@user:ann"]);
    world.time.store(100_000, Ordering::Relaxed);
    let (expired, complete) = world.missed(&back, &["lobby"], &Since::Cursor).await;
    assert!(expired.is_empty() && complete);
}

#[tokio::test]
async fn a_client_goes_on_from_where_it_says_if_that_makes_sense() {
    let world = World::new().await;
    let new = world.device("d1", "ann").await;
    assert_eq!(
        world.missed(&new, &[], &Since::Cursor).await,
        (vec![], false),
        "a new device recovers nothing"
    );
    for _ in 0..3 {
        world.push(push(users(&["ann"]))).await;
    }
    let who = world.device("d1", "ann").await;
    let at = |epoch, offset| {
        let topic = Topic::User(UserId::new("ann").unwrap());
        Since::Positions(vec![(topic, Position { epoch: Epoch(epoch), offset })])
    };
    let all = ["1@user:ann", "2@user:ann", "3@user:ann"].map(str::to_owned).to_vec();
    for (since, expected, complete) in [
        (at(7, 2), &all[2..], true),
        (at(7, 0), &all[..], true),
        (at(8, 2), &all[..], false),
        (at(7, 9), &all[..], false),
        (Since::Seq(Epoch(7), Seq(1)), &all[1..], true),
        (Since::Seq(Epoch(7), Seq(99)), &all[..], false),
        (Since::Seq(Epoch(0), Seq(0)), &all[..], false),
    ] {
        assert_eq!(world.missed(&who, &[], &since).await, (expected.to_vec(), complete), "{since:?}");
    }
}

#[tokio::test]
async fn a_long_absence_is_given_in_whole_and_in_order() {
    let world = World::new().await;
    let who = world.device("d1", "ann").await;
    let everybody =
        |platforms: &[Platform]| Target { all: true, platforms: platforms.to_vec(), ..Target::default() };
    world.push(push(everybody(&[Platform::Web]))).await;
    let many = (0..1_500).map(|_| push(everybody(&[Platform::Ios])));
    world.node.publish_batch(&demo(), many).await;
    let acked = world.push(push(everybody(&[]))).await.message.seq;
    let ack = Ack { namespace: demo(), seq: acked, device: who.device.ordinal, at: Timestamp(1_000) };
    world.node.acks(vec![ack]);
    let back = world.device("d1", "ann").await;
    assert_eq!(world.missed(&back, &[], &Since::Cursor).await, (vec!["1@all".into()], true));
    let own = (0..1_200).map(|_| push(everybody(&[])));
    world.node.publish_batch(&demo(), own).await;
    let (newest, complete) = world.missed(&back, &[], &Since::Cursor).await;
    assert_eq!((newest.len(), newest[1].as_str(), complete), (1_201, "1503@all", true));
}

#[tokio::test]
async fn what_a_client_skips_without_acknowledging_stays_in_its_mailbox() {
    let world = World::new().await;
    let who = world.device("d1", "ann").await;
    for _ in 0..3 {
        world.push(push(users(&["ann"]))).await;
    }
    let skip = Since::Seq(Epoch(7), Seq(2));
    let missed = world.node.missed(&who, &[], &skip).await.unwrap();
    assert_eq!((missed.len(), missed.settles), (1, false));
    let acks = [1, 2].map(|seq| Ack {
        namespace: demo(),
        seq: Seq(seq),
        device: who.device.ordinal,
        at: Timestamp(1_000),
    });
    world.node.acks(acks.to_vec());
    let missed = world.node.missed(&who, &[], &skip).await.unwrap();
    assert_eq!((missed.len(), missed.settles), (1, true));
}

#[tokio::test]
async fn a_device_that_changes_hands_ends_what_was_before() {
    let mut world = World::new().await;
    let ann = world.device("d1", "ann").await;
    world.node.came(&ann, 1, 0).await.unwrap();
    world.device("d1", "bob").await;
    let told = world.inboxes[0].try_recv().unwrap();
    assert!(matches!(told, ToShard::Replaced { device, .. } if device == ann.device.ordinal), "{told:?}");
    let late = world.node.join(&ann.namespace, ann.device.ordinal, rooms(&["lobby"])).await;
    assert!(matches!(late, Err(crate::join::JoinError::Gone)), "{late:?}");
    assert_eq!(world.push(push(room("lobby"))).await.message.meant.len(), 0);
}

#[tokio::test]
async fn a_device_that_changes_hands_keeps_nothing() {
    let world = World::new().await;
    let ann = world.device("d1", "ann").await;
    world.node.join(&ann.namespace, ann.device.ordinal, rooms(&["lobby"])).await.unwrap();
    let target = Target { devices: vec![DeviceId::new("d1").unwrap()], ..Target::default() };
    world.push(push(target)).await;
    let bob = world.device("d1", "bob").await;
    assert_ne!(ann.device.ordinal, bob.device.ordinal);
    assert_eq!(world.missed(&bob, &["lobby"], &Since::Cursor).await, (vec![], false));
    let after = world.push(push(room("lobby"))).await;
    assert_eq!(after.message.meant.len(), 0, "the room membership was ann's");
}

#[tokio::test]
async fn the_books_follow_a_message() {
    let world = World::new().await;
    let (ann, bob) = (world.device("d1", "ann").await, world.device("d2", "bob").await);
    let accepted = world.push(push(users(&["ann", "bob"]))).await;
    let message = Arc::clone(&accepted.message);
    let expected = "meant 2 written 0 acked 0 waiting 2 expired 0 dropped {} rate Some(0.0)";
    assert_eq!(world.report(&accepted).await, expected);
    let written = Event::Written { message, by: Ordinals::Many([0, 1].into_iter().collect()) };
    assert!(world.node.happened(vec![written]).is_empty());
    let unwritten = Event::Unwritten {
        namespace: demo(),
        seq: accepted.message.seq,
        ordinal: bob.device.ordinal,
        why: Unwritten::ConnectionLost,
    };
    assert!(world.node.happened(vec![unwritten]).is_empty());
    let ids = vec![accepted.message.id.clone(), MessageId::new("nobody-knows").unwrap()];
    let outcome = world.node.ack_ids(&ann.namespace, ann.device.ordinal, ids).await.unwrap();
    assert_eq!((outcome.acked.len(), outcome.unknown.len()), (1, 1));
    let expected = "meant 2 written 1 acked 1 waiting 1 expired 0 dropped {} rate Some(0.5)";
    assert_eq!(world.report(&accepted).await, expected);
    // Whoever has it may be forgotten, and has had it all the same.
    world.node.forget(&ann.namespace, ann.device.ordinal).await.unwrap();
    world.time.store(1_000_000, Ordering::Relaxed);
    let expected = "meant 2 written 1 acked 1 waiting 0 expired 1 dropped {} rate Some(0.5)";
    assert_eq!(world.report(&accepted).await, expected);
}

#[tokio::test]
async fn a_receipt_that_overtakes_its_delivery_is_counted_as_one_delivery() {
    let world = World::new().await;
    let ann = world.device("d1", "ann").await;
    let accepted = world.push(push(users(&["ann"]))).await;
    let ids = vec![accepted.message.id.clone()];
    world.node.ack_ids(&ann.namespace, ann.device.ordinal, ids).await.unwrap();
    let by = Ordinals::One(ann.device.ordinal.0);
    let written = Event::Written { message: Arc::clone(&accepted.message), by };
    assert!(world.node.happened(vec![written]).is_empty());
    // Looking at the books waits for what was told before.
    let expected = "meant 1 written 1 acked 1 waiting 0 expired 0 dropped {} rate Some(1.0)";
    assert_eq!(world.report(&accepted).await, expected);
    assert_eq!(world.node.metrics().deliveries.get(), 1);
}

#[tokio::test]
async fn what_was_let_go_is_in_the_books_and_does_not_come_back() {
    let world = World::with(|settings| settings.outbox.when_full = WhenFull::DropOldest).await;
    let (ann, _) = (world.device("d1", "ann").await, world.device("d2", "bob").await);
    let first = world.push(push(users(&["ann", "bob"]))).await;
    let second = world.push(push(users(&["ann"]))).await;
    let dropped =
        |seq, by| Event::Dropped { namespace: demo(), seq, why: tidings_model::DropReason::SlowReader, by };
    let all = Ordinals::Many([0, 1].into_iter().collect());
    let written = Event::Written { message: Arc::clone(&first.message), by: all.clone() };
    // A long fan-out is told of late.
    let early = dropped(first.message.seq, Ordinals::One(ann.device.ordinal.0));
    assert!(world.node.happened(vec![early, written]).is_empty());
    let expected =
        r#"meant 2 written 1 acked 0 waiting 1 expired 0 dropped {"slow_reader": 1} rate Some(0.0)"#;
    assert_eq!(world.report(&first).await, expected);
    let lines = world.node.receipts(&ann.namespace, &first.message, Some(State::Dropped), None, 9).await;
    assert_eq!(lines.unwrap().0.iter().map(|line| line.ordinal).collect::<Vec<_>>(), [ann.device.ordinal]);

    let (ann, bob) = (world.device("d1", "ann").await, world.device("d2", "bob").await);
    // It is told that something is missing, once what it has is on record; what waits for others still does.
    assert_eq!(world.missed(&ann, &[], &Since::Cursor).await, (vec!["2@user:ann".into()], false));
    assert_eq!(world.missed(&bob, &[], &Since::Cursor).await, (vec!["1@user:bob".into()], true));
    let from_start = Since::Positions(vec![(
        Topic::User(UserId::new("ann").unwrap()),
        Position { epoch: Epoch(7), offset: 0 },
    )]);
    let asked = world.missed(&ann, &[], &from_start).await.0;
    assert_eq!(asked, ["1@user:ann", "2@user:ann"], "who asks for it gets it");

    // A receipt is a receipt, and stays one.
    world.node.ack_ids(&ann.namespace, ann.device.ordinal, vec![first.message.id.clone()]).await.unwrap();
    world.node.happened(vec![dropped(first.message.seq, all)]);
    let expected =
        r#"meant 2 written 1 acked 1 waiting 0 expired 0 dropped {"slow_reader": 1} rate Some(0.5)"#;
    assert_eq!(world.report(&first).await, expected);
    world.node.settled(&ann.namespace, ann.device.ordinal, second.message.seq);
    world.node.ledger.flush().await;
    let ann = world.device("d1", "ann").await;
    assert_eq!(world.missed(&ann, &[], &Since::Cursor).await, (vec![], true));
}

#[tokio::test]
async fn what_went_by_two_topics_does_not_come_again_by_the_other_one_once_it_is_acknowledged() {
    let world = World::new().await;
    let who = world.device("d1", "ann").await;
    let to = Target { devices: vec![who.device.id.clone()], ..users(&["ann"]) };
    let accepted = world.push(push(to)).await;
    let topics: Vec<Topic> = accepted.message.topics.iter().map(|(topic, _)| topic.clone()).collect();
    assert_eq!(topics.len(), 2);
    let who = world.device("d1", "ann").await;
    // It is shown by the first of them, so this is what a client knows.
    let position = |offset| Position { epoch: Epoch(7), offset };
    let since = Since::Positions(vec![(topics[0].clone(), position(1)), (topics[1].clone(), position(0))]);
    let again = format!("1@{}", topics[0]);
    assert_eq!(
        world.missed(&who, &[], &since).await.0,
        std::slice::from_ref(&again),
        "nobody knows whether it has it"
    );
    let ids = vec![accepted.message.id.clone()];
    world.node.ack_ids(&who.namespace, who.device.ordinal, ids).await.unwrap();
    assert!(world.missed(&who, &[], &since).await.0.is_empty());
    let from_start = topics.into_iter().map(|topic| (topic, position(0))).collect();
    assert_eq!(world.missed(&who, &[], &Since::Positions(from_start)).await.0, [again], "who asks gets it");
}

#[tokio::test]
async fn however_many_leave_at_once_a_flush_writes_all_of_it() {
    let world = World::new().await;
    let mut here = Vec::new();
    for n in 0..1_100 {
        here.push(world.device(&format!("d{n}"), "ann").await);
    }
    for who in &here {
        world.node.settled(&who.namespace, who.device.ordinal, Seq(1 + u64::from(who.device.ordinal.0)));
    }
    world.node.ledger.flush().await;
    for who in here {
        let back = world.device(who.device.id.as_str(), "ann").await;
        assert_eq!(back.device.cursor, Seq(1 + u64::from(who.device.ordinal.0)));
    }
}

#[tokio::test]
async fn an_ack_for_somebody_elses_message_counts_for_nothing() {
    let world = World::new().await;
    let (_, bob) = (world.device("d1", "ann").await, world.device("d2", "bob").await);
    let accepted = world.push(push(users(&["ann"]))).await;
    let ids = vec![accepted.message.id.clone()];
    let outcome = world.node.ack_ids(&bob.namespace, bob.device.ordinal, ids).await.unwrap();
    assert_eq!((outcome.acked.len(), outcome.unknown.len()), (0, 1));
    let expected = "meant 1 written 0 acked 0 waiting 1 expired 0 dropped {} rate Some(0.0)";
    assert_eq!(world.report(&accepted).await, expected);
}

#[tokio::test]
async fn a_message_for_who_is_here_is_not_kept() {
    let world = World::new().await;
    let (ann, _) = (world.device("d1", "ann").await, world.device("d2", "bob").await);
    let now_only = Push { ttl: Duration::ZERO, ..push(Target { all: true, ..Target::default() }) };
    let accepted = world.push(now_only).await;
    let message = Arc::clone(&accepted.message);
    world.node.happened(vec![Event::Written { message, by: Ordinals::One(ann.device.ordinal.0) }]);
    let expected =
        r#"meant 2 written 1 acked 0 waiting 0 expired 1 dropped {"not_connected": 1} rate Some(0.0)"#;
    assert_eq!(world.report(&accepted).await, expected);
    let back = world.device("d2", "bob").await;
    assert_eq!(world.missed(&back, &[], &Since::Cursor).await.0, Vec::<String>::new());
}

#[tokio::test]
async fn the_books_outlive_the_memory_of_them() {
    let world = World::new().await;
    let ann = world.device("d1", "ann").await;
    let accepted = world.push(push(users(&["ann"]))).await;
    let ack = Ack {
        namespace: demo(),
        seq: accepted.message.seq,
        device: ann.device.ordinal,
        at: Timestamp(1_050),
    };
    world.node.acks(vec![ack]);
    world.node.ledger.flush().await;
    // Another node on the same store has never heard of it.
    let parts = Parts {
        providers: Vec::new(),
        store: Arc::clone(&world.node.store),
        clock: Clock::Manual(Arc::clone(&world.time)),
        shards: 1,
        name: "n2".to_owned(),
        limits: ConnectionLimits::default(),
        keep_statistics: crate::statistics::Keep::default(),
        simulations: true,
        metrics: Arc::new(Metrics::default()),
    };
    let (node, inboxes) = Node::start(parts).await.unwrap();
    let other = World { node, inboxes, time: Arc::clone(&world.time) };
    let expected = "meant 1 written 1 acked 1 waiting 0 expired 0 dropped {} rate Some(1.0)";
    assert_eq!(other.report(&accepted).await, expected);
}
