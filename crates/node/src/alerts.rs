//! What is wrong now, and what was lately: for whoever is woken at night and wants one list to look at.
//!
//! One table of kinds says what each means and what to do about it. Once a second everything is looked at that can be looked
//! at; what the store refuses is told where it happens. An alert is on from when it was first seen until it is seen no more;
//! what only happens (something was refused, something was lost) counts as on for a minute. In memory: after a start
//! there is what is wrong then.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tidings_model::{HookName, NamespaceName, Timestamp};
use tidings_store::StoreError;
use tokio::task::JoinHandle;

use crate::Node;
use crate::metrics::{AlertLabel, Sign};
use crate::notify::rfc3339;
use crate::vitals;

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Looks between two of open files.
const FILES_LOOKS: u64 = 10;

/// Of how many open files of ten it is said that they are nearly used up.
const FILES_TENTHS: u64 = 9;

/// How many attempts in a row a hook must fail at.
const HOOK_FAILURES: usize = 3;

/// How long before its end it is said that a certificate ends.
pub const CERTIFICATE_ENDS_WITHIN: Duration = Duration::from_secs(14 * 24 * 3_600);

/// For how long something that happened counts as on.
const HAPPENED_FOR: Duration = Duration::from_secs(60);

/// Most alerts that are over and are remembered; beyond that the oldest are forgotten.
pub const ENDED_MAX: usize = 100;

/// Most alerts of a kind that are on at once; of more the first ones are told.
pub const OF_A_KIND_MAX: usize = 100;

/// Looks without a push that the store has refused, after which it is asked whether it takes something again.
const QUIET_LOOKS: u64 = 10;

/// Looks in which something waited for the store and nothing was answered, after which it is said to hang.
const STUCK_LOOKS: u64 = 10;

/// A setting that there is not.
const NOTHING: &str = "nothing";

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something is refused or lost now.
    Critical,
    /// Something is not as it should be.
    Warning,
}

impl Severity {
    /// The word in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
        }
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $slug:literal $severity:ident $meaning:literal $action:literal;)*) => {
        /// What can be wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum AlertKind {
            $($(#[$doc])* $name),*
        }

        impl AlertKind {
            /// The whole table.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The slug in the API.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $slug),* }
            }

            /// How bad it is.
            #[must_use]
            pub const fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity),* }
            }

            /// What it means.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning),* }
            }

            /// What to do about it.
            #[must_use]
            pub const fn action(self) -> &'static str {
                match self { $(Self::$name => $action),* }
            }
        }
    };
}

