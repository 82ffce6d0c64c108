//! Several frames that wait for one connection: three lanes, and what has begun to leave.

use std::collections::VecDeque;
use std::rc::Rc;

use rustc_hash::FxHashSet;
use tidings_model::{Seq, Timestamp};

use super::{Bounds, Full, Policy, WhenFull};
use crate::frame::{Frame, Lane};

/// Frames in three lanes.
#[derive(Debug, Default)]
pub(super) struct Queue {
    lanes: [VecDeque<Rc<Frame>>; 3],
    /// The frame that the socket took only a part of, and how much of it.
    started: Option<(Rc<Frame>, usize)>,
    bytes: usize,
}

/// Frames that a lane has room for at first: where two wait, more come.
const FIRST_FRAMES: usize = 16;

/// Frames up to this size are copied together into one write; a larger one is written from where it is.
const COPY_BYTES_MAX: usize = 16 * 1024;

/// The lanes of messages.
const MESSAGES: std::ops::RangeInclusive<usize> = Lane::High as usize..=Lane::Normal as usize;

/// A lane, and a place in it.
type Place = (usize, usize);

/// Most bytes in one write.
pub const WRITE_BYTES_MAX: usize = 64 * 1024;

impl Queue {
    /// Queues a frame. Control frames are let in beyond the bound of messages, up to twice the bound:
    /// a connection that cannot even take its heartbeats has lost its right to more.
    ///
    /// # Errors
    /// [`Full`] when the bound would be passed; the frame is not queued.
    pub(super) fn push(&mut self, lane: Lane, frame: Rc<Frame>, bounds: Bounds) -> Result<(), Full> {
        let slack = if lane == Lane::Control { 2 } else { 1 };
        let fits = self.len() < bounds.frames * slack
            && (self.bytes + frame.bytes().len() <= bounds.bytes * slack || self.is_empty());
        if !fits {
            return Err(Full);
        }
        self.bytes += frame.bytes().len();
        // What is urgent overtakes other topics, never its own: a topic keeps its order.
        let behind =
            |waiting: &Rc<Frame>| waiting.topic == frame.topic && waiting.namespace == frame.namespace;
        let follows = lane == Lane::High && self.lanes[Lane::Normal as usize].iter().any(behind);
        let lane = if follows { Lane::Normal } else { lane };
        let queue = &mut self.lanes[lane as usize];
        if queue.capacity() == 0 {
            queue.reserve(FIRST_FRAMES);
        }
        queue.push_back(frame);
        Ok(())
    }

    /// Makes room for a message of `namespace`, by letting go of others of it, each reported to `dropped`. What
    /// has begun to leave stays, and what is no message does. There may be no room even then; nothing is let go
    /// for a message that is too large to stand beside what stays.
    pub(super) fn make_room(&mut self, frame: &Frame, policy: Policy, mut dropped: impl FnMut(&Frame)) {
        let (overtaken, then) = match policy.when_full {
            WhenFull::Disconnect => return,
            WhenFull::DropOldest => (Vec::new(), policy.bounds),
            // Room for more than one: looking through the whole queue for each message is too dear.
            WhenFull::KeepLatest => (self.overtaken(frame), policy.bounds.with_a_quarter_free()),
        };
        if !self.can_make_room(frame, policy.bounds, &overtaken) {
            return;
        }
        self.let_go(overtaken, &mut dropped);
        // Those of a lower priority first, and never those of a higher one.
        for high in if frame.high { &[false, true][..] } else { &[false] } {
            let mut from = [0; 2];
            while self.len() >= then.frames
                || (self.bytes + frame.bytes().len() > then.bytes && !self.is_empty())
            {
                let goes =
                    |waiting: &Rc<Frame>| waiting.namespace == frame.namespace && waiting.high == *high;
                // What is urgent may wait in either lane; nearly always it is the first one there.
                let mut oldest: Option<(Seq, Place)> = None;
                for (lane, from) in MESSAGES.zip(&mut from) {
                    let queue = &self.lanes[lane];
                    *from += queue.iter().skip(*from).position(goes).unwrap_or(queue.len());
                    if let Some(first) = queue.get(*from)
                        && oldest.is_none_or(|(seq, _)| first.seq < seq)
                    {
                        oldest = Some((first.seq, (lane, *from)));
                    }
                }
                let Some((_, (lane, at))) = oldest else { break };
                let Some(oldest) = self.lanes[lane].remove(at) else { break };
                self.bytes -= oldest.bytes().len();
                dropped(&oldest);
            }
        }
    }

    /// Whether there would be room with everything gone that may go: what is `overtaken`, whatever its priority, and what has no
    /// higher one than the message. Looks only as far as it takes to find enough.
    fn can_make_room(&self, frame: &Frame, bounds: Bounds, overtaken: &[Place]) -> bool {
        let (mut frames, mut bytes) = (self.len(), self.bytes + frame.bytes().len());
        let fits = |frames, bytes| frames < bounds.frames && bytes <= bounds.bytes;
        let mut overtaken = overtaken.iter().peekable();
        let mut may_go = self.messages().filter(|(place, waiting)| {
            let first = overtaken.next_if_eq(&place).is_some();
            first || (waiting.namespace == frame.namespace && (frame.high || !waiting.high))
        });
        while !fits(frames, bytes) {
            let Some((_, next)) = may_go.next() else { break };
            frames -= 1;
            bytes -= next.bytes().len();
        }
        frames == 0 || fits(frames, bytes)
    }

