//! Devices, rooms, cursors, the census.
#![allow(missing_docs, reason = "each function is a sentence of the port, and its name says which")]
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "these are tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidings_model::{DeviceId, NamespaceName, Ordinal, Platform, RoomName, Seq, Timestamp};

use super::given::{append_new, by_ordinal, demo, described, device, message, name, register};
use super::messages::at_once;
use crate::port::{Census, Description, Device, Erase, Registered, Store, Which};

fn rooms(texts: &[&str]) -> Vec<RoomName> {
    texts.iter().map(|text| name(text)).collect()
}

/// The ordinal and the rooms that a device had with another user.
fn was(registered: &Registered) -> Option<(Ordinal, Vec<RoomName>)> {
    registered.replaced.clone().map(|device| (device.ordinal, device.rooms))
}

async fn change(store: &impl Store, device: Ordinal, join: &[&str], leave: &[&str]) -> Vec<RoomName> {
    store.change_rooms(&demo(), device, rooms(join), rooms(leave)).await.unwrap().unwrap_or_default()
}

pub async fn a_new_device_starts_at_the_head(store: &impl Store) {
    let first = register(store, device("d", "ann", 5)).await;
    let expected = Device {
        ordinal: first.device.ordinal,
        id: name("d"),
        user: Some(name("ann")),
        platform: Platform::Web,
        rooms: vec![],
        cursor: Seq(0),
        created_at: Timestamp(5),
        seen_at: Timestamp(5),
        profile: Arc::default(),
    };
    assert_eq!((&first.device, first.new, first.replaced), (&expected, true, None));
    assert_eq!(by_ordinal(store, expected.ordinal).await, Some(expected));
    let head = append_new(store, message("m", &["all"])).await.seq;
    let second = register(store, device("e", "", 6)).await;
    assert_eq!((second.device.cursor, second.device.user, second.new), (head, None, true));
    assert_ne!(second.device.ordinal, first.device.ordinal);
}

pub async fn a_known_device_is_recognised(store: &impl Store) {
    let first = register(store, device("d", "ann", 5)).await.device;
    change(store, first.ordinal, &["a"], &[]).await;
    append_new(store, message("m", &["all"])).await;
    let mut again = device("d", "ann", 9);
    again.platform = Platform::Ios;
    let second = register(store, again).await;
    let expected = Device { platform: Platform::Ios, seen_at: Timestamp(9), rooms: rooms(&["a"]), ..first };
    assert_eq!((&second.device, second.new, second.replaced), (&expected, false, None));
    assert_eq!(by_ordinal(store, expected.ordinal).await.as_ref(), Some(&expected));
    let census = store.census(&demo()).await.unwrap();
    assert_eq!(census.platforms[Platform::Web as usize].len(), 0);
    assert!(census.platforms[Platform::Ios as usize].contains(expected.ordinal.0));
    // A clock that goes back does not make it seen earlier.
    let mut third = device("d", "ann", 2);
    third.platform = Platform::Ios;
    assert_eq!(register(store, third).await.device, expected);
}

pub async fn what_is_kept_of_a_device_stays_with_it(store: &impl Store) {
    let head = append_new(store, message("m", &["all"])).await.seq;
    // It was never here, and has a mailbox from now on.
    let first = described("d", "ann", 5);
    let answer = store.describe(first.clone()).await.unwrap().unwrap();
    let expected = Device {
        ordinal: answer.device.ordinal,
        id: name("d"),
        user: Some(name("ann")),
        platform: Platform::Other,
        rooms: vec![],
        cursor: head,
        created_at: Timestamp(5),
        seen_at: Timestamp(5),
        profile: Arc::clone(&first.profile),
    };
    assert_eq!((&answer.device, answer.new, answer.replaced), (&expected, true, None));
    assert_eq!(by_ordinal(store, expected.ordinal).await.as_ref(), Some(&expected));
    // It comes, on another platform, and joins a room.
    let here = register(store, device("d", "ann", 9)).await;
    assert_eq!((here.new, &here.device.profile), (false, &first.profile));
    let joined = change(store, expected.ordinal, &["a"], &[]).await;
    // What is kept is replaced as a whole, and nothing else changes; it was not here for that.
    let second = Description { now: Timestamp(50), ..described("d", "ann", 8) };
    let answer = store.describe(second.clone()).await.unwrap().unwrap();
    let expected = Device {
        platform: Platform::Web,
        rooms: joined,
        seen_at: Timestamp(9),
        profile: second.profile,
        ..expected
    };
    assert_eq!((&answer.device, answer.new, answer.replaced), (&expected, false, None));
    assert_eq!(by_ordinal(store, expected.ordinal).await.as_ref(), Some(&expected));
    let ios = Description { platform: Some(Platform::Ios), profile: Arc::default(), ..second_of("ann") };
    let answer = store.describe(ios).await.unwrap().unwrap().device;
    assert_eq!((answer.platform, answer.profile.is_empty()), (Platform::Ios, true));
    assert!(
        store.census(&demo()).await.unwrap().platforms[Platform::Ios as usize].contains(answer.ordinal.0)
    );
}

