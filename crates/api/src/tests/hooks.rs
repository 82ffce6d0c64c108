//! Hooks of a namespace: what is refused, what is shown, and which secrets stay.

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use tidings_node::notify::Secret;

use super::World;

const CREATE: &str = "POST /v1/namespaces";

fn hook(name: &str) -> Value {
    json!({"name": name, "url": "https://hooks.invalid/x?y=1", "events": ["undelivered"], "secret": "0123456789abcdef"})
}

/// Creates a namespace with these hooks, which are not as they must be.
async fn refused(hooks: &[Value], expect: Expect) {
    let world = World::new().await;
    let mut out = String::new();
    for hooks in hooks {
        let body = json!({"name": "x", "auth": {"mode": "open"}, "hooks": hooks});
        out += &world.call(CREATE, body.to_string()).await.wrong();
    }
    expect.assert_eq(&out);
}

fn with(change: &Value) -> Value {
    let mut changed = hook("crm");
    for (name, value) in change.as_object().unwrap() {
        changed[name] = value.clone();
    }
    json!([changed])
}

#[tokio::test]
async fn hooks_that_are_not_hooks() {
    let many: Vec<_> = (0..11).map(|index| hook(&format!("h{index}"))).collect();
    let hooks = [
        json!({}),
        json!([1, null]),
        json!([{}]),
        json!([{"nam": 1}]),
        with(&json!({"name": "C R M", "events": []})),
        with(&json!({"events": ["undelivered", "exploded", "undelivered"]})),
        with(&json!({"secret": "short"})),
        with(&json!({"secret": "***"})),
        with(&json!({"secret": "x".repeat(257)})),
        json!([hook("crm"), hook("crm")]),
        json!(many),
    ];
    refused(
        &hooks,
        expect![[r#"
            400 invalid_request
              hooks: must be an array, not an object
            400 invalid_request
              hooks[0]: must be an object, not the number 1
              hooks[1]: must not be null
            400 invalid_request
              hooks[0].name: is required
              hooks[0].url: is required: where to tell it
              hooks[0].events: is required: at least one of undelivered, escalated, online, offline, disconnected, joined, left, occupied, vacated, acked, publish, rpc
              hooks[0].secret: is required: 16 to 256 bytes, to sign with
            400 invalid_request
              hooks[0].nam: is not a known field; there are name, url, events, batch, timeout, secret, allow_private
            400 invalid_request
              hooks[0].name: "C R M" must match [a-z0-9][a-z0-9_-]{0,49}, but does not at byte 0
              hooks[0].events: is required: at least one of undelivered, escalated, online, offline, disconnected, joined, left, occupied, vacated, acked, publish, rpc
            400 invalid_request
              hooks[0].events[1]: is "exploded", must be one of undelivered, escalated, online, offline, disconnected, joined, left, occupied, vacated, acked, publish, rpc
              hooks[0].events[2]: "undelivered" is there already
            400 invalid_request
              hooks[0].secret: has 5 bytes, must have 16 to 256
            400 invalid_request
              hooks[0].secret: is "***", but there is no hook with this name whose secret could stay
            400 invalid_request
              hooks[0].secret: has 257 bytes, must have 16 to 256
            400 invalid_request
              hooks[1].name: "crm" is the name of another hook
            400 invalid_request
              hooks: has 11 entries, at most 10 are allowed
        "#]],
    )
    .await;
}

#[tokio::test]
async fn urls_that_must_not_be_called() {
    let urls = [
        "",
        "ftp://example.com/",
        "https://user:password@example.com/",
        "https://example.com/#top",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://127.0.0.1/",
        "http://[::ffff:10.0.0.1]/",
        "http://169.254.169.254/latest/meta-data/",
        "https://example.com:99999/",
    ];
    let mut hooks: Vec<_> = urls.iter().map(|url| with(&json!({"url": url}))).collect();
    hooks.push(with(&json!({"url": format!("https://example.com/{}", "x".repeat(2_048))})));
    hooks.push(with(&json!({"url": "http://169.254.169.254/", "allow_private": true})));
    refused(&hooks, expect![[r#"
        400 invalid_request
          hooks[0].url: "" must begin with https:// or http://
        400 invalid_request
          hooks[0].url: "ftp://example.com/" must begin with https:// or http://
        400 invalid_request
          hooks[0].url: "https://user:password@example.com/" must not have a user name or password: the signature says who calls
        400 invalid_request
          hooks[0].url: "https://example.com/#top" must not have a fragment (#)
        400 invalid_request
          hooks[0].url: "http://2130706433/" has an address in an unusual spelling; write it as 192.0.2.1 or [2001:db8::1]
        400 invalid_request
          hooks[0].url: "http://0x7f.1/" has an address in an unusual spelling; write it as 192.0.2.1 or [2001:db8::1]
        400 invalid_request
          hooks[0].url: must not be called: 127.0.0.1 is an address of this machine, which is called only with allow_private
        400 invalid_request
          hooks[0].url: must not be called: ::ffff:10.0.0.1 is a private address, which is called only with allow_private
        400 invalid_request
          hooks[0].url: must not be called: 169.254.169.254 is a link-local address, which is never called
        400 invalid_request
          hooks[0].url: "https://example.com:99999/" has a port that is not a number from 1 to 65535
        400 invalid_request
          hooks[0].url: "https://example.com/xxxxxxxxxxxxxxxxxxxx…" has 2068 bytes, at most 2048 are allowed
        400 invalid_request
          hooks[0].url: must not be called: 169.254.169.254 is a link-local address, which is never called
    "#]]).await;
}

#[tokio::test]
async fn names_that_lead_inward() {
    let world = World::new().await;
    for (hooks, status) in [
        (with(&json!({"url": "http://localhost:1/"})), 400),
        (with(&json!({"url": "http://localhost:1/", "allow_private": true})), 201),
    ] {
        let body = json!({"name": "x", "auth": {"mode": "open"}, "hooks": hooks});
        let answer = world.call(CREATE, body.to_string()).await;
        assert_eq!(answer.status, status, "{}", answer.body);
        assert_eq!(answer.body.contains("is an address of this machine"), status == 400, "{}", answer.body);
    }
}

#[tokio::test]
async fn secrets_are_hidden_and_stay() {
    let world = World::new().await;
    let private = json!({"name": "inner", "url": "http://127.0.0.1:1/", "events": ["escalated"],
        "secret": "fedcba9876543210", "allow_private": true, "batch": 100});
    let body = json!({"name": "shop", "auth": {"mode": "open"}, "hooks": [hook("crm"), private]});
    let created = world.call(CREATE, body.to_string()).await;
    let created: Value = serde_json::from_str(&created.body).unwrap();
    let shown = json!([
        {"name": "crm", "url": "https://hooks.invalid/x?y=1", "events": ["undelivered"], "batch": 1, "timeout": "3s", "secret": "***", "allow_private": false},
        {"name": "inner", "url": "http://127.0.0.1:1/", "events": ["escalated"], "batch": 100, "timeout": "3s", "secret": "***", "allow_private": true},
    ]);
    assert_eq!(created["hooks"], shown);
    let secrets = || {
        let settings = world.state.node.namespace("shop").unwrap().settings();
        let secret = |hook: &tidings_node::notify::Hook| match &hook.secret {
            Secret(secret) => format!("{} {secret}", hook.name),
        };
        settings.hooks.iter().map(secret).collect::<Vec<_>>()
    };
    let mut renamed = shown[1].clone();
    renamed["name"] = json!("other");
    for (patch, status, expected) in [
        (json!({"title": "Shop"}), 200, vec!["crm 0123456789abcdef", "inner fedcba9876543210"]),
        (json!({"hooks": shown}), 200, vec!["crm 0123456789abcdef", "inner fedcba9876543210"]),
        (json!({"hooks": [renamed]}), 400, vec!["crm 0123456789abcdef", "inner fedcba9876543210"]),
        (
            json!({"hooks": [shown[1], with(&json!({"secret": "another secret 1"}))[0]]}),
            200,
            vec!["inner fedcba9876543210", "crm another secret 1"],
        ),
        (json!({"hooks": [shown[0]]}), 200, vec!["crm another secret 1"]),
        (json!({"hooks": null}), 200, vec![]),
        (json!({"hooks": [shown[0]]}), 400, vec![]),
    ] {
        let answer = world.call("PATCH /v1/namespaces/shop", patch.to_string()).await;
        assert_eq!(answer.status, status, "{patch}: {}", answer.body);
        assert!(!answer.body.contains("0123456789abcdef"), "{}", answer.body);
        assert_eq!(secrets(), expected, "{patch}");
    }
}

#[tokio::test]
async fn a_change_that_waits_for_a_lookup_undoes_no_other() {
    let world = World::new().await;
    let body = json!({"name": "shop", "auth": {"mode": "open"}});
    assert_eq!(world.call(CREATE, body.to_string()).await.status, 201);
    let change = |patch: Value| world.call("PATCH /v1/namespaces/shop", patch.to_string());
    let (hooks, title) =
        tokio::join!(change(json!({"hooks": [hook("crm")]})), change(json!({"title": "Shop"})));
    assert_eq!([hooks.status, title.status], [200, 200]);
    let settings = world.state.node.namespace("shop").unwrap().settings();
    assert_eq!((settings.title.as_str(), settings.hooks.len()), ("Shop", 1));
}

#[tokio::test]
async fn a_hook_has_numbers_and_is_replayed() {
    let world = World::new().await;
    let body = json!({"name": "shop", "auth": {"mode": "open"}, "hooks": [hook("crm")]});
    assert_eq!(world.call(CREATE, body.to_string()).await.status, 201);
    for (call, expected) in [
        ("GET /v1/namespaces/shop/hooks/crm", "200 {\"name\":\"crm\",\"waiting\":0,\"dead_letters\":0}"),
        ("POST /v1/namespaces/shop/hooks/crm/replay", "200 {\"replayed\":0}"),
        (
            "GET /v1/namespaces/shop/hooks",
            "200 {\"items\":[{\"name\":\"crm\",\"url\":\"https://hooks.invalid/x?y=1\",\"events\":[\"undelivered\"],\"waiting\":0,\"dead_letters\":0,\"last\":null}],\"next_cursor\":null}",
        ),
        ("GET /v1/namespaces/demo/hooks", "200 {\"items\":[],\"next_cursor\":null}"),
        ("GET /v1/namespaces/shop/hooks/crm/log", "200 {\"items\":[],\"next_cursor\":null}"),
        ("GET /v1/namespaces/shop/hooks/crm/dead", "200 {\"items\":[],\"next_cursor\":null}"),
        (
            "GET /v1/namespaces/shop/hooks/crm/dead?limit=0",
            "400 limit is \"0\", must be a number from 1 to 1000",
        ),
        ("GET /v1/namespaces/shop/hooks/crm/dead?cursor=!", "400 cursor is \"!\", must be the next_cursor"),
        ("GET /v1/namespaces/shop/hooks/other/log", "404 there is no hook \"other\""),
        ("GET /v1/namespaces/shop/hooks/other/dead", "404 there is no hook \"other\""),
        ("POST /v1/namespaces/shop/hooks/other/test", "404 there is no hook \"other\""),
        ("GET /v1/namespaces/shop/connections", "200 {\"items\":[],\"next_cursor\":null}"),
        ("GET /v1/namespaces/shop/connections?user=ann&device=d", "200 {\"items\":[],\"next_cursor\":null}"),
        (
            "GET /v1/namespaces/shop/connections?cursor=AAAA",
            "400 cursor is \"AAAA\", must be the next_cursor",
        ),
        ("DELETE /v1/namespaces/shop/connections/c1", "404 there is no connection \"c1\""),
        ("DELETE /v1/namespaces/shop/connections/x", "404 there is no connection \"x\""),
        ("GET /v1/namespaces/shop/hooks/other", "404 there is no hook \"other\""),
        ("POST /v1/namespaces/shop/hooks/other/replay", "404 there is no hook \"other\""),
        ("POST /v1/namespaces/demo/hooks/crm/replay", "404 there is no hook \"crm\""),
        ("GET /v1/namespaces/shop/hooks/C%20R", "400 hook \"C R\" must match"),
        ("GET /v1/namespaces/nowhere/hooks/crm", "404 there is no namespace \"nowhere\""),
    ] {
        let answer = world.call(call, "").await;
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        let text = body["detail"].as_str().map_or(answer.body.clone(), str::to_owned);
        let found = format!("{} {text}", answer.status.as_u16());
        assert!(found.starts_with(expected), "{call}: {found}");
    }
}
