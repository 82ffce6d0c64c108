//! History: what is found by what, page by page, indexed and not.

use super::*;
use crate::history::{Asked, Order, Words};
use crate::ledger::report::Life;

/// What is asked for, as `name=value` words.
fn asked(text: &str) -> Asked {
    let mut asked = Asked::default();
    for part in text.split(' ').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap();
        match name {
            "since" => asked.since = Some(Timestamp(value.parse().unwrap())),
            "until" => asked.until = Some(Timestamp(value.parse().unwrap())),
            "user" => asked.user = Some(value.parse().unwrap()),
            "device" => asked.device = Some(value.parse().unwrap()),
            "room" => asked.room = Some(value.parse().unwrap()),
            "event" => asked.event = Some(EventName::stored(value).unwrap()),
            "status" => asked.status = Life::ALL.into_iter().find(|life| life.as_str() == value),
            "q" => asked.words = Words::parse(&value.replace('+', " ")),
            "order" => asked.order = Order::OldestFirst,
            other => panic!("{other}"),
        }
    }
    asked
}

impl World {
    /// The numbers of all that is found, and how many pages it took.
    async fn found(&self, text: &str, limit: usize) -> (Vec<u64>, usize) {
        let namespace = self.node.namespace("demo").unwrap();
        let asked = asked(text);
        let (mut seqs, mut after, mut pages) = (Vec::new(), None, 0);
        loop {
            let page = self.node.history(&namespace, &asked, after, limit).await.unwrap();
            assert!(page.items.len() <= limit);
            seqs.extend(page.items.iter().map(|(message, _)| message.seq.0));
            pages += 1;
            if page.next.is_none() {
                return (seqs, pages);
            }
            assert_ne!(after, page.next, "it goes on: {text}");
            after = page.next;
        }
    }

    async fn index(&self) {
        let (name, head) = (demo(), self.node.store.head(&demo()));
        let mut through = self.node.store.indexed(&name).await.unwrap();
        while through < head {
            through = self.node.index_some(&name, through).await.unwrap();
        }
        assert_eq!(self.node.store.indexed(&name).await.unwrap(), head);
    }

    /// The same is found before anything is indexed, half way, and when everything is.
    async fn check(&self, expected: &[(&str, &[u64])]) {
        for _ in 0..2 {
            for (text, seqs) in expected {
                for limit in [1, 2, 100] {
                    assert_eq!(self.found(text, limit).await.0, *seqs, "{text}, {limit} a page");
                }
                let mut backwards = seqs.to_vec();
                backwards.reverse();
                assert_eq!(
                    self.found(&format!("{text} order=asc"), 2).await.0,
                    backwards,
                    "{text}, oldest first"
                );
            }
            self.index().await;
        }
    }
}

fn says(to: Target, data: &'static str) -> Push {
    Push { data: Bytes::from_static(data.as_bytes()), ..push(to) }
}

