//! Scenarios: a script of what the shell does, and what comes out for whom.
//!
//! ```text
//! attach a 1 json     the device with ordinal 1 attaches, on connection a, catching up from the start
//! live a 4            everything up to 4 was replayed to a
//! join a lobby        a subscribes to a room
//! push 5 room:lobby user:ann=1 | 1,2,3
//!                     message 5 through two topics, the second one of device 1; meant for 1, 2 and 3
//! replay a 3 room:x | 1     message 3 comes from the mailbox
//! fault lose devices=1 0.5 50    until 50, messages to device 1 are lost with this probability; `no faults` ends it
//! time 20             it is 20
//! reads slow-a        a, whose transport took nothing so far, is told what was let go, and given the rest
//! ```
//! What a connection is written is `> a 5@room:lobby` (message 5 by that topic); what the ledger is
//! told is `written 5: 1 2` and `unwritten 5: 1`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use expect_test::{Expect, expect};
use proptest::prelude::*;
use tidings_model::{
    DropReason, Epoch, EventName, Except, Message, MessageId, NamespaceName, Ordinal, Priority, RoomName,
    Seq, Target, Timestamp, Topic,
};
use tidings_wire::push::{Codec, Format};

use super::fanout::SMALL_ROOM;
use super::faults::{Effect, Fault, FaultOn};
use super::*;

mod faults;
mod rounds;
mod signals;
mod withdrawn;

struct Script {
    shard: Shard,
    policy: Policy,
    faults: Vec<Fault>,
    peers: BTreeMap<String, (PeerKey, MemberKey)>,
    out: String,
}

fn demo() -> NamespaceName {
    NamespaceName::new("demo").unwrap()
}

fn ordinals(text: &str) -> Vec<u32> {
    text.split(',').filter(|one| !one.is_empty()).map(|one| one.parse().unwrap()).collect()
}

/// `5 room:lobby user:ann=1 | 1,2`; `key:score` is its collapse key, `over:4` a message whose place it takes, `until:200` when its
/// time is over (100 unless said).
fn delivery(text: &str) -> Delivery {
    let (head, meant) = text.split_once('|').unwrap();
    let mut words = head.split_whitespace();
    let seq: u64 = words.next().unwrap().parse().unwrap();
    let (mut topics, mut direct) = (Vec::new(), Vec::new());
    let (mut collapse_key, mut superseded, mut expires_at) = (None, Vec::new(), Timestamp(100));
    for word in words {
        match word.split_once(':') {
            Some(("key", key)) => {
                collapse_key = Some(key.parse().unwrap());
                continue;
            }
            Some(("until", at)) => {
                expires_at = Timestamp(at.parse().unwrap());
                continue;
            }
            Some(("over", old)) => {
                superseded.push(Seq(old.parse().unwrap()));
                continue;
            }
            Some(_) | None => {}
        }
        let (topic, of) = word.split_once('=').unwrap_or((word, ""));
        topics.push((Topic::parse(topic).unwrap(), seq));
        direct.push(ordinals(of).into_boxed_slice());
    }
    let message = Message {
        namespace: demo(),
        seq: Seq(seq),
        id: MessageId::new(&format!("m{seq}")).unwrap(),
        event: EventName::new("push").unwrap(),
        data: bytes::Bytes::from_static(b"1"),
        to: Target::default(),
        except: Except::default(),
        topics,
        epoch: Epoch(1),
        meant: Arc::new(ordinals(meant.trim()).into_iter().collect()),
        accepted_at: Timestamp(0),
        expires_at,
        priority: Priority::Normal,
        keep: true,
        collapse_key,
        deliver_at: None,
        sent_at: Timestamp(0),
        escalate_after: None,
        offline: bytes::Bytes::new(),
        recalls: None,
        from: None,
        aside: bytes::Bytes::new(),
    };
    Delivery { message: Arc::new(message), direct, superseded }
}

impl Script {
    fn new(bounds: Bounds) -> Self {
        Self::with(Policy { bounds, when_full: WhenFull::Disconnect })
    }

    fn with(policy: Policy) -> Self {
        Self {
            shard: Shard::new(policy.bounds, Deflater::new(0)),
            policy,
            faults: Vec::new(),
            peers: BTreeMap::new(),
            out: String::new(),
        }
    }

