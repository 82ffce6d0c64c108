//! Faults on purpose: what each does to what a device is written, to what it owes, and where it stops.

use std::time::Duration;

use super::super::faults::HELD_BACK_MAX;
use super::*;

/// `lose devices=1,2`, `delay:20 room=lobby`, `duplicate message=m1`, each perhaps with a probability and an end.
pub(super) fn fault(words: &[&str]) -> Fault {
    let effect = match words[0].split_once(':').unwrap_or((words[0], "")) {
        ("lose", _) => Effect::Lose,
        ("delay", ms) => Effect::Delay(Duration::from_millis(ms.parse().unwrap())),
        ("duplicate", _) => Effect::Duplicate,
        ("reorder", _) => Effect::Reorder,
        ("disconnect", _) => Effect::Disconnect,
        other => panic!("no such effect: {other:?}"),
    };
    let on = match words[1].split_once('=').unwrap() {
        ("devices", list) => FaultOn::Devices(ordinals(list).into_iter().collect()),
        ("room", name) => FaultOn::Room(RoomName::new(name).unwrap()),
        ("message", id) => FaultOn::Message(MessageId::new(id).unwrap()),
        other => panic!("no such subject: {other:?}"),
    };
    let probability = words.get(2).map_or(1.0, |text| text.parse().unwrap());
    let until = Timestamp(words.get(3).map_or(1_000_000, |text| text.parse().unwrap()));
    Fault { on, effect, probability, until }
}

