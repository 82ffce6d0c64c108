//! Records that are as they must be, and records that are not.

use super::*;

fn parse(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).unwrap()
}

/// What is wrong with a record, line by line; nothing when nothing is.
fn wrong(text: &str) -> String {
    match read(&parse(text), &Profile::default()) {
        Ok(_) => String::new(),
        Err(wrong) => {
            let lines: Vec<_> = wrong.iter().map(|one| format!("{} {}", one.field, one.message)).collect();
            lines.join("\n")
        }
    }
}

const FULL: &str = r#"{
    "user": "ann", "platform": "ios",
    "tags": ["vip", "beta", "vip"],
    "metadata": {"app": "3.1", "n": {"m": [1, 2.5]}},
    "tokens": {"apns": "abc", "webpush": {"endpoint": "https://push.example/1", "keys": {}}},
    "do_not_disturb": {
        "until": "2026-11-20T14:00:00+01:00",
        "windows": [{"from": "22:00", "to": "07:00", "zone": "+08:00"}, {"from": "12:00", "to": "13:30", "zone": "Europe/Berlin"}]
    },
    "muted_rooms": {"lobby": {}, "news": {"until": "2026-11-20T13:00:01Z"}}
}"#;

#[test]
fn a_record_is_read_and_shown_as_it_was_written() {
    let record = read(&parse(FULL), &Profile::default()).unwrap();
    assert_eq!((record.user.as_ref().unwrap().as_str(), record.platform), ("ann", Some(Platform::Ios)));
    let now = Timestamp(1_795_000_000_000);
    let shown = show(record.user.as_ref(), Platform::Ios, &record.profile, now);
    let expected = r#"{"do_not_disturb":{"until":"2026-11-20T13:00:00.000Z","windows":[{"from":"22:00","to":"07:00","zone":"+08:00"},{"from":"12:00","to":"13:30","zone":"Europe/Berlin"}]},"metadata":{"app":"3.1","n":{"m":[1,2.5]}},"muted_rooms":{"lobby":{"until":null},"news":{"until":"2026-11-20T13:00:01.000Z"}},"platform":"ios","tags":["beta","vip"],"tokens":{"apns":"***","webpush":"***"},"user":"ann"}"#;
    assert_eq!(Value::Object(shown.clone()).to_string(), expected);
    // What is shown is what can be written, and means the same.
    assert_eq!(read(&shown, &record.profile), Ok(record.clone()));
    // What is over is not shown.
    let over = show_profile(&record.profile, Timestamp(1_795_179_601_000));
    assert_eq!(over["muted_rooms"], json!({"lobby": {"until": null}}));
    assert_eq!(over["do_not_disturb"]["until"], Value::Null);
    assert_eq!(record.profile.tokens[&Vendor::Apns].0, r#""abc""#);
}

#[test]
fn what_is_not_said_or_null_is_nothing() {
    let nothing = Record::default();
    assert_eq!(read(&Map::new(), &Profile::default()), Ok(nothing.clone()));
    let nulls: Map<String, Value> = FIELDS.into_iter().map(|field| (field.to_owned(), Value::Null)).collect();
    assert_eq!(read(&nulls, &Profile::default()), Ok(nothing.clone()));
    let empty = parse(
        r#"{"tags":[],"metadata":{},"tokens":{"fcm":null},"do_not_disturb":{"windows":[]},"muted_rooms":{}}"#,
    );
    assert_eq!(read(&empty, &Profile::default()), Ok(nothing));
}

#[test]
fn every_wrong_field_is_named_with_its_value_and_its_limit() {
    for (record, expected) in [
        (
            r#"{"usr":"ann"}"#,
            "usr is not a known field; there are user, platform, tags, metadata, tokens, do_not_disturb, muted_rooms",
        ),
        (r#"{"user":7}"#, "user must be a string, not the number 7"),
        (r#"{"user":""}"#, "user \"\" must not be empty"),
        (
            r#"{"platform":"toaster"}"#,
            "platform is \"toaster\", must be one of web, android, ios, desktop, other",
        ),
        (r#"{"tags":"vip"}"#, "tags must be an array, not the string \"vip\""),
        (
            r#"{"tags":["a",1,""]}"#,
            "tags[1] must be a string, not the number 1\ntags[2] \"\" must not be empty",
        ),
        (r#"{"metadata":[]}"#, "metadata must be an object, not an array"),
        (r#"{"tokens":{"gcm":"a"}}"#, "tokens.gcm is not a known field; there are apns, fcm, webpush"),
        (
            r#"{"tokens":{"apns":"","fcm":{}}}"#,
            "tokens.apns must be a string or an object that is not empty\ntokens.fcm must be a string or an object that is not empty",
        ),
        (r#"{"tokens":{"apns":7}}"#, "tokens.apns must be a string or an object that is not empty"),
        (
            r#"{"tokens":{"webpush":"x"}}"#,
            "tokens.webpush must be an object with an `endpoint` that begins with https://",
        ),
        (
            r#"{"tokens":{"webpush":{"endpoint":"http://x"}}}"#,
            "tokens.webpush must be an object with an `endpoint` that begins with https://",
        ),
        (r#"{"tokens":{"fcm":"***"}}"#, "tokens.fcm is \"***\", which keeps a token, but there is none"),
        (r#"{"do_not_disturb":true}"#, "do_not_disturb must be an object, not true"),
        (
            r#"{"do_not_disturb":{"till":1}}"#,
            "do_not_disturb.till is not a known field; there are until, windows",
        ),
        (
            r#"{"do_not_disturb":{"until":"tomorrow"}}"#,
            "do_not_disturb.until is \"tomorrow\", must be a time like 2026-11-20T14:29:07Z (RFC 3339)",
        ),
        (
            r#"{"do_not_disturb":{"until":"1969-12-31T23:59:59Z"}}"#,
            "do_not_disturb.until is \"1969-12-31T23:59:59Z\", must be a time like 2026-11-20T14:29:07Z (RFC 3339)",
        ),
        (
            r#"{"do_not_disturb":{"windows":[7,{}]}}"#,
            "do_not_disturb.windows[0] must be an object, not the number 7\ndo_not_disturb.windows[1].from is required\ndo_not_disturb.windows[1].to is required\ndo_not_disturb.windows[1].zone is required",
        ),
        (
            r#"{"do_not_disturb":{"windows":[{"from":"24:00","to":"7:00","zone":"+08:00"}]}}"#,
            "do_not_disturb.windows[0].from is \"24:00\", must be a time of day from 00:00 to 23:59\ndo_not_disturb.windows[0].to is \"7:00\", must be a time of day from 00:00 to 23:59",
        ),
        (
            r#"{"do_not_disturb":{"windows":[{"from":"07:00","to":"07:00","zone":"+08:00"}]}}"#,
            "do_not_disturb.windows[0].to is the same as from; the day has to go on in between",
        ),
        (
            r#"{"do_not_disturb":{"windows":[{"from":"07:00","to":"08:00","zone":"Mars/Olympus"}]}}"#,
            "do_not_disturb.windows[0].zone is \"Mars/Olympus\", must be an offset like +08:00 or a name like Europe/Berlin (IANA)",
        ),
        (
            r#"{"do_not_disturb":{"windows":[{"from":"07:00","to":"08:00","zone":"+15:00"}]}}"#,
            "do_not_disturb.windows[0].zone is \"+15:00\", must be an offset like +08:00 or a name like Europe/Berlin (IANA)",
        ),
        (r#"{"muted_rooms":["a"]}"#, "muted_rooms must be an object, not an array"),
        (
            r#"{"muted_rooms":{"a":true}}"#,
            "muted_rooms[\"a\"] must be an object such as {\"until\": \"…\"}, not true",
        ),
        (
            r#"{"muted_rooms":{"a":{"for":"1h"}}}"#,
            "muted_rooms[\"a\"].for is not a known field; there are until",
        ),
        (r#"{"muted_rooms":{"a\n":{}}}"#, "muted_rooms[\"a\\n\"] \"a\\n\" has a control character at byte 1"),
    ] {
        assert_eq!(wrong(record), expected, "{record}");
    }
}

#[test]
fn what_is_as_large_as_it_may_be_is_good_and_more_is_not() {
    let list = |count: usize| json!((0..count).map(|n| format!("t{n}")).collect::<Vec<_>>());
    let tag = |bytes: usize| json!(["x".repeat(bytes)]);
    let metadata = |bytes: usize| json!({"x": "y".repeat(bytes - r#"{"x":""}"#.len())});
    let nested = |levels: usize| (1..levels).fold(json!({}), |inner, _| json!({"x": inner}));
    let token = |bytes: usize| json!({"apns": "x".repeat(bytes - 2)});
    let rooms = |count: usize| {
        json!((0..count).map(|n| (format!("r{n}"), json!({}))).collect::<Map<String, Value>>())
    };
    let hours = |count: usize| json!({"windows": vec![json!({"from": "01:00", "to": "02:00", "zone": "+00:00"}); count]});
    for (field, good, bad, expected) in [
        ("tags", list(64), list(65), "tags has 65 entries, at most 64 are allowed"),
        (
            "tags",
            tag(64),
            tag(65),
            "tags[0] \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…\" has 65 bytes, at most 64 are allowed",
        ),
        (
            "metadata",
            metadata(4_096),
            metadata(4_097),
            "metadata has 4097 bytes of JSON, at most 4096 are allowed",
        ),
        ("metadata", nested(10), nested(11), "metadata is nested deeper than 10 levels, which is the limit"),
        (
            "tokens",
            token(4_096),
            token(4_097),
            "tokens.apns has 4097 bytes of JSON, at most 4096 are allowed",
        ),
        ("muted_rooms", rooms(1_000), rooms(1_001), "muted_rooms has 1001 rooms, at most 1000 are allowed"),
        ("do_not_disturb", hours(8), hours(9), "do_not_disturb.windows has 9 entries, at most 8 are allowed"),
    ] {
        assert_eq!(wrong(&json!({field: good}).to_string()), "", "{field}");
        assert_eq!(wrong(&json!({field: bad}).to_string()), expected);
    }
    let many: Map<String, Value> = (0..99).map(|n| (format!("x{n}"), json!(1))).collect();
    assert_eq!(read(&many, &Profile::default()).unwrap_err().len(), COMPLAINTS_MAX);
}
