//! `setting`: a small named value of the node.
//!
//! Owner: the verb `put`. Lifetime: until it is removed.
//! Key: its name, as it is. Value: its bytes, as they are.

use bytes::Bytes;

use super::codec::{self, Broken};

const VERSION: u8 = 1;

/// The value of a setting.
#[must_use]
pub fn value(key: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut value = codec::unsealed(bytes.len());
    value.extend_from_slice(bytes);
    codec::seal(VERSION, key, value)
}

/// Reads a setting: its name and its bytes.
///
/// # Errors
/// [`Broken`] when key or value are not what was written.
pub fn decode(key: &[u8], value: &[u8]) -> Result<(String, Bytes), Broken> {
    let body = codec::open(VERSION, key, value)?;
    let name = String::from_utf8(key.to_vec()).map_err(|_| Broken::Name)?;
    Ok((name, Bytes::copy_from_slice(body.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::codec::arbitrary::{no_bit_may_flip, unhex};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reads_back(name in ".{1,40}", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let value = value(name.as_bytes(), &bytes);
            prop_assert_eq!(decode(name.as_bytes(), &value), Ok((name, Bytes::from(bytes))));
        }
    }

    #[test]
    fn old_bytes_still_decode() {
        let old = unhex(OLD);
        let parts = ("key/demo".to_owned(), Bytes::from_static(b"abc"));
        assert_eq!(decode(b"key/demo", &old), Ok(parts), "{}", codec::hex(&value(b"key/demo", b"abc")));
    }

    const OLD: &str = "01375f6b5a616263";

    #[test]
    fn a_flipped_bit_is_noticed() {
        no_bit_may_flip(&value(b"k", b"abc"), |value| decode(b"k", value));
    }
}