kinds! {
    /// The disk is full.
    StoreFull = "store_full" Critical
        "The disk is full: pushes are refused with 507."
        "Make room on the disk of store.path, or shorten history.keep of the largest namespaces. It goes on by itself.";
    /// The store does not take messages.
    StoreFailing = "store_failing" Critical
        "The store does not take messages: pushes are refused, or wait for it."
        "Look for the error in the log and at the disk, which may also hang; a damaged file has to be restored and the server started again.";
    /// Pushes come faster than they are stored.
    PushesRefused = "pushes_refused" Critical
        "More pushes wait than may: some were refused with 503 in the last minute."
        "Look at queued{queue=\"pushes\"} and at the disk; have the backend send in batches, or set pushes_per_second for whoever sends too much.";
    /// The memory limit is reached.
    Memory = "memory" Critical
        "The process uses more memory than overload.memory allows: new clients are asked to wait."
        "Look at who has much waiting (GET connections), lower outbox.size, or give the server more memory.";
    /// Shards are late.
    Lag = "lag" Warning
        "A shard is later than overload.lag: new clients are asked to wait."
        "Look at the CPU of the machine and at pushes to large rooms; more cores make more shards.";
    /// Handshakes come faster than they are dealt with.
    Handshakes = "handshakes" Warning
        "More clients come than a shard takes in: new ones are asked to wait."
        "It ends by itself when they are in; set limits.handshakes_per_second when one address sends them.";
    /// Open files are nearly used up.
    Files = "files" Warning
        "More than nine tenths of the files that the process may open are open; without any, nobody can connect."
        "Raise LimitNOFILE or ulimit -n, or lower limits.connections.";
    /// The certificate ends soon.
    Certificate = "certificate" Warning
        "The certificate ends within 14 days, or has ended: clients will refuse it."
        "Put a new one where server.tls.cert and server.tls.key say; it is shown by itself.";
    /// Receipts were forgotten.
    ReceiptsLost = "receipts_lost" Warning
        "The ledger is too far behind: receipts of the last minute were forgotten, and their messages come again."
        "Look at queued{queue=\"ledger\"} and at the disk.";
    /// Messages that were waited for were trimmed.
    HistoryLost = "history_lost" Warning
        "A history was larger than its history.size: messages that somebody waited for were trimmed in the last minute."
        "Raise history.size of the namespace, or push less to those who are away.";
    /// A hook fails.
    HookFailing = "hook_failing" Warning
        "A hook has failed at least three times in a row: what it is to be told waits, for a day."
        "GET hooks/{hook}/log says why; see whether the business system is there and answers 2xx.";
    /// A hook that is asked fails.
    HookResting = "hook_resting" Critical
        "A hook that is asked (connect, publish, rpc) does not answer and is left alone: what needs its answer is refused."
        "See whether the business system is there; clients get in again with its first answer.";
    /// Dead letters are kept.
    DeadLetters = "dead_letters" Warning
        "A hook was not told something within a day, and it is kept."
        "Have the hook work, then POST hooks/{hook}/replay; GET hooks/{hook}/dead shows what there is.";
    /// A set of keys cannot be fetched.
    KeysNotFetched = "keys_not_fetched" Warning
        "The keys that tokens are verified with cannot be fetched; those that are known hold for a day."
        "See whether auth.jwt.jwks_url answers; the log says what is wrong.";
    /// A Redis whose messages are to be heard is away.
    RedisAway = "redis_away" Critical
        "What is published on the Redis of compat.go_redis is not heard, and is lost."
        "See whether that Redis is there; the log says what is wrong. It is heard again by itself.";
}

impl AlertKind {
    /// For how long it counts as on after it was seen.
    const fn lasts(self) -> Duration {
        match self {
            Self::PushesRefused | Self::ReceiptsLost | Self::HistoryLost => HAPPENED_FOR,
            Self::StoreFull
            | Self::StoreFailing
            | Self::Memory
            | Self::Lag
            | Self::Handshakes
            | Self::Files
            | Self::Certificate
            | Self::HookFailing
            | Self::HookResting
            | Self::DeadLetters
            | Self::KeysNotFetched
            | Self::RedisAway => Duration::ZERO,
        }
    }
}

/// Which alert it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    kind: AlertKind,
    namespace: Option<NamespaceName>,
    hook: Option<HookName>,
}

/// Something that is wrong, or was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// What.
    pub kind: AlertKind,
    /// Whose matter it is, if it is not the server's.
    pub namespace: Option<NamespaceName>,
    /// Which hook it is about.
    pub hook: Option<HookName>,
    /// Since when.
    pub since: Timestamp,
    /// Until when; not, while it is on.
    pub until: Option<Timestamp>,
    /// What else is to be said of it.
    pub detail: Option<String>,
}

/// What was seen in a look: which alerts, and what is to be said of them.
type Seen = BTreeMap<Key, Option<String>>;

#[derive(Debug)]
struct On {
    since: Timestamp,
    seen: Timestamp,
    /// In which look.
    look: u64,
    detail: Option<String>,
}

/// What is wrong and what was.
#[derive(Debug, Default)]
pub(crate) struct Alerts(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    on: BTreeMap<Key, On>,
    /// The newest last.
    ended: VecDeque<Alert>,
    /// What the store said when it last refused messages.
    store: Option<StoreError>,
    /// Looks since then.
    quiet_looks: u64,
    /// Looks in a row in which something waited for the store that it had not answered.
    stuck_looks: u64,
    /// When the certificate ends, if there is one and that is known.
    certificate_ends: Option<Timestamp>,
    /// Whether a Redis is away whose messages are to be heard.
    redis_away: bool,
    /// How much had happened at the last look.
    counted: BTreeMap<AlertKind, u64>,
    /// How often it was looked.
    looks: u64,
}

impl Alerts {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store has taken messages, or refused them.
    pub(crate) fn stored(&self, outcome: Result<(), &StoreError>) {
        let mut state = self.lock();
        (state.store, state.quiet_looks, state.stuck_looks) = (outcome.err().cloned(), 0, 0);
    }

