//! What happened, in numbers: by namespace, and by minute, hour and day of UTC.
//!
//! Whoever sees something happen adds it to the `Tally`, under the minute in which it happened. Every second the tally
//! is taken into rows, one for the minute, the hour and the day, and what is counted rather than added (connections,
//! users, rooms) is looked at; every other second the rows that have changed are written down in one batch. A row that
//! is not in memory is read first and gone on with, after a restart as after a clock was set back: nothing is counted
//! into a row of another time, and no row is begun twice. It knows neither what a message is nor how one is delivered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tidings_model::{Granularity, NamespaceName, Timestamp};
use tidings_store::port::{ACK_TIME_BUCKETS, ReceiptRecord};
use tidings_store::{Interval, Numbers, Store, StoreError};

use crate::ledger::{bucket_of, percentile};
use crate::{Namespace, Node};

/// How often the tally is taken in.
const TICK: Duration = Duration::from_secs(1);

/// Ticks between two times that rows are written down.
const WRITE_TICKS: u64 = 2;

/// Ticks between two looks for rows that are too old.
const CLEAR_TICKS: u64 = 600;

/// Rows of one namespace and granularity that one look removes at most.
const CLEAR_ROWS: usize = 1_000;

/// Ticks that a row stays in memory after the last thing was added to it.
const IDLE_TICKS: u8 = 10;

/// Rows that are kept in memory when the store takes none; with more, what came last is forgotten.
const ROWS_MAX: usize = 65_536;

/// For how long rows are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Those of minutes.
    pub minutes: Duration,
    /// Those of hours.
    pub hours: Duration,
    /// Those of days.
    pub days: Duration,
}

impl Default for Keep {
    fn default() -> Self {
        let days = |days: u64| Duration::from_secs(days * 86_400);
        Self { minutes: days(2), hours: days(60), days: days(5 * 365) }
    }
}

impl Keep {
    fn of(self, granularity: Granularity) -> Duration {
        match granularity {
            Granularity::Minute => self.minutes,
            Granularity::Hour => self.hours,
            Granularity::Day => self.days,
        }
    }
}

/// What happened in an interval.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// When the interval begins.
    pub at: Timestamp,
    /// What happened.
    pub numbers: Numbers,
}

impl Row {
    /// acked / deliveries, at most 1: receipts for what was delivered in an interval before count where they came.
    /// `None` without deliveries.
    #[must_use]
    pub fn delivery_rate(&self) -> Option<f64> {
        let Numbers { acked, deliveries, .. } = self.numbers;
        (deliveries > 0).then(|| (acked as f64 / deliveries as f64).min(1.0))
    }

    /// How long receipts took, in milliseconds: p50, p95, p99; `None` without receipts.
    #[must_use]
    pub fn ack_ms(&self) -> Option<[f64; 3]> {
        let time = |share| percentile(&self.numbers.ack_times, share);
        Some([time(0.5)?, time(0.95)?, time(0.99)?])
    }
}

/// What has happened and is in no row yet: numbers by the minute in which it happened.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<HashMap<NamespaceName, Vec<(Timestamp, Numbers)>>>);

/// The books of a message before something changed in them.
pub(crate) struct Counting {
    written: u64,
    escalated: u64,
    dropped: u64,
}

impl Counting {
    pub(crate) fn of(record: &ReceiptRecord) -> Self {
        Self {
            written: record.written.len(),
            escalated: record.escalated.len(),
            dropped: record.dropped.iter().map(|devices| devices.len()).sum(),
        }
    }
}

impl Tally {
    fn lock(&self) -> MutexGuard<'_, HashMap<NamespaceName, Vec<(Timestamp, Numbers)>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, namespace: &NamespaceName, at: Timestamp, add: impl FnOnce(&mut Numbers)) {
        let minute = Granularity::Minute.start_of(at);
        let mut fresh = self.lock();
        let minutes = match fresh.get_mut(namespace) {
            Some(minutes) => minutes,
            None => fresh.entry(namespace.clone()).or_default(),
        };
        let index = minutes.iter().rposition(|(at, _)| *at == minute).unwrap_or_else(|| {
            minutes.push((minute, Numbers::default()));
            minutes.len() - 1
        });
        add(&mut minutes[index].1);
    }

    /// Something changed in the books of a message. Only what grows counts: what has happened stays so.
    pub(crate) fn count(
        &self,
        namespace: &NamespaceName,
        at: Timestamp,
        before: Counting,
        record: &ReceiptRecord,
    ) {
        let now = Counting::of(record);
        let deliveries = now.written.saturating_sub(before.written);
        let escalated = now.escalated.saturating_sub(before.escalated);
        let dropped = now.dropped.saturating_sub(before.dropped);
        if deliveries + escalated + dropped > 0 {
            self.add(namespace, at, |numbers| {
                numbers.deliveries += deliveries;
                numbers.escalated += escalated;
                numbers.dropped += dropped;
            });
        }
    }

    /// A first receipt came, of a message sent at `sent_at`; with it, some deliveries may have become known.
    pub(crate) fn acked(
        &self,
        namespace: &NamespaceName,
        at: Timestamp,
        deliveries: u64,
        sent_at: Timestamp,
    ) {
        let bucket = bucket_of(at.since(sent_at).as_millis());
        self.add(namespace, at, |numbers| {
            numbers.acked += 1;
            numbers.deliveries += deliveries;
            if numbers.ack_times.len() <= bucket {
                numbers.ack_times.resize(bucket + 1, 0);
            }
            numbers.ack_times[bucket] += 1;
        });
    }

    /// The time of a message was over for so many devices, and so many were not there when it was for who was.
    pub(crate) fn over(&self, namespace: &NamespaceName, at: Timestamp, expired: u64, missed: u64) {
        if expired + missed > 0 {
            self.add(namespace, at, |numbers| {
                numbers.expired += expired;
                numbers.dropped += missed;
            });
        }
    }
}

