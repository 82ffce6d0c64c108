//! `trace`: what happened to a message on its way to devices.
//!
//! Owner: the verb `record`. Lifetime: that of the message.
//! Key: namespace, message number (8), number of the batch that wrote it (8). Value: a list of steps, each its
//! time (8), what happened (1), the devices (bitmap), and a text.

use tidings_model::{NamespaceName, Seq, Step, Timestamp};

use super::codec::{self, Broken, Put, Reader};
use crate::port::TraceStep;

const VERSION: u8 = 1;

/// The beginning of all keys of a message.
#[must_use]
pub fn prefix(namespace: &NamespaceName, seq: Seq) -> Vec<u8> {
    super::message::key(namespace, seq)
}

/// The key of what a batch recorded of a message.
#[must_use]
pub fn key(namespace: &NamespaceName, seq: Seq, batch: u64) -> Vec<u8> {
    let mut key = prefix(namespace, seq);
    key.put_u64(batch);
    key
}

/// Reads a key.
///
/// # Errors
/// [`Broken`] when it is none.
pub fn decode_key(key: &[u8]) -> Result<(NamespaceName, Seq, u64), Broken> {
    let mut reader = Reader(key);
    let parts = (reader.namespace()?, Seq(reader.u64()?), reader.u64()?);
    reader.end()?;
    Ok(parts)
}

/// The value of steps.
#[must_use]
pub fn value(key: &[u8], steps: &[TraceStep]) -> Vec<u8> {
    let bytes = steps.iter().map(|step| step.by.serialized_size() + step.detail.len() + 17);
    let mut value = codec::unsealed(4 + bytes.sum::<usize>());
    value.put_list(steps, |value, step| {
        value.put_u64(step.at.0);
        value.put_u8(step.step as u8);
        value.put_bitmap(&step.by);
        value.put_bytes(step.detail.as_bytes());
    });
    codec::seal(VERSION, key, value)
}

/// Reads steps.
///
/// # Errors
/// [`Broken`] when key or value are not what was written.
pub fn decode(key: &[u8], value: &[u8]) -> Result<Vec<TraceStep>, Broken> {
    let mut reader = codec::open(VERSION, key, value)?;
    let steps = reader.list(|reader| {
        let at = Timestamp(reader.u64()?);
        let code = reader.u8()?;
        Ok(TraceStep {
            at,
            step: Step::from_code(code).ok_or(Broken::Choice(code))?,
            by: reader.bitmap()?,
            detail: String::from_utf8(reader.bytes()?.to_vec()).map_err(|_| Broken::Name)?,
        })
    })?;
    reader.end()?;
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::codec::arbitrary::{bitmap, namespace, no_bit_may_flip, unhex};
    use proptest::collection::vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reads_back(
            namespace in namespace(), seq: u64, batch: u64,
            steps in vec((any::<u64>(), 0..Step::ALL.len(), bitmap(), ".{0,20}"), 0..4),
        ) {
            let key = key(&namespace, Seq(seq), batch);
            let step = |(at, step, by, detail)| TraceStep { at: Timestamp(at), step: Step::ALL[step], by, detail };
            let steps: Vec<TraceStep> = steps.into_iter().map(step).collect();
            prop_assert_eq!(decode(&key, &value(&key, &steps)), Ok(steps));
            prop_assert_eq!(decode_key(&key), Ok((namespace, Seq(seq), batch)));
        }
    }

    fn example() -> Vec<TraceStep> {
        let by = [1, 5].into_iter().collect();
        vec![TraceStep { at: Timestamp(1000), step: Step::Written, by, detail: "c1".to_owned() }]
    }

    #[test]
    fn old_bytes_still_decode() {
        let key = unhex("0464656d6f 0000000000000102 0000000000000007");
        let old = unhex(OLD);
        assert_eq!(decode(&key, &old), Ok(example()), "{}", codec::hex(&value(&key, &example())));
    }

    const OLD: &str = "01945cc4d70000000100000000000003e808000000143a3000000100000000000100100000000100\
        0500000000026331";

    #[test]
    fn a_flipped_bit_is_noticed() {
        no_bit_may_flip(&value(b"k", &example()), |value| decode(b"k", value));
    }
}
