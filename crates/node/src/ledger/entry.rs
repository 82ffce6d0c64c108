//! The books of one message.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use roaring::RoaringBitmap;
use tidings_hub::Unwritten;
use tidings_hub::shard::Ordinals;
use tidings_model::{DropReason, Message, NamespaceName, Ordinal, Seq, Step, Timestamp};
use tidings_outbound::Outcome;
use tidings_store::port::{ACK_TIME_BUCKETS, ReceiptRecord, TraceStep};
use tidings_store::{Attempts, Recording};

use super::Standing;

/// The books of one message.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) meant: Arc<RoaringBitmap>,
    /// From when on receipts are timed.
    pub(crate) sent_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    pub(crate) keep: bool,
    /// It announces a recall, which is nobody's push: statistics and hooks know nothing of it.
    pub(crate) announces: bool,
    pub(crate) record: Shared,
    /// What has happened since the books were last written down.
    pub(crate) steps: Vec<TraceStep>,
    /// Whether steps are kept apart from the record by now: later ones must not come before them.
    pub(crate) apart: bool,
    pub(crate) touched_at: Timestamp,
    /// Whether `record` is to be written down.
    pub(crate) dirty: bool,
}

/// Receipts that may be on their way to the store: who changes them meanwhile changes a copy.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shared(Arc<ReceiptRecord>);

impl From<ReceiptRecord> for Shared {
    fn from(record: ReceiptRecord) -> Self {
        Self(Arc::new(record))
    }
}

impl Deref for Shared {
    type Target = ReceiptRecord;

    fn deref(&self) -> &ReceiptRecord {
        &self.0
    }
}

impl DerefMut for Shared {
    fn deref_mut(&mut self) -> &mut ReceiptRecord {
        Arc::make_mut(&mut self.0)
    }
}

/// For whom a rung of the ladder is to be tried.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Claim {
    /// For whom it was not before.
    pub(crate) fresh: RoaringBitmap,
    /// For whom it was, and nobody knows what came of it.
    pub(crate) interrupted: RoaringBitmap,
}

/// What came of an attempt.
#[derive(Clone, Debug)]
pub(crate) struct Tried {
    pub(crate) rung: u8,
    pub(crate) device: u32,
    pub(crate) provider: String,
    pub(crate) at: Timestamp,
    pub(crate) outcome: Outcome,
}

/// Most steps in a record, and most devices of each.
const FIRST_STEPS: usize = 4;
const FIRST_STEP_DEVICES: u64 = 4;

/// What happens to a message within so many milliseconds is one step of a trace.
const STEP_GRAIN_MS: u64 = 10;

impl Entry {
    /// The books as they are on record, if they are.
    pub(crate) fn new(message: &Message, record: Option<ReceiptRecord>, now: Timestamp) -> Self {
        Self {
            apart: record.is_some(),
            meant: Arc::clone(&message.meant),
            sent_at: message.sent_at,
            expires_at: message.expires_at,
            keep: message.keep,
            announces: message.recalls.is_some(),
            record: Shared::from(record.unwrap_or_default()),
            steps: Vec::new(),
            touched_at: now,
            dirty: false,
        }
    }

    /// What is to be written down now. The first steps go into the record, which is written anyhow, as long as they
    /// are few and of few devices, as with most messages; the others are kept apart.
    pub(crate) fn recording(&mut self, namespace: NamespaceName, seq: Seq) -> Recording {
        self.dirty = false;
        let mut steps = std::mem::take(&mut self.steps);
        let small = |step: &TraceStep| step.by.len() <= FIRST_STEP_DEVICES && step.detail.is_empty();
        let first = &mut self.record.first_steps;
        if !self.apart && first.len() + steps.len() <= FIRST_STEPS && steps.iter().all(small) {
            first.append(&mut steps);
        }
        self.apart |= !steps.is_empty();
        Recording { namespace, seq, record: Arc::clone(&self.record.0), steps }
    }

    /// How a device stands to the message.
    pub(crate) fn standing(&self, device: Ordinal) -> Standing {
        Standing {
            acked: self.record.acked.contains(device.0),
            dropped: self.record.dropped(device.0),
            recalled: self.record.recalled_at.is_some(),
        }
    }

