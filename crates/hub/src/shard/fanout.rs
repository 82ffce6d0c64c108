//! The fan-out: from a message to the outboxes of those it is for.
//!
//! Big rooms are served in **rounds**: first the frames of all messages that wait go into the outboxes,
//! then the outboxes are written, each with all that it got: the more is going on, the more goes into one
//! write, and the more is done about a member each time it is looked at. Both halves are cut into turns, and what is for single devices and small rooms is written in
//! every turn, so a big room delays nobody but itself. No device is given messages out of order: what it
//! is still owed from a big room goes ahead of anything newer.
//!
//! It knows who is subscribed and who is meant, and the order that a device may rely on; it knows no
//! format.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use tidings_model::{Seq, Step, Topic};

use super::members::State;
use super::{Delivery, Event, MemberKey, Ordinals, Outcome, Shard, mark_round, mark_urgent, queue};
use crate::broadcast::Broadcast;
use crate::frame::Frame;

/// A room with more members than this here is served in rounds, a smaller one at once.
pub(super) const SMALL_ROOM: usize = 64;

/// Deliveries to a room in one turn: some 100 microseconds of putting frames into outboxes that are in no cache.
const SLICE: usize = 512;

/// Connections in one turn that are written to because of a room: about half a millisecond of system calls.
pub(super) const TURN_WRITES: usize = 64;

/// Bytes of messages that are not to big rooms in one turn; one message more may come to it. So many small ones still leave in few
/// writes.
pub(super) const AT_ONCE_BYTES: usize = 16 << 20;

/// What a message costs in an outbox besides its data, in bytes.
const OVERHEAD: usize = 256;

/// Messages to rooms that are put into outboxes before those are written. Well below any sensible bound of
/// an outbox, so that only a reader can be slow, never the writer.
const ROUND_MESSAGES: usize = 128;

/// Rounds in a row that leave messages for the next one before the shard counts as behind: one burst is none.
pub(super) const BEHIND_ROUNDS: u32 = 3;

/// Messages to rooms that wait before the shard is in a hurry.
pub(super) const IN_A_HURRY: usize = ROUND_MESSAGES / 2;

/// A fan-out that is not finished: the rooms of a message that have more members than a slice.
#[derive(Debug)]
pub(super) struct Job {
    delivery: Arc<Delivery>,
    place: u32,
    topic: usize,
    frames: Broadcast,
    /// Whose outboxes took it.
    written: Vec<u32>,
    /// It counts as written and never leaves, because its caller wants to see how clients recover.
    lost: bool,
}

impl Job {
    /// Whether this is the message that is being delivered.
    pub(super) fn is_of(&self, place: u32, seq: Seq) -> bool {
        self.place == place && self.delivery.message.seq == seq
    }

    /// Who it was written to since this was last asked.
    pub(super) fn take_written(&mut self) -> Option<Event> {
        if self.written.is_empty() {
            return None;
        }
        let by = Ordinals::from(std::mem::take(&mut self.written));
        Some(Event::Written { message: Arc::clone(&self.delivery.message), by })
    }

    /// The topics that it has not been through, each with its offset there.
    fn rooms(&self) -> &[(Topic, u64)] {
        &self.delivery.message.topics[self.topic..]
    }

    /// Whether the topics that it has not been through are just these.
    fn is_for(&self, rooms: &[(Topic, u64)]) -> bool {
        self.rooms().iter().map(|(topic, _)| topic).eq(rooms.iter().map(|(topic, _)| topic))
    }
}

impl Shard {
    /// Takes a message in. Topics of users, devices and small rooms are served at once, others in the next
    /// round. Messages are to be taken in by their numbers.
    pub fn deliver(&mut self, delivery: Arc<Delivery>) {
        let Some(&place) = self.place_of.get(&delivery.message.namespace) else { return };
        if self.places[place as usize].recalled.contains(&delivery.message.seq) {
            return;
        }
        let mut job = Job {
            place,
            topic: 0,
            frames: Broadcast::default(),
            written: Vec::new(),
            lost: delivery.message.is_lost(),
            delivery,
        };
        if self.serve_at_once(&mut job) {
            self.finish(job);
        } else {
            self.jobs.push_back(job);
        }
    }

