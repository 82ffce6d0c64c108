//! The devices on the connections of a shard: coming, catching up, joining, acknowledging, leaving.

use std::rc::Rc;
use std::sync::Arc;

use smallvec::SmallVec;
use tidings_model::{Message, NamespaceName, Ordinal, RoomName, Seq};
use tidings_wire::push::{Codec, Encoded, Format};
use tidings_wire::websocket::Window;

use super::{
    CatchUp, Delivery, Event, HELD_MAX, MemberKey, Ordinals, PeerKey, Place, Policy, Room, Shard, Unwritten,
    broadcast, mark_urgent,
};

/// A device about to be attached to a connection.
#[derive(Clone, Copy, Debug)]
pub struct Attach<'a> {
    /// The connection.
    pub peer: PeerKey,
    /// The format of its frames.
    pub format: Format,
    /// Where the device belongs.
    pub namespace: &'a NamespaceName,
    /// Its number there.
    pub ordinal: Ordinal,
    /// The rooms that it is in.
    pub rooms: &'a [RoomName],
    /// What holds for messages of its namespace that wait, from now on.
    pub policy: Policy,
}

/// How many unacknowledged messages are remembered for a member. With more the member's settled
/// position stands still for the rest of its connection; its mailbox is then read from further back.
const PENDING_MAX: usize = 256;

/// The same of who answers pings instead: one answer is for all that came before.
const PENDING_BEFORE_PING_MAX: usize = 4_096;

fn pending_max(codec: Codec) -> usize {
    match codec {
        Codec::Gopusher | Codec::MessagePush => PENDING_BEFORE_PING_MAX,
        Codec::Json | Codec::SocketIo | Codec::Sse | Codec::LightPush | Codec::PushKoa | Codec::GoRedis => {
            PENDING_MAX
        }
    }
}

/// A message that a member has not acknowledged; the highest bit says that it has not left for it, either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unsettled(u64);

impl Unsettled {
    const WITHHELD: u64 = 1 << 63;

    fn seq(self) -> Seq {
        Seq(self.0 & !Self::WITHHELD)
    }

    fn is_withheld(self) -> bool {
        self.0 & Self::WITHHELD != 0
    }
}

/// A settled position that has not stopped.
const MOVING: Seq = Seq(u64::MAX);

/// A device on a connection.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) peer: PeerKey,
    pub(super) ordinal: Ordinal,
    pub(super) place: u32,
    pub(super) format: Format,
    pub(super) state: State,
    /// Everything up to here was replayed.
    pub(super) floor: Seq,
    /// The next member of the same device on this shard.
    pub(super) sibling: Option<MemberKey>,
    /// The newest message it was given.
    pub(super) last: Seq,
    pending: Vec<Unsettled>,
    /// Where the settled position stopped when `pending` overflowed; [`MOVING`] before that.
    frozen: Seq,
    /// Whether what it is given is not noted in `pending` any more.
    unnoted: bool,
    /// The settled position as it was last asked for.
    noted: Seq,
    /// Its rooms, and where it stands among the members of each.
    rooms: SmallVec<[(u32, u32); 2]>,
    /// Where it stands among all of the namespace.
    all_at: u32,
}

#[derive(Debug)]
pub(super) enum State {
    CatchingUp(Box<Held>),
    Live,
}

/// What came while a member catches up.
#[derive(Debug, Default)]
pub(super) struct Held {
    deliveries: Vec<(Arc<Delivery>, usize)>,
    overflowed: bool,
}

impl Held {
    pub(super) fn push(&mut self, delivery: &Arc<Delivery>, topic: usize) {
        for old in &delivery.superseded {
            self.withdraw(*old);
        }
        if self.deliveries.last().is_some_and(|(last, _)| last.message.seq >= delivery.message.seq) {
            // It came through another topic already.
        } else if self.deliveries.len() < HELD_MAX {
            self.deliveries.push((Arc::clone(delivery), topic));
        } else {
            self.overflowed = true;
        }
    }

    pub(super) fn withdraw(&mut self, seq: Seq) {
        self.deliveries.retain(|(delivery, _)| delivery.message.seq != seq);
    }
}

impl Member {
    pub(super) fn delivered(&mut self, seq: Seq) {
        self.last = self.last.max(seq);
        if self.unnoted {
            return;
        }
        if self.pending.len() >= pending_max(self.format.codec) {
            self.frozen = self.settled();
            self.unnoted = true;
            self.pending = Vec::new();
        } else {
            self.pending.push(Unsettled(seq.0));
        }
    }

