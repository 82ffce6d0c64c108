//! What is accepted is counted in buckets, and what is trimmed is gone.

use tidings_model::{Durability, Seq, Step, Timestamp};

use super::given::{append_new, chosen, demo, message, name, stored, topic};
use crate::port::{Appended, Bucket, From, LogSlice, ReceiptRecord, Recording, Store, TraceStep};

const HOUR: u64 = 60 * 60 * 1000;

async fn append_at(store: &impl Store, id: &str, topics: &[&str], at: u64) -> Seq {
    let mut new = message(id, topics);
    (new.accepted_at, new.sent_at, new.expires_at) = (Timestamp(at), Timestamp(at), Timestamp(at + 7));
    append_new(store, new).await.seq
}

async fn buckets(store: &impl Store) -> Vec<Bucket> {
    store.buckets(&demo()).await.unwrap_or_else(|error| panic!("buckets: {error}"))
}

async fn trim(store: &impl Store, through: u64) {
    store.trim(&demo(), Seq(through)).await.unwrap_or_else(|error| panic!("trim: {error}"));
}

async fn read(store: &impl Store, of: &str, from: From) -> LogSlice {
    let slice = store.read_topic(&demo(), &topic(of), from, 9).await;
    slice.unwrap_or_else(|error| panic!("read_topic: {error}"))
}

async fn record(store: &impl Store, seq: Seq) {
    let by = [1].into_iter().collect();
    let step = TraceStep { at: Timestamp(1), step: Step::Written, by, detail: String::new() };
    let record = ReceiptRecord { acked: [1].into_iter().collect(), ..ReceiptRecord::default() };
    let book = Recording { namespace: demo(), seq, record, steps: vec![step] };
    store.record(vec![book], Durability::Durable).await.unwrap_or_else(|error| panic!("record: {error}"));
}

/// "in buckets of an hour or less".
pub async fn buckets_count_what_was_accepted(store: &impl Store) {
    assert_eq!(buckets(store).await, []);
    for (id, at) in [("a", 5), ("b", HOUR - 1), ("c", HOUR), ("d", 5 * HOUR), ("e", 3 * HOUR)] {
        append_at(store, id, &["all", "room:a"], at).await;
    }
    let found = buckets(store).await;
    let seen: Vec<_> = found
        .iter()
        .map(|one| (one.first.0, one.last.0, one.messages, one.since.0, one.until.0, one.expires_at.0))
        .collect();
    let expected = [
        (1, 2, 2, 5, HOUR - 1, HOUR + 6),
        (3, 3, 1, HOUR, HOUR, HOUR + 7),
        (4, 4, 1, 5 * HOUR, 5 * HOUR, 5 * HOUR + 7),
        (5, 5, 1, 3 * HOUR, 3 * HOUR, 3 * HOUR + 7),
    ];
    assert_eq!(seen, expected);
    assert!(found[0].bytes == 2 * found[1].bytes && found[1].bytes > 100, "{found:?}");
    assert_eq!(store.buckets(&name("other")).await.ok(), Some(vec![]));
}

/// "Takes all messages up to this number away".
pub async fn what_is_trimmed_is_gone(store: &impl Store) {
    for id in ["a", "b", "c"] {
        let seq = append_at(store, id, &["all", "room:a"], 5).await;
        record(store, seq).await;
    }
    let last = append_at(store, "d", &["room:b"], 5 * HOUR).await;
    assert_eq!(store.trimmed(&demo()), Seq(0));
    trim(store, 3).await;
    assert_eq!(store.trimmed(&demo()), Seq(3));
    assert_eq!(store.head(&demo()), last);
    let seqs: Vec<Seq> = (1..=4).map(Seq).collect();
    let messages = store.messages(&demo(), seqs.clone()).await.unwrap_or_default();
    assert_eq!(messages.iter().map(Option::is_some).collect::<Vec<_>>(), [false, false, false, true]);
    for id in ["a", "b", "c"] {
        assert_eq!(store.find(&demo(), &name(id)).await.ok(), Some(None));
    }
    assert_eq!(store.find(&demo(), &name("d")).await.ok(), Some(Some(last)));
    let receipts = store.receipts(&demo(), seqs.clone()).await.unwrap_or_default();
    assert!(receipts.iter().all(Option::is_none), "{receipts:?}");
    // Nor does it come back by what the ledger still has to say of it.
    record(store, Seq(3)).await;
    assert_eq!(store.receipts(&demo(), seqs).await.ok(), Some(vec![None; 4]));
    assert_eq!(store.steps(&demo(), Seq(3)).await.ok(), Some(vec![]));
    assert_eq!(buckets(store).await.len(), 1);
    // Not again, and no further than there is anything.
    trim(store, 2).await;
    assert_eq!(store.trimmed(&demo()), Seq(3));
    trim(store, 99).await;
    assert_eq!((store.trimmed(&demo()), buckets(store).await), (Seq(4), vec![]));
    assert_eq!(store.trimmed(&name("other")), Seq(0));
}

