//! Namespaces are cleared, and go whole.

use expect_test::expect;
use http::StatusCode;

use super::*;

const PUSH: &str = r#"{"to":{"all":true},"data":1}"#;

#[tokio::test]
async fn a_namespace_that_is_cleared_keeps_its_rules_keys_and_devices() {
    let world = World::new().await;
    world.device("d1", "ann", Platform::Web, &["lobby"]).await;
    let (_, key) = world.key("demo", r#"["push","read","manage"]"#).await;
    world.call("POST /v1/namespaces/demo/messages", PUSH).await;
    let refused = world.with_key(&key, "POST /v1/namespaces/demo:clear", "").await;
    expect![[r#"
        403 forbidden
          this needs the admin key
    "#]]
    .assert_eq(&refused.wrong());
    for _ in 0..2 {
        let cleared = world.call("POST /v1/namespaces/demo:clear", "").await;
        assert_eq!(cleared.status, StatusCode::OK, "{}", cleared.body);
        let history = world.call("GET /v1/namespaces/demo/messages", "").await;
        assert!(history.body.contains(r#""items":[]"#), "{}", history.body);
        let stats = world.call("GET /v1/namespaces/demo/stats?granularity=day", "").await;
        assert!(stats.body.contains(r#""items":[]"#), "{}", stats.body);
    }
    let device = world.with_key(&key, "GET /v1/namespaces/demo/devices/d1", "").await;
    assert!(device.body.contains(r#""rooms":["lobby"]"#), "{}", device.body);
    assert_eq!(world.call("POST /v1/namespaces/none:clear", "").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_namespace_that_was_deleted_is_there_for_nobody() {
    let world = World::new().await;
    world.device("d1", "ann", Platform::Web, &["lobby"]).await;
    let (_, key) = world.key("demo", r#"["push","read","manage"]"#).await;
    let refused = world.with_key(&key, "DELETE /v1/namespaces/demo", "").await;
    expect![[r#"
        403 forbidden
          this needs the admin key
    "#]]
    .assert_eq(&refused.wrong());
    let gone = world.call("DELETE /v1/namespaces/demo", "").await;
    assert_eq!((gone.status, gone.body.as_str()), (StatusCode::NO_CONTENT, ""));
    let again = world.call("DELETE /v1/namespaces/demo", "").await;
    expect![[r#"
        404 not_found
          there is no namespace "demo"
    "#]]
    .assert_eq(&again.wrong());
    assert_eq!(world.with_key(&key, "GET /v1/namespaces/demo", "").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(world.call("GET /v1/namespaces/demo/devices", "").await.status, StatusCode::NOT_FOUND);
    let list = world.call("GET /v1/namespaces", "").await;
    assert!(list.body.contains(r#""items":[]"#), "{}", list.body);
    let made = world.call("POST /v1/namespaces", r#"{"name":"demo","auth":{"mode":"open"}}"#).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    assert_eq!(world.with_key(&key, "GET /v1/namespaces/demo", "").await.status, StatusCode::UNAUTHORIZED);
    for list in ["devices", "rooms", "keys", "messages"] {
        let found = world.call(&format!("GET /v1/namespaces/demo/{list}"), "").await;
        assert!(found.body.contains(r#""items":[]"#), "{list}: {}", found.body);
    }
}

/// Somebody still has to do with it: a call, a connection.
#[tokio::test(start_paused = true)]
async fn a_deletion_that_takes_long_says_so() {
    let world = World::new().await;
    let held = world.state.node.namespace("demo").unwrap();
    for _ in 0..2 {
        let going = world.call("DELETE /v1/namespaces/demo", "").await;
        assert_eq!(
            (going.status, going.body.as_str()),
            (StatusCode::ACCEPTED, r#"{"name":"demo","state":"deleting"}"#)
        );
    }
    assert_eq!(world.call("GET /v1/namespaces/demo", "").await.status, StatusCode::NOT_FOUND);
    let made = world.call("POST /v1/namespaces", r#"{"name":"demo","auth":{"mode":"open"}}"#).await;
    expect![[r#"
        409 conflict
          name: was the name of a namespace that is still being removed; retry in a moment
    "#]]
    .assert_eq(&made.wrong());
    drop(held);
    assert!(world.state.node.removed(&NamespaceName::new("demo").unwrap(), Duration::from_secs(5)).await);
}