    /// The same with one that does not leave, or not now: it counts as given, and no sign of life says that it has arrived.
    pub(super) fn withheld(&mut self, seq: Seq) {
        if self.position(seq).is_none() {
            self.delivered(seq);
        }
        self.withhold(seq);
    }

    /// What it was given has not left, and does not leave any more.
    pub(super) fn withhold(&mut self, seq: Seq) {
        if let Some(at) = self.position(seq) {
            self.pending[at].0 |= Unsettled::WITHHELD;
        }
    }

    fn position(&self, seq: Seq) -> Option<usize> {
        self.pending.iter().position(|unsettled| unsettled.seq() == seq)
    }

    /// Nothing is waited for from it on account of this message (any more).
    pub(super) fn acknowledged(&mut self, seq: Seq) {
        if let Some(at) = self.position(seq) {
            self.pending.remove(at);
            if self.pending.is_empty() {
                self.pending = Vec::new();
            }
        }
    }

    fn settled(&self) -> Seq {
        match self.pending.iter().map(|unsettled| unsettled.seq()).min() {
            _ if self.frozen != MOVING => self.frozen,
            Some(first) => Seq(first.0 - 1),
            None => self.last.max(self.floor),
        }
    }

    pub(super) fn is_in(&self, room: u32) -> bool {
        self.rooms.iter().any(|(joined, _)| *joined == room)
    }
}

impl Shard {
    /// Subscribes a device on a connection to everything that can be meant for it. It starts by
    /// catching up: see [`Shard::go_live`].
    pub fn attach(&mut self, attach: Attach<'_>) -> Option<MemberKey> {
        self.peers.get(attach.peer)?;
        let place = self.place(attach.namespace);
        self.places[place as usize].policy = attach.policy;
        let key = self.members.insert(Member {
            peer: attach.peer,
            ordinal: attach.ordinal,
            place,
            format: attach.format,
            state: State::CatchingUp(Box::default()),
            floor: Seq(0),
            sibling: None,
            last: Seq(0),
            pending: Vec::new(),
            frozen: MOVING,
            unnoted: false,
            noted: Seq(0),
            rooms: SmallVec::new(),
            all_at: self.places[place as usize].all.len() as u32,
        });
        let found = &mut self.places[place as usize];
        found.all.push(key);
        let sibling = found.devices.insert(attach.ordinal.0, key);
        if let Some(member) = self.members.get_mut(key) {
            member.sibling = sibling;
        }
        if let Some(peer) = self.peers.get_mut(attach.peer) {
            peer.members.reserve_exact(1);
            peer.members.push(key);
        }
        for room in attach.rooms {
            self.join(key, room);
        }
        Some(key)
    }

