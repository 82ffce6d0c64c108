//! Long tests: both stores held to the port and to each other, and what only a disk can do wrong.

mod backup;
mod conformance;
mod damage;
mod full;
mod killed;
pub(crate) mod model;
mod reopening;
mod retention;

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use tidings_model::{Durability, Epoch, Granularity, NamespaceName, Seq, Step, Timestamp};

use crate::conformance::given::demo;
use crate::port::{
    Bucket, Census, Device, Due, DueQueue, From, HookKey, Interval, Numbers, Order, Pile, Piles,
    ReceiptRecord, Recording, Span, Term, TraceStep, Tries, WaitingNotice, Which,
};
use crate::{DueKind, EmbeddedStore, LogSlice, Options, StoreError};

/// A directory to write to. One in memory, where there is one: these tests ask what was written, and an
/// `fdatasync` of a real disk would only make them slow.
pub(crate) fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.unwrap()
}

pub(crate) fn open(path: &Path) -> EmbeddedStore {
    try_open(path).unwrap()
}

fn try_open(path: &Path) -> Result<EmbeddedStore, StoreError> {
    EmbeddedStore::open(path, Options::new(Epoch(7)))
}

/// A copy of a directory as it is now: of an open store, what a crash at this moment would leave.
fn image(path: &Path) -> TempDir {
    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let target = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                copy(&entry.path(), &target);
            } else {
                fs::copy(entry.path(), target).unwrap();
            }
        }
    }
    let image = directory();
    copy(path, image.path());
    image
}

/// Everything that can be asked of a store about the namespace `demo`.
#[derive(Debug, PartialEq)]
pub(crate) struct Everything {
    pub(crate) epoch: Epoch,
    pub(crate) head: Seq,
    pub(crate) messages: Vec<Option<std::sync::Arc<tidings_model::Message>>>,
    ids: Vec<Option<Seq>>,
    logs: Vec<LogSlice>,
    devices: Vec<Option<Device>>,
    by_id: Vec<Option<Device>>,
    of_user: Vec<Option<Device>>,
    census: Census,
    receipts: Vec<Option<ReceiptRecord>>,
    steps: Vec<Vec<TraceStep>>,
    due: Vec<Due>,
    numbers: Vec<(Timestamp, Numbers)>,
    piles: Vec<(HookKey, Piles)>,
    notices: Vec<Vec<WaitingNotice>>,
    buckets: Vec<Bucket>,
    trimmed: Seq,
    pub(crate) indexed: Seq,
    browsed: Vec<std::sync::Arc<tidings_model::Message>>,
    pub(crate) found: Vec<Vec<Seq>>,
    settings: Vec<(String, bytes::Bytes)>,
}

pub(crate) async fn everything(store: &impl crate::Store) -> Result<Everything, StoreError> {
    let namespace: NamespaceName = demo();
    let head = store.head(&namespace);
    let seqs: Vec<Seq> = (0..=head.0 + 1).map(Seq).collect();
    let messages = store.messages(&namespace, seqs.clone()).await?;
    let mut ids = Vec::new();
    let mut topics = std::collections::BTreeSet::new();
    for message in messages.iter().flatten() {
        ids.push(store.find(&namespace, &message.id).await?);
        topics.extend(message.topics.iter().map(|(topic, _)| topic.clone()));
    }
    let mut logs = Vec::new();
    for topic in &topics {
        logs.push(store.read_topic(&namespace, topic, From::AfterOffset(0), usize::MAX).await?);
    }
    let ordinals = (0..64).map(tidings_model::Ordinal).collect();
    let devices = store.devices(&namespace, Which::Ordinals(ordinals)).await?;
    let known = devices.iter().flatten().map(|device| device.id.clone()).collect();
    let by_id = store.devices(&namespace, Which::Ids(known)).await?;
    let mut of_user = Vec::new();
    for user in ["ann", "bob"] {
        of_user.extend(store.devices(&namespace, Which::OfUser(user.parse().unwrap())).await?);
    }
    let mut steps = Vec::new();
    for seq in &seqs {
        steps.push(store.steps(&namespace, *seq).await?);
    }
    let mut due = Vec::new();
    for queue in DueQueue::ALL {
        due.extend(store.due(queue, Timestamp(0), Timestamp::NEVER, usize::MAX).await?);
    }
    let piles = store.piles().await?;
    let mut notices = Vec::new();
    for (hook, _) in &piles {
        for pile in [Pile::Waiting, Pile::Dead] {
            notices.push(store.notices(hook, pile, usize::MAX).await?);
        }
    }
    let span = Span { first: Seq(0), last: Seq(200_000) };
    let browsed = store.browse(&namespace, span, Order::NewestFirst, usize::MAX).await?;
    let mut found = Vec::new();
    for what in [Term::Word("a".into()), Term::Word("b".into()), Term::Scheduled, Term::Recalled] {
        let seen = store.search(&namespace, vec![vec![what]], span, Order::NewestFirst, usize::MAX).await?;
        found.push(seen.seqs);
    }
    Ok(Everything {
        epoch: store.epoch(),
        head,
        messages,
        ids,
        logs,
        devices,
        by_id,
        of_user,
        census: store.census(&namespace).await?,
        receipts: store.receipts(&namespace, seqs).await?,
        steps,
        due,
        numbers: store
            .tallied(&namespace, Granularity::Hour, Timestamp(0), Timestamp::NEVER, usize::MAX)
            .await?,
        piles,
        notices,
        buckets: store.buckets(&namespace).await?,
        trimmed: store.trimmed(&namespace),
        indexed: store.indexed(&namespace).await?,
        browsed,
        found,
        settings: store.list("").await?,
    })
}

