//! `topic_entry`: one line of a topic log: which message has this offset.
//!
//! Owner: the verb `append`. Lifetime: until retention trims it, but the newest entry of a topic stays for
//! ever: it is how the topic knows its head after a restart.
//! Key: namespace, topic (kind, name), offset (8). Value: message number (8).

use tidings_model::{NamespaceName, Seq, Topic};

use super::codec::{self, Broken, Put, Reader};

const VERSION: u8 = 1;

/// The beginning of all keys of a topic.
#[must_use]
pub fn prefix(namespace: &NamespaceName, topic: &Topic) -> Vec<u8> {
    let mut key = codec::namespace_prefix(namespace, 2 + 255 + 8);
    key.put_topic(topic);
    key
}

/// The key of an entry, from the [`prefix`] of its topic.
#[must_use]
pub fn key(prefix: &[u8], offset: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(prefix.len() + 8);
    key.extend_from_slice(prefix);
    key.put_u64(offset);
    key
}

/// Reads the offset out of a key.
///
/// # Errors
/// [`Broken`] when it is no such key.
pub fn decode_key(key: &[u8]) -> Result<(NamespaceName, Topic, u64), Broken> {
    let mut reader = Reader(key);
    let parts = (reader.namespace()?, reader.topic()?, reader.u64()?);
    reader.end()?;
    Ok(parts)
}

/// The offset in a key of the topic with this [`prefix`].
///
/// # Errors
/// [`Broken`] when it is no such key.
pub fn offset(prefix: &[u8], key: &[u8]) -> Result<u64, Broken> {
    let mut reader = Reader(key.strip_prefix(prefix).ok_or(Broken::Name)?);
    let offset = reader.u64()?;
    reader.end()?;
    Ok(offset)
}

/// The value of an entry.
#[must_use]
pub fn value(key: &[u8], seq: Seq) -> Vec<u8> {
    let mut value = codec::unsealed(8);
    value.put_u64(seq.0);
    codec::seal(VERSION, key, value)
}

/// Reads an entry.
///
/// # Errors
/// [`Broken`] when key or value are not what was written.
pub fn decode(key: &[u8], value: &[u8]) -> Result<Seq, Broken> {
    let mut reader = codec::open(VERSION, key, value)?;
    let seq = Seq(reader.u64()?);
    reader.end()?;
    Ok(seq)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::codec::arbitrary::{namespace, no_bit_may_flip, topic, unhex};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reads_back(namespace in namespace(), topic in topic(), at: u64, seq: u64) {
            let prefix = prefix(&namespace, &topic);
            let key = key(&prefix, at);
            prop_assert_eq!(decode(&key, &value(&key, Seq(seq))), Ok(Seq(seq)));
            prop_assert_eq!(offset(&prefix, &key), Ok(at));
            prop_assert_eq!(decode_key(&key), Ok((namespace, topic, at)));
        }

        #[test]
        fn no_topic_begins_like_another(namespace in namespace(), one in topic(), other in topic()) {
            prop_assume!(one != other);
            prop_assert!(!prefix(&namespace, &one).starts_with(&prefix(&namespace, &other)));
        }
    }

    #[test]
    fn old_bytes_still_decode() {
        let key = unhex("0464656d6f 03056c6f626279 0000000000000002");
        let old = unhex(OLD);
        assert_eq!(decode(&key, &old), Ok(Seq(258)), "{}", codec::hex(&value(&key, Seq(258))));
    }

    const OLD: &str = "01ce3b2c480000000000000102";

    #[test]
    fn a_flipped_bit_is_noticed() {
        no_bit_may_flip(&value(b"k", Seq(258)), |value| decode(b"k", value));
    }
}
