//! Tokens are revoked, and keys to verify them with are fetched, as far as callers see it.

use expect_test::expect;
use http::StatusCode;

use super::*;

const REVOKE: &str = "POST /v1/namespaces/shop/tokens:revoke";

async fn shop(world: &World) {
    let made = world.call("POST /v1/namespaces", r#"{"name":"shop","auth":{"mode":"token"}}"#).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
}

#[tokio::test]
async fn a_token_that_was_revoked_opens_nothing() {
    let world = World::new().await;
    shop(&world).await;
    let minted = world.call("POST /v1/namespaces/shop/tokens", r#"{"user":"ann"}"#).await;
    let minted: serde_json::Value = serde_json::from_str(&minted.body).unwrap();
    let (token, jti) = (minted["token"].as_str().unwrap(), minted["jti"].as_str().unwrap());
    let ack = format!("POST /v1/namespaces/shop/acks?device=d1\nauthorization: Bearer {token}");
    let acks = r#"{"ids":["m"]}"#;
    assert_eq!(world.bare(&ack, acks).await.status, StatusCode::NOT_FOUND, "there is no such device");
    let revoked = world.call(REVOKE, format!(r#"{{"jti":"{jti}","for":"2h"}}"#)).await;
    expect![[r#"
        200
        {"until":"2026-11-20T02:00:00.000Z"}
    "#]]
    .assert_eq(&revoked.show());
    expect![[r#"
        401 unauthorized
          the token was revoked
    "#]]
    .assert_eq(&world.bare(&ack, acks).await.wrong());
    // What is minted from now on is good, and what was before is not.
    let mint = async || {
        let minted = world.call("POST /v1/namespaces/shop/tokens", r#"{"user":"ann"}"#).await;
        let minted: serde_json::Value = serde_json::from_str(&minted.body).unwrap();
        let token = minted["token"].as_str().unwrap().to_owned();
        format!("POST /v1/namespaces/shop/acks?device=d1\nauthorization: Bearer {token}")
    };
    let before = mint().await;
    world.set_time(NOW + 1);
    assert_eq!(world.call(REVOKE, r#"{"user":"ann"}"#).await.status, StatusCode::OK);
    assert_eq!(world.bare(&before, acks).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(world.bare(&mint().await, acks).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_a_revocation_must_be_like() {
    let world = World::new().await;
    shop(&world).await;
    for (body, expect) in [
        (
            "{}",
            expect![[r#"
            400 invalid_request
              jti: or user or before is required
        "#]],
        ),
        (
            r#"{"jti":"","user":"ann","for":"400d"}"#,
            expect![[r#"
            400 invalid_request
              for: is "400d", must be from 1s to 366d
              jti: has 0 bytes, must have 1 to 255
              jti: names one token; leave user and before out
        "#]],
        ),
        (
            r#"{"user":"a\nb","before":"soon"}"#,
            expect![[r#"
            400 invalid_request
              before: is "soon", must be a time like 2026-11-20T14:29:07Z (RFC 3339)
              user: "a\nb" has a control character at byte 1
        "#]],
        ),
        (
            r#"{"before":"2026-11-20T00:00:01Z","more":1}"#,
            expect![[r#"
            400 invalid_request
              more: is not a known field; there are jti, user, before, for
        "#]],
        ),
        (
            r#"{"before":"2026-11-20T00:00:01Z"}"#,
            expect![[r#"
            400 invalid_request
              before: is "2026-11-20T00:00:01Z", must not be later than now
        "#]],
        ),
    ] {
        expect.assert_eq(&world.call(REVOKE, body).await.wrong());
    }
}

#[tokio::test]
async fn where_keys_are_fetched_from_is_the_operators_to_open() {
    let world = World::new().await;
    shop(&world).await;
    let jwt = r#"{"algorithms":["ES256"],"jwks_url":"https://id.example.com/keys"}"#;
    let patch = |jwt: &str| format!(r#"{{"auth":{{"mode":"token","jwt":{jwt}}}}}"#);
    let changed = world.call("PATCH /v1/namespaces/shop", patch(jwt)).await;
    assert!(changed.body.contains(&format!(r#""jwt":{jwt}"#)), "{}", changed.body);
    let (_, key) = world.key("shop", r#"["manage"]"#).await;
    let inside = r#"{"allow_private":true}"#;
    let body = patch(inside);
    let refused =
        world.bare(&format!("PATCH /v1/namespaces/shop\nauthorization: Bearer {key}"), body.clone()).await;
    expect![[r#"
        403 forbidden
          auth.jwt.allow_private: needs the admin key
    "#]]
    .assert_eq(&refused.wrong());
    assert_eq!(world.call("PATCH /v1/namespaces/shop", body).await.status, StatusCode::OK);
    for (jwt, expect) in [
        (
            r#"{"algorithms":["ES256"],"jwks_url":"http://id.example.com/","allow_private":false}"#,
            expect![[r#"
                400 invalid_request
                  auth.jwt.jwks_url: must begin with https://: whoever sits in between would choose the keys
            "#]],
        ),
        (
            r#"{"algorithms":["ES256"],"jwks_url":"https://10.0.0.1/","allow_private":false}"#,
            expect![[r#"
                400 invalid_request
                  auth.jwt.jwks_url: must not be asked: 10.0.0.1 is a private address, which is called only with allow_private
            "#]],
        ),
        (
            r#"{"algorithms":["HS256"],"jwks_url":"https://id.example.com/"}"#,
            expect![[r#"
            400 invalid_request
              auth.jwt.jwks_url: does not go with HS256, HS384 and HS512: a secret is in no set
        "#]],
        ),
        (
            r#"{"algorithms":["ES256"],"jwks_url":"https://user@id.example.com/"}"#,
            expect![[r#"
            400 invalid_request
              auth.jwt.jwks_url: must not have a user name or password: the signature says who calls
        "#]],
        ),
    ] {
        expect.assert_eq(&world.call("PATCH /v1/namespaces/shop", patch(jwt)).await.wrong());
    }
}
