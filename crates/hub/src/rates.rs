//! How often something may happen: a token bucket for each of those who do it, in a table that does not grow, or one that
//! stands by itself. Time comes in as an argument.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Buckets in a row. When one more comes, the bucket that is nearest to full is forgotten: where more come
/// at once than the table has room for, they are limited less sharply, and the table stays as it is.
const WAYS: usize = 4;

/// How often something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How long a token takes to come back, in microseconds.
    token: u64,
    /// How long an empty bucket takes to fill.
    depth: u64,
}

impl Rate {
    /// So many in a second, and `burst` at once; `None` when everything is allowed.
    #[must_use]
    pub fn new(per_second: u32, burst: u32) -> Option<Self> {
        let token = 1_000_000_u64.checked_div(u64::from(per_second))?.max(1);
        Some(Self { token, depth: token * u64::from(burst.max(1)) })
    }

    /// The same, for what costs so many tokens; at most as many as a full bucket has, so that it is possible at all.
    #[must_use]
    pub fn costing(self, tokens: u32) -> Self {
        Self { token: (self.token * u64::from(tokens)).min(self.depth), depth: self.depth }
    }

    /// When a bucket will be full that is asked for a token at `now`; and, when it has none, after how many microseconds it
    /// has one.
    fn take(self, full_at: u64, now: u64) -> (u64, Result<(), u64>) {
        // A clock that was set back, or a rate that was changed, leaves nobody waiting for longer than an empty bucket takes.
        let full_at = full_at.clamp(now, now + self.depth);
        let after = full_at + self.token;
        match after.saturating_sub(now + self.depth) {
            0 => (after, Ok(())),
            over => (full_at, Err(over)),
        }
    }
}

/// A bucket that stands by itself. All that has to be known of it is when it will be full again.
#[derive(Debug, Default)]
pub struct Bucket(AtomicU64);

impl Bucket {
    /// Takes a token at `now` microseconds.
    ///
    /// # Errors
    /// After how many microseconds there is one, when there is none.
    pub fn take(&self, now: u64, rate: Rate) -> Result<(), u64> {
        let mut full_at = self.0.load(Ordering::Relaxed);
        loop {
            let (after, taken) = rate.take(full_at, now);
            match self.0.compare_exchange_weak(full_at, after, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return taken,
                Err(other) => full_at = other,
            }
        }
    }
}

/// A bucket for each of many.
#[derive(Debug)]
pub struct Buckets {
    rows: Vec<Mutex<[Kept; WAYS]>>,
    hasher: RandomState,
}

/// Whose bucket it is, and when it will be full.
#[derive(Clone, Copy, Debug, Default)]
struct Kept {
    whose: u64,
    full_at: u64,
}

impl Buckets {
    /// Room for about as many as said, 16 bytes each.
    #[must_use]
    pub fn new(room: usize, hasher: RandomState) -> Self {
        Self { rows: (0..room.div_ceil(WAYS).max(1)).map(|_| Mutex::default()).collect(), hasher }
    }

    /// Takes a token of somebody at `now` microseconds.
    ///
    /// # Errors
    /// After how many microseconds it has one, when it has none.
    pub fn take(&self, whose: u64, now: u64, rate: Rate) -> Result<(), u64> {
        let row = &self.rows[self.hasher.hash_one(whose) as usize % self.rows.len()];
        let mut row = row.lock().unwrap_or_else(PoisonError::into_inner);
        let fullest = |row: &[Kept; WAYS]| {
            let ways = row.iter().enumerate();
            ways.min_by_key(|(_, kept)| kept.full_at).map_or(0, |(index, _)| index)
        };
        let way = match row.iter().position(|kept| kept.whose == whose) {
            Some(way) => way,
            None => {
                let way = fullest(&row);
                row[way] = Kept { whose, full_at: now };
                way
            }
        };
        let (full_at, taken) = rate.take(row[way].full_at, now);
        row[way].full_at = full_at;
        taken
    }

    /// Whether somebody has a token at `now` microseconds. It is not taken.
    pub fn has(&self, whose: u64, now: u64, rate: Rate) -> bool {
        let row = &self.rows[self.hasher.hash_one(whose) as usize % self.rows.len()];
        let row = row.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = row.iter().find(|kept| kept.whose == whose);
        kept.is_none_or(|kept| rate.take(kept.full_at, now).1.is_ok())
    }
}

/// How often something may come from each address.
#[derive(Debug)]
pub struct Rates {
    buckets: Buckets,
    rate: Rate,
}

