//! One core's slice of the connections: who is subscribed to what, and the fan-out to them.
//!
//! A **peer** is a connection with its outbox. A **member** is a device of a namespace on a peer; a
//! Socket.IO connection may carry several. A member first catches up: what arrives meanwhile is held
//! back, until the shell says up to which number it has replayed everything. So each message reaches a
//! member once, and none is missed in between.
//!
//! The shard knows neither sockets nor formats nor time. It owns everything in it outright: one thread,
//! no locks, no atomics for each recipient.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use roaring::RoaringBitmap;
use rustc_hash::FxHashMap;
use tidings_model::{Message, NamespaceName, Ordinal, Priority, RoomName, Seq};

use tidings_wire::push::Codec;

use crate::broadcast;
use crate::frame::{Frame, Lane};
use crate::outbox::{Bounds, Full, Outbox};
use crate::slots::{Key, Slots};

mod fanout;
mod members;
#[cfg(test)]
mod tests;

use fanout::{Job, TURN_WRITES};
pub use members::Attach;
use members::Member;

/// Names a connection of this shard.
pub type PeerKey = Key;
/// Names a device on a connection of this shard.
pub type MemberKey = Key;

/// Most messages that are held back for one member while it catches up; with more, it replays again.
pub const HELD_MAX: usize = 256;

/// A message on its way to the members of a shard.
#[derive(Debug)]
pub struct Delivery {
    /// The message.
    pub message: Arc<Message>,
    /// For each of its topics: whose topic it is, for topics of a user or a device; empty for rooms and `all`.
    pub direct: Vec<Box<[u32]>>,
}

/// A small set of ordinals, often only one.
#[derive(Clone, Debug, PartialEq)]
pub enum Ordinals {
    /// Nobody.
    None,
    /// One device.
    One(u32),
    /// Several.
    Many(RoaringBitmap),
}

impl From<Vec<u32>> for Ordinals {
    fn from(mut ordinals: Vec<u32>) -> Self {
        // Sorted first: a bitmap is built from its lowest end, and inserting anywhere else moves the rest.
        ordinals.sort_unstable();
        ordinals.dedup();
        match *ordinals {
            [] => Self::None,
            [one] => Self::One(one),
            _ => Self::Many(ordinals.into_iter().collect()),
        }
    }
}

/// What the shell needs to hear.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A message was put into the outboxes of these devices.
    Written {
        /// The message.
        message: Arc<Message>,
        /// The devices.
        by: Ordinals,
    },
    /// A message that was reported as written never left: its connection ended, or it expired first.
    Unwritten {
        /// Where the message belongs.
        namespace: NamespaceName,
        /// The message.
        seq: Seq,
        /// The device.
        ordinal: Ordinal,
        /// Whether its time was over; else the connection ended first.
        expired: bool,
    },
    /// The outbox of this connection is full; the connection is to be ended.
    Slow(PeerKey),
}

/// The answer to [`Shard::go_live`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatchUp {
    /// The member gets everything live from now on.
    Live,
    /// More came in between than is held back: replay once more.
    Again,
    /// The member is gone.
    Gone,
}

#[derive(Debug)]
struct Peer {
    outbox: Outbox,
    members: Vec<MemberKey>,
    dirty: Dirty,
    /// The transport takes no more now; only then do the bounds of the outbox hold.
    blocked: bool,
    slow: bool,
}

impl Peer {
    fn push(&mut self, lane: Lane, frame: Rc<Frame>, bounds: Bounds) -> Result<(), Full> {
        let bounds = if self.blocked { bounds } else { Bounds::NONE };
        self.outbox.push(lane, frame, bounds)
    }
}

/// Whether a connection waits to be written to, and how urgently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dirty {
    No,
    Round,
    Now,
}

/// The subscribers of a namespace on this shard.
#[derive(Debug)]
struct Place {
    name: NamespaceName,
    all: Vec<MemberKey>,
    rooms: HashMap<RoomName, u32>,
    /// The first member of each device; further ones follow by [`Member::sibling`].
    devices: FxHashMap<u32, MemberKey>,
}

#[derive(Debug)]
struct Room {
    name: RoomName,
    members: Vec<MemberKey>,
}

/// One core's slice of the connections.
#[derive(Debug)]
pub struct Shard {
    peers: Slots<Peer>,
    members: Slots<Member>,
    places: Vec<Place>,
    place_of: HashMap<NamespaceName, u32>,
    rooms: Vec<Room>,
    free_rooms: Vec<u32>,
    jobs: VecDeque<Job>,
    round: Round,
    /// To be written at the end of this turn.
    urgent: Vec<PeerKey>,
    events: Vec<Event>,
    bounds: Bounds,
}

/// How far the round has come.
#[derive(Debug, Default)]
struct Round {
    /// Whether outboxes are being written; else they are being filled.
    writing: bool,
    messages: usize,
    /// The connections that got something in this round.
    dirty: VecDeque<PeerKey>,
}

