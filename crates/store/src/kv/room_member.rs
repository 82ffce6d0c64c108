//! `room_member`: a device is in a room. Being there is all that an entry says.
//!
//! Owner: the verb `change_rooms`; `register` removes them when the device gets another user.
//! Lifetime: until the device leaves.
//! Key: namespace, ordinal (4), room (name). Value: nothing but its seal.
//!
//! There is no index from room to devices: who is in a room is asked once, by a node that starts
//! (`census`), and that reads all of them anyway.

use tidings_model::{NamespaceName, Ordinal, RoomName};

use super::codec::{self, Broken, Put, Reader};

const VERSION: u8 = 1;

/// The beginning of all keys of a device.
#[must_use]
pub fn prefix(namespace: &NamespaceName, ordinal: Ordinal) -> Vec<u8> {
    super::device::key(namespace, ordinal)
}

/// The key of a membership.
#[must_use]
pub fn key(namespace: &NamespaceName, ordinal: Ordinal, room: &RoomName) -> Vec<u8> {
    let mut key = prefix(namespace, ordinal);
    key.put_name(room.as_str());
    key
}

/// The value of a membership.
#[must_use]
pub fn value(key: &[u8]) -> Vec<u8> {
    codec::seal(VERSION, key, codec::unsealed(0))
}

/// Reads which device is in which room.
///
/// # Errors
/// [`Broken`] when key or value are not what was written.
pub fn decode(key: &[u8], value: &[u8]) -> Result<(NamespaceName, Ordinal, RoomName), Broken> {
    codec::open(VERSION, key, value)?.end()?;
    let mut reader = Reader(key);
    let parts = (reader.namespace()?, Ordinal(reader.u32()?), reader.name()?.parse()?);
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
        fn reads_back(namespace in namespace(), room in name(), ordinal: u32) {
            let key = key(&namespace, Ordinal(ordinal), &room);
            prop_assert!(key.starts_with(&prefix(&namespace, Ordinal(ordinal))));
            prop_assert_eq!(decode(&key, &value(&key)), Ok((namespace, Ordinal(ordinal), room)));
        }
    }

    const KEY: &str = "0464656d6f 00000102 056c6f626279";

    #[test]
    fn old_bytes_still_decode() {
        let key = unhex(KEY);
        let old = unhex(OLD);
        let parts = ("demo".parse().unwrap(), Ordinal(258), "lobby".parse().unwrap());
        assert_eq!(decode(&key, &old), Ok(parts), "{}", codec::hex(&value(&key)));
    }

    const OLD: &str = "013aedfb2e";

    #[test]
    fn a_flipped_bit_is_noticed() {
        let key = unhex(KEY);
        no_bit_may_flip(&value(&key), |value| decode(&key, value));
    }
}
