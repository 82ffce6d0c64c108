//! A connection's bounded queue of frames: three lanes, one write.
//!
//! The outbox hands out the bytes for the next write and is told how many of them the socket took. It
//! does not know the socket, and what happens at the bound is its owner's decision: it only knows how to
//! make room in each of the ways that a [`WhenFull`] names.

use std::rc::Rc;

use tidings_model::{Seq, Timestamp};

use crate::frame::{Frame, Lane};

mod queue;

use queue::Queue;
pub use queue::WRITE_BYTES_MAX;

/// How much may wait for one connection.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Most frames.
    pub frames: usize,
    /// Most bytes.
    pub bytes: usize,
}

impl Bounds {
    /// No bounds: for what leaves at the end of the turn.
    pub const NONE: Self = Self { frames: usize::MAX / 4, bytes: usize::MAX / 4 };

    fn with_a_quarter_free(self) -> Self {
        Self { frames: self.frames - self.frames / 4, bytes: self.bytes - self.bytes / 4 }
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self { frames: 1024, bytes: 1 << 20 }
    }
}

/// What happens to what does not fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// The connection ends with the advice to come back; the mailbox has what was not written.
    #[default]
    Disconnect,
    /// The oldest messages make room: those of normal priority first, and never for one of a lower priority.
    DropOldest,
    /// Of messages with the same subject (topic and event) only the newest stays.
    KeepLatest,
}

impl WhenFull {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Disconnect, Self::DropOldest, Self::KeepLatest];

    /// The name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disconnect => "disconnect",
            Self::DropOldest => "drop_oldest",
            Self::KeepLatest => "keep_latest",
        }
    }

    /// The one with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == name)
    }
}

/// How much may wait, and what happens beyond.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy {
    /// How much.
    pub bounds: Bounds,
    /// What happens beyond.
    pub when_full: WhenFull,
}

/// The queue is at its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Frames that wait for one connection. Idle, it is two words; one frame alone, the usual case, needs no
/// queue.
#[derive(Debug, Default)]
pub struct Outbox {
    waiting: Waiting,
}

#[derive(Debug, Default)]
enum Waiting {
    #[default]
    Nothing,
    One(Lane, Rc<Frame>),
    Many(Box<Queue>),
}

impl Outbox {
    /// Queues a frame. Control frames are let in beyond the bound of messages, up to twice the bound:
    /// a connection that cannot even take its heartbeats has lost its right to more.
    ///
    /// # Errors
    /// [`Full`] when the bound would be passed; the frame is not queued.
    pub fn push(&mut self, lane: Lane, frame: Rc<Frame>, bounds: Bounds) -> Result<(), Full> {
        if matches!(self.waiting, Waiting::Nothing) {
            self.waiting = Waiting::One(lane, frame);
            return Ok(());
        }
        self.queue().push(lane, frame, bounds)
    }

    /// Makes room for a message of `namespace`, by letting go of others of it, each reported to `dropped`. What
    /// has begun to leave stays, and what is no message does. There may be no room even then.
    pub fn make_room(&mut self, frame: &Frame, policy: Policy, dropped: impl FnMut(&Frame)) {
        if !self.is_empty() {
            self.queue().make_room(frame, policy, dropped);
            self.release_memory();
        }
    }

    /// Lets go of the messages whose place a new one takes, each reported to `dropped`. What has begun to leave stays.
    pub fn supersede(&mut self, by: &Frame, dropped: impl FnMut(&Frame)) {
        if by.collapse != 0 {
            self.take_out(|frame| frame.collapse == by.collapse && frame.namespace == by.namespace, dropped);
        }
    }

    /// Takes a message out that is not to be written any more. Answers whether it was there; what has begun to leave
    /// stays.
    pub fn withdraw(&mut self, namespace: u32, seq: Seq) -> bool {
        let mut withdrawn = false;
        self.take_out(|frame| frame.seq == seq && frame.namespace == namespace, |_| withdrawn = true);
        withdrawn
    }

    fn take_out(&mut self, which: impl Fn(&Frame) -> bool, mut dropped: impl FnMut(&Frame)) {
        match &mut self.waiting {
            Waiting::Nothing => {}
            Waiting::One(_, frame) if frame.seq.0 > 0 && which(frame) => {
                dropped(frame);
                self.waiting = Waiting::Nothing;
            }
            Waiting::One(..) => {}
            Waiting::Many(queue) => {
                queue.take_out(which, dropped);
                self.release_memory();
            }
        }
    }