fn second_of(user: &str) -> Description {
    described("d", user, 8)
}

pub async fn what_is_kept_is_its_users(store: &impl Store) {
    let ann = store.describe(described("d", "ann", 5)).await.unwrap().unwrap().device;
    change(store, ann.ordinal, &["b", "a"], &[]).await;
    // Only if it is who it was.
    let nobody = Description { only: Some(Ordinal(99)), ..described("d", "ann", 6) };
    assert_eq!(store.describe(nobody).await.unwrap(), None);
    let unknown = Description { only: Some(ann.ordinal), ..described("e", "ann", 6) };
    assert_eq!(store.describe(unknown).await.unwrap(), None);
    assert_eq!(store.devices(&demo(), Which::Ids(vec![name("e")])).await.unwrap(), [None]);
    // Another user's device is another device.
    let bob = Description { only: Some(ann.ordinal), ..second_of("bob") };
    let answer = store.describe(bob.clone()).await.unwrap().unwrap();
    assert_eq!((answer.new, was(&answer)), (true, Some((ann.ordinal, rooms(&["a", "b"])))));
    assert_ne!(answer.device.ordinal, ann.ordinal);
    assert_eq!((answer.device.rooms.len(), &answer.device.profile), (0, &bob.profile));
    assert_eq!((answer.device.platform, answer.device.created_at), (Platform::Other, Timestamp(8)));
    assert_eq!(by_ordinal(store, ann.ordinal).await, None);
    assert_eq!(store.devices(&demo(), Which::OfUser(name("ann"))).await.unwrap(), []);
    // Who comes with another user leaves it behind.
    let back = register(store, device("d", "ann", 9)).await.device;
    assert!(back.profile.is_empty());
    assert_eq!(by_ordinal(store, back.ordinal).await, Some(back));
}

pub async fn what_is_forgotten_comes_as_new(store: &impl Store) {
    let first = register(store, device("d", "ann", 5)).await.device;
    let other = register(store, device("e", "ann", 5)).await.device;
    let joined = change(store, first.ordinal, &["a", "b"], &[]).await;
    let forgotten = store.forget(&demo(), vec![first.ordinal, Ordinal(99)]).await.unwrap();
    assert_eq!(forgotten, [Device { rooms: joined, ..first.clone() }]);
    assert_eq!(by_ordinal(store, first.ordinal).await, None);
    let of_ann = store.devices(&demo(), Which::OfUser(name("ann"))).await.unwrap();
    assert_eq!(of_ann, [Some(other)]);
    assert_eq!(store.devices(&demo(), Which::Ids(vec![name("d")])).await.unwrap(), [None]);
    let census = store.census(&demo()).await.unwrap();
    assert!(census.rooms.is_empty() && !census.platforms[Platform::Web as usize].contains(first.ordinal.0));
    assert_eq!(store.forget(&demo(), vec![first.ordinal]).await.unwrap(), []);
    let again = register(store, device("d", "ann", 6)).await;
    assert!(again.new && again.device.ordinal != first.ordinal && again.device.rooms.is_empty());
}

