//! Statistics.
#![allow(missing_docs, reason = "each function is a sentence of the port, and its name says which")]
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "these are tests")]

use tidings_model::{Granularity, NamespaceName, Timestamp};

use super::given::{demo, name};
use crate::port::{Interval, Numbers, Store};

fn interval(namespace: &NamespaceName, granularity: Granularity, at: u64) -> Interval {
    Interval { namespace: namespace.clone(), granularity, at: Timestamp(at) }
}

fn minute(at: u64) -> Interval {
    interval(&demo(), Granularity::Minute, at)
}

fn numbers(pushes: u64) -> Numbers {
    Numbers { pushes, rooms: pushes + 1, ack_times: vec![pushes; 3], ..Numbers::default() }
}

async fn minutes(store: &impl Store, from: u64, until: u64, limit: usize) -> Vec<(u64, u64)> {
    let (from, until) = (Timestamp(from), Timestamp(until));
    let rows = store.tallied(&demo(), Granularity::Minute, from, until, limit).await.unwrap();
    rows.into_iter().map(|(at, numbers)| (at.0, numbers.pushes)).collect()
}

pub async fn rows_are_replaced_and_removed(store: &impl Store) {
    store.tally(vec![(minute(0), numbers(1)), (minute(60_000), numbers(2))], vec![]).await.unwrap();
    // What is removed and written in one call is there.
    let gone = vec![minute(0), minute(60_000), minute(9)];
    store.tally(vec![(minute(60_000), numbers(3))], gone).await.unwrap();
    let rows = store.tallied(&demo(), Granularity::Minute, Timestamp(0), Timestamp::NEVER, 9).await.unwrap();
    assert_eq!(rows, [(Timestamp(60_000), numbers(3))]);
    store.tally(vec![], vec![minute(60_000)]).await.unwrap();
    assert_eq!(minutes(store, 0, u64::MAX, 9).await, []);
}

pub async fn rows_are_read_by_time(store: &impl Store) {
    let rows = [300, 100, 200, 70_000].map(|at| (minute(at), numbers(at)));
    store.tally(rows.to_vec(), vec![]).await.unwrap();
    for (from, until, limit, expected) in [
        (0, u64::MAX, 9, &[100, 200, 300, 70_000][..]),
        (0, u64::MAX, 2, &[100, 200]),
        (100, 300, 9, &[100, 200]),
        (101, 301, 9, &[200, 300]),
        (200, 200, 9, &[]),
        (300, 100, 9, &[]),
    ] {
        let expected: Vec<_> = expected.iter().map(|at| (*at, *at)).collect();
        assert_eq!(minutes(store, from, until, limit).await, expected, "{limit} from {from} until {until}");
    }
}

pub async fn namespaces_have_their_own_rows(store: &impl Store) {
    let other = name("demo2");
    let rows = vec![
        (minute(0), numbers(1)),
        (interval(&other, Granularity::Minute, 0), numbers(2)),
        (interval(&demo(), Granularity::Hour, 0), numbers(3)),
    ];
    store.tally(rows, vec![]).await.unwrap();
    for (namespace, granularity, expected) in [
        (demo(), Granularity::Minute, vec![1]),
        (demo(), Granularity::Hour, vec![3]),
        (demo(), Granularity::Day, vec![]),
        (other, Granularity::Minute, vec![2]),
        (name("dem"), Granularity::Minute, vec![]),
    ] {
        let rows = store.tallied(&namespace, granularity, Timestamp(0), Timestamp::NEVER, 9).await.unwrap();
        let pushes: Vec<_> = rows.iter().map(|(_, numbers)| numbers.pushes).collect();
        assert_eq!(pushes, expected, "{namespace} {granularity:?}");
    }
}
