//! Ids that the node makes up.

use std::sync::{Mutex, PoisonError};

use tidings_model::{DeviceId, MessageId, NoticeId, Ordinal, Seq, Timestamp};

use crate::notify::NoticeKind;

/// Crockford's base 32: no I, L, O or U, so that an id can be read aloud.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Makes message ids: 48 bits of time, 80 random bits, sorted by time as text (the ULID layout). Within
/// a millisecond the random part counts up.
#[derive(Debug, Default)]
pub struct MessageIds {
    last: Mutex<(u64, u128)>,
}

impl MessageIds {
    /// The next id.
    pub fn next(&self, now: Timestamp) -> MessageId {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = if now.0 > last.0 {
            // The top bit stays free, so that counting up never wraps within a millisecond.
            (now.0, u128::from_le_bytes(random()) & ((1 << 79) - 1))
        } else {
            (last.0, last.1 + 1)
        };
        MessageId::new(&text_of(last.0, last.1))
            .unwrap_or_else(|_| unreachable!("26 letters and digits are a name"))
    }
}

/// The id of what hooks are told of a message on its way to a device, which is one thing of a kind and a rung: the same
/// whenever it is made, so that who is told twice can know it. Sorted by time, message and device.
pub(crate) fn notice_id(at: Timestamp, seq: Seq, device: Ordinal, kind: NoticeKind, rung: u8) -> NoticeId {
    let which = (kind as u8) << 4 | rung & 0xf;
    let low = u128::from(seq.0) << 40 | u128::from(device.0) << 8 | u128::from(which);
    NoticeId::new(&text_of(at.0, low)).unwrap_or_else(|_| unreachable!("26 letters and digits are a name"))
}

/// 48 bits of time and 80 others, as 26 letters and digits.
fn text_of(at: u64, low: u128) -> String {
    let number = u128::from(at & ((1 << 48) - 1)) << 80 | low & ((1 << 80) - 1);
    (0..26).rev().map(|i| char::from(ALPHABET[(number >> (5 * i)) as usize & 31])).collect()
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
    let number = u128::from_le_bytes(random());
    (0..26).map(|i| char::from(ALPHABET[(number >> (5 * i)) as usize & 31].to_ascii_lowercase())).collect()
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
    fn message_ids_sort_by_time_and_never_repeat() {
        let ids = MessageIds::default();
        let made: Vec<_> = [5, 5, 5, 6, 4, 7].into_iter().map(|ms| ids.next(Timestamp(ms))).collect();
        assert!(made.windows(2).all(|pair| pair[0] < pair[1]), "{made:?}");
        assert_eq!(made[0].as_str().len(), 26);
    }
}
