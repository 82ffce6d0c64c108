//! Who gives no receipt is tried another way: by whom, how often, and what the trace says.

use std::sync::Mutex;

use tidings_model::Ordinal;
use tidings_outbound::provider::Answer;
use tidings_outbound::{Outcome, Provider, Wake};
use tidings_store::DueQueue;

use super::*;
use crate::trace::Subject;

/// A provider that remembers whom it was asked to wake.
pub(super) struct Phone {
    name: &'static str,
    platforms: &'static [Platform],
    idempotent: bool,
    answers: Outcome,
    woken: Mutex<Vec<String>>,
}

impl Phone {
    pub(super) fn new(name: &'static str, platforms: &'static [Platform], answers: Outcome) -> Arc<Self> {
        Arc::new(Self { name, platforms, idempotent: false, answers, woken: Mutex::default() })
    }

    /// Whom it was asked to wake since the last look.
    pub(super) fn woken(&self) -> Vec<String> {
        let mut woken = std::mem::take(&mut *self.woken.lock().unwrap());
        woken.sort();
        woken
    }
}

impl Provider for Phone {
    fn name(&self) -> &str {
        self.name
    }

    fn serves(&self, platform: Platform) -> bool {
        self.platforms.contains(&platform)
    }

    fn idempotent(&self) -> bool {
        self.idempotent
    }

    fn wake<'a>(&'a self, wake: &'a Wake) -> Answer<'a> {
        self.woken.lock().unwrap().push(format!("{} {}", wake.device, wake.message));
        Box::pin(async { self.answers.clone() })
    }
}

pub(super) async fn world(providers: &[&Arc<Phone>]) -> World {
    let store = Arc::new(MemoryStore::new(Epoch(7)));
    let providers = providers.iter().map(|phone| Arc::clone(phone) as Arc<dyn Provider>).collect();
    World::start(store, providers, |_| ()).await
}

pub(super) async fn device(world: &World, id: &str, user: &str, platform: Platform) -> Identity {
    let claim = Claim {
        device: Some(id.parse().unwrap()),
        user: Some(user.parse().unwrap()),
        platform,
        ..Claim::default()
    };
    world.node.identify(&demo(), claim).await.unwrap()
}

pub(super) fn numbered(id: &str, to: Target) -> Push {
    Push { id: Some(id.parse().unwrap()), ..push(to) }
}

/// Moves the clock, and deals with the deadlines that have passed by then.
pub(super) async fn later(world: &World, at: u64) {
    world.time.store(at, Ordering::Relaxed);
    world.node.deal_with_due(DueQueue::Escalate).await.unwrap();
}

/// The trace of a message: its verdict, why, and the steps.
pub(super) async fn trace(world: &World, id: &str, subject: Subject) -> String {
    let namespace = world.node.namespace("demo").unwrap();
    let message = world.node.message(&namespace, &id.parse().unwrap()).await.unwrap().unwrap();
    let trace = world.node.trace(&namespace, &message, &subject).await.unwrap();
    let steps = trace.steps.iter().map(|step| {
        let device = step.device.as_ref().map_or(String::new(), |device| format!(" {device}"));
        let detail = step.detail.as_ref().map_or(String::new(), |detail| format!(" ({detail})"));
        format!("{}{device} at {}{detail}", step.step.as_str(), step.at.0)
    });
    let steps: Vec<_> = steps.collect();
    format!("{} because {}: {}", trace.verdict.as_str(), trace.because.as_str(), steps.join(", "))
}

pub(super) fn of_device(id: &str) -> Subject {
    Subject::Device(id.parse().unwrap())
}

pub(super) const NOBODY: [&str; 0] = [];

