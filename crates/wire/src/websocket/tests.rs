//! Frames as hex beside what they mean. Masks are zero where nothing depends on them, so that payloads stay readable.

use expect_test::{Expect, expect};

use super::client::{masked_fragment, masked_frame};
use super::*;

/// Hex, with `'text'` for bytes that are text.
fn bytes(script: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, part) in script.split('\'').enumerate() {
        if index % 2 == 1 {
            out.extend_from_slice(part.as_bytes());
            continue;
        }
        let digits: Vec<u32> = part.chars().filter_map(|c| c.to_digit(16)).collect();
        out.extend(digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8));
    }
    out
}

fn show(message: &Message<'_>) -> String {
    match message {
        Message::Text(text) if text.len() > 40 => format!("text of {} bytes", text.len()),
        Message::Binary(bytes) if bytes.len() > 40 => format!("binary of {} bytes", bytes.len()),
        message => format!("{message:?}"),
    }
}

/// Everything that one decoder says when its input arrives in pieces of `step` bytes.
fn decode_all(mut decoder: Decoder, input: &[u8], step: usize, limit: usize) -> Vec<String> {
    let mut said = Vec::new();
    for piece in input.chunks(step.max(1)) {
        let mut piece = piece.to_vec();
        let mut at = 0;
        while at < piece.len() {
            match decoder.decode(&mut piece[at..], limit) {
                Ok((used, message)) => {
                    assert!(used > 0 || message.is_some(), "progress");
                    at += used;
                    said.extend(message.as_ref().map(show));
                }
                Err(error) => {
                    said.push(format!("{error:?} → {}", error.close_code()));
                    return said;
                }
            }
        }
    }
    if !decoder.is_idle() {
        said.push("…".to_owned());
    }
    said
}

/// The same whole, byte by byte, and in threes.
fn check(script: &str, expected: &Expect) {
    let input = bytes(script);
    let whole = decode_all(Decoder::new(), &input, input.len(), 70_000);
    expected.assert_eq(&whole.join("\n"));
    for step in [1, 3] {
        assert_eq!(decode_all(Decoder::new(), &input, step, 70_000), whole, "in pieces of {step}");
    }
}

