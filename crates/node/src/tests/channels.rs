//! Channels: which there are, what is kept of that, and what becomes of who is on one that is removed.

use tidings_model::Glob;

use super::*;
use crate::channels::{ChannelError, MARKS_MAX};
use crate::{Namespace, ids};

fn channel(name: &str) -> RoomName {
    RoomName::new(name).unwrap()
}

fn configure(namespace: &Namespace) {
    let names = ["news", "other"].into_iter().map(channel).collect();
    namespace.have_channels(names, vec![Glob::new("score.*")]);
}

fn there(namespace: &Namespace) -> Vec<String> {
    namespace.channels().iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn what_is_said_of_channels_outlives_a_restart() {
    let store = Arc::new(MemoryStore::new(Epoch(7)));
    let start = || World::start(Arc::clone(&store) as Arc<dyn Store>, Vec::new(), |_| {});
    let world = start().await;
    let namespace = world.node.namespace("demo").unwrap();
    assert!(!namespace.is_channel(&channel("news")), "nobody has said so");
    configure(&namespace);
    let node = &world.node;
    node.add_channel(&namespace, &channel("new")).await.unwrap();
    node.add_channel(&namespace, &channel("news")).await.unwrap();
    assert!(node.remove_channel(&namespace, &channel("other")).await.unwrap());
    assert!(node.remove_channel(&namespace, &channel("score.1")).await.unwrap());
    assert!(!node.remove_channel(&namespace, &channel("score.1")).await.unwrap(), "again");
    assert!(!node.remove_channel(&namespace, &channel("nowhere")).await.unwrap());
    drop(world);
    let world = start().await;
    let namespace = world.node.namespace("demo").unwrap();
    configure(&namespace);
    assert_eq!(there(&namespace), ["new", "news"]);
    for (name, is_one) in [("score.1", false), ("score.2", true), ("other", false), ("new", true)] {
        assert_eq!(namespace.is_channel(&channel(name)), is_one, "{name}");
    }
    // Said back, nothing is kept of it.
    world.node.add_channel(&namespace, &channel("other")).await.unwrap();
    world.node.add_channel(&namespace, &channel("score.1")).await.unwrap();
    world.node.remove_channel(&namespace, &channel("new")).await.unwrap();
    let kept: &dyn Store = &*store;
    assert_eq!(kept.list(crate::channels::PREFIX).await.unwrap(), []);
}

#[tokio::test]
async fn there_are_only_so_many_marks() {
    let world = World::new().await;
    let namespace = world.node.namespace("demo").unwrap();
    configure(&namespace);
    for n in 0..MARKS_MAX {
        world.node.add_channel(&namespace, &channel(&n.to_string())).await.unwrap();
    }
    let more = world.node.add_channel(&namespace, &channel("more")).await;
    assert!(matches!(more, Err(ChannelError::TooMany)));
    let removed = world.node.remove_channel(&namespace, &channel("news")).await;
    assert!(matches!(removed, Err(ChannelError::TooMany)));
    assert!(world.node.remove_channel(&namespace, &channel("7")).await.unwrap());
    assert!(world.node.remove_channel(&namespace, &channel("news")).await.unwrap());
}

#[tokio::test]
async fn whoever_is_on_a_channel_that_is_removed_leaves_it() {
    let world = World::new().await;
    let namespace = world.node.namespace("demo").unwrap();
    configure(&namespace);
    let mut changed = namespace.channels_changed();
    let ann = world.device("d1", "ann").await;
    world.node.join(&namespace, ann.device.ordinal, rooms(&["news", "score.1"])).await.unwrap();
    let (counts, _) = namespace.count_channels();
    assert_eq!(counts.keys().map(RoomName::as_str).collect::<Vec<_>>(), ["news", "other", "score.1"]);
    assert!(world.node.remove_channel(&namespace, &channel("news")).await.unwrap());
    changed.changed().await.unwrap();
    let gone = async {
        while namespace.directory().room(&channel("news")).is_some_and(|members| !members.is_empty()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap();
    let left = world.node.rooms(&namespace, ann.device.ordinal).await.unwrap();
    assert_eq!(left, rooms(&["score.1"]));
}

#[tokio::test]
async fn a_device_that_is_named_is_not_forgotten_with_its_connection() {
    let world = World::new().await;
    let namespace = world.node.namespace("demo").unwrap();
    let named = world.device("d1", "ann").await;
    let passing = world.device(ids::passing_device_id().as_str(), "ann").await;
    for who in [&named, &passing] {
        world.node.forget_soon(&namespace, who.device.ordinal);
    }
    let gone = async {
        while world.node.known(&namespace, passing.device.ordinal).await.unwrap().is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap();
    assert!(world.node.known(&namespace, named.device.ordinal).await.unwrap().is_some());
}
