//! Who pushes, and when: as fast as answers come (closed loop), or at moments that nothing delays (open loop).
//!
//! In the open loop the latency of a push counts from the moment when it was meant to be sent, so that a server that
//! stalls is not excused from the pushes that would have come meanwhile.

use std::{
    thread,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use mio::{Events, Poll};

use crate::{
    clock,
    error::{BenchError, Doing},
    interrupt,
    post::Poster,
    precedence,
    publisher::{Push, To},
    stamps::data,
    tally::new_histogram,
    waiter::Waiter,
};

/// A push that is due sooner than this is waited for without looking at answers: where many come, each would be a look.
const NAP: Duration = Duration::from_micros(100);
/// Longest wait for answers, and for a push that is due.
const WAIT: Duration = Duration::from_millis(5);
/// Pushes in a call at most; the contract allows 1,000.
pub(crate) const BATCH_MAX: usize = 1_000;
/// How long the answers to the last calls may take.
const ANSWERS_MAX: Duration = Duration::from_secs(20);

/// When the next push is due.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// As soon as a connection is free.
    Closed,
    /// So many a second, whatever the server does.
    Open(f64),
}

/// Pushes from one backend, each with the next number.
pub(crate) struct Source {
    poll: Poll,
    events: Events,
    poster: Poster,
    /// Whom push `n` goes to.
    to: Box<dyn Fn(u64) -> To + Send>,
    filling: String,
    first: u64,
    pace: Pace,
    /// Pushes in a call at most.
    batch: usize,
    /// Calls under way at most.
    calls: usize,
    begun: u64,
    /// Pushes of the current pace.
    sent: u64,
    /// No more pushes of this pace than these.
    most: u64,
    total: u64,
    sum: u64,
    /// How long after it was due each push was sent, in the open loop, in microseconds; but for those that answers were
    /// waited for first.
    late: Histogram<u64>,
    /// Whether a push may have been due that had no connection to be sent on.
    held_up: bool,
}

impl Source {
    /// A source that has not begun; `lines` connections are opened ahead. The number of the first push is `first`.
    pub(crate) fn new(
        mut poster: Poster,
        lines: usize,
        first: u64,
        filling: usize,
        to: impl Fn(u64) -> To + Send + 'static,
    ) -> Result<Self, BenchError> {
        let poll = Poll::new().doing("opening an epoll")?;
        poster.open_lines(poll.registry(), lines)?;
        Ok(Self {
            poll,
            events: Events::with_capacity(256),
            poster,
            to: Box::new(to),
            filling: ".".repeat(filling),
            first,
            pace: Pace::Closed,
            batch: 1,
            calls: lines,
            begun: clock::now(),
            sent: 0,
            most: 0,
            total: 0,
            sum: 0,
            late: new_histogram(),
            held_up: false,
        })
    }

    /// From now on pushes come at `pace`, up to `batch` in a call, and at most `most` of them.
    pub(crate) fn begin(&mut self, pace: Pace, batch: usize, most: u64) {
        (self.pace, self.most, self.sent, self.begun) = (pace, most, 0, clock::now());
        self.batch = if self.poster.batches() { batch.clamp(1, BATCH_MAX) } else { 1 };
        self.poster.take_answers();
        self.late.reset();
    }

    /// From now on at most `calls` calls are under way.
    pub(crate) fn limit_calls(&mut self, calls: usize) {
        self.calls = calls;
    }

    /// No more pushes.
    pub(crate) fn stop(&mut self) {
        self.most = self.sent;
    }

    /// Pushes that were sent so far, over all paces.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The sum of their numbers, wrapping.
    pub(crate) fn sum(&self) -> u64 {
        self.sum
    }

    /// Pushes that the server has accepted.
    pub(crate) fn accepted(&self) -> u64 {
        self.poster.accepted()
    }

    /// Whether everything is sent and answered.
    pub(crate) fn is_done(&self) -> bool {
        self.sent == self.most && !self.poster.is_waiting()
    }

    /// From intended start to answer, since [`Source::begin`].
    pub(crate) fn take_answers(&mut self) -> Histogram<u64> {
        self.poster.take_answers()
    }

    /// How late pushes were sent through no fault of the server, since [`Source::begin`].
    pub(crate) fn late(&self) -> &Histogram<u64> {
        &self.late
    }

    /// The moment for which push `index` of this pace is meant; `now` when it has none of its own.
    fn intended(&self, index: u64, now: u64) -> u64 {
        match self.pace {
            Pace::Closed => now,
            Pace::Open(rate) => self.begun + (index as f64 / rate * 1e9) as u64,
        }
    }

