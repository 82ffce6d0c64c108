//! What holds for every input: pieces say what the whole says, what was encoded is decoded, nothing panics.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::value::RawValue;
use tidings_wire::compat::{Aside, gopusher, light_push, message_push};
use tidings_wire::engineio::{self, PayloadEncoder, PayloadFormat, Version};
use tidings_wire::push::{self, Codec, PushView};
use tidings_wire::websocket::client::masked_fragment;
use tidings_wire::websocket::{self, Decoder, Message, Opcode};
use tidings_wire::{forwarded, json, nesting, proxy, socketio, sse};

/// A message that owns its parts.
#[derive(Clone, Debug, PartialEq)]
enum Owned {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

impl From<Message<'_>> for Owned {
    fn from(message: Message<'_>) -> Self {
        match message {
            Message::Text(text) => Self::Text(text.to_owned()),
            Message::Binary(bytes) => Self::Binary(bytes.to_vec()),
            Message::Ping(bytes) => Self::Ping(bytes.to_vec()),
            Message::Pong(bytes) => Self::Pong(bytes.to_vec()),
            Message::Close { code, reason } => Self::Close(code, reason.to_owned()),
        }
    }
}

/// Feeds `input` in pieces of the given sizes, over and over; all that is said, up to the first error.
fn feed(input: &[u8], sizes: &[usize], limit: usize) -> (Vec<Owned>, Option<websocket::Error>) {
    let mut decoder = Decoder::new();
    let mut said = Vec::new();
    let mut rest = input;
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at(rest.len().min(1 + size));
        rest = after;
        let mut piece = piece.to_vec();
        let mut at = 0;
        while at < piece.len() {
            match decoder.decode(&mut piece[at..], limit) {
                Ok((used, message)) => {
                    assert!(used > 0, "progress");
                    at += used;
                    said.extend(message.map(Owned::from));
                }
                Err(error) => return (said, Some(error)),
            }
        }
        assert!(decoder.held() <= 2 * limit + 4096, "{} bytes held", decoder.held());
    }
    (said, None)
}

fn control() -> impl Strategy<Value = Owned> {
    prop_oneof![
        vec(any::<u8>(), 0..=125).prop_map(Owned::Ping),
        vec(any::<u8>(), 0..=125).prop_map(Owned::Pong),
    ]
}

/// A message, where its payload is cut into fragments, and the control frame after each of those.
fn scripted() -> impl Strategy<Value = (Owned, Vec<(usize, Option<Owned>)>)> {
    let message = prop_oneof![
        ".{0,200}".prop_map(Owned::Text),
        vec(any::<u8>(), 0..300).prop_map(Owned::Binary),
        control(),
        (3000_u16..5000, ".{0,20}").prop_map(|(code, reason)| Owned::Close(Some(code), reason)),
    ];
    (message, vec((0_usize..60, proptest::option::of(control())), 0..6))
}

fn write(
    out: &mut Vec<u8>,
    expected: &mut Vec<Owned>,
    mask: [u8; 4],
    script: &(Owned, Vec<(usize, Option<Owned>)>),
) {
    let (message, cuts) = script;
    let (opcode, payload) = match message {
        Owned::Text(text) => (Opcode::Text, text.as_bytes().to_vec()),
        Owned::Binary(bytes) => (Opcode::Binary, bytes.clone()),
        Owned::Ping(bytes) => (Opcode::Ping, bytes.clone()),
        Owned::Pong(bytes) => (Opcode::Pong, bytes.clone()),
        Owned::Close(code, reason) => {
            (Opcode::Close, [&code.unwrap_or(1000).to_be_bytes()[..], reason.as_bytes()].concat())
        }
    };
    let mut rest = &payload[..];
    let mut current = opcode;
    if !opcode.is_control() {
        for (size, between) in cuts {
            let (fragment, after) = rest.split_at(rest.len().min(*size));
            out.extend(masked_fragment(current, false, mask, fragment));
            rest = after;
            current = Opcode::Continuation;
            if let Some(between) = between {
                write(out, expected, mask, &(between.clone(), Vec::new()));
            }
        }
    }
    out.extend(masked_fragment(current, true, mask, rest));
    expected.push(message.clone());
}

