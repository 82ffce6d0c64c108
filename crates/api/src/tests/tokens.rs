//! Namespaces with tokens: set up, minted, and what a client's token opens of the API.

use expect_test::expect;
use http::StatusCode;

use super::*;

const SECRET: &str = "0123456789abcdef0123456789ABCDEF";

impl World {
    async fn minted(&self, namespace: &str, body: &str) -> String {
        let answer = self.call(&format!("POST /v1/namespaces/{namespace}/tokens"), body.to_owned()).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        body["token"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_namespace_says_who_may_connect() {
    let world = World::new().await;
    let jwt = format!(r#"{{"algorithms":["HS256"],"secret":"{SECRET}","issuer":"shop"}}"#);
    let body = format!(r#"{{"name":"shop","auth":{{"mode":"token","jwt":{jwt}}}}}"#);
    let made = world.call("POST /v1/namespaces", body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    let shown = r#""auth":{"mode":"token","jwt":{"algorithms":["HS256"],"secret":"***","issuer":"shop"}}"#;
    assert!(made.body.contains(shown), "{}", made.body);
    // What is not named stays, the secret as well.
    let changed = world.call("PATCH /v1/namespaces/shop", r#"{"auth":{"jwt":{"issuer":"store"}}}"#).await;
    assert!(changed.body.contains(&shown.replace("shop", "store")), "{}", changed.body);
    let settings = world.state.node.namespace("shop").unwrap().settings();
    assert_eq!(settings.jwt.as_ref().unwrap().secret.as_deref(), Some(SECRET));
    for (jwt, expect) in [
        (
            r#"{"algorithms":["none","HS256"],"secret":"x"}"#,
            expect![[r#"
                400 invalid_request
                  auth.jwt.algorithms[0]: is "none", must be HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 or EdDSA
            "#]],
        ),
        (
            r#"{"algorithms":["HS256"],"secret":"changeme"}"#,
            expect![[r#"
                400 invalid_request
                  auth.jwt.secret: is one that everybody knows
            "#]],
        ),
        (
            r#"{"jwks_url":"https://example.com/keys"}"#,
            expect![[r#"
                400 invalid_request
                  auth.jwt.algorithms: must name at least one
            "#]],
        ),
    ] {
        let body = format!(r#"{{"name":"x","auth":{{"mode":"token","jwt":{jwt}}}}}"#);
        expect.assert_eq(&world.call("POST /v1/namespaces", body).await.wrong());
    }
}

#[tokio::test]
async fn a_token_is_minted() {
    let world = World::new().await;
    let call = "POST /v1/namespaces/demo/tokens";
    let body = r#"{"user":"ann","device":"d1","platform":"web","rooms":["lobby"],"join":["score.*"],"publish":["lobby"],"meta":{"plan":"free"},"expires_in":"10m"}"#;
    let answer = world.call(call, body).await;
    assert!(answer.body.contains(r#""expires_at":"2026-11-20T00:10:00.000Z""#), "{}", answer.body);
    for (body, expect) in [
        (
            "{}",
            expect![[r#"
                400 invalid_request
                  user: is required
            "#]],
        ),
        (
            r#"{"user":"","device":"a\nb","platform":"tv","rooms":["ok",""],"join":[""],"expires_in":"90d"}"#,
            expect![[r#"
                400 invalid_request
                  user: "" must not be empty
                  device: "a\nb" has a control character at byte 1
                  platform: is "tv", must be web, android, ios, desktop or other
                  rooms[1]: "" must not be empty
                  join[0]: "" must not be empty
                  expires_in: is "90d", must be from 1s to 30d
            "#]],
        ),
    ] {
        expect.assert_eq(&world.call(call, body).await.wrong());
    }
    let long = format!(r#"{{"user":"ann","meta":{{"text":"{}"}}}}"#, "x".repeat(9_000));
    let refused = world.call(call, long).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn receipts_need_the_token_of_the_devices_user() {
    let world = World::new().await;
    let body = r#"{"name":"shop","auth":{"mode":"token"}}"#;
    assert_eq!(world.call("POST /v1/namespaces", body).await.status, StatusCode::CREATED);
    let (ann, bob) = (
        world.minted("shop", r#"{"user":"ann","device":"d1"}"#).await,
        world.minted("shop", r#"{"user":"bob"}"#).await,
    );
    let claim = Claim { token: Some(ann.clone()), ..Claim::default() };
    world.state.node.identify(&NamespaceName::new("shop").unwrap(), claim).await.unwrap();
    let push = r#"{"to":{"users":["ann"]},"id":"m1"}"#;
    assert_eq!(world.call("POST /v1/namespaces/shop/messages", push).await.status, StatusCode::ACCEPTED);
    let acks = "POST /v1/namespaces/shop/acks";
    for (call, status) in [
        (acks.to_owned(), 401),
        (format!("{acks}?device=d1"), 401),
        (format!("{acks}?token=x.y.z&device=d1"), 401),
        (format!("{acks}\nauthorization: Bearer {bob}"), 400),
        (format!("{acks}?device=d1\nauthorization: Bearer {bob}"), 404),
        (format!("{acks}\nauthorization: Bearer {ann}"), 200),
        (format!("{acks}?token={ann}"), 200),
    ] {
        let answer = world.bare(&call, r#"{"ids":["m1"]}"#).await;
        assert_eq!(answer.status.as_u16(), status, "{call}: {}", answer.body);
    }
}
