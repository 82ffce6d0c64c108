//! There and back again, and texts that are not what they should be.

use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use tidings_model::{Durability, Epoch, Granularity, Ordinal, Sender, Seq, Step as Happened, Timestamp};

use super::*;
use crate::conformance::given::{append, append_new, chosen, demo, device, message, name, register};
use crate::conformance::run;
use crate::embedded::testing;
use crate::kv::Keyspace;
use crate::port::{Interval, NewId, NewMessage, Recording, TraceStep};
use crate::tests::model::{Step, step, take};
use crate::tests::{directory, everything, fill, open};
use crate::{EmbeddedStore, Messages, Options, Receipts, Retention, Settings};

async fn text_of(store: &EmbeddedStore, now: u64) -> String {
    let moment = store.moment().await.unwrap();
    let mut text = Vec::new();
    let lines = export(&moment, Timestamp(now), &mut text, &mut |_| ()).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert_eq!(text.lines().count() as u64, lines);
    text
}

fn import_text(path: &Path, text: &str) -> Result<Imported, ImportError> {
    import(path, Options::new(Epoch(7)), &mut BufReader::new(text.as_bytes()), &mut |_| ())
}

/// What is exported is imported, and exported again as the same text.
async fn check(store: &EmbeddedStore) -> String {
    let place = directory();
    let text = text_of(store, 7).await;
    let imported = import_text(place.path(), &text).unwrap();
    assert_eq!(imported.lines, text.lines().count() as u64);
    let again = open(place.path());
    assert_eq!(text_of(&again, 7).await, text);
    let (mut again, mut store) = (everything(&again).await.unwrap(), everything(store).await.unwrap());
    // What messages say is indexed anew; what is scheduled or was recalled is known at once.
    for one in [&mut again, &mut store] {
        one.indexed = Seq(0);
        one.found.drain(..2);
    }
    assert_eq!(again, store);
    text
}

#[test]
fn every_keyspace_is_written_or_follows() {
    let typed = [
        Keyspace::NamespaceHead,
        Keyspace::Setting,
        Keyspace::Device,
        Keyspace::Message,
        Keyspace::TopicEntry,
        Keyspace::MessageId,
        Keyspace::Receipt,
        Keyspace::Trace,
        Keyspace::Due,
        Keyspace::Collapse,
        Keyspace::Bucket,
    ];
    let follow = [
        Keyspace::DeviceId,
        Keyspace::DeviceCursor,
        Keyspace::UserDevice,
        Keyspace::RoomMember,
        Keyspace::Term,
        Keyspace::Meta,
    ];
    for keyspace in Keyspace::ALL {
        let all = typed.iter().chain(&follow).chain(AS_THEY_ARE);
        assert_eq!(all.filter(|known| **known == keyspace).count(), 1, "{keyspace:?}");
    }
}

