//! When a hook that fails is left alone, and when it is tried again. Time comes in as an argument.

use std::time::Duration;

use tidings_model::Timestamp;

/// How many questions in a row must fail until the hook is left alone.
const FAILURES: u32 = 5;

/// For how long the first time; after each trial that fails, twice as long.
const REST_FIRST: Duration = Duration::from_secs(1);

/// Longest rest.
const REST_MAX: Duration = Duration::from_secs(30);

/// How it goes with a hook.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Breaker {
    failed: u32,
    rests_until: Timestamp,
    rest: Duration,
    /// Whether one is asked, to see whether the hook is well again.
    trying: bool,
}

/// A question that may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Admitted {
    trial: bool,
}

impl Breaker {
    /// Whether a question may be asked now; else for how long not.
    pub(crate) fn admit(&mut self, now: Timestamp) -> Result<Admitted, Duration> {
        if self.failed < FAILURES {
            return Ok(Admitted { trial: false });
        }
        // A clock that was set back makes it no longer than a rest can be.
        let left = self.rests_until.since(now).min(self.rest);
        if left > Duration::ZERO {
            return Err(left);
        }
        if std::mem::replace(&mut self.trying, true) {
            return Err(REST_FIRST);
        }
        Ok(Admitted { trial: true })
    }

    /// Whether the hook is left alone, or was when it was last asked.
    pub(crate) fn rests(&self) -> bool {
        self.failed >= FAILURES
    }

    /// The hook has answered. Whether it was left alone before.
    pub(crate) fn succeeded(&mut self) -> bool {
        let rested = self.failed >= FAILURES;
        *self = Self::default();
        rested
    }

    /// The hook has failed. For how long it is left alone, if that begins now.
    pub(crate) fn failed(&mut self, admitted: Admitted, now: Timestamp) -> Option<Duration> {
        self.failed = self.failed.saturating_add(1);
        self.rest = match (admitted.trial, self.failed == FAILURES) {
            (true, _) => {
                self.trying = false;
                (self.rest * 2).min(REST_MAX)
            }
            (false, true) => REST_FIRST,
            // One of those that were asked before; it says nothing new.
            (false, false) => return None,
        };
        self.rests_until = now.after(self.rest);
        Some(self.rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: Timestamp = Timestamp(1_000_000);

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn it_rests_after_some_failures_in_a_row_and_longer_each_time() {
        let mut breaker = Breaker::default();
        let mut now = BEGIN;
        for _ in 0..4 {
            let admitted = breaker.admit(now).unwrap();
            assert_eq!(breaker.failed(admitted, now), None);
        }
        // An answer in between begins the count anew.
        assert!(!breaker.succeeded());
        let all: Vec<_> = (0..8).map(|_| breaker.admit(now).unwrap()).collect();
        let rests: Vec<_> = all.into_iter().filter_map(|one| breaker.failed(one, now)).collect();
        assert_eq!(rests, [secs(1)], "eight that were asked at once count as one failure of the hook");
        for expected in [2, 4, 8, 16, 30, 30] {
            let left = breaker.admit(now).unwrap_err();
            now = now.after(left);
            let trial = breaker.admit(now).unwrap();
            assert_eq!(breaker.admit(now), Err(secs(1)), "one is tried at a time");
            assert_eq!(breaker.failed(trial, now), Some(secs(expected)));
        }
        now = now.after(secs(30));
        breaker.admit(now).unwrap();
        assert!(breaker.succeeded());
        assert!((0..100).all(|_| breaker.admit(now).is_ok()));
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_stop_anything() {
        let mut breaker = Breaker::default();
        for _ in 0..5 {
            let admitted = breaker.admit(BEGIN).unwrap();
            breaker.failed(admitted, BEGIN);
        }
        assert_eq!(breaker.admit(Timestamp(0)), Err(secs(1)));
        assert!(breaker.admit(BEGIN.after(secs(1))).is_ok());
    }
}
