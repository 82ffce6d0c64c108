//! What every store decides the same way: whether a message came before, and which stretch of a topic
//! answers a question. It knows no storage.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tidings_model::{Epoch, Message, MessageId, Seq, Timestamp, limit};

use crate::StoreError;
use crate::kv::message_id::KnownId;
use crate::port::{Bucket, DueKind, From, LogSlice, NewId, NewMessage};

/// For how long a message id is taken.
pub(crate) const ID_WINDOW: Duration = Duration::from_secs(limit::ID_SECS);

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

/// What a message is called that waits for its id.
static UNMADE: LazyLock<MessageId> = LazyLock::new(|| MessageId::made(Timestamp(0), Seq(0), 0));

/// The message as it will be stored, with number and offsets still 0.
pub(crate) fn draft(new: NewMessage, epoch: Epoch) -> Message {
    debug_assert!(
        !new.topics.is_empty() || new.deliver_at.is_some(),
        "a message has at least one topic, unless it is scheduled"
    );
    Message {
        namespace: new.namespace,
        seq: Seq(0),
        id: match new.id {
            NewId::Chosen(id) | NewId::Kept(id) => id,
            // Until it has a number.
            NewId::Made { .. } => UNMADE.clone(),
        },
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
        from: new.from,
        aside: new.aside,
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
    // What does not wait is over at once, while it may still be on its way to a big room.
    let over = if message.keep { over } else { over.after(Duration::from_millis(EXPIRE_GRAIN_MS)) };
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

/// Most bytes in a bucket. A message that would make it more begins the next one.
pub(crate) const BUCKET_BYTES: u64 = 16 << 20;

const HOUR_MS: u64 = 60 * 60 * 1_000;

/// Puts a message that takes so many bytes into the newest bucket of its namespace, or begins another one. A clock
/// that was set back for more than an hour begins another one too: no bucket is older than its messages.
pub(crate) fn fill(newest: Option<Bucket>, message: &Message, bytes: u64) -> Bucket {
    let (at, hour) = (message.sent_at, message.sent_at.0 / HOUR_MS);
    let goes_in = |bucket: &Bucket| {
        let begun = bucket.since.0 / HOUR_MS;
        (hour == begun || hour + 1 == begun) && bucket.bytes.saturating_add(bytes) <= BUCKET_BYTES
    };
    let fresh = Bucket {
        first: message.seq,
        last: message.seq,
        messages: 0,
        bytes: 0,
        since: at,
        until: at,
        expires_at: Timestamp(0),
        scheduled: 0,
    };
    let mut bucket = newest.filter(goes_in).unwrap_or(fresh);
    bucket.last = message.seq;
    bucket.messages += 1;
    bucket.bytes += bytes;
    bucket.until = bucket.until.max(at);
    if message.is_scheduled() {
        bucket.scheduled += 1;
    } else {
        bucket.expires_at = bucket.expires_at.max(message.expires_at);
    }
    bucket
}

/// The stretch of a topic after `from`, at most `limit` entries. `backwards` yields the entries of the
/// topic, newest first; only as many are taken as are needed to answer. Whatever has a number up to `trimmed` is
/// gone, but some of it may be among them: at least the newest entry of the topic, if it is that old.
pub(crate) fn slice(
    from: From,
    limit: usize,
    trimmed: Seq,
    backwards: impl Iterator<Item = Result<(u64, Seq), StoreError>>,
) -> Result<LogSlice, StoreError> {
    let mut slice = LogSlice::default();
    let (mut oldest, mut newest) = (None, None);
    for entry in backwards {
        let (offset, seq) = entry?;
        slice.head = slice.head.max(offset);
        newest = newest.or(Some(seq));
        if seq <= trimmed {
            break;
        }
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
    let gone = oldest.map_or(slice.head, |oldest| oldest - 1);
    slice.truncated = match from {
        From::After(after) => gone > 0 && after < trimmed && newest.is_some_and(|newest| newest > after),
        From::AfterOffset(after) => gone > after || after > slice.head,
    };
    slice.entries.reverse();
    Ok(slice)
}

#[cfg(test)]
mod tests {
    use super::*;

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

    /// Offsets 3, 4, 5 with the numbers 30, 40, 50. What was trimmed may or may not be there still.
    fn ask(trimmed: u64, from: From, limit: usize) -> (Vec<u64>, bool, u64) {
        let ask = |log: &[(u64, u64)]| {
            let backwards = log.iter().map(|(offset, seq)| Ok((*offset, Seq(*seq))));
            let slice = slice(from, limit, Seq(trimmed), backwards).unwrap();
            (slice.entries.iter().map(|entry| entry.0).collect(), slice.truncated, slice.head)
        };
        let log = [(5, 50), (4, 40), (3, 30), (2, 20), (1, 10)];
        let there = log.iter().filter(|(_, seq)| *seq > trimmed).count().max(1);
        let answer = ask(&log[..there]);
        for rest in there..=log.len() {
            assert_eq!(ask(&log[..rest]), answer, "{trimmed} {from:?} {limit}: {rest}");
        }
        answer
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
            (From::After(Seq(28)), 9, (vec![3, 4, 5], true, 5)),
            (From::After(Seq(29)), 9, (vec![3, 4, 5], false, 5)),
            (From::After(Seq(30)), 9, (vec![4, 5], false, 5)),
            (From::After(Seq(45)), 9, (vec![5], false, 5)),
            (From::After(Seq(50)), 9, (vec![], false, 5)),
            (From::After(Seq(30)), 1, (vec![5], true, 5)),
        ] {
            assert_eq!(ask(29, from, limit), expected, "{from:?} {limit}");
        }
        // All of it is gone.
        for (from, limit, expected) in [
            (From::AfterOffset(0), 9, (vec![], true, 5)),
            (From::AfterOffset(4), 9, (vec![], true, 5)),
            (From::AfterOffset(5), 9, (vec![], false, 5)),
            (From::AfterOffset(6), 9, (vec![], true, 5)),
            (From::AfterOffset(u64::MAX), 0, (vec![], true, 5)),
            (From::After(Seq(0)), 9, (vec![], true, 5)),
            (From::After(Seq(49)), 9, (vec![], true, 5)),
            (From::After(Seq(50)), 9, (vec![], false, 5)),
            (From::After(Seq(60)), 9, (vec![], false, 5)),
        ] {
            assert_eq!(ask(60, from, limit), expected, "{from:?} {limit}");
        }
    }

    fn at(seq: u64, sent_at: u64, expires_at: u64) -> Message {
        let mut message = draft(crate::conformance::given::message("m", &["all"]), Epoch(1));
        (message.seq, message.sent_at) = (Seq(seq), Timestamp(sent_at));
        message.expires_at = Timestamp(expires_at);
        message
    }

    #[test]
    fn a_bucket_is_an_hour_and_not_too_large() {
        let first = fill(None, &at(1, HOUR_MS, HOUR_MS + 9), 100);
        let second = fill(Some(first), &at(2, 2 * HOUR_MS - 1, HOUR_MS + 5), 50);
        let expected = Bucket {
            first: Seq(1),
            last: Seq(2),
            messages: 2,
            bytes: 150,
            since: Timestamp(HOUR_MS),
            until: Timestamp(2 * HOUR_MS - 1),
            expires_at: Timestamp(HOUR_MS + 9),
            scheduled: 0,
        };
        assert_eq!(second, expected);
        let mut scheduled = at(3, HOUR_MS, 90 * HOUR_MS);
        scheduled.topics.clear();
        let with = fill(Some(second), &scheduled, 1);
        assert_eq!((with.scheduled, with.expires_at, with.messages), (1, second.expires_at, 3));
        for (what, sent_at, bytes, first) in [
            ("the same hour", HOUR_MS + 1, 1, 1),
            ("the next hour", 2 * HOUR_MS, 1, 3),
            ("a clock set back a little", HOUR_MS - 1, 1, 1),
            ("a clock set back much", 0, 1, 1),
            ("as much as fits", HOUR_MS, BUCKET_BYTES - 150, 1),
            ("more than fits", HOUR_MS, BUCKET_BYTES - 149, 3),
        ] {
            assert_eq!(fill(Some(second), &at(3, sent_at, 0), bytes).first, Seq(first), "{what}");
        }
        let later = fill(None, &at(1, 9 * HOUR_MS, 0), 1);
        assert_eq!(fill(Some(later), &at(2, 7 * HOUR_MS, 0), 1).first, Seq(2));
    }
}
