//! Hooks that hear, fail, hang and come back, on a clock that the tests move.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidings_model::{Epoch, Timestamp};
use tidings_outbound::hook::{Client, Options, sign};
use tidings_store::{HookKey, MemoryStore, Notices as _, Pile, WaitingNotice};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::pace::GIVE_UP_AFTER;
use super::queues::{Bounds, Queue, Shared};
use super::sender::{Sender, Turn};
use super::*;
use crate::namespace::{AuthMode, Settings};
use crate::{Clock, Metrics, Node, Parts};

const SECRET: &str = "a secret of a hook";

/// Bounds that a test can reach.
const WAITING_MAX: u64 = 2_000;
const DEAD_MAX: u64 = 500;

/// What a receiver answers with; 0 is never.
type Script = Arc<Mutex<VecDeque<u16>>>;

/// A receiver of notices: what it was told, as `id body`, once the signature has been checked.
struct Receiver {
    port: u16,
    script: Script,
    told: mpsc::Receiver<(String, String)>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    /// One that answers like this, and with 200 from then on.
    async fn start(script: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let script: Script = Arc::new(Mutex::new(script.iter().copied().collect()));
        let (tell, told) = mpsc::channel(1_000);
        let answers = Arc::clone(&script);
        let task = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                tokio::spawn(answer(socket, Arc::clone(&answers), tell.clone()));
            }
        });
        Self { port, script, told, task }
    }

    fn hook(&self, name: &str) -> Hook {
        Hook {
            name: name.parse().unwrap(),
            url: HookUrl::parse(&format!("http://127.0.0.1:{}/", self.port)).unwrap(),
            events: NoticeKind::ALL.to_vec(),
            questions: Vec::new(),
            batch: 1,
            timeout_ms: 3_000,
            secret: Secret(SECRET.to_owned()),
            allow_private: true,
        }
    }

    /// What it was told next: the number in the data.
    async fn next(&mut self) -> (String, u64) {
        let (id, body) = self.told.recv().await.unwrap();
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((body["id"].as_str(), body["namespace"].as_str()), (Some(id.as_str()), Some("demo")));
        (id, body["data"]["n"].as_u64().unwrap())
    }

    async fn numbers(&mut self, count: usize) -> Vec<u64> {
        let mut numbers = Vec::new();
        for _ in 0..count {
            numbers.push(self.next().await.1);
        }
        numbers
    }
}

async fn answer(mut socket: TcpStream, script: Script, tell: mpsc::Sender<(String, String)>) -> Option<()> {
    loop {
        let (head, body) = read_request(&mut socket).await?;
        let header = |name: &str| {
            let line = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            line.unwrap_or_default().to_owned()
        };
        let signature = header("tidings-signature");
        let at = signature.strip_prefix("t=")?.split(',').next()?.parse().ok()?;
        assert_eq!(signature, sign(SECRET.as_bytes(), at, body.as_bytes()));
        let status = script.lock().unwrap().pop_front().unwrap_or(200);
        tell.send((header("tidings-event-id"), body)).await.ok()?;
        if status == 0 {
            std::future::pending::<()>().await;
        }
        let answer = format!("HTTP/1.1 {status} So\r\ncontent-length: 0\r\n\r\n");
        socket.write_all(answer.as_bytes()).await.ok()?;
    }
}

async fn read_request(socket: &mut TcpStream) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    loop {
        let mut block = [0; 4_096];
        let read = socket.read(&mut block).await.ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&block[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
        if body.len() >= length.parse().ok()? {
            return Some((head.to_owned(), body.to_owned()));
        }
    }
}

/// One hook whose sender takes its turns when the test says.
struct Bench {
    time: Arc<AtomicU64>,
    store: Arc<MemoryStore>,
    metrics: Arc<Metrics>,
    queue: Arc<Queue>,
    sender: Sender,
}

