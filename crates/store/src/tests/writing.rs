//! Who writes: the writer's thread, or whoever finds it idle.

use std::future::poll_fn;
use std::sync::Barrier;
use std::sync::atomic::Ordering;
use std::task::Poll;

use tidings_model::{Durability, Epoch, Seq};

use super::{directory, open};
use crate::conformance::given::{demo, message};
use crate::conformance::run;
use crate::port::Answer;
use crate::{Appended, EmbeddedStore, Messages, Options, Settings, StoreError};

fn at_once(store: &EmbeddedStore) -> u64 {
    store.stats().at_once.load(Ordering::Relaxed)
}

/// The writer of a store that was just opened has done nothing yet, and is idle.
fn first(messages: usize, durability: Durability) -> (u64, u64) {
    let directory = directory();
    let store = open(directory.path());
    let messages = (0..messages).map(|n| message(&format!("m{n}"), &["all"])).collect();
    run(async {
        store.append(messages, durability).await.unwrap();
    });
    (at_once(&store), store.stats().batches.load(Ordering::Relaxed))
}

#[test]
fn little_is_written_by_who_brings_it() {
    assert_eq!(first(1, Durability::Memory), (1, 1));
    assert_eq!(first(8, Durability::Memory), (1, 1));
    assert_eq!(first(9, Durability::Memory), (0, 1), "much");
    assert_eq!(first(1, Durability::Durable), (0, 1), "waits for the disk");
}

#[test]
fn a_thread_that_may_not_block_has_the_writer_write() {
    let directory = directory();
    let store = open(directory.path());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(store.append(vec![message("m", &["all"])], Durability::Memory)).unwrap();
    assert_eq!(at_once(&store), 0);
}

/// Opens when two wait at it: the writer's thread, and a test.
static GATE: Barrier = Barrier::new(2);

fn wait_at_gate() {
    GATE.wait();
}

#[test]
fn nothing_is_overtaken() {
    let directory = directory();
    let options = Options { prepare_writer: wait_at_gate, ..Options::new(Epoch(7)) };
    let store = EmbeddedStore::open(directory.path(), options).unwrap();
    let mut first = store.append(vec![message("first", &["all"])], Durability::Durable);
    let mut second = store.append(vec![message("second", &["all"])], Durability::Memory);
    let seq = |appended: &[Appended]| match &appended[0] {
        Appended::New(message, _) => message.seq,
        other => panic!("{other:?}"),
    };
    run(async {
        let polled = async |one: &mut Answer<'_, Vec<Appended>>| {
            poll_fn(|context| Poll::Ready(one.as_mut().poll(context).is_pending())).await
        };
        let wait = (polled(&mut first).await, polled(&mut second).await);
        GATE.wait();
        assert_eq!(wait, (true, true), "the writer is idle, and yet there is something before the second");
        assert_eq!((seq(&first.await.unwrap()), seq(&second.await.unwrap())), (Seq(1), Seq(2)));
    });
}

#[test]
fn what_was_written_at_once_is_there_after_the_end() {
    let directory = directory();
    run(async {
        let store = open(directory.path());
        store.append(vec![message("m", &["all"])], Durability::Memory).await.unwrap();
        assert_eq!(at_once(&store), 1);
        store.close().await.unwrap();
        let late = store.append(vec![message("n", &["all"])], Durability::Memory).await;
        assert!(matches!(late, Err(StoreError::Closed)), "{late:?}");
    });
    assert_eq!(open(directory.path()).head(&demo()), Seq(1));
}