pub async fn another_user_starts_anew(store: &impl Store) {
    let first = register(store, device("d", "ann", 5)).await.device;
    change(store, first.ordinal, &["b", "a"], &[]).await;
    let head = append_new(store, message("m", &["user:ann"])).await.seq;
    let second = register(store, device("d", "bob", 9)).await;
    assert!(second.new);
    assert_eq!(was(&second), Some((first.ordinal, rooms(&["a", "b"]))));
    let device_now = second.device;
    assert_ne!(device_now.ordinal, first.ordinal);
    assert_eq!((device_now.rooms.len(), device_now.cursor), (0, head));
    assert_eq!((device_now.created_at, device_now.user.clone()), (Timestamp(9), Some(name("bob"))));
    assert_eq!(by_ordinal(store, first.ordinal).await, None);
    assert_eq!(store.devices(&demo(), Which::OfUser(name("ann"))).await.unwrap(), []);
    assert_eq!(store.devices(&demo(), Which::OfUser(name("bob"))).await.unwrap(), [Some(device_now.clone())]);
    assert_eq!(
        store.devices(&demo(), Which::Ids(vec![name("d")])).await.unwrap(),
        [Some(device_now.clone())]
    );
    let census = store.census(&demo()).await.unwrap();
    assert_eq!(census.rooms.len(), 0);
    assert_eq!(census.platforms[0].iter().collect::<Vec<_>>(), [device_now.ordinal.0]);
    // What comes late for the old ordinal changes nothing.
    store.settle(&demo(), vec![(first.ordinal, head, Timestamp(10))]).await.unwrap();
    assert_eq!(change(store, first.ordinal, &["c"], &[]).await, []);
    assert_eq!(by_ordinal(store, first.ordinal).await, None);
    assert_eq!(store.census(&demo()).await.unwrap(), census);
}

pub async fn nobody_is_another_user_than_somebody(store: &impl Store) {
    let nobody = register(store, device("d", "", 1)).await.device.ordinal;
    assert!(!register(store, device("d", "", 2)).await.new);
    let ann = register(store, device("d", "ann", 3)).await;
    assert_eq!((ann.new, was(&ann)), (true, Some((nobody, vec![]))));
    let again = register(store, device("d", "", 4)).await;
    assert_eq!((again.new, was(&again)), (true, Some((ann.device.ordinal, vec![]))));
}

pub async fn ordinals_are_never_reused(store: &impl Store) {
    let mut seen = BTreeSet::new();
    for turn in 0..10 {
        for (id, user) in [("d", format!("u{turn}")), ("e", "ann".to_owned())] {
            let registered = register(store, device(id, &user, turn)).await;
            assert_eq!(seen.insert(registered.device.ordinal), registered.new);
        }
    }
    assert_eq!(seen.len(), 11);
}

pub async fn rooms_are_idempotent(store: &impl Store) {
    let device = register(store, device("d", "ann", 1)).await.device.ordinal;
    assert_eq!(change(store, device, &["a", "b"], &[]).await, rooms(&["a", "b"]));
    assert_eq!(change(store, device, &["a", "b"], &[]).await, rooms(&["a", "b"]));
    assert_eq!(change(store, device, &[], &["x"]).await, rooms(&["a", "b"]));
    assert_eq!(change(store, device, &["c"], &["a", "a"]).await, rooms(&["b", "c"]));
    assert_eq!(change(store, device, &[], &[]).await, rooms(&["b", "c"]));
    // What is both joined and left is left.
    assert_eq!(change(store, device, &["b", "d"], &["b", "d"]).await, rooms(&["c"]));
    assert_eq!(by_ordinal(store, device).await.unwrap().rooms, rooms(&["c"]));
}

pub async fn rooms_are_sorted(store: &impl Store) {
    let device = register(store, device("d", "ann", 1)).await.device.ordinal;
    let sorted = rooms(&["a", "aa", "ab", "b", "b/c", "z", "\u{e9}"]);
    assert_eq!(change(store, device, &["b", "z", "\u{e9}", "ab", "a", "b/c", "aa"], &[]).await, sorted);
    assert_eq!(by_ordinal(store, device).await.unwrap().rooms, sorted);
}