impl Shard {
    /// An empty shard; `bounds` holds for each connection's outbox.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            peers: Slots::default(),
            members: Slots::default(),
            places: Vec::new(),
            place_of: HashMap::new(),
            rooms: Vec::new(),
            free_rooms: Vec::new(),
            jobs: VecDeque::new(),
            round: Round::default(),
            urgent: Vec::new(),
            events: Vec::new(),
            bounds,
        }
    }

    /// Takes a connection in.
    pub fn add_peer(&mut self) -> PeerKey {
        self.peers.insert(Peer {
            outbox: Outbox::default(),
            members: Vec::new(),
            dirty: Dirty::No,
            blocked: false,
            slow: false,
        })
    }

    /// Lets a connection go. Its members are to be detached before; that tells what was never written.
    pub fn remove_peer(&mut self, key: PeerKey) {
        if let Some(peer) = self.peers.remove(key) {
            debug_assert!(peer.members.is_empty(), "members are detached first");
        }
    }

    /// Whether a connection's transport takes no more now. The bounds of an outbox say how much may wait for
    /// a transport that does not keep up; what waits only for the end of a turn is not the reader's fault.
    pub fn set_blocked(&mut self, peer: PeerKey, blocked: bool) {
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.blocked = blocked;
        }
    }

    /// What waits for a connection.
    pub fn outbox(&mut self, peer: PeerKey) -> Option<&mut Outbox> {
        self.peers.get_mut(peer).map(|peer| &mut peer.outbox)
    }

    /// Queues a frame that is no message for one connection. A connection whose outbox is full even for
    /// that is reported as slow.
    pub fn send(&mut self, peer: PeerKey, lane: Lane, frame: Rc<Frame>) {
        let bounds = self.bounds;
        if let Some(found) = self.peers.get_mut(peer) {
            match found.push(lane, frame, bounds) {
                Ok(()) => mark_urgent(&mut self.urgent, found, peer),
                Err(Full) => report_slow(&mut self.events, found, peer),
            }
        }
    }

    /// Takes the connections that are to be written to now: those with a reply, or with a message that is
    /// not to a room.
    pub fn take_urgent(&mut self, into: &mut Vec<PeerKey>) {
        for peer in self.urgent.drain(..) {
            if let Some(found) = self.peers.get_mut(peer) {
                found.dirty = Dirty::No;
                into.push(peer);
            }
        }
    }

    /// One turn of the round. Takes the connections that are to be written to at its end; answers whether
    /// the round goes on.
    pub fn turn(&mut self, into: &mut Vec<PeerKey>) -> bool {
        if !self.round.writing {
            self.fill();
        }
        self.take_urgent(into);
        if self.round.writing {
            let count = TURN_WRITES.min(self.round.dirty.len());
            for peer in self.round.dirty.drain(..count) {
                // One that was written to meanwhile has nothing left.
                if let Some(found) = self.peers.get_mut(peer)
                    && found.dirty == Dirty::Round
                {
                    found.dirty = Dirty::No;
                    into.push(peer);
                }
            }
            self.round.writing = !self.round.dirty.is_empty();
        }
        self.round.writing || !self.jobs.is_empty()
    }

    /// Drops what has expired in a connection's outbox.
    pub fn drop_expired(&mut self, peer: PeerKey, now: tidings_model::Timestamp) {
        let Some(found) = self.peers.get_mut(peer) else { return };
        let mut dropped = Vec::new();
        found.outbox.drop_expired(now, |frame| dropped.push((frame.namespace, frame.seq)));
        if !dropped.is_empty() {
            let members = std::mem::take(&mut found.members);
            self.report_unwritten(&members, dropped, true);
            if let Some(found) = self.peers.get_mut(peer) {
                found.members = members;
            }
        }
    }

    /// Takes what happened since the last call.
    pub fn take_events(&mut self, into: &mut Vec<Event>) {
        into.append(&mut self.events);
    }

    /// Whether there is anything for [`Shard::take_events`] or [`Shard::take_urgent`].
    #[must_use]
    pub fn has_output(&self) -> bool {
        !self.events.is_empty() || !self.urgent.is_empty()
    }

    /// How many connections there are.
    #[must_use]
    pub fn peer_count(&self) -> usize {
        self.peers.len()
    }

    /// How many messages to rooms wait to be put into outboxes. A shell that takes in no more while they
    /// are many keeps them few.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.jobs.len()
    }

    fn report_unwritten(&mut self, members: &[MemberKey], messages: Vec<(u32, Seq)>, expired: bool) {
        for (place, seq) in messages {
            let ordinal = members
                .iter()
                .filter_map(|key| self.members.get(*key))
                .find(|member| member.place == place)
                .map(|member| member.ordinal);
            if let Some(ordinal) = ordinal {
                let namespace = self.places[place as usize].name.clone();
                self.events.push(Event::Unwritten { namespace, seq, ordinal, expired });
            }
        }
    }
}

/// Puts a message into the outbox of a member's connection. Answers whether it fitted.
fn queue(
    peers: &mut Slots<Peer>,
    events: &mut Vec<Event>,
    member: &mut Member,
    message: &Message,
    frame: Rc<Frame>,
    bounds: Bounds,
) -> bool {
    let Some(peer) = peers.get_mut(member.peer) else { return false };
    let lane = match message.priority {
        // The id of an event stands for all events before it, so a stream keeps the order of all topics.
        Priority::High if member.codec != Codec::Sse => Lane::High,
        Priority::High | Priority::Normal => Lane::Normal,
    };
    if peer.slow {
        return false;
    }
    match peer.push(lane, frame, bounds) {
        Ok(()) => {
            member.delivered(message.seq);
            true
        }
        Err(Full) => {
            report_slow(events, peer, member.peer);
            false
        }
    }
}

fn mark_urgent(urgent: &mut Vec<PeerKey>, peer: &mut Peer, key: PeerKey) {
    if peer.dirty != Dirty::Now {
        peer.dirty = Dirty::Now;
        urgent.push(key);
    }
}

fn mark_round(round: &mut VecDeque<PeerKey>, peers: &mut Slots<Peer>, key: PeerKey) {
    if let Some(peer) = peers.get_mut(key)
        && peer.dirty == Dirty::No
    {
        peer.dirty = Dirty::Round;
        round.push_back(key);
    }
}

fn report_slow(events: &mut Vec<Event>, peer: &mut Peer, key: PeerKey) {
    if !peer.slow {
        peer.slow = true;
        events.push(Event::Slow(key));
    }
}
