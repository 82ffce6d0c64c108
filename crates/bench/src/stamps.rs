//! Messages that carry the moment when they were meant to be sent: each is timed where it arrives, in whatever process,
//! and numbers are added up so that what is lost or doubled is noticed.

use hdrhistogram::Histogram;
use memchr::memmem;
use serde::{Deserialize, Serialize};

use crate::{clock, fleet::FIRST_NUMBER, tally::new_histogram};

/// What stands before the number in a payload; a quote that may be escaped, a colon and perhaps a space follow.
const NUMBER: &[u8] = b"\"seq";
/// What stands before the moment.
const MOMENT: &[u8] = b"\"at";
/// Words of 64 numbers that are remembered at most.
const SEEN_MAX: usize = 1 << 20;
/// Faults that are told; the rest is counted.
const FAULTS_MAX: usize = 5;

/// The `data` of a push: its number, the moment in nanoseconds ([`clock::now`]), and filling.
pub(crate) fn data(number: u64, at: u64, filling: &str) -> String {
    format!(r#"{{"seq":{number},"at":{at},"pad":"{filling}"}}"#)
}

/// The number in a payload.
pub(crate) fn number_in(payload: &[u8]) -> Option<u64> {
    field(payload, NUMBER)
}

/// The value behind `name`.
fn field(payload: &[u8], name: &[u8]) -> Option<u64> {
    let rest = &payload[memmem::find(payload, name)? + name.len()..];
    let start = rest.iter().position(|byte| !b"\\\": ".contains(byte))?;
    let rest = &rest[start..];
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let value = rest[..digits]
        .iter()
        .try_fold(0_u64, |value, digit| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
    value.filter(|_| digits > 0)
}

/// What the clients of one process heard together.
#[derive(Debug)]
pub(crate) struct Stamps {
    /// The number that the first message of each client has, when numbers must follow on one another.
    pub in_order_from: Option<u64>,
    /// Which numbers came, where each is meant for one client only: a bit for each.
    seen: Option<Vec<u64>>,
    /// When what is being read now was read.
    now: Option<u64>,
    heard: Heard,
    latency: Histogram<u64>,
}

/// The same for other processes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Heard {
    /// Messages.
    pub received: u64,
    /// The sum of their numbers, wrapping.
    pub sum: u64,
    /// Acknowledgements sent.
    pub acked: u64,
    /// When the last message came.
    pub last: u64,
    /// Messages without a number, or with another than was due.
    pub faulty: u64,
    /// The first of them, in words.
    pub faults: Vec<String>,
    /// Latencies in microseconds, and how often each.
    pub latency: Vec<(u64, u64)>,
}

impl Stamps {
    /// Nothing heard yet. With `distinct`, each number is meant for one client only, and is remembered.
    pub(crate) fn new(in_order_from: Option<u64>, distinct: bool) -> Self {
        let seen = distinct.then(Vec::new);
        Self { in_order_from, seen, now: None, heard: Heard::default(), latency: new_histogram() }
    }

    /// Other bytes are read from here on.
    pub(crate) fn next_read(&mut self) {
        self.now = None;
    }

    /// A client that had `before` messages got another.
    pub(crate) fn message(&mut self, before: u32, payload: &[u8]) {
        let now = *self.now.get_or_insert_with(clock::now);
        self.heard.received += 1;
        self.heard.last = now;
        let (Some(number), Some(at)) = (field(payload, NUMBER), field(payload, MOMENT)) else {
            return self.fault(|| format!("no push of this run: {}", String::from_utf8_lossy(payload)));
        };
        self.heard.sum = self.heard.sum.wrapping_add(number);
        self.latency.saturating_record(now.saturating_sub(at) / 1000);
        if self.note(number) == Some(false) {
            self.fault(|| format!("message {number} came twice"));
        }
        if let Some(first) = self.in_order_from
            && number != first + u64::from(before)
        {
            self.fault(|| format!("message {number} came where {} was due", first + u64::from(before)));
        }
    }

    /// Remembers `number`; whether it is new, where that is known.
    fn note(&mut self, number: u64) -> Option<bool> {
        let seen = self.seen.as_mut()?;
        let index = usize::try_from(number.checked_sub(FIRST_NUMBER)?).ok()?;
        let (word, bit) = (index / 64, 1_u64 << (index % 64));
        if word >= seen.len() {
            seen.resize((word + 1).min(SEEN_MAX), 0);
        }
        let word = seen.get_mut(word)?;
        let is_new = *word & bit == 0;
        *word |= bit;
        Some(is_new)
    }

    /// The bits of the numbers that came, from [`FIRST_NUMBER`] on.
    pub(crate) fn seen(&self) -> &[u64] {
        self.seen.as_deref().unwrap_or_default()
    }

    /// Acknowledgements were sent.
    pub(crate) fn acked(&mut self, count: u32) {
        self.heard.acked += u64::from(count);
    }

    fn fault(&mut self, what: impl FnOnce() -> String) {
        self.heard.faulty += 1;
        if self.heard.faults.len() < FAULTS_MAX {
            self.heard.faults.push(what());
        }
    }

    /// Everything since the last call.
    pub(crate) fn take(&mut self) -> Heard {
        let latency = std::mem::replace(&mut self.latency, new_histogram());
        let latency = latency.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value()));
        Heard { latency: latency.collect(), ..std::mem::take(&mut self.heard) }
    }
}