/// "Offsets and numbers go on where they were."
pub async fn a_trimmed_topic_goes_on(store: &impl Store) {
    for index in 0..3 {
        append_at(store, &format!("m{index}"), &["all"], 5).await;
    }
    trim(store, 3).await;
    let gone = LogSlice { entries: vec![], truncated: true, head: 3 };
    assert_eq!(read(store, "all", From::AfterOffset(0)).await, gone);
    assert_eq!(read(store, "all", From::After(Seq(2))).await, gone);
    // Who has all of it misses nothing.
    for from in [From::AfterOffset(3), From::After(Seq(3))] {
        assert_eq!(read(store, "all", from).await, LogSlice { truncated: false, ..gone.clone() });
    }
    assert_eq!(store.read_topic_back(&demo(), &topic("all"), 9, 9).await.ok(), Some(vec![]));
    let next = append_new(store, message("next", &["all", "room:a"])).await;
    assert_eq!((next.seq, next.topics[0].1), (Seq(4), 4));
    let expected = LogSlice { entries: vec![(4, Seq(4))], truncated: true, head: 4 };
    assert_eq!(read(store, "all", From::AfterOffset(1)).await, expected);
    assert_eq!(read(store, "all", From::After(Seq(1))).await, expected);
    for from in [From::AfterOffset(3), From::After(Seq(3))] {
        assert_eq!(read(store, "all", from).await, LogSlice { truncated: false, ..expected.clone() });
    }
    // A topic that lost nothing says so, from wherever it is read.
    assert!(!read(store, "room:a", From::After(Seq(0))).await.truncated);
    let back = store.read_topic_back(&demo(), &topic("all"), 9, 9).await;
    assert_eq!(back.ok(), Some(vec![(4, Seq(4))]));
    let since = buckets(store).await;
    assert_eq!((since.len(), since[0].first, since[0].messages), (1, Seq(4), 1));
}

/// "their ids".
pub async fn a_trimmed_id_is_free(store: &impl Store) {
    let first = append_new(store, chosen("m", 1, 1_000)).await;
    trim(store, first.seq.0).await;
    // Neither a duplicate nor a conflict, well within a day.
    for (print, expected) in [(1, Seq(2)), (2, Seq(3))] {
        let again = append_new(store, chosen("m", print, 1_001)).await;
        assert_eq!((again.seq, stored(store, &demo(), expected).await.is_some()), (expected, true));
        if print == 1 {
            let repeated = super::given::append(store, vec![chosen("m", 1, 1_002)]).await;
            assert!(matches!(&repeated[..], [Appended::Duplicate(found)] if found.seq == expected));
            trim(store, expected.0).await;
        }
    }
}

/// A message is collapsed with what is there, not with what was.
pub async fn what_is_trimmed_is_not_collapsed(store: &impl Store) {
    let keyed = |id: &str| {
        let mut new = message(id, &["all"]);
        new.collapse_key = Some(name("score"));
        new.meant = std::sync::Arc::new([1].into_iter().collect());
        new
    };
    let first = append_new(store, keyed("a")).await;
    trim(store, first.seq.0).await;
    let appended = super::given::append(store, vec![keyed("b")]).await;
    assert!(matches!(&appended[..], [Appended::New(_, older)] if older.is_empty()), "{appended:?}");
}
