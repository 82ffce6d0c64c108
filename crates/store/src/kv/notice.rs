//! `notice`: something that a hook is to be told.
//!
//! Owner: the verbs `enqueue`, `attempt`, `bury`, `revive` and `remove`. Lifetime: until the hook has heard it; when it was
//! given up, until there are too many.
//! Key: namespace, hook, pile (1: 0 for what waits, 1 for what was given up), the id as it is. Value: since when it
//! waits (8), how many attempts have failed (4), since when the hook fails (8), when it is tried next (8), the body.

use bytes::Bytes;
use tidings_model::{HookName, NoticeId, Timestamp};

use super::codec::{self, Broken, Put, Reader};
use crate::port::{HookKey, Pile, Tries, WaitingNotice};

const VERSION: u8 = 1;

/// The beginning of all keys of a pile.
#[must_use]
pub fn prefix(of: &HookKey, pile: Pile) -> Vec<u8> {
    let mut key = codec::namespace_prefix(&of.namespace, 1 + of.hook.as_str().len() + 1 + 32);
    key.put_name(of.hook.as_str());
    key.put_u8(match pile {
        Pile::Waiting => 0,
        Pile::Dead => 1,
    });
    key
}

/// The key of a notice.
#[must_use]
pub fn key(of: &HookKey, pile: Pile, id: &NoticeId) -> Vec<u8> {
    let mut key = prefix(of, pile);
    key.extend_from_slice(id.as_str().as_bytes());
    key
}

/// Reads a key.
///
/// # Errors
/// [`Broken`] when it is none.
pub fn decode_key(key: &[u8]) -> Result<(HookKey, Pile, NoticeId), Broken> {
    let mut reader = Reader(key);
    let of = HookKey { namespace: reader.namespace()?, hook: HookName::new(reader.name()?)? };
    let pile = match reader.u8()? {
        0 => Pile::Waiting,
        1 => Pile::Dead,
        other => return Err(Broken::Choice(other)),
    };
    let id = std::str::from_utf8(reader.0).map_err(|_| Broken::Name)?;
    Ok((of, pile, NoticeId::new(id)?))
}

/// The value of a notice.
#[must_use]
pub fn value(key: &[u8], notice: &WaitingNotice) -> Vec<u8> {
    let mut value = codec::unsealed(8 + 4 + 8 + 8 + notice.body.len());
    value.put_u64(notice.since.0);
    value.put_u32(notice.attempts.failed);
    value.put_u64(notice.attempts.failing_since.0);
    value.put_u64(notice.attempts.next_at.0);
    value.extend_from_slice(&notice.body);
    codec::seal(VERSION, key, value)
}

/// Reads a notice.
///
/// # Errors
/// [`Broken`] when key or value are not what was written.
pub fn decode(key: &[u8], value: &[u8]) -> Result<WaitingNotice, Broken> {
    let (_, _, id) = decode_key(key)?;
    let mut reader = codec::open(VERSION, key, value)?;
    Ok(WaitingNotice {
        id,
        since: Timestamp(reader.u64()?),
        attempts: Tries {
            failed: reader.u32()?,
            failing_since: Timestamp(reader.u64()?),
            next_at: Timestamp(reader.u64()?),
        },
        body: Bytes::copy_from_slice(reader.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::codec::arbitrary::{name, namespace, no_bit_may_flip, unhex};
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn any_key() -> impl Strategy<Value = (HookKey, Pile, NoticeId)> {
        let pile = prop_oneof![Just(Pile::Waiting), Just(Pile::Dead)];
        (namespace(), namespace(), pile, name::<NoticeId>()).prop_map(|(namespace, hook, pile, id)| {
            let hook = HookName::new(hook.as_str()).unwrap();
            (HookKey { namespace, hook }, pile, id)
        })
    }

    proptest! {
        #[test]
        fn reads_back(
            (of, pile, id) in any_key(), since: u64, failed: u32, failing_since: u64, next_at: u64,
            body in vec(any::<u8>(), 0..60),
        ) {
            let key = key(&of, pile, &id);
            prop_assert_eq!(decode_key(&key), Ok((of, pile, id.clone())));
            let attempts =
                Tries { failed, failing_since: Timestamp(failing_since), next_at: Timestamp(next_at) };
            let notice = WaitingNotice { id, since: Timestamp(since), body: body.into(), attempts };
            prop_assert_eq!(decode(&key, &value(&key, &notice)), Ok(notice));
        }

        #[test]
        fn garbage_never_panics(key in vec(any::<u8>(), 0..40), value in vec(any::<u8>(), 0..60)) {
            let _ = decode(&key, &value);
        }
    }

    fn example() -> (HookKey, WaitingNotice) {
        let attempts = Tries { failed: 3, failing_since: Timestamp(1000), next_at: Timestamp(1258) };
        let body = Bytes::from_static(b"{}");
        let notice = WaitingNotice { id: "01A".parse().unwrap(), since: Timestamp(999), body, attempts };
        (HookKey { namespace: "demo".parse().unwrap(), hook: "crm".parse().unwrap() }, notice)
    }

    #[test]
    fn old_bytes_still_decode() {
        let (of, notice) = example();
        let key = unhex("0464656d6f 0363726d 01 303141");
        assert_eq!(key, super::key(&of, Pile::Dead, &notice.id));
        let old = unhex(OLD);
        assert_eq!(decode(&key, &old), Ok(notice.clone()), "{}", codec::hex(&value(&key, &notice)));
    }

    const OLD: &str = "016a682e1000000000000003e70000000300000000000003e800000000000004ea7b7d";

    #[test]
    fn a_flipped_bit_is_noticed() {
        let (of, notice) = example();
        let key = key(&of, Pile::Waiting, &notice.id);
        no_bit_may_flip(&value(&key, &notice), |value| decode(&key, value));
    }
}
