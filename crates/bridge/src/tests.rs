//! Against a server that speaks enough of Redis to be subscribed to, and that misbehaves when it is told to.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidings_model::Glob;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use crate::{Counters, Dropped, Heard, NotSaid, Options, Speaker, Subscriber, Timing, check_url};

type Words = Vec<Vec<u8>>;

/// A Redis that is none.
#[derive(Default)]
struct Fake {
    /// Every command but greetings and signs of life.
    said: Mutex<Vec<String>>,
    connections: AtomicUsize,
    /// It reads and does not answer.
    mute: AtomicBool,
    /// The connections that are open: what is sent here goes out on each.
    lines: Mutex<Vec<mpsc::Sender<Published>>>,
    /// Turned when all connections are to end.
    end: watch::Sender<()>,
}

type Published = (Vec<u8>, Vec<u8>);

impl Fake {
    async fn start() -> (Arc<Self>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let fake = Arc::new(Self::default());
        let server = Arc::clone(&fake);
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                server.connections.fetch_add(1, Ordering::SeqCst);
                let server = Arc::clone(&server);
                tokio::spawn(async move { server.serve(socket).await });
            }
        });
        (fake, url)
    }

    async fn serve(&self, mut socket: TcpStream) {
        let (publish, mut published) = mpsc::channel::<Published>(100_000);
        self.lines.lock().unwrap().push(publish);
        let mut end = self.end.subscribe();
        let (read, mut write) = socket.split();
        let mut read = BufReader::new(read);
        let (mut names, mut patterns): (BTreeSet<Vec<u8>>, Vec<String>) = Default::default();
        loop {
            let mut out = Vec::new();
            tokio::select! {
                _ = end.changed() => return,
                words = command(&mut read) => {
                    let Some(words) = words else { return };
                    self.answer(words, &mut names, &mut patterns, &mut out);
                }
                Some((channel, payload)) = published.recv() => {
                    if names.contains(&channel) {
                        array(&mut out, &[b"message", &channel, &payload]);
                    }
                    let text = String::from_utf8_lossy(&channel).into_owned();
                    for pattern in patterns.iter().filter(|pattern| Glob::new(pattern).fits(&text)) {
                        array(&mut out, &[b"pmessage", pattern.as_bytes(), &channel, &payload]);
                    }
                }
            }
            if self.mute.load(Ordering::SeqCst) {
                continue;
            }
            if write.write_all(&out).await.is_err() {
                return;
            }
        }
    }

    fn answer(
        &self,
        words: Words,
        names: &mut BTreeSet<Vec<u8>>,
        patterns: &mut Vec<String>,
        out: &mut Vec<u8>,
    ) {
        let texts: Vec<String> =
            words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        let verb = texts[0].to_ascii_uppercase();
        match verb.as_str() {
            "CLIENT" => return out.extend_from_slice(b"+OK\r\n"),
            "PING" if names.is_empty() && patterns.is_empty() => return out.extend_from_slice(b"+PONG\r\n"),
            "PING" => return array(out, &[b"pong", b""]),
            "PUBLISH" => out.extend_from_slice(b":1\r\n"),
            "GET" => out.extend_from_slice(b"$3\r\na,b\r\n"),
            _ => {
                for word in &words[1..] {
                    match verb.as_str() {
                        "SUBSCRIBE" => drop(names.insert(word.clone())),
                        "UNSUBSCRIBE" => drop(names.remove(word)),
                        _ => patterns.push(String::from_utf8_lossy(word).into_owned()),
                    }
                    let kind = verb.to_ascii_lowercase();
                    let head = format!("*3\r\n${}\r\n{kind}\r\n${}\r\n", kind.len(), word.len());
                    out.extend_from_slice(head.as_bytes());
                    out.extend_from_slice(word);
                    out.extend_from_slice(b"\r\n:1\r\n");
                }
            }
        }
        self.said.lock().unwrap().push(texts.join(" "));
    }

    async fn publish(&self, channel: &[u8], payload: &[u8]) {
        let lines = self.lines.lock().unwrap().clone();
        for line in lines {
            let _ = line.send((channel.to_vec(), payload.to_vec())).await;
        }
    }

    fn hang_up(&self) {
        self.lines.lock().unwrap().clear();
        self.end.send_replace(());
    }

    fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn command(read: &mut (impl AsyncBufReadExt + Unpin)) -> Option<Words> {
    let count = number(read).await?;
    let mut words = Vec::new();
    for _ in 0..count {
        let length = number(read).await?;
        let mut word = vec![0; length + 2];
        read.read_exact(&mut word).await.ok()?;
        word.truncate(length);
        words.push(word);
    }
    Some(words)
}

