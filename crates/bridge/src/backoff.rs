//! When something that failed is tried again: later each time, and not by everybody at once.

use std::ops::RangeInclusive;
use std::time::Duration;

/// How long it was waited last.
#[derive(Debug)]
pub(crate) struct Backoff {
    between: RangeInclusive<Duration>,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(between: RangeInclusive<Duration>) -> Self {
        Self { next: *between.start(), between }
    }

    /// How long to wait now: half of what it may be is left to chance, which is a number from 0 to 255.
    pub(crate) fn wait(&mut self, chance: u8) -> Duration {
        let most = self.next;
        self.next = (most * 2).min(*self.between.end());
        most / 2 + most / 2 * u32::from(chance) / 255
    }

    /// It went well for so long: whatever fails next is news, unless it was so short that it is the same again.
    pub(crate) fn went_well(&mut self, lasted: Duration) {
        if lasted >= *self.between.end() {
            self.next = *self.between.start();
        }
    }
}

/// A number from 0 to 255 that nobody knows before.
pub(crate) fn chance() -> u8 {
    let mut byte = [0];
    // Without any, everybody waits equally long, which is no reason to fail.
    let _ = getrandom::fill(&mut byte);
    byte[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_longer_each_time_and_begins_anew_when_it_went_well() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100)..=ms(1_000));
        let waits: Vec<_> = (0..6).map(|_| backoff.wait(255).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1_000, 1_000]);
        assert_eq!(backoff.wait(0), ms(500));
        backoff.went_well(ms(999));
        assert_eq!(backoff.wait(255), ms(1_000));
        backoff.went_well(ms(1_000));
        assert_eq!(backoff.wait(255), ms(100));
    }
}