    /// In how many looks in a row, this one included, something has waited for the store, if that is many.
    fn stuck(&self, waits: bool) -> Option<u64> {
        let mut state = self.lock();
        state.stuck_looks = if waits { state.stuck_looks + 1 } else { 0 };
        Some(state.stuck_looks).filter(|looks| *looks > STUCK_LOOKS)
    }

    /// Whether it is time to ask the store, which has refused something a while ago.
    fn asks_store(&self) -> bool {
        let mut state = self.lock();
        state.quiet_looks += 1;
        let refused = state.store.as_ref().is_some_and(|why| !matches!(why, StoreError::Closed));
        refused && state.quiet_looks > QUIET_LOOKS
    }

    /// Takes in what was seen now.
    fn take(&self, seen: Seen, now: Timestamp) {
        let mut state = self.lock();
        let State { on, ended, looks, .. } = &mut *state;
        *looks += 1;
        let look = *looks;
        for (key, detail) in seen {
            let kind = key.kind;
            let known = on.entry(key).or_insert_with(|| {
                tracing::warn!(
                    alert = kind.as_str(),
                    severity = kind.severity().as_str(),
                    "{}",
                    kind.meaning()
                );
                On { since: now, seen: now, look, detail: None }
            });
            (known.seen, known.look) = (now, look);
            known.detail = detail.or(known.detail.take());
        }
        let over = |key: &Key, on: &On| on.look != look && now >= on.seen.after(key.kind.lasts());
        on.retain(|key, known| {
            let over = over(key, known);
            if over {
                if ended.len() >= ENDED_MAX {
                    ended.pop_front();
                }
                ended.push_back(shown(key, known, Some(now)));
                tracing::info!(alert = key.kind.as_str(), "an alert is over");
            }
            !over
        });
    }

    /// How much more there is of something that is counted.
    fn grown(&self, kind: AlertKind, count: u64) -> u64 {
        let before = self.lock().counted.insert(kind, count);
        count.saturating_sub(before.unwrap_or(0))
    }
}

fn shown(key: &Key, on: &On, until: Option<Timestamp>) -> Alert {
    let Key { kind, namespace, hook } = key.clone();
    Alert { kind, namespace, hook, since: on.since, until, detail: on.detail.clone() }
}

/// What is seen, bit by bit.
#[derive(Default)]
struct Looking {
    seen: Seen,
    of_a_kind: BTreeMap<AlertKind, usize>,
}

impl Looking {
    fn see(
        &mut self,
        kind: AlertKind,
        about: Option<(&NamespaceName, Option<&HookName>)>,
        detail: Option<String>,
    ) {
        let count = self.of_a_kind.entry(kind).or_default();
        if *count < OF_A_KIND_MAX {
            *count += 1;
            let (namespace, hook) = about.map_or((None, None), |(namespace, hook)| (Some(namespace), hook));
            self.seen.insert(Key { kind, namespace: namespace.cloned(), hook: hook.cloned() }, detail);
        }
    }
}

impl Node {
    /// What is wrong now, the worst first, and behind it what was lately, the newest first.
    #[must_use]
    pub fn alerts(&self) -> Vec<Alert> {
        let state = self.alerts.lock();
        let mut all: Vec<_> = state.on.iter().map(|(key, on)| shown(key, on, None)).collect();
        all.sort_by_key(|alert| (alert.kind.severity(), alert.since));
        all.extend(state.ended.iter().rev().cloned());
        all
    }

    /// Whether a Redis is away whose messages are to be heard.
    pub fn redis_is_away(&self, away: bool) {
        self.alerts.lock().redis_away = away;
    }

    /// When the certificate ends that clients are shown, if there is one and that is known.
    pub fn certificate_ends(&self, at: Option<Timestamp>) {
        self.alerts.lock().certificate_ends = at;
    }

    /// A while after the store has refused something, sees whether it takes something again: who was refused may not come back
    /// soon.
    pub(crate) async fn try_store_again(&self) {
        if self.alerts.asks_store() {
            let outcome = self.store.put(NOTHING, None).await;
            self.alerts.stored(outcome.as_ref().map(drop));
        }
    }

