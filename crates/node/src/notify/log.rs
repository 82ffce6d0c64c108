//! What has come of the last attempts to tell a hook something. In memory: it is for whoever looks now.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use tidings_model::{NoticeId, Timestamp};
use tidings_outbound::hook::Failure;

/// Most attempts that are remembered of a hook; beyond that the oldest are forgotten.
pub const ATTEMPTS_MAX: usize = 100;

/// An attempt to tell a hook something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// When it began.
    pub at: Timestamp,
    /// How many notices it was about.
    pub notices: usize,
    /// The first of them.
    pub id: NoticeId,
    /// The type of that, as it is sent.
    pub kind: String,
    /// How long it took.
    pub took: Duration,
    /// The status of the answer, or why there is none that counts.
    pub outcome: Result<u16, Failure>,
}

impl Attempt {
    /// A word for what came of it: `accepted`, or the one of the failure.
    #[must_use]
    pub fn word(&self) -> &'static str {
        self.outcome.as_ref().map_or_else(Failure::word, |_| "accepted")
    }

    /// The status of the answer, if there was one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match &self.outcome {
            Ok(status) | Err(Failure::Refused(status)) => Some(*status),
            Err(
                Failure::Forbidden(_)
                | Failure::Unresolved(_)
                | Failure::Unreachable(_)
                | Failure::Tls(_)
                | Failure::Timeout
                | Failure::Broken(_)
                | Failure::TooLarge,
            ) => None,
        }
    }
}

/// The last attempts.
#[derive(Debug, Default)]
pub(super) struct Log(Mutex<VecDeque<Attempt>>);

impl Log {
    pub(super) fn add(&self, attempt: Attempt) {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if log.len() >= ATTEMPTS_MAX {
            log.pop_front();
        }
        log.push_back(attempt);
    }

    /// Forgets all of them.
    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// How many of the last attempts have failed in a row, and what came of the very last; `None` if that did not fail.
    pub(super) fn failing(&self) -> Option<(usize, &'static str)> {
        let log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = log.back().filter(|attempt| attempt.outcome.is_err())?;
        Some((log.iter().rev().take_while(|attempt| attempt.outcome.is_err()).count(), last.word()))
    }

    /// The newest first.
    pub(super) fn newest(&self) -> Vec<Attempt> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().rev().cloned().collect()
    }
}

/// The type of a notice, from what is sent of it.
pub(super) fn kind_of(body: &Bytes) -> String {
    #[derive(Deserialize)]
    struct Kind {
        #[serde(rename = "type")]
        kind: String,
    }
    serde_json::from_slice(body).map(|Kind { kind }| kind).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_remembered() {
        let log = Log::default();
        for number in 0..250u64 {
            log.add(Attempt {
                notices: 1,
                at: Timestamp(number),
                id: "01A".parse().unwrap(),
                kind: "online".to_owned(),
                took: Duration::ZERO,
                outcome: if number % 2 == 0 { Ok(204) } else { Err(Failure::Refused(503)) },
            });
        }
        let newest = log.newest();
        assert_eq!((newest.len(), newest[0].at, newest[99].at), (100, Timestamp(249), Timestamp(150)));
        assert_eq!((newest[0].word(), newest[0].status()), ("refused", Some(503)));
        assert_eq!((newest[1].word(), newest[1].status()), ("accepted", Some(204)));
    }

    #[test]
    fn a_body_says_what_it_is() {
        assert_eq!(kind_of(&Bytes::from_static(br#"{"id":"1","type":"left","data":{"type":"x"}}"#)), "left");
        assert_eq!(kind_of(&Bytes::from_static(b"{}")), "");
    }
}
