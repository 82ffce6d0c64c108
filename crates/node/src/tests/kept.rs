//! How long messages are kept, and what becomes of who comes too late.

use tidings_model::Origins;
use tidings_store::StoreError;

use super::*;
use crate::namespace::History;

const HOUR: u64 = 60 * 60 * 1_000;

/// A world whose messages are kept for an hour, and for no more bytes than this.
async fn world(bytes: u64) -> World {
    World::with(|rules| rules.history = History { keep_ms: HOUR, bytes }).await
}

async fn retain(world: &World, at: u64) -> Result<Seq, StoreError> {
    world.time.store(at, Ordering::Relaxed);
    world.node.retain().await?;
    Ok(world.node.store.trimmed(&demo()))
}

#[tokio::test]
async fn who_comes_after_the_history_was_trimmed_is_told() -> Result<(), StoreError> {
    let world = world(0).await;
    let ann = world.device("d1", "ann").await;
    let bob = world.device("d2", "bob").await;
    world.push(push(users(&["ann"]))).await;
    assert_eq!(retain(&world, HOUR + 999).await?, Seq(0));
    assert_eq!(retain(&world, HOUR + 1_000).await?, Seq(1));
    let back = Since::Cursor;
    assert_eq!(world.missed(&ann, &[], &back).await, (vec![], false));
    // Nothing of what was for bob is gone.
    let bob = Identity { new: false, ..bob };
    assert_eq!(world.missed(&bob, &[], &back).await, (vec![], true));
    // The topic goes on where it was, and ann with it.
    let next = world.push(push(users(&["ann"]))).await;
    assert_eq!(next.message.topics[0].1, 2);
    let ann = Identity { new: false, ..ann };
    assert_eq!(world.missed(&ann, &[], &back).await, (vec!["2@user:ann".to_owned()], false));
    let topic = Topic::User(UserId::new("ann").unwrap());
    for (offset, complete) in [(0, false), (1, true)] {
        let at = Position { epoch: Epoch(7), offset };
        let since = Since::Positions(vec![(topic.clone(), at)]);
        let cursor = Seq(1);
        let device = tidings_store::Device { cursor, ..ann.device.clone() };
        let who = Identity { device, ..ann.clone() };
        assert_eq!(world.missed(&who, &[], &since).await, (vec!["2@user:ann".to_owned()], complete));
    }
    Ok(())
}

#[tokio::test]
async fn a_message_is_kept_while_it_lives() -> Result<(), StoreError> {
    let world = world(0).await;
    world.device("d1", "ann").await;
    let long = Push { ttl: Duration::from_millis(3 * HOUR), ..push(users(&["ann"])) };
    world.push(long).await;
    assert_eq!(retain(&world, 3 * HOUR + 999).await?, Seq(0));
    assert_eq!(retain(&world, 3 * HOUR + 1_000).await?, Seq(1));
    assert_eq!(world.node.metrics.history_lost.get(), 0);
    Ok(())
}

#[tokio::test]
async fn too_much_goes_even_while_somebody_waits_for_it() -> Result<(), StoreError> {
    let world = world(64 << 20).await;
    let who = world.device("d1", "ann").await;
    world.device("d2", "ann").await;
    let data = Bytes::from(vec![b'1'; 4 << 20]);
    for at in 0..20 {
        world.time.store(1_000 + at, Ordering::Relaxed);
        let large = Push { data: data.clone(), ttl: Duration::from_secs(60), ..push(users(&["ann"])) };
        // What is too large for a push is put there by other means.
        let accepted = world.push(Push { data: Bytes::from_static(b"1"), ..large }).await;
        let mut again = crate::retain::scheduled_again(&accepted.message, Timestamp(1_000 + at));
        again.topics = accepted.message.topics.iter().map(|(topic, _)| topic.clone()).collect();
        again.data = data.clone();
        world.node.store.append(vec![again], Durability::Durable).await?;
    }
    world.node.ledger.flush().await;
    let trimmed = retain(&world, 2_000).await?;
    assert!(trimmed > Seq(4) && trimmed < Seq(20), "{trimmed:?}");
    let lost = world.node.metrics.history_lost.get();
    assert!(lost >= trimmed.0 / 2, "{lost} of {trimmed:?}, for two devices each");
    assert!(world.node.metrics.history_bytes.get() <= 64 << 20);
    assert!(!world.missed(&Identity { new: false, ..who }, &[], &Since::Cursor).await.1);
    Ok(())
}

