//! `receipt`: who has a message.
//!
//! Owner: the verb `record`. Lifetime: that of the message.
//! Key: namespace, number (8), as for [`super::message`]. Value: the devices written to, the devices that acknowledged
//! (sets of devices), the buckets of acknowledgement times (list of 4), for each reason of a drop that there is (1)
//! the devices, the devices for which another way was tried, when it was recalled (perhaps 8), the message that
//! announced this (perhaps 8), for each rung of the ladder the devices for which it was to be tried and those of
//! which is known what came of it, the devices that were held back, and its first steps, each its time (8), what
//! happened (1), the devices, and a text.
//!
//! Values before version 5 have no steps, and bitmaps in the place of sets. Those of version 3 have nobody held back, those of
//! version 2 only the devices of slow readers behind the times, those of version 1 nothing.

use roaring::RoaringBitmap;
use tidings_model::{DropReason, NamespaceName, Seq, Step, Timestamp};

use super::codec::{self, Broken, Put, Reader};
use crate::port::{Attempts, ReceiptRecord, TraceStep};

const VERSION: u8 = 5;

/// With bitmaps, and without steps.
const VERSION_4: u8 = 4;

/// With nobody held back.
const VERSION_3: u8 = 3;

/// With the devices of slow readers.
const VERSION_2: u8 = 2;

/// The key of a receipt.
#[must_use]
pub fn key(namespace: &NamespaceName, seq: Seq) -> Vec<u8> {
    super::message::key(namespace, seq)
}

/// The value of a receipt.
#[must_use]
pub fn value(key: &[u8], record: &ReceiptRecord) -> Vec<u8> {
    let sets = [&record.written, &record.acked, &record.escalated, &record.held];
    let sets = sets.into_iter().chain(record.dropped.iter().filter(|set| !set.is_empty()));
    let sets: usize = sets.map(codec::devices_bytes).sum();
    let mut value = codec::unsealed(sets + record.ack_times.len() * 4 + record.first_steps.len() * 48 + 26);
    value.put_devices(&record.written);
    value.put_devices(&record.acked);
    value.put_list(&record.ack_times, |value, count| value.put_u32(*count));
    let dropped: Vec<_> =
        DropReason::ALL.iter().filter(|why| !record.dropped_for(**why).is_empty()).collect();
    value.put_list(&dropped, |value, why| {
        value.put_u8(**why as u8);
        value.put_devices(record.dropped_for(**why));
    });
    value.put_devices(&record.escalated);
    value.put_maybe(record.recalled_at, |value, at| value.put_u64(at.0));
    value.put_maybe(record.announced, |value, seq| value.put_u64(seq.0));
    value.put_list(&record.attempts, |value, rung| {
        value.put_devices(&rung.claimed);
        value.put_devices(&rung.settled);
    });
    value.put_devices(&record.held);
    value.put_list(&record.first_steps, |value, step| {
        value.put_u64(step.at.0);
        value.put_u8(step.step as u8);
        value.put_devices(&step.by);
        value.put_bytes(step.detail.as_bytes());
    });
    codec::seal(VERSION, key, value)
}

/// Reads a receipt.
///
/// # Errors
/// [`Broken`] when key or value are not what was written.
pub fn decode(key: &[u8], value: &[u8]) -> Result<ReceiptRecord, Broken> {
    let version = value.first().copied().filter(|version| (1..VERSION).contains(version)).unwrap_or(VERSION);
    let mut reader = codec::open(version, key, value)?;
    let set = |reader: &mut Reader<'_>| -> Result<RoaringBitmap, Broken> {
        if version == VERSION { reader.devices() } else { reader.bitmap() }
    };
    let mut record = ReceiptRecord {
        written: set(&mut reader)?,
        acked: set(&mut reader)?,
        ack_times: reader.list(Reader::u32)?,
        ..ReceiptRecord::default()
    };
    if version == VERSION_2 {
        record.dropped[DropReason::SlowReader as usize] = set(&mut reader)?;
    } else if version >= VERSION_3 {
        for (why, devices) in reader.list(|reader| Ok((reader.u8()?, set(reader)?)))? {
            *record.dropped.get_mut(usize::from(why)).ok_or(Broken::Choice(why))? = devices;
        }
        record.escalated = set(&mut reader)?;
        record.recalled_at = reader.maybe(|reader| reader.u64().map(Timestamp))?;
        record.announced = reader.maybe(|reader| reader.u64().map(Seq))?;
        record.attempts =
            reader.list(|reader| Ok(Attempts { claimed: set(reader)?, settled: set(reader)? }))?;
    }
    if version >= VERSION_4 {
        record.held = set(&mut reader)?;
    }
    if version == VERSION {
        record.first_steps = reader.list(first_step)?;
    }
    reader.end()?;
    Ok(record)
}

