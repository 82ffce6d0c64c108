//! What is published on the channels of a Redis comes in.
//!
//! One connection, however many channels: `SUBSCRIBE` for names, many in one command, `PSUBSCRIBE` for patterns. A name that a
//! pattern fits is not subscribed to besides, and where patterns overlap the first one counts, so that nothing comes twice.
//! What comes is taken off the connection at once, because a Redis ends the connections of those who read slowly; a queue
//! with a bound is behind it, and what does not fit there is dropped. The connection is asked for a sign of life; when
//! there is none, or it ends, it is made again, later each time.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::future::try_join_all;
use redis::aio::{PubSubSink, PubSubStream};
use redis::{Msg, RedisError, Value};
use tidings_model::Glob;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::backoff::{Backoff, chance};
use crate::{BadUrl, Counters, Dropped, client, place};

/// Most messages that wait to be read; beyond that the newest are dropped.
pub const QUEUE_MESSAGES: usize = 65_536;

/// Most bytes of messages that wait; beyond that the newest are dropped. One always fits.
pub const QUEUE_BYTES: u64 = 64 << 20;

/// Channels in one command.
const CHANNELS_AT_ONCE: usize = 1_000;

/// How long the steps of a connection may take.
#[derive(Clone, Debug)]
pub struct Timing {
    /// To connect, and to be subscribed to what was asked for.
    pub answer: Duration,
    /// How often a connection is asked for a sign of life, and how long that may take.
    pub ping: Duration,
    /// How long to wait until it is tried again.
    pub retry: RangeInclusive<Duration>,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(10),
            ping: Duration::from_secs(5),
            retry: Duration::from_millis(100)..=Duration::from_secs(5),
        }
    }
}

/// What is subscribed to, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the Redis is.
    pub url: String,
    /// Channels by their names, for a start.
    pub names: BTreeSet<String>,
    /// Channels by patterns. The first one that fits counts.
    pub patterns: Vec<Glob>,
    /// Largest message, in bytes.
    pub message_bytes: usize,
    /// How long the steps may take.
    pub timing: Timing,
}

/// A message that was published.
#[derive(Debug)]
pub struct Heard {
    /// Where.
    pub channel: String,
    /// What, as it was sent.
    pub payload: Vec<u8>,
    _waiting: Waiting,
}

/// Counts a message among what waits for as long as it does.
#[derive(Debug)]
struct Waiting {
    counters: Arc<Counters>,
    bytes: u64,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.counters.leave(self.bytes);
    }
}

/// The handle of what subscribes; it ends with it.
#[derive(Debug)]
pub struct Subscriber {
    names: watch::Sender<BTreeSet<String>>,
    task: JoinHandle<()>,
}

impl Subscriber {
    /// Subscribes on this runtime, now or as soon as the Redis is there. What comes can be read from the receiver.
    ///
    /// # Errors
    /// When the URL is none.
    pub fn start(options: Options, counters: Arc<Counters>) -> Result<(Self, mpsc::Receiver<Heard>), BadUrl> {
        let client = client(&options.url)?;
        let (queue, heard) = mpsc::channel(QUEUE_MESSAGES);
        let (names, wanted) = watch::channel(options.names);
        let line = Line {
            place: place(&client),
            client,
            patterns: options.patterns,
            wanted,
            queue,
            counters,
            message_bytes: options.message_bytes,
            timing: options.timing,
        };
        Ok((Self { names, task: tokio::spawn(line.run()) }, heard))
    }

    /// From now on these are the names that are subscribed to, besides the patterns.
    pub fn listen_to(&self, names: BTreeSet<String>) {
        self.names.send_if_modified(|now| {
            let changes = *now != names;
            *now = names;
            changes
        });
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("{0}")]
    Redis(#[from] RedisError),
    #[error("the connection was closed")]
    Closed,
    #[error("it does not answer")]
    Silent,
}

/// What is behind a [`Subscriber`].
struct Line {
    client: redis::Client,
    place: String,
    patterns: Vec<Glob>,
    wanted: watch::Receiver<BTreeSet<String>>,
    queue: mpsc::Sender<Heard>,
    counters: Arc<Counters>,
    message_bytes: usize,
    timing: Timing,
}

impl Line {
    async fn run(self) {
        let mut backoff = Backoff::new(self.timing.retry.clone());
        loop {
            let started = Instant::now();
            let why = match self.connection().await {
                Ok(never) => match never {},
                Err(why) => why,
            };
            backoff.went_well(started.elapsed());
            if self.counters.went() {
                tracing::warn!(redis = self.place, %why, "a Redis is away: what is published there is lost until it is back");
            } else {
                tracing::debug!(redis = self.place, %why, "a Redis is still away");
            }
            tokio::time::sleep(backoff.wait(chance())).await;
        }
    }

