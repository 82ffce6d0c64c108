//! Who has what: accepted, expected and received are counted apart, and every delivery is timed from the moment it was
//! meant to start.
//!
//! It relies on one thing: all connections of a run get the same messages in the same order, so the n-th message of a
//! connection is message n. Whether that is so is checked by reading a sample in full (`sample`).

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Longest latency that is told apart, in microseconds.
const LATENCY_MAX_US: u64 = 120_000_000;

/// Counts the deliveries of one run.
#[derive(Debug)]
pub(crate) struct Tally {
    receivers: u32,
    messages: Vec<Message>,
    completed: usize,
    received: u64,
    surplus: u64,
    latency: Histogram<u64>,
}

#[derive(Debug)]
struct Message {
    intended: Instant,
    received: u32,
    completed: Option<Instant>,
}

impl Tally {
    /// For `receivers` connections, each of which is to get every message.
    pub(crate) fn new(receivers: usize) -> Self {
        Self {
            receivers: u32::try_from(receivers).unwrap_or(u32::MAX),
            messages: Vec::new(),
            completed: 0,
            received: 0,
            surplus: 0,
            latency: new_histogram(),
        }
    }

    /// A message is meant to be sent at `at`.
    pub(crate) fn intend(&mut self, at: Instant) {
        self.messages.push(Message { intended: at, received: 0, completed: None });
    }

    /// A connection that had `before` messages got `count` more at `at`.
    pub(crate) fn deliver(&mut self, before: u32, count: u32, at: Instant) {
        self.received += u64::from(count);
        for index in before as usize..before as usize + count as usize {
            let Some(message) = self.messages.get_mut(index) else {
                self.surplus += 1;
                continue;
            };
            message.received += 1;
            let micros = at.saturating_duration_since(message.intended).as_micros();
            self.latency.saturating_record(u64::try_from(micros).unwrap_or(LATENCY_MAX_US));
            if message.received == self.receivers {
                message.completed = Some(at);
                self.completed += 1;
            }
        }
    }

    /// Messages that were meant to be sent.
    pub(crate) fn intended(&self) -> usize {
        self.messages.len()
    }

    /// Messages that every connection has.
    pub(crate) fn completed(&self) -> usize {
        self.completed
    }

    /// Deliveries that were to happen.
    pub(crate) fn expected(&self) -> u64 {
        self.messages.len() as u64 * u64::from(self.receivers)
    }

    /// Deliveries that happened, surplus included.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Deliveries beyond what was sent.
    pub(crate) fn surplus(&self) -> u64 {
        self.surplus
    }

    /// From when message `index` was meant to be sent until the last connection had it.
    pub(crate) fn span(&self, first: usize, last: usize) -> Option<Duration> {
        let from = self.messages.get(first)?.intended;
        Some(self.messages.get(last)?.completed?.duration_since(from))
    }

    /// The latencies since the last call; the count begins anew.
    pub(crate) fn take_latency(&mut self) -> Histogram<u64> {
        std::mem::replace(&mut self.latency, new_histogram())
    }
}

/// An empty histogram of microseconds with three digits.
pub(crate) fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX_US, 3)
        .unwrap_or_else(|_| unreachable!("the bounds are constants"))
}

/// Latencies in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Percentiles {
    /// Deliveries that were timed.
    pub count: u64,
    /// Half are faster.
    pub p50: f64,
    /// Nine in ten are faster.
    pub p90: f64,
    /// All but one in a hundred are faster.
    pub p99: f64,
    /// All but one in a thousand are faster.
    pub p999: f64,
    /// The slowest.
    pub max: f64,
}

impl Percentiles {
    /// The table of a histogram of microseconds.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
        Self {
            count: histogram.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max() as f64 / 1000.0,
        }
    }
}

/// The middle of `values`, the mean of the two middle ones when there is no middle; nothing when there are no values.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    Some(if sorted.len() % 2 == 1 { upper } else { f64::midpoint(sorted[middle - 1], upper) })
}

/// How far the middle half of `values` reaches, as a part of their median.
pub(crate) fn spread(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (lower, upper) = (sorted.len() / 4, sorted.len().checked_sub(1 + sorted.len() / 4)?);
    Some((sorted[upper] - sorted[lower]) / median(values)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_complete_when_everyone_has_it() {
        let start = Instant::now();
        let ms = |n| start + Duration::from_millis(n);
        let mut tally = Tally::new(2);
        tally.intend(start);
        tally.intend(ms(1));
        tally.deliver(0, 2, ms(5));
        assert_eq!((tally.completed(), tally.received(), tally.expected()), (0, 2, 4));
        tally.deliver(0, 1, ms(6));
        tally.deliver(1, 1, ms(9));
        assert_eq!((tally.completed(), tally.received(), tally.surplus()), (2, 4, 0));
        assert_eq!(tally.span(0, 0), Some(Duration::from_millis(6)));
        assert_eq!(tally.span(0, 1), Some(Duration::from_millis(9)));
        tally.deliver(2, 1, ms(10));
        assert_eq!((tally.received(), tally.surplus()), (5, 1));
    }

    #[test]
    fn percentiles_are_milliseconds_of_a_known_table() {
        let mut histogram = new_histogram();
        for ms in 1..=1000_u64 {
            histogram.record(ms * 1000).unwrap();
        }
        let table = Percentiles::of(&histogram);
        let near = |got: f64, want: f64| assert!((got - want).abs() <= want * 0.002, "{got} is not {want}");
        near(table.p50, 500.0);
        near(table.p90, 900.0);
        near(table.p99, 990.0);
        near(table.p999, 999.0);
        near(table.max, 1000.0);
        assert_eq!(table.count, 1000);
    }

    #[test]
    fn the_median_of_odd_even_and_none() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn the_spread_ignores_outliers() {
        assert_eq!(spread(&[100.0, 10.0, 90.0, 1000.0, 110.0]), Some(0.2));
        assert_eq!(spread(&[1.0]), Some(0.0));
        assert_eq!(spread(&[]), None);
    }
}
