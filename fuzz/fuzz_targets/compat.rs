//! What clients of the older systems say. Whatever is answered is text that they could be given.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::collections::HashMap;

use serde_json::value::RawValue;
use tidings_wire::compat::light_push::push;
use tidings_wire::compat::{Aside, gopusher, message_push};

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
    let fields: HashMap<String, &RawValue> = serde_json::from_str(text).unwrap_or_default();
    if let Ok(pushed) = push::read(|name| fields.get(name).map(|raw| raw.get()), 100) {
        assert_eq!(Aside::read(&pushed.aside.to_json()), pushed.aside);
        // Put together again it is JSON, and without anything to put in it stays an object.
        let offline = pushed.aps.map_or_else(String::new, |aps| format!("{{\"apns\":{aps}}}"));
        let whole = push::whole(&pushed.data, &offline);
        assert!(serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&whole).is_ok(), "{whole}");
    }
    if let Some(shown) = message_push::shown(text) {
        assert!(!shown.token.is_empty());
    }
});
