//! Masking (RFC 6455 5.3), eight bytes at a time. Its own inverse.

/// Exclusive-or of `bytes` with the repeated `mask`.
pub(super) fn apply(bytes: &mut [u8], mask: [u8; 4]) {
    if mask == [0; 4] {
        return;
    }
    let [a, b, c, d] = mask;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, tail) = bytes.as_chunks_mut::<8>();
    for chunk in words {
        *chunk = (u64::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    // A whole word was a multiple of the mask, so the tail starts at its first byte again.
    for (byte, mask) in tail.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equals_the_definition(bytes: Vec<u8>, mask: [u8; 4]) {
            let expected: Vec<u8> = bytes.iter().enumerate().map(|(i, byte)| byte ^ mask[i % 4]).collect();
            let mut masked = bytes;
            super::apply(&mut masked, mask);
            prop_assert_eq!(masked, expected);
        }
    }
}