async fn number(read: &mut (impl AsyncBufReadExt + Unpin)) -> Option<usize> {
    let mut line = String::new();
    read.read_line(&mut line).await.ok()?;
    line.get(1..)?.trim().parse().ok()
}

fn array(out: &mut Vec<u8>, words: &[&[u8]]) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

/// Looks until it is so, or fails after a while.
async fn until(what: &str, so: impl Fn() -> bool) {
    let look = async {
        while !so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), look).await.unwrap_or_else(|_| panic!("never: {what}"));
}

async fn next(heard: &mut mpsc::Receiver<Heard>) -> (String, String) {
    let next = tokio::time::timeout(Duration::from_secs(20), heard.recv()).await;
    let heard = next.expect("something is heard").expect("there is more to hear");
    (heard.channel.clone(), String::from_utf8_lossy(&heard.payload).into_owned())
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn quick() -> Timing {
    let ms = Duration::from_millis;
    Timing { answer: ms(300), ping: ms(50), retry: ms(1)..=ms(20) }
}

fn start(
    url: &str,
    channels: &[&str],
    patterns: &[&str],
) -> (Subscriber, mpsc::Receiver<Heard>, Arc<Counters>) {
    let counters = Arc::<Counters>::default();
    let options = Options {
        url: url.to_owned(),
        names: names(channels),
        patterns: patterns.iter().map(|pattern| Glob::new(pattern)).collect(),
        message_bytes: 1_000,
        timing: quick(),
    };
    let (subscriber, heard) = Subscriber::start(options, Arc::clone(&counters)).unwrap();
    (subscriber, heard, counters)
}

fn pair(channel: &str, payload: &str) -> (String, String) {
    (channel.to_owned(), payload.to_owned())
}

#[tokio::test]
async fn what_several_subscriptions_fit_comes_once() {
    let (fake, url) = Fake::start().await;
    let (_subscriber, mut heard, counters) = start(&url, &["news", "score.1"], &["score.*", "*.1"]);
    until("subscribed", || counters.connected()).await;
    assert_eq!(counters.channels(), 4);
    for channel in ["news", "score.1", "score.2", "other", "x.1", "news"] {
        fake.publish(channel.as_bytes(), channel.as_bytes()).await;
    }
    for channel in ["news", "score.1", "score.2", "x.1", "news"] {
        assert_eq!(next(&mut heard).await, pair(channel, channel));
    }
    assert!(heard.try_recv().is_err());
    assert_eq!((counters.received(), counters.gaps()), (5, 0));
    assert_eq!(fake.said(), ["PSUBSCRIBE score.* *.1", "SUBSCRIBE news"]);
}

#[tokio::test]
async fn a_connection_that_ends_is_made_again_and_what_is_wanted_by_then_is_heard() {
    let (fake, url) = Fake::start().await;
    let (subscriber, mut heard, counters) = start(&url, &["a", "b"], &[]);
    until("subscribed", || counters.connected()).await;
    subscriber.listen_to(names(&["b", "c"]));
    until("changed", || fake.said().len() == 3).await;
    assert_eq!(fake.said(), ["SUBSCRIBE a b", "UNSUBSCRIBE a", "SUBSCRIBE c"]);
    fake.hang_up();
    until("again", || fake.connections() == 2 && counters.connected()).await;
    assert_eq!(fake.said().last().unwrap(), "SUBSCRIBE b c");
    assert_eq!((counters.gaps(), counters.channels()), (1, 2));
    assert!(counters.away() > Duration::ZERO);
    fake.publish(b"c", b"1").await;
    assert_eq!(next(&mut heard).await, pair("c", "1"));
}

#[tokio::test]
async fn a_server_that_goes_silent_is_left() {
    let (fake, url) = Fake::start().await;
    let (_subscriber, mut heard, counters) = start(&url, &["a"], &[]);
    until("subscribed", || counters.connected()).await;
    fake.mute.store(true, Ordering::SeqCst);
    until("left", || fake.connections() > 1).await;
    assert!(!counters.connected());
    assert_eq!(counters.gaps(), 1);
    fake.mute.store(false, Ordering::SeqCst);
    until("again", || counters.connected()).await;
    fake.publish(b"a", b"1").await;
    assert_eq!(next(&mut heard).await, pair("a", "1"));
    // However often it was tried, it was one gap.
    assert_eq!(counters.gaps(), 1);
}

#[tokio::test]
async fn one_that_is_not_there_yet_is_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (_subscriber, _heard, counters) = start(&format!("redis://{address}"), &["a"], &[]);
    until("it was tried", || counters.gaps() == 1).await;
    assert!(!counters.connected());
}

