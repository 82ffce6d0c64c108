//! The numbers of a node. They are handed in, so that every test has its own.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tidings_hub::Unwritten;
use tidings_model::DropReason;
use tidings_outbound::Outcome;

/// How late each shard gets to what is due.
#[derive(Debug)]
pub struct Histograms(Family<ShardLabel, Histogram>);

impl Default for Histograms {
    fn default() -> Self {
        Self(Family::new_with_constructor(|| Histogram::new(LAG_SECONDS)))
    }
}

impl Histograms {
    /// The one of a shard.
    #[must_use]
    pub fn of(&self, shard: u8) -> Histogram {
        self.0.get_or_create(&ShardLabel { shard: u32::from(shard) }).clone()
    }
}

/// The numbers of a node.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Pushes that were accepted.
    pub pushes: Counter,
    /// Messages put into the outbox of a device's connections.
    pub deliveries: Counter,
    /// Messages that were in an outbox and never left, by reason.
    pub unwritten: Family<Why, Counter>,
    /// Messages that a device does not get because more waited for it than may.
    pub trimmed: Counter,
    /// Messages that were trimmed from the history, by reason.
    pub history_trimmed: Family<Why, Counter>,
    /// Deliveries that still waited when their messages were trimmed.
    pub history_lost: Counter,
    /// Messages in the history.
    pub history_messages: Gauge,
    /// What they take.
    pub history_bytes: Gauge,
    /// Messages that no longer reach a device because their time is over: devices.
    pub expired: Counter,
    /// Messages that were recalled.
    pub recalls: Counter,
    /// Attempts to reach a device another way, by provider and outcome.
    pub escalations: Family<Attempt, Counter>,
    /// Receipts that were new.
    pub acks: Counter,
    /// Receipts for messages that are unknown or were not meant for the device.
    pub acks_refused: Counter,
    /// Connections that are open, by client protocol.
    pub connections: Family<Protocol, Gauge>,
    /// Connections that were opened, by client protocol.
    pub connections_opened: Family<Protocol, Counter>,
    /// Clients that were not let in, by the limit that they were over.
    pub clients_refused: Family<Refused, Counter>,
    /// Connections that have ended, by close code.
    pub connections_closed: Family<Reason, Counter>,
    /// Socket writes.
    pub writes: Counter,
    /// Bytes written to sockets.
    pub bytes_written: Counter,
    /// Bytes read from sockets.
    pub bytes_read: Counter,
    /// Connections whose transport takes no more now.
    pub connections_blocked: Gauge,
    /// How late shards get to what is due.
    pub shard_lag: Histograms,
    /// How late each shard was when it last looked, in seconds.
    pub shard_late: Family<ShardLabel, Gauge<f64, AtomicU64>>,
    /// What waits in each queue.
    pub queued: Family<Queue, Gauge>,
    /// Calls with a key that opens nothing, by reason.
    pub keys_refused: Family<Refused, Counter>,
    /// Subscriptions to channels that were refused without a word, because their clients know none, by reason.
    pub subscriptions_refused: Family<Refused, Counter>,
    /// Pushes that were refused because too many waited.
    pub pushes_refused: Counter,
    /// 1 for each sign of too much work while new clients are asked to wait because of it.
    pub overloaded: Family<Sign, Gauge>,
    /// Alerts that are on, by kind.
    pub alerts: Family<AlertLabel, Gauge>,
    /// Receipts and events that a shard forgot because the ledger was too far behind.
    pub ledger_lost: Counter,
    /// Messages in the ledger's memory.
    pub ledger_messages: Gauge,
    /// Attempts to tell hooks something, by what came of them.
    pub hook_attempts: Family<HookOutcome, Counter>,
    /// What hooks were asked, and what came of it.
    pub hook_questions: Family<HookQuestion, Counter>,
    /// What hooks were not told in a day, or for want of room, and is kept.
    pub hook_dead_letters: Counter,
    /// What was kept of that, until too much was.
    pub hook_dead_letters_lost: Counter,
    /// Messages that the index of history does not have yet.
    pub history_behind: Gauge,
    /// What has happened and was not told, because too much waited to be.
    pub presence_lost: Counter,
    /// What the members of a room were told of each other: signals.
    pub signals: Counter,
    /// What they were not told, by reason.
    pub signals_dropped: Family<Unsent, Counter>,
}

/// Why members of a room were not told something.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Unsent {
    reason: &'static str,
}

