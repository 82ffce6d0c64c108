//! Simulations: what the shards are told, of whom, and when no more.

use roaring::RoaringBitmap;
use tidings_hub::{Fault, FaultOn};
use tidings_model::Step;

use super::*;
use crate::simulate::{Effect, LASTS_MAX, SimulateError, Subject, Wanted};

fn lose(on: Subject) -> Wanted {
    Wanted { on, effect: Effect::Lose, probability: 1.0, lasts: Duration::from_secs(10) }
}

/// The devices that each fault is about that a shard was told of last; `None` when it was not told anything.
fn told(world: &mut World) -> Option<Vec<Vec<u32>>> {
    let devices = |fault: &Fault| match &fault.on {
        FaultOn::Devices(devices) => devices.iter().collect(),
        FaultOn::Room(_) | FaultOn::Message(_) => Vec::new(),
    };
    let mut last = None;
    while let Ok(told) = world.inboxes[0].try_recv() {
        if let ToShard::Faults { faults, .. } = told {
            last = Some(faults.iter().map(devices).collect());
        }
    }
    last
}

#[tokio::test]
async fn a_simulation_is_about_the_devices_that_come_later_too() {
    let mut world = World::new().await;
    let ann = world.device("d1", "ann").await;
    assert_eq!(told(&mut world), None);
    let user = lose(Subject::User(UserId::new("ann").unwrap()));
    let device = lose(Subject::Device(DeviceId::new("d3").unwrap()));
    world.node.simulate(&ann.namespace, user).await.unwrap();
    let second = world.node.simulate(&ann.namespace, device).await.unwrap();
    assert_eq!(told(&mut world), Some(vec![vec![0], vec![]]));
    for (id, user, expected) in [
        ("d2", "bob", None),
        ("d1", "ann", None),
        ("d3", "ann", Some(vec![vec![0, 2], vec![2]])),
        // It is another device now, to the shards.
        ("d3", "eve", Some(vec![vec![0, 2], vec![2, 3]])),
    ] {
        world.device(id, user).await;
        assert_eq!(told(&mut world), expected, "{id} of {user}");
    }
    assert!(world.node.end_simulation(&ann.namespace, &second.id).await);
    assert!(!world.node.end_simulation(&ann.namespace, &second.id).await);
    assert_eq!(told(&mut world), Some(vec![vec![0, 2]]));
    world.time.fetch_add(10_000, Ordering::Relaxed);
    assert_eq!(world.node.simulations(&ann.namespace), []);
    world.device("d4", "ann").await;
    assert_eq!(told(&mut world), None, "it is over");
}

#[tokio::test]
async fn a_simulation_lasts_no_longer_than_it_may() {
    let world = World::new().await;
    let namespace = world.node.namespace("demo").unwrap();
    let wanted = Wanted { lasts: LASTS_MAX * 9, ..lose(Subject::Room(RoomName::new("lobby").unwrap())) };
    let begun = world.node.simulate(&namespace, wanted.clone()).await.unwrap();
    assert_eq!(begun.until.since(begun.created_at), LASTS_MAX);
    for _ in 1..100 {
        world.node.simulate(&namespace, wanted.clone()).await.unwrap();
    }
    let one_more = world.node.simulate(&namespace, wanted.clone()).await;
    assert!(matches!(one_more, Err(SimulateError::TooMany)), "{one_more:?}");
    world.time.fetch_add(LASTS_MAX.as_millis() as u64, Ordering::Relaxed);
    assert!(world.node.simulate(&namespace, wanted).await.is_ok(), "the others are over");
}

#[tokio::test]
async fn what_was_done_on_purpose_is_on_record() {
    let world = World::new().await;
    let ann = world.device("d1", "ann").await;
    let accepted = world.push(push(users(&["ann"]))).await;
    let seq = accepted.message.seq;
    let device = ann.device.ordinal;
    let befallen = Event::Befallen { namespace: demo(), seq, device, step: Step::SimulatedLoss };
    let message = Arc::clone(&accepted.message);
    let written = Event::Written { message, by: Ordinals::One(device.0) };
    world.node.happened(vec![befallen, written]);
    world.node.ledger.flush().await;
    let steps = world.steps(seq).await;
    let found = steps.iter().find(|step| step.step == Step::SimulatedLoss).unwrap();
    assert_eq!(found.by, RoaringBitmap::from_iter([device.0]));
    assert!(steps.iter().any(|step| step.step == Step::Written));
}
