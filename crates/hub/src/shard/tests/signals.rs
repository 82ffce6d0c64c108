//! What is no message: who is given it, and who is not.

use tidings_wire::push;

use super::*;

fn frame(text: &str) -> Rc<Frame> {
    Frame::signal(push::control(Codec::Json, text))
}

/// A shard with these devices in the lobby, the last one still catching up.
fn lobby(policy: Policy, devices: &[u32]) -> (Shard, Vec<(MemberKey, PeerKey)>) {
    let mut shard = Shard::new(policy.bounds, Deflater::new(0));
    let room = [RoomName::new("lobby").unwrap()];
    let mut members = Vec::new();
    for device in devices {
        let peer = shard.add_peer();
        let format = Format::plain(Codec::Json);
        let ordinal = Ordinal(*device);
        let attach = Attach { peer, format, namespace: &demo(), ordinal, rooms: &room, policy };
        members.push((shard.attach(attach).unwrap(), peer));
    }
    for (member, _) in &members[..members.len() - 1] {
        assert_eq!(shard.go_live(*member, Seq(0)), CatchUp::Live);
    }
    (shard, members)
}

#[test]
fn those_who_are_live_are_told_and_not_who_it_is_about() {
    let (shard, members) = lobby(Policy::default(), &[1, 2, 2, 3]);
    let room = |name: &str| RoomName::new(name).unwrap();
    let told = |but| {
        let mut listeners = shard.listeners(&demo(), &room("lobby"), Ordinal(but));
        listeners.sort_unstable_by_key(|(member, _)| members.iter().position(|(other, _)| other == member));
        listeners
    };
    assert_eq!(told(1), members[1..3]);
    assert_eq!(told(2), members[..1]);
    assert_eq!(told(9), members[..3]);
    assert_eq!(shard.listeners(&demo(), &room("other"), Ordinal(1)), []);
    assert_eq!(shard.listeners(&NamespaceName::new("other").unwrap(), &room("lobby"), Ordinal(1)), []);
}

#[test]
fn a_signal_takes_no_more_than_half_of_what_may_wait() {
    for when_full in WhenFull::ALL {
        let policy = Policy { bounds: Bounds { frames: 8, bytes: 1 << 20 }, when_full };
        let (mut shard, members) = lobby(policy, &[1, 2]);
        let (member, peer) = members[0];
        shard.set_blocked(peer, true);
        let taken = (0..10).filter(|_| shard.offer(member, frame("{}"))).count();
        assert_eq!(taken, 4, "{when_full:?}");
        // Messages have the other half, and no signal makes room for one.
        for seq in 1..=4 {
            shard.deliver(Arc::new(delivery(&format!("{seq} all | 1"))));
        }
        while shard.turn(&mut Vec::new()) {}
        let mut events = Vec::new();
        shard.take_events(&mut events);
        let harmless = events.iter().all(|event| matches!(event, Event::Written { .. }));
        assert!(harmless, "{when_full:?}: {events:?}");
        assert_eq!(shard.outbox(peer).map(|outbox| outbox.len()), Some(8), "{when_full:?}");
        // Beyond, what becomes of messages is as ever, and signals stay.
        shard.deliver(Arc::new(delivery("5 all | 1")));
        while shard.turn(&mut Vec::new()) {}
        let left = shard.outbox(peer).map(|outbox| outbox.len() - outbox.messages().count());
        assert_eq!(left, Some(4), "{when_full:?}");
    }
    let (mut shard, members) = lobby(Policy::default(), &[1, 2]);
    // A transport that takes everything is given everything.
    let taken = (0..5_000).filter(|_| shard.offer(members[0].0, frame("{}"))).count();
    assert_eq!(taken, 5_000, "what leaves at the end of the turn is not the reader's fault");
}
