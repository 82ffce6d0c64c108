//! Signals: what the members of a room are told of each other. They are no messages: a signal has no id and no place in
//! a topic, nobody acknowledges it, and who is not there misses it. Under pressure it is dropped.

use std::sync::Arc;

use roaring::RoaringBitmap;
use tidings_model::{NamespaceName, Ordinal, RoomName};

use crate::metrics::Unsent;
use crate::{Namespace, Node, ToShard};

/// Most devices of a room that are online and told of each other. In a larger room everybody who comes would be told to
/// everybody: its members ask instead.
pub const ROOM_MAX: u64 = 1_000;

/// Most rooms that are told that one of their devices has come or gone.
pub const ROOMS_MAX: usize = 32;

/// Most devices of a namespace that are told something in a second, on average; and at once.
pub const RECEIVERS_PER_SECOND: u64 = 100_000;

/// No device: no namespace comes to register so many.
pub const NOBODY: Ordinal = Ordinal(u32::MAX);

/// What a signal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalKind {
    /// A device is in the room from now on.
    Joined,
    /// A device is no longer in the room.
    Left,
    /// A device of the room has come online, or is so no longer.
    Presence,
    /// The room was suspended, or goes on.
    Room,
    /// A client of light-push that wants it known has come into the room. Only clients of light-push are told.
    PeopleJoin,
    /// It has gone from the room.
    PeopleLeave,
    /// A backend of light-push has put the members of the room into another one. Only clients of light-push are told.
    JoinRoom,
    /// It has taken them out of another one.
    LeaveRoom,
}

impl SignalKind {
    /// Its name for clients.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Joined => "joined",
            Self::Left => "left",
            Self::Presence => "presence",
            Self::Room => "room",
            Self::PeopleJoin => "peopleJoin",
            Self::PeopleLeave => "peopleLeave",
            Self::JoinRoom => "joinRoom",
            Self::LeaveRoom => "leaveRoom",
        }
    }

    /// Whether it is for clients of light-push, and for nobody else.
    #[must_use]
    pub const fn is_light_push(self) -> bool {
        matches!(self, Self::PeopleJoin | Self::PeopleLeave | Self::JoinRoom | Self::LeaveRoom)
    }
}

impl Node {
    /// Tells the members of a room something that is not worth waiting for, unless there are too many of them.
    pub fn tell_people(&self, namespace: &Namespace, signal: Signal) {
        let members = namespace.directory().room(&signal.room).map_or(0, |members| members.len());
        if members > ROOM_MAX {
            return;
        }
        self.metrics().signals.inc();
        if !self.shards.offer(u64::MAX, &ToShard::Signal(Arc::new(signal))) {
            self.metrics().signals_dropped.get_or_create(&Unsent::BUSY).inc();
        }
    }

    /// Tells devices that are here what was done with them.
    pub fn tell_devices(
        &self,
        namespace: &Namespace,
        devices: &RoaringBitmap,
        kind: SignalKind,
        data: String,
    ) {
        let devices = devices & namespace.directory().online();
        if devices.is_empty() {
            return;
        }
        self.metrics().signals.inc();
        let notice = Notice { namespace: namespace.name.clone(), devices, kind, data };
        if !self.shards.offer(u64::MAX, &ToShard::Notice(Arc::new(notice))) {
            self.metrics().signals_dropped.get_or_create(&Unsent::BUSY).inc();
        }
    }
}

/// Something that devices are told, wherever they are.
#[derive(Clone, Debug)]
pub struct Notice {
    /// Where they belong.
    pub namespace: NamespaceName,
    /// Who is told.
    pub devices: RoaringBitmap,
    /// What it is about.
    pub kind: SignalKind,
    /// What happened: a JSON object.
    pub data: String,
}

/// Something that the members of a room are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    /// Where the room belongs.
    pub namespace: NamespaceName,
    /// The room.
    pub room: RoomName,
    /// What it is about.
    pub kind: SignalKind,
    /// The device that it is about: that one is not told. [`NOBODY`] where it is about none.
    pub about: Ordinal,
    /// What happened: a JSON object.
    pub data: String,
}
