//! What comes later, or instead: schedules, collapse keys, recalls, full mailboxes.

use std::task::Poll;

use tidings_store::{DueQueue, EmbeddedStore, Options, StoreError};

use super::*;
use crate::ack::AckOutcome;

/// Moves the clock, and deals with what is due by then.
pub(super) async fn later(world: &World, at: u64) {
    world.time.store(at, Ordering::Relaxed);
    for queue in DueQueue::ALL {
        world.node.deal_with_due(queue).await.unwrap();
    }
    world.node.ledger.flush().await;
}

/// Recalls a message; the shards take part.
pub(super) async fn recall(world: &mut World, accepted: &Accepted) -> (u64, u64) {
    let namespace = world.node.namespace("demo").unwrap();
    let (node, message) = (Arc::clone(&world.node), Arc::clone(&accepted.message));
    let mut recall = tokio::spawn(async move { node.recall(&namespace, &message).await });
    let [one, other] = &mut world.inboxes[..] else { panic!("two shards") };
    loop {
        tokio::select! {
            _ = one.recv() => {}
            _ = other.recv() => {}
            recalled = &mut recall => {
                let recalled = recalled.unwrap().unwrap();
                return (recalled.withdrawn, recalled.announced);
            }
        }
    }
}

async fn state(world: &World, id: &str) -> &'static str {
    let namespace = world.node.namespace("demo").unwrap();
    let message = world.node.message(&namespace, &id.parse().unwrap()).await.unwrap().unwrap();
    world.node.report(&namespace, &message).await.state.as_str()
}

#[tokio::test]
async fn a_scheduled_push_is_for_those_who_are_there_when_its_time_comes() {
    let mut world = World::new().await;
    world.device("d1", "ann").await;
    let scheduled = Push {
        deliver_at: Some(Timestamp(5_000)),
        id: Some(MessageId::new("m1").unwrap()),
        ..push(users(&["ann"]))
    };
    let accepted = world.push(scheduled.clone()).await;
    assert_eq!((accepted.meant, accepted.message.meant.len()), (1, 0));
    assert_eq!(state(&world, "m1").await, "scheduled");
    let again = world.push(scheduled).await;
    assert_eq!((again.message.seq, again.meant), (accepted.message.seq, 1));
    let second = world.device("d2", "ann").await;
    later(&world, 4_999).await;
    assert_eq!(world.missed(&second, &[], &Since::Cursor).await, (vec![], false));
    later(&world, 5_200).await;
    assert_eq!(world.missed(&second, &[], &Since::Cursor).await, (vec!["2@user:ann".to_owned()], false));
    assert_eq!((world.delivered(0), world.delivered(1)), (vec![], vec![]));
    assert_eq!(state(&world, "m1").await, "live");
    // Its life began when it was to be sent, not when it was accepted, and not when it was sent.
    later(&world, 64_999).await;
    assert_eq!(state(&world, "m1").await, "live");
    later(&world, 65_000).await;
    assert_eq!(state(&world, "m1").await, "expired");
    assert_eq!(
        world.node.store.next_due(DueQueue::Expire, Timestamp(0)).await.unwrap(),
        Some(Timestamp(70_000))
    );
}

#[tokio::test]
async fn what_was_accepted_in_time_may_be_repeated_late() {
    let world = World::new().await;
    let scheduled = |id: Option<&str>, text: &'static str| Push {
        deliver_at: Some(Timestamp(5_000)),
        id: id.map(|id| id.parse().unwrap()),
        // What tells one push from another, which the API makes.
        fingerprint: [text.len() as u8; 16],
        data: text.into(),
        ..push(users(&["ann"]))
    };
    let accepted = world.push(scheduled(Some("m1"), "1")).await;
    let outcome = async |at, push: Push| {
        world.time.store(at, Ordering::Relaxed);
        match world.node.publish(&demo(), push).await {
            Ok(accepted) => format!("{} {}", accepted.message.seq.0, accepted.duplicate),
            Err(why) => why.to_string(),
        }
    };
    let day = 24 * 60 * 60 * 1_000;
    let late = "deliver_at is 1970-01-01T00:00:05.000Z, more than 60 s in the past";
    // By then it has been sent, and has another place.
    later(&world, 5_000).await;
    assert_eq!(accepted.message.seq, Seq(1));
    let repeated = "2 true".to_owned();
    for (at, id, text, expected) in [
        (65_000, Some("m2"), "1", "3 false"),
        (65_001, Some("m3"), "1", late),
        (65_001, None, "1", late),
        (65_001, Some("m1"), "1", repeated.as_str()),
        (65_001, Some("m1"), "22", "another push was accepted with this id"),
        (day + 999, Some("m1"), "1", repeated.as_str()),
        (day + 1_000, Some("m1"), "1", late),
    ] {
        assert_eq!(outcome(at, scheduled(id, text)).await, expected, "{at} {id:?} {text}");
    }
}

