//! History: messages in a row, and the index.
#![allow(missing_docs, reason = "each function is a sentence of the port, and its name says which")]
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "these are tests")]

use std::collections::BTreeSet;
use std::sync::Arc;

use tidings_model::{Durability, Seq, Timestamp};

use super::given::{append, append_new, demo, message, name, topic};
use crate::port::{Found, NewMessage, Order, ReceiptRecord, Recording, Span, Store, Term};

const EVERYTHING: Span = Span { first: Seq(0), last: Seq(u64::MAX) };

fn word(text: &str) -> Term {
    Term::Word(text.into())
}

fn seqs(seqs: &[u64]) -> Vec<Seq> {
    seqs.iter().copied().map(Seq).collect()
}

fn span(first: u64, last: u64) -> Span {
    Span { first: Seq(first), last: Seq(last) }
}

async fn find(store: &impl Store, wanted: &[&[Term]], order: Order) -> Vec<u64> {
    let wanted = wanted.iter().map(|any| any.to_vec()).collect();
    let span = span(0, 200_000);
    let found = store.search(&demo(), wanted, span, order, usize::MAX).await.unwrap();
    assert_eq!(found.rest, None);
    found.seqs.into_iter().map(|seq| seq.0).collect()
}

pub async fn messages_come_in_a_row(store: &impl Store) {
    let scheduled = NewMessage { topics: vec![], deliver_at: Some(Timestamp(9)), ..message("s", &[]) };
    append(store, (1..=5).map(|n| message(&format!("m{n}"), &["all"])).collect()).await;
    let gone = append_new(store, scheduled.clone()).await.seq;
    append_new(store, NewMessage { topics: vec![topic("all")], replaces: Some(gone), ..scheduled }).await;
    for (span, order, limit, expected) in [
        (EVERYTHING, Order::OldestFirst, 9, vec![1, 2, 3, 4, 5, 7]),
        (EVERYTHING, Order::NewestFirst, 9, vec![7, 5, 4, 3, 2, 1]),
        (EVERYTHING, Order::NewestFirst, 2, vec![7, 5]),
        (span(2, 4), Order::OldestFirst, 2, vec![2, 3]),
        (span(2, 4), Order::NewestFirst, 99, vec![4, 3, 2]),
        (span(6, 6), Order::NewestFirst, 9, vec![]),
        (span(5, 4), Order::OldestFirst, 9, vec![]),
    ] {
        let found = store.browse(&demo(), span, order, limit).await.unwrap();
        let found: Vec<u64> = found.iter().map(|message| message.seq.0).collect();
        assert_eq!(found, expected, "{span:?} {order:?} {limit}");
    }
    let other = store.browse(&name("demo2"), EVERYTHING, Order::OldestFirst, 9).await.unwrap();
    assert!(other.is_empty());
}

pub async fn the_index_grows(store: &impl Store) {
    assert_eq!(store.indexed(&demo()).await.unwrap(), Seq(0));
    assert_eq!(find(store, &[&[word("a")]], Order::OldestFirst).await, [0; 0]);
    let event = Term::Event(name("push"));
    let to = Term::To(topic("room:a"));
    let postings = vec![
        (word("a"), seqs(&[1, 2, 20_000])),
        (word("ab"), seqs(&[2])),
        (event.clone(), seqs(&[1, 2])),
        (to.clone(), seqs(&[2, 20_000])),
        (Term::Recalled, seqs(&[1])),
    ];
    store.index(&demo(), postings, Seq(20_001)).await.unwrap();
    store.index(&demo(), vec![(word("a"), seqs(&[2, 3]))], Seq(20_002)).await.unwrap();
    store.index(&name("demo2"), vec![(word("a"), seqs(&[7]))], Seq(8)).await.unwrap();
    assert_eq!(store.indexed(&demo()).await.unwrap(), Seq(20_002));
    let (a, ab) = (word("a"), word("ab"));
    for (wanted, expected) in [
        (&[std::slice::from_ref(&a)] as &[&[Term]], vec![1, 2, 3, 20_000]),
        (&[std::slice::from_ref(&ab)], vec![2]),
        (&[std::slice::from_ref(&a), std::slice::from_ref(&to)], vec![2, 20_000]),
        (&[std::slice::from_ref(&a), std::slice::from_ref(&event), std::slice::from_ref(&to)], vec![2]),
        (&[&[ab.clone(), to.clone()]], vec![2, 20_000]),
        (&[std::slice::from_ref(&a), &[ab.clone(), event.clone()]], vec![1, 2]),
        (&[&[word("")]], vec![]),
        (&[&[Term::Recalled]], vec![]),
        (&[std::slice::from_ref(&a), &[]], vec![]),
        (&[], vec![]),
    ] {
        assert_eq!(find(store, wanted, Order::OldestFirst).await, expected, "{wanted:?}");
        let backwards: Vec<u64> = expected.into_iter().rev().collect();
        assert_eq!(find(store, wanted, Order::NewestFirst).await, backwards, "{wanted:?}");
    }
}

