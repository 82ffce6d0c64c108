//! Messages and topic logs: order, offsets, ids, reading.
#![allow(missing_docs, reason = "each function is a sentence of the port, and its name says which")]
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "these are tests")]

use std::collections::{BTreeMap, HashMap};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use tidings_model::{
    Durability, Except, MessageId, NamespaceName, Platform, Priority, Sender, Seq, Target, Timestamp, Topic,
};
use tokio::task::coop;

use super::given::{DAY, append, append_new, chosen, demo, message, name, stored, topic};
use crate::StoreError;
use crate::port::{Answer, Appended, From, NewId, NewMessage, Store};

pub async fn numbers_grow_by_order_of_appending(store: &impl Store) {
    assert_eq!(store.head(&demo()), Seq(0));
    let mut last = Seq(0);
    for batch in 0..5 {
        let messages = (0..3).map(|index| message(&format!("m{batch}-{index}"), &["all"])).collect();
        for (index, appended) in append(store, messages).await.into_iter().enumerate() {
            let Appended::New(message, _) = appended else { panic!("{appended:?}") };
            assert_eq!(message.id, name(&format!("m{batch}-{index}")));
            assert!(message.seq > last, "{:?} after {last:?}", message.seq);
            last = message.seq;
        }
        assert_eq!(store.head(&demo()), last);
    }
}

pub async fn an_append_has_its_place_from_the_first_poll_on(store: &impl Store) {
    for round in 0..3 {
        let append =
            |id: String| store.append(vec![message(&format!("{id}{round}"), &["all"])], Durability::Memory);
        let (mut first, mut second) = (append("first".into()), append("second".into()));
        while coop::has_budget_remaining() {
            coop::consume_budget().await;
        }
        let early = poll_once(&mut first).await;
        // As in a later turn of the task.
        let late = coop::unconstrained(poll_once(&mut second)).await;
        let seq = |appended: Vec<Appended>| match &appended[..] {
            [Appended::New(message, _)] => message.seq,
            other => panic!("{other:?}"),
        };
        let late = seq(match late {
            Some(late) => late.unwrap(),
            None => second.await.unwrap(),
        });
        let early = seq(match early {
            Some(early) => early.unwrap(),
            None => first.await.unwrap(),
        });
        assert!(early < late, "{early:?} was asked for before {late:?}");
    }
}