#[tokio::test]
async fn who_gives_no_receipt_in_time_is_woken_once() {
    let phone = Phone::new("phone", &[Platform::Ios, Platform::Android], Outcome::Accepted);
    let world = world(&[&phone]).await;
    let ann = device(&world, "iphone", "ann", Platform::Ios).await;
    device(&world, "pixel", "bob", Platform::Android).await;
    let accepted = world.push(numbered("m1", users(&["ann", "bob"]))).await;
    let outcome =
        world.node.ack_ids(&ann.namespace, ann.device.ordinal, vec![accepted.message.id.clone()]).await;
    assert_eq!(outcome.unwrap().acked.len(), 1);
    later(&world, 5_999).await;
    assert_eq!(phone.woken(), NOBODY);
    later(&world, 6_000).await;
    assert_eq!(phone.woken(), ["pixel m1"]);
    later(&world, 60_000).await;
    assert_eq!(phone.woken(), NOBODY);
    let report = world.node.report(&ann.namespace, &accepted.message).await.total;
    assert_eq!((report.acked, report.escalated, report.waiting), (1, 1, 0));
    let [_, _, today] = world.node.current_statistics(&ann.namespace).await.unwrap();
    assert_eq!((today.numbers.acked, today.numbers.escalated), (1, 1));
    assert_eq!(
        trace(&world, "m1", of_device("pixel")).await,
        "escalated because provider_accepted: accepted at 1000, queued pixel at 1000, \
         escalated pixel at 6000 (phone), provider_accepted pixel at 6000"
    );
    assert_eq!(
        trace(&world, "m1", of_device("iphone")).await,
        "delivered because acked: accepted at 1000, queued iphone at 1000, acked iphone at 1000"
    );
}

#[tokio::test]
async fn a_receipt_of_one_device_spares_the_others_of_its_user() {
    let phone = Phone::new("phone", &[Platform::Ios, Platform::Web], Outcome::Accepted);
    let world = world(&[&phone]).await;
    let laptop = device(&world, "laptop", "ann", Platform::Web).await;
    device(&world, "iphone", "ann", Platform::Ios).await;
    device(&world, "other", "bob", Platform::Ios).await;
    let accepted = world.push(numbered("m1", users(&["ann", "bob"]))).await;
    let ids = vec![accepted.message.id.clone()];
    world.node.ack_ids(&laptop.namespace, laptop.device.ordinal, ids).await.unwrap();
    later(&world, 6_000).await;
    assert_eq!(phone.woken(), ["other m1"]);
}

#[tokio::test]
async fn a_receipt_of_a_device_that_was_forgotten_spares_the_others_of_its_user_too() {
    let phone = Phone::new("phone", &[Platform::Ios], Outcome::Accepted);
    let world = world(&[&phone]).await;
    let read = device(&world, "read", "ann", Platform::Ios).await;
    device(&world, "other", "ann", Platform::Ios).await;
    let accepted = world.push(numbered("m1", users(&["ann"]))).await;
    let ids = vec![accepted.message.id.clone()];
    world.node.ack_ids(&read.namespace, read.device.ordinal, ids).await.unwrap();
    assert!(world.node.forget(&read.namespace, read.device.ordinal).await.unwrap());
    later(&world, 7_000).await;
    assert_eq!(phone.woken(), NOBODY);
}

#[tokio::test]
async fn the_ladder_is_climbed_rung_by_rung() {
    let refuses = Phone::new("refuses", &[Platform::Ios], Outcome::Refused("token unknown".to_owned()));
    let first = Phone::new("first", &[Platform::Ios, Platform::Android], Outcome::Accepted);
    let second = Phone::new("second", &[Platform::Ios, Platform::Android], Outcome::Accepted);
    let world = world(&[&refuses, &first, &second]).await;
    let iphone = device(&world, "iphone", "ann", Platform::Ios).await;
    device(&world, "pixel", "bob", Platform::Android).await;
    let push =
        Push { escalate_after: Some(Duration::from_secs(2)), ..numbered("m1", users(&["ann", "bob"])) };
    let accepted = world.push(push).await;
    later(&world, 3_000).await;
    // Whom a provider does not serve, or refuses, is for the next one at once.
    assert_eq!(refuses.woken(), ["iphone m1"]);
    assert_eq!(first.woken(), ["iphone m1", "pixel m1"]);
    assert_eq!(second.woken(), NOBODY);
    let ids = vec![accepted.message.id.clone()];
    world.node.ack_ids(&iphone.namespace, iphone.device.ordinal, ids).await.unwrap();
    later(&world, 5_000).await;
    later(&world, 7_000).await;
    assert_eq!((first.woken(), second.woken()), (vec![], vec!["pixel m1".to_owned()]));
    later(&world, 50_000).await;
    assert_eq!((refuses.woken(), first.woken(), second.woken()), (vec![], vec![], vec![]));
}