#[tokio::test]
async fn thousands_of_channels_take_one_connection_and_few_commands() {
    let (fake, url) = Fake::start().await;
    let many: Vec<String> = (0..5_000).map(|n| format!("channel-{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let (_subscriber, mut heard, counters) = start(&url, &many, &[]);
    until("subscribed", || counters.connected()).await;
    assert_eq!((fake.connections(), fake.said().len(), counters.channels()), (1, 5, 5_000));
    fake.publish(b"channel-4999", b"x").await;
    assert_eq!(next(&mut heard).await, pair("channel-4999", "x"));
}

#[tokio::test]
async fn what_does_not_fit_is_dropped_and_counted() {
    let (fake, url) = Fake::start().await;
    let (_subscriber, mut heard, counters) = start(&url, &["a"], &["\\xff*", "*"]);
    until("subscribed", || counters.connected()).await;
    fake.publish(b"\xff\xfe", b"x").await;
    fake.publish(b"a", &[b'x'; 1_001]).await;
    fake.publish(b"a", b"\xff\x00").await;
    assert_eq!(next(&mut heard).await, pair("a", "\u{fffd}\0"));
    assert_eq!((counters.dropped(Dropped::NotAChannel), counters.dropped(Dropped::TooLarge)), (1, 1));
    let more = 10;
    for n in 0..crate::subscriber::QUEUE_MESSAGES + more {
        fake.publish(b"a", n.to_string().as_bytes()).await;
    }
    until("the rest is dropped", || counters.dropped(Dropped::QueueFull) == more as u64).await;
    assert_eq!(counters.waiting(), crate::subscriber::QUEUE_MESSAGES as u64);
    assert_eq!(next(&mut heard).await, pair("a", "0"));
    until("it left", || counters.waiting() < crate::subscriber::QUEUE_MESSAGES as u64).await;
}

#[tokio::test]
async fn what_is_said_arrives_over_one_connection() {
    let (fake, url) = Fake::start().await;
    let speaker = Speaker::new(&url).unwrap();
    assert_eq!(speaker.publish("login1@*", "ann").await.unwrap(), 1);
    assert_eq!(speaker.get("room@ann").await.unwrap().as_deref(), Some("a,b"));
    assert_eq!(fake.said(), ["PUBLISH login1@* ann", "GET room@ann"]);
    assert_eq!(fake.connections(), 1);
    // One that ended meanwhile is noticed by using it.
    fake.hang_up();
    assert_eq!(speaker.get("room@ann").await.unwrap().as_deref(), Some("a,b"));
    assert_eq!(fake.connections(), 2);
}

#[tokio::test]
async fn nobody_waits_for_one_that_is_away() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let speaker = Speaker::new(&format!("redis://{address}")).unwrap();
    assert!(matches!(speaker.get("k").await, Err(NotSaid::Redis(_))));
    assert!(matches!(speaker.get("k").await, Err(NotSaid::Away)));
}

#[test]
fn a_url_is_one_of_a_redis() {
    for (url, good) in [
        ("redis://127.0.0.1:6379", true),
        ("redis://:secret@redis.example/3", true),
        ("rediss://redis.example:6380", true),
        ("unix:///run/redis.sock", true),
        ("http://127.0.0.1", false),
        ("127.0.0.1:6379", false),
        ("", false),
    ] {
        assert_eq!(check_url(url).is_ok(), good, "{url}");
    }
}
