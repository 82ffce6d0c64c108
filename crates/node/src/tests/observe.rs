//! Who looks on: sees what concerns it, in order, with names; nothing else; and is told of what it did not see.

use futures_util::FutureExt as _;

use super::*;
use crate::observe::{ALTOGETHER_MAX, Happened, IN_NAMESPACE_MAX, ObserveError, Observer, Sighting, Subject};

fn subjects(texts: &[&str]) -> Vec<Subject> {
    let subject = |text: &&str| match text.split_once(':').unwrap() {
        ("user", name) => Subject::User(name.parse().unwrap()),
        ("device", name) => Subject::Device(name.parse().unwrap()),
        (_, name) => Subject::Room(name.parse().unwrap()),
    };
    texts.iter().map(subject).collect()
}

/// What was seen, in a line: the time, and what there is of the rest.
fn line(happened: &Happened) -> String {
    let text = |name: &str, value: Option<String>| value.map(|value| format!(" {name}={value}"));
    let parts = [
        text("m", happened.message.as_ref().map(ToString::to_string)),
        text("u", happened.user.as_ref().map(ToString::to_string)),
        text("d", happened.device.as_ref().map(ToString::to_string)),
        text("r", happened.room.as_ref().map(ToString::to_string)),
        text("c", happened.connection.map(|number| number.to_string())),
        happened.detail.as_ref().map(|detail| format!(" ({detail})")),
    ];
    format!("{} {}{}", happened.at.0, happened.what.as_str(), parts.into_iter().flatten().collect::<String>())
}

impl World {
    async fn looks(&self, at: &[&str]) -> Observer {
        let namespace = self.node.namespace("demo").unwrap();
        self.node.observe(&namespace, &subjects(at)).await.unwrap()
    }

    /// All that has been seen so far.
    async fn seen(&self, observer: &mut Observer) -> Vec<String> {
        self.node.ledger.flush().await;
        let mut lines = Vec::new();
        // Nothing is waited for: the memory store answers at once.
        while let Some(sighting) = observer.next(&self.node).now_or_never().or_else(|| observer.behind()) {
            lines.push(match sighting {
                Sighting::Happened(happened) => line(&happened),
                Sighting::Lost(count) => format!("lost {count}"),
            });
        }
        lines
    }

    async fn named(&self, id: &str, to: Target) -> Accepted {
        self.push(Push { id: Some(MessageId::new(id).unwrap()), ..push(to) }).await
    }

    fn written(&self, accepted: &Accepted, by: &[&Identity]) {
        let by = Ordinals::from(by.iter().map(|who| who.device.ordinal.0).collect::<Vec<_>>());
        let message = Arc::clone(&accepted.message);
        assert!(self.node.happened(vec![Event::Written { message, by }]).is_empty());
    }

    fn acked(&self, accepted: &Accepted, who: &Identity) {
        let (seq, device, at) = (accepted.message.seq, who.device.ordinal, self.node.now());
        assert!(self.node.acks(vec![Ack { namespace: demo(), seq, device, at }]).is_empty());
    }
}

#[tokio::test]
async fn a_user_is_seen_to_come_to_get_a_message_and_to_go() {
    let world = World::new().await;
    let bob = world.device("b1", "bob").await;
    let mut observer = world.looks(&["user:ann"]).await;
    // A device that is registered only now.
    let ann = world.device("d1", "ann").await;
    world.node.came(&ann, 7, 0).await.unwrap();
    world.node.came(&bob, 8, 0).await.unwrap();
    world.node.join(&ann.namespace, ann.device.ordinal, rooms(&["lobby"])).await.unwrap();
    world.node.join(&ann.namespace, bob.device.ordinal, rooms(&["lobby"])).await.unwrap();
    let one = world.named("m1", room("lobby")).await;
    let two = world.named("m2", users(&["ann"])).await;
    world.named("m3", users(&["bob"])).await;
    world.written(&one, &[&ann, &bob]);
    world.node.ledger.flush().await;
    world.acked(&one, &ann);
    world.node.ledger.flush().await;
    // A receipt that overtakes the news of the write.
    world.acked(&two, &ann);
    world.node.ledger.flush().await;
    world.written(&two, &[&ann]);
    world.node.leave(&ann.namespace, ann.device.ordinal, rooms(&["lobby"])).await.unwrap();
    world.went(&ann, 7, 0, world.node.counted(&ann));
    world.went(&bob, 8, 0, world.node.counted(&bob));
    let seen = world.seen(&mut observer).await;
    assert_eq!(
        seen,
        [
            "1000 connected u=ann d=d1 c=7",
            "1000 online u=ann",
            "1000 joined u=ann d=d1 r=lobby",
            "1000 accepted m=m1",
            "1000 queued m=m1 u=ann d=d1",
            "1000 accepted m=m2",
            "1000 queued m=m2 u=ann d=d1",
            "1000 written m=m1 u=ann d=d1",
            "1000 acked m=m1 u=ann d=d1",
            "1000 written m=m2 u=ann d=d1",
            "1000 acked m=m2 u=ann d=d1",
            "1000 left u=ann d=d1 r=lobby",
            "1000 disconnected u=ann d=d1 c=7 (1001 going_away)",
            "1000 offline u=ann",
        ]
    );
}

