//! The report of a message: the books in numbers, and device by device.

use std::collections::BTreeMap;
use std::sync::Arc;

use roaring::RoaringBitmap;
use tidings_model::{DropReason, Message, MessageId, Ordinal, Platform, Timestamp};
use tidings_store::port::Which;
use tidings_store::{Device, StoreError};

use super::entry::{Entry, percentile};
use crate::{Namespace, Node};

/// Messages whose books are looked up together: the ledger has others waiting.
const REPORTS_TOGETHER: usize = 64;

/// The message was only for who was here, and the device was not.
pub(super) const NOT_CONNECTED: &str = "not_connected";

/// Devices by what became of a message for them. Always: meant = acked + waiting + escalated + expired + dropped + recalled.
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
    /// Devices that have not acknowledged it, and were tried another way.
    pub escalated: u64,
    /// Devices that it will not reach, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Devices from which it was withdrawn before they acknowledged it.
    pub recalled: u64,
}

/// Where a message is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Its time has not come.
    Scheduled,
    /// It is delivered.
    Live,
    /// Its time is over.
    Expired,
    /// It was withdrawn.
    Recalled,
}

impl Life {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Scheduled, Self::Live, Self::Expired, Self::Recalled];

    /// The name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Live => "live",
            Self::Expired => "expired",
            Self::Recalled => "recalled",
        }
    }

    /// Where a message with these books is.
    pub(crate) fn of(message: &Message, entry: &Entry, now: Timestamp) -> Self {
        Self::at(message, entry.record.recalled_at.is_some(), now)
    }

    /// Where a message is that was recalled, or not.
    pub(crate) fn at(message: &Message, recalled: bool, now: Timestamp) -> Self {
        if recalled {
            Self::Recalled
        } else if message.is_scheduled() {
            Self::Scheduled
        } else if message.is_live(now) {
            Self::Live
        } else {
            Self::Expired
        }
    }
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Where it is in its life.
    pub state: Life,
    /// Over all platforms.
    pub total: Counts,
    /// By platform; only those that it was meant for. Devices that are not known any more are among the others.
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
    /// The device has not acknowledged it, and was tried another way.
    Escalated,
    /// The device does not get it, for one of the reasons of the report.
    Dropped,
    /// It was withdrawn before the device acknowledged it.
    Recalled,
}

impl State {
    /// All states.
    pub const ALL: [Self; 6] =
        [Self::Acked, Self::Waiting, Self::Escalated, Self::Expired, Self::Dropped, Self::Recalled];

