//! `bucket`: how much a namespace accepted in a stretch of time. Retention trims whole buckets.
//!
//! Owner: the verb `append`. Lifetime: until `trim` takes its messages away.
//! Key: namespace, number of its first message (8). Value: number of its last message (8), messages (8), their bytes (8),
//! time of the first (8), newest time of any (8), when the last of them expires (8), how
//! many were scheduled (8).
//!
//! Numbers and not times are the key, so that buckets stand in the order of their messages whatever the clock did.

use tidings_model::{NamespaceName, Seq, Timestamp};

use super::codec::{self, Broken, Put, Reader};
use crate::port::Bucket;

const VERSION: u8 = 1;

/// The beginning of all keys of a namespace.
#[must_use]
pub fn prefix(namespace: &NamespaceName) -> Vec<u8> {
    codec::namespace_prefix(namespace, 8)
}

/// The key of a bucket, by its first message.
#[must_use]
pub fn key(namespace: &NamespaceName, first: Seq) -> Vec<u8> {
    super::message::key(namespace, first)
}

/// The value of a bucket.
#[must_use]
pub fn value(key: &[u8], bucket: &Bucket) -> Vec<u8> {
    let mut value = codec::unsealed(56);
    value.put_u64(bucket.last.0);
    value.put_u64(bucket.messages);
    value.put_u64(bucket.bytes);
    value.put_u64(bucket.since.0);
    value.put_u64(bucket.until.0);
    value.put_u64(bucket.expires_at.0);
    value.put_u64(bucket.scheduled);
    codec::seal(VERSION, key, value)
}

/// Reads a bucket.
///
/// # Errors
/// [`Broken`] when key or value are not what was written.
pub fn decode(key: &[u8], value: &[u8]) -> Result<(NamespaceName, Bucket), Broken> {
    let (namespace, first) = super::message::decode_key(key)?;
    let mut reader = codec::open(VERSION, key, value)?;
    let bucket = Bucket {
        first,
        last: Seq(reader.u64()?),
        messages: reader.u64()?,
        bytes: reader.u64()?,
        since: Timestamp(reader.u64()?),
        until: Timestamp(reader.u64()?),
        expires_at: Timestamp(reader.u64()?),
        scheduled: reader.u64()?,
    };
    Reader::end(reader)?;
    Ok((namespace, bucket))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::codec::arbitrary::{namespace, no_bit_may_flip, unhex};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reads_back(namespace in namespace(), first: u64, rest: [u64; 7]) {
            let [last, messages, bytes, since, until, expires_at, scheduled] = rest;
            let bucket = Bucket {
                first: Seq(first),
                last: Seq(last),
                messages,
                bytes,
                since: Timestamp(since),
                until: Timestamp(until),
                expires_at: Timestamp(expires_at),
                scheduled,
            };
            let key = key(&namespace, bucket.first);
            prop_assert_eq!(decode(&key, &value(&key, &bucket)), Ok((namespace, bucket)));
        }

        #[test]
        fn garbage_never_panics(key in proptest::collection::vec(any::<u8>(), 0..40), value: Vec<u8>) {
            let _ = decode(&key, &value);
        }
    }

    const EXAMPLE: Bucket = Bucket {
        first: Seq(258),
        last: Seq(300),
        messages: 40,
        bytes: 70_000,
        since: Timestamp(1_000),
        until: Timestamp(2_000),
        expires_at: Timestamp(90_000),
        scheduled: 2,
    };

    #[test]
    fn old_bytes_still_decode() {
        let key = unhex("0464656d6f 0000000000000102");
        let old = unhex(OLD);
        let parts = ("demo".parse().unwrap(), EXAMPLE);
        assert_eq!(decode(&key, &old), Ok(parts), "{}", codec::hex(&value(&key, &EXAMPLE)));
    }

    const OLD: &str = "017ef255fb000000000000012c0000000000000028000000000001117000000000000003e8\
        00000000000007d00000000000015f900000000000000002";

    #[test]
    fn a_flipped_bit_is_noticed() {
        let key = key(&"demo".parse().unwrap(), EXAMPLE.first);
        no_bit_may_flip(&value(&key, &EXAMPLE), |value| decode(&key, value));
    }
}