    /// Answers how many devices it was not written to before.
    pub(crate) fn written(&mut self, by: &Ordinals, now: Timestamp) -> u64 {
        self.touched_at = now;
        let before = self.record.written.len();
        // What was trimmed is written after all to whoever asks for it from a position of its own.
        let gone = [DropReason::SlowReader, DropReason::Collapsed].map(|why| self.record.dropped_for(why));
        let dropped = |device| gone.iter().any(|gone| gone.contains(device));
        match by {
            Ordinals::None => {}
            Ordinals::One(one) if dropped(*one) => {}
            Ordinals::One(one) => {
                self.record.written.insert(*one);
                self.note(now, Step::Written, by);
            }
            Ordinals::Many(many) => {
                // A long fan-out may tell of somebody who was let go meanwhile.
                if gone.iter().all(|gone| gone.is_disjoint(many)) {
                    self.record.written |= many;
                    self.note(now, Step::Written, by);
                } else {
                    let left = gone.iter().fold(many.clone(), |left, gone| left - *gone);
                    self.record.written |= &left;
                    if !left.is_empty() {
                        self.note(now, Step::Written, &Ordinals::Many(left));
                    }
                }
            }
        }
        self.record.written.len() - before
    }

    /// Answers 1 if it counted as written to the device and no longer does.
    pub(crate) fn unwritten(&mut self, device: Ordinal, why: Unwritten, now: Timestamp) -> u64 {
        self.touched_at = now;
        let has_it = self.record.acked.contains(device.0);
        let was_written = !has_it && self.record.written.remove(device.0);
        if was_written {
            let step = match why {
                Unwritten::ConnectionLost => Step::ConnectionLost,
                Unwritten::Expired => Step::Expired,
                Unwritten::Recalled => Step::Recalled,
            };
            self.note(now, step, &Ordinals::One(device.0));
        }
        u64::from(was_written)
    }

    /// It was in outboxes of these devices and is let go. Answers how many of them will not get it.
    pub(crate) fn let_go(&mut self, why: DropReason, by: &Ordinals, now: Timestamp) -> u64 {
        let ReceiptRecord { acked, written, .. } = &mut *self.record;
        let mut never_left = |device| {
            if !acked.contains(device) {
                written.remove(device);
            }
        };
        match by {
            Ordinals::None => {}
            Ordinals::One(one) => never_left(*one),
            Ordinals::Many(many) => many.iter().for_each(never_left),
        }
        count(&self.dropped(why, by, now))
    }

    /// These devices do not get it any more, unless they have it, or would not get it anyhow because it is recalled or its time is
    /// over.
    /// Answers which.
    pub(crate) fn dropped(&mut self, why: DropReason, by: &Ordinals, now: Timestamp) -> Ordinals {
        self.touched_at = now;
        let over = !self.may_be_acked(now);
        let gets_it = |device: &u32| {
            !over
                && self.meant.contains(*device)
                && !self.record.acked.contains(*device)
                && self.record.dropped(*device).is_none()
        };
        let devices: Vec<u32> = match by {
            Ordinals::None => Vec::new(),
            Ordinals::One(one) => Some(*one).into_iter().filter(gets_it).collect(),
            Ordinals::Many(many) => many.iter().filter(gets_it).collect(),
        };
        self.record.dropped[why as usize].extend(devices.iter().copied());
        let dropped = Ordinals::from(devices);
        self.note(now, why.step(), &dropped);
        dropped
    }

    /// Answers whether the receipt is the device's first for this message.
    pub(crate) fn acked(&mut self, device: Ordinal, at: Timestamp) -> bool {
        self.touched_at = at;
        // Who has it was written to, whatever the order in which that became known.
        self.record.written.insert(device.0);
        // Another connection of the device had it, or it asked for what it had missed.
        for gone in &mut self.record.dropped {
            gone.remove(device.0);
        }
        let first = self.record.acked.insert(device.0);
        if first {
            self.note(at, Step::Acked, &Ordinals::One(device.0));
            let bucket = bucket_of(at.since(self.sent_at).as_millis());
            let times = &mut self.record.ack_times;
            if times.len() <= bucket {
                times.resize(bucket + 1, 0);
            }
            times[bucket] = times[bucket].saturating_add(1);
        }
        first
    }

    /// It is withdrawn from everybody who has not acknowledged it. Answers whether it was not before.
    pub(crate) fn recalled(&mut self, at: Timestamp) -> bool {
        self.touched_at = at;
        let first = self.record.recalled_at.is_none();
        if first {
            self.record.recalled_at = Some(at);
            let withdrawn = self.pending();
            self.note(at, Step::Recalled, &Ordinals::Many(withdrawn));
        }
        first
    }

