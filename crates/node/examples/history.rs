//! How long a page of history takes, and what its index costs: many messages, half of them Chinese, half English.
//!
//! `cargo run --release -p tidings-node --example history [messages] [directory]`
//!
//! The messages go into a new store (1,000,000 unless said), in batches and without waiting for the disk; then a node starts on it,
//! and its indexer does its work while nothing else goes on. Each kind of question is then asked page by page, 100
//! messages a page, as the API would: found, read, and with the report of each.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tidings_model::{
    DeviceId, Durability, Epoch, Except, NamespaceName, Platform, Priority, RoomName, Seq, Target, Timestamp,
    Topic, UserId,
};
use tidings_node::connect::Claim;
use tidings_node::history::{Asked, Order, Words};
use tidings_node::ledger::report::Life;
use tidings_node::namespace::{AuthMode, Settings};
use tidings_node::{Clock, Node};
use tidings_store::{EmbeddedStore, History, Messages, NewId, NewMessage, Options, Store};

mod common;

use common::{bytes_in, cpu, node, resident};

const USERS: u64 = 2_000;
const ROOMS: u64 = 200;
const PAGE: usize = 100;
const PAGES: usize = 40;

/// A message a second, up to this moment: 2026-11-20.
const NOW: u64 = 1_795_132_800_000;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let count: u64 = arguments.next().map_or(1_000_000, |text| text.parse().expect("a number of messages"));
    let directory = match arguments.next() {
        Some(path) => tempfile::tempdir_in(path),
        None => tempfile::tempdir(),
    };
    let directory = directory.expect("a directory to write to");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(run(count, directory.path()));
}

async fn run(count: u64, directory: &Path) {
    let open = || {
        EmbeddedStore::open(directory, Options { journal_bytes: 64 << 20, ..Options::new(Epoch(1)) })
            .expect("a store")
    };
    let name: NamespaceName = "demo".parse().expect("a name");
    let node = node(Arc::new(open()), clock()).await;
    let settings = Settings::new("", AuthMode::Open, Timestamp(0));
    let namespace = node.create_namespace(name.clone(), settings).await.expect("a namespace");
    for user in 0..USERS {
        let claim = Claim {
            device: Some(DeviceId::new(&format!("device-{user}")).expect("a device")),
            user: Some(UserId::new(&format!("user-{user}")).expect("a user")),
            platform: Platform::Web,
            ..Claim::default()
        };
        let who = node.identify(&name, claim).await.expect("a device");
        node.join(&namespace, who.device.ordinal, vec![room(user % ROOMS)]).await.expect("a room");
    }
    node.close().await.expect("closing");
    drop((node, namespace));

    let store = open();
    let began = Instant::now();
    for from in (0..count).step_by(1_000) {
        let messages = (from..count.min(from + 1_000)).map(|n| message(&name, n, count)).collect();
        store.append(messages, Durability::Memory).await.expect("appending");
    }
    println!("{count} messages appended in {:.1?}, {:.1} s of CPU", began.elapsed(), cpu());
    store_closed(store).await;
    let before = bytes_in(directory);

    let store = Arc::new(open());
    let node = common::node(Arc::clone(&store) as Arc<dyn Store>, clock()).await;
    let (began, cpu_before) = (Instant::now(), cpu());
    while store.indexed(&name).await.expect("reading") < store.head(&name) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("indexed in {:.1?}, {:.1} s of CPU", began.elapsed(), cpu() - cpu_before);
    node.close().await.expect("closing");
    drop((node, store));
    drop(open());
    let after = bytes_in(directory);
    println!("on disk: {} MB without the index, {} MB with it", before >> 20, after >> 20);

    let store = Arc::new(open());
    let node = common::node(Arc::clone(&store) as Arc<dyn Store>, clock()).await;
    let namespace = node.namespace("demo").expect("the namespace");
    recall_some(&node, &namespace, &store, count).await;
    println!("{:<52} {:>6} {:>6} {:>9} {:>9} {:>9}", "", "pages", "items", "first ms", "p50 ms", "max ms");
    for (kind, asked) in questions(count) {
        measure(kind, &node, &namespace, &asked).await;
    }
    println!("resident: {} MB", resident() >> 20);
    node.close().await.expect("closing");
}

fn clock() -> Clock {
    Clock::Manual(Arc::new(AtomicU64::new(NOW)))
}

async fn store_closed(store: EmbeddedStore) {
    tidings_store::Settings::close(&store).await.expect("closing");
}

async fn recall_some(
    node: &Arc<Node>,
    namespace: &Arc<tidings_node::Namespace>,
    store: &EmbeddedStore,
    count: u64,
) {
    let seqs = (1..=200).map(|n| Seq(n * count / 200)).collect();
    for message in store.messages(&namespace.name, seqs).await.expect("reading").into_iter().flatten() {
        node.recall(namespace, &message).await.expect("recalling");
    }
}

