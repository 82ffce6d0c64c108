//! Who is kept out, and let in again.

use tidings_model::{ClientAddress, Disconnect};

use super::*;
use crate::block::{BLOCKS_MAX, BlockError, NewBlock, Whom};
use crate::connect::ConnectError;

/// When a world begins.
const NOW: Timestamp = Timestamp(1_000);

fn user(name: &str) -> Whom {
    Whom::User(name.parse().unwrap())
}

fn network(text: &str) -> Whom {
    Whom::Network(text.parse().unwrap())
}

fn block(whom: Whom, lasts: Option<u64>) -> NewBlock {
    NewBlock { whom, reason: "spam".to_owned(), lasts: lasts.map(Duration::from_secs) }
}

/// Whether a client with these names may connect.
async fn gets_in(world: &World, user: &str, device: &str, from: &str) -> bool {
    let claim = Claim {
        user: Some(user.parse().unwrap()),
        device: Some(device.parse().unwrap()),
        from: ClientAddress::new(from.parse().unwrap()),
        ..Claim::default()
    };
    match world.node.identify(&demo(), claim).await {
        Ok(_) => true,
        Err(ConnectError::Blocked) => false,
        Err(why) => panic!("{why}"),
    }
}

#[tokio::test]
async fn who_is_blocked_stays_out_until_it_is_over_or_lifted() {
    let world = World::with(|_| {}).await;
    let namespace = world.node.namespace("demo").unwrap();
    let (first, new) = world.node.block(&namespace, block(user("ann"), Some(60))).await.unwrap();
    assert!(new && first.until == Some(NOW.after(Duration::from_secs(60))));
    assert!(!gets_in(&world, "ann", "d1", "192.0.2.1").await);
    assert!(gets_in(&world, "bob", "d2", "192.0.2.1").await);
    // Said again, it is the same block, from now on as it was said last.
    let (again, new) = world.node.block(&namespace, block(user("ann"), None)).await.unwrap();
    assert!(!new && again.id == first.id && again.until.is_none());
    let device = Whom::Device("d2".parse().unwrap());
    world.node.block(&namespace, block(device, Some(60))).await.unwrap();
    world.node.block(&namespace, block(network("10.0.0.0/8"), None)).await.unwrap();
    assert!(!gets_in(&world, "bob", "d2", "192.0.2.1").await);
    assert!(!gets_in(&world, "bob", "d3", "10.1.2.3").await);
    assert_eq!(world.node.blocks(&namespace, None).len(), 3);
    world.time.store(NOW.after(Duration::from_secs(60)).0, Ordering::Relaxed);
    assert!(gets_in(&world, "bob", "d2", "192.0.2.1").await, "a minute later");
    assert_eq!(world.node.blocks(&namespace, None).len(), 2);
    assert!(world.node.unblock(&namespace, &first.id).await.unwrap());
    assert!(gets_in(&world, "ann", "d1", "192.0.2.1").await);
    assert!(!world.node.unblock(&namespace, &first.id).await.unwrap(), "it is lifted already");
}

#[tokio::test]
async fn blocks_are_there_after_a_restart() {
    let store = Arc::new(MemoryStore::new(Epoch(7)));
    let start = || World::start(Arc::clone(&store) as Arc<dyn Store>, Vec::new(), |_| {});
    let world = start().await;
    let namespace = world.node.namespace("demo").unwrap();
    for whom in [user("ann/x"), network("10.0.0.0/8")] {
        world.node.block(&namespace, block(whom, None)).await.unwrap();
    }
    let before = world.node.blocks(&namespace, None);
    drop(world);
    let world = start().await;
    let namespace = world.node.namespace("demo").unwrap();
    assert_eq!(world.node.blocks(&namespace, None), before);
    assert!(!gets_in(&world, "ann/x", "d1", "192.0.2.1").await);
    assert!(!gets_in(&world, "bob", "d2", "10.0.0.1").await);
}

#[tokio::test]
async fn whom_a_block_is_about_is_sent_away() {
    let mut world = World::with(|_| {}).await;
    let namespace = world.node.namespace("demo").unwrap();
    world.device("d1", "ann").await;
    let laptop = world.device("d2", "ann").await.device.ordinal.0;
    let told =
        |world: &mut World| std::iter::from_fn(|| world.inboxes[0].try_recv().ok()).collect::<Vec<_>>();
    told(&mut world);
    let device = Whom::Device("d2".parse().unwrap());
    for (whom, expected) in [(user("ann"), vec![0, 1]), (device, vec![laptop]), (user("bob"), vec![])] {
        world.node.block(&namespace, block(whom, None)).await.unwrap();
        let told = told(&mut world);
        let [ToShard::SendAway { devices: Some(devices), why: Disconnect::OPERATOR, .. }] = &told[..] else {
            panic!("{told:?}")
        };
        let mut devices = devices.to_vec();
        devices.sort_unstable();
        assert_eq!(devices, expected);
    }
    world.node.block(&namespace, block(network("::/0"), None)).await.unwrap();
    let told = told(&mut world);
    assert!(
        matches!(&told[..], [ToShard::Blocked { network, .. }] if network.to_string() == "::/0"),
        "{told:?}"
    );
}

#[tokio::test]
async fn there_are_no_more_blocks_than_there_may_be() {
    let mut world = World::with(|_| {}).await;
    // Nobody is here to be sent away.
    world.inboxes.clear();
    let namespace = world.node.namespace("demo").unwrap();
    let set =
        async |n: usize, lasts| world.node.block(&namespace, block(user(&format!("u{n}")), lasts)).await;
    for n in 0..BLOCKS_MAX {
        set(n, (n == 0).then_some(60)).await.unwrap();
    }
    assert!(matches!(set(BLOCKS_MAX, None).await, Err(BlockError::TooMany)));
    set(1, Some(30)).await.expect("it is there already");
    world.time.store(NOW.after(Duration::from_secs(60)).0, Ordering::Relaxed);
    set(BLOCKS_MAX, None).await.expect("what is over makes room");
}

/// Before there were others, a user's block was kept by its name, with the time of its end.
#[tokio::test]
async fn blocks_of_users_as_they_were_kept_before_still_hold() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Epoch(7)));
    let start = || World::start(Arc::clone(&store), Vec::new(), |_| {});
    drop(start().await);
    for (user, until) in [("ann/x", NOW.0 + 60_000), ("bob", NOW.0)] {
        let value = Bytes::copy_from_slice(&u64::to_be_bytes(until));
        store.put(&format!("block/demo/{user}"), Some(value)).await.unwrap();
    }
    let mut seen = Vec::new();
    for _ in 0..2 {
        let world = start().await;
        assert!(!gets_in(&world, "ann/x", "d1", "192.0.2.1").await);
        assert!(gets_in(&world, "bob", "d2", "192.0.2.1").await, "that was over");
        let namespace = world.node.namespace("demo").unwrap();
        seen.push(world.node.blocks(&namespace, None));
    }
    assert_eq!((seen[0].len(), &seen[0]), (1, &seen[1]), "it is kept like any other from then on");
    assert_eq!(store.list("block/").await.unwrap().len(), 1);
}
