//! Deadlines: what messages leave to be done, in which order it is found, when it is gone.
#![allow(missing_docs, reason = "each function is a sentence of the port, and its name says which")]
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "these are tests")]

use std::time::Duration;

use tidings_model::{Seq, Timestamp};

use super::given::{append, demo, message, name};
use crate::port::{Due, DueKind, NewMessage, Store};

async fn all(store: &impl Store) -> Vec<(u64, DueKind, Vec<u64>)> {
    let due = store.due(Timestamp(0), Timestamp::NEVER, 100).await.unwrap();
    due.into_iter().map(|due| (due.at.0, due.what, due.seqs.iter().map(|seq| seq.0).collect())).collect()
}

fn entry(at: u64, what: DueKind, seqs: &[u64]) -> Due {
    Due { at: Timestamp(at), what, namespace: demo(), seqs: seqs.iter().copied().map(Seq).collect() }
}

pub async fn messages_leave_deadlines(store: &impl Store) {
    let plain = message("plain", &["all"]);
    let escalating =
        NewMessage { escalate_after: Some(Duration::from_millis(1_001)), ..message("e", &["all"]) };
    let scheduled = NewMessage { topics: vec![], deliver_at: Some(Timestamp(1_234)), ..escalating.clone() };
    let for_ever = NewMessage { expires_at: Timestamp::NEVER, ..message("n", &["all"]) };
    let announcement = NewMessage { recalls: Some(name("plain")), ..escalating.clone() };
    append(store, vec![plain.clone(), escalating, scheduled, for_ever, announcement, plain]).await;
    let expected = [
        (1_234, DueKind::Deliver, vec![3]),
        (2_100, DueKind::Escalate(0), vec![2]),
        // What is over within the same ten seconds is looked at together.
        (10_000, DueKind::Expire, vec![1, 2, 6]),
    ];
    assert_eq!(all(store).await, expected);
}

pub async fn what_is_due_comes_in_the_order_of_time(store: &impl Store) {
    assert_eq!(store.next_due(Timestamp(0)).await.unwrap(), None);
    let entries = [
        entry(300, DueKind::Expire, &[1]),
        entry(100, DueKind::Escalate(1), &[7, 9]),
        entry(200, DueKind::Deliver, &[3]),
        entry(100, DueKind::Escalate(0), &[7]),
        Due { namespace: name("a"), ..entry(200, DueKind::Deliver, &[3]) },
    ];
    store.deal(vec![], entries.to_vec()).await.unwrap();
    let due = |from, until, limit| store.due(Timestamp(from), Timestamp(until), limit);
    let in_order = [3, 1, 4, 2, 0].map(|index: usize| entries[index].clone());
    for (from, until, limit, expected) in [
        (0, 1_000, 9, 0..5),
        (0, 1_000, 2, 0..2),
        (0, 199, 9, 0..2),
        (0, 200, 9, 0..4),
        (101, 300, 9, 2..5),
        (0, 99, 9, 0..0),
    ] {
        let found = due(from, until, limit).await.unwrap();
        assert_eq!(found, in_order[expected], "{limit} from {from} until {until}");
    }
    for (from, expected) in [(0, Some(100)), (100, Some(100)), (101, Some(200)), (301, None)] {
        assert_eq!(store.next_due(Timestamp(from)).await.unwrap(), expected.map(Timestamp), "{from}");
    }
}

pub async fn what_was_dealt_with_is_gone(store: &impl Store) {
    let (one, two, three) = (
        entry(100, DueKind::Expire, &[1, 2]),
        entry(100, DueKind::Expire, &[3]),
        entry(50, DueKind::Deliver, &[1]),
    );
    store.deal(vec![], vec![one.clone(), two.clone()]).await.unwrap();
    store.deal(vec![one.clone()], vec![three.clone()]).await.unwrap();
    // What is gone already goes without a word.
    store.deal(vec![one], vec![]).await.unwrap();
    assert_eq!(store.due(Timestamp(0), Timestamp::NEVER, 9).await.unwrap(), [three, two]);
}