impl Bench {
    fn new(hook: &Hook, timeout: Duration) -> Self {
        let time = Arc::new(AtomicU64::new(1_000_000));
        let store = Arc::new(MemoryStore::new(Epoch(7)));
        let metrics = Arc::new(Metrics::default());
        let client = Client::new(Options { timeout, ..Options::default() });
        let clock = Clock::Manual(Arc::clone(&time));
        let mut shared = Shared::new(Arc::clone(&store) as _, clock, Arc::clone(&metrics), client);
        shared.bounds = Bounds { waiting: WAITING_MAX, dead: DEAD_MAX };
        let queue = Queue::new(HookKey { namespace: "demo".parse().unwrap(), hook: hook.name.clone() });
        queue.hook.store(Some(Arc::new(hook.clone())));
        let sender = Sender::new(Arc::new(shared), Arc::clone(&queue));
        Self { time, store, metrics, queue, sender }
    }

    async fn enqueue(&self, numbers: std::ops::Range<u64>) {
        let now = Timestamp(self.time.load(Ordering::Relaxed));
        let entries = numbers.map(|n| {
            let notice =
                Notice { id: None, kind: NoticeKind::Undelivered, at: now, data: format!("{{\"n\":{n}}}") };
            let id: NoticeId = format!("{n:09}").parse().unwrap();
            let body = body::of(&id, &self.queue.key.namespace, &notice);
            (self.queue.key.clone(), WaitingNotice { id, since: now, body, attempts: Tries::default() })
        });
        let entries: Vec<_> = entries.collect();
        self.queue.waiting.fetch_add(entries.len() as u64, Ordering::Relaxed);
        self.store.enqueue(entries).await.unwrap();
    }

    async fn turn(&mut self) -> Turn {
        self.sender.turn().await.unwrap()
    }

    /// Takes turns while there is something to do at once.
    async fn turns(&mut self) -> Turn {
        loop {
            let turn = self.turn().await;
            if turn != Turn::Again {
                return turn;
            }
        }
    }

    fn later(&self, by: Duration) {
        self.time.fetch_add(by.as_millis() as u64, Ordering::Relaxed);
    }

    async fn piles(&self) -> Piles {
        let piles = self.store.piles().await.unwrap();
        let piles = piles.first().map_or(Piles::default(), |(_, piles)| *piles);
        let counted = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let known = Piles { waiting: counted(&self.queue.waiting), dead: counted(&self.queue.dead) };
        assert_eq!(known, piles, "what is counted is what is there");
        piles
    }

    fn outcomes(&self, outcome: &'static str) -> u64 {
        self.metrics.hook_attempts.get_or_create(&crate::metrics::HookOutcome { outcome }).get()
    }
}

fn paused(turn: Turn) -> Duration {
    match turn {
        Turn::Wait(pause) => pause,
        Turn::Again | Turn::Idle => panic!("{turn:?}"),
    }
}

#[tokio::test]
async fn a_hook_that_fails_is_left_alone_and_then_told_in_order() {
    let mut receiver = Receiver::start(&[500, 302, 200]).await;
    let mut bench = Bench::new(&receiver.hook("crm"), Duration::from_secs(3));
    bench.enqueue(0..3).await;
    for (failed, least) in [(1, 500), (2, 1_000)] {
        let pause = paused(bench.turn().await);
        assert!((least..=2 * least).contains(&pause.as_millis()), "{pause:?}");
        assert_eq!(receiver.numbers(1).await, [0]);
        // What comes in meanwhile changes nothing, and neither does looking again.
        assert_eq!(paused(bench.turn().await), pause);
        let first = bench.store.notices(&bench.queue.key, Pile::Waiting, 1).await.unwrap().remove(0);
        assert_eq!((first.attempts.failed, first.attempts.failing_since), (failed, Timestamp(1_000_000)));
        if failed == 1 {
            bench.time.store(first.attempts.next_at.0 - 1, Ordering::Relaxed);
            assert_eq!(paused(bench.turn().await), Duration::from_millis(1));
            bench.later(Duration::from_millis(1));
        }
    }
    bench.later(Duration::from_secs(2));
    assert_eq!(bench.turns().await, Turn::Idle);
    assert_eq!(receiver.numbers(3).await, [0, 1, 2]);
    assert_eq!(bench.piles().await, Piles::default());
    let outcomes = ["accepted", "refused", "redirect", "timeout"].map(|word| bench.outcomes(word));
    assert_eq!(outcomes, [3, 1, 1, 0]);
}