/// Puts something of every kind into a store.
pub(crate) async fn fill(store: &impl crate::Store) {
    use crate::conformance::given::{append, chosen, described, device, message, register};
    use crate::conformance::notices;
    for index in 0..6 {
        let topics: &[&str] = if index % 2 == 0 { &["all"] } else { &["room:a", "user:ann"] };
        append(store, vec![message(&format!("m{index}"), topics)]).await;
        append(store, vec![chosen(&format!("c{index}"), 1, 1_000)]).await;
        let user = if index % 2 == 0 { "ann" } else { "bob" };
        let ordinal = register(store, device(&format!("d{index}"), user, index)).await.device.ordinal;
        let rooms = vec!["a".parse().unwrap(), format!("r{index}").parse().unwrap()];
        store.change_rooms(&demo(), ordinal, rooms, vec![]).await.unwrap();
        if index % 2 == 1 {
            store.describe(described(&format!("d{index}"), user, index)).await.unwrap();
        }
        let again = Due {
            at: Timestamp(90 + index),
            what: DueKind::Again,
            namespace: demo(),
            seqs: vec![Seq(index + 1)],
        };
        store.deal(vec![], vec![again]).await.unwrap();
        let settled = vec![(ordinal, Seq(index), Timestamp(50 + index))];
        store.settle(&demo(), settled).await.unwrap();
        let record = ReceiptRecord {
            written: (0..9).collect(),
            acked: (0..4).collect(),
            dropped: [(9..11).collect(), Default::default(), (11..12).collect()],
            ack_times: vec![4],
            recalled_at: (index == 2).then_some(Timestamp(60)),
            held: (0..index as u32 / 3).collect(),
            ..ReceiptRecord::default()
        };
        let by = (0..9).collect();
        let step = TraceStep { at: Timestamp(index), step: Step::Written, by, detail: String::new() };
        let books =
            Recording { namespace: demo(), seq: Seq(index + 1), record: record.into(), steps: vec![step] };
        store.record(vec![books], Durability::Memory).await.unwrap();
        let hour = Interval { namespace: demo(), granularity: Granularity::Hour, at: Timestamp(index) };
        let numbers = Numbers { pushes: index, ack_times: vec![0, index], ..Numbers::default() };
        store.tally(vec![(hour, numbers)], vec![]).await.unwrap();
        let hook = notices::hook(if index % 2 == 0 { "one" } else { "two" });
        let notice = notices::notice(&format!("n{index}"));
        store.enqueue(vec![(hook.clone(), notice.clone())]).await.unwrap();
        let attempts = Tries { failed: 1, ..Tries::default() };
        store.attempted(&hook, &notice.id, attempts).await.unwrap();
        if index % 3 == 0 {
            store.bury(&hook, vec![notice.id]).await.unwrap();
        }
        let postings = vec![(Term::Word("a".into()), vec![Seq(index), Seq(index * 20_000)])];
        store.index(&demo(), postings, Seq(index)).await.unwrap();
        store.put(&format!("key/{index}"), Some(bytes::Bytes::from_static(b"value"))).await.unwrap();
    }
    register(store, device("d0", "bob", 9)).await;
    store.put("key/0", None).await.unwrap();
}
