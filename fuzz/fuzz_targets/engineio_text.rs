//! One Engine.IO packet, as text of either version and as a binary frame.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings_wire::engineio::{self, Packet, Version};

fuzz_target!(|input: &[u8]| {
    for version in [Version::V3, Version::V4] {
        if let Ok(Packet::Binary(bytes)) = engineio::decode_binary(version, input) {
            assert_eq!(*engineio::encode_binary(version, &bytes), *input);
        }
        let Ok(text) = std::str::from_utf8(input) else { continue };
        if let Ok(Packet::Binary(bytes)) = engineio::decode_packet(version, text) {
            let again = engineio::encode_base64(version, &bytes);
            assert_eq!(engineio::decode_packet(version, &again), Ok(Packet::Binary(bytes.clone())));
            assert_eq!(engineio::decode_text(&again), Ok(Packet::Binary(bytes)));
        }
    }
    if let Ok(text) = std::str::from_utf8(input) {
        let _ = engineio::decode_text(text);
    }
});