    fn run(mut self, script: &str) -> String {
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
            writeln!(self.out, "{line}").unwrap();
            self.step(line);
            self.show();
        }
        self.out
    }

    fn step(&mut self, line: &str) {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let words: Vec<&str> = rest.split_whitespace().collect();
        let room = |index: usize| RoomName::new(words[index]).unwrap();
        match verb {
            "attach" => {
                let peer = self.shard.add_peer();
                self.shard.set_blocked(peer, words[0].starts_with("slow"));
                let codec = match words[2] {
                    "json" => Codec::Json,
                    "socketio" => Codec::SocketIo,
                    _ => Codec::Sse,
                };
                let ordinal = Ordinal(words[1].parse().unwrap());
                let attach = Attach {
                    peer,
                    format: Format::plain(codec),
                    namespace: &demo(),
                    ordinal,
                    rooms: &[],
                    policy: self.policy,
                };
                let member = self.shard.attach(attach).unwrap();
                self.peers.insert(words[0].to_owned(), (peer, member));
            }
            "live" => {
                let floor = Seq(words[1].parse().unwrap());
                let outcome = self.shard.go_live(self.peers[words[0]].1, floor);
                if outcome != CatchUp::Live {
                    writeln!(self.out, "  {outcome:?}").unwrap();
                }
            }
            "join" => self.shard.join(self.peers[words[0]].1, &room(1)),
            "leave" => self.shard.leave(self.peers[words[0]].1, &room(1)),
            "push" => self.shard.deliver(Arc::new(delivery(rest))),
            "replay" => {
                let (peer, rest) = rest.split_once(' ').unwrap();
                let delivery = delivery(rest);
                self.shard.replay(self.peers[peer].1, &delivery.message, 0);
            }
            "reads" => {
                let (peer, member) = self.peers[words[0]];
                writeln!(self.out, "  told that {} were dropped", self.shard.take_dropped(member)).unwrap();
                while let Some(frame) = self.shard.outbox(peer).and_then(Outbox::pop_frame) {
                    writeln!(self.out, "  > {} {}", words[0], frame.seq.0).unwrap();
                }
            }
            "recall" => self.shard.recall(&demo(), Seq(words[0].parse().unwrap())),
            "fault" => self.faults.push(faults::fault(&words)),
            "no" => self.faults.clear(),
            "time" => self.shard.pass_time(Timestamp(words[0].parse().unwrap())),
            "ack" => self.shard.acknowledge(self.peers[words[0]].1, Seq(words[1].parse().unwrap())),
            "left" => {
                let left: Vec<_> = self.shard.pending(self.peers[words[0]].1).map(|seq| seq.0).collect();
                writeln!(self.out, "  left and not acknowledged: {left:?}").unwrap();
            }
            "gone" => {
                let (peer, member) = self.peers.remove(words[0]).unwrap();
                let settled = self.shard.detach(member);
                writeln!(self.out, "  settled {:?}", settled.map(|seq| seq.0)).unwrap();
                self.shard.remove_peer(peer);
            }
            _ => panic!("no such verb: {verb}"),
        }
        if matches!(verb, "fault" | "no") {
            self.shard.set_faults(&demo(), self.faults.clone(), Timestamp(0), 7);
        }
    }

    /// What every connection would be written, and what the ledger would be told.
    fn show(&mut self) {
        let mut dirty = Vec::new();
        while self.shard.turn(&mut dirty) {}
        for (name, (peer, _)) in &self.peers {
            // Connections whose name begins with `slow` take nothing.
            if !dirty.contains(peer) || name.starts_with("slow") {
                continue;
            }
            while let Some(frame) = self.shard.outbox(*peer).and_then(Outbox::pop_frame) {
                let text = String::from_utf8_lossy(frame.payload()).into_owned();
                let topic =
                    text.split(r#""topic":""#).nth(1).and_then(|rest| rest.split('"').next()).unwrap();
                writeln!(self.out, "  > {name} {}@{topic}", frame.seq.0).unwrap();
            }
        }
        let mut events = Vec::new();
        self.shard.take_events(&mut events);
        for event in events {
            match event {
                Event::Written { message, by } => {
                    writeln!(self.out, "  written {}: {:?}", message.seq.0, listed(by)).unwrap();
                }
                Event::Dropped { namespace, seq, why, by } => {
                    self.shard.settle_dropped(&namespace, seq, &by);
                    let why = if why == DropReason::SlowReader { "dropped" } else { why.as_str() };
                    writeln!(self.out, "  {why} {}: {:?}", seq.0, listed(by)).unwrap();
                }
                Event::Unwritten { seq, ordinal, .. } => {
                    writeln!(self.out, "  unwritten {}: {}", seq.0, ordinal.0).unwrap();
                }
                Event::Slow(_) => writeln!(self.out, "  slow").unwrap(),
                Event::Befallen { seq, device, step, .. } => {
                    writeln!(self.out, "  {} {}: {}", step.as_str(), seq.0, device.0).unwrap();
                }
                Event::EndOnPurpose(_) => writeln!(self.out, "  ends").unwrap(),
            }
        }
    }
}

fn listed(by: Ordinals) -> Vec<u32> {
    match by {
        Ordinals::None => vec![],
        Ordinals::One(one) => vec![one],
        Ordinals::Many(many) => many.iter().collect(),
    }
}

