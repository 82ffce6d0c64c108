//! `collapse`: the messages of a collapse key that a newer one would still take the place of.
//!
//! Owner: the verb `append`. Lifetime: until the next message with the key; for ever when none comes.
//! Key: namespace, collapse key (name). Value: message numbers (8 each), oldest first.

use tidings_model::{CollapseKey, NamespaceName, Seq};

use super::codec::{self, Broken, Put, Reader};

const VERSION: u8 = 1;

/// The key of a collapse key.
#[must_use]
pub fn key(namespace: &NamespaceName, collapse_key: &CollapseKey) -> Vec<u8> {
    let mut key = codec::namespace_prefix(namespace, 1 + collapse_key.as_str().len());
    key.put_name(collapse_key.as_str());
    key
}

/// Reads a key.
///
/// # Errors
/// [`Broken`] when it is none.
pub fn decode_key(key: &[u8]) -> Result<(NamespaceName, CollapseKey), Broken> {
    let mut reader = Reader(key);
    let parts = (reader.namespace()?, reader.name()?.parse()?);
    reader.end()?;
    Ok(parts)
}

/// The value of a collapse key.
#[must_use]
pub fn value(key: &[u8], seqs: &[Seq]) -> Vec<u8> {
    let mut value = codec::unsealed(4 + seqs.len() * 8);
    value.put_list(seqs, |value, seq| value.put_u64(seq.0));
    codec::seal(VERSION, key, value)
}

/// Reads the messages of a collapse key.
///
/// # Errors
/// [`Broken`] when key or value are not what was written.
pub fn decode(key: &[u8], value: &[u8]) -> Result<Vec<Seq>, Broken> {
    let mut reader = codec::open(VERSION, key, value)?;
    let seqs = reader.list(|reader| reader.u64().map(Seq))?;
    reader.end()?;
    Ok(seqs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::codec::arbitrary::{namespace, no_bit_may_flip, unhex};
    use proptest::collection::vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reads_back(namespace in namespace(), name in "[a-z用]{1,20}", seqs in vec(any::<u64>(), 0..5)) {
            let (name, seqs): (CollapseKey, Vec<Seq>) = (name.parse().unwrap(), seqs.into_iter().map(Seq).collect());
            let key = key(&namespace, &name);
            prop_assert_eq!(decode(&key, &value(&key, &seqs)), Ok(seqs));
            prop_assert_eq!(decode_key(&key), Ok((namespace, name)));
        }
    }

    const EXAMPLE: [Seq; 2] = [Seq(7), Seq(258)];

    #[test]
    fn old_bytes_still_decode() {
        let key = unhex("0464656d6f 0573636f7265");
        let old = unhex(OLD);
        assert_eq!(decode(&key, &old), Ok(EXAMPLE.to_vec()), "{}", codec::hex(&value(&key, &EXAMPLE)));
    }

    const OLD: &str = "01268267a90000000200000000000000070000000000000102";

    #[test]
    fn a_flipped_bit_is_noticed() {
        no_bit_may_flip(&value(b"k", &EXAMPLE), |value| decode(b"k", value));
    }
}
