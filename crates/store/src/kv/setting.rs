//! `setting`: a small named value of the node.
//!
//! Owner: the verb `put`. Lifetime: until it is removed.
//! Key: a zero byte (a key has at least one), its name as it is. Value: its bytes, as they are.

use bytes::Bytes;

use super::codec::{self, Broken};

const VERSION: u8 = 1;

/// The key of a setting, and the beginning of the keys of all whose names begin like this.
#[must_use]
pub fn key(name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + name.len());
    key.push(0);
    key.extend_from_slice(name.as_bytes());
    key
}

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
    let name = key.strip_prefix(&[0]).ok_or(Broken::Name)?;
    let name = String::from_utf8(name.to_vec()).map_err(|_| Broken::Name)?;
    Ok((name, Bytes::copy_from_slice(body.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::codec::arbitrary::{no_bit_may_flip, unhex};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reads_back(name in ".{0,40}", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let key = key(&name);
            prop_assert_eq!(decode(&key, &value(&key, &bytes)), Ok((name, Bytes::from(bytes))));
        }
    }

    #[test]
    fn old_bytes_still_decode() {
        let key = unhex("00 6b65792f64656d6f");
        let old = unhex(OLD);
        let parts = ("key/demo".to_owned(), Bytes::from_static(b"abc"));
        assert_eq!(decode(&key, &old), Ok(parts), "{}", codec::hex(&value(&key, b"abc")));
    }

    const OLD: &str = "0105cd7e5d616263";

    #[test]
    fn a_flipped_bit_is_noticed() {
        no_bit_may_flip(&value(b"\0k", b"abc"), |value| decode(b"\0k", value));
    }
}
