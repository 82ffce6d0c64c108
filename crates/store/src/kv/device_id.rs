//! `device_id`: which ordinal a device has now.
//!
//! Owner: the verb `register`. Lifetime: until the device is forgotten.
//! Key: namespace, device id (name). Value: ordinal (4).

use tidings_model::{DeviceId, NamespaceName, Ordinal};

use super::codec::{self, Broken, Put, Reader};

const VERSION: u8 = 1;

/// The key of a device id.
#[must_use]
pub fn key(namespace: &NamespaceName, id: &DeviceId) -> Vec<u8> {
    let mut key = codec::namespace_prefix(namespace, 1 + id.as_str().len());
    key.put_name(id.as_str());
    key
}

/// Reads a key.
///
/// # Errors
/// [`Broken`] when it is none.
pub fn decode_key(key: &[u8]) -> Result<(NamespaceName, DeviceId), Broken> {
    let mut reader = Reader(key);
    let parts = (reader.namespace()?, reader.name()?.parse()?);
    reader.end()?;
    Ok(parts)
}

/// The value of a device id.
#[must_use]
pub fn value(key: &[u8], ordinal: Ordinal) -> Vec<u8> {
    let mut value = codec::unsealed(4);
    value.put_u32(ordinal.0);
    codec::seal(VERSION, key, value)
}

/// Reads a device's ordinal.
///
/// # Errors
/// [`Broken`] when key or value are not what was written.
pub fn decode(key: &[u8], value: &[u8]) -> Result<Ordinal, Broken> {
    let mut reader = codec::open(VERSION, key, value)?;
    let ordinal = Ordinal(reader.u32()?);
    reader.end()?;
    Ok(ordinal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::codec::arbitrary::{name, namespace, no_bit_may_flip, unhex};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reads_back(namespace in namespace(), id in name(), ordinal: u32) {
            let key = key(&namespace, &id);
            prop_assert_eq!(decode(&key, &value(&key, Ordinal(ordinal))), Ok(Ordinal(ordinal)));
            prop_assert_eq!(decode_key(&key), Ok((namespace, id)));
        }
    }

    #[test]
    fn old_bytes_still_decode() {
        let key = unhex("0464656d6f 03642d31");
        let old = unhex(OLD);
        assert_eq!(decode(&key, &old), Ok(Ordinal(258)), "{}", codec::hex(&value(&key, Ordinal(258))));
    }

    const OLD: &str = "010009e63900000102";

    #[test]
    fn a_flipped_bit_is_noticed() {
        no_bit_may_flip(&value(b"k", Ordinal(258)), |value| decode(b"k", value));
    }
}
