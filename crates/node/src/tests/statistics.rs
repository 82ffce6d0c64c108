//! Statistics: what counts where, what a restart and a clock that is set back leave of it.

use tidings_model::{DropReason, Granularity, Ordinal};

use super::*;
use crate::statistics::Row;

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;

/// A row in short: what is zero is left out.
fn shown(row: &Row) -> String {
    let numbers = &row.numbers;
    let counts = [
        ("pushes", numbers.pushes),
        ("deliveries", numbers.deliveries),
        ("acked", numbers.acked),
        ("escalated", numbers.escalated),
        ("expired", numbers.expired),
        ("dropped", numbers.dropped),
        ("connections", numbers.connections),
        ("users", numbers.users),
        ("rooms", numbers.rooms),
    ];
    let named = counts.iter().filter(|(_, count)| *count > 0).map(|(name, count)| format!(" {name} {count}"));
    let rate = row.delivery_rate().map(|rate| format!(" rate {rate}"));
    format!("{}:{}{}", row.at.0, named.collect::<String>(), rate.unwrap_or_default())
}

async fn rows(world: &World, granularity: Granularity) -> Vec<String> {
    // Looking at the books waits for what was told before.
    world.node.ledger.flush().await;
    let namespace = world.node.namespace("demo").unwrap();
    let rows = world.node.statistics(&namespace, granularity, Timestamp(0), Timestamp::NEVER, 99).await;
    rows.unwrap().iter().map(shown).collect()
}

async fn current(world: &World) -> [Row; 3] {
    world.node.ledger.flush().await;
    let namespace = world.node.namespace("demo").unwrap();
    world.node.current_statistics(&namespace).await.unwrap()
}

fn written(accepted: &Accepted, by: &[u32]) -> Event {
    Event::Written {
        message: Arc::clone(&accepted.message),
        by: Ordinals::Many(by.iter().copied().collect()),
    }
}

fn ack(accepted: &Accepted, device: &Identity, at: u64) -> Ack {
    Ack { namespace: demo(), seq: accepted.message.seq, device: device.device.ordinal, at: Timestamp(at) }
}

/// Another node on the same store.
async fn restarted(world: World) -> World {
    world.node.ledger.flush().await;
    world.node.write_statistics().await;
    let parts = Parts {
        store: Arc::clone(&world.node.store),
        clock: Clock::Manual(Arc::clone(&world.time)),
        shards: 1,
        name: "n2".to_owned(),
        limits: ConnectionLimits::default(),
        keep_statistics: crate::statistics::Keep::default(),
        providers: Vec::new(),
        simulations: false,
        metrics: Arc::new(Metrics::default()),
    };
    let (node, inboxes) = Node::start(parts).await.unwrap();
    World { node, inboxes, time: world.time }
}

#[tokio::test]
async fn what_happens_counts_in_its_minute_hour_and_day() {
    let world = World::new().await;
    let (ann, bob) = (world.device("d1", "ann").await, world.device("d2", "bob").await);
    world.node.came(&ann, 1, 0).await.unwrap();
    world.node.came(&bob, 2, 0).await.unwrap();
    world.node.came(&bob, 3, 0).await.unwrap();
    world.node.join(&ann.namespace, ann.device.ordinal, super::rooms(&["lobby"])).await.unwrap();
    let first = world.push(push(users(&["ann", "bob"]))).await;
    world.node.happened(vec![written(&first, &[0, 1]), written(&first, &[0])]);
    world.node.acks(vec![ack(&first, &ann, 1_100), ack(&first, &ann, 1_200)]);
    assert_eq!(
        rows(&world, Granularity::Minute).await,
        ["0: pushes 1 deliveries 2 acked 1 connections 3 users 2 rooms 1 rate 0.5"]
    );
    // Who has gone was here.
    world.went(&bob, 2, 0, world.node.counted(&bob));
    world.went(&bob, 3, 0, world.node.counted(&bob));
    world.time.store(MINUTE + 5, Ordering::Relaxed);
    world.node.acks(vec![ack(&first, &bob, MINUTE + 5)]);
    let dropped = Event::Dropped {
        namespace: demo(),
        seq: world.push(push(users(&["ann", "bob"]))).await.message.seq,
        why: DropReason::SlowReader,
        by: Ordinals::One(0),
    };
    world.node.happened(vec![dropped]);
    assert_eq!(rows(&world, Granularity::Minute).await.len(), 2);
    super::later::later(&world, HOUR).await;
    let minutes = rows(&world, Granularity::Minute).await;
    assert_eq!(
        minutes,
        [
            "0: pushes 1 deliveries 2 acked 1 connections 3 users 2 rooms 1 rate 0.5",
            "60000: pushes 1 acked 1 dropped 1 connections 1 users 1 rooms 1",
            "3600000: expired 1 connections 1 users 1 rooms 1",
        ]
    );
    assert_eq!(
        rows(&world, Granularity::Hour).await,
        [
            "0: pushes 2 deliveries 2 acked 2 dropped 1 connections 3 users 2 rooms 1 rate 1",
            "3600000: expired 1 connections 1 users 1 rooms 1",
        ]
    );
    let [minute, hour, day] = current(&world).await;
    assert_eq!(shown(&minute), minutes[2]);
    assert_eq!((minute, hour.at), (hour.clone(), Timestamp(HOUR)));
    let all = "0: pushes 2 deliveries 2 acked 2 expired 1 dropped 1 connections 3 users 2 rooms 1 rate 1";
    assert_eq!(shown(&day), all);
    // 100 ms and a minute.
    let [p50, _, p99] = day.ack_ms().unwrap();
    assert!((90.0..110.0).contains(&p50) && (50_000.0..70_000.0).contains(&p99), "{p50} {p99}");
}