proptest! {
    #[test]
    fn websocket_messages_survive_any_fragmentation_and_any_split(
        scripts in vec(scripted(), 0..6), mask: [u8; 4], sizes in vec(0_usize..40, 1..8),
    ) {
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        for script in &scripts {
            write(&mut bytes, &mut expected, mask, script);
        }
        let (said, error) = feed(&bytes, &sizes, 1000);
        prop_assert_eq!(error, None);
        prop_assert_eq!(&said, &expected);
        prop_assert_eq!(feed(&bytes, &[usize::MAX - 1], 1000), (said, None));
    }

    #[test]
    fn websocket_damage_is_found_alike_however_the_bytes_arrive(
        scripts in vec(scripted(), 1..5),
        at: prop::sample::Index,
        bit in 0_u8..8,
        sizes in vec(0_usize..9, 1..8),
    ) {
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        for script in &scripts {
            write(&mut bytes, &mut expected, [0; 4], script);
        }
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert_eq!(feed(&bytes, &sizes, 1000), feed(&bytes, &[usize::MAX - 1], 1000));
    }

    #[test]
    fn websocket_bytes_never_panic(
        bytes in vec(any::<u8>(), 0..400), sizes in vec(0_usize..20, 1..5), limit in 0_usize..300,
    ) {
        let _ = feed(&bytes, &sizes, limit);
    }

    #[test]
    fn engineio_payloads_round_trip(texts in vec(proptest::option::of("\\PC{0,20}"), 1..8), bytes: Vec<u8>) {
        for (version, format) in [
            (Version::V4, PayloadFormat::V4),
            (Version::V3, PayloadFormat::V3Text),
            (Version::V3, PayloadFormat::V3Binary),
        ] {
            let mut encoder = PayloadEncoder::new(format);
            for text in &texts {
                match text {
                    Some(text) => encoder.text(&format!("4{text}")),
                    None => encoder.binary(&bytes),
                }
            }
            let body = encoder.finish();
            let binary = format == PayloadFormat::V3Binary;
            let expected: Vec<engineio::Packet<'_>> = texts.iter().map(|text| match text {
                Some(text) => engineio::Packet::Text(text),
                None => engineio::Packet::Binary(bytes.as_slice().into()),
            }).collect();
            prop_assert_eq!(engineio::decode_payload(version, &body, binary, 8), Ok(expected));
        }
    }

    #[test]
    fn engineio_lengths_are_utf_16(text in "[a-zé€🦀\u{10ffff}]{0,40}") {
        let mut encoder = PayloadEncoder::new(PayloadFormat::V3Text);
        encoder.text(&text);
        let units = text.encode_utf16().count();
        prop_assert_eq!(encoder.finish(), format!("{units}:{text}").into_bytes());
    }

    #[test]
    fn engineio_text_encoded_twice_is_read_as_if_once(texts in vec("4[a-zé€🦀\u{10ffff}]{0,20}", 1..5)) {
        let twice: String = texts.iter().map(|text| {
            let text: String = text.bytes().map(char::from).collect();
            format!("{}:{text}", text.chars().count())
        }).collect();
        let mut encoder = PayloadEncoder::new(PayloadFormat::V3Text);
        texts.iter().for_each(|text| encoder.text(text));
        prop_assert_eq!(&*engineio::written_once(twice.as_bytes(), 8), encoder.finish());
    }

    #[test]
    fn engineio_binary_round_trips(bytes: Vec<u8>) {
        for version in [Version::V3, Version::V4] {
            let expected = Ok(engineio::Packet::Binary(bytes.as_slice().into()));
            let frame = engineio::encode_binary(version, &bytes);
            prop_assert_eq!(engineio::decode_binary(version, &frame), expected.clone());
            let text = engineio::encode_base64(version, &bytes);
            prop_assert_eq!(engineio::decode_text(&text), expected);
        }
    }

    #[test]
    fn engineio_input_never_panics(bytes in vec(any::<u8>(), 0..200), text in "[0-9:b=\\PC\x1e]{0,60}") {
        for version in [Version::V3, Version::V4] {
            for binary in [false, true] {
                let _ = engineio::decode_payload(version, &bytes, binary, 16);
                let _ = engineio::decode_payload(version, text.as_bytes(), binary, 16);
                let _ = engineio::decode_payload(version, &engineio::written_once(&bytes, 16), binary, 16);
            }
            let _ = engineio::decode_binary(version, &bytes);
        }
        let _ = engineio::decode_text(&text);
    }

    #[test]
    fn socketio_events_round_trip(
        namespace in "/[a-z0-9_-]{0,20}",
        id: Option<u32>,
        name in "\\PC{1,20}|[a\"\\\\\u{0}-\u{1f}]{1,8}",
        args in vec(json_text(), 0..5),
    ) {
        prop_assume!(!name.contains("onnect") && !name.ends_with("Listener"));
        let raw: Vec<&str> = args.iter().map(String::as_str).collect();
        let text = socketio::event(&namespace, id, &name, &raw);
        let packet = socketio::decode(&text).unwrap();
        prop_assert_eq!(packet.kind, socketio::Kind::Event);
        prop_assert_eq!((packet.namespace, packet.id), (namespace.as_str(), id.map(u64::from)));
        let read = socketio::Args::event(packet.data.unwrap()).unwrap();
        prop_assert_eq!(read.name.as_ref(), name.as_str());
        prop_assert_eq!(read.args.iter().map(|arg| arg.get()).collect::<Vec<_>>(), raw.clone());
        let text = socketio::ack(&namespace, 7, &raw);
        let packet = socketio::decode(&text).unwrap();
        prop_assert_eq!((packet.kind, packet.id), (socketio::Kind::Ack, Some(7)));
        prop_assert_eq!(socketio::Args::ack(packet.data.unwrap()).unwrap().len(), raw.len());
    }

    #[test]
    fn socketio_input_never_panics(
        text in "[0-7]?[0-9]{0,3}-?(/[a-z?=]{0,5},?)?[0-9]{0,20}[\\[\\]{}\",:a-z0-9\\\\ ]{0,40}|\\PC{0,60}",
    ) {
        if let Ok(packet) = socketio::decode(&text) {
            let mut assembler = socketio::Assembler::new();
            let _ = assembler.begin(&packet, socketio::Limits { attachments: 16, bytes: 100 });
            if let Some(data) = packet.data {
                let _ = socketio::Args::event(data);
                let _ = socketio::Args::ack(data);
                prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(data).is_ok());
            }
        }
    }

    #[test]
    fn json_frames_never_panic(text in "[\\[\\]{}\",:a-z0-9\\\\ ]{0,60}|\\PC{0,60}") {
        if let Ok(commands) = json::decode(&text, 8) {
            for command in commands {
                let _ = command.map_err(|refusal| refusal.error.to_string());
            }
        }
    }

    #[test]
    fn json_ids_are_echoed(id in json_text(), name in "[a-z]{1,8}") {
        let text = format!(r#"{{"{name}":1,"id":{id},"cmd":"ping"}}"#);
        prop_assume!(name != "id" && name != "cmd");
        let refusal = json::decode(&text, 1).unwrap().next().unwrap().unwrap_err();
        if let Some(echoed) = refusal.id {
            prop_assert_eq!(echoed.as_json(), id);
        }
    }

    #[test]
    fn nesting_is_at_most_the_brackets(text in "[\\[\\]{}\"\\\\a]{0,200}", max in 0_usize..20) {
        let open = text.matches(['[', '{']).count();
        prop_assert!(open > max || nesting::is_within(&text, max));
    }

    #[test]
    fn sse_event_ids_round_trip(epoch: u32, seq: u64, text in "[0-9+-]{0,30}|\\PC{0,30}") {
        prop_assert_eq!(sse::parse_event_id(&sse::event_id(epoch, seq)), Some((epoch, seq)));
        let _ = sse::parse_event_id(&text);
    }

    #[test]
    fn sse_data_is_read_back_line_by_line(data in "[a\r\n:]{0,30}", name in "[a\r\n:]{0,10}") {
        let text = sse::event(Some("1-2"), Some(&name), &data);
        let lines: Vec<&str> = text.strip_suffix("\n\n").unwrap().split('\n').collect();
        let read: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("data: ")).collect();
        prop_assert_eq!(read.join("\n"), data.replace("\r\n", "\n").replace('\r', "\n"));
        prop_assert_eq!(lines.len(), 2 + read.len());
    }

    #[test]
    fn a_push_is_read_back_from_every_format(
        id in "\\PC{1,20}",
        event in "\\PC{1,20}",
        data in json_text(),
        room: Option<String>,
        sent_at_ms in 0_u64..253_402_300_799_999,
        (epoch, offset, seq) in any::<(u32, u64, u64)>(),
        ack_id in 0_u32..0x8000_0000,
    ) {
        prop_assume!(!event.starts_with("connect") && !event.starts_with("disconnect"));
        let view = PushView {
            id: &id, event: &event, data: &data, room: room.as_deref(), user: None, sent_at_ms,
            topic: "all", epoch, offset, seq, ack_id, namespace: "demo", from: None, recalls: None, aside: "",
        };
        let object = push::object(&view);
        let value: serde_json::Value = serde_json::from_str(&object).unwrap();
        prop_assert_eq!(value["id"].as_str(), Some(id.as_str()));
        prop_assert_eq!(value["offset"].as_u64(), Some(offset));
        prop_assert_eq!(value["room"].as_str(), room.as_deref());

        let json = push::encode(Codec::Json, &view);
        let text = format!("{{\"push\":{object}}}");
        prop_assert_eq!(json.payload(), text.as_bytes());
        prop_assert_eq!(&push::control(Codec::Json, &text), &json);

        let socketio = push::encode(Codec::SocketIo, &view);
        let text = std::str::from_utf8(socketio.payload()).unwrap();
        let Ok(engineio::Packet::Text(text)) = engineio::decode_text(text) else { panic!("not a message") };
        let packet = socketio::decode(text).unwrap();
        prop_assert_eq!((packet.namespace, packet.id), ("/demo", Some(u64::from(ack_id))));
        let args = socketio::Args::event(packet.data.unwrap()).unwrap();
        prop_assert_eq!(args.name.as_ref(), event.as_str());
        prop_assert_eq!(args.args[0].get(), object.as_str());

        let sse = String::from_utf8(push::encode(Codec::Sse, &view).bytes).unwrap();
        let stream = sse::event(Some(&sse::event_id(epoch, seq)), Some(&event), &object);
        prop_assert_eq!(sse, stream);
    }
}

