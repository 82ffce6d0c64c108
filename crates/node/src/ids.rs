//! Ids that the node makes up.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

use tidings_model::{DeviceId, NoticeId, Ordinal, Seq, Timestamp, ulid};

use crate::notify::NoticeKind;

/// Makes ids of notices: ULIDs with random bits, which within a millisecond count up.
#[derive(Debug, Default)]
pub struct NoticeIds {
    last: Mutex<(u64, u128)>,
}

impl NoticeIds {
    /// The next id.
    pub fn next(&self, now: Timestamp) -> NoticeId {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = if now.0 > last.0 {
            // The top bit stays free, so that counting up never wraps within a millisecond.
            (now.0, u128::from_le_bytes(random()) & ((1 << (ulid::LOW_BITS - 1)) - 1))
        } else {
            (last.0, last.1 + 1)
        };
        notice(Timestamp(last.0), last.1)
    }
}

/// What the ids of messages have besides their time and number: bits that nobody can foresee.
#[derive(Debug, Default)]
pub struct Salts {
    keys: RandomState,
    count: AtomicU64,
}

impl Salts {
    /// The next one.
    pub fn next(&self) -> u32 {
        self.keys.hash_one(self.count.fetch_add(1, Ordering::Relaxed)) as u32
    }
}

/// The id of what hooks are told of a message on its way to a device, which is one thing of a kind and a rung: the same
/// whenever it is made, so that who is told twice can know it. Sorted by time, message and device.
pub(crate) fn notice_id(at: Timestamp, seq: Seq, device: Ordinal, kind: NoticeKind, rung: u8) -> NoticeId {
    let which = (kind as u8) << 4 | rung & 0xf;
    let low = u128::from(seq.0) << 40 | u128::from(device.0) << 8 | u128::from(which);
    notice(at, low)
}

fn notice(at: Timestamp, low: u128) -> NoticeId {
    NoticeId::new(&ulid::encode(at, low)).unwrap_or_else(|_| unreachable!("26 letters and digits are a name"))
}

/// A device id for a client that brought none: nobody can guess it.
#[must_use]
pub fn device_id() -> DeviceId {
    let text = format!("dev-{}", token());
    DeviceId::new(&text).unwrap_or_else(|_| unreachable!("letters and digits are a name"))
}

/// What the ids of devices begin with that are there for one connection only.
pub const PASSING: &str = "passing-";

/// The id of a device that is there for one connection only: it is forgotten when that ends.
#[must_use]
pub fn passing_device_id() -> DeviceId {
    let text = format!("{PASSING}{}", token());
    DeviceId::new(&text).unwrap_or_else(|_| unreachable!("letters and digits are a name"))
}

/// Whether a device is there for one connection only.
#[must_use]
pub fn is_passing(device: &DeviceId) -> bool {
    device.as_str().starts_with(PASSING)
}

/// 128 random bits as 26 letters and digits.
#[must_use]
pub fn token() -> String {
    spelled(u128::from_le_bytes(random()))
}

/// What looks like a [`token`], for what has to be unlike all others but is no secret: the operating system is not asked.
#[must_use]
pub fn distinct() -> String {
    static KEYS: LazyLock<[RandomState; 2]> = LazyLock::new(Default::default);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let [high, low] = KEYS.each_ref().map(|keys| u128::from(keys.hash_one(count)));
    spelled(high << 64 | low)
}

fn spelled(number: u128) -> String {
    (0..26)
        .map(|i| char::from(ulid::ALPHABET[(number >> (5 * i)) as usize & 31].to_ascii_lowercase()))
        .collect()
}

/// Random bytes from the operating system.
///
/// # Panics
/// When the operating system has no randomness to give: nothing that needs an id can go on then.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_are_alike() {
        let made: std::collections::HashSet<_> = (0..1_000).map(|_| distinct()).collect();
        assert_eq!(made.len(), 1_000);
        assert!(
            made.iter().all(|name| name.len() == 26 && name.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        );
    }

    #[test]
    fn the_id_of_a_notice_is_the_same_whenever_it_is_made() {
        use NoticeKind::{Escalated, Undelivered};
        let id = |at, seq, device, kind, rung| {
            notice_id(Timestamp(at), Seq(seq), Ordinal(device), kind, rung).to_string()
        };
        let ids = [
            id(5, 7, 9, Undelivered, 0),
            id(5, 7, 9, Escalated, 0),
            id(5, 7, 9, Escalated, 1),
            id(5, 7, 10, Undelivered, 0),
            id(5, 8, 0, Undelivered, 0),
            id(6, 1, 0, Undelivered, 0),
        ];
        assert!(ids.is_sorted() && ids.windows(2).all(|pair| pair[0] != pair[1]), "{ids:?}");
        assert_eq!(ids[0], id(5, 7, 9, Undelivered, 0));
    }

    #[test]
    fn ids_of_notices_sort_by_time_and_never_repeat() {
        let ids = NoticeIds::default();
        let made: Vec<_> = [5, 5, 5, 6, 4, 7].into_iter().map(|ms| ids.next(Timestamp(ms))).collect();
        assert!(made.windows(2).all(|pair| pair[0] < pair[1]), "{made:?}");
        assert_eq!(made[0].as_str().len(), 26);
    }
}
