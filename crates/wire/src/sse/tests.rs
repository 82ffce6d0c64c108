//! Streams as they are sent, and an independent reader of the format to read them back.

use super::*;

#[test]
fn an_event() {
    assert_eq!(event(Some("3-17"), Some("push"), r#"{"n":1}"#), "id: 3-17\nevent: push\ndata: {\"n\":1}\n\n");
    assert_eq!(event(None, None, ""), "data: \n\n");
}

#[test]
fn lines_of_data_however_they_end() {
    assert_eq!(event(None, None, "a\nb\rc\r\nd\n"), "data: a\ndata: b\ndata: c\ndata: d\ndata: \n\n");
    assert_eq!(event(None, None, "\r\r\n\n"), "data: \ndata: \ndata: \ndata: \n\n");
}

#[test]
fn a_name_cannot_begin_a_field() {
    assert_eq!(
        event(Some("1\nretry: 1"), Some("x\r\ndata: evil\n\n"), "d"),
        "id: 1retry: 1\nevent: xdata: evil\ndata: d\n\n"
    );
    assert_eq!(event(Some("1\0"), None, "d"), "id: 1\ndata: d\n\n");
}

#[test]
fn comments_and_retry() {
    assert_eq!(HEARTBEAT, ":\n\n");
    assert_eq!(comment("hello\nthere"), ": hellothere\n\n");
    assert_eq!(retry(3000), "retry: 3000\n\n");
}

#[test]
fn event_ids() {
    assert_eq!(event_id(3, 17), "3-17");
    assert_eq!(parse_event_id("3-17"), Some((3, 17)));
    assert_eq!(parse_event_id("4294967295-18446744073709551615"), Some((u32::MAX, u64::MAX)));
    for text in [
        "",
        "-",
        "3",
        "3-",
        "-17",
        "3-17-",
        "3--17",
        "+3-17",
        "3-+17",
        " 3-17",
        "3-17 ",
        "a-b",
        "4294967296-1",
        "1-18446744073709551616",
        "３-１",
    ] {
        assert_eq!(parse_event_id(text), None, "{text}");
    }
}
