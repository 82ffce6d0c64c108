//! Deadlines: what messages leave to be done, in which order it is found, when it is gone.
#![allow(missing_docs, reason = "each function is a sentence of the port, and its name says which")]
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "these are tests")]

use std::time::Duration;

use tidings_model::{Seq, Timestamp};

use super::given::{append, demo, message, name};
use crate::port::{Due, DueKind, DueQueue, NewMessage, Store};

async fn all(store: &impl Store) -> Vec<(u64, DueKind, Vec<u64>)> {
    let mut all = Vec::new();
    for queue in DueQueue::ALL {
        for due in store.due(queue, Timestamp(0), Timestamp::NEVER, 100).await.unwrap() {
            all.push((due.at.0, due.what, due.seqs.iter().map(|seq| seq.0).collect()));
        }
    }
    all
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
    use DueQueue::{Deliver, Escalate, Expire};
    assert_eq!(store.next_due(Deliver, Timestamp(0)).await.unwrap(), None);
    let entries = [
        entry(300, DueKind::Escalate(0), &[1]),
        entry(100, DueKind::Escalate(1), &[7, 9]),
        entry(200, DueKind::Escalate(0), &[3]),
        entry(100, DueKind::Escalate(0), &[7]),
        Due { namespace: name("a"), ..entry(200, DueKind::Escalate(0), &[3]) },
        entry(150, DueKind::Deliver, &[4]),
        entry(300, DueKind::Again, &[1]),
        entry(u64::MAX, DueKind::Expire, &[5]),
    ];
    store.deal(vec![], entries.to_vec()).await.unwrap();
    let in_order = [3, 1, 4, 2, 0, 6].map(|index: usize| entries[index].clone());
    for (from, until, limit, expected) in [
        (0, 1_000, 9, 0..6),
        (0, u64::MAX, 9, 0..6),
        (0, 1_000, 2, 0..2),
        (0, 199, 9, 0..2),
        (0, 200, 9, 0..4),
        (101, 300, 9, 2..6),
        (0, 99, 9, 0..0),
    ] {
        let found = store.due(Escalate, Timestamp(from), Timestamp(until), limit).await.unwrap();
        assert_eq!(found, in_order[expected], "{limit} from {from} until {until}");
    }
    for (queue, from, expected) in [
        (Escalate, 0, Some(100)),
        (Escalate, 100, Some(100)),
        (Escalate, 101, Some(200)),
        (Escalate, 301, None),
        (Deliver, 0, Some(150)),
        (Deliver, 151, None),
        (Expire, 0, Some(u64::MAX)),
    ] {
        let next = store.next_due(queue, Timestamp(from)).await.unwrap();
        assert_eq!(next, expected.map(Timestamp), "{queue:?} {from}");
    }
    assert_eq!(store.due(Expire, Timestamp(0), Timestamp::NEVER, 9).await.unwrap(), entries[7..]);
}

pub async fn what_was_dealt_with_is_gone(store: &impl Store) {
    let (one, two, three) = (
        entry(100, DueKind::Expire, &[1, 2]),
        entry(100, DueKind::Expire, &[3]),
        entry(50, DueKind::Expire, &[1]),
    );
    store.deal(vec![], vec![one.clone(), two.clone()]).await.unwrap();
    store.deal(vec![one.clone()], vec![three.clone()]).await.unwrap();
    // What is gone already goes without a word.
    store.deal(vec![one], vec![]).await.unwrap();
    let left = store.due(DueQueue::Expire, Timestamp(0), Timestamp::NEVER, 9).await.unwrap();
    assert_eq!(left, [three, two]);
}
