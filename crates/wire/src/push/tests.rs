//! One message in every format, byte for byte, and each read back by the decoder of its protocol.

use expect_test::expect;

use super::*;
use crate::websocket::{Decoder, Message};

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

fn text(encoded: &Encoded) -> &str {
    std::str::from_utf8(encoded.payload()).unwrap()
}

#[test]
fn one_message_in_every_format() {
    expect![[r#"{"push":{"id":"m1","event":"push","data":{"n": 1.50, "t": "é"},"room":"lobby","sent_at":"2026-11-20T14:29:07.945Z","topic":"room:lobby","epoch":3,"offset":17}}"#]]
        .assert_eq(text(&encode(Codec::Json, &PUSH)));
    expect![[r#"42/demo,7["push",{"id":"m1","event":"push","data":{"n": 1.50, "t": "é"},"room":"lobby","sent_at":"2026-11-20T14:29:07.945Z","topic":"room:lobby","epoch":3,"offset":17}]"#]]
        .assert_eq(text(&encode(Codec::SocketIo, &PUSH)));
    expect![[r#"
        id: 3-1234
        event: push
        data: {"id":"m1","event":"push","data":{"n": 1.50, "t": "é"},"room":"lobby","sent_at":"2026-11-20T14:29:07.945Z","topic":"room:lobby","epoch":3,"offset":17}

    "#]]
    .assert_eq(text(&encode(Codec::Sse, &PUSH)));
}

#[test]
fn a_recall_in_every_format() {
    let recall = PushView { id: "m2", event: "recall", recalls: Some("m1"), data: "null", ..PUSH };
    expect![[r#"{"recall":{"id":"m1","room":"lobby","sent_at":"2026-11-20T14:29:07.945Z","topic":"room:lobby","epoch":3,"offset":17}}"#]]
        .assert_eq(text(&encode(Codec::Json, &recall)));
    expect![[r#"42/demo,7["recall",{"id":"m1","room":"lobby","sent_at":"2026-11-20T14:29:07.945Z","topic":"room:lobby","epoch":3,"offset":17}]"#]]
        .assert_eq(text(&encode(Codec::SocketIo, &recall)));
    expect![[r#"
        id: 3-1234
        event: recall
        data: {"id":"m1","room":"lobby","sent_at":"2026-11-20T14:29:07.945Z","topic":"room:lobby","epoch":3,"offset":17}

    "#]]
    .assert_eq(text(&encode(Codec::Sse, &recall)));
}

#[test]
fn absent_parts_are_left_out() {
    let push = PushView { room: None, user: Some("ann"), namespace: "", event: "a\"b", ..PUSH };
    expect![[r#"427["a\"b",{"id":"m1","event":"a\"b","data":{"n": 1.50, "t": "é"},"user":"ann","sent_at":"2026-11-20T14:29:07.945Z","topic":"room:lobby","epoch":3,"offset":17}]"#]]
        .assert_eq(text(&encode(Codec::SocketIo, &push)));
}

#[test]
fn who_published_is_said() {
    let push = PushView { from: Some((Some("a\"nn"), "d1")), ..PUSH };
    assert!(
        object(&push).contains(r#","from":{"user":"a\"nn","device":"d1"},"sent_at""#),
        "{}",
        object(&push)
    );
    let push = PushView { from: Some((None, "d1")), ..PUSH };
    assert!(object(&push).contains(r#","from":{"device":"d1"},"sent_at""#), "{}", object(&push));
}

#[test]
fn frames_of_every_size_are_what_a_client_reads() {
    for size in [0, 60, 100, 125, 126, 1000, 65_300, 65_400, 65_536, 70_000] {
        for codec in [Codec::Json, Codec::SocketIo] {
            let data = format!("\"{}\"", "x".repeat(size));
            let mut encoded = encode(codec, &PushView { data: &data, ..PUSH });
            let payload = encoded.payload().to_vec();
            let len = encoded.bytes.len();
            let mut decoder = Decoder::for_client();
            let (used, message) = decoder.decode(&mut encoded.bytes, usize::MAX).unwrap();
            assert_eq!(used, len);
            assert_eq!(message, Some(Message::Text(std::str::from_utf8(&payload).unwrap())));
        }
    }
}

#[test]
fn small_frames_have_the_small_header() {
    for (payload, header) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
        let mut out = vec![0; HEADER_GUESS];
        out.resize(HEADER_GUESS + payload, b'x');
        let encoded = framed(out);
        assert_eq!((encoded.bytes.len(), usize::from(encoded.payload_at)), (header + payload, header));
        let text = "x".repeat(payload);
        assert_eq!(control(Codec::Json, &text), encoded);
    }
}

#[test]
fn line_breaks_in_data_do_not_end_an_event() {
    let push = PushView { data: "{\n \"n\":\r\n1\r}", ..PUSH };
    expect![[r#"
        id: 3-1234
        event: push
        data: {"id":"m1","event":"push","data":{
        data:  "n":
        data: 1
        data: },"room":"lobby","sent_at":"2026-11-20T14:29:07.945Z","topic":"room:lobby","epoch":3,"offset":17}

    "#]]
    .assert_eq(text(&encode(Codec::Sse, &push)));
}

#[test]
fn the_object_alone_is_valid_json() {
    let value: serde_json::Value = serde_json::from_str(&object(&PUSH)).unwrap();
    assert_eq!((&value["offset"], &value["data"]["t"]), (&17.into(), &"é".into()));
}

#[test]
fn control_text_in_the_framing_of_a_codec() {
    assert_eq!(control(Codec::SocketIo, "2").bytes, [0x81, 1, b'2']);
    assert_eq!(control(Codec::Sse, sse::HEARTBEAT), Encoded { bytes: b":\n\n".to_vec(), payload_at: 0 });
}

#[test]
fn codecs_have_a_place_each() {
    for (place, codec) in Codec::ALL.into_iter().enumerate() {
        assert_eq!(codec.index(), place);
    }
}
