//! Who may call, and for what: made, used, revoked; and everything that another tenant's key does not open.

use expect_test::expect;
use http::StatusCode;
use tidings_node::namespace::{AuthMode, Settings};

use super::*;

const KEYS: &str = "/v1/namespaces/demo/keys";

impl World {
    /// A new key of a namespace: its id, and the key.
    pub(super) async fn key(&self, namespace: &str, scopes: &str) -> (String, String) {
        let body = format!(r#"{{"name":"test","scopes":{scopes}}}"#);
        let answer = self.call(&format!("POST /v1/namespaces/{namespace}/keys"), body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        (body["id"].as_str().unwrap().to_owned(), body["key"].as_str().unwrap().to_owned())
    }

    pub(super) async fn with_key(&self, key: &str, call: &str, body: &'static str) -> Answer {
        self.bare(&format!("{call}\nauthorization: Bearer {key}"), body).await
    }

    pub(super) async fn other_namespace(&self) {
        let name = NamespaceName::new("other").unwrap();
        let settings = Settings::new("", AuthMode::Open, Timestamp(NOW));
        self.state.node.create_namespace(name, settings).await.unwrap();
    }
}

#[tokio::test]
async fn a_key_is_shown_once_and_opens_what_it_says() {
    let world = World::new().await;
    let (id, key) = world.key("demo", r#"["push"]"#).await;
    let push = r#"{"to":{"all":true}}"#;
    let answer = world.with_key(&key, "POST /v1/namespaces/demo/messages", push).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.body);
    let refused = world.with_key(&key, "GET /v1/namespaces/demo/messages", "").await;
    expect![[r#"
        403 forbidden
          the key has not the scope "read" that this needs
    "#]]
    .assert_eq(&refused.wrong());
    let list = world.call(&format!("GET {KEYS}"), "").await.body;
    assert!(!list.contains(&key), "{list}");
    assert!(list.contains(r#""name":"test","scopes":["push"],"created_at":"2026-11-20T00:00:00.000Z","pushes_per_second":0,"last_used_at":"2026-11-20T00:00:00.000Z""#), "{list}");
    let revoked = world.call(&format!("DELETE {KEYS}/{id}"), "").await;
    assert_eq!(revoked.status, StatusCode::NO_CONTENT);
    let answer = world.with_key(&key, "POST /v1/namespaces/demo/messages", push).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    let again = world.call(&format!("DELETE {KEYS}/{id}"), "").await;
    assert_eq!(again.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_key_ends_when_it_says() {
    let world = World::new().await;
    let body = r#"{"name":"short","scopes":["read"],"expires_at":"2026-11-20T00:01:00Z"}"#;
    let made = world.call(&format!("POST {KEYS}"), body).await.body;
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    let show = "GET /v1/namespaces/demo";
    let key = made["key"].as_str().unwrap();
    assert_eq!(world.with_key(key, show, "").await.status, StatusCode::OK);
    world.set_time(NOW + 60_000);
    assert_eq!(world.with_key(key, show, "").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn what_a_key_must_be_like() {
    let world = World::new().await;
    for (body, expect) in [
        (
            "{}",
            expect![[r#"
                400 invalid_request
                  name: is required
                  scopes: is required: at least one of push, read and manage
            "#]],
        ),
        (
            r#"{"name":"","scopes":["push","write"],"expires_at":"2026-11-19T00:00:00Z"}"#,
            expect![[r#"
                400 invalid_request
                  name: "" must not be empty
                  scopes[1]: is "write", must be push, read or manage
                  expires_at: is "2026-11-19T00:00:00Z", must be later than now
            "#]],
        ),
        (
            r#"{"name":"a","scopes":"push","expires_at":"soon","more":1}"#,
            expect![[r#"
                400 invalid_request
                  more: is not a known field; there are name, scopes, expires_at, pushes_per_second
                  scopes: must be an array of strings, not the string "push"
            "#]],
        ),
    ] {
        expect.assert_eq(&world.call(&format!("POST {KEYS}"), body).await.wrong());
    }
    for _ in 0..tidings_node::keys::KEYS_MAX {
        world.key("demo", r#"["read"]"#).await;
    }
    expect![[r#"
        409 conflict
          the namespace has 100 keys, which is the limit; revoke one that is not used
    "#]]
    .assert_eq(&world.call(&format!("POST {KEYS}"), r#"{"name":"a","scopes":["read"]}"#).await.wrong());
}

/// Every call there is, with a key of another namespace that may do everything there.
#[tokio::test]
async fn a_tenant_opens_nothing_of_another() {
    let world = World::new().await;
    world.other_namespace().await;
    let (id, own) = world.key("demo", r#"["push","read","manage"]"#).await;
    let (_, key) = world.key("other", r#"["push","read","manage"]"#).await;
    for (method, path) in crate::rest::routes().list {
        let path = path.replace("{ns}", "demo").replace("{id}", &id).replace(['{', '}'], "");
        if path.ends_with("/acks") || !path.starts_with("/v1/") {
            continue;
        }
        let call = format!("{} {path}", method.to_uppercase());
        let answer = world.with_key(&key, &call, "{}").await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{call}: {}", answer.body);
        let answer = world.bare(&format!("{call}\nauthorization: Basic {}", basic("demo", &key)), "{}").await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{call}: {}", answer.body);
    }
    // The other one's id is no key of one's own namespace.
    let answer = world.with_key(&key, &format!("DELETE /v1/namespaces/other/keys/{id}"), "").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(world.with_key(&own, "GET /v1/namespaces/demo", "").await.status, StatusCode::OK);
}

fn basic(user: &str, password: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"))
}

#[tokio::test]
async fn a_tenant_does_not_open_the_inside() {
    let world = World::new().await;
    let (_, key) = world.key("demo", r#"["manage"]"#).await;
    let hook = r#"{"hooks":[{"name":"h","url":"https://10.0.0.1/","events":["undelivered"],"secret":"0123456789abcdef0123456789abcdef","allow_private":true}]}"#;
    let refused = world.with_key(&key, "PATCH /v1/namespaces/demo", hook).await;
    expect![[r#"
        403 forbidden
          hooks[0].allow_private: needs the admin key
    "#]]
    .assert_eq(&refused.wrong());
    assert_eq!(world.call("PATCH /v1/namespaces/demo", hook).await.status, StatusCode::OK);
    let title = world.with_key(&key, "PATCH /v1/namespaces/demo", r#"{"title":"mine"}"#).await;
    assert_eq!(title.status, StatusCode::OK, "what the operator has opened stays open: {}", title.body);
}

#[tokio::test]
async fn who_guesses_has_to_wait_and_nobody_else() {
    let world = World::new().await;
    let guess = "GET /v1/namespaces/demo";
    let mut answers = Vec::new();
    for n in 0..230 {
        let answer = world.with_key(&format!("nk_{n}"), guess, "").await;
        answers.push(answer.status.as_u16());
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            assert_eq!(answer.headers["retry-after"], "1");
        }
    }
    assert_eq!((answers[0], answers[199]), (401, 401), "{answers:?}");
    assert!(answers.contains(&429), "{answers:?}");
    assert_eq!(world.call(guess, "").await.status, StatusCode::OK, "a key that is one is never refused");
}

#[tokio::test]
async fn a_key_pushes_as_often_as_it_may() {
    let world = World::new().await;
    let make = |rate: &str| format!(r#"{{"name":"r","scopes":["push"],"pushes_per_second":{rate}}}"#);
    let made = world.call(&format!("POST {KEYS}"), make("2")).await.body;
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    assert_eq!(made["pushes_per_second"], 2);
    let key = made["key"].as_str().unwrap();
    let (_, other) = world.key("demo", r#"["push"]"#).await;
    let push = async |key: &str| {
        let answer = world.with_key(key, "POST /v1/namespaces/demo/messages", r#"{"to":{"all":true}}"#).await;
        (answer.status, answer.headers.get("retry-after").map(|after| after.to_str().unwrap().to_owned()))
    };
    assert_eq!(push(key).await, (StatusCode::ACCEPTED, None));
    let batch = r#"{"messages":[{"to":{"all":true}},{"to":{"all":true}}]}"#;
    let answer = world.with_key(key, "POST /v1/namespaces/demo/messages:batch", batch).await;
    let answer: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert!(answer["results"][0]["id"].is_string(), "{answer}");
    assert_eq!(answer["results"][1]["error"]["code"], "rate_limited", "{answer}");
    assert_eq!(push(key).await, (StatusCode::TOO_MANY_REQUESTS, Some("1".to_owned())));
    assert_eq!(push(&other).await.0, StatusCode::ACCEPTED, "what one does is no matter of the others");
    world.set_time(NOW + 500);
    assert_eq!(push(key).await.0, StatusCode::ACCEPTED);
    expect![[r#"
        400 invalid_request
          pushes_per_second: is 10000001, must be from 1 to 10000000, or 0 for no limit
    "#]]
    .assert_eq(&world.call(&format!("POST {KEYS}"), make("10000001")).await.wrong());
}
