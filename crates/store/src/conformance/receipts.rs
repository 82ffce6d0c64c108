//! Receipts.
#![allow(missing_docs, reason = "each function is a sentence of the port, and its name says which")]
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "these are tests")]

use std::sync::Arc;

use roaring::RoaringBitmap;
use tidings_model::{Durability, NamespaceName, Seq, Step, Timestamp};

use super::given::{demo, name};
use crate::port::{ACK_TIME_BUCKETS, ReceiptRecord, Recording, Store, TraceStep};

fn record(written: std::ops::Range<u32>, acked: std::ops::Range<u32>, times: usize) -> ReceiptRecord {
    ReceiptRecord {
        dropped: std::array::from_fn(|why| {
            written.clone().filter(|device| !acked.contains(device)).skip(why).step_by(9).collect()
        }),
        escalated: written.clone().step_by(7).collect(),
        held: written.clone().step_by(11).collect(),
        recalled_at: (times == 3).then_some(Timestamp(5)),
        announced: (times == 3).then_some(Seq(9)),
        attempts: Vec::new(),
        written: written.collect(),
        acked: acked.collect(),
        ack_times: (0..times as u32).map(|bucket| bucket * 1_000_003).collect(),
        first_steps: (times == 3).then(|| step(5, Step::Written, &[1, 2])).into_iter().collect(),
    }
}

fn books(records: Vec<(NamespaceName, Seq, ReceiptRecord)>) -> Vec<Recording> {
    let plain =
        |(namespace, seq, record)| Recording { namespace, seq, record: Arc::new(record), steps: Vec::new() };
    records.into_iter().map(plain).collect()
}

async fn write(store: &impl Store, records: Vec<(NamespaceName, Seq, ReceiptRecord)>) {
    store.record(books(records), Durability::Memory).await.unwrap();
}

fn step(at: u64, step: Step, by: &[u32]) -> TraceStep {
    TraceStep {
        at: Timestamp(at),
        step,
        by: by.iter().copied().collect::<RoaringBitmap>(),
        detail: String::new(),
    }
}

pub async fn steps_are_added(store: &impl Store) {
    assert_eq!(store.steps(&demo(), Seq(1)).await.unwrap(), []);
    let (one, two, three) =
        (step(5, Step::Written, &[1, 2]), step(6, Step::Acked, &[2]), step(4, Step::ConnectionLost, &[1]));
    let of = |seq, steps: &[&TraceStep]| {
        let steps = steps.iter().map(|step| (*step).clone()).collect();
        Recording { namespace: demo(), seq: Seq(seq), record: Arc::default(), steps }
    };
    // Twice in one call, in another call, of another message.
    store.record(vec![of(1, &[&one]), of(2, &[&one]), of(1, &[&two])], Durability::Memory).await.unwrap();
    store.record(vec![of(1, &[&three])], Durability::Durable).await.unwrap();
    store.record(vec![of(1, &[])], Durability::Memory).await.unwrap();
    assert_eq!(store.steps(&demo(), Seq(1)).await.unwrap(), [one.clone(), two, three]);
    assert_eq!(store.steps(&demo(), Seq(2)).await.unwrap(), [one]);
    assert_eq!(store.steps(&name("demo2"), Seq(1)).await.unwrap(), []);
}

pub async fn receipts_are_replaced(store: &impl Store) {
    let one = record(0..5, 0..2, 3);
    let two = record(0..100_000, 5..90_000, ACK_TIME_BUCKETS);
    let all = vec![(demo(), Seq(1), one.clone()), (demo(), Seq(3), two.clone())];
    write(store, all).await;
    let read = store.receipts(&demo(), vec![Seq(3), Seq(2), Seq(1)]).await.unwrap();
    assert_eq!(read, [Some(two.clone()), None, Some(one)]);
    write(store, vec![(demo(), Seq(1), ReceiptRecord::default())]).await;
    // Twice in one call: the last one counts.
    let newest = record(7..9, 7..8, 1);
    let all = vec![(demo(), Seq(2), two.clone()), (demo(), Seq(2), newest.clone())];
    write(store, all).await;
    let read = store.receipts(&demo(), vec![Seq(1), Seq(2), Seq(3)]).await.unwrap();
    assert_eq!(read, [Some(ReceiptRecord::default()), Some(newest), Some(two)]);
    write(store, vec![]).await;
    let many: Vec<Seq> = (0..300).map(Seq).collect();
    assert_eq!(store.receipts(&demo(), many).await.unwrap().iter().flatten().count(), 3);
}

pub async fn namespaces_have_their_own_receipts(store: &impl Store) {
    let other: NamespaceName = name("demo2");
    let (here, there) = (record(0..1, 0..0, 0), record(0..2, 0..1, 0));
    let all = vec![(demo(), Seq(1), here.clone()), (other.clone(), Seq(1), there.clone())];
    write(store, all).await;
    assert_eq!(store.receipts(&demo(), vec![Seq(1)]).await.unwrap(), [Some(here)]);
    assert_eq!(store.receipts(&other, vec![Seq(1)]).await.unwrap(), [Some(there)]);
    assert_eq!(store.receipts(&name("dem"), vec![Seq(1)]).await.unwrap(), [None]);
}