#[tokio::test]
async fn nobody_is_woken_for_what_is_over() {
    let phone = Phone::new("phone", &[Platform::Ios], Outcome::Accepted);
    let mut world = world(&[&phone]).await;
    device(&world, "iphone", "ann", Platform::Ios).await;
    world.push(Push { ttl: Duration::from_secs(4), ..numbered("short", users(&["ann"])) }).await;
    world.push(Push { keep: false, ..numbered("passing", users(&["ann"])) }).await;
    let recalled = world.push(numbered("recalled", users(&["ann"]))).await;
    super::later::recall(&mut world, &recalled).await;
    later(&world, 10_000).await;
    assert_eq!(phone.woken(), NOBODY);
}

#[tokio::test]
async fn an_interrupted_attempt_is_repeated_only_where_that_is_one_attempt() {
    for (idempotent, expected) in [(false, &[][..]), (true, &["iphone m1"][..])] {
        let store = Arc::new(MemoryStore::new(Epoch(7)));
        let phone = Arc::new(Phone {
            idempotent,
            ..Arc::into_inner(Phone::new("phone", &[Platform::Ios], Outcome::Accepted)).unwrap()
        });
        let providers = || vec![Arc::clone(&phone) as Arc<dyn Provider>];
        let world = World::start(store.clone(), providers(), |_| ()).await;
        device(&world, "iphone", "ann", Platform::Ios).await;
        let accepted = world.push(numbered("m1", users(&["ann"]))).await;
        // It was about to be made, and then the server was gone.
        let claim = |entry: &mut crate::ledger::Entry, now| entry.claim(0, &[0].into_iter().collect(), now);
        let durably = Durability::Durable;
        world.node.ledger.change(&demo(), accepted.message.seq, durably, claim).await.unwrap();
        drop(world);
        let world = World::start(store, providers(), |_| ()).await;
        later(&world, 6_000).await;
        assert_eq!(phone.woken(), expected, "{idempotent}");
        assert!(
            trace(&world, "m1", of_device("iphone")).await.starts_with("escalated because provider_accepted")
        );
    }
}

#[tokio::test]
async fn whoever_has_left_the_room_is_not_woken_for_it() {
    let phone = Phone::new("phone", &[Platform::Ios], Outcome::Accepted);
    let world = world(&[&phone]).await;
    let namespace = world.node.namespace("demo").unwrap();
    for id in ["stays", "leaves"] {
        let member = device(&world, id, id, Platform::Ios).await;
        world.node.join(&namespace, member.device.ordinal, rooms(&["lobby"])).await.unwrap();
    }
    world.push(numbered("m1", room("lobby"))).await;
    let left = world.node.device(&namespace, &"leaves".parse().unwrap()).await.unwrap().unwrap();
    world.node.leave(&namespace, left.ordinal, rooms(&["lobby"])).await.unwrap();
    later(&world, 7_000).await;
    assert_eq!(phone.woken(), ["stays m1"]);
}

#[tokio::test]
async fn a_trace_knows_devices_that_are_not_known_any_more() {
    let world = world(&[]).await;
    let namespace = world.node.namespace("demo").unwrap();
    let (ann, bob) =
        (device(&world, "d1", "ann", Platform::Web).await, device(&world, "d2", "bob", Platform::Web).await);
    for (id, to) in [("alone", users(&["ann"])), ("both", users(&["ann", "bob"]))] {
        let accepted = world.push(numbered(id, to)).await;
        let ids = vec![accepted.message.id.clone()];
        world.node.ack_ids(&namespace, ann.device.ordinal, ids).await.unwrap();
    }
    assert!(world.node.forget(&namespace, ann.device.ordinal).await.unwrap());
    let gone = "for a device that is not known any more, or has another user";
    for (id, subject, expected) in [
        (
            "alone",
            Subject::User("ann".parse().unwrap()),
            format!("delivered because acked: accepted at 1000, queued at 1000 ({gone}), acked at 1000"),
        ),
        // Whose device it was that has it is not on record.
        (
            "both",
            Subject::User("ann".parse().unwrap()),
            "not_meant because not_meant: accepted at 1000, not_meant at 1000 (the user has no device)"
                .to_owned(),
        ),
        (
            "both",
            of_device(bob.device.id.as_str()),
            "waiting because queued: accepted at 1000, queued d2 at 1000".to_owned(),
        ),
    ] {
        assert_eq!(trace(&world, id, subject).await, expected, "{id}");
    }
}