    /// The name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Acked => "acked",
            Self::Waiting => "waiting",
            Self::Escalated => "escalated",
            Self::Expired => "expired",
            Self::Recalled => "recalled",
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
        let mut before = None;
        // One that is sent between the two looks has another number then.
        while let Some(seq) = self.store.find(&namespace.name, id).await?.filter(|seq| before != Some(*seq)) {
            if let Some(found) =
                self.store.messages(&namespace.name, vec![seq]).await?.into_iter().flatten().next()
            {
                return Ok(Some(found));
            }
            before = Some(seq);
        }
        Ok(None)
    }

    /// What became of a message.
    pub async fn report(&self, namespace: &Namespace, message: &Message) -> Report {
        let entry = self.books(message).await;
        self.report_of(namespace, message, &entry)
    }

    /// What became of these messages.
    pub(crate) async fn reports(&self, namespace: &Namespace, messages: &[Arc<Message>]) -> Vec<Report> {
        let mut reports = Vec::with_capacity(messages.len());
        for some in messages.chunks(REPORTS_TOGETHER) {
            let seqs = some.iter().map(|message| message.seq).collect();
            let mut books = self.ledger.look(&namespace.name, seqs).await.into_iter();
            for message in some {
                let fresh = || Entry::new(message, None, self.clock.now());
                let entry = books.next().flatten().unwrap_or_else(fresh);
                reports.push(self.report_of(namespace, message, &entry));
            }
        }
        reports
    }

    fn report_of(&self, namespace: &Namespace, message: &Message, entry: &Entry) -> Report {
        let now = self.clock.now();
        let total = counts(entry, None, now);
        let directory = namespace.directory();
        let known = directory.platforms();
        // Devices that were forgotten, or became another user's: nobody knows any more what they were.
        let unknown = known.iter().fold(RoaringBitmap::clone(&entry.meant), |rest, of| rest - of);
        let mut platforms = Vec::new();
        for platform in Platform::ALL {
            let of = &known[platform as usize];
            let counts = match platform {
                Platform::Other if !unknown.is_empty() => counts(entry, Some(&(of | &unknown)), now),
                _ => counts(entry, Some(of), now),
            };
            if counts.meant > 0 {
                platforms.push((platform, counts));
            }
        }
        drop(directory);
        let times = &entry.record.ack_times;
        Report {
            state: Life::of(message, entry, now),
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

    /// The books of a message; blank ones when they cannot be read.
    pub(crate) async fn books(&self, message: &Message) -> Entry {
        let found = self.ledger.look(&message.namespace, vec![message.seq]).await;
        let fresh = || Entry::new(message, None, self.clock.now());
        found.into_iter().flatten().next().unwrap_or_else(fresh)
    }
}

/// The books in numbers, for all devices or only some.
pub(super) fn counts(entry: &Entry, only: Option<&RoaringBitmap>, now: Timestamp) -> Counts {
    let within = |set: &RoaringBitmap| only.map_or(set.clone(), |only| set & only);
    let meant = within(&entry.meant);
    let record = &entry.record;
    let mut counts = Counts {
        meant: meant.len(),
        written: record.written.intersection_len(&meant),
        acked: record.acked.intersection_len(&meant),
        ..Counts::default()
    };
    for why in DropReason::ALL {
        let dropped = record.dropped_for(why).intersection_len(&meant);
        if dropped > 0 {
            counts.dropped.insert(why.as_str(), dropped);
        }
    }
    let mut rest = within(&entry.pending());
    if entry.is_withdrawn() {
        counts.recalled = rest.len();
        return counts;
    }
    counts.escalated = record.escalated.intersection_len(&rest);
    rest -= &record.escalated;
    if now < entry.expires_at {
        counts.waiting = rest.len();
    } else if entry.keep {
        counts.expired = rest.len();
    } else {
        counts.expired = record.written.intersection_len(&rest);
        let absent = rest.len() - counts.expired;
        if absent > 0 {
            counts.dropped.insert(NOT_CONNECTED, absent);
        }
    }
    counts
}

/// What became of the message for a device that was meant.
pub(crate) fn state_of(entry: &Entry, ordinal: u32, now: Timestamp) -> State {
    if entry.record.acked.contains(ordinal) {
        State::Acked
    } else if entry.record.dropped(ordinal).is_some() {
        State::Dropped
    } else if entry.is_withdrawn() {
        State::Recalled
    } else if entry.record.escalated.contains(ordinal) {
        State::Escalated
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
    use crate::ledger::entry::Shared;
    use proptest::prelude::*;
    use tidings_hub::Unwritten;
    use tidings_hub::shard::Ordinals;

    use super::*;

    proptest! {
        #[test]
        fn the_ledger_adds_up_whatever_happens_in_whatever_order(
            meant in prop::collection::btree_set(0u32..20, 0..20),
            happened in prop::collection::vec((0u8..7, prop::collection::btree_set(0u32..20, 1..6)), 0..30),
            keep in any::<bool>(), over in any::<bool>(),
        ) {
            let mut entry = Entry {
                meant: Arc::new(meant.iter().copied().collect()),
                sent_at: Timestamp(0),
                expires_at: Timestamp(100),
                keep,
                announces: false,
                record: Shared::default(),
                steps: Vec::new(),
                apart: false,
                touched_at: Timestamp(0),
                dirty: false,
            };
            for (what, devices) in happened {
                // The hub and the ledger let through only what was meant.
                let devices: Vec<u32> = devices.intersection(&meant).copied().collect();
                match what {
                    0 => { entry.written(&Ordinals::from(devices), Timestamp(1)); }
                    1 => { entry.let_go(DropReason::SlowReader, &Ordinals::from(devices), Timestamp(1)); }
                    2 => devices.iter().for_each(|one| { entry.unwritten(Ordinal(*one), Unwritten::ConnectionLost, Timestamp(1)); }),
                    3 => { entry.dropped(DropReason::Collapsed, &Ordinals::from(devices), Timestamp(1)); }
                    4 => entry.record.escalated.extend(devices),
                    5 => { entry.recalled(Timestamp(1)); }
                    _ => devices.iter().for_each(|one| { entry.acked(Ordinal(*one), Timestamp(1)); }),
                }
            }
            let now = Timestamp(if over { 100 } else { 50 });
            let counts = counts(&entry, None, now);
            let dropped: u64 = counts.dropped.values().sum();
            let sum = counts.acked + counts.waiting + counts.escalated + counts.expired + dropped + counts.recalled;
            prop_assert_eq!(counts.meant, sum);
            // Device by device it is the same.
            let of = |state| meant.iter().filter(|one| state_of(&entry, **one, now) == state).count() as u64;
            prop_assert_eq!(
                [counts.acked, counts.waiting, counts.escalated, counts.expired, dropped, counts.recalled],
                State::ALL.map(of)
            );
        }
    }
}