    /// Puts frames into outboxes: as many as a turn may, and only until the round has enough.
    pub(super) fn fill(&mut self) {
        let mut left = SLICE;
        let mut jobs = std::mem::take(&mut self.jobs);
        while left > 0 && self.round.messages < ROUND_MESSAGES && !jobs.is_empty() {
            self.serve_together(&mut jobs, &mut left);
        }
        self.jobs = jobs;
        if self.jobs.is_empty() || self.round.messages == ROUND_MESSAGES {
            self.round.messages = 0;
            self.round.writing = true;
        }
    }

    /// Serves the topics of a message up to the first big one. Answers whether there was none.
    fn serve_at_once(&mut self, job: &mut Job) -> bool {
        let delivery = Arc::clone(&job.delivery);
        while let Some((topic, _)) = delivery.message.topics.get(job.topic) {
            match topic {
                Topic::User(_) | Topic::Device(_) => {
                    for ordinal in &delivery.direct[job.topic] {
                        let mut next = self.places[job.place as usize].devices.get(ordinal).copied();
                        while let Some(key) = next {
                            next = self.members.get(key).and_then(|member| member.sibling);
                            self.serve_now(job, key);
                        }
                    }
                }
                Topic::Room(_) | Topic::All => {
                    if self.subscribers(job.place, topic).len() > SMALL_ROOM {
                        return false;
                    }
                    for key in self.subscribers(job.place, topic).to_vec() {
                        self.serve_now(job, key);
                    }
                }
            }
            job.topic += 1;
            job.frames = Broadcast::default();
        }
        true
    }

    /// Serves one member in this turn, and before it with what it is owed from rooms that are still being
    /// served.
    fn serve_now(&mut self, job: &mut Job, key: MemberKey) {
        let mut taken = false;
        if !self.jobs.is_empty() {
            let mut jobs = std::mem::take(&mut self.jobs);
            for owed in jobs.iter_mut().filter(|owed| owed.place == job.place) {
                if let Some(topic) = self.topic_of(owed, key) {
                    // The job's own frames are of the topic that it stands at.
                    let frames = std::mem::take(&mut owed.frames);
                    let at = std::mem::replace(&mut owed.topic, topic);
                    taken |= self.serve_one(owed, key);
                    owed.topic = at;
                    owed.frames = frames;
                }
            }
            self.jobs = jobs;
        }
        if self.serve_one(job, key) {
            taken = true;
            self.at_once += job.delivery.message.data.len() + OVERHEAD;
        }
        if taken
            && let Some(member) = self.members.get(key)
            && let Some(peer) = self.peers.get_mut(member.peer)
        {
            mark_urgent(&mut self.urgent, peer, member.peer);
        }
    }

    /// The first topic of an unfinished fan-out that a member is subscribed to.
    fn topic_of(&self, job: &Job, key: MemberKey) -> Option<usize> {
        let member = self.members.get(key)?;
        let rooms = &self.places[job.place as usize].rooms;
        let topics = job.delivery.message.topics.iter().enumerate().skip(job.topic);
        topics
            .filter(|(_, (topic, _))| match topic {
                Topic::All => true,
                Topic::Room(name) => rooms.get(name).is_some_and(|room| member.is_in(*room)),
                Topic::User(_) | Topic::Device(_) => false,
            })
            .map(|(index, _)| index)
            .next()
    }