fn first_step(reader: &mut Reader<'_>) -> Result<TraceStep, Broken> {
    let at = Timestamp(reader.u64()?);
    let code = reader.u8()?;
    Ok(TraceStep {
        at,
        step: Step::from_code(code).ok_or(Broken::Choice(code))?,
        by: reader.devices()?,
        detail: String::from_utf8(reader.bytes()?.to_vec()).map_err(|_| Broken::Name)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::codec::arbitrary::{bitmap, namespace, no_bit_may_flip, unhex};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reads_back(
            namespace in namespace(), seq: u64, written in bitmap(), acked in bitmap(),
            dropped in [bitmap(), bitmap(), bitmap()], ack_times in proptest::collection::vec(any::<u32>(), 0..96),
            escalated in bitmap(), recalled_at: Option<u64>, announced: Option<u64>,
            attempts in proptest::collection::vec((bitmap(), bitmap()), 0..3), held in bitmap(),
            steps in proptest::collection::vec((any::<u64>(), 0..Step::ALL.len(), bitmap(), ".{0,9}"), 0..4),
        ) {
            let step = |(at, step, by, detail)| TraceStep { at: Timestamp(at), step: Step::ALL[step], by, detail };
            let first_steps = steps.into_iter().map(step).collect();
            let key = key(&namespace, Seq(seq));
            let attempts =
                attempts.into_iter().map(|(claimed, settled)| Attempts { claimed, settled }).collect();
            let (recalled_at, announced) = (recalled_at.map(Timestamp), announced.map(Seq));
            let record = ReceiptRecord {
                written, acked, dropped, ack_times, escalated, recalled_at, announced, attempts, held, first_steps,
            };
            prop_assert_eq!(decode(&key, &value(&key, &record)), Ok(record));
        }
    }

    fn example() -> ReceiptRecord {
        ReceiptRecord {
            written: [1, 5].into_iter().collect(),
            acked: [5].into_iter().collect(),
            dropped: [[7].into_iter().collect(), RoaringBitmap::new(), [8, 9].into_iter().collect()],
            ack_times: vec![0, 1],
            escalated: [2].into_iter().collect(),
            recalled_at: Some(Timestamp(2000)),
            announced: Some(Seq(259)),
            attempts: vec![Attempts {
                claimed: [2, 3].into_iter().collect(),
                settled: [2].into_iter().collect(),
            }],
            held: RoaringBitmap::new(),
            first_steps: Vec::new(),
        }
    }

    fn held() -> ReceiptRecord {
        ReceiptRecord { held: [4].into_iter().collect(), ..example() }
    }

    #[test]
    fn old_bytes_still_decode() {
        let key = unhex("0464656d6f 0000000000000102");
        let first = ReceiptRecord {
            written: example().written,
            acked: example().acked,
            ack_times: vec![0, 1],
            ..Default::default()
        };
        assert_eq!(decode(&key, &unhex(FIRST)), Ok(first.clone()));
        let slow = [example().dropped[0].clone(), RoaringBitmap::new(), RoaringBitmap::new()];
        assert_eq!(decode(&key, &unhex(SECOND)), Ok(ReceiptRecord { dropped: slow, ..first }));
        let old = unhex(OLD);
        assert_eq!(decode(&key, &old), Ok(example()), "{}", codec::hex(&value(&key, &example())));
    }

    #[test]
    fn bytes_of_version_4_still_decode() {
        let key = unhex("0464656d6f 0000000000000102");
        assert_eq!(decode(&key, &unhex(HELD)), Ok(held()), "{}", codec::hex(&value(&key, &held())));
    }

    #[test]
    fn bytes_of_version_5_still_decode() {
        let key = unhex("0464656d6f 0000000000000102");
        let by = [1, 5].into_iter().collect();
        let step = TraceStep { at: Timestamp(1000), step: Step::Written, by, detail: "c1".to_owned() };
        let stepped = ReceiptRecord { acked: (0..9).collect(), first_steps: vec![step], ..held() };
        assert_eq!(
            decode(&key, &unhex(STEPPED)),
            Ok(stepped.clone()),
            "{}",
            codec::hex(&value(&key, &stepped))
        );
    }

    const STEPPED: &str = "0572b3c7cd020000000100000005ff000000223a3000000100000000000800100000000000010002\
        00030004000500060007000800000000020000000000000001000000020001000000070202000000\
        080000000901000000020100000000000007d0010000000000000103000000010200000002000000\
        03010000000201000000040000000100000000000003e808020000000100000005000000026331";

    const HELD: &str = "04533d1a2c000000143a30000001000000000001001000000001000500000000123a300000010000\
        00000000001000000005000000000200000000000000010000000200000000123a30000001000000\
        0000000010000000070002000000143a30000001000000000001001000000008000900000000123a\
        30000001000000000000001000000002000100000000000007d00100000000000001030000000100\
        0000143a30000001000000000001001000000002000300000000123a300000010000000000000010\
        0000000200000000123a3000000100000000000000100000000400";

    const FIRST: &str = "01e5dc1764000000143a30000001000000000001001000000001000500000000123a300000010000\
        0000000000100000000500000000020000000000000001";

    const OLD: &str = "03eb563ae1000000143a30000001000000000001001000000001000500000000123a300000010000\
        00000000001000000005000000000200000000000000010000000200000000123a30000001000000\
        0000000010000000070002000000143a30000001000000000001001000000008000900000000123a\
        30000001000000000000001000000002000100000000000007d00100000000000001030000000100\
        0000143a30000001000000000001001000000002000300000000123a300000010000000000000010\
        0000000200";

    const SECOND: &str = "027406d7ed000000143a30000001000000000001001000000001000500000000123a300000010000\
        0000000000100000000500000000020000000000000001000000123a3000000100000000000000100000000700";

    #[test]
    fn a_flipped_bit_is_noticed() {
        no_bit_may_flip(&value(b"k", &example()), |value| decode(b"k", value));
        no_bit_may_flip(&value(b"k", &held()), |value| decode(b"k", value));
    }
}
