//! What is accepted is counted in buckets, and what is trimmed is gone.

use tidings_model::{Durability, Granularity, NamespaceName, Ordinal, Seq, Step, Timestamp};

use super::given::{append, append_new, chosen, demo, device, message, name, register, stored, topic};
use crate::port::{
    Appended, Bucket, DueQueue, Erase, From, HookKey, Interval, LogSlice, Numbers, Order, Pile,
    ReceiptRecord, Recording, Registration, Span, Store, TraceStep, Tries, WaitingNotice, Which,
};

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
    let book = Recording { namespace: demo(), seq, record: record.into(), steps: vec![step] };
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

/// Messages, deadlines, a device in a room, a row and a notice: in `demo` and in a namespace whose name goes on where that
/// one ends.
async fn fill(store: &impl Store, namespace: &NamespaceName) {
    let mut new = message("m", &["all", "room:a"]);
    (new.namespace, new.escalate_after) = (namespace.clone(), Some(std::time::Duration::from_secs(1)));
    let mut later = message("later", &[]);
    (later.namespace, later.deliver_at, later.sent_at) =
        (namespace.clone(), Some(Timestamp(9_000)), Timestamp(9_000));
    append(store, vec![new, later]).await;
    let ann = Registration { namespace: namespace.clone(), ..device("d", "ann", 5) };
    let device = register(store, ann).await;
    let joined = store.change_rooms(namespace, device.device.ordinal, vec![name("a")], vec![]).await;
    assert_eq!(joined.ok().flatten().map(|rooms| rooms.len()), Some(1));
    let interval = Interval { namespace: namespace.clone(), granularity: Granularity::Day, at: Timestamp(0) };
    let row = (interval, Numbers { pushes: 1, ..Numbers::default() });
    assert_eq!(store.tally(vec![row], vec![]).await.ok(), Some(()));
    let hook = HookKey { namespace: namespace.clone(), hook: name("crm") };
    let notice = WaitingNotice {
        id: name("n1"),
        since: Timestamp(1),
        body: bytes::Bytes::from_static(b"{}"),
        attempts: Tries::default(),
    };
    assert_eq!(store.enqueue(vec![(hook, notice)]).await.ok(), Some(Vec::new()));
}

/// How much there is of a namespace: messages, deadlines, rows, devices, devices of the user, rooms, notices.
async fn count(store: &impl Store, namespace: &NamespaceName) -> [usize; 7] {
    let span = Span { first: Seq(1), last: Seq(99) };
    let messages = store.browse(namespace, span, Order::OldestFirst, 99).await.unwrap_or_default();
    let mut due = 0;
    for queue in DueQueue::ALL {
        let found = store.due(queue, Timestamp(0), Timestamp(99_000), 99).await.unwrap_or_default();
        due += found.iter().filter(|one| one.namespace == *namespace).count();
    }
    let (from, until) = (Timestamp(0), Timestamp(9));
    let rows = store.tallied(namespace, Granularity::Day, from, until, 9).await.unwrap_or_default();
    let census = store.census(namespace).await.unwrap_or_default();
    let devices: u64 = census.platforms.iter().map(|of| of.len()).sum();
    let of_user = store.devices(namespace, Which::OfUser(name("ann"))).await.unwrap_or_default();
    let hook = HookKey { namespace: namespace.clone(), hook: name("crm") };
    let notices = store.notices(&hook, Pile::Waiting, 9).await.unwrap_or_default();
    let lens = [messages.len(), due, rows.len(), devices as usize, of_user.len(), census.rooms.len()];
    let [a, b, c, d, e, f] = lens;
    [a, b, c, d, e, f, notices.len()]
}

/// "What has happened"; and "numbers go on where they were".
pub async fn what_has_happened_is_erased(store: &impl Store) {
    let other = name("demo2");
    fill(store, &demo()).await;
    fill(store, &other).await;
    let before = count(store, &demo()).await;
    assert_eq!(before, [2, 3, 1, 1, 1, 1, 1]);
    for _ in 0..2 {
        let erased = store.erase(&demo(), Erase::Happened).await;
        erased.unwrap_or_else(|error| panic!("erase: {error}"));
        assert_eq!(count(store, &demo()).await, [0, 0, 0, 1, 1, 1, 1]);
    }
    assert_eq!(count(store, &other).await, before);
    let next = append_new(store, message("next", &["all"])).await;
    assert_eq!((next.seq, next.topics[0].1), (Seq(3), 2));
    assert!(read(store, "all", From::AfterOffset(0)).await.truncated, "whoever missed something is told");
}

/// "That, and devices with their rooms, and what hooks are to be told"; "ordinals go on where they were".
pub async fn everything_is_erased(store: &impl Store) {
    let other = name("demo2");
    fill(store, &demo()).await;
    fill(store, &other).await;
    // More than goes in one change.
    for index in 0..1_500 {
        register(store, device(&format!("d{index}"), "bob", 5)).await;
    }
    let before = count(store, &other).await;
    for _ in 0..2 {
        let erased = store.erase(&demo(), Erase::Everything).await;
        erased.unwrap_or_else(|error| panic!("erase: {error}"));
        assert_eq!(count(store, &demo()).await, [0; 7]);
        let bobs = store.devices(&demo(), Which::OfUser(name("bob"))).await;
        assert_eq!(bobs.map(|devices| devices.len()).ok(), Some(0));
    }
    assert_eq!(count(store, &other).await, before);
    let again = register(store, device("d", "ann", 6)).await;
    assert!(again.new && again.device.rooms.is_empty());
    assert_eq!((again.device.ordinal, again.device.cursor), (Ordinal(1_501), Seq(2)));
}
