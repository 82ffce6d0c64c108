//! One message as the clients of each older system get it, byte for byte.

use expect_test::expect;

use super::*;
use crate::push::{Codec, encode};

const PUSH: PushView<'static> = PushView {
    id: "m1",
    event: "push",
    data: r#"{"n": 1.50, "t": "é"}"#,
    room: Some("lobby"),
    user: None,
    sent_at_ms: 1_795_184_947_945,
    topic: "room:lobby",
    epoch: 3,
    offset: 17,
    seq: 1234,
    ack_id: 7,
    namespace: "demo",
    from: None,
    recalls: None,
    aside: "",
};

fn said(codec: Codec, push: &PushView<'_>) -> String {
    String::from_utf8(encode(codec, push).payload().to_vec()).unwrap()
}

#[test]
fn light_push_has_rooms_and_numbers() {
    let says = |push: &PushView<'_>| said(Codec::LightPush, push);
    expect![[r#"42/demo,["push",{"room":"lobby","pushData":{"n": 1.50, "t": "é"},"namespace":"/demo","id":1234,"sendDate":1795184947945}]"#]]
        .assert_eq(&says(&PUSH));
    let user = PushView { room: None, user: Some("ann"), ..PUSH };
    assert!(says(&user).contains(r#"{"room":"user_ann","pushData""#));
    let prefixed = PushView { aside: r#"{"room":"room_lobby","leaveMessage":true}"#, ..PUSH };
    assert!(says(&prefixed).contains(r#"{"room":"room_lobby","pushData""#));
}

#[test]
fn push_koa_has_two_arguments_and_wants_an_acknowledgement() {
    let says = |push: &PushView<'_>| said(Codec::PushKoa, push);
    expect![[r#"42/demo,7["message","m1",{"n": 1.50, "t": "é"}]"#]].assert_eq(&says(&PUSH));
    let named = PushView { data: r#""text""#, aside: r#"{"msgId":"again","ack":false}"#, ..PUSH };
    expect![[r#"42/demo,["message","again","text"]"#]].assert_eq(&says(&named));
    let moved = PushView {
        event: "changeRoom",
        data: r#"{"joins":"a,b","leaves":""}"#,
        aside: r#"{"msgId":"-2","ack":false}"#,
        ..PUSH
    };
    expect![[r#"42/demo,["changeRoom","-2",{"joins":"a,b","leaves":""}]"#]].assert_eq(&says(&moved));
    // Nothing else that is called so is.
    let other = PushView { aside: r#"{"msgId":"m"}"#, ..moved };
    assert!(says(&other).starts_with(r#"42/demo,7["message","m""#));
}

#[test]
fn plain_clients_get_text() {
    let string = PushView { data: r#""a \"quoted\"\nline""#, ..PUSH };
    expect![[r#"
        {"type":1,"data":"{\"n\": 1.50, \"t\": \"é\"}"}
    "#]]
    .assert_eq(&said(Codec::Gopusher, &PUSH));
    assert_eq!(said(Codec::Gopusher, &string), "{\"type\":1,\"data\":\"a \\\"quoted\\\"\\nline\"}\n");
    assert_eq!(said(Codec::GoRedis, &PUSH), PUSH.data);
    assert_eq!(said(Codec::GoRedis, &string), "a \"quoted\"\nline");
}

#[test]
fn message_push_writes_over_several_lines() {
    let data = r#"{"content":"hi","title":"T","extras":{"a":1},"content_type":null,"other":1}"#;
    expect![[r#"
        {
          "cmd" : "RESPONSE",
          "data" : {
            "title" : "T",
            "content" : "hi",
            "extras" : "{\"a\":1}"
          },
          "type" : "MESSAGE"
        }"#]]
    .assert_eq(&said(Codec::MessagePush, &PushView { data, ..PUSH }));
    expect![[r#"
        {
          "cmd" : "RESPONSE",
          "data" : {
            "content" : "{\"n\": 1.50, \"t\": \"é\"}"
          },
          "type" : "MESSAGE"
        }"#]]
    .assert_eq(&said(Codec::MessagePush, &PUSH));
}

#[test]
fn a_recall_is_told_only_to_those_who_can_be_told() {
    let recall = PushView { id: "m2", event: "recall", recalls: Some("m1"), data: "null", ..PUSH };
    for codec in [Codec::LightPush, Codec::PushKoa] {
        assert!(said(codec, &recall).starts_with(r#"42/demo,["recall",{"id":"m1""#));
    }
    for codec in [Codec::Gopusher, Codec::GoRedis, Codec::MessagePush] {
        assert_eq!(encode(codec, &recall).bytes, websocket::frame(Opcode::Ping, b""));
    }
}

#[test]
fn light_push_has_names_of_its_own() {
    let device = light_push::device_id("ann", "ios", "d1");
    assert_eq!(light_push::client_id("/demo", &device), "/demo#ann#ios-d1");
    assert_eq!(light_push::device_of("/demo", "/demo#ann#ios-d1"), Some("ann#ios-d1"));
    assert_eq!(light_push::device_of("/dem", "/demo#ann#ios-d1"), None);
    for (room, kept) in [("room_x", "x"), ("ROOM_x", "x"), ("room_room_x", "room_x"), ("x", "x"), ("é", "é")]
    {
        assert_eq!(light_push::room_name(room), kept);
    }
    for (room, fits) in [("a\\b.c-d$e#f/G_1", true), ("", false), ("a b", false), ("é", false)] {
        assert_eq!(light_push::is_room_name(room), fits, "{room}");
    }
}

#[test]
fn what_was_said_besides_reads_back() {
    let aside = Aside { room: Some("a\"b".into()), ack: Some(false), ..Aside::default() };
    assert_eq!(aside.to_json(), r#"{"room":"a\"b","ack":false}"#);
    assert_eq!(Aside::read(&aside.to_json()), aside);
    for none in ["", "{}", "[", r#"{"ack":"x"}"#, r#"{"other":1}"#] {
        assert_eq!(Aside::read(none), Aside::default(), "{none}");
    }
}

#[test]
fn gopusher_hears_three_events() {
    use gopusher::{Join, Said, Unsaid, decode};
    let join = |app: &str, card: &str, device: Option<&str>| {
        let device = device.map(str::to_owned);
        Ok(Said::Join(Join { app: app.to_owned(), card: card.to_owned(), device }))
    };
    for (text, expected) in [
        (r#"{"event":"join","data":{"app_id":"alibaba","card_id":"mayun"}}"#, join("alibaba", "mayun", None)),
        (
            r#"{"Event":"join","data":{"card_id":"a\/b","device_id":"d1","more":[{}]}}"#,
            join("", "a/b", Some("d1")),
        ),
        (r#"{"event":"join","data":{"app_id":null,"card_id":"a","device_id":""}}"#, join("", "a", None)),
        (r#"{"event":"join","data":{"app_id":1,"card_id":"a"}}"#, Err(Unsaid::Member("app_id"))),
        (r#"{"event":"join","data":{"app_id":"a","card_id":7}}"#, Err(Unsaid::Member("card_id"))),
        (r#"{"event":"join","data":{"card_id":"a","device_id":{}}}"#, Err(Unsaid::Member("device_id"))),
        (r#"{"event":"join","data":{"app_id":"a"}}"#, Err(Unsaid::Member("card_id"))),
        (r#"{"event":"join","data":"a"}"#, Err(Unsaid::Member("card_id"))),
        (r#"{"event":"join"}"#, Err(Unsaid::Member("card_id"))),
        (r#"{"event":"ping"}"#, Ok(Said::Ping)),
        (r#"{"event":"read","data":17}"#, Ok(Said::Read)),
        (r#"{"event":"push"}"#, Err(Unsaid::UnknownEvent)),
        (r#"{"event":1}"#, Err(Unsaid::UnknownEvent)),
        ("{}", Err(Unsaid::UnknownEvent)),
    ] {
        assert_eq!(decode(text), expected, "{text}");
    }
    for text in ["", "hello", "[]", "1", r#"{"event":"ping"}x"#] {
        assert!(matches!(decode(text), Err(Unsaid::NotJson(why)) if !why.is_empty()), "{text}");
    }
    assert_eq!(Unsaid::UnknownEvent.reason(), "E_INVALID_EVENT - unknown event");
}

#[test]
fn no_two_pairs_have_one_room() {
    let pairs =
        [("a", "b/c"), ("a/b", "c"), ("a%2Fb", "c"), ("a", "b%2Fc"), ("", "a/b/c"), ("a%", "2Fb"), ("%", "")];
    let mut rooms: Vec<_> = pairs.iter().map(|(app, card)| gopusher::room(app, card)).collect();
    assert_eq!(gopusher::room("alibaba", "mayun"), "gopusher/alibaba/mayun");
    rooms.sort();
    rooms.dedup();
    assert_eq!(rooms.len(), pairs.len(), "{rooms:?}");
}

#[test]
fn message_push_hears_two_commands() {
    use message_push::{Login, Said, Unsaid, decode};
    const KEY: &str = "aad55a63aad55a63aad55a63AAD55A63";
    let login = |platform: &str, device: Option<&str>| {
        let device = device.map(str::to_owned);
        Ok(Said::Login(Login { platform: platform.to_owned(), device }))
    };
    for (text, expected) in [
        (r#"{"cmd":"LOGIN","data":{"appKey":"<key>","platform":"H5"}}"#, login("H5", None)),
        (
            r#"{"CMD":"login","Data":{"APPKEY":"<key>","Platform":"iOS","deviceId":"d"}}"#,
            login("iOS", Some("d")),
        ),
        (r#"{"cmd":"LOGIN","data":{"appKey":"<key>","platform":""}}"#, Ok(Said::LoginIncomplete)),
        (r#"{"cmd":"LOGIN","data":{"appKey":"short","platform":"H5"}}"#, Ok(Said::LoginIncomplete)),
        (r#"{"cmd":"LOGIN","data":{"platform":"H5","appKey":null}}"#, Ok(Said::LoginIncomplete)),
        (r#"{"cmd":"LOGIN","data":{}}"#, Ok(Said::LoginIncomplete)),
        (r#"{"cmd":"LOGIN"}"#, Ok(Said::LoginIncomplete)),
        (r#"{"cmd":"LOGIN","data":[]}"#, Err(Unsaid::Format)),
        (r#"{"cmd":"LOGIN","data":{"appKey":{},"platform":"H5"}}"#, Err(Unsaid::Format)),
        (r#"{"cmd":"HeartBeat","data":7}"#, Ok(Said::Heartbeat)),
        (r#"{"cmd":"HEARTBEAT","CMD":"LOGIN","Cmd":"x"}"#, Ok(Said::Heartbeat)),
        (r#"{"cmd":"RESPONSE"}"#, Err(Unsaid::Format)),
        (r#"{"cmd":5}"#, Err(Unsaid::Format)),
        (r#"{"cmd":null}"#, Err(Unsaid::NoCommand)),
        (r#"{"cmd":""}"#, Err(Unsaid::NoCommand)),
        ("{}", Err(Unsaid::NoCommand)),
        ("[]", Err(Unsaid::Format)),
        ("", Err(Unsaid::Format)),
        (r#"{"cmd":"HEARTBEAT""#, Err(Unsaid::Format)),
    ] {
        assert_eq!(decode(&text.replace("<key>", KEY)), expected, "{text}");
    }
}

#[test]
fn message_push_reads_what_is_shown() {
    for (text, expected) in [
        ("Bearer pc:t1", Some(("pc", "t1"))),
        ("bearer  mobile:a:b ", Some(("mobile", "a:b"))),
        ("Bearer 0123abcd|mobile:t1", Some(("mobile", "t1"))),
        ("PC:t1", Some(("PC", "t1"))),
        ("Bearer t1", None),
        ("Bearer tv:t1", None),
        ("Bearer pc:", None),
        ("Bearer", None),
        ("pc:t1|x", None),
        ("é|", None),
        ("", None),
    ] {
        let shown = message_push::shown(text).map(|shown| (shown.platform, shown.token));
        assert_eq!(shown, expected, "{text}");
    }
}
