//! What clients of the older systems say. Whatever is answered is text that they could be given.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings_wire::compat::{gopusher, message_push};

fuzz_target!(|text: &str| {
    match gopusher::decode(text) {
        Ok(gopusher::Said::Join(join)) => {
            let room = gopusher::room(&join.app, &join.card);
            // The application and the group stay apart.
            assert_eq!(room.split('/').count(), 3, "{room:?}");
        }
        Ok(gopusher::Said::Ping | gopusher::Said::Read) => {}
        Err(why) => assert!(gopusher::decode(&gopusher::reply(&why.reason())).is_err()),
    }
    let _ = message_push::decode(text);
    if let Some(shown) = message_push::shown(text) {
        assert!(!shown.token.is_empty());
    }
});