/// JSON as somebody might write it, without white space around it.
fn json_text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,5})?(e[+-]?[0-9]{1,2})?",
        any::<String>().prop_map(|text| serde_json::Value::from(text).to_string()),
    ];
    leaf.prop_recursive(4, 20, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(" , "))),
            vec((any::<String>(), inner), 0..4).prop_map(|entries| {
                let entries: Vec<String> = entries
                    .iter()
                    .map(|(key, value)| format!("{}:{value}", serde_json::Value::from(key.as_str())))
                    .collect();
                format!("{{{}}}", entries.join(",\n"))
            }),
        ]
    })
}

/// Bytes that begin as a PROXY header may, and go on as they like.
fn proxy_like() -> impl Strategy<Value = Vec<u8>> {
    let line = ("PROXY (TCP4|TCP6|UNKNOWN)", "[ 0-9a-f:.]{0,60}", "(\r\n|\n|)")
        .prop_map(|(a, b, c)| (a + &b + &c).into_bytes());
    let binary = (
        0u8..0x40,
        prop::sample::select(vec![0, 0x11, 0x21, 0x31, 0x12, 0xff]),
        0u16..80,
        vec(any::<u8>(), 0..100),
    )
        .prop_map(|(command, family, length, rest)| {
            let mut out = [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, family]].concat();
            out.extend(length.to_be_bytes());
            out.extend(rest);
            out
        });
    prop_oneof![line, binary, vec(any::<u8>(), 0..40)]
}

