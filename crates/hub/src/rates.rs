//! How often something may come from one address: a token bucket for each, in a table that does not grow.
//! Time comes in as an argument.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};

/// Addresses in a row. When one more comes, the bucket that is nearest to full is forgotten: whoever comes
/// from more addresses at once than the table has room for is limited less sharply, and the table stays as it is.
const WAYS: usize = 4;

/// How often something may come from each address.
#[derive(Debug)]
pub struct Rates {
    rows: Vec<Mutex<[Bucket; WAYS]>>,
    hasher: RandomState,
    /// How long a token takes to come back, in microseconds.
    token: u64,
    /// How long an empty bucket takes to fill.
    depth: u64,
}

/// The bucket of an address. All that has to be known of it is when it will be full again.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    address: u64,
    full_at: u64,
}

impl Rates {
    /// Allows `per_second`, and `burst` at once, to about as many addresses as said, 16 bytes each; `None` when
    /// everything is allowed.
    #[must_use]
    pub fn new(per_second: u32, burst: u32, addresses: usize, hasher: RandomState) -> Option<Self> {
        let token = 1_000_000_u64.checked_div(u64::from(per_second))?.max(1);
        let rows = (0..addresses.div_ceil(WAYS).max(1)).map(|_| Mutex::default()).collect();
        Some(Self { rows, hasher, token, depth: token * u64::from(burst.max(1)) })
    }

    /// Takes a token of an address at `now` microseconds; false when it has none.
    pub fn take(&self, address: u64, now: u64) -> bool {
        let row = &self.rows[self.hasher.hash_one(address) as usize % self.rows.len()];
        let mut row = row.lock().unwrap_or_else(PoisonError::into_inner);
        let fullest = |row: &[Bucket; WAYS]| {
            let ways = row.iter().enumerate();
            ways.min_by_key(|(_, bucket)| bucket.full_at).map_or(0, |(index, _)| index)
        };
        let way = match row.iter().position(|bucket| bucket.address == address) {
            Some(way) => way,
            None => {
                let way = fullest(&row);
                row[way] = Bucket { address, full_at: now };
                way
            }
        };
        let full_at = row[way].full_at.max(now) + self.token;
        if full_at - now > self.depth {
            return false;
        }
        row[way].full_at = full_at;
        true
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
                taken += u64::from(rates.take(1, now));
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