/// Whoever answers a ping has what left before it, and nothing else.
#[test]
fn what_does_not_leave_is_told_apart_from_what_did() {
    check(
        "attach a 1 json
         live a 0
         fault lose message=m1
         fault delay:20 message=m2
         push 1 all | 1
         push 2 all | 1
         push 3 all | 1
         left a
         time 20
         left a
         ack a 2
         ack a 3
         left a
         gone a",
        expect![[r#"
            attach a 1 json
            live a 0
            fault lose message=m1
            fault delay:20 message=m2
            push 1 all | 1
              written 1: [1]
              simulated_loss 1: 1
            push 2 all | 1
              simulated_delay 2: 1
            push 3 all | 1
              > a 3@all
              written 3: [1]
            left a
              left and not acknowledged: [3]
            time 20
              > a 2@all
              written 2: [1]
            left a
              left and not acknowledged: [3, 2]
            ack a 2
            ack a 3
            left a
              left and not acknowledged: []
            gone a
              settled Some(0)
        "#]],
    );
    let policy = Policy { bounds: Bounds { frames: 2, bytes: 1 << 20 }, when_full: WhenFull::DropOldest };
    let out = Script::with(policy).run(
        "attach slow-a 1 json
         live slow-a 0
         push 1 all | 1
         push 2 all | 1
         push 3 all | 1
         left slow-a
         reads slow-a
         left slow-a",
    );
    expect![[r#"
        attach slow-a 1 json
        live slow-a 0
        push 1 all | 1
          written 1: [1]
        push 2 all | 1
          written 2: [1]
        push 3 all | 1
          written 3: [1]
          dropped 1: [1]
        left slow-a
          left and not acknowledged: [2, 3]
        reads slow-a
          told that 1 were dropped
          > slow-a 2
          > slow-a 3
        left slow-a
          left and not acknowledged: [2, 3]
    "#]]
    .assert_eq(&out);
}

#[test]
fn what_is_lost_counts_as_written_and_is_owed() {
    check(
        "attach a 1 json
         live a 0
         attach b 2 json
         live b 0
         fault lose devices=1
         push 1 all | 1,2
         no faults
         push 2 all | 1,2
         ack a 2
         gone a
         ack b 1
         ack b 2
         gone b",
        expect![[r#"
            attach a 1 json
            live a 0
            attach b 2 json
            live b 0
            fault lose devices=1
            push 1 all | 1,2
              > b 1@all
              written 1: [1, 2]
              simulated_loss 1: 1
            no faults
            push 2 all | 1,2
              > a 2@all
              > b 2@all
              written 2: [1, 2]
            ack a 2
            gone a
              settled Some(0)
            ack b 1
            ack b 2
            gone b
              settled Some(2)
        "#]],
    );
}

#[test]
fn what_is_delayed_leaves_later_and_behind_what_came_meanwhile() {
    check(
        "attach a 1 json
         live a 0
         fault delay:20 message=m1
         push 1 all | 1
         push 2 all | 1
         time 19
         time 20
         ack a 2
         ack a 1
         gone a",
        expect![[r#"
            attach a 1 json
            live a 0
            fault delay:20 message=m1
            push 1 all | 1
              simulated_delay 1: 1
            push 2 all | 1
              > a 2@all
              written 2: [1]
            time 19
            time 20
              > a 1@all
              written 1: [1]
            ack a 2
            ack a 1
            gone a
              settled Some(2)
        "#]],
    );
}

#[test]
fn what_is_held_back_is_owed_until_it_is_acknowledged() {
    for script in [
        // The connection ends first.
        "push 1 all | 1
         push 2 all | 1
         ack a 2
         gone a
         time 20",
        // It comes, and is not acknowledged.
        "push 1 all | 1
         push 2 all | 1
         ack a 2
         time 20
         gone a",
        // Its time is over first.
        "push 1 all | 1
         push 2 all | 1
         time 100
         ack a 2
         gone a",
    ] {
        let script = format!("attach a 1 json\nlive a 0\nfault delay:20 message=m1\n{script}");
        let out = Script::new(Bounds::NONE).run(&script);
        assert!(out.contains("settled Some(0)"), "{out}");
        assert_eq!(out.matches("> a 1@all").count(), usize::from(out.contains("\ntime 20\n  >")), "{out}");
    }
}

#[test]
fn what_is_held_back_may_be_recalled_or_superseded() {
    check(
        "attach a 1 json
         live a 0
         fault delay:20 devices=1
         push 1 all | 1
         push 2 all key:score | 1
         push 3 all key:score over:2 | 1
         recall 1
         time 20
         ack a 3
         gone a",
        expect![[r#"
            attach a 1 json
            live a 0
            fault delay:20 devices=1
            push 1 all | 1
              simulated_delay 1: 1
            push 2 all key:score | 1
              simulated_delay 2: 1
            push 3 all key:score over:2 | 1
              simulated_delay 3: 1
            recall 1
            time 20
              > a 3@all
              written 3: [1]
            ack a 3
            gone a
              settled Some(3)
        "#]],
    );
}

#[test]
fn what_is_doubled_leaves_twice_and_is_owed_once() {
    check(
        "attach a 1 json
         live a 0
         fault duplicate room=lobby
         join a lobby
         push 1 room:lobby | 1
         push 2 user:ann=1 | 1
         ack a 1
         ack a 2
         gone a",
        expect![[r#"
            attach a 1 json
            live a 0
            fault duplicate room=lobby
            join a lobby
            push 1 room:lobby | 1
              > a 1@room:lobby
              > a 1@room:lobby
              written 1: [1]
              simulated_duplicate 1: 1
            push 2 user:ann=1 | 1
              > a 2@user:ann
              written 2: [1]
            ack a 1
            ack a 2
            gone a
              settled Some(2)
        "#]],
    );
}

#[test]
fn what_is_to_be_overtaken_waits_for_the_next_one_but_not_for_long() {
    check(
        "attach a 1 json
         live a 0
         attach b 2 json
         live b 0
         fault reorder devices=1
         push 1 all | 1,2
         push 2 all | 2
         push 3 all | 1
         push 4 all | 1
         push 5 all | 1
         push 6 all until:2000 | 1
         time 999
         no faults
         time 1000
         ack a 1
         ack a 3
         ack a 4
         ack a 5
         gone a",
        expect![[r#"
            attach a 1 json
            live a 0
            attach b 2 json
            live b 0
            fault reorder devices=1
            push 1 all | 1,2
              > b 1@all
              written 1: [2]
            push 2 all | 2
              > b 2@all
              written 2: [2]
            push 3 all | 1
              > a 3@all
              > a 1@all
              written 1: [1]
              written 3: [1]
              simulated_reorder 1: 1
            push 4 all | 1
            push 5 all | 1
              > a 5@all
              > a 4@all
              written 4: [1]
              written 5: [1]
              simulated_reorder 4: 1
            push 6 all until:2000 | 1
            time 999
            no faults
            time 1000
              > a 6@all
              written 6: [1]
            ack a 1
            ack a 3
            ack a 4
            ack a 5
            gone a
              settled Some(5)
        "#]],
    );
}

#[test]
fn a_connection_ends_with_the_message_that_is_to_end_it() {
    check(
        "attach a 1 json
         live a 0
         fault disconnect message=m2
         push 1 all | 1
         push 2 all | 1
         gone a",
        expect![[r#"
            attach a 1 json
            live a 0
            fault disconnect message=m2
            push 1 all | 1
              > a 1@all
              written 1: [1]
            push 2 all | 1
              > a 2@all
              written 2: [1]
              simulated_disconnect 2: 1
              ends
            gone a
              settled Some(0)
        "#]],
    );
}

#[test]
fn what_is_replayed_is_befallen_too() {
    check(
        "attach a 1 json
         fault lose message=m1
         fault duplicate message=m2
         fault delay:20 message=m3
         replay a 1 all | 1
         replay a 2 all | 1
         replay a 3 all | 1
         push 4 all | 1
         live a 3
         time 20
         gone a",
        expect![[r#"
            attach a 1 json
            fault lose message=m1
            fault duplicate message=m2
            fault delay:20 message=m3
            replay a 1 all | 1
              written 1: [1]
              simulated_loss 1: 1
            replay a 2 all | 1
              > a 2@all
              > a 2@all
              written 2: [1]
              simulated_duplicate 2: 1
            replay a 3 all | 1
              simulated_delay 3: 1
            push 4 all | 1
            live a 3
              > a 4@all
              written 4: [1]
            time 20
              > a 3@all
              written 3: [1]
            gone a
              settled Some(0)
        "#]],
    );
}

#[test]
fn a_fault_ends_by_itself_and_a_clock_that_is_set_back_delays_nothing() {
    check(
        "attach a 1 json
         live a 0
         fault lose devices=1 1 50
         push 1 all | 1
         time 50
         push 2 all | 1
         fault delay:20 devices=1 1 99
         time 50
         push 3 all | 1
         time 10
         time 30
         gone a",
        expect![[r#"
            attach a 1 json
            live a 0
            fault lose devices=1 1 50
            push 1 all | 1
              written 1: [1]
              simulated_loss 1: 1
            time 50
            push 2 all | 1
              > a 2@all
              written 2: [1]
            fault delay:20 devices=1 1 99
            time 50
            push 3 all | 1
              simulated_delay 3: 1
            time 10
            time 30
              > a 3@all
              written 3: [1]
            gone a
              settled Some(0)
        "#]],
    );
}

#[test]
fn a_probability_is_what_it_says() {
    let mut script = "attach a 1 json\nlive a 0\nfault lose devices=1 0.25\n".to_owned();
    for seq in 1..=1_000 {
        writeln!(script, "push {seq} user:ann=1 | 1").unwrap();
    }
    let out = Script::new(Bounds::NONE).run(&script);
    let lost = out.matches("simulated_loss").count();
    assert!((200..300).contains(&lost), "{lost}");
    assert_eq!(out.matches("> a").count(), 1_000 - lost);
    let never = script.replace("0.25", "0");
    assert!(!Script::new(Bounds::NONE).run(&never).contains("simulated_loss"));
}

#[test]
fn no_more_is_held_back_than_may_be() {
    let mut script = "attach a 1 json\nlive a 0\nfault delay:20 devices=1\n".to_owned();
    let more = 5;
    for seq in 1..=HELD_BACK_MAX + more {
        writeln!(script, "push {seq} user:ann=1 | 1").unwrap();
    }
    let before = Script::new(Bounds::NONE).run(&script);
    assert_eq!(before.matches("> a").count(), more);
    let after = Script::new(Bounds::NONE).run(&(script + "time 20\n"));
    assert_eq!(after.matches("> a").count(), HELD_BACK_MAX + more);
}