    /// One connection, until it ends.
    async fn connection(&self) -> Result<std::convert::Infallible, Lost> {
        let pubsub = timeout(self.timing.answer, self.client.get_async_pubsub());
        let (sink, stream) = pubsub.await.map_err(|_| Lost::Silent)??.split();
        tokio::select! {
            ended = self.govern(sink) => ended,
            () = self.take(stream) => Err(Lost::Closed),
        }
    }

    /// Keeps a connection subscribed to what is wanted, and asks it for signs of life.
    async fn govern(&self, mut sink: PubSubSink) -> Result<std::convert::Infallible, Lost> {
        let (mut wanted, mut have) = (self.wanted.clone(), BTreeSet::new());
        let mut pings = interval(self.timing.ping);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        if !self.patterns.is_empty() {
            let patterns: Vec<&str> = self.patterns.iter().map(Glob::as_str).collect();
            self.within(sink.psubscribe(&patterns)).await?;
        }
        loop {
            let names = wanted.borrow_and_update().clone();
            self.change(&sink, &have, &names).await?;
            have = names;
            self.counters.set_channels(self.patterns.len() + have.len());
            if !self.counters.connected() {
                match self.counters.came() {
                    Some(away) => {
                        let seconds = away.as_secs_f64();
                        tracing::info!(
                            redis = self.place,
                            seconds,
                            channels = have.len(),
                            patterns = self.patterns.len(),
                            "a Redis is back: what was published there meanwhile is lost"
                        );
                    }
                    None => {
                        tracing::info!(
                            redis = self.place,
                            channels = have.len(),
                            patterns = self.patterns.len(),
                            "what is published on a Redis is heard"
                        );
                    }
                }
            }
            // Until something else is wanted, or the connection ends.
            let mut heard = self.counters.received();
            loop {
                tokio::select! {
                    Ok(()) = wanted.changed() => break,
                    _ = pings.tick() => {
                        let alive = self.within(sink.ping::<Value>()).await;
                        let more = self.counters.received();
                        match alive {
                            // What comes is a sign of life, too: the answer may be behind much of it.
                            Err(Lost::Silent) if more != heard => {}
                            alive => drop(alive?),
                        }
                        heard = more;
                    }
                }
            }
        }
    }

    /// Subscribes to what is new and unsubscribes from what is not wanted any more, everything under way at once.
    async fn change(
        &self,
        sink: &PubSubSink,
        have: &BTreeSet<String>,
        want: &BTreeSet<String>,
    ) -> Result<(), Lost> {
        let by_name = |name: &&String| self.first_pattern(name).is_none();
        let less: Vec<&String> = have.difference(want).filter(by_name).collect();
        let more: Vec<&String> = want.difference(have).filter(by_name).collect();
        let less = less.chunks(CHANNELS_AT_ONCE).map(|names| {
            let mut sink = sink.clone();
            async move { sink.unsubscribe(names).await }
        });
        let more = more.chunks(CHANNELS_AT_ONCE).map(|names| {
            let mut sink = sink.clone();
            async move { sink.subscribe(names).await }
        });
        self.within(try_join_all(less)).await?;
        self.within(try_join_all(more)).await?;
        Ok(())
    }

    async fn within<T>(&self, answer: impl Future<Output = Result<T, RedisError>>) -> Result<T, Lost> {
        timeout(self.timing.answer, answer).await.map_err(|_| Lost::Silent)?.map_err(Lost::from)
    }

    /// Takes what comes off the connection, until it ends.
    async fn take(&self, mut stream: PubSubStream) {
        while let Some(message) = stream.next().await {
            self.hear(&message);
        }
    }

    fn first_pattern(&self, name: &str) -> Option<&Glob> {
        self.patterns.iter().find(|pattern| pattern.fits(name))
    }

    fn hear(&self, message: &Msg) {
        let Ok(channel) = message.get_channel::<String>() else {
            self.counters.receive_one();
            return self.counters.drop_one(Dropped::NotAChannel);
        };
        let by = message.get_pattern::<Option<String>>().unwrap_or_default();
        if by.is_some() && self.first_pattern(&channel).map(Glob::as_str) != by.as_deref() {
            // It comes once for each pattern.
            return;
        }
        self.counters.receive_one();
        let payload = message.get_payload_bytes();
        if payload.len() > self.message_bytes {
            return self.counters.drop_one(Dropped::TooLarge);
        }
        let bytes = payload.len() as u64;
        if !self.counters.enter(bytes, QUEUE_BYTES) {
            return self.counters.drop_one(Dropped::QueueFull);
        }
        let waiting = Waiting { counters: Arc::clone(&self.counters), bytes };
        let heard = Heard { channel, payload: payload.to_vec(), _waiting: waiting };
        if self.queue.try_send(heard).is_err() {
            self.counters.drop_one(Dropped::QueueFull);
        }
    }
}
