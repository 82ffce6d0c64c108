//! Faults on purpose, so that whoever writes a client can see how it recovers: messages that are lost, late, doubled or
//! out of order, and connections that end.
//!
//! A fault acts where a message meets a connection. What is held back is bounded; beyond the bound a message goes out as
//! if there were no fault. Chance comes in as a seed and time as it passes; who asked for a fault, and why, is not known
//! here.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use roaring::RoaringBitmap;
use rustc_hash::FxHashMap;
use tidings_model::{Message, MessageId, NamespaceName, Ordinal, RoomName, Seq, Step, Timestamp, Topic};

use super::{Event, MemberKey, Ordinals, Outcome, Shard, lane_of, mark_urgent, queue};
use crate::frame::Frame;

/// Messages that a shard holds back at most; with more, they go out without a fault.
pub const HELD_BACK_MAX: usize = 1_024;

/// Bytes of messages that a shard holds back at most; with more, they go out without a fault.
pub const HELD_BACK_BYTES_MAX: usize = 4 << 20;

/// How long a message waits for another one to overtake it. When none comes, it goes out as it would have.
const OVERTAKE_WITHIN: Duration = Duration::from_secs(1);

/// A fault on purpose.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// What it acts on.
    pub on: FaultOn,
    /// What it does.
    pub effect: Effect,
    /// How likely it acts: from 0, never, to 1, always.
    pub probability: f64,
    /// Until when.
    pub until: Timestamp,
}

/// What a fault acts on.
#[derive(Clone, Debug, PartialEq)]
pub enum FaultOn {
    /// Whatever goes to these devices.
    Devices(RoaringBitmap),
    /// What was pushed to this room.
    Room(RoomName),
    /// The message with this id.
    Message(MessageId),
}

/// What a fault does to a message on its way to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It counts as written and never leaves.
    Lose,
    /// It leaves that much later, behind what came meanwhile.
    Delay(Duration),
    /// It leaves twice.
    Duplicate,
    /// The next one leaves before it.
    Reorder,
    /// It leaves, and then the connection ends.
    Disconnect,
}

impl Effect {
    /// The name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lose => "lose",
            Self::Delay(_) => "delay",
            Self::Duplicate => "duplicate",
            Self::Reorder => "reorder",
            Self::Disconnect => "disconnect",
        }
    }
}

/// The faults of a shard.
#[derive(Debug)]
pub(super) struct Faults {
    places: FxHashMap<u32, Vec<Fault>>,
    now: Timestamp,
    random: u64,
    held: Vec<HeldBack>,
    bytes: usize,
}

/// A message that is held back for a member.
#[derive(Debug)]
struct HeldBack {
    due: Timestamp,
    /// Whether the next message sets it free.
    overtaken: bool,
    member: MemberKey,
    place: u32,
    message: Arc<Message>,
    frame: Rc<Frame>,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Given {
    /// It is in an outbox.
    pub(super) queued: bool,
    /// It counts as written.
    pub(super) written: bool,
}

impl Faults {
    /// What is to befall a message, by the first fault that acts.
    fn draw(&mut self, place: u32, device: Ordinal, message: &Message) -> Option<Effect> {
        let Self { places, random, now, .. } = self;
        let faults = places.get(&place)?;
        let mut acts = |fault: &&Fault| {
            fault.until > *now && fault.on.is(device, message) && next(random) < fault.probability
        };
        faults.iter().find(&mut acts).map(|fault| fault.effect)
    }

    fn has_room(&self, frame: &Frame) -> bool {
        self.held.len() < HELD_BACK_MAX && self.bytes + frame.bytes().len() <= HELD_BACK_BYTES_MAX
    }

    fn hold(&mut self, held: HeldBack) {
        self.bytes += held.frame.bytes().len();
        self.held.push(held);
    }