#[test]
fn examples_of_rfc_6455_5_7_from_a_client() {
    check("81 85 37fa213d 7f9f4d5158", &expect![[r#"Text("Hello")"#]]);
    check("01 83 00000000 'Hel' 80 82 00000000 'lo'", &expect![[r#"Text("Hello")"#]]);
    check("8a 85 37fa213d 7f9f4d5158", &expect!["Pong([72, 101, 108, 108, 111])"]);
}

#[test]
fn examples_of_rfc_6455_5_7_from_a_server() {
    assert_eq!(frame(Opcode::Text, b"Hello"), bytes("81 05 'Hello'"));
    assert_eq!(frame(Opcode::Ping, b"Hello"), bytes("89 05 'Hello'"));
    assert_eq!(frame(Opcode::Binary, &[7; 256])[..4], bytes("82 7e 0100"));
    assert_eq!(frame(Opcode::Binary, &[7; 65_536])[..10], bytes("82 7f 0000000000010000"));
    let said = decode_all(Decoder::for_client(), &bytes("81 05 'Hello' 01 03 'Hel' 80 02 'lo'"), 4, 100);
    assert_eq!(said, [r#"Text("Hello")"#, r#"Text("Hello")"#]);
}

#[test]
fn lengths_at_their_borders() {
    for len in [0, 1, 125, 126, 127, 65_535, 65_536] {
        let payload = vec![b'x'; len];
        let said =
            decode_all(Decoder::new(), &masked_frame(Opcode::Binary, *b"mask", &payload), usize::MAX, len);
        assert_eq!(said, [show(&Message::Binary(&payload))]);
        let (head, used) = header_bytes(Opcode::Binary, len);
        assert_eq!(frame(Opcode::Binary, &payload), [&head[..used], &payload[..]].concat());
    }
}

#[test]
fn several_messages_in_one_read() {
    check(
        "81 81 00000000 'a' 82 82 00000000 0102 89 80 00000000 81 80 00000000 88 80 00000000",
        &expect![[r#"
            Text("a")
            Binary([1, 2])
            Ping([])
            Text("")
            Close { code: None, reason: "" }"#]],
    );
}

#[test]
fn control_frames_between_fragments() {
    check(
        "01 82 00000000 'He' 89 81 00000000 '1' 00 81 00000000 'l' 8a 80 00000000 80 82 00000000 'lo' 81 80 00000000",
        &expect![[r#"
            Ping([49])
            Pong([])
            Text("Hello")
            Text("")"#]],
    );
}

#[test]
fn framing_errors() {
    check("c1 80 00000000", &expect!["ReservedBits → 1002"]);
    check("91 80 00000000", &expect!["ReservedBits → 1002"]);
    check("83 80 00000000", &expect!["ReservedOpcode → 1002"]);
    check("8b 80 00000000", &expect!["ReservedOpcode → 1002"]);
    check("09 80 00000000", &expect!["FragmentedControl → 1002"]);
    check("89 fe 007e 00000000", &expect!["LongControl → 1002"]);
    check("80 80 00000000", &expect!["UnexpectedContinuation → 1002"]);
    check("01 80 00000000 81 80 00000000", &expect!["InterruptedMessage → 1002"]);
    check("01 80 00000000 82 80 00000000", &expect!["InterruptedMessage → 1002"]);
    check("81 00", &expect!["Unmasked → 1002"]);
    check("82 fe 007d 00000000", &expect!["BadLength → 1002"]);
    check("82 ff 000000000000ffff 00000000", &expect!["BadLength → 1002"]);
    check("82 ff 8000000000010000 00000000", &expect!["BadLength → 1002"]);
    // After a finished message a continuation has nothing to continue.
    check(
        "01 81 00000000 'a' 80 80 00000000 80 80 00000000",
        &expect![[r#"
            Text("a")
            UnexpectedContinuation → 1002"#]],
    );
    let masked_by_server = decode_all(Decoder::for_client(), &bytes("81 80 00000000"), 9, 100);
    assert_eq!(masked_by_server, ["Masked → 1002"]);
}

#[test]
fn close_frames() {
    check("88 82 00000000 03e8", &expect![[r#"Close { code: Some(1000), reason: "" }"#]]);
    check("88 85 00000000 0bb9 'bye'", &expect![[r#"Close { code: Some(3001), reason: "bye" }"#]]);
    check("88 81 00000000 03", &expect!["BadCloseCode → 1002"]);
    check("88 83 00000000 03e8 ff", &expect!["BadUtf8 → 1007"]);
    let good =
        [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999];
    let bad = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535];
    assert!(good.into_iter().all(is_valid_close_code));
    for code in bad {
        let said =
            decode_all(Decoder::new(), &masked_frame(Opcode::Close, [0; 4], &u16::to_be_bytes(code)), 9, 9);
        assert_eq!(said, ["BadCloseCode → 1002"], "{code}");
    }
}

#[test]
fn what_close_frame_writes() {
    assert_eq!(close_frame(1000, ""), bytes("88 02 03e8"));
    assert_eq!(close_frame(3001, "shutdown"), bytes("88 0a 0bb9 'shutdown'"));
    // 124 bytes of two-byte characters: cut to 61 whole ones.
    let long = close_frame(1002, &"é".repeat(62));
    assert_eq!((long[1], long.len()), (124, 126));
    assert_eq!(decode_all(Decoder::for_client(), &long, 200, 0).len(), 1);
}

#[test]
fn text_is_refused_at_the_first_byte_that_cannot_be_utf_8() {
    // "κ", an accented omicron of three bytes, "σμε": cut inside the second.
    check("01 83 00000000 ceba e1 80 88 00000000 bdb9 cf83 cebc ceb5", &expect![[r#"Text("κόσμε")"#]]);
    check("81 82 00000000 c328", &expect!["BadUtf8 → 1007"]);
    // A surrogate, an overlong slash, beyond U+10FFFF.
    check("81 83 00000000 eda080", &expect!["BadUtf8 → 1007"]);
    check("81 82 00000000 c0af", &expect!["BadUtf8 → 1007"]);
    check("81 84 00000000 f4908080", &expect!["BadUtf8 → 1007"]);
    // Ends inside a character: within one frame, and with the last fragment.
    check("81 81 00000000 c3", &expect!["BadUtf8 → 1007"]);
    check("01 81 00000000 c3 80 80 00000000", &expect!["BadUtf8 → 1007"]);
    // The rest of the frame is not waited for, nor the rest of the message.
    check("81 fe 4000 00000000 'abc' f490", &expect!["BadUtf8 → 1007"]);
    check("01 82 00000000 f490", &expect!["BadUtf8 → 1007"]);
    // Bytes are not text.
    check("02 81 00000000 ff 80 81 00000000 fe", &expect!["Binary([255, 254])"]);
}

#[test]
fn too_large_is_said_when_it_is_announced() {
    let limited = |script, limit| decode_all(Decoder::new(), &bytes(script), 1, limit);
    assert_eq!(limited("82 84 00000000", 3), ["TooLarge → 1009"]);
    assert_eq!(limited("82 83 00000000 010203", 3), ["Binary([1, 2, 3])"]);
    assert_eq!(limited("82 ff 7fffffffffffffff 00000000", 1 << 20), ["TooLarge → 1009"]);
    assert_eq!(limited("02 82 00000000 0102 00 82 00000000", 3), ["TooLarge → 1009"]);
    // Control frames are not messages, and have a limit of their own.
    assert_eq!(
        limited("02 82 00000000 0102 89 84 00000000 01020304 80 80 00000000", 2),
        ["Ping([1, 2, 3, 4])", "Binary([1, 2])"]
    );
}

#[test]
fn an_announced_length_is_not_allocated() {
    let mut decoder = Decoder::new();
    let mut head = bytes("82 ff 000000003fffffff 00000000 'abc'");
    let (used, message) = decoder.decode(&mut head, 1 << 30).unwrap();
    assert_eq!((used, message), (17, None));
    assert!(decoder.held() < 600, "{}", decoder.held());
}

#[test]
fn a_million_empty_fragments_hold_nothing() {
    let mut decoder = Decoder::new();
    let mut flood = masked_fragment(Opcode::Text, false, [0; 4], b"");
    for _ in 0..1_000_000 {
        flood.extend_from_slice(&masked_fragment(Opcode::Continuation, false, [0; 4], b""));
    }
    assert_eq!(decoder.decode(&mut flood, 100).unwrap(), (6_000_006, None));
    assert!(decoder.held() < 600, "{}", decoder.held());
}

#[test]
fn tiny_fragments_cost_their_bytes_and_no_more() {
    const COUNT: usize = 300_000;
    let mut decoder = Decoder::new();
    let mut flood = masked_fragment(Opcode::Text, false, [0; 4], b"");
    for _ in 0..COUNT {
        flood.extend_from_slice(&masked_fragment(Opcode::Continuation, false, *b"mask", "é".as_bytes()));
    }
    // One byte per read, as slow as a peer can be.
    for byte in flood.chunks_mut(1) {
        assert_eq!(decoder.decode(byte, 1 << 20).unwrap(), (1, None));
    }
    assert!(decoder.held() < 4 * COUNT + 600, "{}", decoder.held());
    let mut end = masked_frame(Opcode::Continuation, [0; 4], b"");
    let (_, message) = decoder.decode(&mut end, 1 << 20).unwrap();
    assert_eq!(message.map(|message| show(&message)), Some(format!("text of {} bytes", 2 * COUNT)));
}

#[test]
fn an_idle_decoder_is_two_words_and_holds_nothing() {
    assert_eq!(size_of::<Decoder>(), 16);
    let mut decoder = Decoder::new();
    let mut input = masked_frame(Opcode::Text, *b"mask", &[b'x'; 1000]);
    let (first, second) = input.split_at_mut(500);
    assert_eq!(decoder.decode(first, 1000).unwrap(), (500, None));
    assert!(!decoder.is_idle());
    assert!(decoder.decode(second, 1000).unwrap().1.is_some());
    decoder.release();
    assert_eq!(decoder.held(), 0);
}

#[test]
fn handshake_keys() {
    // RFC 6455 1.3.
    assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert!(is_valid_key("dGhlIHNhbXBsZSBub25jZQ=="));
    for key in [
        "",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZR==",
        "dGhlIHNhbXBsZSBub25jZSEh",
        "dGhlIHNhbXBsZSBub25jZSE=",
        "dGhlIHNhbXBsZSBub25j\r\n==",
    ] {
        assert!(!is_valid_key(key), "{key}");
    }
}
