//! `due`: what is to happen to messages at some time.
//!
//! Owner: the verbs `append` and `deal`. Lifetime: until it has been dealt with.
//! Key: queue (1), time (8), rung (1; 0 where there is none, 255 for what is looked at again), namespace, number of the first message (8). Value: the
//! numbers of the other messages (8 each).
//!
//! Time comes before everything else in a queue, so that what is due next is found at once, whatever namespace it
//! belongs to. Messages of one batch that are due together share an entry.

use tidings_model::{NamespaceName, Seq, Timestamp};

use super::codec::{self, Broken, Put, Reader};
use crate::port::{Due, DueKind, DueQueue};

const VERSION: u8 = 1;

/// What stands where a rung would, in what is looked at again.
const AGAIN: u8 = u8::MAX;

/// The key of an entry.
#[must_use]
pub fn key(due: &Due) -> Vec<u8> {
    let mut key = time(due.what.queue(), due.at);
    key.put_u8(match due.what {
        DueKind::Escalate(rung) => rung,
        DueKind::Again => AGAIN,
        DueKind::Deliver | DueKind::Expire => 0,
    });
    key.put_name(due.namespace.as_str());
    key.put_u64(due.seqs.first().copied().unwrap_or_default().0);
    key
}

/// The beginning of the keys of all that is due at this time.
#[must_use]
pub fn time(queue: DueQueue, at: Timestamp) -> Vec<u8> {
    let mut key = Vec::with_capacity(8 + 2 + 51 + 8);
    key.put_u8(queue as u8);
    key.put_u64(at.0);
    key
}

/// What no key of a queue reaches.
#[must_use]
pub fn end(queue: DueQueue) -> Vec<u8> {
    vec![queue as u8 + 1]
}

/// When the entry with this key is due.
///
/// # Errors
/// [`Broken`] when it is no such key.
pub fn at(key: &[u8]) -> Result<Timestamp, Broken> {
    let mut reader = Reader(key);
    reader.u8()?;
    reader.u64().map(Timestamp)
}

/// Whether a key is one of this namespace.
#[must_use]
pub fn is_of(key: &[u8], namespace: &NamespaceName) -> bool {
    key.get(10..).and_then(|rest| Reader(rest).namespace().ok()).as_ref() == Some(namespace)
}

/// The value of an entry.
#[must_use]
pub fn value(key: &[u8], due: &Due) -> Vec<u8> {
    let others = due.seqs.get(1..).unwrap_or_default();
    let mut value = codec::unsealed(4 + others.len() * 8);
    value.put_list(others, |value, seq| value.put_u64(seq.0));
    codec::seal(VERSION, key, value)
}

/// Reads an entry.
///
/// # Errors
/// [`Broken`] when key or value are not what was written.
pub fn decode(key: &[u8], value: &[u8]) -> Result<Due, Broken> {
    let mut reader = Reader(key);
    let (queue, at, rung) = (reader.u8()?, Timestamp(reader.u64()?), reader.u8()?);
    let what = match (queue, rung) {
        (0, 0) => DueKind::Deliver,
        (1, AGAIN) => DueKind::Again,
        (1, rung) => DueKind::Escalate(rung),
        (2, 0) => DueKind::Expire,
        (kind, _) => return Err(Broken::Choice(kind)),
    };
    let namespace = reader.namespace()?;
    let mut seqs = vec![Seq(reader.u64()?)];
    reader.end()?;
    let mut reader = codec::open(VERSION, key, value)?;
    seqs.extend(reader.list(|reader| reader.u64().map(Seq))?);
    reader.end()?;
    Ok(Due { at, what, namespace, seqs })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::codec::arbitrary::{namespace, no_bit_may_flip, unhex};
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn any_due() -> impl Strategy<Value = Due> {
        let kinds = prop_oneof![
            Just(DueKind::Deliver),
            (0..AGAIN).prop_map(DueKind::Escalate),
            Just(DueKind::Again),
            Just(DueKind::Expire)
        ];
        (any::<u64>(), kinds, namespace(), vec(any::<u64>(), 1..5)).prop_map(|(at, what, namespace, seqs)| {
            Due { at: Timestamp(at), what, namespace, seqs: seqs.into_iter().map(Seq).collect() }
        })
    }

    proptest! {
        #[test]
        fn reads_back(due in any_due()) {
            let key = key(&due);
            prop_assert!(is_of(&key, &due.namespace));
            prop_assert_eq!(at(&key), Ok(due.at));
            prop_assert_eq!(decode(&key, &value(&key, &due)), Ok(due));
        }

        #[test]
        fn keys_sort_by_time(one in any_due(), other in any_due()) {
            if one.what.queue() == other.what.queue() && one.at != other.at {
                prop_assert_eq!(key(&one).cmp(&key(&other)), one.at.cmp(&other.at));
            }
        }

        #[test]
        fn garbage_never_panics(key in vec(any::<u8>(), 0..40), value in vec(any::<u8>(), 0..60)) {
            let _ = decode(&key, &value);
        }
    }

    fn example() -> Due {
        Due {
            at: Timestamp(1000),
            what: DueKind::Escalate(1),
            namespace: "demo".parse().unwrap(),
            seqs: vec![Seq(258), Seq(260)],
        }
    }

    #[test]
    fn old_bytes_still_decode() {
        let key = unhex("01 00000000000003e8 01 0464656d6f 0000000000000102");
        assert_eq!(key, super::key(&example()));
        let old = unhex(OLD);
        assert_eq!(decode(&key, &old), Ok(example()), "{}", codec::hex(&value(&key, &example())));
    }

    const OLD: &str = "012aad1707000000010000000000000104";

    #[test]
    fn a_flipped_bit_is_noticed() {
        let key = key(&example());
        no_bit_may_flip(&value(&key, &example()), |value| decode(&key, value));
    }
}
