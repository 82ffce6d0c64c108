//! `message_id`: the newest message with a public id, unless the id was made for it, and what tells a retry from another push.
//!
//! Owner: the verb `append`. Lifetime: as long as the message that it points at.
//! Key: namespace, id (name). Value: message number (8), accepted at (8), fingerprint (16).

use tidings_model::{MessageId, NamespaceName, Seq, Timestamp};

use super::codec::{self, Broken, Put, Reader};

const VERSION: u8 = 1;

/// What is known under an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownId {
    /// The newest message with the id.
    pub seq: Seq,
    /// When that message was accepted.
    pub accepted_at: Timestamp,
    /// Digest of what its caller sent.
    pub fingerprint: [u8; 16],
}

/// The key of an id.
#[must_use]
pub fn key(namespace: &NamespaceName, id: &MessageId) -> Vec<u8> {
    let mut key = codec::namespace_prefix(namespace, 1 + id.as_str().len());
    key.put_name(id.as_str());
    key
}

/// Reads a key.
///
/// # Errors
/// [`Broken`] when it is none.
pub fn decode_key(key: &[u8]) -> Result<(NamespaceName, MessageId), Broken> {
    let mut reader = Reader(key);
    let parts = (reader.namespace()?, reader.name()?.parse()?);
    reader.end()?;
    Ok(parts)
}

/// The value of an id.
#[must_use]
pub fn value(key: &[u8], known: &KnownId) -> Vec<u8> {
    let mut value = codec::unsealed(32);
    value.put_u64(known.seq.0);
    value.put_u64(known.accepted_at.0);
    value.extend_from_slice(&known.fingerprint);
    codec::seal(VERSION, key, value)
}

/// Reads an id.
///
/// # Errors
/// [`Broken`] when key or value are not what was written.
pub fn decode(key: &[u8], value: &[u8]) -> Result<KnownId, Broken> {
    let mut reader = codec::open(VERSION, key, value)?;
    let known = KnownId {
        seq: Seq(reader.u64()?),
        accepted_at: Timestamp(reader.u64()?),
        fingerprint: reader.digest()?,
    };
    reader.end()?;
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::codec::arbitrary::{name, namespace, no_bit_may_flip, unhex};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reads_back(namespace in namespace(), id in name(), seq: u64, at: u64, fingerprint: [u8; 16]) {
            let key = key(&namespace, &id);
            let known = KnownId { seq: Seq(seq), accepted_at: Timestamp(at), fingerprint };
            prop_assert_eq!(decode(&key, &value(&key, &known)), Ok(known));
            prop_assert_eq!(decode_key(&key), Ok((namespace, id)));
        }
    }

    const EXAMPLE: KnownId = KnownId { seq: Seq(258), accepted_at: Timestamp(1000), fingerprint: [0xab; 16] };

    #[test]
    fn old_bytes_still_decode() {
        let key = unhex("0464656d6f 026d31");
        let old = unhex(OLD);
        assert_eq!(decode(&key, &old), Ok(EXAMPLE), "{}", codec::hex(&value(&key, &EXAMPLE)));
    }

    const OLD: &str = "011004d8ba000000000000010200000000000003e8abababababababababababababababab";

    #[test]
    fn a_flipped_bit_is_noticed() {
        no_bit_may_flip(&value(b"k", &EXAMPLE), |value| decode(b"k", value));
    }
}
