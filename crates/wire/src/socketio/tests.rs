//! Packets as the protocol documents print them, as recorded from clients in the field, and as attackers wrote them.

use expect_test::{Expect, expect};

use super::*;

const LIMITS: Limits = Limits { attachments: ATTACHMENTS_DEFAULT, bytes: 1000 };

fn show(text: &str) -> String {
    match decode(text) {
        Err(error) => format!("{error:?}"),
        Ok(packet) => {
            let mut out = format!("{:?} {}", packet.kind, packet.namespace);
            if let Some(query) = packet.query {
                out += &format!(" ?{query}");
            }
            if packet.attachments > 0 {
                out += &format!(" +{}", packet.attachments);
            }
            if let Some(id) = packet.id {
                out += &format!(" #{id}");
            }
            if let Some(data) = packet.data {
                out += &format!(" {data}");
            }
            out
        }
    }
}

/// One packet per line.
fn check(packets: &str, expected: &Expect) {
    let shown: Vec<String> = packets.lines().map(|line| show(line.trim())).collect();
    expected.assert_eq(&shown.join("\n"));
}

#[test]
fn packets_of_the_protocol_5_document() {
    check(
        r#"0
           0/admin,
           0{"token":"123"}
           0/admin,{"sid":"oSO0OpakMV_3jnilAAAA"}
           4{"message":"Not authorized"}
           2["foo"]
           2/admin,["bar"]
           212["foo"]
           3/admin,13["bar"]
           1/admin,
           51-["baz",{"_placeholder":true,"num":0}]
           52-/admin,["baz",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]
           61-15["bar",{"_placeholder":true,"num":0}]"#,
        &expect![[r#"
            Connect /
            Connect /admin
            Connect / {"token":"123"}
            Connect /admin {"sid":"oSO0OpakMV_3jnilAAAA"}
            ConnectError / {"message":"Not authorized"}
            Event / ["foo"]
            Event /admin ["bar"]
            Event / #12 ["foo"]
            Ack /admin #13 ["bar"]
            Disconnect /admin
            BinaryEvent / +1 ["baz",{"_placeholder":true,"num":0}]
            BinaryEvent /admin +2 ["baz",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]
            BinaryAck / +1 #15 ["bar",{"_placeholder":true,"num":0}]"#]],
    );
}

#[test]
fn packets_of_protocol_4_as_recorded() {
    check(
        r#"0/demo?uuid=d1&userid=u1&platform=ios
           0/demo?uuid=d1&userid=u1&platform=ios,
           0/demo
           1
           41
           2/demo,0["joinRoom",["r1","r2"]]
           2/demo,["ackPush",{"id":2}]
           4/demo,"uuid invalid""#,
        &expect![[r#"
            Connect /demo ?uuid=d1&userid=u1&platform=ios
            Connect /demo ?uuid=d1&userid=u1&platform=ios
            Connect /demo
            Disconnect /
            BadPayload
            Event /demo #0 ["joinRoom",["r1","r2"]]
            Event /demo ["ackPush",{"id":2}]
            ConnectError /demo "uuid invalid""#]],
    );
}

#[test]
fn payloads_by_kind() {
    check(
        r#"0"a"
           0[]
           0null
           0{}
           1{}
           2
           2{}
           2[]
           2[null]
           2[{}]
           2[1,2]
           2[-1]
           2 [ "a" , 1 ]
           3[]
           31[]
           31{}
           4
           41
           4"a"
           4{}"#,
        &expect![[r#"
            BadPayload
            BadPayload
            BadPayload
            Connect / {}
            BadPayload
            BadPayload
            BadPayload
            BadPayload
            BadPayload
            BadPayload
            Event / [1,2]
            Event / [-1]
            Event / [ "a" , 1 ]
            MissingId
            Ack / #1 []
            BadPayload
            BadPayload
            BadPayload
            ConnectError / "a"
            ConnectError / {}"#]],
    );
}

#[test]
fn broken_packets() {
    check(
        r#"
           7
           x
           2["a"]x
           2["a"]["b"]
           2["a"
           2["a",]
           2[b]
           2["connect"]
           2["\u0063onnect"]
           2["newListener",1]
           2["error"]
           29007199254740991["a"]
           29007199254740992["a"]
           299999999999999999999999["a"]
           2/a["b","c"]
           2/demo"#,
        &expect![[r#"
            Empty
            UnknownType
            UnknownType
            BadJson
            BadJson
            BadJson
            BadJson
            BadJson
            ReservedEvent
            ReservedEvent
            ReservedEvent
            Event / ["error"]
            Event / #9007199254740991 ["a"]
            BadId
            BadId
            BadJson
            BadPayload"#]],
    );
    assert_eq!(show(&format!("0/{},", "n".repeat(255))).len(), "Connect /".len() + 255);
    assert_eq!(show(&format!("0/{},", "n".repeat(256))), "LongNamespace");
}

#[test]
fn attachments_announced_without_a_number_or_without_end() {
    check(
        r#"5["a"]
           5-["a"]
           5
           51
           51["a"]
           5x-["a"]
           5-1-["a"]
           51.5-["a"]
           5+1-["a"]
           51e1-["a"]
           5Infinity-["a"]
           5NaN-["a"]
           564-["a"]
           565-["a"]
           599999999999999999999999-["a"]
           50-["a"]"#,
        &expect![[r#"
            BadAttachments
            BadAttachments
            BadAttachments
            BadAttachments
            BadAttachments
            BadAttachments
            BadAttachments
            BadAttachments
            BadAttachments
            BadAttachments
            BadAttachments
            BadAttachments
            BinaryEvent / +64 ["a"]
            TooManyAttachments
            TooManyAttachments
            BinaryEvent / ["a"]"#]],
    );
}

#[test]
fn nesting_ends_at_the_limit() {
    let nested = |depth: usize| format!("2[\"a\",{}{}]", "[".repeat(depth), "]".repeat(depth));
    assert!(decode(&nested(99)).is_ok());
    assert_eq!(decode(&nested(100)), Err(Error::TooDeep));
    assert_eq!(decode(&nested(1_000_000)), Err(Error::TooDeep));
    assert_eq!(decode(&format!("2[\"a\",{}", "{\"a\":".repeat(1_000_000))), Err(Error::TooDeep));
    // Whatever passes can be taken apart without recursing deeper than that.
    let deep = nested(99);
    assert_eq!(Args::event(decode(&deep).unwrap().data.unwrap()).unwrap().args.len(), 1);
}

#[test]
fn arguments() {
    let args = Args::event(r#"["push" , {"a":[1, 2]}, "x,]", null , 1.50]"#).unwrap();
    let raw: Vec<&str> = args.args.iter().map(|arg| arg.get()).collect();
    assert_eq!((args.name.as_ref(), raw), ("push", vec![r#"{"a":[1, 2]}"#, r#""x,]""#, "null", "1.50"]));
    assert_eq!(Args::event(r#"["a\"b\u00e9"]"#).unwrap().name, "a\"bé");
    assert_eq!(Args::event("[7]").unwrap().name, "7");
    assert_eq!(Args::event("[]").unwrap_err(), Error::BadPayload);
    assert_eq!(Args::event("{}").unwrap_err(), Error::BadPayload);
    assert_eq!(Args::ack("[]").unwrap().len(), 0);
    let many = format!("[\"a\"{}]", ",1".repeat(ARGS_MAX));
    assert_eq!(Args::event(&many).unwrap().args.len(), ARGS_MAX);
    assert_eq!(Args::ack(&many).unwrap_err(), Error::TooManyArguments);
    // A name that is no text cannot be an event that anybody waits for.
    assert_eq!(Args::event(r#"["\ud800"]"#).unwrap_err(), Error::BadJson);
}

fn begin(assembler: &mut Assembler, text: &str) -> Result<Option<Assembled>, Error> {
    assembler.begin(&decode(text).unwrap(), LIMITS)
}

#[test]
fn a_binary_event_is_whole_with_its_last_attachment() {
    let mut assembler = Assembler::new();
    let text = r#"52-/demo,7["a",{"_placeholder":true,"num":1},[{"num":0,"_placeholder":true}]]"#;
    assert_eq!(begin(&mut assembler, text), Ok(None));
    assert!(assembler.is_waiting());
    assert_eq!(assembler.attach(b"zero", LIMITS), Ok(None));
    let whole = assembler.attach(b"one", LIMITS).unwrap().unwrap();
    assert_eq!((whole.namespace.as_str(), whole.id, whole.kind), ("/demo", Some(7), Kind::BinaryEvent));
    assert_eq!(whole.attachments, [b"zero".to_vec(), b"one".to_vec()]);
    assert!(!assembler.is_waiting());
    assert_eq!(begin(&mut assembler, r#"50-["a",1]"#).unwrap().unwrap().data, r#"["a",1]"#);
    assert_eq!(size_of::<Assembler>(), 8);
}

#[test]
fn what_is_out_of_order_is_refused_and_forgotten() {
    let one = r#"51-["a",{"_placeholder":true,"num":0}]"#;
    let mut assembler = Assembler::new();
    assert_eq!(assembler.attach(b"", LIMITS), Err(Error::UnexpectedBinary));
    assert_eq!(assembler.check_text(), Ok(()));
    for disturb in
        [(|assembler| assembler.check_text()) as fn(&mut Assembler) -> Result<(), Error>, |assembler| {
            begin(assembler, r#"50-["a"]"#).map(|_| ())
        }]
    {
        assert_eq!(begin(&mut assembler, one), Ok(None));
        assert_eq!(disturb(&mut assembler), Err(Error::AttachmentsDue));
        assert!(!assembler.is_waiting());
    }
    assert_eq!(begin(&mut assembler, one), Ok(None));
    assert_eq!(assembler.attach(&[0; 970], LIMITS), Err(Error::TooLarge));
    assert!(!assembler.is_waiting());
}

#[test]
fn placeholders_name_each_attachment_once() {
    for text in [
        r#"51-["a"]"#,
        r#"51-["a",{"_placeholder":true,"num":1}]"#,
        r#"51-["a",{"_placeholder":true,"num":-1}]"#,
        r#"51-["a",{"_placeholder":true,"num":0.5}]"#,
        r#"51-["a",{"_placeholder":true,"num":"0"}]"#,
        r#"51-["a",{"_placeholder":true}]"#,
        r#"51-["a",{"_placeholder":true,"num":"splice"}]"#,
        r#"51-["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]"#,
        r#"51-["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#,
        r#"51-["a",{"_placeholder":true,"num":0,"num":18446744073709551615}]"#,
        r#"50-["a",{"_placeholder":true,"num":0}]"#,
        r#"51-["a",{"_placeholder":false,"num":0}]"#,
        r#"51-["a",{"_placeholder":1,"num":0}]"#,
    ] {
        assert_eq!(begin(&mut Assembler::new(), text), Err(Error::BadPlaceholder), "{text}");
    }
    // Words that only look like one.
    assert!(begin(&mut Assembler::new(), r#"50-["_placeholder",{"_placeholder":false}]"#).unwrap().is_some());
    assert_eq!(begin(&mut Assembler::new(), "517-[\"a\"]"), Err(Error::TooManyAttachments));
}

#[test]
fn what_the_server_sends() {
    let lines = [
        event("/demo", Some(7), "push", &[r#"{"id":"a"}"#]),
        event("/", None, "ready", &[]),
        event("", None, "a\"b", &["1", "2"]),
        ack("/demo", 13, &[r#"{"status":200,"msg":"ok"}"#]),
        ack("/", 0, &[]),
        connect_v5("/demo", "oSO0Opak", Some("pid1")),
        connect_v5("/", "oSO0Opak", None),
        connect_v4("/demo"),
        connect_v4("/"),
        connect_error_v5("/demo", "not \"allowed\"", Some(r#"{"code":3507}"#)),
        connect_error_v5("/demo", "no", None),
        error_v4("/demo", "\"uuid invalid\""),
        disconnect("/demo"),
        disconnect("/"),
    ];
    expect![[r#"
        2/demo,7["push",{"id":"a"}]
        2["ready"]
        2["a\"b",1,2]
        3/demo,13[{"status":200,"msg":"ok"}]
        30[]
        0/demo,{"sid":"oSO0Opak","pid":"pid1"}
        0{"sid":"oSO0Opak"}
        0/demo,
        0
        4/demo,{"message":"not \"allowed\"","data":{"code":3507}}
        4/demo,{"message":"no"}
        4/demo,"uuid invalid"
        1/demo,
        1"#]]
    .assert_eq(&lines.join("\n"));
    for line in &lines {
        assert!(decode(line).is_ok(), "{line}");
    }
}