impl Unsent {
    /// Too many of them are online.
    pub const BIG_ROOM: Self = Self { reason: "big_room" };
    /// The device is in too many rooms.
    pub const MANY_ROOMS: Self = Self { reason: "many_rooms" };
    /// Too much happens in the namespace.
    pub const TOO_FAST: Self = Self { reason: "too_fast" };
    /// A shard has too much to do.
    pub const BUSY: Self = Self { reason: "busy" };
    /// Too much waits for a connection.
    pub const SLOW_READER: Self = Self { reason: "slow_reader" };
}

/// Which client protocol.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Protocol {
    /// `json`, `engineio3`, `engineio4` or `sse`; or, for clients of older systems, `light_push`, `push_koa`, `gopusher`, `go_redis` or
    /// `message_push`.
    pub protocol: &'static str,
}

/// Which shard.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ShardLabel {
    /// Its number.
    pub shard: u32,
}

/// Which sign of too much work.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Sign {
    /// `lag`, `commands` or `memory`.
    pub sign: &'static str,
}

/// Which kind of alert.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AlertLabel {
    /// Its slug, from the table.
    pub kind: &'static str,
}

/// Which queue.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Queue {
    /// `pushes`, `push_bytes`, `ledger`, `notices`, `dead_letters`; of a shard: `inbox`, `commands`, `rooms`.
    pub queue: &'static str,
    /// The number of the shard, if it is one of a shard.
    pub shard: Option<u32>,
}

/// What came of an attempt to tell a hook something.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HookOutcome {
    /// `accepted`, or why not: `refused`, `redirect`, `forbidden`, `unresolved`, `unreachable`, `tls`, `timeout`, `broken`.
    pub outcome: &'static str,
}

/// What a hook was asked, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HookQuestion {
    /// `connect`, `publish` or `rpc`; light-push's `connect_callback` or `disconnect_callback`.
    pub question: &'static str,
    /// `answered`; `resting` (the hook had failed and was left alone), `busy` (too much was asked at once), or a
    /// word of [`HookOutcome`], or `too_large`.
    pub outcome: &'static str,
}

/// Upper bounds of the buckets for how late a shard is, in seconds.
const LAG_SECONDS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0];

/// Why a message never left an outbox.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Why {
    reason: &'static str,
}

impl Why {
    /// The connection ended first; the mailbox has it.
    pub const CONNECTION_LOST: Self = Self { reason: "connection_lost" };
    /// Its time was over first.
    pub const EXPIRED: Self = Self { reason: "expired" };
    /// It was withdrawn first.
    pub const RECALLED: Self = Self { reason: "recalled" };
    /// It has been kept for long enough.
    pub const AGE: Self = Self { reason: "age" };
    /// There was more than is to be kept.
    pub const SIZE: Self = Self { reason: "size" };

    /// Why a message that was in an outbox was not written.
    #[must_use]
    pub fn of_unwritten(why: Unwritten) -> Self {
        match why {
            Unwritten::ConnectionLost => Self::CONNECTION_LOST,
            Unwritten::Expired => Self::EXPIRED,
            Unwritten::Recalled => Self::RECALLED,
        }
    }

    /// Why a message was let go, so that its device does not get it.
    #[must_use]
    pub fn of_drop(why: DropReason) -> Self {
        Self { reason: why.as_str() }
    }
}

/// What came of trying another way.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Attempt {
    /// By which provider.
    pub provider: String,
    /// `accepted`, `refused` or `unknown`.
    pub outcome: &'static str,
}

impl Attempt {
    /// The label of an attempt.
    #[must_use]
    pub fn of(provider: &str, outcome: &Outcome) -> Self {
        let outcome = match outcome {
            Outcome::Accepted => "accepted",
            Outcome::Refused(_) => "refused",
            Outcome::Unknown(_) => "unknown",
        };
        Self { provider: provider.to_owned(), outcome }
    }
}

/// Why a client was not let in.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Refused {
    /// `origin`, `too_fast`, `address`, `full`, `namespace`, `device` or `user`.
    pub reason: &'static str,
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    /// The close code, from the table.
    pub code: u32,
    /// Its reason, from the table.
    pub reason: &'static str,
}