#[tokio::test]
async fn what_waits_is_told_in_as_few_calls_as_the_hook_takes() {
    let mut receiver = Receiver::start(&[200, 500]).await;
    let hook = Hook { batch: 100, ..receiver.hook("crm") };
    let mut bench = Bench::new(&hook, Duration::from_secs(3));
    bench.enqueue(0..250).await;
    let mut calls = Vec::new();
    loop {
        match bench.turn().await {
            Turn::Again => {}
            Turn::Wait(pause) => bench.later(pause),
            Turn::Idle => break,
        }
        while let Ok((id, body)) = receiver.told.try_recv() {
            let body: Vec<serde_json::Value> = serde_json::from_str(&body).unwrap();
            assert_eq!(body[0]["id"], id.as_str(), "the header has the first one's");
            let numbers: Vec<_> = body.iter().map(|notice| notice["data"]["n"].as_u64().unwrap()).collect();
            assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "in order: {numbers:?}");
            calls.push((numbers[0], numbers.len()));
        }
    }
    // After a failure one is told first, to see whether the hook hears again.
    assert_eq!(calls, [(0, 100), (100, 100), (100, 1), (101, 100), (201, 49)]);
    assert_eq!(bench.piles().await, Piles::default());
    let log: Vec<_> = bench.queue.log.newest().iter().rev().map(|attempt| attempt.notices).collect();
    assert_eq!(log, [100, 100, 1, 100, 49]);
}

#[tokio::test]
async fn large_notices_do_not_go_into_one_call() {
    let mut receiver = Receiver::start(&[]).await;
    let hook = Hook { batch: 100, ..receiver.hook("crm") };
    let mut bench = Bench::new(&hook, Duration::from_secs(3));
    let (now, key) = (Timestamp(1_000_000), bench.queue.key.clone());
    let notices = [300_000, 100_000, 100_000, 100_000].map(|bytes| {
        let id: NoticeId =
            format!("{}", bench.queue.waiting.fetch_add(1, Ordering::Relaxed)).parse().unwrap();
        let data = format!("{{\"x\":\"{}\"}}", "x".repeat(bytes));
        let body =
            body::of(&id, &key.namespace, &Notice { id: None, kind: NoticeKind::Joined, at: now, data });
        (key.clone(), WaitingNotice { id, since: now, body, attempts: Tries::default() })
    });
    bench.store.enqueue(notices.to_vec()).await.unwrap();
    assert_eq!(bench.turns().await, Turn::Idle);
    let log: Vec<_> = bench.queue.log.newest().iter().rev().map(|attempt| attempt.notices).collect();
    assert_eq!(log, [1, 2, 1]);
    receiver.told.close();
}

#[tokio::test]
async fn a_hook_that_hangs_is_not_waited_for() {
    let mut receiver = Receiver::start(&[0]).await;
    let mut bench = Bench::new(&receiver.hook("crm"), Duration::from_millis(200));
    bench.enqueue(0..1).await;
    paused(bench.turn().await);
    assert_eq!(bench.outcomes("timeout"), 1);
    bench.later(Duration::from_secs(1));
    assert_eq!(bench.turns().await, Turn::Idle);
    // It may have heard the first time: the id says that it is the same.
    let (one, other) = (receiver.next().await, receiver.next().await);
    assert_eq!(one, other);
}

