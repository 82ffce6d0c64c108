//! A copy of a store that is in use.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tidings_model::{Durability, Epoch, Seq};

use super::{directory, everything, fill, open, try_open};
use crate::conformance::given::{demo, message, topic};
use crate::conformance::run;
use crate::embedded::testing;
use crate::port::From;
use crate::{CopyError, EmbeddedStore, Messages, Moment, Options, Retention, Settings, StoreError};

fn copy(moment: &Moment, to: &Path) -> Result<u64, CopyError> {
    moment.copy(to, Options::new(Epoch(9)), |_| ()).map(|copied| copied.entries)
}

#[test]
fn a_copy_is_the_store_as_it_was() {
    let (directory, place) = (directory(), directory());
    run(async {
        let store = open(directory.path());
        fill(&store).await;
        testing::write_out(&store);
        store.trim(&demo(), Seq(3)).await.unwrap();
        let mut expected = everything(&store).await.unwrap();
        let moment = store.moment().await.unwrap();
        // What comes later is not in it, nor does anything go from it.
        store.append(vec![message("later", &["all"])], Durability::Durable).await.unwrap();
        store.trim(&demo(), Seq(9)).await.unwrap();
        testing::rewrite(&store);
        let to = place.path().join("a/b");
        assert!(copy(&moment, &to).unwrap() > 60);
        // Another life, so that nobody takes its offsets for those that the store goes on with.
        expected.epoch = Epoch(9);
        for message in expected.messages.iter_mut().flatten().chain(&mut expected.browsed) {
            std::sync::Arc::make_mut(message).epoch = Epoch(9);
        }
        let copied = open(&to);
        assert_eq!(everything(&copied).await.unwrap(), expected);
        let next = copied.append(vec![message("next", &["all"])], Durability::Durable).await.unwrap();
        drop(copied);
        drop(next);
        assert_eq!(everything(&open(&to)).await.unwrap().head, expected.head.next());
        // Only once, and to a place of its own.
        assert!(matches!(copy(&moment, &to), Err(CopyError::NotEmpty(path)) if path == to));
        assert_eq!(everything(&open(&to)).await.unwrap().head, expected.head.next());
    });
}

#[test]
fn a_copy_under_load_is_whole() {
    let (directory, place) = (directory(), directory());
    run(async {
        let store = open(directory.path());
        let (answered, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        let load = async {
            for index in 0u64.. {
                let room = format!("room:{}", index % 7);
                let new = (0..5).map(|part| message(&format!("m{index}-{part}"), &["all", &room]));
                store.append(new.collect(), Durability::Memory).await.unwrap();
                answered.store(index + 1, Ordering::SeqCst);
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        let copies = async {
            for round in 0..5 {
                let before = answered.load(Ordering::SeqCst);
                let moment = store.moment().await.unwrap();
                let to = place.path().join(round.to_string());
                tokio::task::spawn_blocking(move || copy(&moment, &to)).await.unwrap().unwrap();
                check(&open(&place.path().join(round.to_string())), before * 5).await;
            }
            stop.store(true, Ordering::SeqCst);
        };
        tokio::join!(load, copies);
    });
}

/// Whole batches, and all that was answered before.
async fn check(store: &EmbeddedStore, at_least: u64) {
    let head = store.head(&demo());
    assert!(head.0 >= at_least && head.0.is_multiple_of(5), "{head:?} of {at_least}");
    let mut entries = 0;
    for of in (0..7).map(|room| format!("room:{room}")) {
        let log = store.read_topic(&demo(), &topic(&of), From::AfterOffset(0), usize::MAX).await.unwrap();
        assert_eq!((log.truncated, log.head), (false, log.entries.len() as u64));
        entries += log.head;
    }
    let all = store.read_topic(&demo(), &topic("all"), From::AfterOffset(0), usize::MAX).await.unwrap();
    assert_eq!((all.truncated, all.head, entries), (false, head.0, head.0));
    let seqs = (1..=head.0).map(Seq).collect();
    assert!(store.messages(&demo(), seqs).await.unwrap().iter().all(Option::is_some));
}

#[test]
fn a_directory_that_is_made_is_for_its_user_alone() {
    let place = directory();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let (made, copied, there) =
        (place.path().join("above/made"), place.path().join("copied"), place.path().join("there"));
    fs::create_dir(&there).unwrap();
    fs::set_permissions(&there, fs::Permissions::from_mode(0o750)).unwrap();
    run(async {
        let store = open(&made);
        copy(&store.moment().await.unwrap(), &copied).unwrap();
        drop(open(&there));
    });
    assert_eq!([&made, &copied, &there].map(|path| mode(path)), [0o700, 0o700, 0o750]);
}

#[test]
fn what_did_not_finish_is_not_opened() {
    let (directory, place) = (directory(), directory());
    run(async {
        let store = open(directory.path());
        fill(&store).await;
        let moment = store.moment().await.unwrap();
        let closing = tokio::spawn(async move { store.close().await });
        let to = place.path().join("gone");
        let refused = loop {
            match copy(&moment, &to) {
                Ok(_) => fs::remove_dir_all(&to).unwrap(),
                Err(why) => break why,
            }
        };
        assert!(matches!(refused, CopyError::Read(StoreError::Closed)), "{refused}");
        drop(moment);
        closing.await.unwrap().unwrap();
        // What had been begun is gone.
        assert!(!to.exists());
        // Killed instead, it leaves a file that says so.
        fs::create_dir(&to).unwrap();
        fs::write(to.join("UNFINISHED"), "").unwrap();
        match try_open(&to) {
            Err(StoreError::Damaged(text)) => assert!(text.contains("did not finish"), "{text}"),
            other => panic!("{other:?}"),
        }
    });
}
