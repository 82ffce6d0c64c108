//! `device`: who a device is, by its ordinal.
//!
//! Owner: the verb `register`. Lifetime: until the device comes with another user (it then gets another
//! ordinal) or is forgotten. Where it stands and when it was seen is in [`super::device_cursor`], because
//! that changes all the time and this does not.
//! Key: namespace, ordinal (4). Value: device id (name), user (a flag, then a name if it is 1),
//! platform (1), first seen (8).

use tidings_model::{DeviceId, NamespaceName, Ordinal, Platform, Timestamp, UserId};

use super::codec::{self, Broken, Put, Reader};

const VERSION: u8 = 1;

/// Who a device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its id.
    pub id: DeviceId,
    /// Whose it is, if anybody's.
    pub user: Option<UserId>,
    /// What it is.
    pub platform: Platform,
    /// When it was first seen.
    pub created_at: Timestamp,
}

/// The key of a device.
#[must_use]
pub fn key(namespace: &NamespaceName, ordinal: Ordinal) -> Vec<u8> {
    let mut key = codec::namespace_prefix(namespace, 4);
    key.put_u32(ordinal.0);
    key
}

/// Reads a key.
///
/// # Errors
/// [`Broken`] when it is none.
pub fn decode_key(key: &[u8]) -> Result<(NamespaceName, Ordinal), Broken> {
    let mut reader = Reader(key);
    let parts = (reader.namespace()?, Ordinal(reader.u32()?));
    reader.end()?;
    Ok(parts)
}

/// The value of a device.
#[must_use]
pub fn value(key: &[u8], device: &Identity) -> Vec<u8> {
    let mut value = codec::unsealed(64);
    value.put_name(device.id.as_str());
    match &device.user {
        None => value.put_u8(0),
        Some(user) => {
            value.put_u8(1);
            value.put_name(user.as_str());
        }
    }
    value.put_u8(device.platform as u8);
    value.put_u64(device.created_at.0);
    codec::seal(VERSION, key, value)
}

/// Reads a device.
///
/// # Errors
/// [`Broken`] when key or value are not what was written.
pub fn decode(key: &[u8], value: &[u8]) -> Result<Identity, Broken> {
    let mut reader = codec::open(VERSION, key, value)?;
    let device = Identity {
        id: reader.name()?.parse()?,
        user: if reader.bool()? { Some(reader.name()?.parse()?) } else { None },
        platform: super::message::platform(&mut reader)?,
        created_at: Timestamp(reader.u64()?),
    };
    reader.end()?;
    Ok(device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::codec::arbitrary::{name, namespace, no_bit_may_flip, unhex};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reads_back(
            namespace in namespace(), ordinal: u32, id in name(), user in proptest::option::of(name()),
            platform in 0usize..5, created_at: u64,
        ) {
            let key = key(&namespace, Ordinal(ordinal));
            let platform = Platform::ALL[platform];
            let device = Identity { id, user, platform, created_at: Timestamp(created_at) };
            prop_assert_eq!(decode(&key, &value(&key, &device)), Ok(device));
            prop_assert_eq!(decode_key(&key), Ok((namespace, Ordinal(ordinal))));
        }
    }

    fn example() -> Identity {
        Identity {
            id: "d-1".parse().unwrap(),
            user: Some("ann".parse().unwrap()),
            platform: Platform::Ios,
            created_at: Timestamp(1000),
        }
    }

    #[test]
    fn old_bytes_still_decode() {
        let key = unhex("0464656d6f 00000102");
        let old = unhex(OLD);
        assert_eq!(decode(&key, &old), Ok(example()), "{}", codec::hex(&value(&key, &example())));
    }

    const OLD: &str = "012204442003642d310103616e6e0200000000000003e8";

    #[test]
    fn a_flipped_bit_is_noticed() {
        no_bit_may_flip(&value(b"k", &example()), |value| decode(b"k", value));
    }
}
