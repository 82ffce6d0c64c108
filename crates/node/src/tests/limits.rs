//! What a namespace may have, and how often.

use tidings_model::Ordinal;

use crate::connect::{ConnectError, TooMany};
use crate::namespace::Limits;
use crate::rates::Publisher;

use super::*;

fn limits(limits: Limits) -> impl FnOnce(&mut Settings) {
    move |settings| settings.limits = limits
}

#[tokio::test]
async fn a_device_publishes_as_often_as_it_may() {
    let world = World::with(limits(Limits { publish_per_second: 2, ..Limits::default() })).await;
    let namespace = world.node.namespace("demo").unwrap();
    let may =
        |device, now| world.node.may_publish(&namespace, Publisher::Device(Ordinal(device)), Timestamp(now));
    for _ in 0..5 {
        may(1, 1_000).unwrap();
    }
    assert_eq!(may(1, 1_000).unwrap_err().as_ms(), 500);
    may(2, 1_000).expect("what one does is no matter of the others");
    assert_eq!(may(1, 1_499).unwrap_err().as_ms(), 1);
    may(1, 1_500).unwrap();
    may(1, 1_500).unwrap_err();
    let free = Settings {
        limits: Limits { publish_per_second: 0, ..Limits::default() },
        ..Settings::clone(&namespace.settings())
    };
    world.node.change_namespace(namespace.changing().await, free).await.unwrap();
    for _ in 0..100 {
        may(1, 1_500).unwrap();
    }
}

#[tokio::test]
async fn no_more_connections_come_than_a_namespace_may_have() {
    let rules = limits(Limits { connections: 3, connections_per_user: 2, ..Limits::default() });
    let world = World::with(rules).await;
    let (ann, bob) = (world.device("d1", "ann").await, world.device("d2", "bob").await);
    let phone = world.device("d3", "ann").await;
    let came = async |who: &Identity, connection| match world.node.came(who, connection, 0).await {
        Ok(_) => None,
        Err(ConnectError::TooMany(which)) => Some(which),
        Err(why) => panic!("{why}"),
    };
    assert_eq!(came(&ann, 1).await, None);
    assert_eq!(came(&phone, 2).await, None);
    assert_eq!(came(&ann, 3).await, Some(TooMany::User(2)));
    assert_eq!(came(&bob, 4).await, None);
    assert_eq!(came(&bob, 5).await, Some(TooMany::Namespace(3)));
    world.went(&ann, 1, 0, world.node.counted(&ann));
    assert_eq!(came(&bob, 6).await, None);
}

#[test]
fn of_two_limits_the_lower_one_holds() {
    let all = |server, own| {
        let limits = Limits { connections_per_user: own, ..Limits::default() };
        limits.of_connections(ConnectionLimits { per_user: server, ..ConnectionLimits::default() }).per_user
    };
    assert_eq!([all(0, 0), all(3, 0), all(0, 4), all(3, 4), all(5, 4)], [0, 3, 4, 3, 4]);
}

#[test]
fn rules_from_before_there_were_limits_are_read() {
    let kept = r#"{"auth":"open","created_at":1,"message_size":10,"rooms_per_device":20}"#;
    let settings: Settings = serde_json::from_str(kept).unwrap();
    assert_eq!(
        (settings.message_size, settings.rooms_per_device, settings.limits),
        (10, 20, Limits::default())
    );
}

#[tokio::test]
async fn a_user_publishes_no_more_with_more_devices() {
    let world = World::with(limits(Limits { publish_per_second: 2, ..Limits::default() })).await;
    let namespace = world.node.namespace("demo").unwrap();
    let (ann, bob): (UserId, UserId) = ("ann".parse().unwrap(), "bob".parse().unwrap());
    let may = |who| world.node.may_publish(&namespace, Publisher::User(who), Timestamp(1_000));
    for _ in 0..5 {
        may(&ann).unwrap();
    }
    assert_eq!(may(&ann).unwrap_err().as_ms(), 500);
    may(&bob).expect("what one does is no matter of the others");
}

#[tokio::test]
async fn a_device_asks_for_no_more_than_it_may() {
    let world = World::with(limits(Limits { requests_per_second: 10, ..Limits::default() })).await;
    let namespace = world.node.namespace("demo").unwrap();
    let may = |device, cost| world.node.may_ask(&namespace, Ordinal(device), cost);
    may(1, 999).unwrap();
    may(1, 0).unwrap();
    may(1, 1).unwrap();
    assert_eq!(may(1, 1).unwrap_err().as_ms(), 100);
    may(1, 0).expect("what costs nothing is never too much");
    may(2, 1_000).expect("what one does is no matter of the others");
}

#[tokio::test]
async fn a_limit_of_rooms_that_is_lowered_takes_nobody_out() {
    let world = World::new().await;
    let ann = world.device("d1", "ann").await;
    let join = async |names: &[&str]| {
        let joined = world.node.join(&ann.namespace, ann.device.ordinal, rooms(names)).await;
        joined.map(|rooms| rooms.len()).map_err(|why| why.to_string())
    };
    assert_eq!(join(&["r1", "r2", "r3"]).await, Ok(3));
    let settings = Settings { rooms_per_device: 2, ..Settings::clone(&ann.namespace.settings()) };
    world.node.change_namespace(ann.namespace.changing().await, settings).await.unwrap();
    assert_eq!(join(&["r1", "r2", "r3"]).await, Ok(3), "it is in them");
    assert_eq!(join(&["r4"]).await, Err("the device would be in 4 rooms, at most 2 are allowed".to_owned()));
}