proptest! {
    #[test]
    fn a_proxy_header_ends_where_it_ends_however_it_arrives(bytes in proxy_like()) {
        let whole = proxy::decode(&bytes);
        for cut in 0..bytes.len() {
            match (proxy::decode(&bytes[..cut]), whole) {
                // Waiting for more is right only while more belongs to it.
                (Ok(None), Ok(Some(header))) => prop_assert!(cut < header.bytes),
                (Ok(None), Ok(None) | Err(_)) => {}
                (early, whole) => prop_assert_eq!(early, whole),
            }
        }
        if let Ok(Some(header)) = whole {
            prop_assert!(header.bytes <= bytes.len().min(proxy::HEADER_BYTES_MAX));
        }
    }

    #[test]
    fn nobody_who_is_not_trusted_is_believed(
        peer in any::<Option<std::net::IpAddr>>(),
        lines in vec("(for=)?[0-9a-f:.,\\[\\]\";= ]{0,40}", 0..4),
        trusted in any::<bool>(),
    ) {
        for header in [forwarded::Header::XForwardedFor, forwarded::Header::Forwarded] {
            let lines = lines.iter().map(String::as_str);
            let asked = std::cell::RefCell::new(Vec::new());
            let client = forwarded::client(peer, header, lines, |ip| {
                asked.borrow_mut().push(ip);
                trusted
            });
            if !trusted {
                prop_assert_eq!(client, peer.map(|ip| ip.to_canonical()));
            }
            // Each hop on the way was asked about as it stands; no mapped address slips by.
            prop_assert!(asked.borrow().iter().all(|ip| ip.map(|ip| ip.to_canonical()) == *ip));
        }
    }
}

