//! `namespace_head`: the newest numbers that a namespace has given out.
//!
//! Owner: the verbs `append`, `register` and `trim`. Lifetime: for ever. It is kept apart from what has the
//! numbers, so that trimming all messages of a namespace does not make it count from 1 again.
//! Key: namespace. Value: message number (8), device ordinals given out (8), and (not in values of version 1) the
//! newest message that has been trimmed (8).

use tidings_model::{NamespaceName, Seq};

use super::codec::{self, Broken, Put, Reader};

const VERSION: u8 = 2;

/// Values of a store from which nothing was ever trimmed.
const VERSION_BEFORE: u8 = 1;

/// The newest numbers of a namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heads {
    /// The newest message; 0 when there is none.
    pub seq: Seq,
    /// The ordinal that the next device gets. Ordinals begin at 0.
    pub next_ordinal: u64,
    /// Messages up to this one are gone, whatever of them is still on disk.
    pub trimmed: Seq,
}

/// The key of a namespace.
#[must_use]
pub fn key(namespace: &NamespaceName) -> Vec<u8> {
    codec::namespace_prefix(namespace, 0)
}

/// The value of a namespace.
#[must_use]
pub fn value(key: &[u8], heads: Heads) -> Vec<u8> {
    let mut value = codec::unsealed(24);
    value.put_u64(heads.seq.0);
    value.put_u64(heads.next_ordinal);
    value.put_u64(heads.trimmed.0);
    codec::seal(VERSION, key, value)
}

/// Reads a namespace.
///
/// # Errors
/// [`Broken`] when key or value are not what was written.
pub fn decode(key: &[u8], value: &[u8]) -> Result<(NamespaceName, Heads), Broken> {
    let mut name = Reader(key);
    let namespace = name.namespace()?;
    name.end()?;
    let before = value.first() == Some(&VERSION_BEFORE);
    let mut reader = codec::open(if before { VERSION_BEFORE } else { VERSION }, key, value)?;
    let (seq, next_ordinal) = (Seq(reader.u64()?), reader.u64()?);
    let heads = Heads { seq, next_ordinal, trimmed: if before { Seq(0) } else { Seq(reader.u64()?) } };
    reader.end()?;
    Ok((namespace, heads))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::codec::arbitrary::{namespace, no_bit_may_flip, unhex};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reads_back(namespace in namespace(), seq: u64, next_ordinal: u64, trimmed: u64) {
            let key = key(&namespace);
            let heads = Heads { seq: Seq(seq), next_ordinal, trimmed: Seq(trimmed) };
            prop_assert_eq!(decode(&key, &value(&key, heads)), Ok((namespace, heads)));
        }
    }

    const EXAMPLE: Heads = Heads { seq: Seq(258), next_ordinal: 3, trimmed: Seq(7) };

    #[test]
    fn old_bytes_still_decode() {
        let key = unhex("0464656d6f");
        let old = unhex(OLD);
        let parts = ("demo".parse().unwrap(), EXAMPLE);
        assert_eq!(decode(&key, &old), Ok(parts), "{}", codec::hex(&value(&key, EXAMPLE)));
        let untrimmed = ("demo".parse().unwrap(), Heads { trimmed: Seq(0), ..EXAMPLE });
        assert_eq!(decode(&key, &unhex(OLDEST)), Ok(untrimmed));
    }

    const OLDEST: &str = "01602dac3b00000000000001020000000000000003";
    const OLD: &str = "02c54bf846000000000000010200000000000000030000000000000007";

    #[test]
    fn a_flipped_bit_is_noticed() {
        let key = unhex("0464656d6f");
        no_bit_may_flip(&value(&key, EXAMPLE), |value| decode(&key, value));
    }
}
