//! What is published on the Redis of an older system becomes messages, and what its backends are to hear of logins is said there.
//! The rooms, the node and the metrics on one side, [`tidings_bridge`] on the other.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::BoxFuture;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tidings_bridge::{BadUrl, Counters, Dropped, Heard, Options, Speaker, Subscriber, Timing};
use tidings_model::{Durability, EventName, Glob, NamespaceName, Priority, Push, RoomName, Target, limit};
use tidings_node::logins::Logins;
use tidings_node::publish::PublishError;
use tidings_node::{Namespace, Node, ids};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

/// Messages that are published together.
const TOGETHER: usize = 512;

/// For how long a message is offered again that the server has no room for, and how often.
const OFFERED_FOR: Duration = Duration::from_secs(2);
const OFFERED_EVERY: Duration = Duration::from_millis(20);

/// How often it is looked whether the Redis is there, and whether the namespace is another one of the same name.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The channels of a configuration.
#[derive(Clone, Debug, Default)]
pub(crate) struct Channels {
    pub(crate) names: BTreeSet<RoomName>,
    pub(crate) patterns: Vec<Glob>,
}

/// What is listened to, and where it goes.
pub(crate) struct Bridge {
    pub(crate) redis: String,
    pub(crate) namespace: NamespaceName,
    pub(crate) channels: Channels,
}

impl Bridge {
    /// Listens from now on, for as long as the node is there.
    pub(crate) fn start(self, node: &Arc<Node>, counters: Arc<Counters>) -> Result<(), BadUrl> {
        let Self { redis, namespace, channels } = self;
        let found = node.namespace(namespace.as_str());
        if let Some(found) = &found {
            found.have_channels(channels.names.clone(), channels.patterns.clone());
        }
        let options = Options {
            url: redis,
            names: found.as_deref().map(names).unwrap_or_default(),
            patterns: channels.patterns.clone(),
            message_bytes: usize::try_from(limit::DATA_BYTES_MAX).unwrap_or(usize::MAX),
            timing: Timing::default(),
        };
        let (subscriber, heard) = Subscriber::start(options, Arc::clone(&counters))?;
        let kept = Kept { channels, subscriber, counters: Arc::clone(&counters) };
        tokio::spawn(kept.keep(Arc::downgrade(node), namespace.clone()));
        tokio::spawn(pass_on(Arc::downgrade(node), namespace, heard, counters));
        Ok(())
    }
}

fn names(namespace: &Namespace) -> BTreeSet<String> {
    namespace.channels().iter().map(ToString::to_string).collect()
}

/// What is kept up to date while it runs.
struct Kept {
    channels: Channels,
    subscriber: Subscriber,
    counters: Arc<Counters>,
}

impl Kept {
    /// Listens to the channels that there are, whatever is added and removed, and has it known when nothing is heard.
    async fn keep(self, node: Weak<Node>, name: NamespaceName) {
        let mut known: Weak<Namespace> = Weak::new();
        loop {
            let Some(node) = node.upgrade() else { return };
            node.redis_is_away(self.counters.gaps() > 0 && !self.counters.connected());
            let found = node.namespace(name.as_str());
            drop(node);
            let Some(namespace) = found else {
                self.subscriber.listen_to(BTreeSet::new());
                sleep(LOOK_EVERY).await;
                continue;
            };
            // It may have gone, and another one of this name have come.
            if !known.upgrade().is_some_and(|known| Arc::ptr_eq(&known, &namespace)) {
                namespace.have_channels(self.channels.names.clone(), self.channels.patterns.clone());
                known = Arc::downgrade(&namespace);
            }
            let mut changed = namespace.channels_changed();
            self.subscriber.listen_to(names(&namespace));
            drop(namespace);
            let _ = timeout(LOOK_EVERY, changed.changed()).await;
        }
    }
}

/// Makes messages of what comes, in its order.
async fn pass_on(
    node: Weak<Node>,
    name: NamespaceName,
    mut heard: mpsc::Receiver<Heard>,
    counters: Arc<Counters>,
) {
    let mut batch = Vec::new();
    while heard.recv_many(&mut batch, TOGETHER).await > 0 {
        let Some(node) = node.upgrade() else { return };
        let namespace = node.namespace(name.as_str());
        let mut pushes = Vec::with_capacity(batch.len());
        for heard in batch.drain(..) {
            let room = RoomName::new(&heard.channel).ok();
            let is_channel =
                |room: &RoomName| namespace.as_ref().is_some_and(|namespace| namespace.is_channel(room));
            match room.filter(is_channel) {
                Some(room) => pushes.push(push(room, &heard.payload)),
                None => counters.drop_one(Dropped::NotAChannel),
            }
        }
        publish(&node, &name, pushes, &counters).await;
    }
}

