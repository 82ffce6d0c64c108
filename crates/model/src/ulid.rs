//! Ids as the ULID specification lays them out: 48 bits of milliseconds and 80 others, as 26 letters and digits that sort
//! like the number.

use crate::Timestamp;

/// Crockford's base 32: no I, L, O or U, so that an id can be read aloud.
pub const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// How many bits follow the time.
pub const LOW_BITS: u32 = 80;

/// The digits of the time, and of the two halves of what follows it.
const DIGITS: [usize; 3] = [10, 8, 8];

/// The bits of a half.
const HALF: u64 = (1 << 40) - 1;

/// The id of a time (its lowest 48 bits) and 80 other bits (the lowest ones of `low`).
#[must_use]
pub fn encode(at: Timestamp, low: u128) -> String {
    let parts = [at.0 & ((1 << 48) - 1), (low >> 40) as u64 & HALF, low as u64 & HALF];
    let mut text = String::with_capacity(DIGITS.iter().sum());
    for (part, digits) in parts.into_iter().zip(DIGITS) {
        text.extend((0..digits).rev().map(|i| char::from(ALPHABET[(part >> (5 * i)) as usize & 31])));
    }
    text
}

/// The time and the other bits of an id, if it is written as [`encode`] writes it.
#[must_use]
pub fn decode(text: &str) -> Option<(Timestamp, u128)> {
    if text.len() != DIGITS.iter().sum::<usize>() {
        return None;
    }
    let mut letters = text.bytes();
    let mut parts = [0u64; 3];
    for (part, digits) in parts.iter_mut().zip(DIGITS) {
        for letter in letters.by_ref().take(digits) {
            let value = ALPHABET.iter().position(|known| *known == letter)?;
            *part = *part << 5 | value as u64;
        }
    }
    let [at, high, low] = parts;
    (at >> 48 == 0).then_some((Timestamp(at), u128::from(high) << 40 | u128::from(low)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_and_sort_like_their_numbers() {
        let most = (1u128 << LOW_BITS) - 1;
        let table = [
            (0, 0, "00000000000000000000000000"),
            (0, 1 << 40, "00000000000000000100000000"),
            (5, most - 1, "0000000005ZZZZZZZZZZZZZZZY"),
            (1_469_918_176_385, 7, "01ARYZ6S410000000000000007"),
            ((1 << 48) - 1, most, "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"),
        ];
        for (at, low, expected) in table {
            assert_eq!(encode(Timestamp(at), low), expected);
            assert_eq!(decode(expected), Some((Timestamp(at), low)), "{expected}");
        }
        assert!(table.is_sorted_by_key(|(.., text)| text));
    }

    #[test]
    fn what_is_none_is_none() {
        for text in [
            "",
            "order-17",
            "0000000000000000000000000",
            "000000000000000000000000000",
            "80000000000000000000000000",
            "0000000000000000000000000I",
            "0000000000000000000000000a",
            "000000000000000000000000é",
        ] {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }
}
