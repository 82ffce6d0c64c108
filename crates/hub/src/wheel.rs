//! All timers of a shard in one place: a hashed timing wheel.
//!
//! Scheduling and firing cost the same however many timers there are, and a timer is as large as its
//! item. Nothing is ever cancelled: an item that fires too early or for something that is gone is the
//! caller's to recognise and to schedule again.

/// Timers with items of type `T`.
#[derive(Debug)]
pub struct Wheel<T> {
    slots: Vec<Vec<(u64, T)>>,
    tick_ms: u64,
    /// The first tick that has not fired yet.
    next_tick: u64,
    len: usize,
}

impl<T> Wheel<T> {
    /// A wheel of `slots` slots of `tick_ms` milliseconds, standing at `now_ms`.
    #[must_use]
    pub fn new(tick_ms: u64, slots: usize, now_ms: u64) -> Self {
        Self {
            slots: (0..slots).map(|_| Vec::new()).collect(),
            tick_ms,
            next_tick: now_ms / tick_ms + 1,
            len: 0,
        }
    }

    /// Fires `item` at the first tick that is not before `at_ms`.
    pub fn schedule(&mut self, at_ms: u64, item: T) {
        let tick = at_ms.div_ceil(self.tick_ms).max(self.next_tick);
        let slot = (tick % self.slots.len() as u64) as usize;
        self.slots[slot].push((tick, item));
        self.len += 1;
    }

    /// Moves to `now_ms` and hands every item that is due to `fire`.
    pub fn advance(&mut self, now_ms: u64, mut fire: impl FnMut(T)) {
        let now_tick = now_ms / self.tick_ms;
        // After a long stop one round over all slots is enough.
        let first = self.next_tick.max((now_tick + 1).saturating_sub(self.slots.len() as u64));
        for tick in first..=now_tick {
            let slot = (tick % self.slots.len() as u64) as usize;
            let mut index = 0;
            while index < self.slots[slot].len() {
                if self.slots[slot][index].0 <= now_tick {
                    let (_, item) = self.slots[slot].swap_remove(index);
                    self.len -= 1;
                    fire(item);
                } else {
                    index += 1;
                }
            }
            if self.slots[slot].is_empty() && self.slots[slot].capacity() > 64 {
                self.slots[slot] = Vec::new();
            }
        }
        self.next_tick = self.next_tick.max(now_tick + 1);
    }

    /// When [`Wheel::advance`] has something to do at the earliest; `None` when nothing is scheduled.
    #[must_use]
    pub fn next_ms(&self) -> Option<u64> {
        if self.len == 0 {
            return None;
        }
        let slots = self.slots.len() as u64;
        let due = (self.next_tick..self.next_tick + slots)
            .find(|tick| !self.slots[(tick % slots) as usize].is_empty())?;
        Some(due * self.tick_ms)
    }

    /// How many items are scheduled.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is scheduled.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_item_fires_once_never_early_and_within_a_tick(
            items in prop::collection::vec(0u64..5_000, 0..50),
            steps in prop::collection::vec(1u64..700, 1..40),
        ) {
            let mut wheel = Wheel::new(10, 16, 0);
            for (index, at) in items.iter().enumerate() {
                wheel.schedule(*at, index);
            }
            let (mut now, mut fired) = (0, vec![None; items.len()]);
            for step in steps.into_iter().chain([6_000]) {
                let before = now;
                now += step;
                wheel.advance(now, |index: usize| {
                    assert!(fired[index].is_none(), "fired twice");
                    fired[index] = Some((before, now));
                });
            }
            for (at, fired) in items.iter().zip(fired) {
                let (before, at_fire) = fired.expect("never fired");
                prop_assert!(at_fire >= *at);
                // It was not due a tick before the previous step yet.
                prop_assert!(before < at + 10 + 10);
            }
            prop_assert!(wheel.is_empty());
        }
    }

    #[test]
    fn it_says_when_to_come_back() {
        let mut wheel = Wheel::new(10, 16, 0);
        assert_eq!(wheel.next_ms(), None);
        wheel.schedule(95, 'a');
        assert_eq!(wheel.next_ms(), Some(100));
    }
}
