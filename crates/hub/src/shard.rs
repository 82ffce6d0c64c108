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
use smallvec::SmallVec;
use tidings_model::{DropReason, Message, NamespaceName, Ordinal, Priority, RoomName, Seq, Step};

use tidings_wire::push::Codec;
use tidings_wire::websocket::Deflater;

use crate::broadcast;
use crate::frame::{Frame, Lane};
use crate::outbox::{Bounds, Full, Outbox, Policy, WhenFull};
use crate::slots::{Key, Slots};

mod fanout;
pub mod faults;
mod members;
mod recall;
mod signal;
#[cfg(test)]
mod tests;

use fanout::{AT_ONCE_BYTES, BEHIND_ROUNDS, IN_A_HURRY, Job, TURN_WRITES};
use faults::Faults;
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
    /// The messages whose place it takes: a device that is given it is not waited for to acknowledge them.
    pub superseded: Vec<Seq>,
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

impl Ordinals {
    /// All but these.
    #[must_use]
    pub fn without(self, these: &RoaringBitmap) -> Self {
        match self {
            Self::One(one) if these.contains(one) => Self::None,
            Self::Many(many) if !many.is_disjoint(these) => Self::Many(many - these),
            Self::None | Self::One(_) | Self::Many(_) => self,
        }
    }
}

impl From<Vec<u32>> for Ordinals {
    fn from(mut ordinals: Vec<u32>) -> Self {
        // Sorted first: a bitmap is built from its lowest end.
        ordinals.sort_unstable();
        ordinals.dedup();
        match *ordinals {
            [] => Self::None,
            [one] => Self::One(one),
            _ => Self::Many(
                RoaringBitmap::from_sorted_iter(ordinals).unwrap_or_else(|_| unreachable!("sorted")),
            ),
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
        /// Why not.
        why: Unwritten,
    },
    /// A message was let go for these devices, because their connections take no more, or because a newer one has
    /// taken its place. A device without another connection will not get it: see [`Shard::settle_dropped`].
    Dropped {
        /// Where the message belongs.
        namespace: NamespaceName,
        /// The message.
        seq: Seq,
        /// Why.
        why: DropReason,
        /// The devices.
        by: Ordinals,
    },
    /// The outbox of this connection is full; the connection is to be ended.
    Slow(PeerKey),
    /// A fault on purpose befell a message on its way to a device.
    Befallen {
        /// Where the message belongs.
        namespace: NamespaceName,
        /// The message.
        seq: Seq,
        /// The device.
        device: Ordinal,
        /// What befell it, as a trace says it.
        step: Step,
    },
    /// This connection is to end on purpose, once what waits for it is written.
    EndOnPurpose(PeerKey),
}

/// Why a message that was in an outbox never left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwritten {
    /// The connection ended first.
    ConnectionLost,
    /// Its time was over first.
    Expired,
    /// It was recalled first.
    Recalled,
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
    /// Nearly always one.
    members: SmallVec<[MemberKey; 1]>,
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
    /// What holds for messages of this namespace that wait.
    policy: Policy,
    /// The messages that were recalled last: one may still be on its way from a mailbox.
    recalled: VecDeque<Seq>,
}

#[derive(Debug)]
struct Room {
    name: RoomName,
    members: Vec<MemberKey>,
}

/// Most drops, of a message for a device each, that wait to be told together.
const DROPS_TOGETHER: usize = 8_192;

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
    /// Bytes that messages have put into the outboxes of these since they were last taken, with what a place in one costs.
    at_once: usize,
    events: Vec<Event>,
    drops: Drops,
    /// What holds for frames that are no messages.
    bounds: Bounds,
    deflater: Deflater,
    /// Nearly never any.
    faults: Option<Box<Faults>>,
    /// What faults have done, told after what else has happened: a message is lost once it counts as written.
    befallen: Vec<Event>,
}

/// Messages that were let go.
#[derive(Debug, Default)]
struct Drops {
    /// What the ledger has not been told yet: place, message, why, device.
    fresh: Vec<(u32, Seq, DropReason, u32)>,
    /// How many each connection has not been told of yet, by the place of the messages.
    untold: FxHashMap<(PeerKey, u32), u64>,
}

