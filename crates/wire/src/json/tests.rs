//! Frames of the public contract, and what a client is told when it gets one wrong.

use expect_test::{Expect, expect};

use super::*;

fn show(text: &str) -> String {
    let commands = match decode(text, 4) {
        Ok(commands) => commands,
        Err(error) => return format!("frame: {error}"),
    };
    let shown: Vec<String> = commands
        .map(|command| match command {
            Ok(command) => format!("{} {:?}", id_json(command.id), command.body),
            Err(refusal) => format!("{} refused: {}", id_json(refusal.id), refusal.error),
        })
        .collect();
    shown.join("\n")
}

fn id_json(id: Option<Id<'_>>) -> &str {
    id.map_or("–", Id::as_json)
}

/// One frame per line.
fn check(frames: &str, expected: &Expect) {
    let shown: Vec<String> = frames.lines().map(|line| show(line.trim())).collect();
    expected.assert_eq(&shown.join("\n"));
}

#[test]
fn commands_of_the_contract() {
    check(
        r#"{"id":1,"cmd":"connect","token":"t.o.k","device":"d1","user":"ann","platform":"web","positions":{"room:lobby":{"epoch":3,"offset":17}}}
           {"id":2,"cmd":"connect"}
           {"id":"a","cmd":"join","rooms":["lobby","caf\u00e9"]}
           {"cmd":"leave","rooms":[]}
           {"id":4,"cmd":"ack","ids":["m1","m2"]}
           {"id":5,"cmd":"publish","room":"lobby","event":"typing","data":{"n": 1.50}}
           {"id":6,"cmd":"publish","room":"lobby","event":"typing","data":null}
           {"id":7,"cmd":"device"}
           {"id":8,"cmd":"device","set":{"tags":["a"]}}
           {"id":9,"cmd":"rpc","method":"m","data":[]}
           {"cmd":"ping","id":-1.5e3}
           {"cmd":"presence","room":"lobby","limit":10,"cursor":"x"}
           {"cmd":"presence","notify":false}
           {"cmd":"presence","room":"lobby","limit":-1}"#,
        &expect![[r#"
            1 Connect { token: Some("t.o.k"), device: Some("d1"), user: Some("ann"), platform: Some("web"), positions: [("room:lobby", 3, 17)] }
            2 Connect { token: None, device: None, user: None, platform: None, positions: [] }
            "a" Join { rooms: ["lobby", "café"] }
            – Leave { rooms: [] }
            4 Ack { ids: ["m1", "m2"] }
            5 Publish { room: Some(RawValue("lobby")), event: Some(RawValue("typing")), data: Some(RawValue({"n": 1.50})), ttl: None, echo: None }
            6 Publish { room: Some(RawValue("lobby")), event: Some(RawValue("typing")), data: Some(RawValue(null)), ttl: None, echo: None }
            7 Device { set: None }
            8 Device { set: Some(RawValue({"tags":["a"]})) }
            9 Rpc { method: Some(RawValue("m")), data: Some(RawValue([])) }
            -1.5e3 Ping
            – Presence { room: Some("lobby"), limit: Some(10), cursor: Some("x"), notify: None }
            – Presence { room: None, limit: None, cursor: None, notify: Some(false) }
            – refused: field `limit` must be a whole number"#]],
    );
}

#[test]
fn one_bad_command_spoils_none_of_the_others() {
    check(
        r#"[{"id":1,"cmd":"ping"},{"cmd":"join","id":2},7,{"id":4,"cmd":"ping"}]
           []"#,
        &expect![[r#"
            1 Ping
            2 refused: field `rooms` is missing
            – refused: a command must be an object
            4 Ping
        "#]],
    );
}

#[test]
fn refusals_name_the_field_and_keep_the_id() {
    check(
        r#"{"cmd":"ping","extra":1,"id":1}
           {"cmd":"ping","rooms":["a"],"id":2}
           {"cmd":"ping","cmd":"ping","id":3}
           {"cmd":"shout","id":4}
           {"id":5}
           {"cmd":7,"id":6}
           {"cmd":"join","rooms":"lobby","id":7}
           {"cmd":"join","rooms":["a",1],"id":8}
           {"cmd":"connect","token":1,"id":9}
           {"cmd":"connect","positions":[],"id":10}
           {"cmd":"connect","positions":{"all":{"epoch":1}},"id":11}
           {"cmd":"connect","positions":{"all":{"epoch":4294967296,"offset":1}},"id":12}
           {"cmd":"connect","positions":{"all":{"epoch":1,"offset":1,"x":1}},"id":13}
           {"cmd":"publish","room":"a","event":"b","id":14}
           {"cmd":"device","set":[],"id":15}
           {"cmd":"ping","id":{}}
           {"cmd":"ping","id":true}
           {"cmd":"connect","token":"\ud800","id":18}
           {"cmd":"ping","a\nb\u202e":1,"id":19}"#,
        &expect![[r#"
            1 refused: unknown field `extra`
            2 refused: unknown field `rooms`
            3 refused: field `cmd` appears twice
            4 refused: `cmd` is `shout`, which is not a command
            5 refused: field `cmd` is missing
            6 refused: field `cmd` must be a string
            7 refused: field `rooms` must be an array of strings
            8 refused: field `rooms` must be an array of strings
            9 refused: field `token` must be a string
            10 refused: field `positions` must be an object of {"epoch": number, "offset": number} by topic
            11 refused: field `positions` must be an object of {"epoch": number, "offset": number} by topic
            12 refused: field `positions` must be an object of {"epoch": number, "offset": number} by topic
            13 refused: field `positions` must be an object of {"epoch": number, "offset": number} by topic
            14 Publish { room: Some(RawValue("a")), event: Some(RawValue("b")), data: None, ttl: None, echo: None }
            15 refused: field `set` must be an object
            – refused: field `id` must be a number or a string of at most 64 bytes
            – refused: field `id` must be a number or a string of at most 64 bytes
            18 refused: field `token` must be a string
            19 refused: unknown field `a\nb\u{202e}`"#]],
    );
}

#[test]
fn frames_that_hold_no_commands() {
    check(
        r#"
           {
           {}{}
           "ping"
           null
           [{},{},{},{},{}]
           {"cmd":"ping"},"#,
        &expect![[r#"
            frame: not JSON
            frame: not JSON
            frame: not JSON
            frame: expected an object or an array of objects
            frame: expected an object or an array of objects
            frame: too many commands in one frame
            frame: not JSON"#]],
    );
    let deep = format!("{{\"cmd\":\"rpc\",\"method\":\"m\",\"data\":{}}}", "[".repeat(1_000_000));
    assert_eq!(decode(&deep, 1).unwrap_err(), Error::TooDeep);
}

#[test]
fn lists_are_bounded() {
    let join =
        |count: usize| format!(r#"{{"id":1,"cmd":"join","rooms":["a"{}]}}"#, r#","a""#.repeat(count - 1));
    assert!(decode(&join(LIST_MAX), 1).unwrap().all(|command| command.is_ok()));
    assert_eq!(show(&join(LIST_MAX + 1)), "1 refused: field `rooms` has more than 1000 entries");
    let connect = |count: usize| {
        let entries: Vec<String> =
            (0..count).map(|n| format!(r#""room:{n}":{{"epoch":1,"offset":1}}"#)).collect();
        format!(r#"{{"id":1,"cmd":"connect","positions":{{{}}}}}"#, entries.join(","))
    };
    assert!(decode(&connect(POSITIONS_MAX), 1).unwrap().all(|command| command.is_ok()));
    assert_eq!(show(&connect(POSITIONS_MAX + 1)), "1 refused: field `positions` has more than 10003 entries");
    let unknown = format!(r#"{{"{}":1}}"#, "é".repeat(1000));
    assert_eq!(show(&unknown).len(), "– refused: unknown field ``".len() + 64);
    let long_id = format!(r#"{{"cmd":"ping","id":"{}"}}"#, "x".repeat(63));
    assert!(show(&long_id).starts_with("– refused: field `id`"));
}

#[test]
fn answers() {
    let mut commands = decode(r#"[{"id":"a\"","cmd":"ping"},{"cmd":"ping"}]"#, 2).unwrap();
    let first = commands.next().unwrap().unwrap().id;
    let second = commands.next().unwrap().unwrap().id;
    assert_eq!(ok(first, "{}"), r#"{"id":"a\"","ok":{}}"#);
    assert_eq!(ok(second, r#"{"n":1}"#), r#"{"ok":{"n":1}}"#);
    assert_eq!(
        error(first, "forbidden", "not \"yours\""),
        r#"{"id":"a\"","error":{"code":"forbidden","message":"not \"yours\""}}"#
    );
    assert_eq!(
        error(None, "invalid_request", "no"),
        r#"{"error":{"code":"invalid_request","message":"no"}}"#
    );
}
