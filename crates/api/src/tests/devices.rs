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
        {"items":[{"device":"d1","user":"ann","platform":"ios","online":true,"rooms":["lobby"],"created_at":"2026-11-20T00:00:00.000Z","last_seen":"2026-11-20T00:00:00.000Z"}],"next_cursor":"AAAAAA"}
    "#]]).await;
    let rest = world.call(&format!("GET {DEVICES}?cursor=AAAAAA"), "").await.body;
    assert!(rest.contains(r#""device":"d2""#) && rest.contains(r#""next_cursor":null"#), "{rest}");
    world.check(&format!("GET {DEVICES}/d2"), "", expect![[r#"
        200
        {"device":"d2","user":"bob","platform":"web","online":false,"rooms":[],"created_at":"2026-11-20T00:00:00.000Z","last_seen":"2026-11-20T00:00:00.000Z"}
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
