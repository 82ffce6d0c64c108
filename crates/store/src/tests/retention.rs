//! What is left on disk of what has been trimmed, and that nothing that was to stay goes with it.

use std::time::{Duration, Instant};

use tidings_model::{Durability, Seq};

use super::{directory, everything, image, open};
use crate::conformance::given::{append_new, demo, message, topic};
use crate::conformance::run;
use crate::embedded::testing;
use crate::kv::Keyspace;
use crate::port::{From, NewId, NewMessage};
use crate::{EmbeddedStore, Messages, Retention};

/// Messages to `all`, every third one also to a room, every tenth to a room of its own.
async fn fill(store: &EmbeddedStore, ids: std::ops::Range<u64>) {
    for index in ids {
        let own = format!("room:{index}");
        let mut topics = vec!["all"];
        if index.is_multiple_of(3) {
            topics.push("room:a");
        }
        if index.is_multiple_of(10) {
            topics.push(&own);
        }
        let id = format!("m{index}");
        store.append(vec![message(&id, &topics)], Durability::Memory).await.unwrap();
    }
}

fn counts(store: &EmbeddedStore) -> [usize; 3] {
    [Keyspace::Message, Keyspace::MessageId, Keyspace::TopicEntry].map(|one| testing::entries(store, one))
}

async fn head(store: &EmbeddedStore, of: &str) -> u64 {
    store.read_topic(&demo(), &topic(of), From::AfterOffset(u64::MAX), 0).await.unwrap().head
}

#[test]
fn the_newest_entry_of_each_topic_is_all_that_stays() {
    let directory = directory();
    run(async {
        let store = open(directory.path());
        fill(&store, 0..100).await;
        testing::write_out(&store);
        fill(&store, 100..200).await;
        store.trim(&demo(), Seq(150)).await.unwrap();
        let expected = everything(&store).await.unwrap();
        testing::rewrite(&store);
        assert_eq!(everything(&store).await.unwrap(), expected);
        // 50 messages are left; 50 entries of `all` and 17 of the room, 5 rooms of their own, and 15 whose only
        // entry has been trimmed.
        assert_eq!(counts(&store), [50, 50, 50 + 17 + 5 + 15]);
        let crashed = image(directory.path());
        assert_eq!(everything(&open(crashed.path())).await.unwrap(), expected);
        store.trim(&demo(), Seq(200)).await.unwrap();
        testing::rewrite(&store);
        assert_eq!(counts(&store), [0, 0, 1 + 1 + 20]);
        drop(store);
        let store = open(directory.path());
        for (of, newest) in [("all", 200), ("room:a", 67), ("room:0", 1), ("room:190", 1), ("room:1", 0)] {
            assert_eq!(head(&store, of).await, newest, "{of}");
        }
        let next = append_new(&store, message("next", &["all", "room:0"])).await;
        assert_eq!((next.seq.0, next.topics[0].1, next.topics[1].1), (201, 201, 2));
        // The one before is not needed any more.
        testing::rewrite(&store);
        assert_eq!(counts(&store)[2], 1 + 1 + 20 + 2, "not before the new ones are known to be on disk");
        store.trim(&demo(), Seq(200)).await.unwrap();
        fill(&store, 201..202).await;
        store.trim(&demo(), Seq(201)).await.unwrap();
        testing::rewrite(&store);
        assert_eq!(counts(&store), [1, 1, 1 + 1 + 20]);
    });
}

/// An entry that only the journal has may be lost; the one before it must not be gone then.
#[test]
fn the_newest_entry_that_is_on_disk_stays() {
    let directory = directory();
    run(async {
        let store = open(directory.path());
        fill(&store, 0..3).await;
        store.trim(&demo(), Seq(3)).await.unwrap();
        let synced = image(directory.path());
        fill(&store, 3..4).await;
        testing::rewrite(&store);
        assert_eq!(testing::entries(&store, Keyspace::TopicEntry), 2 + 3, "all: 3 and 4");
        drop(store);
        assert_eq!(head(&open(synced.path()), "all").await, 3);
    });
}

#[test]
fn places_in_topics_go_when_half_of_them_are_dead() {
    let directory = directory();
    run(async {
        let store = open(directory.path());
        for part in 0..12u32 {
            let made = |salt| NewMessage { id: NewId::Made { salt }, ..message("x", &["all"]) };
            let messages = (part * 1_000..(part + 1) * 1_000).map(made).collect();
            store.append(messages, Durability::Memory).await.unwrap();
        }
        testing::write_out(&store);
        assert_eq!(counts(&store), [12_000, 0, 12_000]);
        store.trim(&demo(), Seq(12_000)).await.unwrap();
        // The sweeper has a thread of its own. The newest entry stays, whatever happens.
        let begun = Instant::now();
        while testing::entries(&store, Keyspace::TopicEntry) > 1 {
            assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", counts(&store));
            std::thread::yield_now();
        }
    });
}

#[test]
fn tables_of_nothing_but_trimmed_messages_go_at_once() {
    let directory = directory();
    run(async {
        let store = open(directory.path());
        for part in 0..4 {
            fill(&store, part * 100..(part + 1) * 100).await;
            testing::write_out(&store);
        }
        assert_eq!(counts(&store)[0], 400);
        store.trim(&demo(), Seq(250)).await.unwrap();
        let expected = everything(&store).await.unwrap();
        drop(store);
        // The sweeper has been joined, or looks again now.
        let store = open(directory.path());
        assert_eq!(everything(&store).await.unwrap(), expected);
        drop(store);
        assert_eq!(counts(&open(directory.path()))[0], 200);
    });
}