#[test]
fn a_store_comes_back_as_it_was() {
    let place = directory();
    run(async {
        let store = open(place.path());
        check(&store).await;
        fill(&store).await;
        let mut odd = message("odd", &["all", "user:ann", "device:d1", "room:a b"]);
        odd.data = bytes::Bytes::from_static(b"{\n  \"a\": 1.50,\r\n \"a\": 2}");
        odd.offline = bytes::Bytes::from_static(br#"{"apns":{"x": 1}}"#);
        odd.collapse_key = Some(name("key"));
        odd.meant = Arc::new((0..100).chain(70_000..140_000).collect());
        odd.expires_at = Timestamp::NEVER;
        odd.recalls = Some(name("m0"));
        odd.from = Some(Sender { user: None, device: name("d 1") });
        append_new(&store, odd).await;
        let mut scheduled = message("later", &[]);
        scheduled.deliver_at = Some(Timestamp(9_000));
        scheduled.data = bytes::Bytes::from_static(b"null");
        append_new(&store, scheduled).await;
        store.put("odd", Some(bytes::Bytes::from_static(b"\xff\0"))).await.unwrap();
        let text = check(&store).await;
        assert!(text.contains(r#""offline":{"apns":{"x": 1}}"#), "{text}");
        store.trim(&demo(), Seq(5)).await.unwrap();
        let trimmed = check(&store).await;
        assert!(trimmed.lines().count() < text.lines().count());
        testing::rewrite(&store);
        assert_eq!(text_of(&store, 7).await, trimmed, "whatever of it is still on disk");
        store.trim(&demo(), store.head(&demo())).await.unwrap();
        assert!(check(&store).await.contains(r#""type":"topic""#));
    });
}

/// Of the version before, and an id that was made still leads to its message.
#[test]
fn the_version_before_is_read() {
    let (place, other) = (directory(), directory());
    run(async {
        let store = open(place.path());
        let made = NewMessage { id: NewId::Made { salt: 7 }, ..message("x", &["all"]) };
        let made = append_new(&store, made).await;
        let text = text_of(&store, 1).await;
        let before = text.replacen("\"version\":2", "\"version\":1", 1);
        assert_ne!(before, text);
        import_text(other.path(), &before).unwrap();
        let other = open(other.path());
        assert_eq!(other.find(&demo(), &made.id).await.unwrap(), Some(made.seq));
    });
}

/// What an imported store adds comes after what it brought.
#[test]
fn an_imported_store_goes_on() {
    let (place, other) = (directory(), directory());
    run(async {
        let store = open(place.path());
        let first = append_new(&store, chosen("m", 1, 1_000)).await;
        let by =
            |at| TraceStep { at: Timestamp(at), step: Happened::Written, by: [1].into(), detail: "x".into() };
        let book =
            |at| Recording { namespace: demo(), seq: first.seq, record: Arc::default(), steps: vec![by(at)] };
        for at in 0..20 {
            store.record(vec![book(at)], Durability::Durable).await.unwrap();
        }
        register(&store, device("d1", "ann", 3)).await;
        import_text(other.path(), &text_of(&store, 1).await).unwrap();
        let other = open(other.path());
        other.record(vec![book(20)], Durability::Durable).await.unwrap();
        let steps = other.steps(&demo(), first.seq).await.unwrap();
        assert_eq!(steps.iter().map(|step| step.at.0).collect::<Vec<_>>(), (0..=20).collect::<Vec<_>>());
        let again = append(&other, vec![chosen("m", 1, 2_000)]).await;
        assert!(matches!(&again[..], [crate::Appended::Duplicate(found)] if *found == first), "{again:?}");
        let next = append_new(&other, message("n", &["all"])).await;
        assert_eq!((next.seq, next.topics[0].1), (Seq(2), 2));
        assert_eq!(register(&other, device("d2", "ann", 3)).await.device.ordinal, Ordinal(1));
    });
}

#[test]
fn what_is_wrong_is_told_by_line_and_field_and_nothing_is_left() {
    let (place, other) = (directory(), directory());
    run(async {
        let store = open(place.path());
        append_new(&store, message("m1", &["all"])).await;
        append_new(&store, message("m2", &["all"])).await;
        register(&store, device("d1", "ann", 3)).await;
        let text = text_of(&store, 7).await;
        let swap = |from: &str, to: &str| {
            assert!(text.contains(from), "{from}: {text}");
            text.replacen(from, to, 1)
        };
        let mut lines: Vec<&str> = text.lines().collect();
        lines.swap(3, 4);
        let swapped = lines.join("\n") + "\n";
        let doubled = swap("{\"type\":\"id\"", &format!("{}\n{{\"type\":\"id\"", lines[3]));
        let (whole, last) = text.trim_end().rsplit_once('\n').unwrap();
        let record = |keyspace: &str, key: &str, value: &str| {
            let fields = format!("\"keyspace\":\"{keyspace}\",\"key\":\"{key}\",\"value\":\"{value}\"");
            format!("{whole}\n{{\"type\":\"record\",{fields}}}\n{last}\n")
        };
        let interval =
            Interval { namespace: demo(), granularity: Granularity::Minute, at: Timestamp(60_000) };
        let number = super::line::base64(&crate::kv::stat::key(&interval));
        for (bad, expected) in [
            (String::new(), "the export is cut off after line 0: its last line, of type end, is missing"),
            (
                format!("{whole}\n"),
                "the export is cut off after line 10: its last line, of type end, is missing",
            ),
            (
                whole[..whole.len() - 9].to_owned(),
                "the export is cut off after line 9: its last line, of type end, is missing",
            ),
            (format!("{text}x"), "line 12: something follows the last line"),
            (
                swap("\"version\":2", "\"version\":3"),
                "this is an export of format version 3, and this program reads version 2",
            ),
            (swap("tidings-export", "other"), "line 1: format: \"other\" is not \"tidings-export\""),
            (
                format!("{whole}\n{}\n", last.replace(":11", ":9")),
                "line 11: lines: says 9, but this is line 11",
            ),
            (
                text.split_once('\n').unwrap().1.to_owned(),
                "line 1: type: is \"namespace\"; the first line is the header, and only that",
            ),
            (
                swap("\"type\":\"device\"", "\"type\":\"gadget\""),
                "line 3: type: \"gadget\" is none that is known",
            ),
            (
                swap("\"ordinal\":0", "\"ordinal\":\"0\""),
                "line 3: ordinal: invalid type: string \"0\", expected u32",
            ),
            (swap("\"ordinal\":0", "\"ordinal\":1"), "line 3: ordinal: 1 is beyond the 1 devices"),
            (swap("\"ordinal\":0,", ""), "line 3: missing field `ordinal`"),
            (swap("\"platform\":\"web\"", "\"platform\":\"tv\""), "line 3: platform: \"tv\" is no platform"),
            (
                swap("\"topic\":\"all\"", "\"topic\":\"everybody\""),
                "line 4: topics: \"everybody\" is none of all, user:…, device:…, room:…",
            ),
            (
                swap("\"offset\":1", "\"offset\":-1"),
                "line 4: topics[0].offset: invalid value: integer `-1`, expected u64",
            ),
            (swap("\"seq\":1", "\"seq\":3"), "line 4: seq: 3 is not above 0 (trimmed) and up to 2 (newest)"),
            (swap("\"meant\":[]", "\"meant\":\"AAA\""), "line 4: meant: is not base64: Invalid padding"),
            (swap("\"meant\":[]", "\"meant\":[],\"more\":1"), "line 4: more: unknown field `more`"),
            (swap("{\"type\":\"message\"", "[{\"type\":\"message\""), "line 4: "),
            (record("stat", "", ""), "line 11: key: ends too early"),
            (record("stat", "AA==", ""), "line 11: key: "),
            (record("notice", "", ""), "line 11: key: ends too early"),
            (record("notice", &number, ""), "line 11: key: "),
            (record("stat", &number, "AAAA"), "line 11: value: "),
            (record("other", "", ""), "line 11: keyspace: \"other\" is none that is known"),
            (swapped, "line 5: comes too late: lines stand in the order of an export"),
            (doubled, "line 6: is there already"),
        ] {
            let target = other.path().join("store");
            let refused = import_text(&target, &bad).unwrap_err().to_string();
            assert!(refused.starts_with(expected), "{refused}\n{expected}\n{bad}");
            assert!(!target.exists(), "{expected}");
        }
        // Into a store that is there already it does not go, and leaves that as it was.
        drop(store);
        let refused = import_text(place.path(), &text).unwrap_err();
        assert!(matches!(refused, ImportError::NotEmpty(path) if path == place.path()));
        assert_eq!(text_of(&open(place.path()), 7).await, text);
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_comes_back(steps in vec(step(), 1..40)) {
        let place = directory();
        run(async {
            let store = open(place.path());
            for step in steps {
                // A store knows of no message what it has not given out.
                let head = store.head(&demo()).0;
                let step = match step {
                    Step::Record { mut receipts } => {
                        receipts.retain(|(seq, _)| (1..=head).contains(seq));
                        Step::Record { receipts }
                    }
                    other => other,
                };
                take(&store, &step).await;
            }
            check(&store).await;
        });
    }
}
