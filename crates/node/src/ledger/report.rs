//! The report of a message: the books in numbers, and device by device.

use std::collections::BTreeMap;
use std::sync::Arc;

use roaring::RoaringBitmap;
use tidings_model::{Message, MessageId, Ordinal, Platform, Timestamp};
use tidings_store::port::Which;
use tidings_store::{Device, StoreError};

use super::entry::{Entry, percentile};
use crate::{Namespace, Node};

/// The message was only for who was here, and the device was not.
const NOT_CONNECTED: &str = "not_connected";

/// The device did not read, and the policy of the namespace is to let go of what waits for it.
const SLOW_READER: &str = "slow_reader";

/// Devices by what became of a message for them. Always: meant = acked + waiting + expired + dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Devices that it is for.
    pub meant: u64,
    /// Devices to which it was written, acknowledged or not.
    pub written: u64,
    /// Devices that have it.
    pub acked: u64,
    /// Devices that will get it when they come, or have not acknowledged yet.
    pub waiting: u64,
    /// Devices that it no longer reaches, because its time is over.
    pub expired: u64,
    /// Devices that it will not reach, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Over all platforms.
    pub total: Counts,
    /// By platform; only those that it was meant for.
    pub platforms: Vec<(Platform, Counts)>,
    /// acked / meant; `None` when nobody was meant.
    pub delivery_rate: Option<f64>,
    /// Time from acceptance to receipt, in milliseconds: p50, p95, p99; `None` before the first receipt.
    pub ack_ms: Option<[f64; 3]>,
}

/// What became of a message for a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The device has it.
    Acked,
    /// The device will get it, or has not acknowledged it yet.
    Waiting,
    /// The device no longer gets it: its time is over.
    Expired,
    /// The device was not here, and the message was only for who was; or it was let go because the device
    /// did not read.
    Dropped,
}

impl State {
    /// All states.
    pub const ALL: [Self; 4] = [Self::Acked, Self::Waiting, Self::Expired, Self::Dropped];

    /// The name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Acked => "acked",
            Self::Waiting => "waiting",
            Self::Expired => "expired",
            Self::Dropped => "dropped",
        }
    }
}

/// A device's line in the books of a message.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its number, which the lines are ordered by.
    pub ordinal: Ordinal,
    /// The device; `None` when it is registered no longer.
    pub device: Option<Device>,
    /// What became of the message for it.
    pub state: State,
    /// Whether it was written to the device.
    pub written: bool,
}

impl Node {
    /// The newest message with this id.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn message(
        &self,
        namespace: &Namespace,
        id: &MessageId,
    ) -> Result<Option<Arc<Message>>, StoreError> {
        let Some(seq) = self.store.find(&namespace.name, id).await? else { return Ok(None) };
        Ok(self.store.messages(&namespace.name, vec![seq]).await?.into_iter().flatten().next())
    }

    /// What became of a message.
    pub async fn report(&self, namespace: &Namespace, message: &Message) -> Report {
        let entry = self.books(message).await;
        let now = self.clock.now();
        let total = counts(&entry, None, now);
        let directory = namespace.directory();
        let mut platforms = Vec::new();
        for platform in Platform::ALL {
            let counts = counts(&entry, Some(&directory.platforms()[platform as usize]), now);
            if counts.meant > 0 {
                platforms.push((platform, counts));
            }
        }
        drop(directory);
        let times = &entry.record.ack_times;
        Report {
            delivery_rate: (total.meant > 0).then(|| total.acked as f64 / total.meant as f64),
            ack_ms: percentile(times, 0.5)
                .zip(percentile(times, 0.95))
                .zip(percentile(times, 0.99))
                .map(|((p50, p95), p99)| [p50, p95, p99]),
            total,
            platforms,
        }
    }

    /// The books of a message device by device, in a fixed order: those after `after`, at most `limit`,
    /// only in `state` when given. The second answer says where to go on, if there is more.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn receipts(
        &self,
        namespace: &Namespace,
        message: &Message,
        state: Option<State>,
        after: Option<Ordinal>,
        limit: usize,
    ) -> Result<(Vec<Line>, Option<Ordinal>), StoreError> {
        let entry = self.books(message).await;
        let now = self.clock.now();
        let start = after.map_or(0, |after| after.0.saturating_add(1));
        let of_state = |ordinal: &u32| state.is_none_or(|state| state_of(&entry, *ordinal, now) == state);
        let mut ordinals: Vec<Ordinal> =
            entry.meant.range(start..).filter(of_state).take(limit + 1).map(Ordinal).collect();
        let more = ordinals.len() > limit;
        ordinals.truncate(limit);
        let next = if more { ordinals.last().copied() } else { None };
        let devices = self.store.devices(&namespace.name, Which::Ordinals(ordinals.clone())).await?;
        let lines = ordinals.into_iter().zip(devices).map(|(ordinal, device)| Line {
            ordinal,
            device,
            state: state_of(&entry, ordinal.0, now),
            written: entry.record.written.contains(ordinal.0),
        });
        Ok((lines.collect(), next))
    }

    async fn books(&self, message: &Message) -> Entry {
        let found = self.ledger.look(&message.namespace, vec![message.seq]).await;
        let fresh = || Entry::new(message, Default::default(), self.clock.now());
        found.into_iter().flatten().next().unwrap_or_else(fresh)
    }
}

