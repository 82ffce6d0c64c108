//! How much somebody on this machine waits for a processor, as the kernel counts it: pressure stall information, Linux 4.20
//! and later (`Documentation/accounting/psi.rst`). In a container it is that of the whole machine, which is what matters.

use std::time::Duration;

use tokio::time::Instant;

/// Where the kernel tells.
const PATH: &str = "/proc/pressure/cpu";

/// The shortest time that a share is taken over.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The share of the time during which somebody waited, over the last while in which it was asked for.
#[derive(Debug)]
pub(crate) struct Contention {
    /// Microseconds so far; nothing where the kernel does not tell.
    read: fn() -> Option<u64>,
    last: Option<(Instant, u64)>,
    share: f64,
}

impl Contention {
    /// What this machine's kernel tells.
    pub(crate) fn of_this_machine() -> Self {
        Self { read: || waited(&std::fs::read_to_string(PATH).ok()?), last: None, share: 0.0 }
    }

    /// Where nobody tells.
    #[cfg(test)]
    pub(crate) fn unknown() -> Self {
        Self { read: || None, last: None, share: 0.0 }
    }

    /// From 0 (nobody, or it is not known) to 1 (all the time).
    pub(crate) fn share(&mut self, now: Instant) -> f64 {
        let since = self.last.map(|(at, _)| now.duration_since(at));
        if since.is_some_and(|since| since < LOOK_AGAIN) {
            return self.share;
        }
        let waited = (self.read)();
        self.share = match (self.last, waited) {
            (Some((at, before)), Some(waited)) => {
                let passed = now.duration_since(at).as_micros() as f64;
                (waited.saturating_sub(before) as f64 / passed).clamp(0.0, 1.0)
            }
            _ => 0.0,
        };
        // Where the kernel does not tell it is not asked more often than where it does.
        self.last = Some((now, waited.unwrap_or(u64::MAX)));
        self.share
    }
}

/// The microseconds during which somebody has waited, from what the kernel tells.
fn waited(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    line.split(' ').find_map(|word| word.strip_prefix("total="))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn the_kernel_tells_how_long_somebody_has_waited() {
        for (text, expected) in [
            (
                "some avg10=24.36 avg60=23.30 avg300=19.69 total=3473867023\nfull avg10=0.00 total=7\n",
                Some(3_473_867_023),
            ),
            ("full avg10=0.00 avg60=0.00 avg300=0.00 total=0\nsome avg10=0.00 total=5", Some(5)),
            ("some avg10=0.00", None),
            ("some total=x", None),
            ("", None),
        ] {
            assert_eq!(waited(text), expected, "{text:?}");
        }
    }

    thread_local! {
        static TOLD: Cell<Option<u64>> = const { Cell::new(None) };
    }

    /// Milliseconds that have passed, what the kernel tells then, and the share.
    #[test]
    fn a_share_is_taken_over_a_tenth_of_a_second_at_least() {
        let start = Instant::now();
        let mut contention = Contention { read: || TOLD.get(), last: None, share: 0.0 };
        for (ms, told, expected) in [
            (0, Some(1_000), 0.0),
            (99, Some(90_000), 0.0),
            (100, Some(51_000), 0.5),
            (150, Some(101_000), 0.5),
            (300, Some(251_000), 1.0),
            (400, Some(999_000), 1.0),
            (500, Some(0), 0.0),
            (600, None, 0.0),
            (700, Some(90_000), 0.0),
            (800, Some(100_000), 0.1),
        ] {
            TOLD.set(told);
            assert_eq!(contention.share(start + Duration::from_millis(ms)), expected, "{ms} ms");
        }
    }
}