pub async fn rooms_of_nobody_are_none(store: &impl Store) {
    assert_eq!(change(store, Ordinal(7), &["a"], &["b"]).await, []);
    assert_eq!(store.census(&demo()).await.unwrap(), Census::default());
}

pub async fn cursors_never_go_back(store: &impl Store) {
    let one = register(store, device("d", "ann", 5)).await.device;
    let two = register(store, device("e", "ann", 5)).await.device;
    for (cursor, seen_at, expected) in
        [(3, 10, (3, 10)), (2, 11, (3, 11)), (4, 9, (4, 11)), (4, 11, (4, 11)), (0, 0, (4, 11))]
    {
        let settled =
            vec![(one.ordinal, Seq(cursor), Timestamp(seen_at)), (Ordinal(u32::MAX), Seq(9), Timestamp(9))];
        store.settle(&demo(), settled).await.unwrap();
        let now = by_ordinal(store, one.ordinal).await.unwrap();
        assert_eq!((now.cursor, now.seen_at), (Seq(expected.0), Timestamp(expected.1)));
    }
    // Twice in one call: the furthest counts.
    let settled = vec![(one.ordinal, Seq(9), Timestamp(12)), (one.ordinal, Seq(8), Timestamp(13))];
    store.settle(&demo(), settled).await.unwrap();
    let now = by_ordinal(store, one.ordinal).await.unwrap();
    assert_eq!((now.cursor, now.seen_at), (Seq(9), Timestamp(13)));
    assert_eq!(by_ordinal(store, two.ordinal).await, Some(two));
    assert_eq!(by_ordinal(store, Ordinal(u32::MAX)).await, None);
}

/// Each question comes after the answer to the same one before the change.
pub async fn owners_are_those_of_now(store: &impl Store) {
    let owners = async || {
        let topics = ["user:ann", "user:bob", "device:a"].map(super::given::topic).to_vec();
        store.owners(&demo(), topics).await.unwrap()
    };
    let check = async |after: &str, expected: [&[Ordinal]; 3]| {
        assert_eq!(owners().await, expected.map(std::sync::Arc::from), "{after}");
    };
    check("nothing", [&[], &[], &[]]).await;
    let first = register(store, device("a", "ann", 1)).await.device.ordinal;
    check("a device came", [&[first], &[], &[first]]).await;
    let second = register(store, device("b", "ann", 2)).await.device.ordinal;
    check("another one came", [&[first, second], &[], &[first]]).await;
    let moved = register(store, device("a", "bob", 3)).await.device.ordinal;
    check("the first went to somebody else", [&[second], &[moved], &[moved]]).await;
    store.forget(&demo(), vec![moved]).await.unwrap();
    check("it was forgotten", [&[second], &[], &[]]).await;
    store.erase(&demo(), Erase::Everything).await.unwrap();
    check("everything was erased", [&[], &[], &[]]).await;
}

pub async fn devices_are_found_each_way(store: &impl Store) {
    let mut all = Vec::new();
    for (id, user) in [("a", "ann"), ("b", "bob"), ("c", "ann"), ("d", ""), ("e", "an")] {
        all.push(register(store, device(id, user, 1)).await.device);
    }
    let ids = ["e", "x", "a", "a"].map(name::<DeviceId>).to_vec();
    let expected = [Some(all[4].clone()), None, Some(all[0].clone()), Some(all[0].clone())];
    assert_eq!(store.devices(&demo(), Which::Ids(ids)).await.unwrap(), expected);
    let ordinals = vec![all[3].ordinal, Ordinal(u32::MAX), all[1].ordinal];
    let expected = [Some(all[3].clone()), None, Some(all[1].clone())];
    assert_eq!(store.devices(&demo(), Which::Ordinals(ordinals)).await.unwrap(), expected);
    let mut expected = vec![all[0].clone(), all[2].clone()];
    expected.sort_by_key(|device| device.ordinal);
    let expected: Vec<_> = expected.into_iter().map(Some).collect();
    assert_eq!(store.devices(&demo(), Which::OfUser(name("ann"))).await.unwrap(), expected);
    assert_eq!(store.devices(&demo(), Which::OfUser(name("zoe"))).await.unwrap(), []);
    let topics = ["user:ann", "device:b", "all", "user:zoe", "device:x", "room:ann", "user:an"];
    let topics = topics.map(super::given::topic).to_vec();
    let expected = [&[0, 2][..], &[1], &[], &[], &[], &[], &[4]]
        .map(|of| of.iter().map(|index: &usize| all[*index].ordinal).collect());
    assert_eq!(store.owners(&demo(), topics).await.unwrap(), expected);
    let many: Vec<Ordinal> = (0..500).map(Ordinal).collect();
    let found = store.devices(&demo(), Which::Ordinals(many)).await.unwrap();
    assert_eq!((found.len(), found.iter().flatten().count()), (500, 5));
}