impl Rates {
    /// Allows `per_second`, and `burst` at once, to about as many addresses as said, 16 bytes each; `None` when
    /// everything is allowed.
    #[must_use]
    pub fn new(per_second: u32, burst: u32, addresses: usize, hasher: RandomState) -> Option<Self> {
        Some(Self { rate: Rate::new(per_second, burst)?, buckets: Buckets::new(addresses, hasher) })
    }

    /// Takes a token of an address at `now` microseconds; false when it has none.
    pub fn take(&self, address: u64, now: u64) -> bool {
        self.buckets.take(address, now, self.rate).is_ok()
    }

    /// Whether an address has a token at `now` microseconds. It is not taken.
    #[must_use]
    pub fn has(&self, address: u64, now: u64) -> bool {
        self.buckets.has(address, now, self.rate)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_burst_and_then_one_by_one() {
        let rates = Rates::new(10, 3, 64, RandomState::new()).unwrap();
        let times =
            [0, 0, 0, 0, 99_999, 100_000, 100_001, 200_000, 10_000_000, 10_000_000, 10_000_000, 10_000_000];
        let taken = times.map(|now| rates.take(7, now));
        assert_eq!(taken, [true, true, true, false, false, true, false, true, true, true, true, false]);
        assert!(rates.take(8, 0), "another address");
        assert!(Rates::new(0, 10, 64, RandomState::new()).is_none());
    }

    #[test]
    fn whoever_waits_as_long_as_it_is_told_gets_one() {
        let (bucket, rate) = (Bucket::default(), Rate::new(10, 2).unwrap());
        assert_eq!([0, 0, 0].map(|now| bucket.take(now, rate)), [Ok(()), Ok(()), Err(100_000)]);
        assert_eq!([40_000, 99_999].map(|now| bucket.take(now, rate)), [Err(60_000), Err(1)]);
        assert_eq!([100_000, 100_000].map(|now| bucket.take(now, rate)), [Ok(()), Err(100_000)]);
    }

    #[test]
    fn what_costs_more_waits_for_longer() {
        let (bucket, rate) = (Bucket::default(), Rate::new(10, 5).unwrap());
        let take = |tokens, now| bucket.take(now, rate.costing(tokens));
        for (tokens, now, expected) in [
            (3, 0, Ok(())),
            (3, 0, Err(100_000)),
            (0, 0, Ok(())),
            (2, 0, Ok(())),
            (0, 0, Ok(())),
            (1, 0, Err(100_000)),
            // More than there ever are: all of them.
            (1_000, 499_999, Err(1)),
            (1_000, 500_000, Ok(())),
            (1, 500_000, Err(100_000)),
        ] {
            assert_eq!(take(tokens, now), expected, "{tokens} at {now}");
        }
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_nobody_waiting() {
        let (bucket, rate) = (Bucket::default(), Rate::new(10, 2).unwrap());
        bucket.take(3_600_000_000, rate).unwrap();
        assert_eq!([5, 100_005].map(|now| bucket.take(now, rate)), [Err(100_000), Ok(())]);
    }

    #[test]
    fn of_many_at_once_no_more_get_one_than_there_are() {
        let (bucket, rate) = (Bucket::default(), Rate::new(1, 100).unwrap());
        let take = || (0..1_000).filter(|_| bucket.take(0, rate).is_ok()).count();
        let taken: usize = std::thread::scope(|scope| {
            let threads = [(); 4].map(|()| scope.spawn(take));
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 100);
    }

    proptest! {
        #[test]
        fn nobody_gets_more_than_the_burst_and_the_rate(
            per_second in 1u32..1_000,
            burst in 1u32..20,
            steps in prop::collection::vec(0u64..50_000, 1..200),
        ) {
            let rates = Rates::new(per_second, burst, 64, RandomState::new()).unwrap();
            let (mut now, mut taken) = (0, 0);
            for step in steps {
                now += step;
                let has = rates.has(1, now);
                let took = rates.take(1, now);
                prop_assert_eq!(has, took);
                taken += u64::from(took);
                prop_assert!(taken <= u64::from(burst) + now / (1_000_000 / u64::from(per_second)));
            }
        }

        #[test]
        fn the_table_holds_whoever_comes(addresses in prop::collection::vec(any::<u64>(), 1..300)) {
            let rates = Rates::new(1, 1, 64, RandomState::new()).unwrap();
            for address in addresses {
                rates.take(address, 1);
                prop_assert!(!rates.take(address, 1), "the bucket of who was last here is known");
            }
        }
    }
}
