//! What a namespace may have, and how often: set, and enforced.

use expect_test::expect;
use http::StatusCode;

use super::*;

const PUSH: &str = r#"{"to":{"all":true}}"#;

impl World {
    async fn limit(&self, limits: &str) -> Answer {
        self.call("PATCH /v1/namespaces/demo", format!(r#"{{"limits":{limits}}}"#)).await
    }
}

#[tokio::test]
async fn a_namespace_has_the_limits_that_it_is_given() {
    let world = World::new().await;
    let shown = |answer: &Answer| {
        let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        format!("{}\n", body["limits"])
    };
    let changed = world.limit(r#"{"connections":5,"message_size":"1KiB","rooms_per_device":0}"#).await;
    expect![[r#"
        {"connections":5,"connections_per_user":0,"message_size":"1KiB","publish_per_second":1,"pushes_per_second":0,"requests_per_second":100,"rooms_per_device":0}
    "#]]
    .assert_eq(&shown(&changed));
    let back = world
        .limit(r#"{"connections":null,"message_size":null,"rooms_per_device":null,"connections_per_user":2}"#)
        .await;
    expect![[r#"
        {"connections":0,"connections_per_user":2,"message_size":"64KiB","publish_per_second":1,"pushes_per_second":0,"requests_per_second":100,"rooms_per_device":1000}
    "#]]
    .assert_eq(&shown(&back));
    let wrong = world
        .limit(
            r#"{"connections":10000001,"pushes_per_second":-1,"publish_per_second":99999999999,
                "rooms_per_device":10001,"message_size":"257KiB","more":1}"#,
        )
        .await;
    expect![[r#"
        400 invalid_request
          limits.more: is not a known field; there are connections, connections_per_user, rooms_per_device, message_size, pushes_per_second, publish_per_second, requests_per_second
          limits.pushes_per_second: must be a whole number from 0 on, not the number -1
    "#]].assert_eq(&wrong.wrong());
    let wrong = world
        .limit(r#"{"connections":10000001,"publish_per_second":99999999999,"rooms_per_device":10001,"message_size":"257KiB"}"#)
        .await;
    expect![[r#"
        400 invalid_request
          limits.connections: is 10000001, must be from 1 to 10000000, or 0 for no limit
          limits.publish_per_second: is 99999999999, must be from 1 to 10000000, or 0 for no limit
          limits.rooms_per_device: is 10001, must be from 1 to 10000, or 0 for as many as that
          limits.message_size: is "257KiB", must be from 1B to 256KiB, or 0B for no limit
    "#]]
    .assert_eq(&wrong.wrong());
}

#[tokio::test]
async fn pushes_are_taken_as_often_as_the_namespace_says() {
    let world = World::new().await;
    world.limit(r#"{"pushes_per_second":2}"#).await;
    for _ in 0..2 {
        assert_eq!(world.call("POST /v1/namespaces/demo/messages", PUSH).await.status, StatusCode::ACCEPTED);
    }
    let refused = world.call("POST /v1/namespaces/demo/messages", PUSH).await;
    assert_eq!((refused.status.as_u16(), refused.headers["retry-after"].to_str().unwrap()), (429, "1"));
    expect![[r#"
        429 rate_limited
          the namespace has as many pushes in a second as it may have; retry in 500 ms
    "#]]
    .assert_eq(&refused.wrong());
    let dry = world.call("POST /v1/namespaces/demo/messages", r#"{"to":{"all":true},"dry_run":true}"#).await;
    assert_eq!(dry.status, StatusCode::OK, "what is not sent is not counted");
    // Of a batch as many as there is room for; each of the others says when to come again.
    world.set_time(NOW + 500);
    let batch = format!(r#"{{"messages":[{PUSH},{PUSH}]}}"#);
    let answer = world.call("POST /v1/namespaces/demo/messages:batch", batch).await;
    assert_eq!(answer.status, StatusCode::OK);
    let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert!(body["results"][0]["id"].is_string(), "{body}");
    assert_eq!(body["results"][1]["error"]["code"], "rate_limited");
    assert_eq!(body["results"][1]["error"]["retry_after_ms"], 500);
    // Other namespaces feel nothing.
    world.call("POST /v1/namespaces", r#"{"name":"other","auth":{"mode":"open"}}"#).await;
    let other = world.call("POST /v1/namespaces/other/messages", PUSH).await;
    assert_eq!(other.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn the_size_of_a_message_is_the_namespaces_to_say() {
    let world = World::new().await;
    world.limit(r#"{"message_size":"8B"}"#).await;
    let push = r#"{"to":{"all":true},"data":"1234567"}"#;
    let refused = world.call("POST /v1/namespaces/demo/messages", push).await;
    expect![[r#"
        413 payload_too_large
          data: has 9 bytes, at most 8 are allowed
    "#]]
    .assert_eq(&refused.wrong());
    world.limit(r#"{"message_size":"0B"}"#).await;
    let push = format!(r#"{{"to":{{"all":true}},"data":"{}"}}"#, "x".repeat(200_000));
    assert_eq!(world.call("POST /v1/namespaces/demo/messages", push).await.status, StatusCode::ACCEPTED);
}