fn questions(count: u64) -> Vec<(&'static str, Asked)> {
    let any = Asked::default();
    let ago = |messages: u64| Some(Timestamp(NOW - messages * 1_000));
    let q = |text: &str| Asked { words: Words::parse(text), ..any.clone() };
    let by_room = Asked { room: Some(room(7)), ..any.clone() };
    vec![
        ("everything, newest first", any.clone()),
        ("everything, oldest first", Asked { order: Order::OldestFirst, ..any.clone() }),
        (
            "an hour in the middle",
            Asked { since: ago(count / 2), until: ago(count / 2 - 3_600), ..any.clone() },
        ),
        (
            "an event that many have",
            Asked { event: Some("event-1".parse().expect("an event")), ..any.clone() },
        ),
        (
            "an event that one in 10,000 has",
            Asked { event: Some("rare".parse().expect("an event")), ..any.clone() },
        ),
        ("a room", by_room.clone()),
        ("a user", Asked { user: Some("user-7".parse().expect("a user")), ..any.clone() }),
        ("a device", Asked { device: Some("device-1999".parse().expect("a device")), ..any.clone() }),
        ("a common word: word0", q("word0")),
        ("two common words: word1 word2", q("word1 word2")),
        ("a rare word: word19990", q("word19990")),
        ("a word that there is not", q("nowhere")),
        ("one Chinese character: 中", q(&han(0).to_string())),
        ("two Chinese characters", q(&[han(3), han(5)].iter().collect::<String>())),
        (
            "four Chinese characters",
            q(&text(2 * (count / 3) + 1).chars().skip(2).take(4).collect::<String>()),
        ),
        ("two that never stand together", q(&[han(2_499), han(2_498)].iter().collect::<String>())),
        (
            "a room, a word, the last tenth",
            Asked { words: Words::parse("word3"), since: ago(count / 10), ..by_room.clone() },
        ),
        (
            "a user, a word, oldest first",
            Asked { user: Some("user-9".parse().expect("a user")), order: Order::OldestFirst, ..q("word4") },
        ),
        ("recalled", Asked { status: Some(Life::Recalled), ..any.clone() }),
        ("live", Asked { status: Some(Life::Live), ..any.clone() }),
        ("expired, a room", Asked { status: Some(Life::Expired), ..by_room }),
        ("scheduled", Asked { status: Some(Life::Scheduled), ..any }),
    ]
}

async fn measure(kind: &str, node: &Arc<Node>, namespace: &tidings_node::Namespace, asked: &Asked) {
    let (mut times, mut items, mut after) = (Vec::new(), 0, None);
    for _ in 0..PAGES {
        let began = Instant::now();
        let page = node.history(namespace, asked, after, PAGE).await.expect("a page");
        times.push(began.elapsed().as_secs_f64() * 1_000.0);
        items += page.items.len();
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let first = times[0];
    times.sort_by(f64::total_cmp);
    let (p50, max) = (times[times.len() / 2], times[times.len() - 1]);
    println!("{kind:<52} {:>6} {items:>6} {first:>9.2} {p50:>9.2} {max:>9.2}", times.len());
}

fn room(n: u64) -> RoomName {
    format!("room-{n}").parse().expect("a room")
}

/// The `n`th of 2,500 Chinese characters.
fn han(n: u64) -> char {
    char::from_u32(0x4e2d + (n as u32 * 7) % 2_500).unwrap_or('中')
}

/// Numbers that look random, and are the same every time.
struct Dice(u64);

impl Dice {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    /// Small ones often, large ones seldom, as with words.
    fn skewed(&mut self, below: u64) -> u64 {
        let part = self.next(1 << 20) as f64 / f64::from(1 << 20);
        ((below as f64).powf(part) - 1.0) as u64
    }
}

/// What message `n` says: even ones are English, odd ones Chinese.
fn text(n: u64) -> String {
    let mut dice = Dice(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1);
    if n.is_multiple_of(2) {
        let words: Vec<String> =
            (0..8 + dice.next(13)).map(|_| format!("word{}", dice.skewed(20_000))).collect();
        return words.join(" ");
    }
    let mut text: String = (0..15 + dice.next(40)).map(|_| han(dice.skewed(2_500))).collect();
    text.push('。');
    text
}

fn message(namespace: &NamespaceName, n: u64, count: u64) -> NewMessage {
    let mut dice = Dice(n + 17);
    let at = Timestamp(NOW - (count - n) * 1_000);
    let (mut to, mut topics, mut meant) = (Target::default(), Vec::new(), Vec::new());
    match dice.next(10) {
        0 => {
            to.all = true;
            topics.push(Topic::All);
            meant.extend(0..USERS as u32);
        }
        1..=3 => {
            let chosen = dice.next(ROOMS);
            to.rooms.push(room(chosen));
            topics.push(Topic::Room(room(chosen)));
            meant.extend((chosen as u32..USERS as u32).step_by(ROOMS as usize));
        }
        _ => {
            let chosen = dice.next(USERS);
            let user: UserId = format!("user-{chosen}").parse().expect("a user");
            to.users.push(user.clone());
            topics.push(Topic::User(user));
            meant.push(chosen as u32);
        }
    }
    let event = if dice.next(10_000) == 0 { "rare".to_owned() } else { format!("event-{}", dice.next(20)) };
    NewMessage {
        namespace: namespace.clone(),
        id: NewId::Kept(format!("message-{n:010}").parse().expect("an id")),
        fingerprint: [7; 16],
        event: event.parse().expect("an event"),
        data: Bytes::from(format!("{{\"title\":\"notice {n}\",\"text\":\"{}\",\"n\":{n}}}", text(n))),
        to,
        except: Except::default(),
        topics,
        meant: Arc::new(meant.into_iter().collect()),
        accepted_at: at,
        expires_at: at.after(Duration::from_secs(24 * 60 * 60)),
        priority: Priority::Normal,
        keep: true,
        collapse_key: None,
        deliver_at: None,
        sent_at: at,
        escalate_after: None,
        offline: Bytes::new(),
        recalls: None,
        from: None,
        aside: Bytes::new(),
        replaces: None,
    }
}