async fn poll_once<T>(answer: &mut Answer<'_, T>) -> Option<Result<T, StoreError>> {
    poll_fn(|context| match answer.as_mut().poll(context) {
        Poll::Ready(result) => Poll::Ready(Some(result)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

pub async fn offsets_count_each_topic_from_1(store: &impl Store) {
    let mut expected = HashMap::new();
    for index in 0..12 {
        let topics: &[&str] = match index % 3 {
            0 => &["room:a"],
            1 => &["room:b", "user:ann"],
            _ => &["all", "room:a", "device:d"],
        };
        let stored = append_new(store, message(&format!("m{index}"), topics)).await;
        let mut positions = Vec::new();
        for text in topics {
            let offset = expected.entry(*text).or_insert(0u64);
            *offset += 1;
            positions.push((topic(text), *offset));
        }
        assert_eq!(stored.topics, positions);
    }
    for (text, offset) in expected {
        let log = store.read_topic(&demo(), &topic(text), From::AfterOffset(0), 100).await.unwrap();
        assert_eq!(log.head, offset, "{text}");
        let offsets: Vec<u64> = log.entries.iter().map(|entry| entry.0).collect();
        assert_eq!(offsets, (1..=offset).collect::<Vec<_>>(), "{text}");
        assert!(log.entries.is_sorted_by_key(|entry| entry.1), "{text}");
    }
}

pub async fn a_message_is_answered_as_it_is_stored(store: &impl Store) {
    let id = name("full");
    let mut full = message("full", &["room:a", "user:ann"]);
    full.event = name("order.shipped");
    full.to = Target {
        all: true,
        users: vec![name("ann"), name("用户")],
        devices: vec![name("d")],
        rooms: vec![name("a")],
        platforms: vec![Platform::Ios, Platform::Other],
    };
    full.except = Except {
        users: vec![name("bob")],
        devices: vec![name("e")],
        rooms: vec![name("b")],
        connections: vec!["c1".into(), String::new()],
    };
    full.meant = Arc::new([0, 7, 70_000, u32::MAX].into_iter().collect());
    full.priority = Priority::High;
    full.keep = false;
    full.expires_at = Timestamp::NEVER;
    full.collapse_key = Some(name("score"));
    full.deliver_at = Some(Timestamp(900));
    full.sent_at = Timestamp(1_001);
    full.escalate_after = Some(std::time::Duration::from_millis(1_500));
    full.offline = Bytes::from_static(br#"{"notification":{"title":"t"}}"#);
    full.recalls = Some(name("m0"));
    full.from = Some(Sender { user: Some(name("ann")), device: name("d1") });
    let answered = append_new(store, full.clone()).await;
    assert_eq!(answered.epoch, store.epoch());
    assert_eq!(answered.topics, [(topic("room:a"), 1), (topic("user:ann"), 1)]);
    assert_eq!((&answered.id, &answered.event, &answered.data), (&id, &full.event, &full.data));
    assert_eq!((&answered.to, &answered.except, &answered.meant), (&full.to, &full.except, &full.meant));
    assert_eq!((answered.accepted_at, answered.expires_at), (full.accepted_at, full.expires_at));
    assert_eq!((answered.priority, answered.keep), (full.priority, full.keep));
    assert_eq!((answered.collapse_key.clone(), answered.recalls.clone()), (full.collapse_key, full.recalls));
    assert_eq!(answered.from, full.from);
    assert_eq!((answered.deliver_at, answered.sent_at), (full.deliver_at, full.sent_at));
    assert_eq!((answered.escalate_after, &answered.offline), (full.escalate_after, &full.offline));
    assert_eq!(stored(store, &demo(), answered.seq).await, Some(answered.clone()));
    assert_eq!(store.find(&demo(), &id).await.unwrap(), Some(answered.seq));
}

pub async fn a_topic_is_read_back_from_anywhere(store: &impl Store) {
    for index in 0..6 {
        append_new(store, message(&format!("m{index}"), &["room:a"])).await;
    }
    append_new(store, message("other", &["room:b"])).await;
    for (before, limit, expected) in [
        (7, 2, &[5, 6][..]),
        (5, 2, &[3, 4]),
        (3, 9, &[1, 2]),
        (1, 9, &[]),
        (0, 9, &[]),
        (u64::MAX, 1, &[6]),
        (4, 0, &[]),
    ] {
        let entries = store.read_topic_back(&demo(), &topic("room:a"), before, limit).await.unwrap();
        let offsets: Vec<u64> = entries.iter().map(|entry| entry.0).collect();
        assert_eq!(offsets, expected, "{limit} before {before}");
        assert!(entries.iter().all(|(offset, seq)| *offset == seq.0), "{entries:?}");
    }
    assert_eq!(store.read_topic_back(&demo(), &topic("room:c"), 9, 9).await.unwrap(), []);
}

fn keyed(id: &str, key: &str, meant: &[u32]) -> NewMessage {
    NewMessage {
        collapse_key: Some(name(key)),
        meant: Arc::new(meant.iter().copied().collect()),
        ..message(id, &["all"])
    }
}

/// Appends, and answers the ids of the messages whose place it takes.
async fn superseded(store: &impl Store, new: NewMessage) -> Vec<String> {
    match append(store, vec![new]).await.pop() {
        Some(Appended::New(_, older)) => older.iter().map(|old| old.id.to_string()).collect(),
        other => panic!("not new: {other:?}"),
    }
}

pub async fn a_collapse_key_takes_the_place_of_older_messages(store: &impl Store) {
    let none: [&str; 0] = [];
    assert_eq!(superseded(store, keyed("m1", "score", &[1, 2, 3])).await, none);
    assert_eq!(superseded(store, keyed("other", "price", &[1, 2, 3])).await, none);
    assert_eq!(superseded(store, keyed("nobody", "score", &[9])).await, none);
    assert_eq!(superseded(store, keyed("m2", "score", &[1])).await, ["m1"]);
    // Device 2 still has the first one; device 1 has the second one instead.
    assert_eq!(superseded(store, keyed("m3", "score", &[1, 2])).await, ["m1", "m2"]);
    assert_eq!(superseded(store, keyed("m4", "score", &[1, 2, 3, 9])).await, ["m1", "nobody", "m3"]);
    assert_eq!(superseded(store, keyed("m5", "score", &[1, 2, 3, 9])).await, ["m4"]);
    // What does not wait for who is away takes nobody's place.
    let passing = NewMessage { keep: false, ..keyed("m6", "score", &[1]) };
    assert_eq!(superseded(store, passing).await, none);
    // What has expired has no place to take.
    let late =
        NewMessage { sent_at: Timestamp(2_000), expires_at: Timestamp(9_000), ..keyed("m7", "score", &[1]) };
    assert_eq!(superseded(store, late).await, none);
    let elsewhere = NewMessage { namespace: name("demo2"), ..keyed("m8", "score", &[1]) };
    assert_eq!(superseded(store, elsewhere).await, none);
}

pub async fn a_collapse_key_remembers_within_one_call(store: &impl Store) {
    let appended = append(store, vec![keyed("m1", "score", &[1]), keyed("m2", "score", &[1])]).await;
    let [Appended::New(first, _), Appended::New(_, older)] = &appended[..] else { panic!("{appended:?}") };
    assert_eq!(older, std::slice::from_ref(first));
}

pub async fn a_scheduled_message_becomes_another_one(store: &impl Store) {
    let scheduled = NewMessage {
        topics: Vec::new(),
        deliver_at: Some(Timestamp(5_000)),
        expires_at: Timestamp(9_000),
        ..chosen("later", 1, 1_000)
    };
    let waiting = append_new(store, scheduled.clone()).await;
    assert!(waiting.is_scheduled());
    assert_eq!(append(store, vec![scheduled.clone()]).await, [Appended::Duplicate(waiting.clone())]);
    append_new(store, message("between", &["all"])).await;
    let sent = NewMessage {
        topics: vec![Topic::All],
        sent_at: Timestamp(5_003),
        replaces: Some(waiting.seq),
        fingerprint: [9; 16],
        ..scheduled.clone()
    };
    let live = append_new(store, sent.clone()).await;
    assert_eq!((live.topics.as_slice(), live.id.as_str()), (&[(Topic::All, 2)][..], "later"));
    assert_eq!(stored(store, &demo(), waiting.seq).await, None);
    assert_eq!(store.find(&demo(), &live.id).await.unwrap(), Some(live.seq));
    // Only once, whatever asks for it; and its id still tells a retry from another push.
    assert_eq!(append(store, vec![sent]).await, [Appended::Gone]);
    assert_eq!(append(store, vec![scheduled]).await, [Appended::Duplicate(live)]);
    assert_eq!(append(store, vec![chosen("later", 2, 1_000)]).await, [Appended::Conflict]);
}

pub async fn several_topics_get_one_message(store: &impl Store) {
    let stored = append_new(store, message("m", &["all", "room:a", "user:ann"])).await;
    for text in ["all", "room:a", "user:ann"] {
        let log = store.read_topic(&demo(), &topic(text), From::After(Seq(0)), 9).await.unwrap();
        assert_eq!(log.entries, [(1, stored.seq)], "{text}");
    }
}

pub async fn a_repeated_id_is_a_duplicate(store: &impl Store) {
    let first = append_new(store, chosen("m", 1, 1_000)).await;
    append_new(store, chosen("other", 1, 1_000)).await;
    for at in [1_000, 999, 1_000 + DAY - 1] {
        let mut again = chosen("m", 1, at);
        // What tells a retry is the fingerprint, whatever the node made of the push this time.
        again.data = Bytes::from_static(b"[]");
        assert_eq!(append(store, vec![again]).await, [Appended::Duplicate(first.clone())], "{at}");
    }
    assert_eq!(store.head(&demo()), Seq(first.seq.0 + 1));
    let log = store.read_topic(&demo(), &Topic::All, From::AfterOffset(0), 9).await.unwrap();
    assert_eq!(log.head, 2);
}

pub async fn a_repeated_id_in_one_call_is_a_duplicate(store: &impl Store) {
    let messages =
        vec![chosen("m", 1, 1_000), chosen("n", 1, 1_000), chosen("m", 1, 1_001), chosen("m", 2, 1_002)];
    let appended = append(store, messages).await;
    let (Appended::New(first, _), Appended::New(second, _)) = (&appended[0], &appended[1]) else {
        panic!("{appended:?}")
    };
    assert_eq!(appended[2..], [Appended::Duplicate(first.clone()), Appended::Conflict]);
    assert!(first.seq < second.seq);
    assert_eq!(store.head(&demo()), second.seq);
}

pub async fn another_push_under_an_id_is_a_conflict(store: &impl Store) {
    let first = append_new(store, chosen("m", 1, 1_000)).await;
    assert_eq!(append(store, vec![chosen("m", 2, 1_000 + DAY - 1)]).await, [Appended::Conflict]);
    assert_eq!(store.head(&demo()), first.seq);
    assert_eq!(store.find(&demo(), &first.id).await.unwrap(), Some(first.seq));
}

pub async fn an_id_is_free_after_a_day(store: &impl Store) {
    let first = append_new(store, chosen("m", 1, 1_000)).await;
    let second = append_new(store, chosen("m", 2, 1_000 + DAY)).await;
    assert_eq!(store.find(&demo(), &name("m")).await.unwrap(), Some(second.seq));
    assert_eq!(stored(store, &demo(), first.seq).await, Some(first));
    // From now on the newest one counts.
    assert_eq!(append(store, vec![chosen("m", 1, 1_001 + DAY)]).await, [Appended::Conflict]);
    assert_eq!(append(store, vec![chosen("m", 2, 1_001 + DAY)]).await, [Appended::Duplicate(second)]);
}

pub async fn an_id_that_is_kept_is_never_looked_up(store: &impl Store) {
    let first = append_new(store, message("m", &["all"])).await;
    let second = append_new(store, message("m", &["all"])).await;
    assert!(second.seq > first.seq);
    assert_eq!(store.find(&demo(), &name("m")).await.unwrap(), Some(second.seq));
}

pub async fn an_id_that_is_made_leads_to_its_message(store: &impl Store) {
    let made = |salt| NewMessage { id: NewId::Made { salt }, ..message("x", &["all"]) };
    let first = append_new(store, made(7)).await;
    assert_eq!(first.id, MessageId::made(Timestamp(1_000), first.seq, 7));
    let second = append_new(store, made(7)).await;
    assert_ne!(first.id, second.id);
    for message in [&first, &second] {
        assert_eq!(store.find(&demo(), &message.id).await.unwrap(), Some(message.seq));
    }
    // What only looks like one leads nowhere.
    let (soon, past) = (Seq(second.seq.0 + 9), Timestamp(999));
    for id in [
        MessageId::made(Timestamp(1_000), first.seq, 8),
        MessageId::made(past, first.seq, 7),
        MessageId::made(past, soon, 7),
    ] {
        assert_eq!(store.find(&demo(), &id).await.unwrap(), None, "{id}");
    }
    // It is taken, and free for whoever chooses it as soon as it may be; then it means that message.
    let again = |at| NewMessage { id: NewId::Chosen(first.id.clone()), ..chosen("x", 1, at) };
    assert_eq!(append(store, vec![again(1_000 + DAY - 1)]).await, [Appended::Conflict]);
    let later = append_new(store, again(1_000 + DAY)).await;
    assert_eq!(store.find(&demo(), &first.id).await.unwrap(), Some(later.seq));
    store.trim(&demo(), second.seq).await.unwrap();
    assert_eq!(store.find(&demo(), &second.id).await.unwrap(), None);
}

pub async fn a_scheduled_message_keeps_the_id_that_was_made(store: &impl Store) {
    let scheduled = NewMessage {
        id: NewId::Made { salt: 7 },
        topics: Vec::new(),
        deliver_at: Some(Timestamp(5_000)),
        expires_at: Timestamp(9_000),
        ..message("x", &[])
    };
    let waiting = append_new(store, scheduled.clone()).await;
    assert_eq!(store.find(&demo(), &waiting.id).await.unwrap(), Some(waiting.seq));
    let sent = NewMessage {
        id: NewId::Kept(waiting.id.clone()),
        topics: vec![Topic::All],
        replaces: Some(waiting.seq),
        ..scheduled
    };
    let live = append_new(store, sent).await;
    assert_eq!(live.id, waiting.id);
    assert_eq!(store.find(&demo(), &live.id).await.unwrap(), Some(live.seq));
    let chosen = NewMessage { id: NewId::Chosen(live.id.clone()), ..chosen("x", 1, 1_000) };
    assert_eq!(append(store, vec![chosen]).await, [Appended::Conflict]);
}

pub async fn an_unknown_number_is_none(store: &impl Store) {
    let known = append_new(store, message("m", &["all"])).await;
    let asked = vec![Seq(0), known.seq, Seq(known.seq.0 + 1), known.seq, Seq(u64::MAX)];
    let found = store.messages(&demo(), asked).await.unwrap();
    assert_eq!(found, [None, Some(known.clone()), None, Some(known), None]);
    assert_eq!(store.messages(&demo(), vec![]).await.unwrap(), []);
    assert_eq!(store.find(&demo(), &name("n")).await.unwrap(), None);
    let many: Vec<Seq> = (0..2_000).map(Seq).collect();
    let found = store.messages(&demo(), many).await.unwrap();
    assert_eq!(found.iter().flatten().count(), 1);
}

/// Ten messages in `room:a`, each followed by one in `room:b`: the numbers of the former.
async fn ten(store: &impl Store) -> Vec<Seq> {
    let mut seqs = Vec::new();
    for index in 0..10 {
        seqs.push(append_new(store, message(&format!("a{index}"), &["room:a"])).await.seq);
        append_new(store, message(&format!("b{index}"), &["room:b"])).await;
    }
    seqs
}

/// Reads `room:a`: the offsets, whether it is truncated, the head.
async fn read(store: &impl Store, from: From, limit: usize) -> (Vec<u64>, bool, u64) {
    let log = store.read_topic(&demo(), &topic("room:a"), from, limit).await.unwrap();
    (log.entries.iter().map(|entry| entry.0).collect(), log.truncated, log.head)
}

pub async fn reading_after_a_number(store: &impl Store) {
    let seqs = ten(store).await;
    let log = store.read_topic(&demo(), &topic("room:a"), From::After(Seq(0)), 10).await.unwrap();
    assert_eq!(log.entries, (1..).zip(seqs.clone()).collect::<Vec<_>>());
    for (from, expected) in [
        (Seq(0), (1..=10).collect::<Vec<_>>()),
        (seqs[0], (2..=10).collect()),
        // A number that is not in the topic, but between two that are.
        (Seq(seqs[4].0 + 1), (6..=10).collect()),
        (seqs[8], vec![10]),
        (seqs[9], vec![]),
        (Seq(u64::MAX), vec![]),
    ] {
        assert_eq!(read(store, From::After(from), 10).await, (expected, false, 10), "{from:?}");
    }
}

pub async fn reading_after_an_offset(store: &impl Store) {
    ten(store).await;
    for (from, expected, truncated) in [
        (0, (1..=10).collect::<Vec<_>>(), false),
        (1, (2..=10).collect(), false),
        (9, vec![10], false),
        (10, vec![], false),
        // Offsets that the topic has not reached.
        (11, vec![], true),
        (u64::MAX, vec![], true),
    ] {
        assert_eq!(read(store, From::AfterOffset(from), 10).await, (expected, truncated, 10), "{from}");
    }
}

pub async fn a_long_log_is_read_like_a_short_one(store: &impl Store) {
    let messages = (1..=600).map(|index| message(&format!("m{index}"), &["all"]));
    let first = append(store, messages.collect()).await.into_iter().next();
    let Some(Appended::New(first, _)) = first else { panic!("{first:?}") };
    for (after, limit, expected, truncated) in [
        (0, 1_000, 1..=600, false),
        (0, 600, 1..=600, false),
        (0, 599, 2..=600, true),
        (0, 255, 346..=600, true),
        (0, 257, 344..=600, true),
        (300, 1_000, 301..=600, false),
        (400, 1_000, 401..=600, false),
        (599, 1_000, 600..=600, false),
    ] {
        for from in [From::AfterOffset(after), From::After(Seq(first.seq.0 - 1 + after))] {
            let slice = store.read_topic(&demo(), &Topic::All, from, limit).await.unwrap();
            let offsets: Vec<_> = slice.entries.iter().map(|(offset, _)| *offset).collect();
            assert_eq!(offsets, expected.clone().collect::<Vec<_>>(), "{from:?} {limit}");
            assert_eq!((slice.truncated, slice.head), (truncated, 600), "{from:?} {limit}");
        }
    }
    // What was trimmed is missing, whether what is left is much or little.
    for (trimmed, expected) in [(100, 101..=600), (400, 401..=600)] {
        store.trim(&demo(), Seq(first.seq.0 - 1 + trimmed)).await.unwrap();
        let slice = store.read_topic(&demo(), &Topic::All, From::AfterOffset(0), 1_000).await.unwrap();
        let offsets: Vec<_> = slice.entries.iter().map(|(offset, _)| *offset).collect();
        assert_eq!(offsets, expected.collect::<Vec<_>>(), "{trimmed}");
        assert!(slice.truncated, "{trimmed}");
    }
}

pub async fn the_newest_are_kept(store: &impl Store) {
    let seqs = ten(store).await;
    for (from, limit, expected, truncated) in [
        (From::AfterOffset(0), 9, (2..=10).collect::<Vec<_>>(), true),
        (From::AfterOffset(0), 1, vec![10], true),
        (From::AfterOffset(0), 0, vec![], true),
        (From::AfterOffset(1), 9, (2..=10).collect(), false),
        (From::AfterOffset(7), 3, vec![8, 9, 10], false),
        (From::AfterOffset(10), 0, vec![], false),
        (From::After(Seq(0)), 9, (2..=10).collect(), true),
        (From::After(seqs[0]), 9, (2..=10).collect(), false),
        (From::After(seqs[5]), 3, vec![8, 9, 10], true),
        (From::After(seqs[6]), 3, vec![8, 9, 10], false),
        (From::After(seqs[8]), 0, vec![], true),
        (From::After(seqs[9]), 0, vec![], false),
    ] {
        assert_eq!(read(store, from, limit).await, (expected, truncated, 10), "{from:?} {limit}");
    }
    assert_eq!(read(store, From::AfterOffset(0), usize::MAX).await.0.len(), 10);
}

pub async fn an_empty_topic_is_empty(store: &impl Store) {
    assert_eq!(read(store, From::AfterOffset(0), 10).await, (vec![], false, 0));
    assert_eq!(read(store, From::After(Seq(0)), 10).await, (vec![], false, 0));
    assert_eq!(read(store, From::After(Seq(7)), 10).await, (vec![], false, 0));
    assert_eq!(read(store, From::AfterOffset(1), 10).await, (vec![], true, 0));
    append_new(store, message("m", &["room:b"])).await;
    assert_eq!(read(store, From::After(Seq(0)), 10).await, (vec![], false, 0));
}

pub async fn topics_with_like_names_are_apart(store: &impl Store) {
    let like = ["all", "user:a", "user:ab", "room:a", "room:ab", "room:all", "device:a", "user:\u{e9}"];
    for (index, text) in like.iter().enumerate() {
        for copy in 0..=index {
            append_new(store, message(&format!("{index}-{copy}"), &[text])).await;
        }
    }
    for (index, text) in like.iter().enumerate() {
        let log = store.read_topic(&demo(), &topic(text), From::AfterOffset(0), 100).await.unwrap();
        assert_eq!((log.head, log.entries.len()), (index as u64 + 1, index + 1), "{text}");
    }
}

pub async fn namespaces_have_their_own_messages(store: &impl Store) {
    let spaces: Vec<NamespaceName> = vec![name("d"), name("demo"), name("demo2"), name("demo-")];
    for (index, namespace) in spaces.iter().enumerate() {
        for copy in 0..=index {
            let mut message = chosen(&format!("m{copy}"), index as u8, 1_000);
            message.namespace = namespace.clone();
            let message = append_new(store, message).await;
            assert_eq!((message.seq, &message.topics[0].1), (Seq(copy as u64 + 1), &(copy as u64 + 1)));
        }
    }
    for (index, namespace) in spaces.iter().enumerate() {
        assert_eq!(store.head(namespace), Seq(index as u64 + 1));
        let log = store.read_topic(namespace, &Topic::All, From::After(Seq(0)), 9).await.unwrap();
        assert_eq!(log.entries.len(), index + 1);
        assert_eq!(store.find(namespace, &name("m1")).await.unwrap(), (index > 0).then_some(Seq(2)));
        assert_eq!(stored(store, namespace, Seq(index as u64 + 2)).await, None);
        assert_eq!(&stored(store, namespace, Seq(1)).await.unwrap().namespace, namespace);
    }
    assert_eq!(store.head(&name("dem")), Seq(0));
}

pub async fn memory_is_readable_too(store: &impl Store) {
    let appended = store.append(vec![chosen("m", 1, 1_000)], Durability::Memory).await.unwrap();
    let [Appended::New(message, _)] = &appended[..] else { panic!("{appended:?}") };
    assert_eq!(stored(store, &demo(), message.seq).await.as_ref(), Some(message));
    assert_eq!(store.head(&demo()), message.seq);
    // Asking for the same durably makes it durable.
    assert_eq!(append(store, vec![chosen("m", 1, 1_000)]).await, [Appended::Duplicate(message.clone())]);
}

pub async fn large_and_odd_payloads_come_back(store: &impl Store) {
    let all: Vec<u8> = (0..=255).collect();
    for (index, bytes) in [0, 1, 255, 256, 4_095, 4_096, 65_536, 1 << 20]
        .into_iter()
        .map(|bytes| all.repeat(bytes / 256 + 1)[..bytes].to_vec())
        .enumerate()
    {
        let mut message = message(&format!("m{index}"), &["all"]);
        message.data = bytes.into();
        let answered = append_new(store, message.clone()).await;
        let read = stored(store, &demo(), answered.seq).await.unwrap();
        assert!(read.data == message.data, "{} bytes", message.data.len());
    }
    let long = "n".repeat(255);
    let mut message = message(&long, &[&format!("room:{long}"), &format!("user:{long}")]);
    message.namespace = name(&"n".repeat(50));
    let answered = append_new(store, message).await;
    assert_eq!(stored(store, &answered.namespace, answered.seq).await, Some(answered));
}

pub async fn appending_at_once(store: &impl Store) {
    const TASKS: usize = 24;
    const CALLS: usize = 8;
    let rooms = ["room:a", "room:b", "room:c"];
    // Every fourth call of every task brings the same chosen id: exactly one of them all is new.
    let call = |task: usize, call: usize| async move {
        let durability = if call.is_multiple_of(2) { Durability::Durable } else { Durability::Memory };
        let mut messages = Vec::new();
        for copy in 0..3 {
            messages.push(message(&format!("{task}-{call}-{copy}"), &[rooms[(task + copy) % 3], "all"]));
        }
        if call.is_multiple_of(4) {
            messages.push(chosen(&format!("same-{call}"), 1, 1_000));
        }
        store.append(messages, durability).await.unwrap()
    };
    let tasks = (0..TASKS).map(|task| async move {
        let mut answers = Vec::new();
        for index in 0..CALLS {
            answers.extend(call(task, index).await);
        }
        answers
    });
    let answers = at_once(tasks.collect()).await;

    let mut by_seq = BTreeMap::new();
    let mut duplicates = 0;
    for answer in answers.iter().flatten() {
        match answer {
            Appended::New(message, _) => assert!(by_seq.insert(message.seq, message.clone()).is_none()),
            Appended::Duplicate(_) => duplicates += 1,
            Appended::Conflict | Appended::Gone => panic!("{answer:?}"),
        }
    }
    let repeated = CALLS / 4;
    assert_eq!(duplicates, (TASKS - 1) * repeated);
    assert_eq!(by_seq.len(), TASKS * CALLS * 3 + repeated);
    let mut logs: HashMap<Topic, Vec<(u64, Seq)>> = HashMap::new();
    for (seq, message) in &by_seq {
        assert_eq!(stored(store, &demo(), *seq).await.as_ref(), Some(message));
        for (topic, offset) in &message.topics {
            logs.entry(topic.clone()).or_default().push((*offset, *seq));
        }
    }
    for (topic, expected) in logs {
        let offsets: Vec<u64> = expected.iter().map(|entry| entry.0).collect();
        assert_eq!(offsets, (1..=expected.len() as u64).collect::<Vec<_>>(), "{topic}");
        let log = store.read_topic(&demo(), &topic, From::AfterOffset(0), 10_000).await.unwrap();
        assert_eq!(log.entries, expected, "{topic}");
    }
    // Each task's own messages are in the order in which it appended them.
    for answers in &answers {
        let own: Vec<Seq> = answers
            .iter()
            .filter_map(
                |answer| if let Appended::New(message, _) = answer { Some(message.seq) } else { None },
            )
            .collect();
        assert!(own.is_sorted());
    }
}

pub async fn nothing_is_appended_by_nothing(store: &impl Store) {
    assert_eq!(append(store, vec![]).await, []);
    assert_eq!(store.head(&demo()), Seq(0));
}

/// Drives futures that borrow, all at once.
pub(crate) async fn at_once<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = futures.into_iter().map(|future| (Some(Box::pin(future)), None)).collect();
    std::future::poll_fn(move |context| {
        let mut done = true;
        for (future, output) in &mut waiting {
            if let Some(running) = future {
                match running.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => {
                        *output = Some(value);
                        *future = None;
                    }
                    std::task::Poll::Pending => done = false,
                }
            }
        }
        if done {
            std::task::Poll::Ready(waiting.iter_mut().filter_map(|(_, output)| output.take()).collect())
        } else {
            std::task::Poll::Pending
        }
    })
    .await
}