#[tokio::test]
async fn a_scheduled_push_may_be_recalled() {
    let mut world = World::new().await;
    let ann = world.device("d1", "ann").await;
    let scheduled = Push {
        deliver_at: Some(Timestamp(5_000)),
        id: Some(MessageId::new("m1").unwrap()),
        ..push(users(&["ann"]))
    };
    let accepted = world.push(scheduled).await;
    assert_eq!(recall(&mut world, &accepted).await, (0, 0));
    later(&world, 6_000).await;
    assert_eq!(world.missed(&ann, &[], &Since::Cursor).await.0, [""; 0]);
    assert_eq!(state(&world, "m1").await, "recalled");
}

#[tokio::test]
async fn a_collapse_key_leaves_only_the_newest() {
    let world = World::new().await;
    let (ann, bob) = (world.device("d1", "ann").await, world.device("d2", "bob").await);
    let score = || Push { collapse_key: Some("score".parse().unwrap()), ..push(users(&["ann", "bob"])) };
    let first = world.push(score()).await;
    let outcome =
        world.node.ack_ids(&bob.namespace, bob.device.ordinal, vec![first.message.id.clone()]).await;
    assert_eq!(outcome.unwrap().acked.len(), 1);
    let second = world.push(score()).await;
    let third = world.push(score()).await;
    assert_eq!(world.missed(&ann, &[], &Since::Cursor).await, (vec!["3@user:ann".to_owned()], false));
    let expected = r#"meant 2 written 1 acked 1 waiting 0 expired 0 dropped {"collapsed": 1} rate Some(0.5)"#;
    assert_eq!(world.report(&first).await, expected);
    let expected = r#"meant 2 written 0 acked 0 waiting 0 expired 0 dropped {"collapsed": 2} rate Some(0.0)"#;
    assert_eq!(world.report(&second).await, expected);
    // Who had it after all has it.
    let outcome =
        world.node.ack_ids(&ann.namespace, ann.device.ordinal, vec![second.message.id.clone()]).await;
    assert_eq!(outcome.unwrap().acked.len(), 1);
    let expected = r#"meant 2 written 1 acked 1 waiting 0 expired 0 dropped {"collapsed": 1} rate Some(0.5)"#;
    assert_eq!(world.report(&second).await, expected);
    let expected = "meant 2 written 0 acked 0 waiting 2 expired 0 dropped {} rate Some(0.0)";
    assert_eq!(world.report(&third).await, expected);
}