    /// Serves members of the room that the first message is for, each with all messages of the round that are for the same
    /// rooms and stand in a row with it: looking a member up costs more than giving it another message. Takes what it
    /// did off `left`.
    fn serve_together(&mut self, jobs: &mut VecDeque<Job>, left: &mut usize) {
        if self.round.together == 0 {
            let first = &jobs[0];
            let alike = jobs.iter().take(ROUND_MESSAGES - self.round.messages);
            self.round.together =
                alike.take_while(|job| job.place == first.place && job.is_for(first.rooms())).count();
            self.round.members =
                self.subscribers(first.place, &first.delivery.message.topics[first.topic].0).to_vec();
        }
        let together = self.round.together;
        let now = self.round.members.len().min((*left / together).max(1));
        // Backwards all along, so that who was served comes in order.
        for key in self.round.members.split_off(self.round.members.len() - now).into_iter().rev() {
            let mut taken = false;
            for job in jobs.iter_mut().take(together) {
                taken |= self.serve_one(job, key);
            }
            if taken && let Some(member) = self.members.get(key) {
                mark_round(&mut self.round.dirty, &mut self.peers, member.peer);
            }
        }
        *left = left.saturating_sub(now.max(1) * together);
        if self.round.members.is_empty() {
            self.round.together = 0;
            for job in jobs.iter_mut().take(together) {
                job.topic += 1;
                job.frames = Broadcast::default();
            }
            while jobs.front().is_some_and(|job| job.rooms().is_empty()) {
                jobs.pop_front().into_iter().for_each(|job| self.finish(job));
                self.round.messages += 1;
            }
        }
    }

    fn subscribers(&self, place: u32, topic: &Topic) -> &[MemberKey] {
        let place = &self.places[place as usize];
        match topic {
            Topic::All => &place.all,
            Topic::Room(name) => {
                place.rooms.get(name).map_or(&[], |room| &self.rooms[*room as usize].members)
            }
            Topic::User(_) | Topic::Device(_) => &[],
        }
    }

    /// Gives a member the message, unless it is not meant or has it. Answers whether its outbox took it.
    fn serve_one(&mut self, job: &mut Job, key: MemberKey) -> bool {
        let message = &job.delivery.message;
        let Some(member) = self.members.get_mut(key) else { return false };
        if !message.meant.contains(member.ordinal.0) {
            return false;
        }
        if let State::CatchingUp(held) = &mut member.state {
            held.push(&job.delivery, job.topic);
            return false;
        }
        // Members are given messages by their numbers, so this is one that came through another topic, or
        // from the mailbox.
        if message.seq <= member.last.max(member.floor) {
            return false;
        }
        if job.lost {
            let (seq, device) = (message.seq, member.ordinal);
            member.withheld(seq);
            self.note(job.place, seq, device, Step::SimulatedLoss);
            job.written.push(device.0);
            return false;
        }
        let has_own = matches!(message.topics[job.topic].0, Topic::User(_) | Topic::Device(_));
        if has_own && self.faults.is_none() && self.peers.get(member.peer).is_none_or(|peer| peer.slow) {
            // It is about to be closed: no frame that nobody else gets is worth making for it.
            job.delivery.superseded.iter().for_each(|old| member.acknowledged(*old));
            return false;
        }
        let frame = job.frames.frame(message, job.topic, job.place, member.format, &mut self.deflater);
        if self.faults.is_some() {
            return self.serve_with_faults(job, key, frame);
        }
        let policy = self.places[job.place as usize].policy;
        let mut outcome = Outcome { events: &mut self.events, drops: &mut self.drops };
        let taken = queue(&mut self.peers, &mut outcome, member, message, frame, policy);
        for old in &job.delivery.superseded {
            member.acknowledged(*old);
        }
        if taken {
            job.written.push(member.ordinal.0);
        }
        taken
    }

    /// The same where faults on purpose may befall the message.
    fn serve_with_faults(&mut self, job: &mut Job, key: MemberKey, frame: Rc<Frame>) -> bool {
        let given = self.give(key, &job.delivery.message, frame);
        for old in &job.delivery.superseded {
            self.forget_held_back(job.place, *old, Some(key));
            self.acknowledge(key, *old);
        }
        if given.written
            && let Some(member) = self.members.get(key)
        {
            job.written.push(member.ordinal.0);
        }
        given.queued
    }

    pub(super) fn finish(&mut self, mut job: Job) {
        self.events.extend(job.take_written());
    }
}
