//! How many are in: altogether, and from each address. Whoever has a [`Seat`] is counted until it is
//! dropped, wherever that happens.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Closed;

/// How many are in.
#[derive(Debug)]
pub(super) struct Seats {
    house: Arc<House>,
    /// The table of all who are not counted by address.
    anybody: Arc<Table>,
    per_address: u32,
}

#[derive(Debug)]
struct House {
    limit: usize,
    taken: AtomicUsize,
    /// Those who are in, by address. As large as the house at most: an address without anybody has no entry.
    tables: Mutex<HashMap<u64, Arc<Table>>>,
}

/// What all places of an address share.
#[derive(Debug)]
struct Table {
    house: Arc<House>,
    address: Option<u64>,
    /// Only looked at while the house's tables are locked.
    taken: AtomicUsize,
}

/// A place: one pointer, and nothing of its own.
#[derive(Debug)]
pub(crate) struct Seat(Arc<Table>);

impl Seats {
    /// `limit` altogether, `per_address` from each address; 0 for as many as there are.
    pub(super) fn new(limit: usize, per_address: u32) -> Self {
        let limit = if limit == 0 { usize::MAX } else { limit };
        let house = Arc::new(House { limit, taken: AtomicUsize::new(0), tables: Mutex::default() });
        let anybody =
            Arc::new(Table { house: Arc::clone(&house), address: None, taken: AtomicUsize::new(0) });
        Self { house, anybody, per_address }
    }

    /// Takes a place for somebody from `address`, where that is counted.
    pub(super) fn take(&self, address: Option<u64>) -> Result<Seat, Closed> {
        let one_more = |taken: usize| (taken < self.house.limit).then_some(taken + 1);
        let counted = self.house.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more);
        counted.map_err(|_| Closed::Full(self.house.limit))?;
        // From here on a place gives back what was counted.
        let Some(address) = address.filter(|_| self.per_address > 0) else {
            return Ok(Seat(Arc::clone(&self.anybody)));
        };
        let mut tables = self.house.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let table = tables.entry(address).or_insert_with(|| {
            Arc::new(Table {
                house: Arc::clone(&self.house),
                address: Some(address),
                taken: AtomicUsize::new(0),
            })
        });
        if table.taken.load(Ordering::Relaxed) >= self.per_address as usize {
            self.house.taken.fetch_sub(1, Ordering::AcqRel);
            return Err(Closed::Address(self.per_address));
        }
        table.taken.fetch_add(1, Ordering::Relaxed);
        Ok(Seat(Arc::clone(table)))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Table { house, address, taken } = &*self.0;
        if let Some(address) = address {
            let mut tables = house.tables.lock().unwrap_or_else(PoisonError::into_inner);
            if taken.fetch_sub(1, Ordering::Relaxed) == 1 {
                tables.remove(address);
            }
        }
        house.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_place_is_one_pointer() {
        assert_eq!(size_of::<Option<Seat>>(), size_of::<usize>());
    }

    proptest! {
        #[test]
        fn places_are_counted_exactly(
            limit in 0usize..6,
            per_address in 0u32..4,
            steps in prop::collection::vec((any::<bool>(), prop::option::of(0u64..3), 0usize..8), 0..60),
        ) {
            let seats = Seats::new(limit, per_address);
            let mut here: Vec<(Option<u64>, Seat)> = Vec::new();
            for (comes, address, index) in steps {
                if comes {
                    let same = here.iter().filter(|(one, _)| *one == address).count();
                    let taken = seats.take(address);
                    if limit != 0 && here.len() >= limit {
                        prop_assert_eq!(taken.unwrap_err(), Closed::Full(limit));
                    } else if address.is_some() && per_address != 0 && same >= per_address as usize {
                        prop_assert_eq!(taken.unwrap_err(), Closed::Address(per_address));
                    } else {
                        here.push((address, taken.unwrap()));
                    }
                } else if index < here.len() {
                    here.swap_remove(index);
                }
                prop_assert_eq!(seats.house.taken.load(Ordering::Relaxed), here.len());
            }
            here.clear();
            prop_assert_eq!(seats.house.taken.load(Ordering::Relaxed), 0);
            prop_assert!(seats.house.tables.lock().unwrap().is_empty());
        }
    }
}
