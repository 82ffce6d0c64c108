//! Random histories: the store on disk answers what the one in memory answers, reopened or not.

use proptest::collection::vec;
use proptest::prelude::*;
use tidings_model::{Durability, Epoch, Ordinal, Platform, Seq, Step as Happened, Timestamp};

use super::{directory, everything, open};
use crate::conformance::given::{DAY, chosen, demo, described, device, message, name, topic as given_topic};
use crate::conformance::{notices, run};
use crate::embedded::testing;
use crate::port::{From, NewId, Pile, ReceiptRecord, Recording, Term, TraceStep, Tries};
use crate::{MemoryStore, Store};

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Append { messages: Vec<(u8, u8, bool)>, day: u64, durable: bool },
    Read { topic: u8, from: u64, by_offset: bool, limit: usize },
    Register { device: u8, user: u8, platform: usize, now: u64 },
    Describe { device: u8, user: u8, platform: Option<usize>, number: u64, only: Option<u32> },
    Rooms { device: u32, join: Vec<u8>, leave: Vec<u8> },
    Settle { devices: Vec<(u32, u64, u64)> },
    Record { receipts: Vec<(u64, Vec<u32>)> },
    Notice { id: u8, what: u8 },
    Index { a: Vec<u64>, b: Vec<u64>, through: u64 },
    Put { key: u8, value: Option<u8> },
    Trim { through: u64 },
    Rewrite,
    WriteOut,
    Reopen,
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (vec((0u8..6, 0u8..3, any::<bool>()), 0..4), 0u64..3, any::<bool>())
            .prop_map(|(messages, day, durable)| Step::Append { messages, day, durable }),
        3 => (0u8..4, 0u64..12, any::<bool>(), 0usize..8)
            .prop_map(|(topic, from, by_offset, limit)| Step::Read { topic, from, by_offset, limit }),
        3 => (0u8..4, 0u8..3, 0usize..5, 0u64..50)
            .prop_map(|(device, user, platform, now)| Step::Register { device, user, platform, now }),
        2 => (0u8..4, 0u8..3, proptest::option::of(0usize..5), 0u64..50, proptest::option::of(0u32..4)).prop_map(
            |(device, user, platform, number, only)| Step::Describe { device, user, platform, number, only }
        ),
        2 => (0u32..6, vec(0u8..4, 0..3), vec(0u8..4, 0..3))
            .prop_map(|(device, join, leave)| Step::Rooms { device, join, leave }),
        2 => vec((0u32..6, 0u64..20, 0u64..100), 0..4).prop_map(|devices| Step::Settle { devices }),
        1 => vec((0u64..9, vec(any::<u32>(), 0..4)), 0..3).prop_map(|receipts| Step::Record { receipts }),
        2 => (0u8..9, 0u8..6).prop_map(|(id, what)| Step::Notice { id, what }),
        1 => (vec(0u64..40_000, 0..9), vec(0u64..9, 0..3), 0u64..9)
            .prop_map(|(a, b, through)| Step::Index { a, b, through }),
        1 => (0u8..3, proptest::option::of(any::<u8>())).prop_map(|(key, value)| Step::Put { key, value }),
        1 => (0u64..24).prop_map(|through| Step::Trim { through }),
        1 => Just(Step::WriteOut),
        1 => Just(Step::Rewrite),
        2 => Just(Step::Reopen),
    ]
}

const TOPICS: [&str; 4] = ["all", "room:a", "user:ann", "device:d1"];