/// How far the round has come.
#[derive(Debug, Default)]
struct Round {
    /// Whether outboxes are being written; else they are being filled.
    writing: bool,
    messages: usize,
    /// How many messages, from the first on, are being put into the outboxes of the same members.
    together: usize,
    /// The members that have not been given them, as they were when their turn came; served from the end.
    members: Vec<MemberKey>,
    /// How many rounds in a row have left more than one message for the next.
    behind: u32,
    /// The connections that got something in this round.
    dirty: VecDeque<PeerKey>,
}

impl Shard {
    /// An empty shard; `bounds` holds for what waits for a connection and is no message.
    #[must_use]
    pub fn new(bounds: Bounds, deflater: Deflater) -> Self {
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
            at_once: 0,
            events: Vec::new(),
            drops: Drops::default(),
            bounds,
            deflater,
            faults: None,
            befallen: Vec::new(),
        }
    }

    /// What compresses the frames of this shard.
    pub fn deflater(&mut self) -> &mut Deflater {
        &mut self.deflater
    }

    /// Takes a connection in.
    pub fn add_peer(&mut self) -> PeerKey {
        self.peers.insert(Peer {
            outbox: Outbox::default(),
            members: SmallVec::new(),
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
        self.at_once = 0;
        for peer in self.urgent.drain(..) {
            if let Some(found) = self.peers.get_mut(peer) {
                found.dirty = Dirty::No;
                into.push(peer);
            }
        }
    }

    /// Whether so much waits for the end of this turn that no more messages are to be taken in before it: a message for a list of
    /// users has frames of its own for each of them, and how much may wait for a reader is not looked at before it is written to.
    #[must_use]
    pub fn has_enough(&self) -> bool {
        self.at_once >= AT_ONCE_BYTES
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
            if !self.round.writing {
                self.round.behind = if self.jobs.len() > 1 { self.round.behind.saturating_add(1) } else { 0 };
            }
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
            for key in &members {
                let Some(member) = self.members.get_mut(*key) else { continue };
                let place = member.place;
                let own = dropped.iter().filter(|(of, _)| *of == place);
                own.for_each(|(_, seq)| member.withhold(*seq));
            }
            self.report_unwritten(&members, dropped, Unwritten::Expired);
            if let Some(found) = self.peers.get_mut(peer) {
                found.members = members;
            }
        }
    }

    /// How many messages were let go for a member since this was last asked.
    pub fn take_dropped(&mut self, key: MemberKey) -> u64 {
        if self.drops.untold.is_empty() {
            return 0;
        }
        let of = self.members.get(key).map(|member| (member.peer, member.place));
        of.and_then(|of| self.drops.untold.remove(&of)).unwrap_or_default()
    }

    /// Whether half of what may wait for a member's connection does not: the time to give it more.
    #[must_use]
    pub fn has_room(&self, key: MemberKey) -> bool {
        let Some(member) = self.members.get(key) else { return true };
        let Bounds { frames, bytes } = self.places[member.place as usize].policy.bounds;
        let outbox = self.peers.get(member.peer).map(|peer| &peer.outbox);
        outbox.is_none_or(|outbox| outbox.len() * 2 < frames && outbox.bytes() * 2 < bytes)
    }

    /// Takes what happened since the last call.
    pub fn take_events(&mut self, into: &mut Vec<Event>) {
        into.append(&mut self.events);
        if self.tells_drops() {
            // One message is let go for many at once: a room has a thousand readers that have stopped.
            self.drops.fresh.sort_unstable();
            for same in self.drops.fresh.chunk_by(|a, b| (a.0, a.1, a.2) == (b.0, b.1, b.2)) {
                let by: Vec<u32> = same.iter().map(|(.., device)| *device).collect();
                let namespace = self.places[same[0].0 as usize].name.clone();
                into.push(Event::Dropped { namespace, seq: same[0].1, why: same[0].2, by: by.into() });
            }
            self.drops.fresh.clear();
        }
        into.append(&mut self.befallen);
    }

    /// Whether what was let go is to be told now. While messages are put into outboxes member by member, each of them is let
    /// go for a few at a time: these are told together, when it is known whom they were written to.
    fn tells_drops(&self) -> bool {
        let waiting = self.drops.fresh.len();
        waiting > 0 && (self.round.together == 0 || waiting >= DROPS_TOGETHER)
    }

    /// Whether there is anything for [`Shard::take_events`] or [`Shard::take_urgent`].
    #[must_use]
    pub fn has_output(&self) -> bool {
        let told = self.events.is_empty() && !self.tells_drops() && self.befallen.is_empty();
        !told || !self.urgent.is_empty()
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

    /// Whether messages to rooms keep coming faster than each can be written alone: several rounds in a row have left some
    /// for the next one. Not when very many wait: then there is no time to lose.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.round.behind >= BEHIND_ROUNDS && self.jobs.len() < IN_A_HURRY
    }

    fn report_unwritten(&mut self, members: &[MemberKey], messages: Vec<(u32, Seq)>, why: Unwritten) {
        for (place, seq) in messages {
            let ordinal = members
                .iter()
                .filter_map(|key| self.members.get(*key))
                .find(|member| member.place == place)
                .map(|member| member.ordinal);
            if let Some(ordinal) = ordinal {
                // That it was written comes first, also while others still wait for it.
                if let Some(job) = self.jobs.iter_mut().find(|job| job.is_of(place, seq)) {
                    self.events.extend(job.take_written());
                }
                let namespace = self.places[place as usize].name.clone();
                self.events.push(Event::Unwritten { namespace, seq, ordinal, why });
            }
        }
    }
}