/// Publishes, and offers again what there is no room for, for a while, one after the other. Nothing overtakes what was published
/// before it on its channel: what would come too late is dropped.
async fn publish(node: &Node, name: &NamespaceName, pushes: Vec<Push>, counters: &Counters) {
    let deadline = Instant::now() + OFFERED_FOR;
    let outcomes = node.publish_batch(name, pushes.iter().cloned()).await;
    let mut again = Vec::new();
    let mut accepted: HashSet<RoomName> = HashSet::new();
    for (push, outcome) in pushes.into_iter().zip(outcomes).rev() {
        match outcome.map_err(|why| dropped(&why)) {
            Ok(_) => accepted.extend(push.to.rooms),
            Err(Dropped::Overloaded) if push.to.rooms.iter().all(|room| !accepted.contains(room)) => {
                again.push(push);
            }
            Err(why) => counters.drop_one(why),
        }
    }
    for push in again.into_iter().rev() {
        loop {
            match node.publish(name, push.clone()).await.map_err(|why| dropped(&why)) {
                Ok(_) => break,
                Err(Dropped::Overloaded) if Instant::now() < deadline => sleep(OFFERED_EVERY).await,
                Err(why) => {
                    counters.drop_one(why);
                    break;
                }
            }
        }
    }
}

fn dropped(why: &PublishError) -> Dropped {
    match why {
        PublishError::Overloaded | PublishError::TooOften(_) => Dropped::Overloaded,
        PublishError::TooLarge { .. } => Dropped::TooLarge,
        PublishError::NoNamespace
        | PublishError::Suspended
        | PublishError::RoomSuspended { .. }
        | PublishError::Conflict
        | PublishError::Gone
        | PublishError::TooLate(_)
        | PublishError::Store(_) => Dropped::Refused,
    }
}

/// A text that was published; what is no UTF-8 of it is shown as such.
fn push(room: RoomName, payload: &[u8]) -> Push {
    let text = serde_json::Value::from(String::from_utf8_lossy(payload)).to_string();
    Push {
        to: Target { rooms: vec![room], ..Target::default() },
        except: Default::default(),
        event: EventName::new("push").unwrap_or_else(|_| unreachable!("it is the name of an event")),
        data: text.into(),
        id: None,
        fingerprint: [0; 16],
        ttl: Duration::from_secs(limit::TTL_DEFAULT_SECS),
        priority: Priority::Normal,
        // It is lost when nobody listens; no disk has to be waited for.
        durability: Durability::Memory,
        keep: true,
        collapse_key: None,
        deliver_at: None,
        escalate_after: None,
        offline: Default::default(),
        from: None,
        aside: Default::default(),
    }
}

/// The backends of push, which hear of logins on a Redis and keep the rooms of users there.
pub(crate) struct Backends {
    speaker: Speaker,
    /// How many of them share the logins.
    servers: u32,
}

impl Backends {
    pub(crate) fn new(redis: &str, servers: u32) -> Result<Self, BadUrl> {
        Ok(Self { speaker: Speaker::new(redis)?, servers })
    }

    async fn tell(&self, uid: &str) {
        let server = 1 + u32::from_le_bytes(ids::random()) % self.servers.max(1);
        if let Err(why) = self.speaker.publish(&format!("login{server}@*"), uid).await {
            tracing::debug!(%why, "a backend has not heard of a login");
        }
    }

    async fn kept(&self, uid: &str) -> Option<Vec<RoomName>> {
        let rooms = self.speaker.get(&format!("room@{uid}")).await;
        if let Err(why) = &rooms {
            tracing::debug!(%why, "the rooms of somebody who logs in are not known");
        }
        let rooms = rooms.ok()?.unwrap_or_default();
        let rooms = rooms.split(',').map(str::trim);
        let mut rooms: Vec<_> = rooms.filter_map(|room| RoomName::new(room).ok()).collect();
        rooms.sort_unstable();
        rooms.dedup();
        Some(rooms)
    }
}

impl Logins for Backends {
    fn rooms(&self, uid: &str) -> BoxFuture<'_, Option<Vec<RoomName>>> {
        let uid = uid.to_owned();
        Box::pin(async move { self.kept(&uid).await })
    }

    fn logged_in(&self, uid: &str) -> BoxFuture<'_, ()> {
        let uid = uid.to_owned();
        Box::pin(async move { self.tell(&uid).await })
    }
}

