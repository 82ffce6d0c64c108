//! A store that has grown large: a message to very many devices, very many messages, and a start on them.
//!
//! `cargo run --release -p tidings-node --example large [devices] [messages] [directory]`
//!
//! 1,000,000 devices and 10,000,000 messages unless said, some 5 GB of disk. The devices are registered, one message is
//! pushed to all of them, and all but one in ten give a receipt; then come the messages, small ones to one user each.
//! Memory, disk and the time of a report are shown on the way, and at last how long a node takes to start. With a
//! directory the store stays there, for a server to start on.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use tidings_model::{
    DeviceId, Durability, Epoch, Except, Message, NamespaceName, Ordinal, Platform, Priority, Push, Target,
    UserId,
};
use tidings_node::ack::Ack;
use tidings_node::connect::Claim;
use tidings_node::namespace::{AuthMode, Settings};
use tidings_node::{Clock, Namespace, Node};
use tidings_store::{EmbeddedStore, Options};

mod common;

use common::{bytes_in, cpu, resident};

/// Calls that are under way together.
const SIDE_BY_SIDE: usize = 256;

/// Pushes in a batch, and batches that are under way together.
const BATCH: u64 = 1_000;
const BATCHES: usize = 4;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |otherwise: u64| {
        arguments.next().map_or(otherwise, |text| text.parse().expect("how many devices, how many messages"))
    };
    let (devices, messages) = (number(1_000_000), number(10_000_000));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    match arguments.next().map(PathBuf::from) {
        Some(directory) => runtime.block_on(run(devices, messages, &directory)),
        None => {
            let directory = tempfile::tempdir().expect("a directory to write to");
            runtime.block_on(run(devices, messages, directory.path()));
        }
    }
}

async fn run(devices: u64, messages: u64, directory: &Path) {
    let open =
        || Arc::new(EmbeddedStore::open(directory, Options::new(Epoch(1))).expect("a store of our own"));
    let node = common::node(open(), Clock::System).await;
    let name: NamespaceName = "demo".parse().expect("a name");
    let settings = Settings::new("", AuthMode::Open, Clock::System.now());
    let namespace = node.create_namespace(name, settings).await.expect("a namespace");
    let say = |what: &str, began: Instant| {
        let (memory, disk) = (resident() >> 20, bytes_in(directory) >> 20);
        println!(
            "{what:<44} {:>8.1?}  {memory:>5} MB resident, {disk:>5} MB on disk, CPU {:.0} s",
            began.elapsed(),
            cpu()
        );
    };

    let began = Instant::now();
    let registered = stream::iter(0..devices).map(|n| register(&node, &namespace, n));
    registered.buffer_unordered(SIDE_BY_SIDE).collect::<()>().await;
    say(&format!("{devices} devices registered"), began);

    let began = Instant::now();
    let push = push("everybody", Target { all: true, ..Target::default() }, Durability::Durable);
    let message = node.publish(&namespace.name, push).await.expect("a push").message;
    say("a message to all of them", began);
    report(&node, &namespace, &message).await;
    let began = Instant::now();
    receipts(&node, &namespace, &message, devices).await;
    say("receipts of nine in ten", began);
    report(&node, &namespace, &message).await;

    for part in 1..=10 {
        let began = Instant::now();
        let batches = stream::iter(messages / 10 * (part - 1) / BATCH..messages / 10 * part / BATCH);
        let pushed = batches.map(|batch| push_batch(&node, &namespace, batch * BATCH));
        pushed.buffer_unordered(BATCHES).collect::<()>().await;
        say(&format!("{} messages", messages / 10 * part), began);
    }
    report(&node, &namespace, &message).await;
    let began = Instant::now();
    node.close().await.expect("closing");
    drop((node, namespace));
    say("closed", began);

    let began = Instant::now();
    let node = common::node(open(), Clock::System).await;
    say("open again", began);
    let namespace = node.namespace("demo").expect("the namespace");
    report(&node, &namespace, &message).await;
    node.close().await.expect("closing");
}

async fn register(node: &Arc<Node>, namespace: &Namespace, n: u64) {
    let claim = Claim {
        device: Some(DeviceId::new(&format!("device-{n}")).expect("a device")),
        user: Some(user(n)),
        platform: Platform::Web,
        ..Claim::default()
    };
    node.identify(&namespace.name, claim).await.expect("a device");
}

async fn receipts(node: &Arc<Node>, namespace: &Namespace, message: &Message, devices: u64) {
    let at = Clock::System.now();
    let has_it = (0..devices as u32).filter(|device| device % 10 != 0).map(Ordinal);
    let ack = |device| Ack { namespace: namespace.name.clone(), seq: message.seq, device, at };
    for some in has_it.map(ack).collect::<Vec<_>>().chunks(1_000) {
        let mut left = node.acks(some.to_vec());
        while !left.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
            left = node.acks(left);
        }
    }
    // Behind all of them, and written down.
    while node.report(namespace, message).await.total.acked < devices - devices.div_ceil(10) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn report(node: &Arc<Node>, namespace: &Namespace, message: &Message) {
    let mut times = Vec::new();
    let mut total = None;
    for _ in 0..20 {
        let began = Instant::now();
        total = Some(node.report(namespace, message).await.total);
        times.push(began.elapsed().as_secs_f64() * 1_000.0);
    }
    let first = times[0];
    times.sort_by(f64::total_cmp);
    let total = total.expect("a report");
    println!(
        "  its report: first {first:.2} ms, p50 {:.2} ms, max {:.2} ms; meant {}, acked {}",
        times[times.len() / 2],
        times[times.len() - 1],
        total.meant,
        total.acked
    );
}

async fn push_batch(node: &Arc<Node>, namespace: &Namespace, first: u64) {
    let pushes = (first..first + BATCH).map(|n| {
        let to = Target { users: vec![user(n % 10_000)], ..Target::default() };
        push(&format!("order {n} has been shipped"), to, Durability::Memory)
    });
    for outcome in node.publish_batch(&namespace.name, pushes).await {
        outcome.expect("a push");
    }
}

fn user(n: u64) -> UserId {
    format!("user-{n}").parse().expect("a user")
}

fn push(text: &str, to: Target, durability: Durability) -> Push {
    Push {
        to,
        except: Except::default(),
        event: "push".parse().expect("an event"),
        data: Bytes::from(format!("{{\"text\":\"{text}\"}}")),
        id: None,
        fingerprint: [0; 16],
        ttl: Duration::from_secs(24 * 60 * 60),
        priority: Priority::Normal,
        durability,
        keep: true,
        collapse_key: None,
        deliver_at: None,
        escalate_after: None,
        offline: Bytes::new(),
        from: None,
        aside: Bytes::new(),
    }
}
