//! The books of one message.

use std::sync::Arc;

use roaring::RoaringBitmap;
use tidings_hub::shard::Ordinals;
use tidings_model::{Message, Ordinal, Timestamp};
use tidings_store::port::{ACK_TIME_BUCKETS, ReceiptRecord};

/// The books of one message.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) meant: Arc<RoaringBitmap>,
    pub(crate) accepted_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    pub(crate) keep: bool,
    pub(crate) record: ReceiptRecord,
    pub(crate) touched_at: Timestamp,
    /// Whether `record` is to be written down.
    pub(crate) dirty: bool,
}

impl Entry {
    pub(crate) fn new(message: &Message, record: ReceiptRecord, now: Timestamp) -> Self {
        Self {
            meant: Arc::clone(&message.meant),
            accepted_at: message.accepted_at,
            expires_at: message.expires_at,
            keep: message.keep,
            record,
            touched_at: now,
            dirty: false,
        }
    }

    /// Answers how many devices it was not written to before.
    pub(crate) fn written(&mut self, by: &Ordinals, now: Timestamp) -> u64 {
        self.touched_at = now;
        let before = self.record.written.len();
        match by {
            Ordinals::None => {}
            Ordinals::One(one) if self.record.dropped.contains(*one) => {}
            Ordinals::One(one) => {
                self.record.written.insert(*one);
            }
            Ordinals::Many(many) => {
                self.record.written |= many;
                // A long fan-out may tell of somebody who was let go meanwhile.
                self.record.written -= &self.record.dropped;
            }
        }
        self.record.written.len() - before
    }

    /// Answers 1 if it counted as written to the device and no longer does.
    pub(crate) fn unwritten(&mut self, device: Ordinal, now: Timestamp) -> u64 {
        self.touched_at = now;
        let has_it = self.record.acked.contains(device.0);
        u64::from(!has_it && self.record.written.remove(device.0))
    }

    /// It was let go for these devices. Answers how many of them will not get it.
    pub(crate) fn dropped(&mut self, by: &Ordinals, now: Timestamp) -> u64 {
        self.touched_at = now;
        let before = self.record.dropped.len();
        let mut let_go = |device: u32| {
            if !self.record.acked.contains(device) {
                self.record.dropped.insert(device);
                self.record.written.remove(device);
            }
        };
        match by {
            Ordinals::None => {}
            Ordinals::One(one) => let_go(*one),
            Ordinals::Many(many) => many.iter().for_each(let_go),
        }
        self.record.dropped.len() - before
    }

    /// Answers whether the receipt is the device's first for this message.
    pub(crate) fn acked(&mut self, device: Ordinal, at: Timestamp) -> bool {
        self.touched_at = at;
        // Who has it was written to, whatever the order in which that became known.
        self.record.written.insert(device.0);
        // Another connection of the device had it, or it asked for what it had missed.
        self.record.dropped.remove(device.0);
        let first = self.record.acked.insert(device.0);
        if first {
            let bucket = bucket_of(at.since(self.accepted_at).as_millis());
            let times = &mut self.record.ack_times;
            if times.len() <= bucket {
                times.resize(bucket + 1, 0);
            }
            times[bucket] = times[bucket].saturating_add(1);
        }
        first
    }
}

/// The bucket for a time in milliseconds: exact up to 4 ms, then four buckets for each doubling, up to
/// 9 hours; the last bucket takes all that is longer.
fn bucket_of(ms: u128) -> usize {
    let Ok(ms) = u32::try_from(ms) else { return ACK_TIME_BUCKETS - 1 };
    if ms < 4 {
        return ms as usize;
    }
    let octave = ms.ilog2() as usize;
    let quarter = (ms >> (octave - 2)) as usize & 3;
    (4 * (octave - 1) + quarter).min(ACK_TIME_BUCKETS - 1)
}

/// The middle of a bucket, in milliseconds.
fn middle_of(bucket: usize) -> f64 {
    if bucket < 4 {
        return bucket as f64;
    }
    let (octave, quarter) = (bucket / 4 + 1, bucket % 4);
    let width = 2f64.powi(octave as i32 - 2);
    width * (4 + quarter) as f64 + (width - 1.0) / 2.0
}

/// The time within which a share of the acknowledgements came, in milliseconds.
pub(crate) fn percentile(times: &[u32], share: f64) -> Option<f64> {
    let total: u64 = times.iter().map(|count| u64::from(*count)).sum();
    let wanted = (total as f64 * share).ceil().max(1.0) as u64;
    let mut seen = 0;
    times
        .iter()
        .position(|count| {
            seen += u64::from(*count);
            seen >= wanted
        })
        .map(middle_of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_in_order_and_their_middles_are_inside() {
        let mut last = 0;
        for ms in (0..2_000u128).chain((2_000..50_000_000).step_by(9_973)) {
            let bucket = bucket_of(ms);
            assert!(bucket == last || bucket == last + 1 || ms > 2_000, "{ms}");
            assert!(bucket >= last);
            last = bucket;
            if bucket < ACK_TIME_BUCKETS - 1 {
                assert_eq!(bucket_of(middle_of(bucket) as u128), bucket, "{ms}");
            }
        }
        assert_eq!(bucket_of(u128::MAX), ACK_TIME_BUCKETS - 1);
    }

    #[test]
    fn percentiles_of_a_table() {
        let mut times = vec![0; 20];
        times[2] = 98;
        times[12] = 2;
        for (share, expected) in [(0.5, 2.0), (0.95, 2.0), (0.99, middle_of(12))] {
            assert_eq!(percentile(&times, share), Some(expected), "{share}");
        }
        assert_eq!(percentile(&[], 0.5), None);
    }
}
