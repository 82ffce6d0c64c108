//! What every store decides the same way: whether a message came before, and which stretch of a topic
//! answers a question. It knows no storage.

use std::sync::Arc;
use std::time::Duration;

use tidings_model::{Epoch, Message, Seq, Timestamp};

use crate::StoreError;
use crate::kv::message_id::KnownId;
use crate::port::{DueKind, From, LogSlice, NewMessage};

/// For how long a message id is taken.
pub(crate) const ID_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);

/// Longest key of a setting, in bytes.
pub(crate) const SETTING_KEY_BYTES_MAX: usize = 1_024;

/// Refuses a key that is too long for a setting.
pub(crate) fn check_setting(key: &str) -> Result<(), StoreError> {
    if key.len() > SETTING_KEY_BYTES_MAX {
        let text =
            format!("a setting has a key of {} bytes, the limit is {SETTING_KEY_BYTES_MAX}", key.len());
        return Err(StoreError::Io(text));
    }
    Ok(())
}

/// Whether a message came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Its id is free (again).
    New,
    /// It is a retry of this message.
    Duplicate(Seq),
    /// Its id belongs to another push.
    Conflict,
}

/// Whether a message came before, seen from what is known under its id.
pub(crate) fn verdict(known: Option<&KnownId>, new: &KnownId) -> Verdict {
    match known {
        Some(known) if new.accepted_at.since(known.accepted_at) < ID_WINDOW => {
            if known.fingerprint == new.fingerprint {
                Verdict::Duplicate(known.seq)
            } else {
                Verdict::Conflict
            }
        }
        Some(_) | None => Verdict::New,
    }
}

/// The message as it will be stored, with number and offsets still 0.
pub(crate) fn draft(new: NewMessage, epoch: Epoch) -> Message {
    debug_assert!(
        !new.topics.is_empty() || new.deliver_at.is_some(),
        "a message has at least one topic, unless it is scheduled"
    );
    Message {
        namespace: new.namespace,
        seq: Seq(0),
        id: new.id,
        event: new.event,
        data: new.data,
        to: new.to,
        except: new.except,
        topics: new.topics.into_iter().map(|topic| (topic, 0)).collect(),
        epoch,
        meant: new.meant,
        accepted_at: new.accepted_at,
        expires_at: new.expires_at,
        priority: new.priority,
        keep: new.keep,
        collapse_key: new.collapse_key,
        deliver_at: new.deliver_at,
        sent_at: new.sent_at,
        escalate_after: new.escalate_after,
        offline: new.offline,
        recalls: new.recalls,
    }
}

/// Most messages that a collapse key is known by: who is away longer than that many messages which were each for
/// somebody else may get one that a newer one would have replaced.
const COLLAPSE_MESSAGES_MAX: usize = 64;

/// Whether a message takes the place of older ones with its collapse key. One that does not wait for who is away
/// cannot stand for one that does.
pub(crate) fn collapses(new: &Message) -> bool {
    new.collapse_key.is_some() && new.keep && !new.is_scheduled()
}

/// Of the messages that a collapse key is known by, those whose place a new one takes; and what the key is known by
/// then, without the new one.
pub(crate) fn collapse(older: Vec<Arc<Message>>, new: &Message) -> (Vec<Arc<Message>>, Vec<Seq>) {
    let (mut superseded, mut left) = (Vec::new(), Vec::new());
    for old in older.into_iter().filter(|old| old.is_live(new.sent_at)) {
        if !old.meant.is_subset(&new.meant) {
            left.push(old.seq);
        }
        if !old.meant.is_disjoint(&new.meant) {
            superseded.push(old);
        }
    }
    let surplus = (left.len() + 1).saturating_sub(COLLAPSE_MESSAGES_MAX);
    left.drain(..surplus);
    (superseded, left)
}

/// The deadlines that a message leaves behind when it is appended.
pub(crate) fn deadlines(message: &Message) -> Vec<(Timestamp, DueKind)> {
    if message.is_scheduled() {
        return message.deliver_at.map(|at| (at, DueKind::Deliver)).into_iter().collect();
    }
    // The announcement of a recall is nothing that anybody asked for: nobody counts it, and nobody is woken for it.
    if message.recalls.is_some() {
        return Vec::new();
    }
    let escalate = message
        .escalate_after
        .map(|after| (round_up(message.sent_at.after(after), ESCALATE_GRAIN_MS), DueKind::Escalate(0)));
    let over = message.expires_at.max(message.sent_at);
    let expire = (over < Timestamp::NEVER).then(|| (round_up(over, EXPIRE_GRAIN_MS), DueKind::Expire));
    escalate.into_iter().chain(expire).collect()
}

/// Deadlines within so many milliseconds fall together, and share an entry when their messages come together.
const ESCALATE_GRAIN_MS: u64 = 100;

