//! `device_cursor`: how far a device is, and when it was last seen.
//!
//! Owner: the verb `settle`; `register` sets the first one. Lifetime: that of the device.
//! Key: namespace, ordinal (4), as for [`super::device`]. Value: cursor (8), last seen (8).

use tidings_model::{NamespaceName, Ordinal, Seq, Timestamp};

use super::codec::{self, Broken, Put};

const VERSION: u8 = 1;

/// How far a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Everything up to here is settled.
    pub cursor: Seq,
    /// When the device was last seen.
    pub seen_at: Timestamp,
}

/// The key of a device's progress.
#[must_use]
pub fn key(namespace: &NamespaceName, ordinal: Ordinal) -> Vec<u8> {
    super::device::key(namespace, ordinal)
}

/// The value of a device's progress.
#[must_use]
pub fn value(key: &[u8], progress: &Progress) -> Vec<u8> {
    let mut value = codec::unsealed(16);
    value.put_u64(progress.cursor.0);
    value.put_u64(progress.seen_at.0);
    codec::seal(VERSION, key, value)
}

/// Reads a device's progress.
///
/// # Errors
/// [`Broken`] when key or value are not what was written.
pub fn decode(key: &[u8], value: &[u8]) -> Result<Progress, Broken> {
    let mut reader = codec::open(VERSION, key, value)?;
    let progress = Progress { cursor: Seq(reader.u64()?), seen_at: Timestamp(reader.u64()?) };
    reader.end()?;
    Ok(progress)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::codec::arbitrary::{namespace, no_bit_may_flip, unhex};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reads_back(namespace in namespace(), ordinal: u32, cursor: u64, seen_at: u64) {
            let key = key(&namespace, Ordinal(ordinal));
            let progress = Progress { cursor: Seq(cursor), seen_at: Timestamp(seen_at) };
            prop_assert_eq!(decode(&key, &value(&key, &progress)), Ok(progress));
        }
    }

    const EXAMPLE: Progress = Progress { cursor: Seq(258), seen_at: Timestamp(1000) };

    #[test]
    fn old_bytes_still_decode() {
        let key = unhex("0464656d6f 00000102");
        let old = unhex(OLD);
        assert_eq!(decode(&key, &old), Ok(EXAMPLE), "{}", codec::hex(&value(&key, &EXAMPLE)));
    }

    const OLD: &str = "017ec14df5000000000000010200000000000003e8";

    #[test]
    fn a_flipped_bit_is_noticed() {
        no_bit_may_flip(&value(b"k", &EXAMPLE), |value| decode(b"k", value));
    }
}