    /// Whether a receipt may still be worth waiting for. A message that was for who was there only is over at once, and has
    /// reached them.
    pub(crate) fn may_be_acked(&self, now: Timestamp) -> bool {
        self.record.recalled_at.is_none() && (!self.keep || now < self.expires_at)
    }

    /// Who has neither given a receipt nor been dropped.
    pub(crate) fn pending(&self) -> RoaringBitmap {
        let mut pending = &*self.meant - &self.record.acked;
        for gone in &self.record.dropped {
            pending -= gone;
        }
        pending
    }

    /// Who was left alone when another way was to be tried, or for whom one was about to be tried when the server ended, and
    /// still waits.
    pub(crate) fn held(&self) -> RoaringBitmap {
        let mut held = self.record.held.clone();
        for rung in &self.record.attempts {
            held |= &rung.claimed - &rung.settled;
        }
        held & self.pending()
    }

    /// For whom another way was tried, on any rung.
    pub(crate) fn tried_for(&self) -> RoaringBitmap {
        self.record.attempts.iter().fold(RoaringBitmap::new(), |all, rung| all | &rung.settled)
    }

    /// Whether it was recalled while somebody could still get it.
    pub(crate) fn is_withdrawn(&self) -> bool {
        self.record.recalled_at.is_some_and(|at| at < self.expires_at)
    }

    /// A rung of the ladder is to be tried for those of these devices that still wait. Answers for whom it is, and
    /// for whom it was about to be before, without anything being known of it since.
    pub(crate) fn claim(&mut self, rung: u8, devices: &RoaringBitmap, now: Timestamp) -> Claim {
        self.touched_at = now;
        let waiting = &self.pending() & devices;
        let attempts = &mut self.record.attempts;
        if attempts.len() <= usize::from(rung) {
            attempts.resize_with(usize::from(rung) + 1, Attempts::default);
        }
        let attempts = &mut attempts[usize::from(rung)];
        let claim = Claim {
            fresh: &waiting - &attempts.claimed,
            interrupted: &(&waiting & &attempts.claimed) - &attempts.settled,
        };
        attempts.claimed |= &claim.fresh;
        claim
    }

    /// What came of an attempt is known.
    pub(crate) fn tried(&mut self, tried: &Tried, now: Timestamp) {
        self.touched_at = now;
        if let Some(attempts) = self.record.attempts.get_mut(usize::from(tried.rung)) {
            attempts.settled.insert(tried.device);
        }
        let by = Ordinals::One(tried.device);
        self.note_with(tried.at, Step::Escalated, &by, tried.provider.clone());
        let (step, said) = match &tried.outcome {
            Outcome::Accepted => (Step::ProviderAccepted, String::new()),
            Outcome::Unknown(why) => (Step::ProviderAccepted, format!("not certain: {why}")),
            Outcome::Refused(why) => (Step::ProviderRefused, why.clone()),
        };
        if step == Step::ProviderAccepted {
            self.record.escalated.insert(tried.device);
        }
        self.note_with(now, step, &by, said);
    }

    /// Remembers something for traces, in words.
    pub(crate) fn note_with(&mut self, at: Timestamp, step: Step, by: &Ordinals, detail: String) {
        if detail.is_empty() {
            return self.note(at, step, by);
        }
        let devices = match by {
            Ordinals::None => return,
            Ordinals::One(one) => [*one].into_iter().collect(),
            Ordinals::Many(many) => many.clone(),
        };
        self.steps.push(TraceStep { at, step, by: devices, detail });
    }

    /// Remembers again what was taken out.
    pub(crate) fn note_again(&mut self, step: TraceStep) {
        if step.detail.is_empty() {
            self.note(step.at, step.step, &Ordinals::Many(step.by));
        } else {
            self.steps.push(step);
        }
    }

    /// To whom its time being over happened: they had neither a receipt nor any other end. As [`super::report`] counts them.
    pub(crate) fn ran_out(&self) -> RoaringBitmap {
        if self.is_withdrawn() {
            return RoaringBitmap::new();
        }
        let left = self.pending() - &self.record.escalated;
        if self.keep { left } else { left & &self.record.written }
    }

