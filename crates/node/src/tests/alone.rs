//! Who is not to be disturbed is left alone, and looked at again when that is over.

use serde_json::json;
use tidings_model::Step;
use tidings_outbound::{Outcome, Provider};
use tidings_store::DueQueue;

use super::escalation::{NOBODY, Phone, device, later, numbered, of_device, trace, world};
use super::*;

const PHONES: &[Platform] = &[Platform::Ios, Platform::Android];

fn phone() -> Arc<Phone> {
    Phone::new("phone", PHONES, Outcome::Accepted)
}

/// Changes what is kept of a device.
async fn keep(world: &World, device: &str, patch: serde_json::Value) {
    let namespace = world.node.namespace("demo").unwrap();
    let id = device.parse().unwrap();
    world.node.amend(&namespace, &id, patch.as_object().unwrap()).await.unwrap();
}

async fn member(world: &World, id: &str, rooms: &[&str]) -> Identity {
    let who = device(world, id, "ann", Platform::Ios).await;
    let rooms = rooms.iter().map(|room| RoomName::new(room).unwrap()).collect();
    world.node.join(&who.namespace, who.device.ordinal, rooms).await.unwrap();
    who
}

fn until(ms: u64) -> serde_json::Value {
    json!({"until": crate::quiet::rfc3339(Timestamp(ms))})
}

fn high(push: Push) -> Push {
    Push { priority: Priority::High, ..push }
}

#[tokio::test]
async fn who_does_not_want_to_be_disturbed_is_woken_when_that_is_over() {
    let phone = phone();
    let world = world(&[&phone]).await;
    let ann = device(&world, "iphone", "ann", Platform::Ios).await;
    device(&world, "pixel", "bob", Platform::Android).await;
    keep(&world, "iphone", json!({"do_not_disturb": until(20_000)})).await;
    let accepted = world.push(numbered("m1", users(&["ann", "bob"]))).await;
    world.push(high(numbered("urgent", users(&["ann"])))).await;
    later(&world, 6_000).await;
    assert_eq!(phone.woken(), ["iphone urgent", "pixel m1"]);
    let of_ann = trace(&world, "m1", of_device("iphone")).await;
    assert_eq!(
        of_ann,
        "waiting because muted: accepted at 1000, queued iphone at 1000, \
         muted iphone at 6000 (do not disturb until 1970-01-01T00:00:20.000Z)"
    );
    // The books balance: it waits.
    let report = world.report(&accepted).await;
    assert!(report.starts_with("meant 2 written 0 acked 0 waiting 1"), "{report}");
    later(&world, 19_999).await;
    assert_eq!(phone.woken(), NOBODY);
    later(&world, 20_000).await;
    assert_eq!(phone.woken(), ["iphone m1"]);
    later(&world, 59_000).await;
    assert_eq!(phone.woken(), NOBODY);
    let report = world.node.report(&ann.namespace, &accepted.message).await.total;
    assert_eq!((report.escalated, report.waiting), (2, 0));
}

#[tokio::test]
async fn hours_of_the_night_are_kept_and_may_follow_one_another() {
    let phone = phone();
    let world = world(&[&phone]).await;
    device(&world, "iphone", "ann", Platform::Ios).await;
    // It is one second after midnight in Greenwich.
    let hours = |from, to| json!({"from": from, "to": to, "zone": "+00:00"});
    let windows = json!({"windows": [hours("22:00", "00:01"), hours("00:01", "00:02")]});
    keep(&world, "iphone", json!({"do_not_disturb": windows})).await;
    world.push(Push { ttl: Duration::from_secs(600), ..numbered("m1", users(&["ann"])) }).await;
    for (at, woken) in
        [(6_000, &NOBODY[..]), (59_999, &[]), (60_000, &[]), (119_999, &[]), (120_000, &["iphone m1"])]
    {
        later(&world, at).await;
        assert_eq!(phone.woken(), woken, "{at}");
    }
}

#[tokio::test]
async fn a_receipt_in_the_meantime_or_the_end_of_the_message_spares_it() {
    let phone = phone();
    let world = world(&[&phone]).await;
    let ann = device(&world, "iphone", "ann", Platform::Ios).await;
    keep(&world, "iphone", json!({"do_not_disturb": until(20_000)})).await;
    let acked = world.push(numbered("acked", users(&["ann"]))).await;
    let short = Push { ttl: Duration::from_secs(15), ..numbered("short", users(&["ann"])) };
    let short = world.push(short).await;
    later(&world, 6_000).await;
    let ids = vec![acked.message.id.clone()];
    world.node.ack_ids(&ann.namespace, ann.device.ordinal, ids).await.unwrap();
    later(&world, 30_000).await;
    assert_eq!(phone.woken(), NOBODY);
    assert!(trace(&world, "short", of_device("iphone")).await.starts_with("expired because expired"));
    let report = world.report(&short).await;
    assert!(report.contains("waiting 0 expired 1"), "{report}");
}

