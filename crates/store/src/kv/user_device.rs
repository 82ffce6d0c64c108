//! `user_device`: the devices of a user. Being there is all that an entry says.
//!
//! Owner: the verb `register`. Lifetime: as long as the device is the user's.
//! Key: namespace, user (name), ordinal (4). Value: nothing but its seal.

use tidings_model::{NamespaceName, Ordinal, UserId};

use super::codec::{self, Broken, Put, Reader};

const VERSION: u8 = 1;

/// The beginning of all keys of a user.
#[must_use]
pub fn prefix(namespace: &NamespaceName, user: &UserId) -> Vec<u8> {
    let mut key = codec::namespace_prefix(namespace, 1 + user.as_str().len() + 4);
    key.put_name(user.as_str());
    key
}

/// What the key of a user's device has in common with those of the others.
#[must_use]
pub fn prefix_of(key: &[u8]) -> &[u8] {
    &key[..key.len().saturating_sub(4)]
}

/// The key of a user's device.
#[must_use]
pub fn key(namespace: &NamespaceName, user: &UserId, ordinal: Ordinal) -> Vec<u8> {
    let mut key = prefix(namespace, user);
    key.put_u32(ordinal.0);
    key
}

/// The value of a user's device.
#[must_use]
pub fn value(key: &[u8]) -> Vec<u8> {
    codec::seal(VERSION, key, codec::unsealed(0))
}

/// Reads whose device it is, and which one.
///
/// # Errors
/// [`Broken`] when key or value are not what was written.
pub fn decode(key: &[u8], value: &[u8]) -> Result<(NamespaceName, UserId, Ordinal), Broken> {
    codec::open(VERSION, key, value)?.end()?;
    let mut reader = Reader(key);
    let parts = (reader.namespace()?, reader.name()?.parse()?, Ordinal(reader.u32()?));
    reader.end()?;
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::codec::arbitrary::{name, namespace, no_bit_may_flip, unhex};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reads_back(namespace in namespace(), user in name(), ordinal: u32) {
            let key = key(&namespace, &user, Ordinal(ordinal));
            prop_assert_eq!(prefix_of(&key), prefix(&namespace, &user));
            prop_assert_eq!(decode(&key, &value(&key)), Ok((namespace, user, Ordinal(ordinal))));
        }
    }

    const KEY: &str = "0464656d6f 03616e6e 00000102";

    #[test]
    fn old_bytes_still_decode() {
        let key = unhex(KEY);
        let old = unhex(OLD);
        let parts = ("demo".parse().unwrap(), "ann".parse().unwrap(), Ordinal(258));
        assert_eq!(decode(&key, &old), Ok(parts), "{}", codec::hex(&value(&key)));
    }

    const OLD: &str = "0161bee946";

    #[test]
    fn a_flipped_bit_is_noticed() {
        let key = unhex(KEY);
        no_bit_may_flip(&value(&key), |value| decode(&key, value));
    }
}
