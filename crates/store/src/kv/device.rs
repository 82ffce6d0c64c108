//! `device`: who a device is, by its ordinal.
//!
//! Owner: the verb `register`. Lifetime: until the device comes with another user (it then gets another
//! ordinal) or is forgotten. Where it stands and when it was seen is in [`super::device_cursor`], because
//! that changes all the time and this does not.
//! Key: namespace, ordinal (4). Value: device id (name), user (a flag, then a name if it is 1),
//! platform (1), first seen (8), and in version 2 what else is kept of it (`profile`). A device of which nothing else
//! is kept is written in version 1.

mod profile;

use std::sync::Arc;

use tidings_model::{DeviceId, NamespaceName, Ordinal, Platform, Profile, Timestamp, UserId};

use super::codec::{self, Broken, Put, Reader};

/// Without a profile.
const PLAIN: u8 = 1;

const VERSION: u8 = 2;

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
    /// What else is kept of it.
    pub profile: Arc<Profile>,
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
    if device.profile.is_empty() {
        return codec::seal(PLAIN, key, value);
    }
    profile::put(&mut value, &device.profile);
    codec::seal(VERSION, key, value)
}

/// Reads a device.
///
/// # Errors
/// [`Broken`] when key or value are not what was written.
pub fn decode(key: &[u8], value: &[u8]) -> Result<Identity, Broken> {
    let version = if value.first() == Some(&PLAIN) { PLAIN } else { VERSION };
    let mut reader = codec::open(version, key, value)?;
    let device = Identity {
        id: reader.name()?.parse()?,
        user: if reader.bool()? { Some(reader.name()?.parse()?) } else { None },
        platform: super::message::platform(&mut reader)?,
        created_at: Timestamp(reader.u64()?),
        profile: match version {
            PLAIN => Arc::default(),
            _ => Arc::new(profile::take(&mut reader)?),
        },
    };
    reader.end()?;
    Ok(device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::codec::arbitrary::{name, namespace, no_bit_may_flip, unhex};
    use proptest::prelude::*;
    use tidings_model::{Quiet, Vendor, VendorToken, Window, Zone};

    proptest! {
        #[test]
        fn reads_back(
            namespace in namespace(), ordinal: u32, id in name(), user in proptest::option::of(name()),
            platform in 0usize..5, created_at: u64, profile in profile::arbitrary::profile(),
        ) {
            let key = key(&namespace, Ordinal(ordinal));
            let platform = Platform::ALL[platform];
            let (created_at, profile) = (Timestamp(created_at), Arc::new(profile));
            let device = Identity { id, user, platform, created_at, profile };
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
            profile: Arc::default(),
        }
    }

    fn full() -> Identity {
        let window = |zone| Window { from: 1320, to: 420, zone };
        let profile = Profile {
            tags: ["beta", "vip"].map(|tag| tag.parse().unwrap()).into(),
            metadata: r#"{"app":"3.1"}"#.to_owned(),
            tokens: [(Vendor::Fcm, VendorToken(r#""abc""#.to_owned()))].into(),
            muted: [("a".parse().unwrap(), None), ("b".parse().unwrap(), Some(Timestamp(9)))].into(),
            quiet: Quiet {
                until: Some(Timestamp(7)),
                windows: vec![window(Zone::Offset(-90)), window(Zone::Named("Asia/Shanghai".into()))],
            },
        };
        Identity { profile: Arc::new(profile), ..example() }
    }

    #[test]
    fn old_bytes_still_decode() {
        let key = unhex("0464656d6f 00000102");
        let old = unhex(OLD);
        assert_eq!(decode(&key, &old), Ok(example()), "{}", codec::hex(&value(&key, &example())));
    }

    #[test]
    fn bytes_of_version_2_still_decode() {
        let key = unhex("0464656d6f 00000102");
        assert_eq!(decode(&key, &unhex(FULL)), Ok(full()), "{}", codec::hex(&value(&key, &full())));
        assert_eq!(value(&key, &example())[0], PLAIN);
    }

    const FULL: &str = "023c5ac4f903642d310103616e6e0200000000000003e8000000020462657461037669700000000d\
        7b22617070223a22332e31227d000000010100000005226162632200000002016100016201000000\
        000000000901000000000000000700000002052801a400ffa6052801a4010d417369612f5368616e\
        67686169";

    const OLD: &str = "012204442003642d310103616e6e0200000000000003e8";

    #[test]
    fn a_flipped_bit_is_noticed() {
        no_bit_may_flip(&value(b"k", &example()), |value| decode(b"k", value));
        no_bit_may_flip(&value(b"k", &full()), |value| decode(b"k", value));
    }
}