#[tokio::test]
async fn what_waits_is_given_up_after_a_day_and_kept() {
    let receiver = Receiver::start(&[500; 20]).await;
    let mut bench = Bench::new(&receiver.hook("crm"), Duration::from_secs(3));
    bench.enqueue(0..300).await;
    paused(bench.turn().await);
    bench.later(Duration::from_secs(60 * 60));
    bench.enqueue(300..302).await;
    bench.later(GIVE_UP_AFTER.saturating_sub(Duration::from_secs(60 * 60 + 1)));
    paused(bench.turn().await);
    assert_eq!(bench.piles().await, Piles { waiting: 302, dead: 0 });
    bench.later(Duration::from_secs(5));
    paused(bench.turn().await);
    assert_eq!(bench.piles().await, Piles { waiting: 2, dead: 300 });
    bench.later(Duration::from_secs(60 * 60));
    paused(bench.turn().await);
    assert_eq!(bench.piles().await, Piles { waiting: 0, dead: 302 });
    let kept = bench.store.notices(&bench.queue.key, Pile::Dead, 1).await.unwrap();
    assert_eq!((kept[0].id.as_str(), kept[0].attempts.failed), ("000000000", 3));
    // The hook comes back: it hears what comes from now on.
    receiver.script.lock().unwrap().clear();
    bench.enqueue(302..303).await;
    bench.later(Duration::from_secs(60 * 60));
    assert_eq!(bench.turns().await, Turn::Idle);
    assert_eq!(bench.piles().await, Piles { waiting: 0, dead: 302 });
    assert_eq!(bench.metrics.hook_dead_letters.get(), 302);
}

#[tokio::test]
async fn neither_pile_grows_for_ever() {
    let receiver = Receiver::start(&[500; 9]).await;
    let mut bench = Bench::new(&receiver.hook("crm"), Duration::from_secs(3));
    bench.enqueue(0..WAITING_MAX + 10).await;
    paused(bench.turn().await);
    assert_eq!(bench.piles().await, Piles { waiting: WAITING_MAX, dead: 10 });
    let first = bench.store.notices(&bench.queue.key, Pile::Waiting, 1).await.unwrap();
    assert_eq!(first[0].id.as_str(), "000000010");
    bench.enqueue(WAITING_MAX + 10..WAITING_MAX + DEAD_MAX + 7).await;
    paused(bench.turn().await);
    assert_eq!(bench.piles().await, Piles { waiting: WAITING_MAX, dead: DEAD_MAX });
    let oldest = bench.store.notices(&bench.queue.key, Pile::Dead, 1).await.unwrap();
    assert_eq!(oldest[0].id.as_str(), "000000007");
    let (given_up, lost) =
        (bench.metrics.hook_dead_letters.get(), bench.metrics.hook_dead_letters_lost.get());
    assert_eq!((given_up, lost), (DEAD_MAX + 7, 7));
}

#[tokio::test]
async fn a_hook_that_is_configured_anew_is_tried_at_once() {
    let mut receiver = Receiver::start(&[]).await;
    let mut wrong = receiver.hook("crm");
    wrong.allow_private = false;
    let mut bench = Bench::new(&wrong, Duration::from_secs(3));
    bench.enqueue(0..1).await;
    paused(bench.turn().await);
    assert_eq!(bench.outcomes("forbidden"), 1);
    bench.queue.hook.store(Some(Arc::new(receiver.hook("crm"))));
    bench.queue.renewed.store(true, Ordering::Relaxed);
    assert_eq!(bench.turns().await, Turn::Idle);
    assert_eq!(receiver.numbers(1).await, [0]);
}

#[tokio::test]
async fn nothing_is_left_of_a_hook_that_is_gone() {
    let receiver = Receiver::start(&[500; 9]).await;
    let mut bench = Bench::new(&receiver.hook("crm"), Duration::from_secs(3));
    bench.enqueue(0..600).await;
    bench.store.bury(&bench.queue.key, vec!["000000000".parse().unwrap()]).await.unwrap();
    bench.queue.less_waits(1);
    bench.queue.dead.fetch_add(1, Ordering::Relaxed);
    bench.queue.hook.store(None);
    assert_eq!(bench.turns().await, Turn::Idle);
    assert_eq!(bench.piles().await, Piles::default());
    assert_eq!(bench.store.piles().await.unwrap(), []);
}

