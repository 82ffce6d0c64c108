//! What came from a Redis, what became of it, and how long nobody listened. Plain numbers, which whoever runs the bridge shows as
//! it shows its others.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Why a message that came was not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// Too much waits to be passed on.
    QueueFull,
    /// It is larger than a message may be.
    TooLarge,
    /// Its channel is none (any more), or has a name that none can have.
    NotAChannel,
    /// The server has more to do than it can, for longer than a moment.
    Overloaded,
    /// The server does not take it: its namespace or its room is suspended, or the store fails.
    Refused,
}

impl Dropped {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::QueueFull, Self::TooLarge, Self::NotAChannel, Self::Overloaded, Self::Refused];

    /// The word in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::TooLarge => "too_large",
            Self::NotAChannel => "not_a_channel",
            Self::Overloaded => "overloaded",
            Self::Refused => "refused",
        }
    }
}

/// The numbers of a subscriber.
#[derive(Debug, Default)]
pub struct Counters {
    received: AtomicU64,
    dropped: [AtomicU64; Dropped::ALL.len()],
    channels: AtomicU64,
    waiting: AtomicU64,
    waiting_bytes: AtomicU64,
    gaps: Mutex<Gaps>,
}

#[derive(Debug, Default)]
struct Gaps {
    count: u64,
    /// How long those took that are over.
    over: Duration,
    /// Since when the current one is, if there is one.
    since: Option<Instant>,
    connected: bool,
}

impl Counters {
    /// Messages that came, whatever became of them.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Messages that came and were not passed on because of this.
    #[must_use]
    pub fn dropped(&self, why: Dropped) -> u64 {
        self.dropped[why as usize].load(Ordering::Relaxed)
    }

    /// How many channels and patterns it is subscribed to.
    #[must_use]
    pub fn channels(&self) -> u64 {
        self.channels.load(Ordering::Relaxed)
    }

    /// How many messages wait to be passed on.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// How many bytes they have.
    #[must_use]
    pub fn waiting_bytes(&self) -> u64 {
        self.waiting_bytes.load(Ordering::Relaxed)
    }

    /// Whether it hears what is published.
    #[must_use]
    pub fn connected(&self) -> bool {
        self.locked().connected
    }

    /// How often it did not hear what was published, the current time included.
    #[must_use]
    pub fn gaps(&self) -> u64 {
        self.locked().count
    }

    /// How long that was altogether.
    #[must_use]
    pub fn away(&self) -> Duration {
        let gaps = self.locked();
        gaps.over + gaps.since.map(|since| since.elapsed()).unwrap_or_default()
    }

    /// Counts a message that is not passed on.
    pub fn drop_one(&self, why: Dropped) {
        self.dropped[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn receive_one(&self) {
        self.received.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn set_channels(&self, channels: usize) {
        self.channels.store(channels as u64, Ordering::Relaxed);
    }

    /// Makes room for a message that waits, if there is any.
    pub(crate) fn enter(&self, bytes: u64, most: u64) -> bool {
        let before = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.waiting.fetch_add(1, Ordering::Relaxed);
        if before == 0 || before + bytes <= most {
            return true;
        }
        self.leave(bytes);
        false
    }

    pub(crate) fn leave(&self, bytes: u64) {
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// It hears what is published from now on. Answers how long it did not; `None` when it did all the time.
    pub(crate) fn came(&self) -> Option<Duration> {
        let mut gaps = self.locked();
        gaps.connected = true;
        let away = gaps.since.take()?.elapsed();
        gaps.over += away;
        Some(away)
    }

    /// It does not hear what is published any more. Answers whether that is news.
    pub(crate) fn went(&self) -> bool {
        let mut gaps = self.locked();
        gaps.connected = false;
        self.set_channels(0);
        if gaps.since.is_some() {
            return false;
        }
        gaps.since = Some(Instant::now());
        gaps.count += 1;
        true
    }

    fn locked(&self) -> MutexGuard<'_, Gaps> {
        self.gaps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