pub async fn a_search_goes_on_where_it_stopped(store: &impl Store) {
    let all: BTreeSet<u64> = (1..4_000u64).map(|n| n * n % 70_001).collect();
    let all: Vec<u64> = all.into_iter().collect();
    store.index(&demo(), vec![(word("a"), seqs(&all))], Seq(70_001)).await.unwrap();
    for (within, order, limit) in [
        (span(0, 200_000), Order::OldestFirst, 1_000),
        (span(0, 200_000), Order::NewestFirst, 333),
        (span(16_384, 32_767), Order::NewestFirst, 7),
        (span(16_000, 33_000), Order::OldestFirst, 100),
        (span(0, 0), Order::NewestFirst, 1),
        (span(9, 8), Order::NewestFirst, 1),
    ] {
        let mut expected: Vec<Seq> =
            all.iter().copied().map(Seq).filter(|seq| within.contains(*seq)).collect();
        if order == Order::NewestFirst {
            expected.reverse();
        }
        let (mut seen, mut rest) = (Vec::new(), Some(within));
        while let Some(span) = rest {
            let found = store.search(&demo(), vec![vec![word("a")]], span, order, limit).await.unwrap();
            assert!(found.seqs.len() <= limit);
            assert!(found.rest != Some(span), "it goes on");
            seen.extend(found.seqs);
            rest = found.rest;
        }
        assert_eq!(seen, expected, "{within:?} {order:?} {limit}");
    }
    let none = store.search(&demo(), vec![vec![word("a")]], span(1, 9), Order::OldestFirst, 0).await.unwrap();
    assert_eq!(none, Found { seqs: vec![], rest: Some(span(1, 9)) });
}

pub async fn what_is_scheduled_is_known(store: &impl Store) {
    let scheduled = |id| NewMessage { topics: vec![], deliver_at: Some(Timestamp(9)), ..message(id, &[]) };
    append(store, vec![message("m", &["all"]), scheduled("s"), scheduled("t")]).await;
    let wanted: &[&[Term]] = &[&[Term::Scheduled]];
    assert_eq!(find(store, wanted, Order::OldestFirst).await, [2, 3]);
    append_new(store, NewMessage { replaces: Some(Seq(2)), ..message("s", &["all"]) }).await;
    assert_eq!(find(store, wanted, Order::OldestFirst).await, [3]);
    append_new(store, NewMessage { replaces: Some(Seq(3)), ..message("t", &["all"]) }).await;
    assert_eq!(find(store, wanted, Order::OldestFirst).await, [0; 0]);
}

pub async fn what_was_recalled_is_known(store: &impl Store) {
    let book = |seq, recalled_at: Option<u64>| Recording {
        namespace: demo(),
        seq: Seq(seq),
        record: Arc::new(ReceiptRecord {
            recalled_at: recalled_at.map(Timestamp),
            ..ReceiptRecord::default()
        }),
        steps: vec![],
    };
    let books = vec![book(1, None), book(2, Some(5)), book(4, Some(6))];
    store.record(books, Durability::Durable).await.unwrap();
    store.record(vec![book(3, Some(5)), book(2, Some(5))], Durability::Memory).await.unwrap();
    assert_eq!(find(store, &[&[Term::Recalled]], Order::NewestFirst).await, [4, 3, 2]);
}
