//! Who is kept out: set, listed, lifted.

use expect_test::expect;
use http::StatusCode;
use serde_json::Value;

use super::*;

const BLOCKS: &str = "/v1/namespaces/demo/blocks";

impl World {
    async fn block(&self, body: &str) -> (StatusCode, Value) {
        let answer = self.call(&format!("POST {BLOCKS}"), body.to_owned()).await;
        (answer.status, serde_json::from_str(&answer.body).unwrap())
    }

    async fn blocks(&self, query: &str) -> Value {
        serde_json::from_str(&self.call(&format!("GET {BLOCKS}{query}"), "").await.body).unwrap()
    }
}

#[tokio::test]
async fn a_block_is_set_listed_and_lifted() {
    let world = World::new().await;
    let (status, block) = world.block(r#"{"on":{"user":"ann"},"for":"10m","reason":"spam"}"#).await;
    let id = block["id"].as_str().unwrap().to_owned();
    assert_eq!(status, StatusCode::CREATED);
    expect![[
        r#"{"created_at":"2026-11-20T00:00:00.000Z","expires_at":"2026-11-20T00:10:00.000Z","id":"-","on":{"user":"ann"},"reason":"spam"}"#
    ]]
    .assert_eq(&block.to_string().replace(&id, "-"));
    let (status, again) = world.block(r#"{"on":{"user":"ann"}}"#).await;
    assert_eq!((status, &again["id"], &again["expires_at"]), (StatusCode::OK, &block["id"], &Value::Null));
    world.set_time(NOW + 1);
    for (body, shown) in [
        (r#"{"on":{"device":"d1"}}"#, r#"{"device":"d1"}"#),
        (r#"{"on":{"address":"::ffff:203.0.113.9/120"}}"#, r#"{"address":"203.0.113.0/24"}"#),
        (r#"{"on":{"address":"2001:DB8::7"}}"#, r#"{"address":"2001:db8::7"}"#),
    ] {
        let (status, block) = world.block(body).await;
        assert_eq!((status, block["on"].to_string()), (StatusCode::CREATED, shown.to_owned()), "{body}");
    }
    // Page by page there are as many as at once.
    let all = world.blocks("").await;
    let (mut one_by_one, mut query) = (Vec::new(), "?limit=1".to_owned());
    loop {
        let page = world.blocks(&query).await;
        one_by_one.extend(page["items"].as_array().unwrap().clone());
        let Some(next) = page["next_cursor"].as_str() else { break };
        query = format!("?limit=1&cursor={next}");
    }
    assert_eq!((all["items"].as_array(), one_by_one.len()), (Some(&one_by_one), 4));
    let lift = format!("DELETE {BLOCKS}/{id}");
    assert_eq!(world.call(&lift, "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(world.call(&lift, "").await.status, StatusCode::NOT_FOUND);
    assert_eq!(world.blocks("").await["items"].as_array().unwrap().len(), 3);
    // Who is sent away for a while is in the same list.
    world.call("DELETE /v1/namespaces/demo/users/bob/connections?block=1h", "").await;
    assert!(
        world.blocks("").await["items"].as_array().unwrap().iter().any(|block| block["on"]["user"] == "bob")
    );
}

#[tokio::test]
async fn a_block_that_is_none_is_refused_by_field() {
    let world = World::new().await;
    let call = format!("POST {BLOCKS}");
    for (body, expect) in [
        (
            "{}",
            expect![[r#"
            400 invalid_request
              on: must name exactly one user, device or address
        "#]],
        ),
        (
            r#"{"on":{"user":"ann","device":"d1"}}"#,
            expect![[r#"
            400 invalid_request
              on: must name exactly one user, device or address
        "#]],
        ),
        (
            r#"{"on":{"address":"10.0.0.0/33"},"for":"400d"}"#,
            expect![[r#"
            400 invalid_request
              on.address: "10.0.0.0/33" must be an address or a network, as in 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32
              for: is "400d", must be from 1ms to 366d
        "#]],
        ),
        (
            r#"{"on":{"room":"lobby"},"for":10}"#,
            expect![[r#"
            400 invalid_request
              for: must be a string, not the number 10
              on.room: is not a known field; there are user, device, address
        "#]],
        ),
    ] {
        expect.assert_eq(&world.call(&call, body).await.wrong());
    }
    let long = format!(r#"{{"on":{{"user":"ann"}},"reason":"{}"}}"#, "x".repeat(256));
    expect![[r#"
        400 invalid_request
          reason: has 256 bytes, at most 255 are allowed
    "#]]
    .assert_eq(&world.call(&call, long).await.wrong());
    expect![[r#"
        400 invalid_request
          limit: is "0", must be a number from 1 to 1000
    "#]]
    .assert_eq(&world.call(&format!("GET {BLOCKS}?cursor=x&limit=0"), "").await.wrong());
}