    /// Takes a device off its connection. Answers up to where everything is settled for it: it has
    /// acknowledged all that was meant for it up to there.
    pub fn detach(&mut self, key: MemberKey) -> Option<Seq> {
        let peer = self.members.get(key)?.peer;
        let waiting: Vec<(u32, Seq)> = self.peers.get(peer)?.outbox.messages().collect();
        let place = self.members.get(key)?.place;
        let own = waiting.into_iter().filter(|(of, _)| *of == place).collect();
        self.report_unwritten(&[key], own, Unwritten::ConnectionLost);
        while let Some((room, _)) = self.members.get(key).and_then(|member| member.rooms.last().copied()) {
            let name = self.rooms[room as usize].name.clone();
            self.leave(key, &name);
        }
        let _ = self.take_dropped(key);
        let member = self.members.remove(key)?;
        self.leave_all(&member);
        self.unlink(key, &member);
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.members.retain(|other| *other != key);
        }
        matches!(member.state, State::Live).then(|| member.settled())
    }

    /// The connections of a device.
    #[must_use]
    pub fn peers_of_device(&self, namespace: &NamespaceName, device: Ordinal) -> Vec<PeerKey> {
        let members = self.members_of_device(namespace, device);
        members.into_iter().filter_map(|key| Some(self.members.get(key)?.peer)).collect()
    }

    /// The members that stand for a device.
    #[must_use]
    pub fn members_of_device(&self, namespace: &NamespaceName, device: Ordinal) -> Vec<MemberKey> {
        let place = self.place_of.get(namespace).map(|place| &self.places[*place as usize]);
        let first = place.and_then(|place| place.devices.get(&device.0).copied());
        let next = |key: &MemberKey| self.members.get(*key).and_then(|member| member.sibling);
        std::iter::successors(first, next).collect()
    }

    /// The connection that a member is on.
    #[must_use]
    pub fn peer_of(&self, key: MemberKey) -> Option<PeerKey> {
        self.members.get(key).map(|member| member.peer)
    }

    /// Subscribes a member to a room. Idempotent.
    pub fn join(&mut self, key: MemberKey, name: &RoomName) {
        let Some(place) = self.members.get(key).map(|member| member.place) else { return };
        let room = self.room(place, name);
        let at = self.rooms[room as usize].members.len() as u32;
        let Some(member) = self.members.get_mut(key) else { return };
        if member.rooms.iter().all(|(other, _)| *other != room) {
            member.rooms.push((room, at));
            self.rooms[room as usize].members.push(key);
        }
    }

    /// Takes a member out of a room. Idempotent.
    pub fn leave(&mut self, key: MemberKey, name: &RoomName) {
        let Some(member) = self.members.get_mut(key) else { return };
        let place = &mut self.places[member.place as usize];
        let Some(&room) = place.rooms.get(name) else { return };
        let Some(index) = member.rooms.iter().position(|(other, _)| *other == room) else { return };
        let (_, at) = member.rooms.swap_remove(index);
        let members = &mut self.rooms[room as usize].members;
        members.swap_remove(at as usize);
        if let Some(moved) = members.get(at as usize).copied()
            && let Some(moved) = self.members.get_mut(moved)
            && let Some(entry) = moved.rooms.iter_mut().find(|(other, _)| *other == room)
        {
            entry.1 = at;
        }
        if self.rooms[room as usize].members.is_empty() {
            place.rooms.remove(name);
            self.rooms[room as usize].members = Vec::new();
            self.free_rooms.push(room);
        }
    }

    /// From now on the frames of a connection may be compressed: it has moved to a transport where that was
    /// agreed on.
    pub fn set_deflate(&mut self, peer: PeerKey, window: Window) {
        let Some(found) = self.peers.get(peer) else { return };
        for key in &found.members {
            if let Some(member) = self.members.get_mut(*key) {
                member.format.deflate = Some(window);
            }
        }
    }

    /// Puts a message from the mailbox into a catching-up member's outbox, as it stands in its
    /// `topic`th topic. Answers false when there is no use in more: the connection ends, or the member is gone.
    pub fn replay(&mut self, key: MemberKey, message: &Arc<Message>, topic: usize) -> bool {
        self.replay_as(key, message, topic, None)
    }

    /// The same in other bytes, for clients that are told of several messages in one of their packets.
    pub fn replay_as(
        &mut self,
        key: MemberKey,
        message: &Arc<Message>,
        topic: usize,
        other: Option<Encoded>,
    ) -> bool {
        let Some(member) = self.members.get_mut(key) else { return false };
        if self.places[member.place as usize].recalled.contains(&message.seq) {
            return true;
        }
        let frame = broadcast::encode(message, topic, member.place, member.format.codec);
        let frame = other.map_or_else(|| Rc::clone(&frame), |encoded| frame.with(encoded));
        let frame = broadcast::compress(frame, member.format, &mut self.deflater);
        let (by, peer) = (Ordinals::One(member.ordinal.0), member.peer);
        let given = self.give(key, message, frame);
        if given.written {
            self.events.push(Event::Written { message: Arc::clone(message), by });
        }
        let Some(found) = self.peers.get_mut(peer) else { return false };
        if given.queued {
            mark_urgent(&mut self.urgent, found, peer);
        }
        !found.slow
    }

    /// Everything up to `floor` has been replayed: hands over what was held back since, and delivers
    /// live from now on — unless too much came in between.
    pub fn go_live(&mut self, key: MemberKey, floor: Seq) -> CatchUp {
        let Some(member) = self.members.get_mut(key) else { return CatchUp::Gone };
        let State::CatchingUp(held) = &mut member.state else { return CatchUp::Live };
        let held = std::mem::take(&mut **held);
        if held.overflowed {
            return CatchUp::Again;
        }
        member.floor = floor;
        member.state = State::Live;
        for (delivery, topic) in held.deliveries {
            if delivery.message.seq > floor {
                self.replay(key, &delivery.message, topic);
            }
        }
        CatchUp::Live
    }

    /// A member has acknowledged a message.
    pub fn acknowledge(&mut self, key: MemberKey, seq: Seq) {
        if let Some(member) = self.members.get_mut(key) {
            member.acknowledged(seq);
        }
    }

    /// What left for a member, or waits in the outbox to do so, and is not acknowledged.
    pub fn pending(&self, key: MemberKey) -> impl Iterator<Item = Seq> {
        let pending = self.members.get(key).map_or(&[][..], |member| &member.pending);
        pending.iter().filter(|unsettled| !unsettled.is_withheld()).map(|unsettled| unsettled.seq())
    }

    /// What a member is given from now on is noted again, if it was too much before. Its settled position stays where it is.
    pub fn note_again(&mut self, key: MemberKey) {
        if let Some(member) = self.members.get_mut(key) {
            member.unnoted = false;
        }
    }

    /// A message that was let go is settled for these devices: they do not get it.
    pub fn settle_dropped(&mut self, namespace: &NamespaceName, seq: Seq, by: &Ordinals) {
        let mut settle = |device: u32| {
            for key in self.members_of_device(namespace, Ordinal(device)) {
                self.acknowledge(key, seq);
            }
        };
        match by {
            Ordinals::None => {}
            Ordinals::One(one) => settle(*one),
            Ordinals::Many(many) => many.iter().for_each(settle),
        }
    }

    /// Something older than what a member is given is not settled for it: its settled position stays at
    /// `cursor` for the rest of its connection.
    pub fn freeze(&mut self, key: MemberKey, cursor: Seq) {
        if let Some(member) = self.members.get_mut(key) {
            member.frozen = cursor;
            member.unnoted = true;
            member.noted = cursor;
        }
    }

    /// Up to where everything is settled for a member, if that is further than when this was last asked.
    pub fn take_settled(&mut self, key: MemberKey) -> Option<Seq> {
        let member = self.members.get_mut(key).filter(|member| matches!(member.state, State::Live))?;
        let settled = member.settled();
        let before = std::mem::replace(&mut member.noted, settled);
        (settled > before).then_some(settled)
    }

    pub(super) fn place(&mut self, name: &NamespaceName) -> u32 {
        if let Some(place) = self.place_of.get(name) {
            return *place;
        }
        let place = self.places.len() as u32;
        self.places.push(Place {
            name: name.clone(),
            all: Vec::new(),
            rooms: std::collections::HashMap::new(),
            devices: rustc_hash::FxHashMap::default(),
            policy: Policy::default(),
            recalled: std::collections::VecDeque::new(),
        });
        self.place_of.insert(name.clone(), place);
        place
    }

    fn room(&mut self, place: u32, name: &RoomName) -> u32 {
        let rooms = &mut self.places[place as usize].rooms;
        if let Some(room) = rooms.get(name) {
            return *room;
        }
        let fresh = Room { name: name.clone(), members: Vec::new() };
        let room = match self.free_rooms.pop() {
            Some(room) => {
                self.rooms[room as usize] = fresh;
                room
            }
            None => {
                self.rooms.push(fresh);
                self.rooms.len() as u32 - 1
            }
        };
        rooms.insert(name.clone(), room);
        room
    }

    fn leave_all(&mut self, member: &Member) {
        let all = &mut self.places[member.place as usize].all;
        all.swap_remove(member.all_at as usize);
        if let Some(moved) = all.get(member.all_at as usize).copied()
            && let Some(moved) = self.members.get_mut(moved)
        {
            moved.all_at = member.all_at;
        }
    }

    /// Takes a member out of the chain of its device.
    fn unlink(&mut self, key: MemberKey, member: &Member) {
        let devices = &mut self.places[member.place as usize].devices;
        if devices.get(&member.ordinal.0) == Some(&key) {
            match member.sibling {
                Some(sibling) => devices.insert(member.ordinal.0, sibling),
                None => devices.remove(&member.ordinal.0),
            };
            return;
        }
        let mut next = devices.get(&member.ordinal.0).copied();
        while let Some(current) = next {
            let Some(found) = self.members.get_mut(current) else { return };
            if found.sibling == Some(key) {
                found.sibling = member.sibling;
                return;
            }
            next = found.sibling;
        }
    }

    /// Bytes that a member takes besides the messages that it has not acknowledged.
    #[must_use]
    pub const fn bytes_per_member() -> usize {
        std::mem::size_of::<Member>()
    }
}