/// The same for the end of messages, which only statistics wait for.
const EXPIRE_GRAIN_MS: u64 = 10_000;

fn round_up(at: Timestamp, grain: u64) -> Timestamp {
    Timestamp(at.0.div_ceil(grain).saturating_mul(grain))
}

/// The stretch of a topic after `from`, at most `limit` entries. `backwards` yields the entries of the
/// topic, newest first; only as many are taken as are needed to answer.
pub(crate) fn slice(
    from: From,
    limit: usize,
    backwards: impl Iterator<Item = Result<(u64, Seq), StoreError>>,
) -> Result<LogSlice, StoreError> {
    let mut slice = LogSlice::default();
    let mut oldest = None;
    for entry in backwards {
        let (offset, seq) = entry?;
        slice.head = slice.head.max(offset);
        oldest = Some(offset);
        let wanted = match from {
            From::After(after) => seq > after,
            From::AfterOffset(after) => offset > after,
        };
        if !wanted {
            // Nothing is missing, unless the question is about offsets that the topic has not reached.
            slice.truncated = matches!(from, From::AfterOffset(after) if after > slice.head);
            slice.entries.reverse();
            return Ok(slice);
        }
        if slice.entries.len() == limit {
            slice.truncated = true;
            slice.entries.reverse();
            return Ok(slice);
        }
        slice.entries.push((offset, seq));
    }
    // The log was read to its beginning. Whatever has been trimmed from there may have been wanted.
    slice.truncated = match (from, oldest) {
        (From::After(_), Some(oldest)) => oldest > 1,
        (From::After(_), None) => false,
        (From::AfterOffset(after), Some(oldest)) => oldest > after + 1,
        (From::AfterOffset(after), None) => after > 0,
    };
    slice.entries.reverse();
    Ok(slice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidings_model::Timestamp;

    fn known(seq: u64, at: u64, print: u8) -> KnownId {
        KnownId { seq: Seq(seq), accepted_at: Timestamp(at), fingerprint: [print; 16] }
    }

    #[test]
    fn an_id_is_taken_for_a_day() {
        let day = 24 * 60 * 60 * 1000;
        let first = known(7, 1_000, 1);
        for (new, expected) in [
            (known(0, 1_000, 1), Verdict::Duplicate(Seq(7))),
            (known(0, 1_000 + day - 1, 1), Verdict::Duplicate(Seq(7))),
            (known(0, 1_000 + day - 1, 2), Verdict::Conflict),
            (known(0, 1_000 + day, 1), Verdict::New),
            (known(0, 1_000 + day, 2), Verdict::New),
            // A clock that goes back makes nothing older.
            (known(0, 0, 1), Verdict::Duplicate(Seq(7))),
        ] {
            assert_eq!(verdict(Some(&first), &new), expected, "{new:?}");
        }
        assert_eq!(verdict(None, &first), Verdict::New);
    }

    /// Offsets 3, 4, 5 with the numbers 30, 40, 50: 1 and 2 have been trimmed.
    fn ask(from: From, limit: usize) -> (Vec<u64>, bool, u64) {
        let log = [(5, 50), (4, 40), (3, 30)];
        let slice = slice(from, limit, log.into_iter().map(|(offset, seq)| Ok((offset, Seq(seq))))).unwrap();
        (slice.entries.iter().map(|entry| entry.0).collect(), slice.truncated, slice.head)
    }

    #[test]
    fn a_trimmed_log_says_so() {
        for (from, limit, expected) in [
            (From::AfterOffset(0), 9, (vec![3, 4, 5], true, 5)),
            (From::AfterOffset(1), 9, (vec![3, 4, 5], true, 5)),
            (From::AfterOffset(2), 9, (vec![3, 4, 5], false, 5)),
            (From::AfterOffset(3), 9, (vec![4, 5], false, 5)),
            (From::AfterOffset(3), 1, (vec![5], true, 5)),
            (From::AfterOffset(3), 0, (vec![], true, 5)),
            (From::AfterOffset(5), 0, (vec![], false, 5)),
            (From::AfterOffset(6), 9, (vec![], true, 5)),
            (From::After(Seq(0)), 9, (vec![3, 4, 5], true, 5)),
            (From::After(Seq(29)), 9, (vec![3, 4, 5], true, 5)),
            (From::After(Seq(30)), 9, (vec![4, 5], false, 5)),
            (From::After(Seq(45)), 9, (vec![5], false, 5)),
            (From::After(Seq(50)), 9, (vec![], false, 5)),
            (From::After(Seq(30)), 1, (vec![5], true, 5)),
        ] {
            assert_eq!(ask(from, limit), expected, "{from:?} {limit}");
        }
    }
}
