//! When a hook that fails is tried again, and when what waits for it is given up. Time and randomness come in as
//! arguments.

use std::time::Duration;

use tidings_model::Timestamp;
use tidings_store::{Tries, WaitingNotice};

/// How long it takes after the first failure, at most; after each further one twice as long.
const PAUSE_FIRST: Duration = Duration::from_secs(1);

/// Longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(10 * 60);

/// For how long a hook may fail before what waits is given up.
pub(super) const GIVE_UP_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// How it goes with one hook: nothing else is held against a single notice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pace(Tries);

impl Pace {
    /// As it was noted before the process ended.
    pub(super) fn resumed(noted: Tries) -> Self {
        Self(noted)
    }

    /// What is to be noted.
    pub(super) fn noted(self) -> Tries {
        self.0
    }

    /// How many attempts have failed since the last one that did not.
    pub(super) fn failed(self) -> u32 {
        self.0.failed
    }

    /// An attempt has failed. `random` spreads the next one over the second half of the pause: hooks that failed
    /// together do not come back together.
    pub(super) fn fail(&mut self, now: Timestamp, random: u64) {
        if self.0.failed == 0 {
            self.0.failing_since = now;
        }
        let pause = PAUSE_FIRST.saturating_mul(1 << self.0.failed.min(20)).min(PAUSE_MAX);
        let half = pause.as_millis() as u64 / 2;
        self.0.next_at = now.after(Duration::from_millis(half + random % (half + 1)));
        self.0.failed = self.0.failed.saturating_add(1);
    }

    /// How long to wait for the next attempt. A clock that was set back makes it no longer than a pause can be.
    pub(super) fn wait(self, now: Timestamp) -> Duration {
        if self.0.failed == 0 { Duration::ZERO } else { self.0.next_at.since(now).min(PAUSE_MAX) }
    }

    /// Whether a notice has been tried for long enough: the hook has failed all the time, for a day of its life.
    pub(super) fn gives_up(self, notice: &WaitingNotice, now: Timestamp) -> bool {
        let since = notice.since.max(self.0.failing_since);
        self.0.failed > 0 && now >= since.after(GIVE_UP_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn pauses_double_up_to_ten_minutes() {
        let (mut least, mut most) = (Pace::default(), Pace::default());
        let mut pauses = Vec::new();
        for _ in 0..40 {
            let now = Timestamp(1_000_000);
            least.fail(now, 0);
            most.fail(now, u64::MAX);
            let (least, most) = (least.wait(now).as_millis(), most.wait(now).as_millis());
            assert!(least <= most && most <= PAUSE_MAX.as_millis(), "{least} to {most}");
            pauses.push(least);
        }
        assert_eq!(
            pauses[..11],
            [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 256_000, 300_000]
        );
        assert_eq!(pauses[39], 300_000);
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_stop_anything() {
        let mut pace = Pace::default();
        assert_eq!(pace.wait(Timestamp(0)), Duration::ZERO);
        pace.fail(Timestamp(1_000_000_000), 0);
        assert_eq!(pace.wait(Timestamp(0)), PAUSE_MAX);
        assert_eq!(pace.wait(Timestamp(1_000_000_500)), Duration::ZERO);
    }

    #[test]
    fn what_waits_is_given_up_after_a_day_of_failures() {
        let notice = |since| WaitingNotice {
            id: "1".parse().unwrap(),
            since: Timestamp(since),
            body: Bytes::new(),
            attempts: Tries::default(),
        };
        let day = 24 * 60 * 60 * 1_000;
        let mut pace = Pace::default();
        // A server that was down for longer has not tried.
        assert!(!pace.gives_up(&notice(0), Timestamp(2 * day)));
        pace.fail(Timestamp(2 * day), 0);
        pace.fail(Timestamp(2 * day + 1_000), 0);
        for (since, now, expected) in [
            (0, 3 * day - 1, false),
            (0, 3 * day, true),
            (2 * day + 5, 3 * day, false),
            (2 * day + 5, 3 * day + 5, true),
        ] {
            assert_eq!(pace.gives_up(&notice(since), Timestamp(now)), expected, "{since} at {now}");
        }
    }
}