#[tokio::test]
async fn what_waited_for_a_hook_is_not_told_to_the_next_one_of_its_name() {
    let (store, time) = (Arc::new(MemoryStore::new(Epoch(7))), Arc::new(AtomicU64::new(1_000)));
    // The first one hangs, with a notice under way and others behind it.
    let (mut first, mut next) = (Receiver::start(&[0]).await, Receiver::start(&[]).await);
    let node = node(&store, &time).await;
    let namespace = namespace(&node, vec![first.hook("crm")]).await;
    node.notify(&namespace, notices(NoticeKind::Undelivered, 0..3)).await.unwrap();
    assert_eq!(first.numbers(1).await, [0]);
    for hooks in [vec![], vec![next.hook("crm")]] {
        let settings = Settings { hooks, ..Settings::clone(&namespace.settings()) };
        node.change_namespace(namespace.changing().await, settings).await.unwrap();
    }
    let key = HookKey { namespace: namespace.name.clone(), hook: "crm".parse().unwrap() };
    assert_eq!(node.hooks.log(&key), [], "nor does it see what came of the others");
    // At once: what is for it is not cleared away with what was not.
    node.notify(&namespace, notices(NoticeKind::Undelivered, 3..5)).await.unwrap();
    assert_eq!(next.numbers(2).await, [3, 4]);
    node.hooks.stop().await;
}

async fn node(store: &Arc<MemoryStore>, time: &Arc<AtomicU64>) -> Arc<Node> {
    let parts = Parts {
        store: Arc::clone(store) as _,
        clock: Clock::Manual(Arc::clone(time)),
        shards: 1,
        name: "n1".to_owned(),
        limits: crate::connect::ConnectionLimits::default(),
        providers: Vec::new(),
        keep_statistics: crate::statistics::Keep::default(),
        simulations: false,
        metrics: Arc::new(Metrics::default()),
    };
    Node::start(parts).await.unwrap().0
}

async fn namespace(node: &Arc<Node>, hooks: Vec<Hook>) -> Arc<Namespace> {
    let settings = Settings { hooks, ..Settings::new("", AuthMode::Open, Timestamp(0)) };
    node.create_namespace("demo".parse().unwrap(), settings).await.unwrap()
}

fn notices(kind: NoticeKind, numbers: std::ops::Range<u64>) -> Vec<Notice> {
    numbers.map(|n| Notice { id: None, kind, at: Timestamp(5), data: format!("{{\"n\":{n}}}") }).collect()
}

#[tokio::test]
async fn each_hook_hears_what_it_wants_and_a_hanging_one_holds_up_no_other() {
    let (store, time) = (Arc::new(MemoryStore::new(Epoch(7))), Arc::new(AtomicU64::new(1_000)));
    let (mut hangs, mut hears, mut picks) =
        (Receiver::start(&[0]).await, Receiver::start(&[]).await, Receiver::start(&[]).await);
    let picky = Hook { events: vec![NoticeKind::Escalated], ..picks.hook("picks") };
    let node = node(&store, &time).await;
    let namespace = namespace(&node, vec![hangs.hook("hangs"), hears.hook("hears"), picky]).await;
    node.notify(&namespace, notices(NoticeKind::Undelivered, 0..40)).await.unwrap();
    node.notify(&namespace, notices(NoticeKind::Escalated, 40..42)).await.unwrap();
    assert_eq!(hears.numbers(42).await, (0..42).collect::<Vec<_>>());
    assert_eq!(picks.numbers(2).await, [40, 41]);
    assert_eq!(hangs.numbers(1).await, [0]);
    node.hooks.stop().await;
    let piles = store.piles().await.unwrap();
    let names: Vec<_> = piles.iter().map(|(key, piles)| (key.hook.as_str(), piles.waiting)).collect();
    assert_eq!(names, [("hangs", 42)]);
    assert!(hangs.told.try_recv().is_err());
}