fn counts(entry: &Entry, only: Option<&RoaringBitmap>, now: Timestamp) -> Counts {
    let within = |set: &RoaringBitmap| only.map_or(set.clone(), |only| set & only);
    let meant = within(&entry.meant);
    let acked = entry.record.acked.intersection_len(&meant);
    let written = entry.record.written.intersection_len(&meant);
    let slow = entry.record.dropped.intersection_len(&meant);
    let rest = meant.len() - acked - slow;
    let mut counts = Counts { meant: meant.len(), written, acked, ..Counts::default() };
    if slow > 0 {
        counts.dropped.insert(SLOW_READER, slow);
    }
    if now < entry.expires_at {
        counts.waiting = rest;
    } else if entry.keep {
        counts.expired = rest;
    } else {
        // Everybody with a receipt was written to, so these are the others that were.
        counts.expired = written - acked;
        let absent = rest - counts.expired;
        if absent > 0 {
            counts.dropped.insert(NOT_CONNECTED, absent);
        }
    }
    counts
}

fn state_of(entry: &Entry, ordinal: u32, now: Timestamp) -> State {
    if entry.record.acked.contains(ordinal) {
        State::Acked
    } else if entry.record.dropped.contains(ordinal) {
        State::Dropped
    } else if now < entry.expires_at {
        State::Waiting
    } else if entry.keep || entry.record.written.contains(ordinal) {
        State::Expired
    } else {
        State::Dropped
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidings_hub::shard::Ordinals;
    use tidings_store::port::ReceiptRecord;

    use super::*;

    proptest! {
        #[test]
        fn the_ledger_adds_up_whatever_happens_in_whatever_order(
            meant in prop::collection::btree_set(0u32..20, 0..20),
            happened in prop::collection::vec((0u8..4, prop::collection::btree_set(0u32..20, 1..6)), 0..30),
            keep in any::<bool>(), over in any::<bool>(),
        ) {
            let mut entry = Entry {
                meant: Arc::new(meant.iter().copied().collect()),
                accepted_at: Timestamp(0),
                expires_at: Timestamp(100),
                keep,
                record: ReceiptRecord::default(),
                touched_at: Timestamp(0),
                dirty: false,
            };
            for (what, devices) in happened {
                // The hub and the ledger let through only what was meant.
                let devices: Vec<u32> = devices.intersection(&meant).copied().collect();
                match what {
                    0 => { entry.written(&Ordinals::from(devices), Timestamp(1)); }
                    1 => { entry.dropped(&Ordinals::from(devices), Timestamp(1)); }
                    2 => devices.iter().for_each(|one| { entry.unwritten(Ordinal(*one), Timestamp(1)); }),
                    _ => devices.iter().for_each(|one| { entry.acked(Ordinal(*one), Timestamp(1)); }),
                }
            }
            let now = Timestamp(if over { 100 } else { 50 });
            let counts = counts(&entry, None, now);
            let dropped: u64 = counts.dropped.values().sum();
            prop_assert_eq!(counts.meant, counts.acked + counts.waiting + counts.expired + dropped);
            // Device by device it is the same.
            let of = |state| meant.iter().filter(|one| state_of(&entry, **one, now) == state).count() as u64;
            prop_assert_eq!(
                [counts.acked, counts.waiting, counts.expired, dropped],
                [of(State::Acked), of(State::Waiting), of(State::Expired), of(State::Dropped)]
            );
        }
    }
}