    /// Takes out what is held back and is one of these, in the order in which it came.
    fn take(&mut self, which: impl Fn(&HeldBack) -> bool) -> Vec<HeldBack> {
        let taken: Vec<_> = self.held.extract_if(.., |held| which(held)).collect();
        self.bytes -= taken.iter().map(|held| held.frame.bytes().len()).sum::<usize>();
        taken
    }

    fn is_idle(&self) -> bool {
        self.places.is_empty() && self.held.is_empty()
    }
}

impl FaultOn {
    fn is(&self, device: Ordinal, message: &Message) -> bool {
        match self {
            Self::Devices(devices) => devices.contains(device.0),
            Self::Room(room) => {
                message.topics.iter().any(|(topic, _)| matches!(topic, Topic::Room(name) if name == room))
            }
            Self::Message(id) => message.id == *id,
        }
    }
}

/// The next number from 0 on and below 1 (splitmix64).
fn next(random: &mut u64) -> f64 {
    *random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *random;
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((mixed ^ mixed >> 31) >> 11) as f64 / (1u64 << 53) as f64
}

impl Shard {
    /// From now on these faults act on the messages of a namespace, instead of those before. Without any, what is held
    /// back still leaves when its time comes. `seed` decides what happens by chance.
    pub fn set_faults(&mut self, namespace: &NamespaceName, faults: Vec<Fault>, now: Timestamp, seed: u64) {
        if faults.is_empty() && self.faults.is_none() {
            return;
        }
        let place = self.place(namespace);
        let fresh = || Faults { places: FxHashMap::default(), now, random: seed, held: Vec::new(), bytes: 0 };
        let known = self.faults.get_or_insert_with(|| Box::new(fresh()));
        if faults.is_empty() {
            known.places.remove(&place);
        } else {
            known.places.insert(place, faults);
        }
        self.pass_time(now);
    }

    /// Whether the shard is to be told of the time, because there are faults.
    #[must_use]
    pub fn has_faults(&self) -> bool {
        self.faults.is_some()
    }

    /// When the first of what is held back is to leave.
    #[must_use]
    pub fn next_release(&self) -> Option<Timestamp> {
        self.faults.as_ref()?.held.iter().map(|held| held.due).min()
    }

    /// It is `now`: what was held back until then leaves, and faults whose time is over end.
    pub fn pass_time(&mut self, now: Timestamp) {
        let Some(faults) = &mut self.faults else { return };
        // Set back, a clock must not hold anything back for longer.
        let back = faults.now.since(now);
        let earlier = |due: Timestamp| Timestamp(due.0.saturating_sub(back.as_millis() as u64));
        faults.held.iter_mut().for_each(|held| held.due = earlier(held.due));
        faults.now = now;
        faults.places.retain(|_, list| {
            list.retain(|fault| fault.until > now);
            !list.is_empty()
        });
        let due = faults.take(|held| held.due <= now);
        if faults.is_idle() {
            self.faults = None;
        }
        for held in due {
            self.release(&held, now);
        }
    }

    /// Gives a member a message, with whatever befalls it on the way.
    pub(super) fn give(&mut self, key: MemberKey, message: &Arc<Message>, frame: Rc<Frame>) -> Given {
        let Some(faults) = &mut self.faults else { return self.give_plain(key, message, frame, None) };
        let Some(member) = self.members.get_mut(key) else { return Given::default() };
        let (place, device) = (member.place, member.ordinal);
        let effect = faults.draw(place, device, message);
        let hold = match effect {
            Some(Effect::Delay(by)) => Some((by, false)),
            Some(Effect::Reorder) => Some((OVERTAKE_WITHIN, true)),
            Some(Effect::Lose | Effect::Duplicate | Effect::Disconnect) | None => None,
        };
        // Whoever waits to be overtaken is overtaken by this one, whatever was to befall it.
        let waits = faults.held.iter().any(|held| held.overtaken && held.member == key);
        if let Some((by, overtaken)) = hold
            && faults.has_room(&frame)
            && !(overtaken && waits)
        {
            // It is owed from now on, so that newer ones do not settle it.
            member.withheld(message.seq);
            let due = faults.now.after(by);
            faults.hold(HeldBack { due, overtaken, member: key, place, message: Arc::clone(message), frame });
            if !overtaken {
                self.note(place, message.seq, device, Step::SimulatedDelay);
            }
            return Given::default();
        }
        if effect == Some(Effect::Lose) {
            member.withheld(message.seq);
            self.note(place, message.seq, device, Step::SimulatedLoss);
            return Given { queued: false, written: true };
        }
        let given = self.give_plain(key, message, frame, effect);
        if waits && given.queued {
            let now = self.faults.as_ref().map_or(Timestamp(0), |faults| faults.now);
            let taken =
                self.faults.as_mut().map(|faults| faults.take(|held| held.overtaken && held.member == key));
            for held in taken.into_iter().flatten() {
                self.note(place, held.message.seq, device, Step::SimulatedReorder);
                self.release(&held, now);
            }
        }
        given
    }