#[tokio::test]
async fn a_room_that_is_muted_wakes_nobody() {
    let phone = phone();
    let world = world(&[&phone]).await;
    member(&world, "iphone", &["lobby", "news"]).await;
    keep(&world, "iphone", json!({"muted_rooms": {"lobby": {}}})).await;
    world.push(numbered("muted", room("lobby"))).await;
    world.push(numbered("heard", room("news"))).await;
    // Who is meant otherwise, too, is not meant by the room alone.
    let both = Target { rooms: rooms(&["lobby"]), ..users(&["ann"]) };
    world.push(numbered("by-user", both)).await;
    world.push(numbered("by-two", Target { rooms: rooms(&["lobby", "news"]), ..Target::default() })).await;
    world.push(numbered("all", Target { all: true, ..room("lobby") })).await;
    world.push(high(numbered("urgent", room("lobby")))).await;
    later(&world, 6_000).await;
    assert_eq!(
        phone.woken(),
        ["iphone all", "iphone by-two", "iphone by-user", "iphone heard", "iphone urgent"]
    );
    assert_eq!(
        trace(&world, "muted", of_device("iphone")).await,
        "waiting because muted: accepted at 1000, queued iphone at 1000, \
         muted iphone at 6000 (the room lobby is muted)"
    );
    later(&world, 59_000).await;
    assert_eq!(phone.woken(), NOBODY, "it is muted for ever");
}

#[tokio::test]
async fn a_mute_that_ends_and_a_night_that_ends_later() {
    let phone = phone();
    let world = world(&[&phone]).await;
    member(&world, "iphone", &["lobby"]).await;
    let kept = json!({"muted_rooms": {"lobby": until(20_000)}, "do_not_disturb": until(30_000)});
    keep(&world, "iphone", kept).await;
    world.push(numbered("m1", room("lobby"))).await;
    later(&world, 6_000).await;
    let traced = trace(&world, "m1", of_device("iphone")).await;
    assert!(
        traced.ends_with(
            "(do not disturb until 1970-01-01T00:00:30.000Z, and the room lobby is muted until 1970-01-01T00:00:20.000Z)"
        ),
        "{traced}"
    );
    later(&world, 29_999).await;
    assert_eq!(phone.woken(), NOBODY);
    // It wants to be left alone for longer by now.
    keep(&world, "iphone", json!({"do_not_disturb": until(40_000)})).await;
    later(&world, 30_000).await;
    assert_eq!(phone.woken(), NOBODY);
    later(&world, 40_000).await;
    assert_eq!(phone.woken(), ["iphone m1"]);
}

#[tokio::test]
async fn who_is_held_is_woken_after_a_restart_and_only_once() {
    let store = Arc::new(MemoryStore::new(Epoch(7)));
    let (first, second) = (phone(), Phone::new("second", PHONES, Outcome::Accepted));
    let providers = || -> Vec<Arc<dyn Provider>> { vec![first.clone(), second.clone()] };
    let world = World::start(store.clone(), providers(), |_| ()).await;
    device(&world, "iphone", "ann", Platform::Ios).await;
    device(&world, "pixel", "bob", Platform::Android).await;
    keep(&world, "iphone", json!({"do_not_disturb": until(20_000)})).await;
    world.push(numbered("m1", users(&["ann", "bob"]))).await;
    later(&world, 6_000).await;
    assert_eq!(first.woken(), ["pixel m1"]);
    drop(world);
    let world = World::start(store, providers(), |_| ()).await;
    // The next rung is for who was tried, not for who was left alone.
    later(&world, 11_000).await;
    assert_eq!((first.woken(), second.woken()), (vec![], vec!["pixel m1".to_owned()]));
    later(&world, 20_000).await;
    assert_eq!((first.woken(), second.woken()), (vec!["iphone m1".to_owned()], vec![]));
    later(&world, 25_000).await;
    assert_eq!((first.woken(), second.woken()), (vec![], vec!["iphone m1".to_owned()]));
    later(&world, 59_000).await;
    assert_eq!((first.woken(), second.woken()), (vec![], vec![]));
}

#[tokio::test]
async fn nobody_is_told_of_who_is_left_alone_before_that_is_over() {
    // There is a provider, so that there are deadlines, and it serves nobody.
    let phone = Phone::new("phone", &[], Outcome::Accepted);
    let world = world(&[&phone]).await;
    let ann = device(&world, "web", "ann", Platform::Web).await;
    let bob = device(&world, "other", "bob", Platform::Web).await;
    keep(&world, "web", json!({"do_not_disturb": until(20_000)})).await;
    let accepted = world.push(numbered("m1", users(&["ann", "bob"]))).await;
    // How often a device was told to be undelivered.
    let told = async |who: &Identity| {
        world.node.ledger.flush().await;
        let steps = world.steps(accepted.message.seq).await;
        let undelivered = steps.iter().filter(|step| step.step == Step::Undelivered);
        undelivered.filter(|step| step.by.contains(who.device.ordinal.0)).count()
    };
    for (at, of_ann, of_bob) in [(6_000, 0, 1), (20_000, 1, 1), (59_000, 1, 1)] {
        later(&world, at).await;
        assert_eq!((told(&ann).await, told(&bob).await), (of_ann, of_bob), "{at}");
    }
    assert!(world.node.store.next_due(DueQueue::Escalate, Timestamp(0)).await.unwrap().is_none());
}
