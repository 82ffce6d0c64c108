//! PROXY headers: what is complete ends where it ends, however much of it arrives at once.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings_wire::proxy;

fuzz_target!(|bytes: &[u8]| {
    let whole = proxy::decode(bytes);
    if let Ok(Some(header)) = whole {
        assert!(header.bytes <= bytes.len().min(proxy::HEADER_BYTES_MAX));
        assert_eq!(proxy::decode(&bytes[..header.bytes]), whole);
        for cut in 0..header.bytes {
            assert_eq!(proxy::decode(&bytes[..cut]), Ok(None));
        }
    }
    if whole == Ok(None) {
        assert!(bytes.len() < proxy::HEADER_BYTES_MAX);
    }
});