#[tokio::test]
async fn what_waits_is_told_after_a_restart() {
    let (store, time) = (Arc::new(MemoryStore::new(Epoch(7))), Arc::new(AtomicU64::new(1_000)));
    let mut receiver = Receiver::start(&[503]).await;
    let first = node(&store, &time).await;
    let namespace = namespace(&first, vec![receiver.hook("crm")]).await;
    first.notify(&namespace, notices(NoticeKind::Undelivered, 0..3)).await.unwrap();
    assert_eq!(receiver.numbers(1).await, [0]);
    first.hooks.stop().await;
    // Nobody is told any more, but what is to be told is kept.
    first.notify(&namespace, notices(NoticeKind::Undelivered, 3..4)).await.unwrap();
    drop(first);
    time.fetch_add(2_000, Ordering::Relaxed);
    let second = node(&store, &time).await;
    assert_eq!(receiver.numbers(4).await, [0, 1, 2, 3]);
    second.hooks.stop().await;
    assert_eq!(store.piles().await.unwrap(), []);
    assert_eq!(second.hooks.len(), Piles::default());
}

#[tokio::test]
async fn what_was_given_up_may_be_replayed() {
    let (store, time) = (Arc::new(MemoryStore::new(Epoch(7))), Arc::new(AtomicU64::new(1_000)));
    let mut receiver = Receiver::start(&[]).await;
    let key = HookKey { namespace: "demo".parse().unwrap(), hook: "crm".parse().unwrap() };
    let entries: Vec<_> = (0..300)
        .map(|n| {
            let id: NoticeId = format!("{n:09}").parse().unwrap();
            let notice = Notice {
                id: None,
                kind: NoticeKind::Undelivered,
                at: Timestamp(5),
                data: format!("{{\"n\":{n}}}"),
            };
            let body = body::of(&id, &key.namespace, &notice);
            (key.clone(), WaitingNotice { id, since: Timestamp(5), body, attempts: Tries::default() })
        })
        .collect();
    let ids = entries.iter().map(|(_, notice)| notice.id.clone()).collect();
    let first = node(&store, &time).await;
    let demo = namespace(&first, vec![receiver.hook("crm")]).await;
    store.enqueue(entries).await.unwrap();
    store.bury(&key, ids).await.unwrap();
    drop(first);
    let second = node(&store, &time).await;
    assert_eq!(second.hook_piles(&demo, &key.hook), Some(Piles { waiting: 0, dead: 300 }));
    let mut shown = Vec::new();
    loop {
        let after = shown.last().cloned();
        let page = second.dead_letters(&demo, &key.hook, after, 128).await.unwrap().unwrap();
        if page.is_empty() {
            break;
        }
        shown.extend(page.into_iter().map(|notice| notice.id));
    }
    assert!(shown.len() == 300 && shown.is_sorted(), "{shown:?}");
    assert_eq!(second.hook_log(&demo, &key.hook), Some(vec![]));
    assert_eq!(second.replay(&demo, &key.hook).await.unwrap(), Some(300));
    assert_eq!(receiver.numbers(300).await, (0..300).collect::<Vec<_>>());
    second.hooks.stop().await;
    let log = second.hook_log(&demo, &key.hook).unwrap();
    assert_eq!(log.len(), ATTEMPTS_MAX);
    assert!(log.iter().all(|attempt| attempt.word() == "accepted" && attempt.kind == "undelivered"));
    assert_eq!(store.piles().await.unwrap(), []);
    assert_eq!(second.hook_piles(&demo, &key.hook), Some(Piles::default()));
    let nobody = "nobody".parse().unwrap();
    assert_eq!(second.replay(&demo, &nobody).await.unwrap(), None);
    assert_eq!(second.hook_piles(&demo, &nobody), None);
    assert_eq!(second.hook_log(&demo, &nobody), None);
    assert_eq!(second.dead_letters(&demo, &nobody, None, 1).await.unwrap(), None);
    assert_eq!(second.try_hook(&demo, &nobody).await, Ok(None));
}

