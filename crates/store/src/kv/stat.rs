//! `stat`: what happened in a namespace, by interval.
//!
//! Owner: the verb `tally`. Lifetime: as long as the node keeps intervals of that length.
//! Key: namespace, granularity (1), when the interval begins (8). Value: pushes, deliveries, acked, escalated, expired,
//! dropped, connections, users, rooms (8 each), the buckets of acknowledgement times (list of 8).

use tidings_model::{Granularity, Timestamp};

use super::codec::{self, Broken, Put, Reader};
use crate::port::{Interval, Numbers};

const VERSION: u8 = 1;

/// The key of a row.
#[must_use]
pub fn key(interval: &Interval) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + interval.namespace.as_str().len() + 9);
    key.put_name(interval.namespace.as_str());
    key.put_u8(interval.granularity as u8);
    key.put_u64(interval.at.0);
    key
}

/// Reads a key.
///
/// # Errors
/// [`Broken`] when it is none.
pub fn decode_key(key: &[u8]) -> Result<Interval, Broken> {
    let mut reader = Reader(key);
    let namespace = reader.namespace()?;
    let code = reader.u8()?;
    let granularity = Granularity::ALL.into_iter().find(|one| *one as u8 == code);
    let granularity = granularity.ok_or(Broken::Choice(code))?;
    let at = Timestamp(reader.u64()?);
    reader.end()?;
    Ok(Interval { namespace, granularity, at })
}

/// The value of a row.
#[must_use]
pub fn value(key: &[u8], numbers: &Numbers) -> Vec<u8> {
    let Numbers { pushes, deliveries, acked, escalated, expired, dropped, .. } = *numbers;
    let Numbers { connections, users, rooms, .. } = *numbers;
    let mut value = codec::unsealed(9 * 8 + 4 + numbers.ack_times.len() * 8);
    for number in [pushes, deliveries, acked, escalated, expired, dropped, connections, users, rooms] {
        value.put_u64(number);
    }
    value.put_list(&numbers.ack_times, |value, count| value.put_u64(*count));
    codec::seal(VERSION, key, value)
}

/// Reads a row.
///
/// # Errors
/// [`Broken`] when key or value are not what was written.
pub fn decode(key: &[u8], value: &[u8]) -> Result<Numbers, Broken> {
    let mut reader = codec::open(VERSION, key, value)?;
    let numbers = Numbers {
        pushes: reader.u64()?,
        deliveries: reader.u64()?,
        acked: reader.u64()?,
        escalated: reader.u64()?,
        expired: reader.u64()?,
        dropped: reader.u64()?,
        connections: reader.u64()?,
        users: reader.u64()?,
        rooms: reader.u64()?,
        ack_times: reader.list(Reader::u64)?,
    };
    reader.end()?;
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::codec::arbitrary::{namespace, no_bit_may_flip, unhex};
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn any_interval() -> impl Strategy<Value = Interval> {
        (namespace(), 0usize..3, any::<u64>()).prop_map(|(namespace, index, at)| Interval {
            namespace,
            granularity: Granularity::ALL[index],
            at: Timestamp(at),
        })
    }

    fn numbers(of: [u64; 9], ack_times: Vec<u64>) -> Numbers {
        let [pushes, deliveries, acked, escalated, expired, dropped, connections, users, rooms] = of;
        Numbers {
            pushes,
            deliveries,
            acked,
            escalated,
            expired,
            dropped,
            connections,
            users,
            rooms,
            ack_times,
        }
    }

    proptest! {
        #[test]
        fn reads_back(interval in any_interval(), of: [u64; 9], times in vec(any::<u64>(), 0..96)) {
            let key = key(&interval);
            prop_assert_eq!(decode_key(&key), Ok(interval));
            let numbers = numbers(of, times);
            prop_assert_eq!(decode(&key, &value(&key, &numbers)), Ok(numbers));
        }

        #[test]
        fn keys_sort_by_time_within_a_granularity(one in any_interval(), at: u64) {
            let other = Interval { at: Timestamp(at), ..one.clone() };
            prop_assert_eq!(key(&one).cmp(&key(&other)), one.at.cmp(&other.at));
        }

        #[test]
        fn garbage_never_panics(key in vec(any::<u8>(), 0..40), value in vec(any::<u8>(), 0..120)) {
            let _ = (decode_key(&key), decode(&key, &value));
        }
    }

    fn example() -> Numbers {
        numbers([1, 2, 3, 4, 5, 6, 7, 8, 9], vec![0, 258])
    }

    #[test]
    fn old_bytes_still_decode() {
        let key = unhex("0464656d6f 01 000000000036ee80");
        let hour = Interval {
            namespace: "demo".parse().unwrap(),
            granularity: Granularity::Hour,
            at: Timestamp(3_600_000),
        };
        assert_eq!(key, super::key(&hour));
        let old = unhex(OLD);
        assert_eq!(decode(&key, &old), Ok(example()), "{}", codec::hex(&value(&key, &example())));
    }

    const OLD: &str = "0163de2a8a0000000000000001000000000000000200000000000000030000000000000004\
        00000000000000050000000000000006000000000000000700000000000000080000000000000009\
        0000000200000000000000000000000000000102";

    #[test]
    fn a_flipped_bit_is_noticed() {
        no_bit_may_flip(&value(b"k", &example()), |value| decode(b"k", value));
    }
}