    /// Looks at everything. Open files are looked at where `files` says how many there are, and how many there may be.
    pub(crate) fn look_for_alerts(&self, files: Option<(u64, u64)>) {
        let mut looking = Looking::default();
        let (store, certificate, redis_away) = {
            let state = self.alerts.lock();
            (state.store.clone(), state.certificate_ends, state.redis_away)
        };
        if redis_away {
            looking.see(AlertKind::RedisAway, None, None);
        }
        if let Some(at) = certificate.filter(|at| *at <= self.clock.now().after(CERTIFICATE_ENDS_WITHIN)) {
            looking.see(AlertKind::Certificate, None, Some(format!("at {}", rfc3339(at))));
        }
        match store {
            Some(StoreError::Full(_)) => looking.see(AlertKind::StoreFull, None, None),
            Some(StoreError::Closed) | None => {}
            Some(
                why @ (StoreError::Io(_)
                | StoreError::Damaged(_)
                | StoreError::InUse(_)
                | StoreError::Format { .. }),
            ) => looking.see(AlertKind::StoreFailing, None, Some(why.to_string())),
        }
        if let Some(looks) = self.alerts.stuck(self.backlog.len().0 > 0) {
            let detail = format!("pushes have waited for it for {looks} s, and it has not answered");
            looking.see(AlertKind::StoreFailing, None, Some(detail));
        }
        for (kind, count) in [
            (AlertKind::PushesRefused, self.metrics.pushes_refused.get()),
            (AlertKind::ReceiptsLost, self.metrics.ledger_lost.get()),
            (AlertKind::HistoryLost, self.metrics.history_lost.get()),
        ] {
            let grown = self.alerts.grown(kind, count);
            if grown > 0 {
                looking.see(kind, None, Some(format!("{grown} in a second")));
            }
        }
        for (kind, sign) in
            [(AlertKind::Memory, "memory"), (AlertKind::Lag, "lag"), (AlertKind::Handshakes, "commands")]
        {
            if self.metrics.overloaded.get(&Sign { sign }).is_some_and(|gauge| gauge.get() > 0) {
                looking.see(kind, None, None);
            }
        }
        if let Some((open, most)) = files
            && open.saturating_mul(10) >= most.saturating_mul(FILES_TENTHS)
        {
            looking.see(AlertKind::Files, None, Some(format!("{open} of {most}")));
        }
        for piled in self.hooks.look() {
            let about = Some((&piled.key.namespace, Some(&piled.key.hook)));
            if let Some((failed, word)) = piled.failing.filter(|(failed, _)| *failed >= HOOK_FAILURES) {
                let detail = format!("{word}, {failed} times in a row; {} wait", piled.piles.waiting);
                looking.see(AlertKind::HookFailing, about, Some(detail));
            }
            if piled.piles.dead > 0 {
                looking.see(AlertKind::DeadLetters, about, Some(format!("{} are kept", piled.piles.dead)));
            }
        }
        for namespace in self.namespaces() {
            let about = Some((&namespace.name, None));
            let resting = namespace.askers().resting();
            if !resting.is_empty() {
                looking.see(AlertKind::HookResting, about, Some(resting.join(", ")));
            }
            if namespace.keys_failed() {
                looking.see(AlertKind::KeysNotFetched, about, None);
            }
        }
        self.alerts.take(looking.seen, self.clock.now());
        let state = self.alerts.lock();
        for kind in AlertKind::ALL {
            let count = state.on.keys().filter(|key| key.kind == *kind).count();
            let label = AlertLabel { kind: kind.as_str() };
            self.metrics.alerts.get_or_create(&label).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}

/// Looks every second, until the node is gone.
pub(crate) async fn run(node: Weak<Node>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut files = None;
    let mut trying: Option<JoinHandle<()>> = None;
    for look in 0u64.. {
        ticks.tick().await;
        if look % FILES_LOOKS == 0 {
            // It takes a file to find out: where there was one and is none, all are open.
            files = vitals::open_files().or(files.map(|(_, most)| (most, most)));
        }
        let Some(node): Option<Arc<Node>> = node.upgrade() else { return };
        node.look_for_alerts(files);
        // A disk that hangs holds this up, and no look at anything else.
        if trying.as_ref().is_none_or(JoinHandle::is_finished) {
            trying = Some(tokio::spawn(async move { node.try_store_again().await }));
        }
    }
}