/// Adds what is in `more`. Answers whether that changed anything.
fn merge(into: &mut Numbers, more: &Numbers) -> bool {
    let before = (into.connections, into.users, into.rooms);
    let added = [
        (&mut into.pushes, more.pushes),
        (&mut into.deliveries, more.deliveries),
        (&mut into.acked, more.acked),
        (&mut into.escalated, more.escalated),
        (&mut into.expired, more.expired),
        (&mut into.dropped, more.dropped),
    ];
    let mut changed = false;
    for (number, more) in added {
        *number += more;
        changed |= more > 0;
    }
    into.connections = into.connections.max(more.connections);
    into.users = into.users.max(more.users);
    into.rooms = into.rooms.max(more.rooms);
    // More buckets than there are would be of another version.
    let times = more.ack_times.len().min(ACK_TIME_BUCKETS);
    if into.ack_times.len() < times {
        into.ack_times.resize(times, 0);
    }
    into.ack_times.iter_mut().zip(&more.ack_times).for_each(|(count, more)| *count += more);
    changed || before != (into.connections, into.users, into.rooms)
}

/// The statistics of a node.
#[derive(Debug)]
pub(crate) struct Statistics {
    tally: Arc<Tally>,
    rows: tokio::sync::Mutex<Rows>,
    keep: Keep,
}

impl Statistics {
    pub(crate) fn new(keep: Keep) -> Self {
        Self { tally: Arc::default(), rows: tokio::sync::Mutex::default(), keep }
    }

    pub(crate) fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// Forgets what there is of a namespace in memory. While the answer is held, no row is read or written.
    pub(crate) async fn forget(&self, namespace: &NamespaceName) -> impl Sized + '_ {
        let mut rows = self.rows.lock().await;
        self.tally.lock().remove(namespace);
        rows.open.retain(|interval, _| interval.namespace != *namespace);
        rows
    }
}

/// The rows in memory: those that something is added to.
#[derive(Debug, Default)]
struct Rows {
    open: HashMap<Interval, Open>,
    /// Why some numbers are in no row, if some are not.
    forgotten: Option<String>,
}

#[derive(Debug)]
struct Open {
    numbers: Numbers,
    /// Whether it is to be written down.
    dirty: bool,
    /// Ticks since something was added to it.
    idle: u8,
}

impl Rows {
    /// The row of an interval, from the store if it is not here.
    async fn open(&mut self, store: &dyn Store, interval: &Interval) -> Result<&mut Open, StoreError> {
        if !self.open.contains_key(interval) {
            let Interval { namespace, granularity, at } = interval;
            let before =
                store.tallied(namespace, *granularity, *at, Timestamp(at.0.saturating_add(1)), 1).await?;
            let numbers = before.into_iter().next().map(|(_, numbers)| numbers).unwrap_or_default();
            self.open.insert(interval.clone(), Open { numbers, dirty: false, idle: 0 });
        }
        self.open.get_mut(interval).ok_or(StoreError::Closed)
    }

    /// Adds numbers of a minute to the rows that it belongs to.
    async fn add(&mut self, store: &dyn Store, namespace: &NamespaceName, minute: Timestamp, more: &Numbers) {
        for granularity in Granularity::ALL {
            let interval =
                Interval { namespace: namespace.clone(), granularity, at: granularity.start_of(minute) };
            if self.open.len() >= ROWS_MAX && !self.open.contains_key(&interval) {
                self.forgotten = Some("too many wait to be written down".to_owned());
                continue;
            }
            match self.open(store, &interval).await {
                Ok(row) => {
                    row.dirty |= merge(&mut row.numbers, more);
                    row.idle = 0;
                }
                Err(why) => self.forgotten = Some(why.to_string()),
            }
        }
    }