/// Where what comes of queueing a message goes.
struct Outcome<'a> {
    events: &'a mut Vec<Event>,
    drops: &'a mut Drops,
}

/// Puts a message into the outbox of a member's connection. Answers whether it is there.
fn queue(
    peers: &mut Slots<Peer>,
    outcome: &mut Outcome<'_>,
    member: &mut Member,
    message: &Message,
    frame: Rc<Frame>,
    policy: Policy,
) -> bool {
    let Some(peer) = peers.get_mut(member.peer) else { return false };
    let lane = lane_of(member, message);
    if peer.slow {
        return false;
    }
    let of = (member.place, member.ordinal.0);
    if frame.collapse != 0 {
        let fresh = &mut outcome.drops.fresh;
        peer.outbox.supersede(&frame, |old| {
            fresh.push((of.0, old.seq, DropReason::Collapsed, of.1));
            member.withhold(old.seq);
        });
    }
    let mut taken = peer.push(lane, Rc::clone(&frame), policy.bounds);
    if taken == Err(Full) {
        if policy.when_full == WhenFull::Disconnect {
            report_slow(outcome.events, peer, member.peer);
            return false;
        }
        let mut let_go = Vec::new();
        peer.outbox.make_room(&frame, policy, |frame| let_go.push(frame.seq));
        taken = peer.push(lane, frame, policy.bounds);
        if taken == Err(Full) {
            let_go.push(message.seq);
        }
        *outcome.drops.untold.entry((member.peer, member.place)).or_default() += let_go.len() as u64;
        let_go.iter().for_each(|seq| member.withhold(*seq));
        let slow = |seq| (of.0, seq, DropReason::SlowReader, of.1);
        outcome.drops.fresh.extend(let_go.into_iter().map(slow));
    }
    // What was let go is owed all the same, until the shell has found that no other connection has it.
    member.delivered(message.seq);
    if taken.is_err() {
        member.withhold(message.seq);
    }
    taken == Ok(())
}

fn lane_of(member: &Member, message: &Message) -> Lane {
    match message.priority {
        // The id of an event stands for all events before it, so a stream keeps the order of all topics.
        Priority::High if member.format.codec != Codec::Sse => Lane::High,
        Priority::High | Priority::Normal => Lane::Normal,
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