impl Metrics {
    /// Registers everything under `tidings_…`.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("tidings");
        registry.register("pushes", "Pushes that were accepted", metrics.pushes.clone());
        registry.register("deliveries", "Messages put into outboxes of devices", metrics.deliveries.clone());
        registry.register(
            "unwritten",
            "Messages in an outbox that never left, by reason",
            metrics.unwritten.clone(),
        );
        registry.register(
            "trimmed",
            "Messages dropped from mailboxes that were full",
            metrics.trimmed.clone(),
        );
        registry.register(
            "history_trimmed",
            "Messages that were trimmed from the history, by reason",
            metrics.history_trimmed.clone(),
        );
        registry.register(
            "history_lost",
            "Deliveries that still waited when their messages were trimmed",
            metrics.history_lost.clone(),
        );
        registry.register(
            "history_messages",
            "Messages in the history, counted once a minute",
            metrics.history_messages.clone(),
        );
        registry.register_with_unit(
            "history",
            "What the messages in the history take, before compression, counted once a minute",
            Unit::Bytes,
            metrics.history_bytes.clone(),
        );
        registry.register("expired", "Deliveries whose time was over", metrics.expired.clone());
        registry.register("recalls", "Messages that were recalled", metrics.recalls.clone());
        registry.register(
            "escalations",
            "Attempts to reach a device another way, by provider and outcome",
            metrics.escalations.clone(),
        );
        registry.register("acks", "Receipts that were new", metrics.acks.clone());
        registry.register(
            "acks_refused",
            "Receipts for messages that are unknown or not meant for the device",
            metrics.acks_refused.clone(),
        );
        registry.register("connections", "Open connections by client protocol", metrics.connections.clone());
        registry.register(
            "connections_opened",
            "Connections that were opened, by client protocol",
            metrics.connections_opened.clone(),
        );
        registry.register(
            "clients_refused",
            "Clients that were not let in, by the limit that they were over",
            metrics.clients_refused.clone(),
        );
        registry.register(
            "connections_closed",
            "Connections that have ended, by close code",
            metrics.connections_closed.clone(),
        );
        registry.register(
            "connections_blocked",
            "Connections whose transport takes no more now",
            metrics.connections_blocked.clone(),
        );
        registry.register_with_unit(
            "shard_lag",
            "How late shards get to what is due",
            Unit::Seconds,
            metrics.shard_lag.0.clone(),
        );
        registry.register_with_unit(
            "shard_late",
            "How late shards were when they last looked",
            Unit::Seconds,
            metrics.shard_late.clone(),
        );
        registry.register(
            "ledger_lost",
            "Receipts and events that were forgotten because the ledger was too far behind",
            metrics.ledger_lost.clone(),
        );
        registry.register("alerts", "Alerts that are on, by kind", metrics.alerts.clone());
        registry.register("queued", "What waits in each queue", metrics.queued.clone());
        registry.register(
            "keys_refused",
            "Calls with a key that opens nothing, by reason",
            metrics.keys_refused.clone(),
        );
        registry.register(
            "subscriptions_refused",
            "Subscriptions to channels that were refused without a word, by reason",
            metrics.subscriptions_refused.clone(),
        );
        registry.register(
            "pushes_refused",
            "Pushes that were refused because too many waited",
            metrics.pushes_refused.clone(),
        );
        registry.register(
            "overloaded",
            "Signs of too much work: while one is 1, new clients are asked to wait",
            metrics.overloaded.clone(),
        );
        registry.register("socket_writes", "Writes to client sockets", metrics.writes.clone());
        registry.register(
            "socket_written_bytes",
            "Bytes written to client sockets",
            metrics.bytes_written.clone(),
        );
        registry.register("socket_read_bytes", "Bytes read from client sockets", metrics.bytes_read.clone());
        registry.register(
            "ledger_messages",
            "Messages in the ledger's memory",
            metrics.ledger_messages.clone(),
        );
        register_hooks(registry, &metrics);
        register_presence(registry, &metrics);
        registry.register(
            "history_behind",
            "Messages that the index of history does not have yet",
            metrics.history_behind.clone(),
        );
        metrics
    }
}

fn register_hooks(registry: &mut Registry, metrics: &Metrics) {
    registry.register(
        "hook_attempts",
        "Attempts to tell hooks something, by what came of them",
        metrics.hook_attempts.clone(),
    );
    registry.register(
        "hook_questions",
        "What hooks were asked, and what came of it",
        metrics.hook_questions.clone(),
    );
    registry.register(
        "hook_dead_letters",
        "Notices that hooks were not told in time, and that are kept",
        metrics.hook_dead_letters.clone(),
    );
    registry.register(
        "hook_dead_letters_lost",
        "Notices that were kept until there were too many",
        metrics.hook_dead_letters_lost.clone(),
    );
}

fn register_presence(registry: &mut Registry, metrics: &Metrics) {
    registry.register(
        "presence_lost",
        "What has happened and was not told, because too much waited to be",
        metrics.presence_lost.clone(),
    );
    registry.register("signals", "What members of rooms were told of each other", metrics.signals.clone());
    registry.register(
        "signals_dropped",
        "What members of rooms were not told of each other, by reason",
        metrics.signals_dropped.clone(),
    );
}