    /// Writes down what has changed. What the store refuses stays in memory.
    async fn write_down(&mut self, store: &dyn Store) {
        let dirty = self.open.iter().filter(|(_, row)| row.dirty);
        let rows: Vec<_> = dirty.map(|(interval, row)| (interval.clone(), row.numbers.clone())).collect();
        if rows.is_empty() {
            return;
        }
        match store.tally(rows, Vec::new()).await {
            Ok(()) => self.open.values_mut().for_each(|row| row.dirty = false),
            Err(why) => {
                tracing::error!(error = %why, "statistics could not be written down; kept in memory");
            }
        }
    }

    /// Lets go of rows that nothing is added to.
    fn let_go(&mut self) {
        self.open.retain(|_, row| {
            row.idle = row.idle.saturating_add(1);
            row.dirty || row.idle <= IDLE_TICKS
        });
    }
}

/// Counts, until the node is gone.
pub(crate) async fn run(node: Weak<Node>) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for ticks in 1u64.. {
        tick.tick().await;
        let Some(node) = node.upgrade() else { return };
        let mut rows = node.statistics.rows.lock().await;
        node.take_in(&mut rows).await;
        if ticks.is_multiple_of(WRITE_TICKS) {
            rows.write_down(&*node.store).await;
        }
        if let Some(why) = rows.forgotten.take() {
            tracing::error!(error = why, "some statistics are forgotten");
        }
        rows.let_go();
        drop(rows);
        if ticks.is_multiple_of(CLEAR_TICKS)
            && let Err(why) = node.clear_statistics().await
        {
            tracing::error!(error = %why, "old statistics could not be removed; trying again");
        }
    }
}

impl Node {
    /// A push was accepted.
    pub(crate) fn count_push(&self, namespace: &Namespace) {
        self.metrics.pushes.inc();
        self.statistics.tally.add(&namespace.name, self.clock.now(), |numbers| numbers.pushes += 1);
    }

    /// Takes the tally into the rows, and counts who is here now.
    async fn take_in(&self, rows: &mut Rows) {
        let mut fresh = std::mem::take(&mut *self.statistics.tally.lock());
        let minute = Granularity::Minute.start_of(self.clock.now());
        for namespace in self.namespaces() {
            let here = {
                let directory = namespace.directory();
                Numbers {
                    connections: directory.connection_count() as u64,
                    users: directory.user_count() as u64,
                    rooms: directory.room_count() as u64,
                    ..Numbers::default()
                }
            };
            // Where nothing happens and nobody is, there is no row.
            if here.connections > 0 || fresh.contains_key(&namespace.name) {
                fresh.entry(namespace.name.clone()).or_default().push((minute, here));
            }
        }
        for (namespace, minutes) in fresh {
            for (minute, numbers) in minutes {
                rows.add(&*self.store, &namespace, minute, &numbers).await;
            }
        }
    }

    /// Writes down everything that has been counted.
    pub(crate) async fn write_statistics(&self) {
        let mut rows = self.statistics.rows.lock().await;
        self.take_in(&mut rows).await;
        rows.write_down(&*self.store).await;
    }

    /// The rows whose interval begins from `since` on and before `until`, oldest first: at most `limit`. What has
    /// happened so far is in them.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn statistics(
        &self,
        namespace: &Namespace,
        granularity: Granularity,
        since: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        self.write_statistics().await;
        let rows = self.store.tallied(&namespace.name, granularity, since, until, limit).await?;
        Ok(rows.into_iter().map(|(at, numbers)| Row { at, numbers }).collect())
    }

    /// The rows of this minute, hour and day, at [`Granularity`]'s index.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn current_statistics(&self, namespace: &Namespace) -> Result<[Row; 3], StoreError> {
        let mut rows = self.statistics.rows.lock().await;
        self.take_in(&mut rows).await;
        let now = self.clock.now();
        let mut current = Granularity::ALL
            .map(|granularity| Row { at: granularity.start_of(now), numbers: Numbers::default() });
        for (granularity, row) in Granularity::ALL.into_iter().zip(&mut current) {
            let interval = Interval { namespace: namespace.name.clone(), granularity, at: row.at };
            row.numbers = rows.open(&*self.store, &interval).await?.numbers.clone();
        }
        Ok(current)
    }

    /// Removes rows that have been kept for as long as they are to be.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub(crate) async fn clear_statistics(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        for namespace in self.namespaces() {
            for granularity in Granularity::ALL {
                let keep =
                    u64::try_from(self.statistics.keep.of(granularity).as_millis()).unwrap_or(u64::MAX);
                let until = Timestamp(now.0.saturating_sub(keep));
                let of = &namespace.name;
                let old = self.store.tallied(of, granularity, Timestamp(0), until, CLEAR_ROWS).await?;
                let interval = |(at, _)| Interval { namespace: of.clone(), granularity, at };
                let gone: Vec<_> = old.into_iter().map(interval).collect();
                if !gone.is_empty() {
                    self.store.tally(Vec::new(), gone).await?;
                }
            }
        }
        Ok(())
    }
}
