//! Receipts.
#![allow(missing_docs, reason = "each function is a sentence of the port, and its name says which")]
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "these are tests")]

use tidings_model::{NamespaceName, Seq};

use super::given::{demo, name};
use crate::port::{ACK_TIME_BUCKETS, ReceiptRecord, Store};

fn record(written: std::ops::Range<u32>, acked: std::ops::Range<u32>, times: usize) -> ReceiptRecord {
    ReceiptRecord {
        dropped: written.clone().filter(|device| !acked.contains(device)).step_by(3).collect(),
        written: written.collect(),
        acked: acked.collect(),
        ack_times: (0..times as u32).map(|bucket| bucket * 1_000_003).collect(),
    }
}

pub async fn receipts_are_replaced(store: &impl Store) {
    let one = record(0..5, 0..2, 3);
    let two = record(0..100_000, 5..90_000, ACK_TIME_BUCKETS);
    let all = vec![(demo(), Seq(1), one.clone()), (demo(), Seq(3), two.clone())];
    store.record(all).await.unwrap();
    let read = store.receipts(&demo(), vec![Seq(3), Seq(2), Seq(1)]).await.unwrap();
    assert_eq!(read, [Some(two.clone()), None, Some(one)]);
    store.record(vec![(demo(), Seq(1), ReceiptRecord::default())]).await.unwrap();
    // Twice in one call: the last one counts.
    let newest = record(7..9, 7..8, 1);
    let all = vec![(demo(), Seq(2), two.clone()), (demo(), Seq(2), newest.clone())];
    store.record(all).await.unwrap();
    let read = store.receipts(&demo(), vec![Seq(1), Seq(2), Seq(3)]).await.unwrap();
    assert_eq!(read, [Some(ReceiptRecord::default()), Some(newest), Some(two)]);
    store.record(vec![]).await.unwrap();
    let many: Vec<Seq> = (0..300).map(Seq).collect();
    assert_eq!(store.receipts(&demo(), many).await.unwrap().iter().flatten().count(), 3);
}

pub async fn namespaces_have_their_own_receipts(store: &impl Store) {
    let other: NamespaceName = name("demo2");
    let (here, there) = (record(0..1, 0..0, 0), record(0..2, 0..1, 0));
    let all = vec![(demo(), Seq(1), here.clone()), (other.clone(), Seq(1), there.clone())];
    store.record(all).await.unwrap();
    assert_eq!(store.receipts(&demo(), vec![Seq(1)]).await.unwrap(), [Some(here)]);
    assert_eq!(store.receipts(&other, vec![Seq(1)]).await.unwrap(), [Some(there)]);
    assert_eq!(store.receipts(&name("dem"), vec![Seq(1)]).await.unwrap(), [None]);
}