#[tokio::test]
async fn a_recalled_message_leaves_mailboxes_and_is_announced_to_those_who_have_it() {
    let mut world = World::new().await;
    let (ann, bob) = (world.device("d1", "ann").await, world.device("d2", "bob").await);
    let accepted = world.push(push(users(&["ann", "bob"]))).await;
    let id = accepted.message.id.clone();
    let ack = |who: &Identity| {
        let (node, namespace, device) =
            (Arc::clone(&world.node), Arc::clone(&who.namespace), who.device.ordinal);
        let id = id.clone();
        async move {
            let AckOutcome { acked, heard, .. } = node.ack_ids(&namespace, device, vec![id]).await.unwrap();
            (acked, heard)
        }
    };
    let by_ann = ack(&ann);
    let again_by_ann = ack(&ann);
    let by_bob = ack(&bob);
    assert_eq!(by_ann.await, (vec![Seq(1)], vec![]));
    assert_eq!(recall(&mut world, &accepted).await, (1, 1));
    assert_eq!(recall(&mut world, &accepted).await, (1, 1), "again");
    let expected = "meant 2 written 1 acked 1 waiting 0 expired 0 dropped {} rate Some(0.5) recalled 1";
    assert_eq!(world.report(&accepted).await, expected);
    assert_eq!(world.missed(&bob, &[], &Since::Cursor).await.0, [""; 0]);
    let epoch = world.node.epoch();
    let everything = Since::Seq(epoch, Seq(0));
    assert_eq!(world.missed(&bob, &[], &everything).await.0, [""; 0], "not even when asked for");
    assert_eq!(world.missed(&ann, &[], &Since::Cursor).await.0, ["2@user:ann"]);
    // The announcement is acknowledged by the id of what was recalled.
    assert_eq!(again_by_ann.await, (vec![Seq(1)], vec![Seq(2)]));
    assert_eq!(world.missed(&ann, &[], &Since::Cursor).await.0, [""; 0]);
    // Whoever has it after all is in the books as having it.
    assert_eq!(by_bob.await, (vec![Seq(1)], vec![]));
    let expected = "meant 2 written 2 acked 2 waiting 0 expired 0 dropped {} rate Some(1.0)";
    assert_eq!(world.report(&accepted).await, expected);
}

#[tokio::test]
async fn two_who_recall_at_once_have_it_announced_once() {
    let mut world = World::new().await;
    let ann = world.device("d1", "ann").await;
    let accepted = world.push(push(users(&["ann"]))).await;
    let by = Ordinals::One(ann.device.ordinal.0);
    world.node.happened(vec![Event::Written { message: Arc::clone(&accepted.message), by }]);
    let (node, message) = (Arc::clone(&world.node), Arc::clone(&accepted.message));
    let namespace = Arc::clone(&ann.namespace);
    let other = tokio::spawn(async move { node.recall(&namespace, &message).await.map(|it| it.announced) });
    assert_eq!(recall(&mut world, &accepted).await, (1, 1));
    // The shards take part in the other one, too.
    while !other.is_finished() {
        world.delivered(0);
        world.delivered(1);
        tokio::task::yield_now().await;
    }
    assert_eq!(other.await.unwrap().unwrap(), 1);
    assert_eq!(world.missed(&ann, &[], &Since::Cursor).await.0, ["2@user:ann"]);
}

#[tokio::test]
async fn announcements_of_recalls_take_no_place_in_a_mailbox() {
    let mut world = World::with(|settings| settings.mailbox.messages = 2).await;
    let ann = world.device("d1", "ann").await;
    let mut accepted = Vec::new();
    for _ in 0..5 {
        accepted.push(world.push(push(users(&["ann"]))).await);
    }
    let by = || Ordinals::One(ann.device.ordinal.0);
    let written = accepted[..3].iter();
    let written = written.map(|one| Event::Written { message: Arc::clone(&one.message), by: by() });
    world.node.happened(written.collect());
    for one in &accepted[..3] {
        assert_eq!(recall(&mut world, one).await, (1, 1));
    }
    let ann = Identity { new: false, ..ann };
    let all = ["4@user:ann", "5@user:ann", "6@user:ann", "7@user:ann", "8@user:ann"];
    assert_eq!(world.missed(&ann, &[], &Since::Cursor).await, (all.map(str::to_owned).into(), true));
    // Two more messages push the two before them out, and no announcement.
    for _ in 0..2 {
        world.push(push(users(&["ann"]))).await;
    }
    let all = ["6@user:ann", "7@user:ann", "8@user:ann", "9@user:ann", "10@user:ann"];
    assert_eq!(world.missed(&ann, &[], &Since::Cursor).await, (all.map(str::to_owned).into(), false));
}

#[tokio::test]
async fn a_recall_after_the_end_withdraws_nothing() {
    let mut world = World::new().await;
    world.device("d1", "ann").await;
    let accepted = world.push(push(users(&["ann"]))).await;
    later(&world, 61_000).await;
    assert_eq!(recall(&mut world, &accepted).await, (0, 0));
    let expected = "meant 1 written 0 acked 0 waiting 0 expired 1 dropped {} rate Some(0.0)";
    assert_eq!(world.report(&accepted).await, expected);
}