#[tokio::test]
async fn a_device_that_is_gone_says_nothing_against_one_that_is_there() {
    let world = world(&[]).await;
    let namespace = world.node.namespace("demo").unwrap();
    let gone = device(&world, "gone", "ann", Platform::Web).await;
    device(&world, "there", "ann", Platform::Web).await;
    let accepted = world.push(numbered("m1", users(&["ann"]))).await;
    world.node.ledger.trimmed(&demo(), Ordinal(1), vec![accepted.message.seq]).await;
    assert!(world.node.forget(&namespace, gone.device.ordinal).await.unwrap());
    let shown = trace(&world, "m1", Subject::User("ann".parse().unwrap())).await;
    assert!(shown.starts_with("dropped because trimmed: "), "{shown}");
}

#[tokio::test]
async fn a_trace_says_why_not() {
    let phone = Phone::new("phone", &[], Outcome::Accepted);
    let world = world(&[&phone]).await;
    let namespace = world.node.namespace("demo").unwrap();
    let here = device(&world, "web", "ann", Platform::Web).await;
    let member = device(&world, "member", "cid", Platform::Ios).await;
    world.node.join(&namespace, member.device.ordinal, rooms(&["lobby"])).await.unwrap();
    let web = Target { platforms: vec![Platform::Ios], ..users(&["ann", "cid"]) };
    world.push(numbered("filtered", web)).await;
    let but = Except { users: vec!["ann".parse().unwrap()], ..Except::default() };
    world.push(Push { except: but, ..numbered("excepted", users(&["ann", "cid"])) }).await;
    world.push(numbered("in-room", room("lobby"))).await;
    world.push(Push { ttl: Duration::ZERO, ..numbered("passing", users(&["ann"])) }).await;
    world.time.store(2_000, Ordering::Relaxed);
    device(&world, "late", "ann", Platform::Web).await;
    world.node.join(&namespace, here.device.ordinal, rooms(&["lobby"])).await.unwrap();
    for (id, subject, expected) in [
        (
            "filtered",
            "web",
            "not_meant because platform_filtered: accepted at 1000, platform_filtered web at 1000 (the device is web, it was for ios)",
        ),
        (
            "excepted",
            "web",
            "not_meant because excluded: accepted at 1000, excluded web at 1000 (its user was excepted)",
        ),
        (
            "in-room",
            "web",
            "not_meant because not_meant: accepted at 1000, not_meant web at 1000 (the device was not in the room lobby when it was sent)",
        ),
        (
            "in-room",
            "late",
            "not_meant because not_meant: accepted at 1000, not_meant late at 1000 (the device is in none of the rooms that it was for)",
        ),
        (
            "passing",
            "late",
            "not_meant because not_meant: accepted at 1000, not_meant late at 1000 (the device was registered after it was sent)",
        ),
        (
            "passing",
            "web",
            "dropped because not_connected: accepted at 1000, queued web at 1000, not_connected web at 1000 (it does not wait)",
        ),
        (
            "passing",
            "nobody",
            "not_meant because not_meant: accepted at 1000, not_meant at 1000 (there is no such device)",
        ),
        ("in-room", "member", "waiting because queued: accepted at 1000, queued member at 1000"),
    ] {
        assert_eq!(trace(&world, id, of_device(subject)).await, expected, "{id} {subject}");
    }
    world.time.store(7_000, Ordering::Relaxed);
    world.node.deal_with_due(DueQueue::Escalate).await.unwrap();
    assert_eq!(
        trace(&world, "excepted", Subject::User("cid".parse().unwrap())).await,
        "waiting because undelivered: accepted at 1000, queued member at 1000, undelivered member at 7000"
    );
    world.time.store(100_000, Ordering::Relaxed);
    assert_eq!(
        trace(&world, "excepted", Subject::User("cid".parse().unwrap())).await,
        "expired because expired: accepted at 1000, queued member at 1000, undelivered member at 7000, expired member at 61000"
    );
}