    /// Each message that has a newer one with the same subject behind it, or in `newest`.
    fn overtaken(&self, newest: &Frame) -> Vec<Place> {
        let mut seen = FxHashSet::from_iter([newest.subject]);
        let mut overtaken = Vec::new();
        // Of two messages with one subject the later one is always in the same lane or in a lower one.
        for (place, frame) in self.messages().rev() {
            if frame.namespace == newest.namespace && !seen.insert(frame.subject) {
                overtaken.push(place);
            }
        }
        overtaken.reverse();
        overtaken
    }

    /// Lets go of what is there, reported to `dropped`.
    fn let_go(&mut self, places: Vec<Place>, dropped: &mut impl FnMut(&Frame)) {
        if places.is_empty() {
            return;
        }
        let mut places = places.into_iter().peekable();
        for (lane, queue) in self.lanes.iter_mut().enumerate() {
            let mut at = 0;
            queue.retain(|frame| {
                let goes = places.next_if_eq(&(lane, at)).is_some();
                at += 1;
                if goes {
                    self.bytes -= frame.bytes().len();
                    dropped(frame);
                }
                !goes
            });
        }
    }

    /// What may be let go in some case: what waits in the lanes of messages, each with its place.
    fn messages(&self) -> impl DoubleEndedIterator<Item = (Place, &Rc<Frame>)> {
        self.lanes
            .iter()
            .enumerate()
            .skip(Lane::High as usize)
            .flat_map(|(lane, queue)| queue.iter().enumerate().map(move |(at, frame)| ((lane, at), frame)))
    }

    /// How many frames wait.
    pub(super) fn len(&self) -> usize {
        self.lanes.iter().map(VecDeque::len).sum::<usize>() + usize::from(self.started.is_some())
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.started.is_none() && self.lanes.iter().all(VecDeque::is_empty)
    }

    /// How many bytes wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The bytes for the next write: one frame in place, or several small ones copied into `scratch`.
    /// Empty when nothing waits. Nothing is taken out until [`Queue::advance`].
    pub(super) fn next_write<'a>(&'a self, scratch: &'a mut Vec<u8>) -> &'a [u8] {
        let mut waiting = self.waiting();
        let Some((first, skip)) = waiting.next() else { return &[] };
        let head = &first.bytes()[skip..];
        if head.len() > COPY_BYTES_MAX || self.len() == 1 {
            return head;
        }
        scratch.clear();
        scratch.extend_from_slice(head);
        for (frame, _) in waiting {
            if frame.bytes().len() > COPY_BYTES_MAX || scratch.len() + frame.bytes().len() > WRITE_BYTES_MAX {
                break;
            }
            scratch.extend_from_slice(frame.bytes());
        }
        scratch
    }

    /// The socket took `written` bytes of what [`Queue::next_write`] gave.
    pub(super) fn advance(&mut self, written: usize) {
        let mut left = written;
        while left > 0 {
            let Some((frame, skip)) = self.pop() else { return };
            let rest = frame.bytes().len() - skip;
            if left < rest {
                self.started = Some((frame, skip + left));
                self.bytes += rest - left;
                return;
            }
            left -= rest;
        }
        self.release_memory();
    }

    /// Takes the next whole frame, for transports that wrap frames themselves.
    pub(super) fn pop_frame(&mut self) -> Option<Rc<Frame>> {
        let frame = self.pop().map(|(frame, _)| frame);
        if self.is_empty() {
            self.release_memory();
        }
        frame
    }

    /// Takes some of the messages out, each reported to `dropped`.
    pub(super) fn take_out(&mut self, which: impl Fn(&Frame) -> bool, mut dropped: impl FnMut(&Frame)) {
        for lane in &mut self.lanes[Lane::High as usize..] {
            lane.retain(|frame| {
                let goes = which(frame);
                if goes {
                    self.bytes -= frame.bytes().len();
                    dropped(frame);
                }
                !goes
            });
        }
    }

    /// Drops the messages that are no longer worth writing, each reported to `dropped`.
    pub(super) fn drop_expired(&mut self, now: Timestamp, mut dropped: impl FnMut(&Frame)) {
        for lane in &mut self.lanes[Lane::High as usize..] {
            if lane.iter().all(|frame| now < frame.expires_at) {
                continue;
            }
            lane.retain(|frame| {
                let live = now < frame.expires_at;
                if !live {
                    self.bytes -= frame.bytes().len();
                    dropped(frame);
                }
                live
            });
        }
    }

    /// Drops every message that has not begun to leave: the connection ends, and what is left of its
    /// time belongs to the goodbye.
    pub(super) fn abandon(&mut self) {
        for lane in &mut self.lanes[Lane::High as usize..] {
            self.bytes -= lane.iter().map(|frame| frame.bytes().len()).sum::<usize>();
            *lane = VecDeque::new();
        }
    }

    /// Each frame, and how much of it has left.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (&Rc<Frame>, usize)> {
        let started = self.started.iter().map(|(frame, skip)| (frame, *skip));
        started.chain(self.lanes.iter().flatten().map(|frame| (frame, 0)))
    }

    fn pop(&mut self) -> Option<(Rc<Frame>, usize)> {
        let next = self
            .started
            .take()
            .or_else(|| self.lanes.iter_mut().find_map(VecDeque::pop_front).map(|f| (f, 0)));
        if let Some((frame, skip)) = &next {
            self.bytes -= frame.bytes().len() - skip;
        }
        next
    }

    /// An idle connection keeps no queue memory.
    fn release_memory(&mut self) {
        for lane in &mut self.lanes {
            if lane.is_empty() && lane.capacity() > 0 {
                *lane = VecDeque::new();
            }
        }
    }
}