    /// How many frames wait.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.waiting {
            Waiting::Nothing => 0,
            Waiting::One(..) => 1,
            Waiting::Many(queue) => queue.len(),
        }
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self.waiting, Waiting::Nothing)
    }

    /// How many bytes wait.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match &self.waiting {
            Waiting::Nothing => 0,
            Waiting::One(_, frame) => frame.bytes().len(),
            Waiting::Many(queue) => queue.bytes(),
        }
    }

    /// The bytes for the next write: one frame in place, or several small ones copied into `scratch`.
    /// Empty when nothing waits. Nothing is taken out until [`Outbox::advance`].
    pub fn next_write<'a>(&'a self, scratch: &'a mut Vec<u8>) -> &'a [u8] {
        match &self.waiting {
            Waiting::Nothing => &[],
            Waiting::One(_, frame) => frame.bytes(),
            Waiting::Many(queue) => queue.next_write(scratch),
        }
    }

    /// The socket took `written` bytes of what [`Outbox::next_write`] gave.
    pub fn advance(&mut self, written: usize) {
        match &self.waiting {
            Waiting::Nothing => {}
            Waiting::One(_, frame) if written >= frame.bytes().len() => self.waiting = Waiting::Nothing,
            Waiting::One(..) | Waiting::Many(_) => {
                self.queue().advance(written);
                self.release_memory();
            }
        }
    }

    /// Takes the next whole frame, for transports that wrap frames themselves.
    pub fn pop_frame(&mut self) -> Option<Rc<Frame>> {
        match std::mem::take(&mut self.waiting) {
            Waiting::Nothing => None,
            Waiting::One(_, frame) => Some(frame),
            Waiting::Many(mut queue) => {
                let frame = queue.pop_frame();
                self.waiting = Waiting::Many(queue);
                self.release_memory();
                frame
            }
        }
    }

    /// Drops the messages that are no longer worth writing, each reported to `dropped`.
    pub fn drop_expired(&mut self, now: Timestamp, mut dropped: impl FnMut(&Frame)) {
        match &mut self.waiting {
            Waiting::One(Lane::High | Lane::Normal, frame) if frame.expires_at <= now => {
                dropped(frame);
                self.waiting = Waiting::Nothing;
            }
            Waiting::Nothing | Waiting::One(..) => {}
            Waiting::Many(queue) => {
                queue.drop_expired(now, dropped);
                self.release_memory();
            }
        }
    }

    /// Drops every message that has not begun to leave: the connection ends, and what is left of its
    /// time belongs to the goodbye.
    pub fn abandon(&mut self) {
        match &mut self.waiting {
            Waiting::Nothing | Waiting::One(Lane::Control, _) => {}
            Waiting::One(Lane::High | Lane::Normal, _) => self.waiting = Waiting::Nothing,
            Waiting::Many(queue) => {
                queue.abandon();
                self.release_memory();
            }
        }
    }

    /// The messages that wait, a partly written one included: `(namespace, seq)` each.
    pub fn messages(&self) -> impl Iterator<Item = (u32, Seq)> {
        self.waiting().map(|(frame, _)| (frame.namespace, frame.seq)).filter(|(_, seq)| seq.0 > 0)
    }

    /// Each frame, and how much of it has left.
    fn waiting(&self) -> impl Iterator<Item = (&Rc<Frame>, usize)> {
        let (one, many) = match &self.waiting {
            Waiting::Nothing => (None, None),
            Waiting::One(_, frame) => (Some((frame, 0)), None),
            Waiting::Many(queue) => (None, Some(queue.waiting())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// The queue, made for what waits if there was none.
    fn queue(&mut self) -> &mut Queue {
        if !matches!(self.waiting, Waiting::Many(_)) {
            let mut queue = Box::<Queue>::default();
            if let Waiting::One(lane, frame) = std::mem::take(&mut self.waiting) {
                // An empty queue takes any frame.
                let _ = queue.push(lane, frame, Bounds::NONE);
            }
            self.waiting = Waiting::Many(queue);
        }
        match &mut self.waiting {
            Waiting::Many(queue) => queue,
            Waiting::Nothing | Waiting::One(..) => unreachable!("it was made"),
        }
    }

    /// An idle connection keeps no queue.
    fn release_memory(&mut self) {
        if matches!(&self.waiting, Waiting::Many(queue) if queue.is_empty()) {
            self.waiting = Waiting::Nothing;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidings_wire::push::Encoded;

    use super::*;
    use crate::frame::Carried;

    fn frame(text: &str, seq: u64, expires: u64) -> Rc<Frame> {
        keyed(text, seq, expires, 0)
    }

    fn keyed(text: &str, seq: u64, expires: u64, collapse: u64) -> Rc<Frame> {
        carrying(text, seq, expires, collapse, false)
    }

    fn carrying(text: &str, seq: u64, expires: u64, collapse: u64, high: bool) -> Rc<Frame> {
        let encoded = Encoded { bytes: text.as_bytes().to_vec(), payload_at: 0 };
        // Frames of one lane are of one topic here.
        let subject = u64::from(text.as_bytes()[0]);
        let (seq, expires_at) = (Seq(seq), Timestamp(expires));
        Frame::message(encoded, Carried { high, namespace: 0, subject, collapse, seq, expires_at })
    }

    fn push(outbox: &mut Outbox, lane: Lane, text: &str) {
        outbox.push(lane, frame(text, 1, 100), Bounds::default()).unwrap();
    }

    #[test]
    fn all_that_waits_leaves_in_one_write_control_first() {
        let (mut outbox, mut scratch) = (Outbox::default(), Vec::new());
        push(&mut outbox, Lane::Normal, "n1");
        push(&mut outbox, Lane::High, "h1");
        push(&mut outbox, Lane::Normal, "n2");
        push(&mut outbox, Lane::Control, "c1");
        assert_eq!(outbox.next_write(&mut scratch), b"c1h1n1n2");
        outbox.advance(8);
        assert!(outbox.is_empty() && outbox.bytes() == 0);
    }

    #[test]
    fn a_started_frame_is_finished_before_anything_overtakes() {
        let (mut outbox, mut scratch) = (Outbox::default(), Vec::new());
        push(&mut outbox, Lane::Normal, "normal");
        assert_eq!(outbox.next_write(&mut scratch), b"normal");
        outbox.advance(2);
        push(&mut outbox, Lane::Control, "control");
        assert_eq!(outbox.next_write(&mut scratch), b"rmalcontrol");
    }

    #[test]
    fn high_priority_does_not_overtake_its_own_topic() {
        let (mut outbox, mut scratch) = (Outbox::default(), Vec::new());
        push(&mut outbox, Lane::Normal, "a1");
        push(&mut outbox, Lane::Normal, "b1");
        push(&mut outbox, Lane::High, "a2");
        push(&mut outbox, Lane::High, "c1");
        assert_eq!(outbox.next_write(&mut scratch), b"c1a1b1a2");
    }

    #[test]
    fn the_bound_holds_and_one_large_frame_always_fits() {
        let bounds = Bounds { frames: 2, bytes: 4 };
        let mut outbox = Outbox::default();
        assert_eq!(outbox.push(Lane::Normal, frame("larger than the bound", 1, 9), bounds), Ok(()));
        assert_eq!(outbox.push(Lane::Normal, frame("x", 2, 9), bounds), Err(Full));
        outbox.advance(21);
        assert_eq!(outbox.push(Lane::Normal, frame("a", 1, 9), bounds), Ok(()));
        assert_eq!(outbox.push(Lane::Normal, frame("b", 2, 9), bounds), Ok(()));
        assert_eq!(outbox.push(Lane::Normal, frame("c", 3, 9), bounds), Err(Full));
        assert_eq!(outbox.push(Lane::Control, frame("pong", 0, 9), bounds), Ok(()));
    }

    #[test]
    fn expired_messages_are_not_written() {
        let (mut outbox, mut scratch) = (Outbox::default(), Vec::new());
        outbox.push(Lane::Normal, frame("old", 1, 10), Bounds::default()).unwrap();
        outbox.push(Lane::Normal, frame("new", 2, 20), Bounds::default()).unwrap();
        let mut dropped = Vec::new();
        outbox.drop_expired(Timestamp(10), |frame| dropped.push(frame.seq.0));
        assert_eq!((dropped, outbox.next_write(&mut scratch)), (vec![1], &b"new"[..]));
        assert_eq!(outbox.bytes(), 3);
    }

    /// Fills an outbox of four frames and makes room for one more: what then waits, in the order of leaving,
    /// and what went. A frame is a lane (`c`, `h`, `n`), a subject and a number.
    fn check(when_full: WhenFull, script: &str, expected: &str) {
        let policy = Policy { bounds: Bounds { frames: 4, bytes: 1 << 20 }, when_full };
        let (mut outbox, mut gone) = (Outbox::default(), Vec::new());
        for text in script.split(' ') {
            let lane = [Lane::Control, Lane::High, Lane::Normal]["chn".find(&text[..1]).unwrap()];
            let seq = if lane == Lane::Control { 0 } else { text[2..].parse().unwrap() };
            let frame = carrying(&text[1..], seq, 100, 0, lane == Lane::High);
            if outbox.push(lane, Rc::clone(&frame), policy.bounds).is_err() {
                let text = |frame: &Frame| String::from_utf8_lossy(frame.bytes()).into_owned();
                outbox.make_room(&frame, policy, |frame| gone.push(text(frame)));
                if outbox.push(lane, Rc::clone(&frame), policy.bounds).is_err() {
                    gone.push(text(&frame));
                }
            }
        }
        let waits: Vec<_> =
            outbox.waiting().map(|(frame, _)| String::from_utf8_lossy(frame.bytes()).into_owned()).collect();
        assert_eq!(format!("{} | {}", waits.join(" "), gone.join(" ")), expected, "{when_full:?} {script}");
        assert_eq!(outbox.bytes(), waits.concat().len());
    }

    #[test]
    fn room_is_made_by_policy() {
        use WhenFull::{Disconnect, DropOldest, KeepLatest};
        for (when_full, script, expected) in [
            (Disconnect, "na1 nb2 na3 nb4 na5", "a1 b2 a3 b4 | a5"),
            (DropOldest, "na1 nb2 na3 nb4 na5", "b2 a3 b4 a5 | a1"),
            (DropOldest, "na1 nb2 na3 nb4 na5 na6", "a3 b4 a5 a6 | a1 b2"),
            // What is urgent is let go last, and never for what is not.
            (DropOldest, "hx1 na2 na3 na4 hx5", "x1 x5 a3 a4 | a2"),
            (DropOldest, "hx1 hy2 hz3 na4 na5", "x1 y2 z3 a5 | a4"),
            (DropOldest, "hx1 hy2 hz3 hx4 na5", "x1 y2 z3 x4 | a5"),
            (DropOldest, "hx1 hy2 hz3 hx4 hy5", "y2 z3 x4 y5 | x1"),
            // Also where it has to wait behind others of its topic.
            (DropOldest, "na1 na2 ha3 nb4 nb5", "a2 a3 b4 b5 | a1"),
            (DropOldest, "na1 ha2 nb3 nb4 nb5 nb6 nb7", "a2 b5 b6 b7 | a1 b3 b4"),
            (DropOldest, "na1 ha2 ha3 ha4 hb5 nb6 hb7", "b5 b7 a3 a4 | a1 b6 a2"),
            (DropOldest, "hb1 na2 ha3 na4 hc5 hd6 he7", "c5 d6 e7 a3 | a2 a4 b1"),
            // What is no message stays, and takes room.
            (DropOldest, "cp1 cp2 na3 na4 na5 cp6", "p1 p2 p6 a4 a5 | a3"),
            (DropOldest, "cp1 cp2 cp3 cp4 na5", "p1 p2 p3 p4 | a5"),
            (KeepLatest, "na1 nb2 na3 nb4 na5", "b4 a5 | a1 b2 a3"),
            (KeepLatest, "na1 nb2 nc3 nd4 na5", "c3 d4 a5 | a1 b2"),
            (KeepLatest, "ha1 nb2 nc3 na4 nb5", "c3 a4 b5 | a1 b2"),
            (KeepLatest, "cp1 na2 na3 na4 na5", "p1 a5 | a2 a3 a4"),
            // What is urgent and has nothing newer stays.
            (KeepLatest, "hx1 nb2 nc3 nd4 ne5", "x1 d4 e5 | b2 c3"),
            (KeepLatest, "na1 ha2 nb3 nc4 nd5", "a2 c4 d5 | a1 b3"),
            (KeepLatest, "hx1 hy2 hz3 hx4 na5", "y2 z3 x4 a5 | x1"),
        ] {
            check(when_full, script, expected);
        }
    }

    #[test]
    fn what_finds_no_room_costs_nothing() {
        for when_full in [WhenFull::DropOldest, WhenFull::KeepLatest] {
            let policy = Policy { bounds: Bounds { frames: 9, bytes: 20 }, when_full };
            let (mut outbox, mut gone) = (Outbox::default(), 0);
            outbox.push(Lane::High, carrying(&"u".repeat(16), 1, 100, 0, true), policy.bounds).unwrap();
            for text in ["qr", "st"] {
                outbox.push(Lane::Normal, frame(text, 1, 100), policy.bounds).unwrap();
            }
            outbox.make_room(&frame("vwxyza", 1, 100), policy, |_| gone += 1);
            assert_eq!((gone, outbox.bytes()), (0, 20), "{when_full:?}");
        }
    }

    #[test]
    fn a_message_takes_the_place_of_those_with_its_key() {
        for (waiting, begun, expected) in [
            (&[("a", 1)][..], 0, "b | a"),
            (&[("a", 2)], 0, "ab | "),
            (&[("a", 0)], 0, "ab | "),
            (&[("a", 1), ("c", 2), ("d", 1)], 0, "cb | a d"),
            // What has begun to leave stays.
            (&[("aa", 1), ("c", 1)], 1, "ab | c"),
        ] {
            let (mut outbox, mut gone) = (Outbox::default(), Vec::new());
            for (text, key) in waiting {
                outbox.push(Lane::Normal, keyed(text, 1, 100, *key), Bounds::default()).unwrap();
            }
            outbox.advance(begun);
            let newer = keyed("b", 2, 100, 1);
            outbox.supersede(&newer, |frame| gone.push(String::from_utf8_lossy(frame.bytes()).into_owned()));
            outbox.push(Lane::Normal, newer, Bounds::default()).unwrap();
            let mut scratch = Vec::new();
            let left = String::from_utf8_lossy(outbox.next_write(&mut scratch)).into_owned();
            assert_eq!(format!("{left} | {}", gone.join(" ")), expected, "{waiting:?} {begun}");
            assert_eq!(outbox.bytes(), left.len());
        }
    }

    #[test]
    fn a_message_is_withdrawn_unless_it_has_begun_to_leave() {
        let mut outbox = Outbox::default();
        assert!(!outbox.withdraw(0, Seq(1)));
        outbox.push(Lane::Normal, frame("ab", 1, 100), Bounds::default()).unwrap();
        outbox.push(Lane::High, frame("c", 2, 100), Bounds::default()).unwrap();
        assert!(!outbox.withdraw(1, Seq(2)));
        assert!(outbox.withdraw(0, Seq(2)));
        outbox.advance(1);
        assert!(!outbox.withdraw(0, Seq(1)));
        assert_eq!(outbox.next_write(&mut Vec::new()), b"b");
    }

    #[test]
    fn what_has_begun_to_leave_is_never_let_go() {
        let policy = Policy { bounds: Bounds { frames: 2, bytes: 100 }, when_full: WhenFull::DropOldest };
        let (mut outbox, mut gone) = (Outbox::default(), 0);
        push(&mut outbox, Lane::Normal, "first");
        outbox.advance(2);
        push(&mut outbox, Lane::Normal, "second");
        let third = frame("third", 3, 100);
        outbox.make_room(&third, policy, |_| gone += 1);
        outbox.push(Lane::Normal, third, policy.bounds).unwrap();
        assert_eq!((gone, outbox.next_write(&mut Vec::new())), (1, &b"rstthird"[..]));
    }

    #[test]
    fn nothing_is_let_go_for_what_does_not_fit_even_then() {
        for when_full in [WhenFull::DropOldest, WhenFull::KeepLatest] {
            let policy = Policy { bounds: Bounds { frames: 4, bytes: 10 }, when_full };
            for (begun, size, expected) in
                [(0, 40, 2), (0, 5, 1), (1, 40, 0), (1, 9, 0), (1, 8, 2), (1, 5, 1)]
            {
                let (mut outbox, mut gone) = (Outbox::default(), 0);
                push(&mut outbox, Lane::Normal, "abc");
                // Two bytes of it stay, then.
                outbox.advance(begun);
                push(&mut outbox, Lane::Normal, "def");
                if begun > 0 {
                    push(&mut outbox, Lane::Normal, "ghi");
                }
                let large = frame(&"x".repeat(size), 3, 100);
                outbox.make_room(&large, policy, |_| gone += 1);
                if when_full == WhenFull::DropOldest || expected == 0 {
                    assert_eq!(gone, expected, "{when_full:?}: {size} beside {begun} begun");
                }
                let fits = outbox.push(Lane::Normal, large, policy.bounds).is_ok();
                assert_eq!(fits, expected > 0, "{when_full:?}: {size} beside {begun} begun");
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_the_bound_holds_and_no_frame_is_lost_track_of(
            frames in prop::collection::vec((1usize..3, 0u8..4, 1usize..40), 1..80),
            frames_max in 1usize..8, bytes_max in 1usize..120, keep_latest: bool, taken in 0usize..30,
        ) {
            let when_full = if keep_latest { WhenFull::KeepLatest } else { WhenFull::DropOldest };
            let policy = Policy { bounds: Bounds { frames: frames_max, bytes: bytes_max }, when_full };
            let lanes = [Lane::Control, Lane::High, Lane::Normal];
            let (mut outbox, mut gone) = (Outbox::default(), 0);
            for (index, (lane, topic, size)) in frames.iter().enumerate() {
                let text = char::from(b'a' + topic).to_string().repeat(*size);
                let frame = carrying(&text, index as u64 + 1, 100, 0, *lane == 1);
                if outbox.push(lanes[*lane], Rc::clone(&frame), policy.bounds).is_err() {
                    let before = gone;
                    outbox.make_room(&frame, policy, |_| gone += 1);
                    let refused = outbox.push(lanes[*lane], frame, policy.bounds).is_err();
                    prop_assert!(!refused || *lane == 0 || gone == before, "{} let go for nothing", gone - before);
                    gone += usize::from(refused);
                }
                if index == 0 {
                    // The first one is being written from now on, unless it is out already.
                    outbox.advance(taken.min(size - 1));
                }
                prop_assert_eq!(outbox.len() + gone, index + 1);
                prop_assert!(outbox.len() <= frames_max && (outbox.bytes() <= bytes_max || outbox.len() == 1));
                let bytes: usize = outbox.waiting().map(|(frame, skip)| frame.bytes().len() - skip).sum();
                prop_assert_eq!(bytes, outbox.bytes());
                // A topic keeps its order.
                for topic in 0..4 {
                    let of = outbox.waiting().filter(|(frame, _)| frame.topic == u32::from(b'a' + topic));
                    let seqs: Vec<_> = of.map(|(frame, _)| frame.seq).collect();
                    prop_assert!(seqs.is_sorted(), "{:?}", seqs);
                }
            }
        }

        #[test]
        fn any_partial_writes_give_the_same_bytes(
            frames in prop::collection::vec((0usize..3, 1usize..40_000), 1..12),
            cuts in prop::collection::vec(1usize..50_000, 1..40),
        ) {
            let (mut outbox, mut scratch) = (Outbox::default(), Vec::new());
            let lanes = [Lane::Control, Lane::High, Lane::Normal];
            let mut expected: [Vec<u8>; 3] = Default::default();
            for (index, (lane, size)) in frames.iter().enumerate() {
                let text = char::from(b'a' + index as u8).to_string().repeat(*size);
                outbox.push(lanes[*lane], frame(&text, 1, 100), Bounds::default()).unwrap();
                expected[*lane].extend(text.as_bytes());
            }
            let (mut written, mut cuts) = (Vec::new(), cuts.into_iter().cycle());
            while !outbox.is_empty() {
                let bytes = outbox.next_write(&mut scratch);
                let took = bytes.len().min(cuts.next().unwrap());
                written.extend_from_slice(&bytes[..took]);
                outbox.advance(took);
            }
            prop_assert_eq!(outbox.bytes(), 0);
            prop_assert_eq!(written, expected.concat());
        }
    }
}
