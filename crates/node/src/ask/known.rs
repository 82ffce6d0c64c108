//! Answers that hold for a while, where the hook says so. Bounded; what does not fit is asked again.

use std::collections::HashMap;
use std::time::Duration;

use tidings_model::Timestamp;

/// Most answers that are known of one hook.
const ANSWERS_MAX: usize = 10_000;

/// For how long an answer holds at most.
pub(super) const HOLDS_MAX: Duration = Duration::from_secs(3_600);

/// Answers, by the digest of what was asked.
#[derive(Debug)]
pub(super) struct Known<T> {
    answers: HashMap<[u8; 32], (Timestamp, T)>,
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self { answers: HashMap::new() }
    }
}

impl<T: Clone> Known<T> {
    /// The answer, if it still holds.
    pub(super) fn get(&self, asked: &[u8; 32], now: Timestamp) -> Option<T> {
        let (until, answer) = self.answers.get(asked)?;
        // No longer than it can have held, whatever the clock does.
        (now < *until && until.since(now) <= HOLDS_MAX).then(|| answer.clone())
    }

    /// From now on this is known, for so long.
    pub(super) fn learn(&mut self, asked: [u8; 32], answer: T, holds: Duration, now: Timestamp) {
        if holds.is_zero() {
            return;
        }
        if self.answers.len() >= ANSWERS_MAX {
            self.answers.retain(|_, (until, _)| now < *until);
        }
        if self.answers.len() < ANSWERS_MAX {
            self.answers.insert(asked, (now.after(holds.min(HOLDS_MAX)), answer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_holds_for_as_long_as_was_said() {
        let mut known = Known::default();
        let now = Timestamp(1_000_000);
        let digest = |number: u32| {
            let mut digest = [0; 32];
            digest[..4].copy_from_slice(&number.to_le_bytes());
            digest
        };
        known.learn(digest(1), "yes", Duration::from_secs(10), now);
        known.learn(digest(2), "not kept", Duration::ZERO, now);
        known.learn(digest(3), "an hour at most", Duration::from_secs(1 << 30), now);
        for (number, after, expected) in [
            (1, 0, Some("yes")),
            (1, 9_999, Some("yes")),
            (1, 10_000, None),
            (2, 0, None),
            (3, 3_599_999, Some("an hour at most")),
            (3, 3_600_000, None),
            (4, 0, None),
        ] {
            let at = now.after(Duration::from_millis(after));
            assert_eq!(known.get(&digest(number), at), expected, "{number} after {after}");
        }
        for number in 10..20_000 {
            known.learn(digest(number), "many", Duration::from_secs(1), now);
        }
        assert_eq!(known.answers.len(), ANSWERS_MAX);
        known.learn(
            digest(5),
            "there is room again",
            Duration::from_secs(1),
            now.after(Duration::from_secs(2)),
        );
        assert_eq!(known.answers.len(), 3);
    }
}