impl Heard {
    /// What several processes heard.
    pub(crate) fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.sum = self.sum.wrapping_add(other.sum);
        self.acked += other.acked;
        self.last = self.last.max(other.last);
        self.faulty += other.faulty;
        self.faults.extend(other.faults.iter().cloned());
        self.latency.extend(&other.latency);
    }

    /// The latencies as a histogram of microseconds.
    pub(crate) fn histogram(&self) -> Histogram<u64> {
        let mut histogram = new_histogram();
        for (value, count) in &self.latency {
            histogram.saturating_record_n(*value, *count);
        }
        histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_with_quotes_escaped_or_not() {
        let check =
            |payload: &str, expected| assert_eq!(number_in(payload.as_bytes()), expected, "{payload}");
        check(r#"{"push":{"id":"x","data":{"seq":17,"at":5}}}"#, Some(17));
        check(r#"{"data":"{\"seq\": 18}"}"#, Some(18));
        check(r#"{"seq":"x"}"#, None);
        check(r#"{"seq""#, None);
        check("{}", None);
        check(r#"{"seq":99999999999999999999}"#, None);
    }

    #[test]
    fn what_comes_twice_is_named() {
        let mut stamps = Stamps::new(None, true);
        for number in [FIRST_NUMBER, FIRST_NUMBER + 70, FIRST_NUMBER, FIRST_NUMBER + 1] {
            stamps.message(0, data(number, clock::now(), "").as_bytes());
        }
        assert_eq!(stamps.seen(), [0b11, 1 << 6]);
        assert_eq!(stamps.take().faults, [format!("message {FIRST_NUMBER} came twice")]);
    }

    #[test]
    fn what_is_heard_adds_up() {
        let mut stamps = Stamps::new(Some(7), false);
        let at = clock::now() - 3_000_000;
        stamps.message(0, data(7, at, "..").as_bytes());
        stamps.next_read();
        stamps.message(1, data(8, at, "").as_bytes());
        stamps.message(2, data(8, at, "").as_bytes());
        stamps.message(3, b"{}");
        stamps.acked(2);
        let mut heard = stamps.take();
        assert_eq!((heard.received, heard.sum, heard.acked, heard.faulty), (4, 23, 2, 2));
        assert_eq!(heard.faults, ["message 8 came where 9 was due", "no push of this run: {}"]);
        assert_eq!(stamps.take().received, 0);
        let other = heard.clone();
        heard.add(&other);
        let histogram = heard.histogram();
        assert_eq!((heard.received, histogram.len()), (8, 6));
        assert!(histogram.min() >= 3_000, "{}", histogram.min());
    }
}