proptest! {
    #[test]
    fn what_light_push_splits_is_whole_again(
        entries in vec((prop_oneof![Just("apsData".to_owned()), any::<String>()], json_text()), 0..4),
        room in "[a-z_#]{1,20}",
        other in any::<String>(),
    ) {
        let quote = |text: &str| serde_json::Value::from(text).to_string();
        let members: Vec<_> = entries.iter().map(|(name, value)| format!("{} : {value}", quote(name))).collect();
        let data = format!("{{{}}}", members.join(" ,\n"));
        let fields = [("room", quote(&room)), ("pushData", data.clone()), ("from", quote(&other)), ("extra", quote(&other))];
        let fields = fields.map(|(name, value)| (name, RawValue::from_string(value).unwrap()));
        let field = |name: &str| fields.iter().find(|(known, _)| *known == name).map(|(_, raw)| raw.get());
        let Ok(pushed) = light_push::push::read(field, 100) else { return Ok(()) };
        let kept = pushed.aside.to_json();
        prop_assert_eq!(Aside::read(&kept), pushed.aside);
        let offline = pushed.aps.map_or_else(String::new, |aps| format!("{{\"apns\":{aps}}}"));
        let whole = light_push::push::whole(&pushed.data, &offline);
        type Object = serde_json::Map<String, serde_json::Value>;
        let (mut said, again): (Object, Object) =
            (serde_json::from_str(&data).unwrap(), serde_json::from_str(&whole).unwrap());
        // Nothing for iPhones is the same as none.
        if said.get("apsData").is_some_and(serde_json::Value::is_null) {
            said.remove("apsData");
        }
        prop_assert_eq!(said, again);
    }

    #[test]
    fn no_word_of_an_older_client_panics(text in any::<String>(), json in json_text()) {
        for text in [&text, &json, &format!("{{\"event\":\"join\",\"data\":{json}}}"), &format!("{{\"cmd\":\"LOGIN\",\"data\":{json}}}")] {
            if let Ok(gopusher::Said::Join(join)) = gopusher::decode(text) {
                prop_assert_eq!(gopusher::room(&join.app, &join.card).split('/').count(), 3);
            }
            let _ = message_push::decode(text);
            let _ = message_push::shown(text);
            let _ = light_push::push::read(|_| Some(text.as_str()), 100);
        }
    }
}