fn check(script: &str, expected: Expect) {
    expected.assert_eq(&Script::new(Bounds { frames: 3, bytes: 1 << 20 }).run(script));
}

#[test]
fn what_readers_do_not_take_makes_room_and_is_accounted_for() {
    let policy = Policy { bounds: Bounds { frames: 2, bytes: 1 << 20 }, when_full: WhenFull::DropOldest };
    let out = Script::with(policy).run(
        "attach slow-a 1 json
         live slow-a 0
         attach slow-b 2 json
         live slow-b 0
         attach c 3 json
         live c 0
         push 1 all | 1,2,3
         push 2 all | 1,2,3
         push 3 all | 1,2,3
         push 4 user:ann=1 | 1
         reads slow-a
         reads slow-a
         ack slow-a 3
         ack slow-a 4
         gone slow-a
         gone slow-b",
    );
    let tail = out.split_once("push 3").unwrap().1;
    expect![[r#"
         all | 1,2,3
          > c 3@all
          written 3: [1, 2, 3]
          dropped 1: [1, 2]
        push 4 user:ann=1 | 1
          written 4: [1]
          dropped 2: [1]
        reads slow-a
          told that 2 were dropped
          > slow-a 3
          > slow-a 4
        reads slow-a
          told that 0 were dropped
        ack slow-a 3
        ack slow-a 4
        gone slow-a
          settled Some(4)
        gone slow-b
          settled Some(1)
          unwritten 2: 2
          unwritten 3: 2
    "#]]
    .assert_eq(tail);
}

#[test]
fn a_message_through_several_topics_is_written_once() {
    check(
        "attach a 1 json
         live a 0
         attach b 2 socketio
         live b 0
         join a lobby
         join b lobby
         push 1 user:ann=1 room:lobby all | 1,2",
        expect![[r#"
            attach a 1 json
            live a 0
            attach b 2 socketio
            live b 0
            join a lobby
            join b lobby
            push 1 user:ann=1 room:lobby all | 1,2
              > a 1@user:ann
              > b 1@room:lobby
              written 1: [1, 2]
        "#]],
    );
}

#[test]
fn who_is_not_meant_gets_nothing_though_subscribed() {
    check(
        "attach a 1 json
         live a 0
         attach b 2 json
         live b 0
         push 1 all | 2",
        expect![[r#"
            attach a 1 json
            live a 0
            attach b 2 json
            live b 0
            push 1 all | 2
              > b 1@all
              written 1: [2]
        "#]],
    );
}

#[test]
fn every_connection_of_a_device_gets_it_and_the_device_counts_once() {
    check(
        "attach a 1 json
         live a 0
         attach b 1 sse
         live b 0
         push 1 user:ann=1 | 1
         gone a
         push 2 user:ann=1 | 1",
        expect![[r#"
            attach a 1 json
            live a 0
            attach b 1 sse
            live b 0
            push 1 user:ann=1 | 1
              > a 1@user:ann
              > b 1@user:ann
              written 1: [1]
            gone a
              settled Some(0)
            push 2 user:ann=1 | 1
              > b 2@user:ann
              written 2: [1]
        "#]],
    );
}

#[test]
fn what_comes_while_catching_up_follows_the_mailbox_without_gap_or_repetition() {
    check(
        "attach a 1 json
         push 4 all | 1
         replay a 3 all | 1
         replay a 4 all | 1
         push 5 all | 1
         live a 4
         push 6 all | 1",
        expect![[r#"
            attach a 1 json
            push 4 all | 1
            replay a 3 all | 1
              > a 3@all
              written 3: [1]
            replay a 4 all | 1
              > a 4@all
              written 4: [1]
            push 5 all | 1
            live a 4
              > a 5@all
              written 5: [1]
            push 6 all | 1
              > a 6@all
              written 6: [1]
        "#]],
    );
}

#[test]
fn settled_is_what_was_acknowledged_without_a_hole() {
    check(
        "attach a 1 json
         live a 0
         push 1 all | 1
         push 2 all | 1
         push 3 all | 1
         ack a 1
         ack a 3
         gone a
         attach b 1 json
         live b 3
         gone b",
        expect![[r#"
            attach a 1 json
            live a 0
            push 1 all | 1
              > a 1@all
              written 1: [1]
            push 2 all | 1
              > a 2@all
              written 2: [1]
            push 3 all | 1
              > a 3@all
              written 3: [1]
            ack a 1
            ack a 3
            gone a
              settled Some(1)
            attach b 1 json
            live b 3
            gone b
              settled Some(3)
        "#]],
    );
}

#[test]
fn how_far_a_device_has_come_is_told_when_it_has_moved() {
    let mut script = Script::new(Bounds::default());
    for line in ["attach a 1 json", "live a 4", "push 5 all | 1", "push 6 all | 1"] {
        script.step(line);
    }
    let member = script.peers["a"].1;
    assert_eq!(script.shard.take_settled(member), Some(Seq(4)));
    assert_eq!(script.shard.take_settled(member), None);
    script.step("ack a 6");
    assert_eq!(script.shard.take_settled(member), None, "5 is missing");
    script.step("ack a 5");
    assert_eq!(script.shard.take_settled(member), Some(Seq(6)));
}

#[test]
fn a_device_that_never_acknowledges_settles_nothing() {
    let mut script = Script::new(Bounds { frames: 10_000, bytes: 1 << 30 });
    script.step("attach a 1 json");
    script.step("live a 0");
    for seq in 1..=1_000 {
        script.step(&format!("push {seq} all | 1"));
    }
    script.step("ack a 1000");
    script.out.clear();
    script.step("gone a");
    assert_eq!(script.out, "  settled Some(0)\n");
}

#[test]
fn a_slow_reader_is_reported_once_and_what_it_never_got_is_unwritten() {
    check(
        "attach slow 1 json
         live slow 0
         attach b 2 json
         live b 0
         push 1 all | 1,2
         push 2 all | 1,2
         push 3 all | 1,2
         push 4 all | 1,2
         push 5 all | 1,2
         gone slow",
        expect![[r#"
            attach slow 1 json
            live slow 0
            attach b 2 json
            live b 0
            push 1 all | 1,2
              > b 1@all
              written 1: [1, 2]
            push 2 all | 1,2
              > b 2@all
              written 2: [1, 2]
            push 3 all | 1,2
              > b 3@all
              written 3: [1, 2]
            push 4 all | 1,2
              > b 4@all
              slow
              written 4: [2]
            push 5 all | 1,2
              > b 5@all
              written 5: [2]
            gone slow
              settled Some(0)
              unwritten 1: 1
              unwritten 2: 1
              unwritten 3: 1
        "#]],
    );
}

#[test]
fn a_mailbox_that_overflows_meanwhile_is_read_again() {
    let mut script = "attach a 1 json\n".to_owned();
    for seq in 1..=HELD_MAX + 1 {
        writeln!(script, "push {seq} all | 1").unwrap();
    }
    script += "live a 0\nlive a 257\npush 258 all | 1";
    let out = Script::new(Bounds::default()).run(&script);
    let tail: Vec<&str> = out.lines().skip(HELD_MAX + 2).collect();
    assert_eq!(
        tail,
        ["live a 0", "  Again", "live a 257", "push 258 all | 1", "  > a 258@all", "  written 258: [1]"]
    );
}

proptest! {
    /// Whatever comes and goes in which order, everybody who is live and meant gets each message once,
    /// and nobody else does.
    #[test]
    fn membership_and_delivery_agree(steps in prop::collection::vec((0u8..6, 0u32..5, 0u8..3), 1..120)) {
        let mut script = Script::new(Bounds::default());
        let mut rooms: BTreeMap<u32, std::collections::BTreeSet<u8>> = BTreeMap::new();
        let mut seq = 0;
        for (verb, device, room) in steps {
            let name = format!("p{device}");
            let here = script.peers.contains_key(&name);
            match verb {
                0 if !here => {
                    script.step(&format!("attach {name} {device} json"));
                    script.step(&format!("live {name} {seq}"));
                    rooms.insert(device, Default::default());
                }
                1 if here => {
                    script.step(&format!("gone {name}"));
                    rooms.remove(&device);
                }
                2 | 3 if here => {
                    script.step(&format!("join {name} r{room}"));
                    rooms.get_mut(&device).unwrap().insert(room);
                }
                4 if here => {
                    script.step(&format!("leave {name} r{room}"));
                    rooms.get_mut(&device).unwrap().remove(&room);
                }
                5 => {
                    seq += 1;
                    script.show();
                    script.out.clear();
                    script.step(&format!("push {seq} device:d{device}={device} room:r{room} | 0,1,2,3,4"));
                    script.show();
                    let got: Vec<String> =
                        script.out.lines().filter(|line| line.starts_with("  > ")).map(str::to_owned).collect();
                    let mut expected: Vec<String> = rooms
                        .iter()
                        .filter(|(of, joined)| **of == device || joined.contains(&room))
                        .map(|(of, _)| {
                            let topic =
                                if *of == device { format!("device:d{device}") } else { format!("room:r{room}") };
                            format!("  > p{of} {seq}@{topic}")
                        })
                        .collect();
                    expected.sort();
                    prop_assert_eq!(got, expected);
                }
                _ => {}
            }
        }
    }
}

#[test]
fn a_member_is_small() {
    assert!(Shard::bytes_per_member() <= 152, "{}", Shard::bytes_per_member());
}
