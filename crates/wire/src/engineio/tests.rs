//! Packets and payloads as the protocol documents print them, and as recorded from clients in the field.

use expect_test::{Expect, expect};

use super::*;

fn check_payload(version: Version, body: &[u8], expected: &Expect) {
    expected.assert_eq(&match decode_payload(version, body, false, 16) {
        Ok(packets) => packets.iter().map(|packet| format!("{packet:?}")).collect::<Vec<_>>().join("\n"),
        Err(error) => format!("{error:?}"),
    });
}

#[test]
fn text_packets() {
    for (text, packet) in [
        ("0{\"sid\":\"a\"}", Ok(Packet::Open("{\"sid\":\"a\"}"))),
        ("1", Ok(Packet::Close)),
        ("2", Ok(Packet::Ping(""))),
        ("2probe", Ok(Packet::Ping("probe"))),
        ("3probe", Ok(Packet::Pong("probe"))),
        ("4hello", Ok(Packet::Text("hello"))),
        ("4", Ok(Packet::Text(""))),
        ("5", Ok(Packet::Upgrade)),
        ("6", Ok(Packet::Noop)),
        ("", Err(Error::Empty)),
        ("7", Err(Error::UnknownType)),
        ("é", Err(Error::UnknownType)),
        ("1x", Err(Error::UnexpectedBody)),
        ("5x", Err(Error::UnexpectedBody)),
    ] {
        assert_eq!(decode_text(text), packet, "{text}");
    }
}

#[test]
fn base64_packets_of_both_versions() {
    let bytes = |bytes: &[u8]| Ok(Packet::Binary(Cow::Owned(bytes.to_vec())));
    assert_eq!(decode_text("bAQIDBA=="), bytes(&[1, 2, 3, 4]));
    assert_eq!(decode_text("b4AQIDBA=="), bytes(&[1, 2, 3, 4]));
    assert_eq!(decode_text("b"), bytes(&[]));
    assert_eq!(decode_text("b4"), bytes(&[]));
    // Four characters: version 4, though they begin with the digit.
    assert_eq!(decode_text("b4AQI"), bytes(&[0xe0, 0x04, 0x08]));
    assert_eq!(decode_packet(Version::V4, "bAQIDBA"), bytes(&[1, 2, 3, 4]));
    assert_eq!(decode_packet(Version::V3, "bAQIDBA=="), Err(Error::NotAMessage));
    assert_eq!(decode_text("b!!!!"), Err(Error::BadBase64));
    assert_eq!(decode_text("bA"), Err(Error::BadBase64));
    assert_eq!(encode_base64(Version::V4, &[1, 2, 3, 4]), "bAQIDBA==");
    assert_eq!(encode_base64(Version::V3, &[1, 2, 3, 4]), "b4AQIDBA==");
}

#[test]
fn binary_frames() {
    let bytes = |bytes| Ok(Packet::Binary(Cow::Borrowed(bytes)));
    assert_eq!(decode_binary(Version::V4, &[1, 2]), bytes(&[1, 2]));
    assert_eq!(decode_binary(Version::V4, &[]), bytes(&[]));
    assert_eq!(decode_binary(Version::V3, &[4, 1, 2]), bytes(&[1, 2]));
    assert_eq!(decode_binary(Version::V3, &[]), Err(Error::Empty));
    assert_eq!(decode_binary(Version::V3, &[2, 1]), Err(Error::NotAMessage));
    assert_eq!(decode_binary(Version::V3, &[52, 1]), Err(Error::UnknownType));
    assert_eq!(*encode_binary(Version::V3, &[9]), [4, 9]);
    assert_eq!(*encode_binary(Version::V4, &[9]), [9]);
}

#[test]
fn the_handshake() {
    // As recorded from an older server.
    assert_eq!(
        open_packet("g3VVTl_EzmpVNVA_AAAD", &[], 20_000, 10_000, None),
        r#"0{"sid":"g3VVTl_EzmpVNVA_AAAD","upgrades":[],"pingInterval":20000,"pingTimeout":10000}"#
    );
    // As the version 4 document prints it.
    assert_eq!(
        open_packet("lv_VI97HAXpY6yYWAAAC", &["websocket"], 25_000, 20_000, Some(1_000_000)),
        r#"0{"sid":"lv_VI97HAXpY6yYWAAAC","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#
    );
}

