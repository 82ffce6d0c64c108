//! Simulations: begun, listed, ended, over by themselves, refused.

use expect_test::expect;
use serde_json::Value;

use super::{NOW, World};

const SIMULATIONS: &str = "POST /v1/namespaces/demo/simulations";
const LIST: &str = "GET /v1/namespaces/demo/simulations";

/// An answer with ids that are always the same.
fn shown(body: &str) -> String {
    let mut value: Value = serde_json::from_str(body).unwrap();
    let items = match value.get_mut("items") {
        Some(items) => items.as_array_mut().unwrap().iter_mut().collect(),
        None => vec![&mut value],
    };
    for item in items {
        assert_eq!(item["id"].as_str().unwrap().len(), 17);
        item["id"] = "s1".into();
    }
    value.to_string()
}

#[tokio::test]
async fn a_simulation_is_begun_listed_and_over() {
    let world = World::new().await;
    let call = async |body: &str| {
        let answer = world.call(SIMULATIONS, body.to_owned()).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        let id = serde_json::from_str::<Value>(&answer.body).unwrap()["id"].as_str().unwrap().to_owned();
        (shown(&answer.body), id)
    };
    let (begun, first) = call(r#"{"on":{"user":"ann"},"effect":"lose"}"#).await;
    expect![[r#"{"created_at":"2026-11-20T00:00:00.000Z","effect":"lose","expires_at":"2026-11-20T00:10:00.000Z","id":"s1","on":{"user":"ann"},"probability":1.0}"#]].assert_eq(&begun);
    let (begun, _) =
        call(r#"{"on":{"message":"m1"},"effect":"delay","delay":"200ms","probability":0.5,"for":"1m"}"#)
            .await;
    expect![[r#"{"created_at":"2026-11-20T00:00:00.000Z","delay":"200ms","effect":"delay","expires_at":"2026-11-20T00:01:00.000Z","id":"s1","on":{"message":"m1"},"probability":0.5}"#]].assert_eq(&begun);
    let end = format!("DELETE /v1/namespaces/demo/simulations/{first}");
    let answer = world.call(&end, "").await;
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (204, ""));
    assert_eq!(world.call(&end, "").await.status, 404);
    expect![[r#"{"items":[{"created_at":"2026-11-20T00:00:00.000Z","delay":"200ms","effect":"delay","expires_at":"2026-11-20T00:01:00.000Z","id":"s1","on":{"message":"m1"},"probability":0.5}],"next_cursor":null}"#]].assert_eq(&shown(&world.call(LIST, "").await.body));
    world.set_time(NOW + 60_000);
    world
        .check(
            LIST,
            "",
            expect![[r#"
        200
        {"items":[],"next_cursor":null}
    "#]],
        )
        .await;
}

#[tokio::test]
async fn what_makes_no_simulation_is_said_field_by_field() {
    let world = World::new().await;
    for (body, expect) in [
        (
            "{}",
            expect![[r#"
            400 invalid_request
              on: must name exactly one user, device, room or message
              effect: is required
        "#]],
        ),
        (
            r#"{"on":{"user":"ann","room":"lobby"},"effect":"explode","probability":1.5,"delay":"0s","for":"2h"}"#,
            expect![[r#"
                400 invalid_request
                  on: must name exactly one user, device, room or message
                  probability: is 1.5, must be from 0 to 1
                  delay: is "0s", must be from 1ms to 1m
                  for: is "2h", must be from 1ms to 1h
                  effect: is "explode", must be lose, delay, duplicate, reorder or disconnect
            "#]],
        ),
        (
            r#"{"on":{"user":""},"effect":"delay"}"#,
            expect![[r#"
            400 invalid_request
              on.user: "" must not be empty
              delay: is required with the effect delay
        "#]],
        ),
        (
            r#"{"on":{"room":"lobby"},"effect":"lose","delay":"1s"}"#,
            expect![[r#"
            400 invalid_request
              delay: goes with the effect delay only
        "#]],
        ),
        (
            r#"{"on":{"all":true},"effect":7,"probability":"often"}"#,
            expect![[r#"
            400 invalid_request
              effect: must be a string, not the number 7
              on.all: is not a known field; there are user, device, room, message
              probability: must be a number, not the string "often"
        "#]],
        ),
    ] {
        expect.assert_eq(&world.call(SIMULATIONS, body).await.wrong());
    }
}

#[tokio::test]
async fn there_may_be_only_so_many() {
    let world = World::new().await;
    for index in 0..100 {
        let body = format!(r#"{{"on":{{"device":"d{index}"}},"effect":"lose"}}"#);
        assert_eq!(world.call(SIMULATIONS, body).await.status, 201);
    }
    let one_more = world.call(SIMULATIONS, r#"{"on":{"device":"d"},"effect":"lose"}"#).await;
    expect![[r#"
        409 conflict
          the namespace has 100 simulations, which is the limit; end one, or wait until one is over
    "#]]
    .assert_eq(&one_more.wrong());
}

#[tokio::test]
async fn a_server_that_does_not_simulate_says_which_setting_does() {
    let world = World::with(false).await;
    let refused = world.call(SIMULATIONS, r#"{"on":{"device":"d"},"effect":"lose"}"#).await;
    expect![[r#"
        403 forbidden
          simulations are switched off on this server; simulations.enabled = true switches them on
    "#]]
    .assert_eq(&refused.wrong());
}
