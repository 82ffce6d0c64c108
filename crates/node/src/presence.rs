//! Who comes and goes, told to whoever wants to know: hooks of the business system, and the other members of a room.
//!
//! Whatever happens to a connection leaves a hint here and nothing else, and only where somebody wants to know. One
//! actor for each such namespace takes the hints, finds out what they come to, and writes it down together with what
//! hooks are to be told of it. Hints say where to look rather than what is so: whether a user or a room is here is read
//! from the directory, so that whoever goes and comes back in between has done neither.
//!
//! Reading order: `inbox` (hints), `stay` (what is on record of a user who is online), `stays` (who is online, and who
//! has gone but may be back), `watch` (the actor), `data` (what is told, as JSON), `signal` (what members of a room are
//! told).

pub(crate) mod data;
mod inbox;
pub mod signal;
mod stay;
mod stays;
mod watch;

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use tidings_model::{DeviceId, NamespaceName, Ordinal, Seq, Timestamp, UserId};

pub(crate) use inbox::{Hint, Inbox};
pub(crate) use stay::{Numbers, PREFIX};

use crate::notify::NoticeKind;
use crate::{Namespace, Node};

/// How long everything that has happened may take to be written down when the node stops.
const FLUSH_WAIT: Duration = Duration::from_secs(2);

/// What of a namespace anybody wants to know: a bit for each [`NoticeKind`], and one for signals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Interest(u32);

impl Interest {
    /// Members of a room want to know of each other.
    pub(crate) const SIGNALS: Self = Self(1 << 31);
    /// Who is online has to be kept.
    pub(crate) const STAYS: Self = Self::of(NoticeKind::Online).and(Self::of(NoticeKind::Offline));
    /// Which rooms are occupied has to be kept.
    pub(crate) const ROOMS: Self = Self::of(NoticeKind::Occupied).and(Self::of(NoticeKind::Vacated));
    /// A connection has come.
    pub(crate) const CAME: Self = Self::STAYS.and(Self::ROOMS).and(Self::SIGNALS);
    /// A connection has gone.
    pub(crate) const WENT: Self = Self::CAME.and(Self::of(NoticeKind::Disconnected));
    /// A device has changed rooms.
    pub(crate) const MOVED: Self =
        Self::of(NoticeKind::Joined).and(Self::of(NoticeKind::Left)).and(Self::ROOMS).and(Self::SIGNALS);
    /// Anything that there is an actor for.
    pub(crate) const ANY: Self = Self::WENT.and(Self::MOVED).and(Self::of(NoticeKind::Acked));

    /// The interest in notices of this kind.
    pub(crate) const fn of(kind: NoticeKind) -> Self {
        Self(1 << kind as u32)
    }

    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether there is any of this in it.
    pub(crate) const fn has(self, any_of: Self) -> bool {
        self.0 & any_of.0 != 0
    }

    pub(crate) const fn bits(self) -> u32 {
        self.0
    }

    pub(crate) const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
}

/// Somebody who is told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) ordinal: Ordinal,
    pub(crate) device: DeviceId,
    pub(crate) user: Option<UserId>,
}

impl Person {
    pub(crate) fn of(device: &tidings_store::Device) -> Self {
        Self { ordinal: device.ordinal, device: device.id.clone(), user: device.user.clone() }
    }
}

/// Where new receipts are told of, for the namespaces that want to know: the ledger keeps no namespaces.
#[derive(Debug, Default)]
pub(crate) struct Receipts(ArcSwap<HashMap<NamespaceName, Weak<Namespace>>>);

impl Receipts {
    /// A device has given a receipt for the first time.
    pub(crate) fn acked(&self, namespace: &NamespaceName, seq: Seq, device: Ordinal, at: Timestamp) {
        let wanting = self.0.load();
        if let Some(namespace) = wanting.get(namespace).and_then(Weak::upgrade) {
            namespace.presence.push(Hint::Acked { device, seq, at });
        }
    }

    fn want(&self, namespace: &Arc<Namespace>, wants: bool) {
        self.0.rcu(|before| {
            let mut after = HashMap::clone(before);
            after.retain(|_, known| known.strong_count() > 0);
            if wants {
                after.insert(namespace.name.clone(), Arc::downgrade(namespace));
            } else {
                after.remove(&namespace.name);
            }
            after
        });
    }
}

impl Node {
    /// Sees to it that whoever wants to know of comings and goings in a namespace does, by the rules that hold now.
    pub(crate) fn watch(self: &Arc<Self>, namespace: &Arc<Namespace>) {
        let interest = namespace.interest();
        self.receipts.want(namespace, interest.has(Interest::of(NoticeKind::Acked)));
        // What was kept by rules that do not hold any more is cleared away by the actor, too.
        if namespace.presence.begin() {
            self.runtime.spawn(watch::run(Arc::downgrade(self), Arc::downgrade(namespace)));
        }
        namespace.presence.look();
    }

    /// Waits until everything that has happened so far is told, or written down to be.
    pub(crate) async fn flush_presence(&self) {
        for namespace in self.namespaces() {
            // What cannot be written down now is made good by the next start, as far as it can be.
            let _ = tokio::time::timeout(FLUSH_WAIT, namespace.presence.flushed()).await;
        }
    }
}