#[tokio::test]
async fn a_scheduled_push_counts_once_and_a_recall_is_none() {
    let mut world = World::new().await;
    world.device("d1", "ann").await;
    let scheduled = Push { deliver_at: Some(Timestamp(5_000)), ..push(users(&["ann"])) };
    let accepted = world.push(scheduled).await;
    super::later::later(&world, 6_000).await;
    assert_eq!(rows(&world, Granularity::Hour).await, ["0: pushes 1"]);
    let sent = world.node.message(&world.node.namespace("demo").unwrap(), &accepted.message.id).await;
    let sent = Accepted { message: sent.unwrap().unwrap(), ..accepted };
    world.node.happened(vec![written(&sent, &[0])]);
    super::later::recall(&mut world, &sent).await;
    assert_eq!(rows(&world, Granularity::Hour).await, ["0: pushes 1 deliveries 1 rate 0"]);
    // Nobody has pushed what announces it, and whoever has heard of it has given no receipt for a push.
    let announcement = world.node.store.messages(&demo(), vec![sent.message.seq.next()]).await.unwrap();
    let told = Accepted { message: announcement[0].clone().unwrap(), ..sent };
    world.node.happened(vec![written(&told, &[0])]);
    world.node.acks(vec![Ack {
        namespace: demo(),
        seq: told.message.seq,
        device: Ordinal(0),
        at: Timestamp(6_500),
    }]);
    assert_eq!(rows(&world, Granularity::Hour).await, ["0: pushes 1 deliveries 1 rate 0"]);
}

#[tokio::test]
async fn who_was_not_there_counts_when_it_was_only_for_who_was() {
    let world = World::new().await;
    world.device("d1", "ann").await;
    world.device("d2", "ann").await;
    let passing = world.push(Push { ttl: Duration::ZERO, ..push(users(&["ann"])) }).await;
    world.node.happened(vec![written(&passing, &[0])]);
    super::later::later(&world, 20_000).await;
    let rows = rows(&world, Granularity::Hour).await;
    assert_eq!(rows, ["0: pushes 1 deliveries 1 expired 1 dropped 1 rate 0"]);
}

#[tokio::test]
async fn rows_go_on_after_a_restart_and_when_the_clock_is_set_back() {
    let world = World::new().await;
    world.time.store(10 * MINUTE, Ordering::Relaxed);
    let ann = world.device("d1", "ann").await;
    world.node.came(&ann, 1, 0).await.unwrap();
    world.push(push(users(&["ann"]))).await;
    let world = restarted(world).await;
    world.push(push(users(&["ann"]))).await;
    assert_eq!(rows(&world, Granularity::Minute).await, ["600000: pushes 2 connections 1 users 1"]);
    world.time.store(11 * MINUTE, Ordering::Relaxed);
    world.push(push(users(&["ann"]))).await;
    world.time.store(10 * MINUTE, Ordering::Relaxed);
    world.push(push(users(&["ann"]))).await;
    world.time.store(9 * MINUTE, Ordering::Relaxed);
    let world = restarted(world).await;
    world.push(push(users(&["ann"]))).await;
    world.time.store(11 * MINUTE, Ordering::Relaxed);
    world.push(push(users(&["ann"]))).await;
    let minutes = ["540000: pushes 1", "600000: pushes 3 connections 1 users 1", "660000: pushes 2"];
    assert_eq!(rows(&world, Granularity::Minute).await, minutes);
    assert_eq!(rows(&world, Granularity::Day).await, ["0: pushes 6 connections 1 users 1"]);
}

#[tokio::test]
async fn rows_are_kept_as_long_as_is_said() {
    let world = World::new().await;
    let day = 24 * HOUR;
    for at in [0, MINUTE, 2 * day, 2 * day + MINUTE, 61 * day] {
        world.time.store(at, Ordering::Relaxed);
        world.push(push(users(&["ann"]))).await;
        rows(&world, Granularity::Minute).await;
    }
    for (at, expected) in [
        (2 * day, [5, 3, 3]),
        (2 * day + MINUTE, [4, 3, 3]),
        (60 * day + 1, [1, 2, 3]),
        (1_826 * day, [0, 0, 2]),
    ] {
        world.time.store(at, Ordering::Relaxed);
        world.node.clear_statistics().await.unwrap();
        let mut left = [0; 3];
        for granularity in Granularity::ALL {
            left[granularity as usize] = rows(&world, granularity).await.len();
        }
        assert_eq!(left, expected, "{at}");
    }
}
