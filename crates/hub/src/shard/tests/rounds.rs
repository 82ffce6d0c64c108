//! Rounds: what is for big rooms leaves in few writes, in order, and delays nobody else.

use super::*;

/// A room of `count` members, and one device with ordinal 0 that is not in it.
fn big_room(count: usize) -> (Script, String) {
    let mut script = Script::new(Bounds::default());
    for ordinal in 0..=count {
        script.step(&format!("attach p{ordinal} {ordinal} json"));
        script.step(&format!("live p{ordinal} 0"));
        if ordinal > 0 {
            script.step(&format!("join p{ordinal} big"));
        }
    }
    let members: Vec<String> = (1..=count).map(|ordinal| ordinal.to_string()).collect();
    (script, members.join(","))
}

#[test]
fn what_is_for_one_device_is_written_in_the_next_turn_whatever_the_room_does() {
    let (mut script, members) = big_room(2_000);
    script.step(&format!("push 1 room:big | {members}"));
    let mut turn = Vec::new();
    while turn.is_empty() {
        assert!(script.shard.turn(&mut turn), "the round goes on");
    }
    assert_eq!(turn.len(), TURN_WRITES);
    script.step("push 2 user:ann=0 | 0");
    turn.clear();
    script.shard.turn(&mut turn);
    assert_eq!(turn.first(), Some(&script.peers["p0"].0));
    assert!(turn.len() <= TURN_WRITES + 1);
}

#[test]
fn what_is_newer_waits_for_nobody_but_comes_after_what_the_device_is_owed() {
    let (mut script, members) = big_room(2_000);
    for seq in 1..=3 {
        script.step(&format!("push {seq} room:big | {members}"));
    }
    // While the round is being written, more comes for the room and then for one of its members.
    let mut turn = Vec::new();
    assert!(script.shard.turn(&mut turn));
    script.step(&format!("push 4 room:big | {members}"));
    script.step("push 5 user:ann=7 | 7");
    turn.clear();
    script.shard.turn(&mut turn);
    let member = script.peers["p7"].0;
    assert_eq!(turn.first(), Some(&member));
    let outbox = script.shard.outbox(member).unwrap();
    let mut seqs = Vec::new();
    while let Some(frame) = outbox.pop_frame() {
        seqs.push(frame.seq.0);
    }
    assert_eq!(seqs, [1, 2, 3, 4, 5]);
}

#[test]
fn all_that_waits_for_a_room_leaves_in_one_write_for_each_connection() {
    let (mut script, members) = big_room(2_000);
    for seq in 1..=20 {
        script.step(&format!("push {seq} room:big | {members}"));
    }
    let (mut writes, mut turn) = (0, Vec::new());
    loop {
        let more = script.shard.turn(&mut turn);
        for peer in turn.drain(..) {
            writes += 1;
            assert_eq!(script.shard.outbox(peer).unwrap().len(), 20);
            while script.shard.outbox(peer).unwrap().pop_frame().is_some() {}
        }
        if !more {
            break;
        }
    }
    assert_eq!(writes, 2_000);
}

#[test]
fn the_writer_is_never_why_an_outbox_is_full() {
    let (mut script, members) = big_room(SMALL_ROOM + 1);
    for seq in 1..=3_000 {
        script.step(&format!("push {seq} room:big | {members}"));
    }
    let (mut turn, mut frames) = (Vec::new(), 0);
    while script.shard.turn(&mut turn) || !turn.is_empty() {
        for peer in turn.drain(..) {
            while script.shard.outbox(peer).unwrap().pop_frame().is_some() {
                frames += 1;
            }
        }
    }
    assert_eq!(frames, 3_000 * (SMALL_ROOM + 1));
    let mut events = Vec::new();
    script.shard.take_events(&mut events);
    assert!(events.iter().all(|event| !matches!(event, Event::Slow(_))));
}

/// Runs rounds until nothing is left: what each connection got, by the name of its device.
fn drain(script: &mut Script, turns: usize, got: &mut BTreeMap<String, Vec<u64>>) {
    let mut turn = Vec::new();
    for _ in 0..turns {
        let more = script.shard.turn(&mut turn);
        for peer in turn.drain(..) {
            let name =
                script.peers.iter().find(|(_, (key, _))| *key == peer).map(|(name, _)| name.clone()).unwrap();
            while let Some(frame) = script.shard.outbox(peer).unwrap().pop_frame() {
                got.entry(name.clone()).or_default().push(frame.seq.0);
            }
        }
        if !more {
            break;
        }
    }
}

