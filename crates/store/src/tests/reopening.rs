//! What is there when a store is opened again, and who may open it.

use std::fs;

use tidings_model::{Durability, Epoch, Seq};

use super::{directory, everything, fill, image, open, try_open};
use crate::conformance::given::{append, append_new, chosen, demo, device, message, register};
use crate::conformance::run;
use crate::embedded::testing;
use crate::kv::{FORMAT, FORMAT_1, KEYSPACES_OF_FORMAT_1};
use crate::{Appended, EmbeddedStore, MemoryStore, Messages, Options, Settings, StoreError};

#[test]
fn everything_is_still_there() {
    let directory = directory();
    run(async {
        let twin = MemoryStore::new(Epoch(7));
        fill(&twin).await;
        let store = open(directory.path());
        fill(&store).await;
        let expected = everything(&twin).await.unwrap();
        assert_eq!(everything(&store).await.unwrap(), expected);
        // By dropping, by closing, by neither, from the tables instead of the journal.
        drop(store);
        let store = open(directory.path());
        assert_eq!(everything(&store).await.unwrap(), expected);
        store.close().await.unwrap();
        let store = open(directory.path());
        assert_eq!(everything(&store).await.unwrap(), expected);
        let crashed = image(directory.path());
        assert_eq!(everything(&open(crashed.path())).await.unwrap(), expected);
        testing::write_out(&store);
        assert_eq!(everything(&store).await.unwrap(), expected);
        drop(store);
        assert_eq!(everything(&open(directory.path())).await.unwrap(), expected);
    });
}

#[test]
fn numbers_go_on_where_they_were() {
    let directory = directory();
    run(async {
        for round in 1..=3u64 {
            let store = open(directory.path());
            assert_eq!(store.head(&demo()), Seq(round - 1));
            let stored = append_new(&store, message(&format!("m{round}"), &["all"])).await;
            assert_eq!((stored.seq, stored.topics[0].1), (Seq(round), round));
            let registered = register(&store, device(&format!("d{round}"), "ann", 1)).await;
            assert_eq!(u64::from(registered.device.ordinal.0), round - 1);
        }
    });
}

#[test]
fn an_id_is_remembered() {
    let directory = directory();
    run(async {
        let first = append_new(&open(directory.path()), chosen("m", 1, 1_000)).await;
        let store = open(directory.path());
        assert_eq!(append(&store, vec![chosen("m", 1, 2_000)]).await, [Appended::Duplicate(first)]);
    });
}

#[test]
fn the_epoch_is_that_of_the_first_opening() {
    let directory = directory();
    assert_eq!(open(directory.path()).epoch(), Epoch(7));
    let again = EmbeddedStore::open(directory.path(), Options::new(Epoch(8))).unwrap();
    assert_eq!(again.epoch(), Epoch(7));
}

#[test]
fn one_at_a_time() {
    let directory = directory();
    let store = open(directory.path());
    match try_open(directory.path()) {
        Err(StoreError::InUse(path)) => assert_eq!(path, directory.path()),
        other => panic!("{other:?}"),
    }
    // A closed store lets go although it is still held.
    run(async { store.close().await.unwrap() });
    open(directory.path());
    drop(store);
}

#[test]
fn another_format_is_refused() {
    let directory = directory();
    let store = open(directory.path());
    testing::set_format(&store, FORMAT + 1);
    drop(store);
    match try_open(directory.path()) {
        Err(StoreError::Format { found, expected: FORMAT }) if found == FORMAT + 1 => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_directory_of_the_format_before_is_made_one_of_this() {
    let directory = directory();
    let store = open(directory.path());
    run(fill(&store));
    testing::set_format(&store, FORMAT_1);
    testing::forget_keyspaces(store, KEYSPACES_OF_FORMAT_1);
    for _ in 0..2 {
        let store = open(directory.path());
        run(async {
            let seen = everything(&store).await.unwrap();
            assert_eq!((seen.head, seen.due.len()), (Seq(12), 0));
        });
    }
}

#[test]
fn a_directory_that_has_all_keyspaces_is_not_opened_by_an_older_program_again() {
    let directory = directory();
    let store = open(directory.path());
    run(fill(&store));
    testing::set_format(&store, FORMAT - 1);
    drop(store);
    let store = open(directory.path());
    assert_eq!(testing::format(&store), FORMAT);
    run(async { assert_eq!(everything(&store).await.unwrap().head, Seq(12)) });
}

#[test]
fn a_change_of_the_format_that_was_cut_short_is_made_again() {
    // Without the file that says so, a keyspace without a manifest is damage.
    for cut_short in [true, false] {
        let directory = directory();
        let store = open(directory.path());
        run(fill(&store));
        testing::set_format(&store, FORMAT_1);
        testing::forget_keyspaces(store, KEYSPACES_OF_FORMAT_1);
        let half = directory.path().join(format!("db/keyspaces/{}", KEYSPACES_OF_FORMAT_1 + 1));
        // Those that have just been forgotten were numbered like that.
        if half.exists() {
            fs::remove_dir_all(&half).unwrap();
        }
        fs::create_dir_all(half.join("tables")).unwrap();
        if cut_short {
            fs::write(directory.path().join("CHANGING"), "").unwrap();
        }
        match try_open(directory.path()) {
            Ok(store) => run(async {
                assert!(cut_short && !directory.path().join("CHANGING").exists());
                assert_eq!(everything(&store).await.unwrap().head, Seq(12));
            }),
            Err(StoreError::Damaged(text)) => {
                assert!(!cut_short && text.contains("current is missing"), "{text}")
            }
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_directory_of_this_format_is_complete() {
    let directory = directory();
    testing::forget_keyspaces(open(directory.path()), KEYSPACES_OF_FORMAT_1);
    match try_open(directory.path()) {
        Err(StoreError::Damaged(text)) => assert!(text.contains("due is missing"), "{text}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn half_a_beginning_is_begun_again() {
    let directory = directory();
    drop(open(directory.path()));
    fs::write(directory.path().join("BEGINNING"), "").unwrap();
    fs::remove_file(directory.path().join("db/version")).unwrap();
    fs::remove_file(directory.path().join("SYNCED")).unwrap();
    let store = EmbeddedStore::open(directory.path(), Options::new(Epoch(8))).unwrap();
    assert_eq!(store.epoch(), Epoch(8));
}

#[test]
fn memory_durability_survives_a_killed_process() {
    let directory = directory();
    run(async {
        let store = open(directory.path());
        store.append(vec![message("m", &["all"])], Durability::Memory).await.unwrap();
        let crashed = image(directory.path());
        assert_eq!(everything(&open(crashed.path())).await.unwrap(), everything(&store).await.unwrap());
    });
}