/// Takes a step, and answers what the store said to it.
pub(crate) async fn take(store: &impl Store, step: &Step) -> String {
    match step {
        Step::Append { messages, day, durable } => {
            let new = messages.iter().map(|(id, kind, may_repeat)| {
                let mut new = chosen(&format!("m{id}"), *kind, day * (DAY - 1) + 1_000);
                if !may_repeat {
                    let kept = NewId::Kept(name(&format!("m{id}")));
                    new.id = if id % 2 == 0 { kept } else { NewId::Made { salt: (*id).into() } };
                }
                new.collapse_key = (*kind == 0).then(|| name("key"));
                new.meant = std::sync::Arc::new((0..u32::from(*id)).collect());
                new.topics = message("x", &TOPICS[usize::from(*kind)..=usize::from(*kind) + 1]).topics;
                new
            });
            let durability = if *durable { Durability::Durable } else { Durability::Memory };
            format!("{:?}", store.append(new.collect(), durability).await.unwrap())
        }
        Step::Read { topic, from, by_offset, limit } => {
            let topic = given_topic(TOPICS[usize::from(*topic)]);
            let from = if *by_offset { From::AfterOffset(*from) } else { From::After(Seq(*from)) };
            format!("{:?}", store.read_topic(&demo(), &topic, from, *limit).await.unwrap())
        }
        Step::Register { device: id, user, platform, now } => {
            let mut registration = device(&format!("d{id}"), ["", "ann", "bob"][usize::from(*user)], *now);
            registration.platform = Platform::ALL[*platform];
            format!("{:?}", store.register(registration).await.unwrap())
        }
        Step::Describe { device: id, user, platform, number, only } => {
            let user = ["", "ann", "bob"][usize::from(*user)];
            let mut description = described(&format!("d{id}"), user, *number);
            description.platform = platform.map(|index| Platform::ALL[index]);
            description.only = only.map(Ordinal);
            format!("{:?}", store.describe(description).await.unwrap())
        }
        Step::Rooms { device, join, leave } => {
            let rooms = |all: &[u8]| all.iter().map(|room| name(&format!("r{room}"))).collect();
            let changed = store.change_rooms(&demo(), Ordinal(*device), rooms(join), rooms(leave)).await;
            format!("{:?}", changed.unwrap())
        }
        Step::Settle { devices } => {
            let settled =
                devices.iter().map(|(ordinal, seq, at)| (Ordinal(*ordinal), Seq(*seq), Timestamp(*at)));
            format!("{:?}", store.settle(&demo(), settled.collect()).await.unwrap())
        }
        Step::Record { receipts } => {
            let records = receipts.iter().map(|(seq, acked)| {
                let acked = acked.iter().copied().collect();
                let recalled_at = seq.is_multiple_of(3).then_some(Timestamp(5));
                let record = ReceiptRecord { acked, recalled_at, ..ReceiptRecord::default() };
                Recording { namespace: demo(), seq: Seq(*seq), record: record.into(), steps: steps(*seq) }
            });
            format!("{:?}", store.record(records.collect(), Durability::Memory).await.unwrap())
        }
        Step::Notice { id, what } => {
            let (hook, notice) =
                (notices::hook(["one", "two"][usize::from(*id % 2)]), notices::notice(&format!("n{id}")));
            let attempts = Tries { failed: u32::from(*id), ..Tries::default() };
            let done = match what {
                0 | 1 => store.enqueue(vec![(hook, notice)]).await.map(|known| known.len() as u64),
                2 => store.attempted(&hook, &notice.id, attempts).await.map(|()| 0),
                3 => store.bury(&hook, vec![notice.id]).await,
                4 => store.revive(&hook, vec![notice.id]).await,
                _ => store.remove(&hook, Pile::Waiting, vec![notice.id]).await,
            };
            format!("{:?}", done.unwrap())
        }
        Step::Index { a, b, through } => {
            let seqs = |all: &[u64]| all.iter().copied().map(Seq).collect();
            let postings = vec![(Term::Word("a".into()), seqs(a)), (Term::Word("b".into()), seqs(b))];
            format!("{:?}", store.index(&demo(), postings, Seq(*through)).await.unwrap())
        }
        Step::Put { key, value } => {
            let value = value.map(|byte| bytes::Bytes::from(vec![byte]));
            format!("{:?}", store.put(&format!("k{key}"), value).await.unwrap())
        }
        Step::Trim { through } => {
            format!("{:?}", store.trim(&demo(), Seq(*through)).await.unwrap())
        }
        Step::WriteOut | Step::Rewrite | Step::Reopen => String::new(),
    }
}

fn steps(seq: u64) -> Vec<TraceStep> {
    let by = [seq as u32].into_iter().collect();
    let step = TraceStep { at: Timestamp(seq), step: Happened::Written, by, detail: String::new() };
    if seq.is_multiple_of(2) { vec![step] } else { Vec::new() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_disk_answers_as_memory_does(steps in vec(step(), 1..40)) {
        let directory = directory();
        run(async {
            let twin = MemoryStore::new(Epoch(7));
            let mut store = open(directory.path());
            for step in &steps {
                if matches!(step, Step::WriteOut) {
                    testing::write_out(&store);
                }
                if matches!(step, Step::Rewrite) {
                    testing::rewrite(&store);
                }
                if matches!(step, Step::Reopen) {
                    drop(store);
                    store = open(directory.path());
                }
                assert_eq!(take(&store, step).await, take(&twin, step).await, "{step:?}");
            }
            assert_eq!(everything(&store).await.unwrap(), everything(&twin).await.unwrap());
        });
    }
}