#[tokio::test]
async fn a_room_is_seen_with_its_messages_and_a_device_by_itself() {
    let world = World::new().await;
    let (ann, bob) = (world.device("d1", "ann").await, world.device("d2", "bob").await);
    for who in [&ann, &bob] {
        world.node.join(&who.namespace, who.device.ordinal, rooms(&["lobby"])).await.unwrap();
    }
    let mut lobby = world.looks(&["room:lobby"]).await;
    let mut device = world.looks(&["device:d2", "room:none"]).await;
    // What the device was before it is looked up.
    let (ann, bob) = (world.device("d1", "ann").await, world.device("d2", "bob").await);
    world.node.came(&ann, 1, 0).await.unwrap();
    world.node.came(&bob, 2, 1).await.unwrap();
    let to_room = world.named("m1", room("lobby")).await;
    let direct = world.named("m2", users(&["bob"])).await;
    world.written(&to_room, &[&ann, &bob]);
    world.written(&direct, &[&bob]);
    let lost = Event::Unwritten {
        namespace: demo(),
        seq: to_room.message.seq,
        ordinal: bob.device.ordinal,
        why: Unwritten::ConnectionLost,
    };
    assert!(world.node.happened(vec![lost]).is_empty());
    world.node.ledger.flush().await;
    world.time.store(500_000, Ordering::Relaxed);
    world.node.ledger.expired(&demo(), vec![to_room.message.seq]).await;
    world.node.forget(&bob.namespace, bob.device.ordinal).await.unwrap();
    assert_eq!(
        world.seen(&mut lobby).await,
        [
            "1000 connected u=ann d=d1 c=1",
            "1000 online u=ann",
            "1000 connected u=bob d=d2 c=2",
            "1000 online u=bob",
            "1000 accepted m=m1 r=lobby",
            "1000 queued m=m1 u=ann d=d1 r=lobby",
            "1000 queued m=m1 u=bob d=d2 r=lobby",
            "1000 written m=m1 u=ann d=d1 r=lobby",
            "1000 written m=m1 u=bob d=d2 r=lobby",
            "1000 connection_lost m=m1 u=bob d=d2 r=lobby",
            "500000 expired m=m1 u=ann d=d1 r=lobby",
            "500000 expired m=m1 u=bob d=d2 r=lobby",
            "500000 left u=bob d=d2 r=lobby",
        ]
    );
    assert_eq!(
        world.seen(&mut device).await,
        [
            "1000 connected u=bob d=d2 c=2",
            "1000 online u=bob",
            "1000 accepted m=m1",
            "1000 queued m=m1 u=bob d=d2",
            "1000 accepted m=m2",
            "1000 queued m=m2 u=bob d=d2",
            "1000 written m=m1 u=bob d=d2",
            "1000 written m=m2 u=bob d=d2",
            "1000 connection_lost m=m1 u=bob d=d2",
            "500000 expired m=m1 u=bob d=d2",
            "500000 left u=bob d=d2 r=lobby",
        ]
    );
}

#[tokio::test]
async fn many_devices_are_a_number() {
    let world = World::new().await;
    let mut all = Vec::new();
    for number in 0..21 {
        let who = world.device(&format!("d{number}"), "ann").await;
        world.node.join(&who.namespace, who.device.ordinal, rooms(&["lobby"])).await.unwrap();
        all.push(who);
    }
    let mut lobby = world.looks(&["room:lobby"]).await;
    let accepted = world.named("m1", room("lobby")).await;
    world.written(&accepted, &all.iter().collect::<Vec<_>>());
    assert_eq!(
        world.seen(&mut lobby).await,
        [
            "1000 accepted m=m1 r=lobby",
            "1000 queued m=m1 r=lobby (21 devices)",
            "1000 written m=m1 r=lobby (21 devices)"
        ]
    );
}