    /// Sends what is due and reads what came, without waiting.
    pub(crate) fn turn(&mut self) -> Result<(), BenchError> {
        let now = clock::now();
        while self.sent < self.most && self.poster.under_way() < self.calls {
            let due = match self.pace {
                Pace::Closed => self.most,
                Pace::Open(rate) => (now.saturating_sub(self.begun) as f64 / 1e9 * rate) as u64 + 1,
            };
            let count = due.min(self.most).saturating_sub(self.sent).min(self.batch as u64);
            if count == 0 {
                break;
            }
            let intended: Vec<u64> =
                (self.sent..self.sent + count).map(|index| self.intended(index, now)).collect();
            if !self.held_up {
                intended.iter().for_each(|at| self.late.saturating_record(now.saturating_sub(*at) / 1000));
            }
            let pushes: Vec<Push> = intended.iter().map(|at| self.next(*at)).collect();
            self.sent += count;
            self.poster.call(self.poll.registry(), &pushes, intended)?;
        }
        self.held_up = self.sent < self.most && self.poster.under_way() >= self.calls;
        self.answers(Duration::ZERO)
    }

    fn next(&mut self, at: u64) -> Push {
        let number = self.first + self.total;
        self.total += 1;
        self.sum = self.sum.wrapping_add(number);
        Push { to: (self.to)(number), data: data(number, at, &self.filling) }
    }

    /// Waits at most `timeout` for answers and takes them.
    fn answers(&mut self, timeout: Duration) -> Result<(), BenchError> {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return Ok(()),
            other => other.doing("waiting for answers")?,
        }
        let Self { events, poster, .. } = self;
        for event in &*events {
            poster.ready(event.token().0, event.is_readable())?;
        }
        Ok(())
    }

    /// The moment of the next push; nothing where an answer has to come first.
    fn next_due(&self) -> Option<u64> {
        match self.pace {
            Pace::Open(_) if self.sent < self.most && self.poster.under_way() < self.calls => {
                Some(self.intended(self.sent, 0))
            }
            Pace::Open(_) | Pace::Closed => None,
        }
    }
}

/// Pushes from all `sources` until `until` says that it is enough.
pub(crate) fn drive(
    sources: &mut [&mut Source],
    mut until: impl FnMut() -> Result<bool, BenchError>,
) -> Result<(), BenchError> {
    // Of connections that had nothing to do for long, some may have been closed.
    for source in &mut *sources {
        source.answers(Duration::ZERO)?;
    }
    let mut waiter = Waiter::new(sources.iter().map(|source| &source.poll))?;
    while !until()? {
        interrupt::check()?;
        for source in &mut *sources {
            source.turn()?;
        }
        let due = sources.iter().filter_map(|source| source.next_due()).min();
        match due.map(|due| Duration::from_nanos(due.saturating_sub(clock::now()))) {
            Some(left) if left <= NAP => thread::sleep(left),
            _ => waiter.wait(due, WAIT)?,
        }
    }
    Ok(())
}

/// Pushes `count` messages as fast as they are accepted, up to `batch` in a call.
pub(crate) fn push_all(source: &mut Source, batch: usize, count: u64) -> Result<(), BenchError> {
    source.begin(Pace::Closed, batch, count);
    source.answers(Duration::ZERO)?;
    while source.sent < source.most {
        interrupt::check()?;
        source.turn()?;
        source.answers(WAIT)?;
    }
    finish(&mut [source])
}

/// Pushes for `duration`, then waits for the answers to what was sent.
pub(crate) fn drive_for(sources: &mut [&mut Source], duration: Duration) -> Result<(), BenchError> {
    let end = Instant::now() + duration;
    drive(sources, || Ok(Instant::now() >= end))?;
    finish(sources)
}

/// The same from a thread that goes first, where the system permits it. Answers whether it does.
pub(crate) fn drive_first(sources: &mut [&mut Source], duration: Duration) -> Result<bool, BenchError> {
    thread::scope(|scope| {
        let driver = scope.spawn(|| {
            let first = precedence::go_first();
            drive_for(sources, duration).map(|()| first)
        });
        driver.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Sends no more and waits for the answers.
pub(crate) fn finish(sources: &mut [&mut Source]) -> Result<(), BenchError> {
    let end = Instant::now() + ANSWERS_MAX;
    sources.iter_mut().for_each(|source| source.stop());
    while !sources.iter().all(|source| source.is_done()) {
        interrupt::check()?;
        for source in &mut *sources {
            source.answers(Duration::from_millis(1))?;
        }
        if Instant::now() > end {
            let what = format!("calls have had no answer for {ANSWERS_MAX:?}");
            return Err(BenchError::Protocol { who: "push".to_owned(), what });
        }
    }
    Ok(())
}