#[test]
fn payloads_of_version_4() {
    check_payload(
        Version::V4,
        b"4hello\x1e2\x1ebAQIDBA==",
        &expect![[r#"
            Text("hello")
            Ping("")
            Binary([1, 2, 3, 4])"#]],
    );
    check_payload(Version::V4, "4€🦀".as_bytes(), &expect![[r#"Text("€🦀")"#]]);
    check_payload(Version::V4, b"", &expect!["Empty"]);
    check_payload(Version::V4, b"4a\x1e", &expect!["Empty"]);
    check_payload(Version::V4, b"4a\x1e9", &expect!["UnknownType"]);
    check_payload(Version::V4, b"4\xff", &expect!["BadUtf8"]);
}

#[test]
fn payloads_of_version_3() {
    check_payload(
        Version::V3,
        "6:4hello2:4€1:2".as_bytes(),
        &expect![[r#"
            Text("hello")
            Text("€")
            Ping("")"#]],
    );
    // The crab is two UTF-16 units, three with its type.
    check_payload(
        Version::V3,
        "3:4🦀2:41".as_bytes(),
        &expect![[r#"
            Text("🦀")
            Text("1")"#]],
    );
    check_payload(Version::V3, "2:4🦀".as_bytes(), &expect!["BadLength"]);
    check_payload(Version::V3, b"10:b4AQIDBA==", &expect!["Binary([1, 2, 3, 4])"]);
    check_payload(Version::V3, b"", &expect!["Empty"]);
    for body in ["5:4abc", "4abc", ":4abc", "x:4", "-1:4", "+1:4", "1e0:4", "99999999999999999999:4", "2:4a3"]
    {
        check_payload(Version::V3, body.as_bytes(), &expect!["BadLength"]);
    }
    check_payload(Version::V3, b"0:", &expect!["Empty"]);
}

#[test]
fn binary_payloads_of_version_3() {
    let decode = |body: &'static [u8]| decode_payload(Version::V3, body, true, 16);
    assert_eq!(
        decode(b"\x00\x06\xff4hello\x01\x04\xff\x04abc"),
        Ok(vec![Packet::Text("hello"), Packet::Binary(Cow::Borrowed(b"abc"))])
    );
    // Two digits; and the length of text is counted in bytes here.
    assert_eq!(decode(b"\x00\x01\x00\xff4123456789"), Ok(vec![Packet::Text("123456789")]));
    assert_eq!(decode(b"\x00\x04\xff4\xe2\x82\xac"), Ok(vec![Packet::Text("€")]));
    for truncated in
        [&b"\x00"[..], b"\x00\x06", b"\x00\x06\xff4hell", b"\x00\xff", b"\x01\x09\x09\xff", b"\x01\x0a\xff"]
    {
        assert_eq!(decode_payload(Version::V3, truncated, true, 16), Err(Error::BadLength));
    }
    let endless = [&[1][..], &[9; 400], &[255]].concat();
    assert_eq!(decode_payload(Version::V3, &endless, true, 16), Err(Error::BadLength));
    assert_eq!(decode(b"\x02\x01\xff4"), Err(Error::UnknownType));
    assert_eq!(decode(b"\x01\x00\xff"), Err(Error::Empty));
}

#[test]
fn a_binary_post_is_an_error_in_version_4() {
    assert_eq!(decode_payload(Version::V4, b"4hello", true, 16), Err(Error::BinaryBody));
    assert_eq!(decode_payload(Version::V4, &[0xff; 100], true, 16), Err(Error::BinaryBody));
}

#[test]
fn packets_in_a_body_are_counted() {
    assert_eq!(decode_payload(Version::V4, b"2\x1e2\x1e2", false, 3).map(|all| all.len()), Ok(3));
    assert_eq!(decode_payload(Version::V4, b"2\x1e2\x1e2\x1e2", false, 3), Err(Error::TooManyPackets));
    assert_eq!(decode_payload(Version::V3, b"1:21:21:21:2", false, 3), Err(Error::TooManyPackets));
    assert_eq!(decode_payload(Version::V3, b"\0\x01\xff2\0\x01\xff2", true, 1), Err(Error::TooManyPackets));
}

#[test]
fn answers_to_polls() {
    let body = |format| {
        let mut body = PayloadEncoder::new(format);
        assert!(body.is_empty());
        body.text(r#"0{"sid":"é🦀"}"#);
        body.text("40");
        body.binary(&[1, 2, 3, 4]);
        assert!(!body.is_empty());
        let len = body.len();
        let body = body.finish();
        assert_eq!(body.len(), len);
        String::from_utf8_lossy(&body).into_owned()
    };
    expect![[r#"0{"sid":"é🦀"}␞40␞bAQIDBA=="#]].assert_eq(&body(PayloadFormat::V4).replace('\x1e', "␞"));
    expect![[r#"14:0{"sid":"é🦀"}2:4010:b4AQIDBA=="#]].assert_eq(&body(PayloadFormat::V3Text));
    expect![[r#"29:0{"sid":"\u00e9\ud83e\udd80"}2:4010:b4AQIDBA=="#]].assert_eq(&body(PayloadFormat::V3Json));
    expect![["\0\u{1}\u{7}�0{\"sid\":\"é🦀\"}\0\u{2}�40\u{1}\u{5}�\u{4}\u{1}\u{2}\u{3}\u{4}"]]
        .assert_eq(&body(PayloadFormat::V3Binary));
}

#[test]
fn the_first_poll_as_recorded() {
    let open = open_packet("g3VVTl_EzmpVNVA_AAAD", &["websocket"], 20_000, 10_000, None);
    let mut body = PayloadEncoder::new(PayloadFormat::choose(Version::V3, true, false, true));
    body.text(&open);
    body.text("40");
    assert_eq!(String::from_utf8(body.finish()).unwrap(), format!("97:{open}2:40"));
}

#[test]
fn which_format_answers_a_poll() {
    use PayloadFormat as Format;
    for (version, takes_binary, any_binary, socketio, format, content_type) in [
        (Version::V4, true, true, true, Format::V4, "text/plain; charset=UTF-8"),
        (Version::V3, true, false, false, Format::V3Text, "text/plain; charset=UTF-8"),
        (Version::V3, false, true, false, Format::V3Text, "text/plain; charset=UTF-8"),
        (Version::V3, false, true, true, Format::V3Json, "text/plain; charset=UTF-8"),
        (Version::V3, true, true, true, Format::V3Binary, "application/octet-stream"),
    ] {
        assert_eq!(Format::choose(version, takes_binary, any_binary, socketio), format);
        assert_eq!(format.content_type(), content_type);
    }
}

#[test]
fn text_that_a_client_of_socketio_1_encodes_twice() {
    // As engine.io-parser 1.3.2 writes it: the characters are the bytes of UTF-8, and so they are counted.
    let twice = |text: &str| text.bytes().map(char::from).collect::<String>();
    for (body, once) in [
        ("2:40", "2:40"),
        (&format!("14:42[\"{}\"]", twice("用户é")), "9:42[\"用户é\"]"),
        (&format!("10:42[\"{}\"]2:41", twice("🦀")), "8:42[\"🦀\"]2:41"),
        // Encoded once, by all others.
        ("9:42[\"用户é\"]", "9:42[\"用户é\"]"),
        ("7:42[\"é\"]", "7:42[\"é\"]"),
        ("9:42[\"été\"]", "9:42[\"été\"]"),
        // No body at all.
        ("99:42[\"é\"]", "99:42[\"é\"]"),
    ] {
        assert_eq!(String::from_utf8(written_once(body.as_bytes(), 2).into_owned()).unwrap(), once);
    }
    assert_eq!(&*written_once(b"4:42\xff\xff", 2), b"4:42\xff\xff");
    let many = format!("{0}{0}{0}", format_args!("5:4{}", twice("🦀")));
    assert_eq!(&*written_once(many.as_bytes(), 3), "3:4🦀3:4🦀3:4🦀".as_bytes());
    assert_eq!(&*written_once(many.as_bytes(), 2), many.as_bytes(), "too many packets to look at");
}
