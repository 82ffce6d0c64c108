//! The registry: listed, shown, forgotten.

use expect_test::expect;
use http::StatusCode;

use super::*;

const DEVICES: &str = "/v1/namespaces/demo/devices";

#[tokio::test]
async fn devices_are_listed_and_shown() {
    let world = World::new().await;
    let first = world.device("d1", "ann", Platform::Ios, &["lobby"]).await;
    world.device("d2", "bob", Platform::Web, &[]).await;
    world.state.node.came(&first, 1, 0).await.unwrap();
    world.check(&format!("GET {DEVICES}?limit=1"), "", expect![[r#"
        200
        {"items":[{"device":"d1","user":"ann","platform":"ios","online":true,"rooms":["lobby"],"tags":[],"created_at":"2026-11-20T00:00:00.000Z","last_seen":"2026-11-20T00:00:00.000Z"}],"next_cursor":"AAAAAA"}
    "#]]).await;
    let rest = world.call(&format!("GET {DEVICES}?cursor=AAAAAA"), "").await.body;
    assert!(rest.contains(r#""device":"d2""#) && rest.contains(r#""next_cursor":null"#), "{rest}");
    world.check(&format!("GET {DEVICES}/d2"), "", expect![[r#"
        200
        {"device":"d2","user":"bob","platform":"web","online":false,"rooms":[],"tags":[],"created_at":"2026-11-20T00:00:00.000Z","last_seen":"2026-11-20T00:00:00.000Z","do_not_disturb":{"until":null,"windows":[]},"metadata":{},"muted_rooms":{},"tokens":{}}
    "#]]).await;
    assert_eq!(world.call(&format!("GET {DEVICES}/d3"), "").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_forgotten_device_is_nowhere() {
    let mut world = World::new().await;
    let first = world.device("d1", "ann", Platform::Ios, &["lobby"]).await;
    world.device("d2", "bob", Platform::Web, &["lobby"]).await;
    world.state.node.came(&first, 1, 0).await.unwrap();
    let gone = format!("DELETE {DEVICES}/d1");
    assert_eq!(world.call(&gone, "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(world.call(&gone, "").await.status, StatusCode::NOT_FOUND);
    let told = std::iter::from_fn(|| world.inboxes[0].try_recv().ok());
    let told = told
        .filter(|told| matches!(told, ToShard::SendAway { devices: Some(devices), .. } if **devices == [0]));
    assert_eq!(told.count(), 1);
    let push = r#"{"to":{"users":["ann"],"rooms":["lobby"]}}"#;
    let answer = world.call("POST /v1/namespaces/demo/messages", push).await.body;
    assert!(answer.contains(r#""meant":{"devices":1}"#), "{answer}");
    // Whoever was on the way in is told to come again.
    let late = world.state.node.came(&first, 2, 0).await;
    assert!(matches!(late, Err(tidings_node::connect::ConnectError::Forgotten)), "{late:?}");
}

#[tokio::test]
async fn who_was_not_here_for_long_is_purged() {
    let world = World::new().await;
    world.device("old", "ann", Platform::Web, &[]).await;
    let here = world.device("here", "ann", Platform::Web, &[]).await;
    world.state.node.came(&here, 1, 0).await.unwrap();
    world.set_time(NOW + 10 * 24 * 3_600_000);
    world.device("new", "ann", Platform::Web, &[]).await;
    let purge = format!("POST {DEVICES}:purge");
    world
        .check(
            &purge,
            r#"{"inactive_for":"240h","dry_run":true}"#,
            expect![[r#"
                200
                {"devices":1,"dry_run":true}
            "#]],
        )
        .await;
    world
        .check(
            &purge,
            r#"{"inactive_for":"240h"}"#,
            expect![[r#"
                200
                {"devices":1,"dry_run":false}
            "#]],
        )
        .await;
    assert_eq!(world.call(&format!("GET {DEVICES}/old"), "").await.status, StatusCode::NOT_FOUND);
    assert_eq!(world.call(&format!("GET {DEVICES}/here"), "").await.status, StatusCode::OK);
    for (body, expect) in [
        (
            "{}",
            expect![[r#"
                400 invalid_request
                  inactive_for: is required
            "#]],
        ),
        (
            r#"{"inactive_for":"1s"}"#,
            expect![[r#"
                400 invalid_request
                  inactive_for: is "1s", must be from 1m to 3660d
            "#]],
        ),
    ] {
        expect.assert_eq(&world.call(&purge, body).await.wrong());
    }
}

const FULL: &str = r#"{"user":"ann","platform":"ios","tags":["vip","beta"],"metadata":{"app":"3.1"},"tokens":{"apns":"secret"},
    "do_not_disturb":{"windows":[{"from":"22:00","to":"07:00","zone":"Europe/Berlin"}]},"muted_rooms":{"lobby":{},"news":{"until":"2026-11-21T00:00:00Z"}}}"#;

#[tokio::test]
async fn a_backend_writes_what_is_kept_of_a_device() {
    let world = World::new().await;
    world.check(&format!("PUT {DEVICES}/d1"), FULL, expect![[r#"
        201
        {"device":"d1","user":"ann","platform":"ios","online":false,"rooms":[],"tags":["beta","vip"],"created_at":"2026-11-20T00:00:00.000Z","last_seen":"2026-11-20T00:00:00.000Z","do_not_disturb":{"until":null,"windows":[{"from":"22:00","to":"07:00","zone":"Europe/Berlin"}]},"metadata":{"app":"3.1"},"muted_rooms":{"lobby":{"until":null},"news":{"until":"2026-11-21T00:00:00.000Z"}},"tokens":{"apns":"***"}}
    "#]]).await;
    assert_eq!(world.call(&format!("PUT {DEVICES}/d1"), FULL).await.status, StatusCode::OK);
    let patch = r#"{"tags":["vip"],"metadata":{"app":null,"x":[1]},"muted_rooms":{"lobby":null},"do_not_disturb":{"windows":null,"until":"2026-11-20T01:00:00Z"}}"#;
    world.check(&format!("PATCH {DEVICES}/d1"), patch, expect![[r#"
        200
        {"device":"d1","user":"ann","platform":"ios","online":false,"rooms":[],"tags":["vip"],"created_at":"2026-11-20T00:00:00.000Z","last_seen":"2026-11-20T00:00:00.000Z","do_not_disturb":{"until":"2026-11-20T01:00:00.000Z","windows":[]},"metadata":{"x":[1]},"muted_rooms":{"news":{"until":"2026-11-21T00:00:00.000Z"}},"tokens":{"apns":"***"}}
    "#]]).await;
    // What is over is not shown any more.
    world.set_time(NOW + 2 * 24 * 3_600_000);
    world.check(&format!("GET {DEVICES}/d1"), "", expect![[r#"
        200
        {"device":"d1","user":"ann","platform":"ios","online":false,"rooms":[],"tags":["vip"],"created_at":"2026-11-20T00:00:00.000Z","last_seen":"2026-11-20T00:00:00.000Z","do_not_disturb":{"until":null,"windows":[]},"metadata":{"x":[1]},"muted_rooms":{},"tokens":{"apns":"***"}}
    "#]]).await;
    world
        .check(&format!("GET {DEVICES}?tag=vip&user=ann&platform=ios&online=false"), "", expect![[r#"
            200
            {"items":[{"device":"d1","user":"ann","platform":"ios","online":false,"rooms":[],"tags":["vip"],"created_at":"2026-11-20T00:00:00.000Z","last_seen":"2026-11-20T00:00:00.000Z"}],"next_cursor":null}
        "#]])
        .await;
    for query in ["tag=beta", "user=bob", "platform=web", "online=true"] {
        let none = world.call(&format!("GET {DEVICES}?{query}"), "").await.body;
        assert_eq!(none, r#"{"items":[],"next_cursor":null}"#, "{query}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_device_is_named() {
    let world = World::new().await;
    let (put, patch) = (format!("PUT {DEVICES}/d1"), format!("PATCH {DEVICES}/d1"));
    world.device("d1", "ann", Platform::Ios, &[]).await;
    for (call, body, expect) in [
        (
            &put,
            "[]",
            expect![[r#"
            400 invalid_request
              the body must be an object, not an array
        "#]],
        ),
        (
            &put,
            "{",
            expect![[r#"
            400 invalid_request
              the body is not JSON: EOF while parsing an object at line 1 column 1
        "#]],
        ),
        (
            &put,
            r#"{"online":true,"tags":[""],"platform":"tv"}"#,
            expect![[r#"
            400 invalid_request
              online: is not a known field; there are user, platform, tags, metadata, tokens, do_not_disturb, muted_rooms
              platform: is "tv", must be one of web, android, ios, desktop, other
              tags[0]: "" must not be empty
        "#]],
        ),
        (
            &patch,
            r#"{"tokens":{"webpush":{"endpoint":"x"}},"metadata":1}"#,
            expect![[r#"
            400 invalid_request
              metadata: must be an object, not the number 1
              tokens.webpush: must be an object with an `endpoint` that begins with https://
        "#]],
        ),
        (
            &patch,
            r#"{"muted_rooms":{"a":{"until":"soon"}},"do_not_disturb":{"windows":[{"from":"1"}]}}"#,
            expect![[r#"
                400 invalid_request
                  muted_rooms["a"].until: is "soon", must be a time like 2026-11-20T14:29:07Z (RFC 3339)
                  do_not_disturb.windows[0].from: is "1", must be a time of day from 00:00 to 23:59
                  do_not_disturb.windows[0].to: is required
                  do_not_disturb.windows[0].zone: is required
            "#]],
        ),
    ] {
        expect.assert_eq(&world.call(call, body).await.wrong());
    }
    for (call, expect) in [
        (
            format!("GET {DEVICES}?platform=tv&online=1&tag="),
            expect![[r#"
            400 invalid_request
              platform: is "tv", must be one of web, android, ios, desktop, other
              tag: "" must not be empty
              online: is "1", must be true or false
        "#]],
        ),
        (
            format!("PATCH {DEVICES}/d9"),
            expect![[r#"
            404 not_found
              there is no device "d9"
        "#]],
        ),
    ] {
        let body = if call.starts_with("PATCH") { "{}" } else { "" };
        expect.assert_eq(&world.call(&call, body).await.wrong());
    }
    let purge = r#"{"inactive_for":"1h","platform":"tv","tag":"","with_tokens":true}"#;
    expect![[r#"
        400 invalid_request
          platform: is "tv", must be one of web, android, ios, desktop, other
          tag: "" must not be empty
    "#]]
    .assert_eq(&world.call(&format!("POST {DEVICES}:purge"), purge).await.wrong());
    let before = world.call(&format!("GET {DEVICES}/d1"), "").await.body;
    assert!(before.contains(r#""metadata":{}"#), "{before}");
}