    /// Puts a message into the outbox of a member's connection, perhaps twice, perhaps as the last one.
    fn give_plain(
        &mut self,
        key: MemberKey,
        message: &Arc<Message>,
        frame: Rc<Frame>,
        effect: Option<Effect>,
    ) -> Given {
        let Some(member) = self.members.get_mut(key) else { return Given::default() };
        let (place, device, peer) = (member.place, member.ordinal, member.peer);
        let policy = self.places[place as usize].policy;
        let mut outcome = Outcome { events: &mut self.events, drops: &mut self.drops };
        let twin = Rc::clone(&frame);
        let lane = lane_of(member, message);
        let queued = queue(&mut self.peers, &mut outcome, member, message, frame, policy);
        match effect {
            Some(Effect::Duplicate) if queued => {
                // One that finds no room is one that was not doubled.
                let doubled = self.peers.get_mut(peer).map(|peer| peer.push(lane, twin, policy.bounds));
                if doubled == Some(Ok(())) {
                    self.note(place, message.seq, device, Step::SimulatedDuplicate);
                }
            }
            Some(Effect::Disconnect) if queued => {
                self.note(place, message.seq, device, Step::SimulatedDisconnect);
                self.befallen.push(Event::EndOnPurpose(peer));
            }
            Some(
                Effect::Lose | Effect::Delay(_) | Effect::Reorder | Effect::Duplicate | Effect::Disconnect,
            )
            | None => {}
        }
        Given { queued, written: queued }
    }

    /// What was held back leaves, unless its time is over or its member is gone.
    fn release(&mut self, held: &HeldBack, now: Timestamp) {
        let HeldBack { member: key, message, frame, .. } = held;
        let Some(member) = self.members.get_mut(*key) else { return };
        if frame.expires_at <= now {
            return;
        }
        // It is owed already, and once is enough.
        member.acknowledged(message.seq);
        let (by, peer) = (Ordinals::One(member.ordinal.0), member.peer);
        if self.give_plain(*key, message, Rc::clone(frame), None).queued
            && let Some(found) = self.peers.get_mut(peer)
        {
            mark_urgent(&mut self.urgent, found, peer);
            self.events.push(Event::Written { message: Arc::clone(message), by });
        } else if let Some(member) = self.members.get_mut(*key) {
            member.withheld(message.seq);
        }
    }

    /// A message is not to leave any more: to nobody, or not to this member.
    pub(super) fn forget_held_back(&mut self, place: u32, seq: Seq, only: Option<MemberKey>) {
        if let Some(faults) = &mut self.faults {
            let of = |held: &HeldBack| held.place == place && held.message.seq == seq;
            drop(faults.take(|held| of(held) && only.is_none_or(|key| held.member == key)));
        }
    }

    /// Tells the ledger what was done to a message.
    pub(super) fn note(&mut self, place: u32, seq: Seq, device: Ordinal, step: Step) {
        let namespace = self.places[place as usize].name.clone();
        self.befallen.push(Event::Befallen { namespace, seq, device, step });
    }
}
