//! Bodies of long polling. What was accepted is written again in the same form, and read back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings_wire::engineio::{self, Packet, PayloadEncoder, PayloadFormat, Version};

const PACKETS_MAX: usize = 64;

fuzz_target!(|input: &[u8]| {
    let Some((&form, body)) = input.split_first() else { return };
    let (version, format) = match form % 3 {
        0 => (Version::V4, PayloadFormat::V4),
        1 => (Version::V3, PayloadFormat::V3Text),
        _ => (Version::V3, PayloadFormat::V3Binary),
    };
    let binary = format == PayloadFormat::V3Binary;
    assert!(engineio::decode_payload(Version::V4, body, true, PACKETS_MAX).is_err());
    let Ok(packets) = engineio::decode_payload(version, body, binary, PACKETS_MAX) else { return };
    assert!(!packets.is_empty() && packets.len() <= PACKETS_MAX);
    let mut again = PayloadEncoder::new(format);
    for packet in &packets {
        match packet {
            Packet::Open(body) => again.text(&format!("0{body}")),
            Packet::Close => again.text("1"),
            Packet::Ping(body) => again.text(&format!("2{body}")),
            Packet::Pong(body) => again.text(&format!("3{body}")),
            Packet::Text(body) => again.text(&format!("4{body}")),
            Packet::Upgrade => again.text("5"),
            Packet::Noop => again.text("6"),
            Packet::Binary(bytes) => again.binary(bytes),
        }
    }
    assert_eq!(engineio::decode_payload(version, &again.finish(), binary, PACKETS_MAX), Ok(packets));
});