#[tokio::test]
async fn nobody_is_told_who_did_not_ask() {
    let (store, time) = (Arc::new(MemoryStore::new(Epoch(7))), Arc::new(AtomicU64::new(1_000)));
    let receiver = Receiver::start(&[]).await;
    let node = node(&store, &time).await;
    let picky = Hook { events: vec![NoticeKind::Escalated], ..receiver.hook("picks") };
    let namespace = namespace(&node, vec![picky]).await;
    let wanted = NoticeKind::ALL.map(|kind| namespace.wants(kind));
    assert_eq!(wanted.map(usize::from).iter().sum::<usize>(), 1);
    assert!(namespace.wants(NoticeKind::Escalated));
    node.notify(&namespace, notices(NoticeKind::Undelivered, 0..3)).await.unwrap();
    assert_eq!(store.piles().await.unwrap(), []);
    let settings = Settings { hooks: vec![], ..(*namespace.settings()).clone() };
    node.change_namespace(namespace.changing().await, settings).await.unwrap();
    assert!(!namespace.wants(NoticeKind::Escalated));
}

#[test]
fn a_hook_is_kept_as_it_was_configured() {
    let text = r#"{"name":"crm","url":"https://example.com/x","events":["escalated","rpc"],"batch":1,"timeout_ms":500,"secret":"0123456789abcdef","allow_private":false}"#;
    let hook: Hook = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&hook).unwrap(), text);
    assert!(!format!("{hook:?}").contains("0123456789abcdef"));
    let older: Hook = serde_json::from_str(&text.replace(r#""timeout_ms":500,"#, "")).unwrap();
    assert_eq!(Hook { timeout_ms: 500, ..older }, hook);
    for (from, to) in [("crm", "C R M"), ("https", "gopher"), ("escalated", "exploded")] {
        assert!(serde_json::from_str::<Hook>(&text.replace(from, to)).is_err(), "{to}");
    }
}

/// What happens again after a crash is the same notice: it waits once, and is counted once.
#[tokio::test]
async fn what_is_told_again_has_its_id_and_waits_once() {
    let (store, time) = (Arc::new(MemoryStore::new(Epoch(7))), Arc::new(AtomicU64::new(1_000)));
    let mut receiver = Receiver::start(&[0, 204]).await;
    let node = node(&store, &time).await;
    let namespace = namespace(&node, vec![receiver.hook("crm")]).await;
    let name = receiver.hook("crm").name;
    let told = |id: &str, n: u64| {
        let (kind, at) = (NoticeKind::Undelivered, Timestamp(1_000));
        Notice { id: Some(id.parse().unwrap()), kind, at, data: format!("{{\"n\":{n}}}") }
    };
    for notices in [vec![told("01", 1), told("02", 2)], vec![told("02", 2), told("03", 3)]] {
        node.notify(&namespace, notices).await.unwrap();
    }
    let piles = || node.hook_piles(&namespace, &name).unwrap();
    assert_eq!(piles(), Piles { waiting: 3, dead: 0 });
    assert_eq!(receiver.next().await, ("01".to_owned(), 1));
}

#[tokio::test]
async fn a_hook_is_tried_out() {
    let (store, time) = (Arc::new(MemoryStore::new(Epoch(7))), Arc::new(AtomicU64::new(1_000)));
    let mut receiver = Receiver::start(&[204, 503]).await;
    let node = node(&store, &time).await;
    let hook = receiver.hook("crm");
    let namespace = namespace(&node, vec![hook.clone()]).await;
    for (word, status) in [("accepted", 204), ("refused", 503)] {
        let tried = node.try_hook(&namespace, &hook.name).await.unwrap().unwrap();
        assert_eq!((tried.word(), tried.status(), tried.kind.as_str()), (word, Some(status), "test"));
        let (id, body) = receiver.told.recv().await.unwrap();
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((id.as_str(), &body["type"]), (tried.id.as_str(), &"test".into()));
    }
    assert_eq!(store.piles().await.unwrap(), [], "nothing of it waits");
}