#[tokio::test]
async fn a_scheduled_message_and_a_recall_are_seen() {
    let mut world = World::new().await;
    world.device("d1", "ann").await;
    let mut observer = world.looks(&["user:ann", "user:nobody"]).await;
    let later = Push {
        id: Some(MessageId::new("m1").unwrap()),
        deliver_at: Some(Timestamp(5_000)),
        ..push(users(&["ann"]))
    };
    world.push(later).await;
    let recalled = world.named("m2", users(&["ann"])).await;
    super::later::recall(&mut world, &recalled).await;
    // Nobody is meant, and somebody looks for exactly that.
    world.named("m3", users(&["nobody"])).await;
    assert_eq!(
        world.seen(&mut observer).await,
        [
            "1000 accepted m=m1",
            "1000 scheduled m=m1 (to be sent 4 s later)",
            "1000 accepted m=m2",
            "1000 queued m=m2 u=ann d=d1",
            "1000 recalled m=m2 u=ann d=d1",
            "1000 accepted m=m3",
        ]
    );
}

/// Who does not look is told how much it has missed, where it missed it.
#[tokio::test]
async fn what_does_not_fit_is_counted() {
    let world = World::new().await;
    let ann = world.device("d1", "ann").await;
    let mut observer = world.looks(&["user:ann"]).await;
    for number in 0..1_030 {
        world.node.came(&ann, number, 0).await.unwrap();
        world.went(&ann, number, 0, None);
    }
    let seen = world.seen(&mut observer).await;
    // The first one brought the user online besides.
    assert_eq!(seen.len(), 1_026);
    assert_eq!(seen.last().unwrap(), &format!("lost {}", 2_060 - 1_024));
    for number in 0..600 {
        world.node.came(&ann, number, 0).await.unwrap();
        world.went(&ann, number, 0, None);
    }
    // Some room, and something that comes then: it stands behind the gap.
    for _ in 0..64 {
        observer.next(&world.node).await;
    }
    world.named("m1", users(&["ann"])).await;
    let seen = world.seen(&mut observer).await;
    let tail = &seen[seen.len() - 3..];
    assert_eq!(tail, ["lost 176", "1000 accepted m=m1", "1000 queued m=m1 u=ann d=d1"]);
}

#[tokio::test]
async fn another_namespace_is_not_seen() {
    let world = World::new().await;
    let other = NamespaceName::new("other").unwrap();
    let settings = Settings::new("", AuthMode::Open, Timestamp(0));
    world.node.create_namespace(other.clone(), settings).await.unwrap();
    let mut observer = world.looks(&["user:ann", "device:d1", "room:lobby"]).await;
    let claim = Claim {
        device: Some(DeviceId::new("d1").unwrap()),
        user: Some(UserId::new("ann").unwrap()),
        ..Claim::default()
    };
    let ann = world.node.identify(&other, claim).await.unwrap();
    world.node.came(&ann, 1, 0).await.unwrap();
    world.node.join(&ann.namespace, ann.device.ordinal, rooms(&["lobby"])).await.unwrap();
    let accepted = world.node.publish(&other, push(room("lobby"))).await.unwrap();
    world.written(&accepted, &[&ann]);
    assert!(world.seen(&mut observer).await.is_empty());
    assert!(observer.is_of(&world.node.namespace("demo").unwrap()) && !observer.is_of(&ann.namespace));
}

#[tokio::test]
async fn so_many_look_and_no_more_and_nobody_is_held() {
    let world = World::new().await;
    let demo = world.node.namespace("demo").unwrap();
    let mut looking = Vec::new();
    for _ in 0..IN_NAMESPACE_MAX {
        looking.push(world.node.observe(&demo, &subjects(&["user:ann"])).await.unwrap());
    }
    let refused = world.node.observe(&demo, &[]).await;
    assert!(matches!(refused, Err(ObserveError::InNamespace)));
    looking.pop();
    looking.push(world.node.observe(&demo, &[]).await.unwrap());
    for number in 1..ALTOGETHER_MAX / IN_NAMESPACE_MAX {
        let name = NamespaceName::new(&format!("n{number}")).unwrap();
        let settings = Settings::new("", AuthMode::Open, Timestamp(0));
        let namespace = world.node.create_namespace(name, settings).await.unwrap();
        for _ in 0..IN_NAMESPACE_MAX {
            looking.push(world.node.observe(&namespace, &[]).await.unwrap());
        }
    }
    let name = NamespaceName::new("late").unwrap();
    let late =
        world.node.create_namespace(name, Settings::new("", AuthMode::Open, Timestamp(0))).await.unwrap();
    assert!(matches!(world.node.observe(&late, &[]).await, Err(ObserveError::Altogether)));
    drop(looking);
    assert!(world.node.observe(&late, &[]).await.is_ok());
    assert!(world.node.observers.sight(&demo.name).is_none() && !demo.sight.is_looked_at());
}