proptest! {
    /// Messages to two big rooms that share members, to everybody and to single devices, recalls in between, and
    /// rounds that are interrupted anywhere: everybody gets what is for them once, by its number.
    #[test]
    fn everybody_gets_everything_once_and_in_order(
        steps in prop::collection::vec((0u8..7, 0u32..150, 0usize..6), 1..60),
    ) {
        let mut script = Script::new(Bounds::default());
        let (left, right) = (1..=100u32, 60..=149u32);
        for ordinal in 0..150 {
            script.step(&format!("attach p{ordinal} {ordinal} json"));
            script.step(&format!("live p{ordinal} 0"));
            for (name, room) in [("left", &left), ("right", &right)] {
                if room.contains(&ordinal) {
                    script.step(&format!("join p{ordinal} {name}"));
                }
            }
        }
        let (mut seq, mut recalled) = (0, std::collections::BTreeSet::new());
        let (mut got, mut expected) = (BTreeMap::new(), BTreeMap::<String, Vec<u64>>::new());
        for (verb, device, turns) in steps {
            let (topics, meant): (String, Vec<u32>) = match verb {
                0 => ("room:left".to_owned(), left.clone().collect()),
                1 => ("room:right".to_owned(), right.clone().collect()),
                2 => ("room:left room:right".to_owned(), (1..150).collect()),
                3 => ("all".to_owned(), (0..150).collect()),
                4 => (format!("device:d{device}={device}"), vec![device]),
                5 if seq > 0 => {
                    let which = seq - u64::from(device) % seq;
                    script.step(&format!("recall {which}"));
                    recalled.insert(which);
                    continue;
                }
                _ => {
                    drain(&mut script, turns, &mut got);
                    continue;
                }
            };
            seq += 1;
            let list: Vec<String> = meant.iter().map(ToString::to_string).collect();
            script.step(&format!("push {seq} {topics} | {}", list.join(",")));
            meant.iter().for_each(|one| expected.entry(format!("p{one}")).or_default().push(seq));
        }
        drain(&mut script, usize::MAX, &mut got);
        // What is recalled may have left before.
        let kept = |of: BTreeMap<String, Vec<u64>>| -> BTreeMap<String, Vec<u64>> {
            let rest = |seqs: Vec<u64>| seqs.into_iter().filter(|seq| !recalled.contains(seq)).collect::<Vec<_>>();
            of.into_iter().map(|(name, seqs)| (name, rest(seqs))).filter(|(_, seqs)| !seqs.is_empty()).collect()
        };
        prop_assert_eq!(kept(got), kept(expected));
    }
}

/// Ann has a device in the room, and it is not meant: what it was given ahead of its turn is written all the same.
#[test]
fn what_a_device_is_owed_is_written_also_when_the_newer_message_is_not_for_it() {
    let (mut script, members) = big_room(2_000);
    script.step(&format!("push 1 room:big | {members}"));
    script.step("push 2 user:ann=7,8 | 8");
    let mut got = BTreeMap::new();
    drain(&mut script, usize::MAX, &mut got);
    assert_eq!((&*got["p7"], &*got["p8"], &*got["p9"]), (&[1][..], &[1, 2][..], &[1][..]));
}

