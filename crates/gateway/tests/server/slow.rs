//! Readers that stop, under each policy of a namespace: what becomes of their messages, and of everybody
//! else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::harness::{Client, Server, demo, push, until, user};
use serde_json::{Value, json};
use tidings_gateway::Settings;
use tidings_hub::Bounds;
use tidings_model::{DropReason, Message, Push, Target};
use tidings_node::ledger::report::Counts;
use tidings_node::metrics::{Reason, Why};
use tidings_node::namespace::{Outbox, WhenFull};

fn everybody() -> Target {
    Target { all: true, ..Target::default() }
}

async fn server(when_full: WhenFull) -> Server {
    let outbox = Outbox { frames: Some(16), bytes: None, when_full };
    Server::start_where(Settings::default(), |rules| rules.outbox = outbox).await
}

/// Pushes large messages, each to a device that reads and to one that does not, until some were let go
/// and `more` after that. Answers them.
async fn flood(server: &Server, bystander: &mut Client, more: usize) -> Vec<Arc<Message>> {
    let large = "x".repeat(60_000);
    let (mut sent, mut after) = (Vec::new(), 0);
    let dropped =
        server.node.metrics().unwritten.get_or_create(&Why::of_drop(DropReason::SlowReader)).clone();
    while after < more {
        let n = sent.len();
        let event = if n % 2 == 0 { "even" } else { "odd" };
        let one = push(everybody(), json!({"n": n, "x": large}));
        let one = Push { event: event.parse().unwrap(), ..one };
        sent.push(server.node.publish(&demo(), one).await.unwrap().message);
        assert_eq!(bystander.next().await["push"]["data"]["n"], json!(n), "others are not affected");
        after += usize::from(dropped.get() > 0);
        assert!(n < 2_000, "the slow reader is never noticed");
    }
    sent
}

async fn report(server: &Server, message: &Message) -> Counts {
    server.node.report(&server.node.namespace("demo").unwrap(), message).await.total
}

/// Reads until the message `last`. Answers the numbers of the messages, and how many were told to be missing.
async fn read_until(client: &mut Client, last: usize) -> (Vec<usize>, u64) {
    let (mut seen, mut told) = (Vec::new(), 0);
    while seen.last() != Some(&last) {
        let frame = client.next().await;
        match (&frame["push"], &frame["dropped"]) {
            (Value::Null, dropped) => {
                assert_eq!(dropped["reason"], "slow_reader");
                told += dropped["messages"].as_u64().unwrap();
            }
            (push, _) => seen.push(push["data"]["n"].as_u64().unwrap() as usize),
        }
    }
    (seen, told)
}

#[tokio::test]
async fn the_oldest_make_room_and_everybody_is_told() {
    let server = server(WhenFull::DropOldest).await;
    let mut slow = server.connect("ann", "d1").await;
    let mut bystander = server.connect("bob", "d2").await;
    let sent = flood(&server, &mut bystander, 40).await;
    let last = sent.len() - 1;
    let (seen, told) = read_until(&mut slow, last).await;
    assert!(seen.is_sorted() && seen.len() + told as usize == sent.len(), "{seen:?} {told} of {last}");
    // Of the sixteen that waited one had begun to leave; the others were replaced by what is newest.
    assert!(seen.ends_with(&((last - 14)..=last).collect::<Vec<_>>()), "{seen:?}");
    // The books say the same, message by message, and add up.
    for (n, message) in sent.iter().enumerate() {
        let counts = report(&server, message).await;
        let expected = BTreeMap::from_iter((!seen.contains(&n)).then_some(("slow_reader", 1)));
        assert_eq!(counts.dropped, expected, "{n}");
        assert_eq!(counts.meant, counts.acked + counts.waiting + counts.dropped.values().sum::<u64>());
    }
    assert_eq!(server.node.metrics().connections_closed.get_or_create(&slow_close()).get(), 0);
    // It lives on the same connection as before; when it comes back, it is told that its history has a hole.
    drop(slow);
    let namespace = server.node.namespace("demo").unwrap();
    until(|| namespace.directory().online().len() == 1).await;
    let mut back = server.open().await;
    let hello = back.call(json!({"id": 1, "cmd": "connect", "user": "ann", "device": "d1"})).await;
    assert_eq!(hello["ok"]["recovered"], json!(false), "{hello}");
    for n in seen {
        assert_eq!(
            back.next().await["push"]["data"]["n"],
            json!(n),
            "what it was given and did not acknowledge"
        );
    }
}

fn slow_close() -> Reason {
    Reason { code: 3008, reason: "slow" }
}

#[tokio::test]
async fn the_newest_of_each_event_stay() {
    let server = server(WhenFull::KeepLatest).await;
    let mut slow = server.connect("ann", "d1").await;
    let mut bystander = server.connect("bob", "d2").await;
    let sent = flood(&server, &mut bystander, 1).await;
    let last = sent.len() - 1;
    let (seen, told) = read_until(&mut slow, last).await;
    assert_eq!(seen.len() + told as usize, sent.len());
    // Of those that waited, the newest of the other event, and the newest of all.
    assert!(seen.ends_with(&[last - 1, last]), "{seen:?}");
    assert_eq!(told, 14, "sixteen waited, of which one had begun to leave, and one more came");
}

#[tokio::test]
async fn what_expires_in_an_outbox_is_not_written() {
    // Room enough that the outbox is not what ends it.
    let outbox = Bounds { frames: 10_000, bytes: 64 << 20 };
    let server = Server::start(Settings { outbox, ..Settings::default() }).await;
    let mut slow = server.connect("ann", "d1").await;
    let large = "x".repeat(60_000);
    let expired = server.node.metrics().unwritten.get_or_create(&Why::EXPIRED).clone();
    let ann = || user("ann");
    // More than the kernel takes; what is left of it waits in the outbox.
    for n in 0..300 {
        let short = Push { ttl: Duration::from_millis(500), ..push(ann(), json!({"n": n, "x": large})) };
        server.node.publish(&demo(), short).await.unwrap();
    }
    let last = server.push(ann(), json!({"n": 300})).await;
    let namespace = server.node.namespace("demo").unwrap();
    let message = server.node.message(&namespace, &last).await.unwrap().unwrap();
    until(|| server.node.now() > message.accepted_at.after(Duration::from_millis(600))).await;
    let (seen, told) = read_until(&mut slow, 300).await;
    until(|| expired.get() > 0).await;
    assert_eq!((seen.len() as u64 + expired.get(), told), (301, 0), "each was written, or counted");
}