pub async fn the_census_is_the_sum_of_all_changes(store: &impl Store) {
    assert_eq!(store.census(&demo()).await.unwrap(), Census::default());
    let mut model: BTreeMap<u32, (Platform, BTreeSet<RoomName>)> = BTreeMap::new();
    for step in 0..60u32 {
        let mut registration = device(&format!("d{}", step % 17), &format!("u{}", step % 5), 1);
        registration.platform = Platform::ALL[(step % 17 % 5) as usize];
        let platform = registration.platform;
        let registered = register(store, registration).await;
        if let Some((old, _)) = was(&registered) {
            model.remove(&old.0);
        }
        let ordinal = registered.device.ordinal;
        let entry = model.entry(ordinal.0).or_default();
        entry.0 = platform;
        let (join, leave) = (format!("r{}", step % 7), format!("r{}", step % 3));
        change(store, ordinal, &[&join], &[&leave]).await;
        entry.1.insert(name(&join));
        entry.1.remove(&name::<RoomName>(&leave));
    }
    let mut expected = Census::default();
    for (ordinal, (platform, rooms)) in model {
        expected.platforms[platform as usize].insert(ordinal);
        for room in rooms {
            expected.rooms.entry(room).or_default().insert(ordinal);
        }
    }
    assert_eq!(store.census(&demo()).await.unwrap(), expected);
}

pub async fn namespaces_have_their_own_devices(store: &impl Store) {
    let other: NamespaceName = name("demo2");
    let here = register(store, device("d", "ann", 1)).await.device;
    let mut registration = device("d", "bob", 2);
    registration.namespace = other.clone();
    let there = register(store, registration).await;
    assert!(there.new && there.replaced.is_none());
    change(store, here.ordinal, &["a"], &[]).await;
    store.settle(&other, vec![(there.device.ordinal, Seq(7), Timestamp(9))]).await.unwrap();
    let found = store.devices(&other, Which::Ids(vec![name("d")])).await.unwrap().pop().flatten().unwrap();
    assert_eq!((found.rooms.len(), found.cursor, found.user), (0, Seq(7), Some(name("bob"))));
    assert_eq!(by_ordinal(store, here.ordinal).await.unwrap().cursor, Seq(0));
    assert_eq!(store.devices(&other, Which::OfUser(name("ann"))).await.unwrap(), []);
    assert_eq!(store.census(&other).await.unwrap().rooms.len(), 0);
    assert_eq!(store.census(&name("dem")).await.unwrap(), Census::default());
}

pub async fn registering_at_once(store: &impl Store) {
    // Everybody registers the same ten devices: each is new to exactly one of them.
    let tasks = (0..20).map(|_| async move {
        let mut answers = Vec::new();
        for index in 0..10 {
            answers.push(register(store, device(&format!("d{index}"), "ann", 1)).await);
        }
        answers
    });
    let answers = at_once(tasks.collect()).await;
    assert_eq!(answers.iter().flatten().filter(|answer| answer.new).count(), 10);
    let ordinals: BTreeSet<_> = answers.iter().flatten().map(|answer| answer.device.ordinal).collect();
    assert_eq!(ordinals.len(), 10);
    let census = store.census(&demo()).await.unwrap();
    assert_eq!(census.platforms[0].iter().map(Ordinal).collect::<BTreeSet<_>>(), ordinals);
}