#[test]
fn that_a_connection_was_lost_is_told_behind_what_was_written_to_it() {
    let (mut script, members) = big_room(2_000);
    for seq in 1..=3 {
        script.step(&format!("push {seq} room:big | {members}"));
    }
    let mut turn = Vec::new();
    assert!(
        script.shard.turn(&mut turn) && turn.is_empty(),
        "the outboxes of some are filled, and nobody's is written"
    );
    let mut events = Vec::new();
    script.shard.take_events(&mut events);
    assert_eq!(events, []);
    let (peer, member) = script.peers["p2000"];
    script.shard.detach(member);
    script.shard.remove_peer(peer);
    script.shard.take_events(&mut events);
    let told: Vec<String> = events
        .iter()
        .map(|event| match event {
            Event::Written { message, by } => {
                let Ordinals::Many(by) = by else { panic!("many") };
                assert!(by.contains(2_000));
                format!("written {}", message.seq.0)
            }
            Event::Unwritten { seq, ordinal: Ordinal(2_000), .. } => format!("unwritten {}", seq.0),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, ["written 1", "unwritten 1", "written 2", "unwritten 2", "written 3", "unwritten 3"]);
    while script.shard.turn(&mut turn) {}
    script.shard.take_events(&mut events);
    let again =
        |event: &&Event| matches!(event, Event::Written { by: Ordinals::Many(by), .. } if by.contains(2_000));
    assert_eq!(events.iter().filter(again).count(), 3, "once each");
}

#[test]
fn what_a_room_lets_go_of_is_told_once_for_each_message() {
    let (mut script, members) = big_room(1_000);
    for peer in 1..=1_000 {
        script.shard.set_blocked(script.peers[&format!("p{peer}")].0, true);
    }
    for seq in 1..=20 {
        script.step(&format!("push {seq} room:big key:price | {members}"));
    }
    let (mut turn, mut dropped) = (Vec::new(), BTreeMap::<u64, usize>::new());
    loop {
        let more = script.shard.turn(&mut turn);
        let mut events = Vec::new();
        script.shard.take_events(&mut events);
        for event in events {
            if let Event::Dropped { seq, .. } = event {
                *dropped.entry(seq.0).or_default() += 1;
            }
        }
        if !more {
            break;
        }
    }
    assert_eq!(dropped.keys().copied().collect::<Vec<_>>(), (1..20).collect::<Vec<_>>());
    assert!(dropped.values().all(|times| *times <= 4), "{dropped:?}");
}

#[test]
fn a_message_that_its_recall_has_overtaken_is_for_nobody() {
    check(
        "attach a 1 json
         live a 0
         recall 2
         push 1 all | 1
         push 2 all | 1",
        expect![[r#"
            attach a 1 json
            live a 0
            recall 2
            push 1 all | 1
              > a 1@all
              written 1: [1]
            push 2 all | 1
        "#]],
    );
}

#[test]
fn a_shard_is_behind_when_round_after_round_leaves_messages_for_the_next() {
    let (mut script, members) = big_room(SMALL_ROOM + 1);
    let mut seq = 0;
    // Messages that come while each round is written, and whether the shard counts as behind at its end.
    for (coming, expected) in [
        (2, false),
        (1, false),
        (2, false),
        (2, false),
        (2, true),
        (2, true),
        (1, false),
        (90, false),
        (90, false),
        (90, false),
    ] {
        let mut push = |script: &mut Script, count| {
            for _ in 0..count {
                seq += 1;
                script.step(&format!("push {seq} room:big | {members}"));
            }
        };
        if script.shard.backlog() == 0 {
            push(&mut script, 1);
        }
        let mut turn = Vec::new();
        while turn.is_empty() {
            script.shard.turn(&mut turn);
        }
        push(&mut script, coming);
        let mut writing = turn.len();
        while writing < SMALL_ROOM + 1 {
            turn.clear();
            script.shard.turn(&mut turn);
            writing += turn.len();
        }
        assert_eq!(script.shard.is_behind(), expected, "{coming} more by message {seq}");
        let peers: Vec<_> = script.peers.values().map(|(key, _)| *key).collect();
        for peer in peers {
            while script.shard.outbox(peer).unwrap().pop_frame().is_some() {}
        }
    }
}

#[test]
fn what_a_list_of_users_is_given_at_once_is_bounded() {
    let mut script = Script::new(Bounds::default());
    let users: Vec<_> = (1..=40).collect();
    for user in &users {
        script.step(&format!("attach p{user} {user} sse"));
        script.step(&format!("live p{user} 0"));
    }
    let large = bytes::Bytes::from(vec![b'1'; AT_ONCE_BYTES / 100]);
    let push = |script: &mut Script, seq: u64| {
        let all = users.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        let mut delivery = delivery(&format!("{seq} user:ann={all} | {all}"));
        Arc::get_mut(&mut delivery.message).unwrap().data = large.clone();
        script.shard.deliver(Arc::new(delivery));
    };
    for round in 0..2 {
        // Three times forty hundredths are enough.
        for (message, enough) in [(1, false), (2, false), (3, true)] {
            push(&mut script, round * 3 + message);
            assert_eq!(script.shard.has_enough(), enough, "message {message} of round {round}");
        }
        let mut turn = Vec::new();
        script.shard.turn(&mut turn);
        assert_eq!((turn.len(), script.shard.has_enough()), (40, false));
        for (peer, _) in script.peers.values() {
            let outbox = script.shard.outbox(*peer).unwrap();
            assert_eq!(std::iter::from_fn(|| outbox.pop_frame()).count(), 3);
        }
    }
}
