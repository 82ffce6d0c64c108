//! Two things at once: whichever comes first, nothing is left of what neither would have left alone.

use tidings_store::DueQueue;

use super::later::recall;
use super::*;

fn named(id: &str, user: &str) -> Push {
    Push { id: Some(MessageId::new(id).unwrap()), ..push(users(&[user])) }
}

/// What is scheduled for this time is sent, some time soon.
fn send_scheduled(world: &World, at: u64) -> tokio::task::JoinHandle<()> {
    world.time.store(at, Ordering::Relaxed);
    let node = Arc::clone(&world.node);
    tokio::spawn(async move { node.deal_with_due(DueQueue::Deliver).await.unwrap() })
}

#[tokio::test]
async fn a_device_that_changes_hands_while_it_joins_is_in_no_room() {
    let world = World::new().await;
    let ann = world.device("d1", "ann").await;
    let joining = world.node.join(&ann.namespace, ann.device.ordinal, rooms(&["lobby"]));
    let (joined, bob) = tokio::join!(joining, world.device("d1", "bob"));
    assert!(matches!(joined, Err(crate::join::JoinError::Gone)), "{joined:?}");
    assert!(ann.namespace.directory().room(&rooms(&["lobby"])[0]).is_none());
    assert_eq!(world.push(push(room("lobby"))).await.meant, 0);
    // The other way round, too.
    let joining = world.node.join(&bob.namespace, bob.device.ordinal, rooms(&["lobby"]));
    let (_, joined) = tokio::join!(world.device("d1", "ann"), joining);
    assert!(matches!(joined, Err(crate::join::JoinError::Gone)), "{joined:?}");
    assert!(ann.namespace.directory().room(&rooms(&["lobby"])[0]).is_none());
}

#[tokio::test]
async fn what_is_recalled_as_it_is_sent_reaches_nobody() {
    let mut world = World::new().await;
    let ann = world.device("d1", "ann").await;
    let scheduled = Push { deliver_at: Some(Timestamp(5_000)), ..named("m1", "ann") };
    let accepted = world.push(scheduled).await;
    let sent = send_scheduled(&world, 5_000);
    recall(&mut world, &accepted).await;
    sent.await.unwrap();
    let message = world.node.message(&ann.namespace, &"m1".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(world.node.report(&ann.namespace, &message).await.state.as_str(), "recalled");
    let back = world.device("d1", "ann").await;
    assert_eq!(world.missed(&back, &[], &Since::Cursor).await.0, [""; 0]);
}

#[tokio::test]
async fn nobody_waits_for_receipts_of_what_is_recalled() {
    let mut world = World::new().await;
    let ann = world.device("d1", "ann").await;
    world.node.came(&ann, 1, 0).await.unwrap();
    let accepted = world.push(named("m1", "ann")).await;
    let (node, message) = (Arc::clone(&world.node), Arc::clone(&accepted.message));
    let namespace = Arc::clone(&ann.namespace);
    let waiting = tokio::spawn(async move {
        let (wait, never) = (Duration::from_secs(3_600), std::future::pending());
        node.await_acks(&namespace, &message, false, wait, never, 10).await.unwrap()
    });
    tokio::task::yield_now().await;
    recall(&mut world, &accepted).await;
    let awaited = tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap();
    assert_eq!((awaited.acked, awaited.waiting), (0, 1));
}

#[tokio::test]
async fn nobody_waits_for_receipts_of_what_is_over() {
    let world = World::new().await;
    let ann = world.device("d1", "ann").await;
    world.node.came(&ann, 1, 0).await.unwrap();
    let accepted = world.push(named("m1", "ann")).await;
    world.time.store(accepted.message.expires_at.0, Ordering::Relaxed);
    let (wait, never) = (Duration::from_secs(3_600), std::future::pending());
    let waiting = world.node.await_acks(&ann.namespace, &accepted.message, false, wait, never, 10);
    let awaited = tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap();
    assert_eq!((awaited.acked, awaited.waiting), (0, 1));
}

#[tokio::test]
async fn what_is_recalled_stays_recalled_when_its_place_is_taken() {
    let mut world = World::new().await;
    let ann = world.device("d1", "ann").await;
    let with_key = |id| Push { collapse_key: Some("k".parse().unwrap()), ..named(id, "ann") };
    let old = world.push(with_key("m1")).await;
    recall(&mut world, &old).await;
    world.push(with_key("m2")).await;
    let report = world.node.report(&ann.namespace, &old.message).await;
    assert_eq!((report.total.recalled, report.total.dropped.len()), (1, 0), "{:?}", report.total);
}

#[tokio::test]
async fn an_id_that_is_named_twice_is_one_receipt() {
    let world = World::new().await;
    let ann = world.device("d1", "ann").await;
    let accepted = world.push(named("m1", "ann")).await;
    let ids = vec![accepted.message.id.clone(); 2];
    let outcome = world.node.ack_ids(&ann.namespace, ann.device.ordinal, ids).await.unwrap();
    assert_eq!(outcome.acked, [accepted.message.seq]);
}