#[tokio::test]
async fn what_is_scheduled_holds_nothing_up_and_is_sent_all_the_same() -> Result<(), StoreError> {
    let world = world(0).await;
    let ann = world.device("d1", "ann").await;
    let scheduled = Push {
        deliver_at: Some(Timestamp(30 * HOUR)),
        id: Some(MessageId::new("m1").unwrap()),
        fingerprint: [1; 16],
        ..push(users(&["ann"]))
    };
    world.push(scheduled.clone()).await;
    world.push(push(users(&["ann"]))).await;
    assert_eq!(retain(&world, 2 * HOUR).await?, Seq(2));
    // Under its id it is still what it was.
    let found = world.push(scheduled).await;
    assert_eq!((found.duplicate, found.message.seq), (true, Seq(3)));
    assert_eq!(retain(&world, 4 * HOUR).await?, Seq(3), "carried over again");
    world.time.store(30 * HOUR, Ordering::Relaxed);
    world.node.deal_with_due(tidings_store::DueQueue::Deliver).await?;
    world.node.deal_with_due(tidings_store::DueQueue::Deliver).await?;
    let message = world.node.message(&ann.namespace, &"m1".parse().unwrap()).await?.unwrap();
    assert_eq!((message.seq, message.topics.len()), (Seq(5), 1));
    Ok(())
}

#[tokio::test]
async fn origins_and_that_it_is_declared_are_kept_as_they_were_written() {
    let store = Arc::new(MemoryStore::new(Epoch(7)));
    let list = "https://app.example.com, https://*.example.org:8443, null";
    let rules = |settings: &mut Settings| {
        settings.origins = Origins::parse(list).unwrap();
        settings.declared = true;
    };
    let before = World::start(store.clone(), Vec::new(), rules).await;
    let before = before.node.namespace("demo").unwrap().settings();
    let world = World::start(store, Vec::new(), |_| ()).await;
    let settings = world.node.namespace("demo").unwrap().settings();
    assert_eq!(settings, before);
    assert!(settings.origins.allow("https://a.example.org:8443") && !settings.origins.allow("https://a.net"));
}

#[tokio::test]
async fn a_suspended_room_stays_so_after_a_restart() {
    let store = Arc::new(MemoryStore::new(Epoch(7)));
    let world = World::start(store.clone(), Vec::new(), |_| ()).await;
    let namespace = world.node.namespace("demo").unwrap();
    let (shut, open) = (RoomName::new("a/b").unwrap(), RoomName::new("open").unwrap());
    for (room, suspended) in [(&shut, true), (&open, true), (&open, false)] {
        world.node.suspend_room(&namespace, room, suspended).await.unwrap();
    }
    drop((world, namespace));
    let world = World::start(store, Vec::new(), |_| ()).await;
    let namespace = world.node.namespace("demo").unwrap();
    assert!(namespace.is_suspended(&shut) && !namespace.is_suspended(&open));
    let refused = world.node.publish(&demo(), push(room("a/b"))).await;
    assert!(matches!(&refused, Err(PublishError::RoomSuspended { index: 0, .. })), "{refused:?}");
    for n in 1..crate::rooms::SUSPENDED_MAX {
        let room = RoomName::new(&format!("r{n}")).unwrap();
        world.node.suspend_room(&namespace, &room, true).await.unwrap();
    }
    let more = world.node.suspend_room(&namespace, &open, true).await;
    assert!(matches!(more, Err(crate::rooms::RoomError::TooMany)), "{more:?}");
}
