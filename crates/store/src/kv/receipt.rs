//! `receipt`: who has a message.
//!
//! Owner: the verb `record`. Lifetime: that of the message.
//! Key: namespace, number (8), as for [`super::message`]. Value: the devices written to (bitmap), the
//! devices that acknowledged (bitmap), the buckets of acknowledgement times (list of 4), the devices that
//! it was let go for (bitmap; not in values of version 1).

use roaring::RoaringBitmap;
use tidings_model::{NamespaceName, Seq};

use super::codec::{self, Broken, Put, Reader};
use crate::port::ReceiptRecord;

const VERSION: u8 = 2;

/// Values without the devices that the message was let go for.
const VERSION_BEFORE: u8 = 1;

/// The key of a receipt.
#[must_use]
pub fn key(namespace: &NamespaceName, seq: Seq) -> Vec<u8> {
    super::message::key(namespace, seq)
}

/// The value of a receipt.
#[must_use]
pub fn value(key: &[u8], record: &ReceiptRecord) -> Vec<u8> {
    let bitmaps = [&record.written, &record.acked, &record.dropped];
    let bitmaps: usize = bitmaps.iter().map(|bitmap| bitmap.serialized_size()).sum();
    let mut value = codec::unsealed(bitmaps + record.ack_times.len() * 4 + 16);
    value.put_bitmap(&record.written);
    value.put_bitmap(&record.acked);
    value.put_list(&record.ack_times, |value, count| value.put_u32(*count));
    value.put_bitmap(&record.dropped);
    codec::seal(VERSION, key, value)
}

/// Reads a receipt.
///
/// # Errors
/// [`Broken`] when key or value are not what was written.
pub fn decode(key: &[u8], value: &[u8]) -> Result<ReceiptRecord, Broken> {
    let before = value.first() == Some(&VERSION_BEFORE);
    let mut reader = codec::open(if before { VERSION_BEFORE } else { VERSION }, key, value)?;
    let record = ReceiptRecord {
        written: reader.bitmap()?,
        acked: reader.bitmap()?,
        ack_times: reader.list(Reader::u32)?,
        dropped: if before { RoaringBitmap::new() } else { reader.bitmap()? },
    };
    reader.end()?;
    Ok(record)
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
            dropped in bitmap(), ack_times in proptest::collection::vec(any::<u32>(), 0..96),
        ) {
            let key = key(&namespace, Seq(seq));
            let record = ReceiptRecord { written, acked, dropped, ack_times };
            prop_assert_eq!(decode(&key, &value(&key, &record)), Ok(record));
        }
    }

    fn example() -> ReceiptRecord {
        ReceiptRecord {
            written: [1, 5].into_iter().collect(),
            acked: [5].into_iter().collect(),
            dropped: [7].into_iter().collect(),
            ack_times: vec![0, 1],
        }
    }

    #[test]
    fn old_bytes_still_decode() {
        let key = unhex("0464656d6f 0000000000000102");
        let before = ReceiptRecord { dropped: RoaringBitmap::new(), ..example() };
        assert_eq!(decode(&key, &unhex(BEFORE)), Ok(before));
        let old = unhex(OLD);
        assert_eq!(decode(&key, &old), Ok(example()), "{}", codec::hex(&value(&key, &example())));
    }

    const BEFORE: &str = "01e5dc1764000000143a30000001000000000001001000000001000500000000123a300000010000\
        0000000000100000000500000000020000000000000001";

    const OLD: &str = "027406d7ed000000143a30000001000000000001001000000001000500000000123a300000010000\
        0000000000100000000500000000020000000000000001000000123a3000000100000000000000100000000700";

    #[test]
    fn a_flipped_bit_is_noticed() {
        no_bit_may_flip(&value(b"k", &example()), |value| decode(b"k", value));
    }
}