#[tokio::test]
async fn a_mailbox_holds_the_newest_and_the_books_say_so() {
    let world = World::with(|settings| settings.mailbox.messages = 3).await;
    let (ann, bob) = (world.device("d1", "ann").await, world.device("d2", "bob").await);
    let mut accepted = Vec::new();
    for _ in 0..6 {
        accepted.push(world.push(push(users(&["ann", "bob"]))).await);
    }
    let outcome =
        world.node.ack_ids(&ann.namespace, ann.device.ordinal, vec![accepted[3].message.id.clone()]).await;
    assert_eq!(outcome.unwrap().acked.len(), 1);
    let comes_back = |who: &Identity| Identity { new: false, ..who.clone() };
    let seqs = |seqs: &[u64]| seqs.iter().map(|seq| format!("{seq}@user:ann")).collect::<Vec<_>>();
    assert_eq!(world.missed(&comes_back(&ann), &[], &Since::Cursor).await, (seqs(&[3, 5, 6]), false));
    // What is written off in the background has been, once the ledger has heard of the new place of the cursor.
    let place = |who: &Identity| {
        let (node, id) = (Arc::clone(&world.node), who.device.id.clone());
        let namespace = Arc::clone(&who.namespace);
        async move { node.device(&namespace, &id).await.unwrap().unwrap().cursor }
    };
    while place(&ann).await < Seq(2) {
        tokio::task::yield_now().await;
        world.node.ledger.flush().await;
    }
    for (index, expected) in [
        (0, r#"acked 0 waiting 1 expired 0 dropped {"trimmed": 1} rate Some(0.0)"#),
        (1, r#"acked 0 waiting 1 expired 0 dropped {"trimmed": 1} rate Some(0.0)"#),
        (2, "acked 0 waiting 2 expired 0 dropped {} rate Some(0.0)"),
    ] {
        assert!(world.report(&accepted[index]).await.ends_with(expected), "{index}");
    }
    let again = world.node.device(&ann.namespace, &ann.device.id).await.unwrap().unwrap();
    let ann = Identity { device: again, new: false, ..ann };
    assert_eq!(world.missed(&ann, &[], &Since::Cursor).await, (seqs(&[3, 5, 6]), true));
    let outcome =
        world.node.ack_ids(&bob.namespace, bob.device.ordinal, vec![accepted[0].message.id.clone()]).await;
    assert_eq!(outcome.unwrap().acked.len(), 1);
}

/// From the beginning of the user's topic on.
fn from_the_beginning() -> Since {
    let position = Position { epoch: Epoch(7), offset: 0 };
    Since::Positions(vec![(Topic::User("ann".parse().unwrap()), position)])
}

#[tokio::test]
async fn what_a_client_asks_for_again_takes_no_place_in_its_mailbox() {
    let world = World::with(|settings| settings.mailbox.messages = 3).await;
    let ann = world.device("d1", "ann").await;
    let namespace = world.node.namespace("demo").unwrap();
    world.node.join(&namespace, ann.device.ordinal, rooms(&["lobby"])).await.unwrap();
    for _ in 0..2 {
        world.push(push(Target { rooms: rooms(&["lobby"]), ..Target::default() })).await;
    }
    let mut acked = Vec::new();
    for _ in 0..5 {
        acked.push(world.push(push(users(&["ann"]))).await.message.id.clone());
    }
    world.node.ack_ids(&namespace, ann.device.ordinal, acked).await.unwrap();
    let ann = Identity { new: false, ..ann };
    let all = [1, 2].map(|seq| format!("{seq}@room:lobby")).into_iter();
    let all: Vec<_> = all.chain((3..=7).map(|seq| format!("{seq}@user:ann"))).collect();
    assert_eq!(world.missed(&ann, &["lobby"], &from_the_beginning()).await, (all, true));
}

#[tokio::test]
async fn what_was_collapsed_is_given_to_nobody_who_asks_for_it_again() {
    let world = World::new().await;
    let ann = world.device("d1", "ann").await;
    let keyed = |to| Push { collapse_key: Some("score".parse().unwrap()), ..push(to) };
    world.push(keyed(users(&["ann"]))).await;
    let to_device = Target { devices: vec![ann.device.id.clone()], ..Target::default() };
    let newer = world.push(keyed(to_device)).await;
    let ann = Identity { new: false, ..ann };
    for acked in [false, true] {
        if acked {
            let ids = vec![newer.message.id.clone()];
            world.node.ack_ids(&ann.namespace, ann.device.ordinal, ids).await.unwrap();
        }
        let expected = if acked { vec![] } else { vec!["2@device:d1".to_owned()] };
        assert_eq!(world.missed(&ann, &[], &from_the_beginning()).await.0, expected);
    }
}

#[tokio::test]
async fn a_namespace_limits_how_long_anything_lives() {
    let world = World::with(|settings| settings.mailbox.keep_ms = 10_000).await;
    world.device("d1", "ann").await;
    let accepted = world.push(push(users(&["ann"]))).await;
    assert_eq!(accepted.message.expires_at, Timestamp(11_000));
}

#[tokio::test]
async fn rules_change_while_a_namespace_is_in_use() -> Result<(), StoreError> {
    let world = World::new().await;
    let namespace = world.node.namespace("demo").unwrap();
    let mut settings = Settings::clone(&namespace.settings());
    settings.message_size = 3;
    world.node.change_namespace(namespace.changing().await, settings).await?;
    let refused =
        world.node.publish(&demo(), Push { data: Bytes::from_static(b"1234"), ..push(room("r")) }).await;
    assert!(matches!(refused, Err(PublishError::TooLarge { bytes: 4, limit: 3 })), "{refused:?}");
    Ok(())
}

#[tokio::test]
async fn rules_that_are_written_down_hold_even_if_nobody_waits_for_it() -> Result<(), StoreError> {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(directory.path(), Options::new(Epoch(7)))?;
    let world = World::start(Arc::new(store), Vec::new(), |_| ()).await;
    let namespace = world.node.namespace("demo").unwrap();
    let settings = Settings { message_size: 3, ..Settings::clone(&namespace.settings()) };
    begin(world.node.change_namespace(namespace.changing().await, settings.clone())).await;
    let _turn = namespace.changing().await;
    assert_eq!(*namespace.settings(), settings);
    Ok(())
}

/// Begins something, and waits for it no longer.
async fn begin(work: impl Future) {
    let mut work = Box::pin(work);
    let answered = std::future::poll_fn(|context| Poll::Ready(work.as_mut().poll(context).is_ready()));
    assert!(!answered.await, "the disk takes longer");
}

#[tokio::test]
async fn who_is_moved_is_moved_even_if_nobody_waits_for_it() -> Result<(), StoreError> {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(directory.path(), Options::new(Epoch(7)))?;
    let world = World::start(Arc::new(store), Vec::new(), |_| ()).await;
    let ann = world.device("d1", "ann").await;
    let lobby = || rooms(&["lobby"]);
    let members = || {
        let directory = ann.namespace.directory();
        directory.room(&lobby()[0]).map_or(0, roaring::RoaringBitmap::len)
    };
    let mut join = Box::pin(world.node.join(&ann.namespace, ann.device.ordinal, lobby()));
    // As far as the disk, which is what takes long.
    tokio::select! { biased; _ = &mut join => {}, () = tokio::task::yield_now() => {} }
    drop(join);
    // The next one has its turn when that one is done, and finds the same on disk and in memory.
    let on_disk = world.node.join(&ann.namespace, ann.device.ordinal, Vec::new()).await.unwrap();
    assert_eq!(members(), on_disk.len() as u64);
    begin(world.node.leave(&ann.namespace, ann.device.ordinal, lobby())).await;
    let on_disk = world.node.join(&ann.namespace, ann.device.ordinal, Vec::new()).await.unwrap();
    assert_eq!((members(), on_disk.len()), (0, 0));
    Ok(())
}