#[tokio::test]
async fn a_message_is_found_by_what_it_is() {
    let world = World::new().await;
    let ann = world.device("d1", "ann").await;
    world.device("d2", "bob").await;
    world.node.join(&ann.namespace, ann.device.ordinal, rooms(&["lobby"])).await.unwrap();
    let event = |name, push| Push { event: EventName::new(name).unwrap(), ..push };
    world.push(says(users(&["ann"]), r#"{"text":"Your order 7781 was shipped"}"#)).await;
    world.push(event("score", says(room("lobby"), r#"["比分更新：北京 2 : 1 上海"]"#))).await;
    world.push(says(Target { all: true, ..Target::default() }, r#"{"order":"欢迎来到北京大学"}"#)).await;
    world.index().await;
    world.time.store(2_000, Ordering::Relaxed);
    let offline = Bytes::from_static(br#"{"notification":{"body":"Shipped at last"}}"#);
    world.push(Push { offline, ..says(users(&["bob", "nobody"]), "{}") }).await;
    let device = Target { devices: vec!["d2".parse().unwrap()], ..Target::default() };
    world.push(says(device, r#"{"n":7781}"#)).await;
    world
        .check(&[
            ("", &[5, 4, 3, 2, 1]),
            ("since=2000", &[5, 4]),
            ("until=2000", &[3, 2, 1]),
            ("since=1000 until=1001", &[3, 2, 1]),
            ("since=1000 until=1000", &[]),
            ("since=3000", &[]),
            ("user=ann", &[3, 2, 1]),
            ("user=bob", &[5, 4, 3]),
            ("user=nobody", &[4]),
            ("user=none", &[]),
            ("device=d1", &[3, 2, 1]),
            ("device=d2", &[5, 4, 3]),
            ("device=d2 user=bob", &[5, 4, 3]),
            ("device=d2 user=ann", &[3]),
            ("device=none", &[]),
            ("room=lobby", &[2]),
            ("room=none", &[]),
            ("event=score", &[2]),
            ("event=push", &[5, 4, 3, 1]),
            ("event=none", &[]),
            ("q=shipped", &[4, 1]),
            ("q=SHIPPED,", &[4, 1]),
            ("q=order", &[1]),
            ("q=7781", &[1]),
            ("q=ship", &[]),
            ("q=order+shipped", &[1]),
            ("q=order+last", &[]),
            ("q=北", &[3, 2]),
            ("q=北京", &[3, 2]),
            ("q=北京大学", &[3]),
            ("q=北京+上海", &[2]),
            ("q=京北", &[]),
            ("q=shipped user=bob since=1500 event=push", &[4]),
            ("q=shipped room=lobby", &[]),
        ])
        .await;
}

#[tokio::test]
async fn a_message_is_found_by_where_it_is_in_its_life() {
    let mut world = World::new().await;
    world.device("d1", "ann").await;
    let short = Push { ttl: Duration::from_secs(1), ..push(users(&["ann"])) };
    let scheduled = |at| Push { deliver_at: Some(Timestamp(at)), ..push(users(&["ann"])) };
    world.push(short).await;
    let first = world.push(push(users(&["ann"]))).await;
    world.push(scheduled(5_000)).await;
    let outcome = world
        .node
        .ack_ids(
            &world.node.namespace("demo").unwrap(),
            first.message.meant.iter().map(tidings_model::Ordinal).next().unwrap(),
            vec![first.message.id.clone()],
        )
        .await;
    assert_eq!(outcome.unwrap().acked.len(), 1);
    // Recalling announces, with a message of its own that is not listed.
    assert_eq!(later::recall(&mut world, &first).await, (0, 1));
    let gone = world.push(scheduled(9_000)).await;
    assert_eq!(later::recall(&mut world, &gone).await, (0, 0));
    world.push(push(users(&["ann"]))).await;
    world
        .check(&[
            ("", &[6, 5, 3, 2, 1]),
            ("event=recall", &[]),
            ("status=scheduled", &[3]),
            ("status=live", &[6, 1]),
            ("status=expired", &[]),
            ("status=recalled", &[5, 2]),
            ("status=recalled user=ann", &[5, 2]),
            ("user=ann", &[6, 5, 3, 2, 1]),
        ])
        .await;
    later::later(&world, 5_000).await;
    world
        .check(&[
            ("", &[7, 6, 5, 2, 1]),
            ("status=scheduled", &[]),
            ("status=live", &[7, 6]),
            ("status=expired", &[1]),
            ("since=5000", &[7]),
            ("until=5000", &[6, 5, 2, 1]),
        ])
        .await;
    later::later(&world, 100_000).await;
    world.check(&[("status=live", &[]), ("status=expired", &[7, 6, 1]), ("status=recalled", &[5, 2])]).await;
}

#[tokio::test]
async fn a_page_looks_at_so_much_and_says_where_to_go_on() {
    let world = World::new().await;
    world.device("d1", "ann").await;
    for n in 0..5_000u32 {
        world.time.store(1_000 + u64::from(n), Ordering::Relaxed);
        let to = if n % 2_500 == 7 { users(&["ann"]) } else { users(&["bob"]) };
        world.push(Push { ttl: Duration::from_secs(600), ..says(to, r#""北京 x""#) }).await;
    }
    assert_eq!(world.found("status=expired", 10).await, (vec![], 3), "one by one");
    world.index().await;
    assert_eq!(world.found("user=ann", 10).await, (vec![2_508, 8], 1), "by the index");
    assert_eq!(world.found("q=北京 until=1010", 10).await, (vec![10, 9, 8, 7, 6, 5, 4, 3, 2, 1], 1));
    assert_eq!(world.found("since=3500 until=3510 order=asc", 4).await, ((2_501..=2_510).collect(), 3));
    // The index leads to all of them, and none is what is asked for.
    assert_eq!(world.found("q=北京 status=recalled", 10).await, (vec![], 1));
    assert_eq!(world.found("q=北京 status=expired", 10).await, (vec![], 3));
    let mut all: Vec<u64> = (1..=5_000).collect();
    assert_eq!(world.found("q=x order=asc", 999).await, (all.clone(), 6));
    all.reverse();
    assert_eq!(world.found("q=x", 1_000).await, (all, 5));
}

#[tokio::test]
async fn a_page_holds_so_many_bytes_whatever_they_are_for() {
    let world = World::new().await;
    let names: Vec<String> = (0..1_000).map(|n| format!("{n:0>250}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let offline = Bytes::from(vec![b' '; 250_000]);
    for n in 0..200 {
        let large = match n % 2 {
            0 => push(users(&names)),
            _ => Push { offline: offline.clone(), ..push(users(&["ann"])) },
        };
        world.push(large).await;
    }
    let namespace = world.node.namespace("demo").unwrap();
    let page = world.node.history(&namespace, &Asked::default(), None, 1_000).await.unwrap();
    assert_eq!(page.items.len(), 64, "what is read at once");
    assert_eq!(world.found("", 1_000).await.0, (1..=200).rev().collect::<Vec<u64>>());
}

#[tokio::test]
async fn each_namespace_has_its_own_history() {
    let world = World::new().await;
    let other = NamespaceName::new("demo2").unwrap();
    let settings = Settings::new("", AuthMode::Open, Timestamp(0));
    let namespace = world.node.create_namespace(other.clone(), settings).await.unwrap();
    world.node.publish(&other, says(users(&["ann"]), r#""hello""#)).await.unwrap();
    world.push(says(users(&["ann"]), r#""world""#)).await;
    for _ in 0..2 {
        assert_eq!(world.found("user=ann", 9).await.0, [1]);
        assert_eq!(world.found("q=hello", 9).await.0, [0; 0]);
        let page = world.node.history(&namespace, &asked("q=hello"), None, 9).await.unwrap();
        assert_eq!(page.items.len(), 1);
        world.index().await;
        world.node.index_some(&other, Seq(0)).await.unwrap();
    }
}