/// Shows the numbers of a bridge among the others.
pub(crate) fn show(registry: &mut Registry) -> Arc<Counters> {
    let counters = Arc::<Counters>::default();
    let registry = registry.sub_registry_with_prefix("tidings");
    registry.register_collector(Box::new(Numbers(Arc::clone(&counters))));
    counters
}

#[derive(Debug)]
struct Numbers(Arc<Counters>);

impl Collector for Numbers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let counters = &self.0;
        let mut counter = |name, help, value| {
            let encoder = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(encoder)
        };
        counter("bridge_received", "Messages that came from a Redis", counters.received())?;
        counter("bridge_gaps", "How often what is published on a Redis was not heard", counters.gaps())?;
        let away = counters.away().as_secs_f64();
        let away_encoder = encoder.encode_descriptor(
            "bridge_away_seconds",
            "How long what is published on a Redis was not heard",
            None,
            MetricType::Counter,
        )?;
        ConstCounter::new(away).encode(away_encoder)?;
        let help = "Messages that came from a Redis and were not passed on, by reason";
        let mut dropped = encoder.encode_descriptor("bridge_dropped", help, None, MetricType::Counter)?;
        for why in Dropped::ALL {
            let labels = [("reason", why.as_str())];
            ConstCounter::new(counters.dropped(why)).encode(dropped.encode_family(&labels)?)?;
        }
        let mut gauge = |name, help, value: u64| {
            let encoder = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(encoder)
        };
        gauge(
            "bridge_connected",
            "Whether what is published on a Redis is heard",
            counters.connected().into(),
        )?;
        gauge(
            "bridge_channels",
            "Channels and patterns that a Redis is listened to for",
            counters.channels(),
        )?;
        gauge("bridge_waiting", "Messages from a Redis that wait to be passed on", counters.waiting())?;
        gauge("bridge_waiting_bytes", "What they take", counters.waiting_bytes())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A Redis that says `rooms` to each `GET`, and notes what it hears.
    async fn redis(rooms: &'static str) -> (String, mpsc::Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let (said, hears) = mpsc::channel(16);
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut bytes = [0; 4_096];
            while let Ok(read @ 1..) = socket.read(&mut bytes).await {
                let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
                // Greetings come several at once, the others one by one.
                let answer = match text.split("\r\n").nth(2) {
                    Some("GET") => format!("${}\r\n{rooms}\r\n", rooms.len()),
                    Some("PUBLISH") => ":1\r\n".to_owned(),
                    _ => "+OK\r\n".repeat(text.matches("CLIENT").count()),
                };
                if !answer.starts_with('+') {
                    let words = text.split("\r\n").skip(2).step_by(2).collect::<Vec<_>>();
                    said.send(words.join(" ").trim().to_owned()).await.unwrap();
                }
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        (url, hears)
    }

    #[tokio::test]
    async fn a_login_is_told_and_answered_with_rooms() {
        let (url, mut said) = redis("a, b,,a\u{1}").await;
        let backends = Backends::new(&url, 1).unwrap();
        let rooms = backends.rooms("ann bob").await;
        backends.logged_in("ann bob").await;
        assert_eq!(rooms.unwrap().iter().map(RoomName::as_str).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(said.recv().await.unwrap(), "GET room@ann bob");
        assert_eq!(said.recv().await.unwrap(), "PUBLISH login1@* ann bob");
    }

    #[tokio::test]
    async fn a_login_goes_on_without_backends() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        drop(listener);
        let backends = Backends::new(&url, 3).unwrap();
        assert_eq!(backends.rooms("ann").await, None);
        backends.logged_in("ann").await;
    }

    #[test]
    fn what_was_published_is_a_string_whatever_it_was() {
        let data = |payload: &[u8]| {
            let push = push(RoomName::new("r").unwrap(), payload);
            String::from_utf8(push.data.to_vec()).unwrap()
        };
        assert_eq!(data(b"text"), r#""text""#);
        assert_eq!(data(br#"{"a":1}"#), r#""{\"a\":1}""#);
        assert_eq!(data(b"\xff\x00\n"), "\"\u{fffd}\\u0000\\n\"");
        assert_eq!(data(b""), r#""""#);
    }

    #[test]
    fn the_numbers_are_shown() {
        let mut registry = Registry::default();
        let counters = show(&mut registry);
        counters.drop_one(Dropped::Overloaded);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "tidings_bridge_received_total 0",
            "tidings_bridge_dropped_total{reason=\"overloaded\"} 1",
            "tidings_bridge_gaps_total 0",
            "tidings_bridge_connected 0",
            "tidings_bridge_channels 0",
        ] {
            assert!(text.lines().any(|one| one == line), "{line} is not in\n{text}");
        }
    }
}
