//! When a shard takes a breath: while messages to big rooms come faster than each can be written alone, it
//! works for a while and then lets others have the processor, for as long as nothing else is to be done.
//!
//! What comes meanwhile goes into the same writes as what was waiting already, so the room loses little by it: the system
//! calls, which are nearly all of its cost, are shared by more messages. What is for single devices ends the breath, and
//! finds a processor that is free. A room that gets no more than can be written is never held up. It knows no messages.

use std::time::Duration;

use tokio::time::Instant;

/// How long a shard works before it takes a breath.
const WORK: Duration = Duration::from_millis(2);

/// How long a breath is: the shortest that timers know.
const BREATH: Duration = Duration::from_millis(1);

/// How long a shard has been at it.
#[derive(Debug)]
pub(crate) struct Breath {
    since: Instant,
    due: bool,
}

impl Breath {
    pub(crate) fn new(now: Instant) -> Self {
        Self { since: now, due: false }
    }

    /// The end of a turn at `now`, and whether its rooms are behind.
    pub(crate) fn after_turn(&mut self, behind: bool, now: Instant) {
        if !behind {
            self.since = now;
        }
        self.due = now.duration_since(self.since) >= WORK;
    }

    /// A breath, if one is due. Whoever stops waiting for it has it begin anew.
    pub(crate) async fn take(&mut self) {
        if self.due {
            tokio::time::sleep(BREATH).await;
            self.since = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_breath_is_due_after_so_much_work_behind() {
        let start = Instant::now();
        let mut breath = Breath::new(start);
        // Milliseconds, whether rooms are behind, whether a breath is due.
        for (ms, behind, expected) in [
            (1, true, false),
            (2, true, true),
            (3, false, false),
            (4, true, false),
            (5, true, true),
            (90, false, false),
            (91, true, false),
        ] {
            let now = start + Duration::from_millis(ms);
            breath.after_turn(behind, now);
            assert_eq!(breath.due, expected, "{ms} ms");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_breath_begins_the_work_anew() {
        let start = Instant::now();
        let mut breath = Breath::new(start);
        breath.take().await;
        assert_eq!(Instant::now(), start);
        breath.after_turn(true, start + WORK);
        breath.take().await;
        assert_eq!(Instant::now(), start + BREATH);
        breath.after_turn(true, start + BREATH + WORK / 2);
        assert!(!breath.due);
    }
}