    /// Remembers something for traces.
    pub(crate) fn note(&mut self, at: Timestamp, step: Step, by: &Ordinals) {
        if matches!(by, Ordinals::None) {
            return;
        }
        let last = self.steps.last_mut().filter(|last| last.step == step && last.detail.is_empty());
        let by_one = |set: &mut RoaringBitmap| match by {
            Ordinals::None => {}
            Ordinals::One(one) => drop(set.insert(*one)),
            Ordinals::Many(many) => *set |= many,
        };
        match last {
            Some(last) if at.0.saturating_sub(last.at.0) <= STEP_GRAIN_MS => by_one(&mut last.by),
            Some(_) | None => {
                let mut devices = RoaringBitmap::new();
                by_one(&mut devices);
                self.steps.push(TraceStep { at, step, by: devices, detail: String::new() });
            }
        }
    }
}

fn count(by: &Ordinals) -> u64 {
    match by {
        Ordinals::None => 0,
        Ordinals::One(_) => 1,
        Ordinals::Many(many) => many.len(),
    }
}

/// The bucket for a time in milliseconds: exact up to 4 ms, then four buckets for each doubling, up to
/// 9 hours; the last bucket takes all that is longer.
pub(crate) fn bucket_of(ms: u128) -> usize {
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
pub(crate) fn percentile<T: Copy + Into<u64>>(times: &[T], share: f64) -> Option<f64> {
    let total: u64 = times.iter().map(|count| (*count).into()).sum();
    let wanted = (total as f64 * share).ceil().max(1.0) as u64;
    let mut seen = 0;
    times
        .iter()
        .position(|count| {
            seen += (*count).into();
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
    fn who_was_let_go_has_it_only_if_it_was_trimmed() {
        for (why, many, expected) in [
            (DropReason::Trimmed, false, true),
            (DropReason::Trimmed, true, true),
            (DropReason::SlowReader, false, false),
            (DropReason::Collapsed, true, false),
        ] {
            let mut entry = blank(None);
            entry.dropped(why, &Ordinals::One(1), Timestamp(1));
            let by = if many { Ordinals::from(vec![1, 2]) } else { Ordinals::One(1) };
            entry.written(&by, Timestamp(2));
            assert_eq!(entry.record.written.contains(1), expected, "{why:?}");
        }
    }

    /// What goes into the record altogether and what is kept apart, each time that the books are written down.
    #[test]
    fn first_steps_go_into_the_record_as_long_as_they_are_few_and_small() {
        for (known, script, expected) in [
            (
                false,
                "written 1|record|acked 1|record|written 2|acked 2|record|written 3|record",
                "1+0 2+0 4+0 4+1",
            ),
            (false, "written 1,2,3,4,5|record|acked 1|record", "0+1 0+1"),
            (false, "record|written 1|record", "0+0 1+0"),
            (true, "written 1|record", "0+1"),
        ] {
            let mut entry = blank(known.then(ReceiptRecord::default));
            let (mut at, mut shown) = (0, Vec::new());
            for line in script.split('|') {
                at += 1_000;
                let devices =
                    |list: &str| list.split(',').map(|one| one.parse().unwrap()).collect::<Vec<u32>>();
                match line.split_once(' ') {
                    Some(("written", list)) => {
                        entry.written(&Ordinals::from(devices(list)), Timestamp(at));
                    }
                    Some((_, list)) => {
                        entry.acked(Ordinal(devices(list)[0]), Timestamp(at));
                    }
                    None => {
                        let recording = entry.recording(NamespaceName::new("demo").unwrap(), Seq(1));
                        shown.push(format!(
                            "{}+{}",
                            recording.record.first_steps.len(),
                            recording.steps.len()
                        ));
                    }
                }
            }
            assert_eq!(shown.join(" "), expected, "{script}");
        }
    }

    fn blank(known: Option<ReceiptRecord>) -> Entry {
        Entry {
            meant: Arc::new((1..9).collect()),
            sent_at: Timestamp(0),
            expires_at: Timestamp(1_000_000),
            keep: true,
            announces: false,
            apart: known.is_some(),
            record: Shared::from(known.unwrap_or_default()),
            steps: Vec::new(),
            touched_at: Timestamp(0),
            dirty: false,
        }
    }

    #[test]
    fn percentiles_of_a_table() {
        let mut times = vec![0u32; 20];
        times[2] = 98;
        times[12] = 2;
        for (share, expected) in [(0.5, 2.0), (0.95, 2.0), (0.99, middle_of(12))] {
            assert_eq!(percentile(&times, share), Some(expected), "{share}");
        }
        assert_eq!(percentile(&[0u64; 0], 0.5), None);
    }
}
