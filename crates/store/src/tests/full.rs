//! A disk that is full, and is not any more.
//!
//! This needs a small file system of its own, and so somebody who may mount one: with
//! `TIDINGS_TEST_MOUNT=1` the tests mount a tmpfs in a temporary directory, without it they do nothing.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use tidings_model::Durability;

use super::{directory, everything, open};
use crate::conformance::given::{append, demo, message};
use crate::conformance::run;
use crate::{Appended, EmbeddedStore, Messages, Settings, StoreError};

/// A file system of a few MiB, for as long as this lives.
struct Small(tempfile::TempDir);

impl Small {
    fn new(mib: usize) -> Option<Self> {
        std::env::var_os("TIDINGS_TEST_MOUNT")?;
        let place = directory();
        let size = format!("size={mib}m");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(place.path());
        assert!(mount.status().unwrap().success());
        Some(Self(place))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

async fn push(store: &EmbeddedStore, id: &str, bytes: usize) -> Result<Vec<Appended>, StoreError> {
    let mut new = message(id, &["all"]);
    new.data = Bytes::from(vec![b'x'; bytes]);
    store.append(vec![new], Durability::Durable).await
}

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let Some(small) = Small::new(48) else { return };
    // Somebody else's file, which goes away again.
    let ballast = small.path().join("ballast");
    File::create(&ballast).unwrap();
    fs::write(&ballast, vec![1; 24 << 20]).unwrap();
    let path = small.path().join("store");
    run(async {
        let store = open(&path);
        let mut accepted = Vec::new();
        let mut refused = 0;
        for index in 0.. {
            match push(&store, &format!("m{index}"), 64 << 10).await {
                Ok(appended) => accepted.extend(appended),
                Err(StoreError::Full(_)) => {
                    refused += 1;
                    // Readers go on.
                    let seen = everything(&store).await.unwrap();
                    assert_eq!(seen.head.0, accepted.len() as u64);
                }
                Err(other) => panic!("{index}: {other:?}"),
            }
            if refused == 5 {
                break;
            }
        }
        assert!(accepted.len() > 20, "{}", accepted.len());
        fs::remove_file(&ballast).unwrap();
        let after = append(&store, vec![message("after", &["all"])]).await;
        let Appended::New(after, _) = &after[0] else { panic!("{after:?}") };
        assert_eq!(after.seq.0, accepted.len() as u64 + 1);
        let seen = everything(&store).await.unwrap();
        assert_eq!(seen.messages.iter().flatten().count(), accepted.len() + 1);
        drop(store);
        assert_eq!(everything(&open(&path)).await.unwrap(), seen);
    });
}

#[test]
fn a_disk_that_fills_up_while_tables_are_written_neither_hangs_nor_loses() {
    let Some(small) = Small::new(160) else { return };
    let path = small.path().join("store");
    run(async {
        let store = open(&path);
        let mut accepted = 0u64;
        let mut failure = None;
        for index in 0..4_000 {
            match push(&store, &format!("m{index}"), 256 << 10).await {
                Ok(_) => accepted += 1,
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        assert!(matches!(failure, Some(StoreError::Full(_))), "{failure:?}");
        assert_eq!(store.head(&demo()).0, accepted);
        let closed = store.close().await;
        assert!(matches!(closed, Ok(()) | Err(StoreError::Full(_))), "{closed:?}");
        drop(store);
        // With more room it opens, and everything is there.
        let options = "remount,size=512m";
        assert!(Command::new("mount").args(["-o", options]).arg(small.path()).status().unwrap().success());
        let store = open(&path);
        assert_eq!(store.head(&demo()).0, accepted);
        let seen = everything(&store).await.unwrap();
        assert_eq!(seen.messages.iter().flatten().count() as u64, accepted);
        push(&store, "after", 10).await.unwrap();
    });
}
