//! `meta`: what the store knows about itself.
//!
//! Owner: the writer. Lifetime: that of the store.
//! Keys: [`FORMAT_KEY`] (the format of the directory, 4), [`EPOCH_KEY`] (which life of the store it is, 4),
//! [`BATCH_KEY`] (how many batches have been written, 8; every batch writes it, so the journal can be
//! counted through). The value of the format has the same layout in every format.

use super::codec::{self, Broken, Put};

const VERSION: u8 = 1;

/// The key of the directory's format.
pub const FORMAT_KEY: &[u8] = b"format";

/// The key of the epoch.
pub const EPOCH_KEY: &[u8] = b"epoch";

/// The key of the number of the newest batch.
pub const BATCH_KEY: &[u8] = b"batch";

/// The value of the format or the epoch.
#[must_use]
pub fn value(key: &[u8], number: u32) -> Vec<u8> {
    let mut value = codec::unsealed(4);
    value.put_u32(number);
    codec::seal(VERSION, key, value)
}

/// Reads the format or the epoch.
///
/// # Errors
/// [`Broken`] when key or value are not what was written.
pub fn decode(key: &[u8], value: &[u8]) -> Result<u32, Broken> {
    let mut reader = codec::open(VERSION, key, value)?;
    let number = reader.u32()?;
    reader.end()?;
    Ok(number)
}

/// The value of the number of the newest batch.
#[must_use]
pub fn batch_value(number: u64) -> Vec<u8> {
    let mut value = codec::unsealed(8);
    value.put_u64(number);
    codec::seal(VERSION, BATCH_KEY, value)
}

/// Reads the number of the newest batch.
///
/// # Errors
/// [`Broken`] when the value is not what was written.
pub fn decode_batch(value: &[u8]) -> Result<u64, Broken> {
    let mut reader = codec::open(VERSION, BATCH_KEY, value)?;
    let number = reader.u64()?;
    reader.end()?;
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::codec::arbitrary::{no_bit_may_flip, unhex};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reads_back(number: u32, batch: u64) {
            prop_assert_eq!(decode(EPOCH_KEY, &value(EPOCH_KEY, number)), Ok(number));
            prop_assert_eq!(decode_batch(&batch_value(batch)), Ok(batch));
        }
    }

    #[test]
    fn old_bytes_still_decode() {
        assert_eq!(decode(FORMAT_KEY, &unhex(FORMAT)), Ok(1), "{}", codec::hex(&value(FORMAT_KEY, 1)));
        assert_eq!(decode(EPOCH_KEY, &unhex(EPOCH)), Ok(258), "{}", codec::hex(&value(EPOCH_KEY, 258)));
        assert_eq!(decode_batch(&unhex(BATCH)), Ok(258), "{}", codec::hex(&batch_value(258)));
    }

    const FORMAT: &str = "0149c345c000000001";
    const EPOCH: &str = "011b257b2a00000102";
    const BATCH: &str = "01f5693a100000000000000102";

    #[test]
    fn a_flipped_bit_is_noticed() {
        no_bit_may_flip(&value(b"k", 258), |value| decode(b"k", value));
        no_bit_may_flip(&batch_value(258), decode_batch);
    }
}
