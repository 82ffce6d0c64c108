//! What clients bring back as text: event ids and times. And no text that goes out ends an event early.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings_wire::{sse, time};

fuzz_target!(|text: &str| {
    if let Some((epoch, seq)) = sse::parse_event_id(text) {
        assert_eq!(sse::parse_event_id(&sse::event_id(epoch, seq)), Some((epoch, seq)));
    }
    if let Some(ms) = time::parse_rfc3339(text) {
        assert_eq!(time::parse_rfc3339(&time::rfc3339(ms)), Some(ms));
    }
    let stream = sse::event(Some(text), Some(text), text);
    let lines = stream.strip_suffix("\n\n").expect("ends by a blank line");
    assert!(!lines.contains('\r') && lines.split('\n').all(|line| line.contains(": ")));
});
