//! A tenant sees only its own: with its own key and somebody else's ids, as with somebody else's namespace in the path.

use http::StatusCode;
use tidings_model::HookName;
use tidings_node::notify::{Hook, HookUrl, NoticeKind, Secret};

use super::*;

const EVERYTHING: &str = r#"["push","read","manage"]"#;

fn text(answer: &Answer, field: &str) -> String {
    let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    body[field].as_str().unwrap_or_else(|| panic!("{field} in {}", answer.body)).to_owned()
}

#[tokio::test]
async fn ids_of_another_namespace_are_unknown() {
    let world = World::new().await;
    // Everything that has an id, in `demo`.
    world.device("theirs", "lulu", Platform::Web, &["lobby"]).await;
    let push = r#"{"to":{"users":["lulu"]},"id":"order-1","data":1}"#;
    assert_eq!(world.call("POST /v1/namespaces/demo/messages", push).await.status, StatusCode::ACCEPTED);
    let (key_id, _) = world.key("demo", r#"["read"]"#).await;
    let simulation = r#"{"on":{"user":"lulu"},"effect":"lose","for":"10m"}"#;
    let simulation = text(&world.call("POST /v1/namespaces/demo/simulations", simulation).await, "id");
    let namespace = world.state.node.namespace("demo").unwrap();
    let hook = Hook {
        name: HookName::new("crm").unwrap(),
        url: HookUrl::parse("https://crm.example.com/").unwrap(),
        questions: Vec::new(),
        batch: 1,
        timeout_ms: 3_000,
        events: vec![NoticeKind::Undelivered],
        secret: Secret("0123456789abcdef".to_owned()),
        allow_private: false,
    };
    let settings = Settings { hooks: vec![hook], ..Settings::clone(&namespace.settings()) };
    world.state.node.change_namespace(namespace.changing().await, settings).await.unwrap();
    let block = r#"{"on":{"user":"bob"}}"#;
    let block = text(&world.call("POST /v1/namespaces/demo/blocks", block).await, "id");
    let who = world.device("here", "lulu", Platform::Web, &[]).await;
    world.state.node.came(&who, 7, 0).await.unwrap();
    let token = text(&world.call("POST /v1/namespaces/demo/tokens", r#"{"user":"lulu"}"#).await, "token");

    // Somebody with every scope in a namespace of their own.
    world.call("POST /v1/namespaces", r#"{"name":"other","auth":{"mode":"token"}}"#).await;
    let (_, key) = world.key("other", EVERYTHING).await;
    for call in [
        "GET messages/order-1".to_owned(),
        "GET messages/order-1/report".to_owned(),
        "GET messages/order-1/receipts?state=waiting".to_owned(),
        "GET messages/order-1/trace?user=lulu".to_owned(),
        "DELETE messages/order-1".to_owned(),
        "GET devices/theirs".to_owned(),
        "DELETE devices/theirs".to_owned(),
        "GET hooks/crm".to_owned(),
        "GET hooks/crm/log".to_owned(),
        "GET hooks/crm/dead".to_owned(),
        "POST hooks/crm/test".to_owned(),
        "POST hooks/crm/replay".to_owned(),
        "DELETE connections/c7".to_owned(),
        format!("DELETE blocks/{block}"),
        format!("DELETE keys/{key_id}"),
        format!("DELETE simulations/{simulation}"),
    ] {
        let (method, path) = call.split_once(' ').unwrap();
        let answer = world.with_key(&key, &format!("{method} /v1/namespaces/other/{path}"), "").await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{call}: {}", answer.body);
        // A name in letters that ids made up by the server, which are in answers too, do not have.
        assert!(!answer.body.contains("lulu"), "{call}: {}", answer.body);
        // And with the path of their namespace the key opens nothing.
        let answer = world.with_key(&key, &format!("{method} /v1/namespaces/demo/{path}"), "").await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{call}: {}", answer.body);
    }
    for list in ["messages", "devices", "rooms", "simulations", "blocks", "hooks", "rooms/lobby/members"] {
        let answer = world.with_key(&key, &format!("GET /v1/namespaces/other/{list}"), "").await;
        let nothing = answer.status == StatusCode::NOT_FOUND || answer.body.contains(r#""items":[]"#);
        assert!(nothing, "{list}: {}", answer.body);
    }
    let room = world.with_key(&key, "GET /v1/namespaces/other/rooms/lobby", "").await;
    assert!(room.body.contains(r#""total":0"#), "{}", room.body);
    let meant = r#"{"to":{"users":["lulu"],"devices":["theirs"],"rooms":["lobby"]},"dry_run":true}"#;
    let answer = world.with_key(&key, "POST /v1/namespaces/other/messages", meant).await;
    assert!(answer.body.contains(r#""meant":{"devices":0}"#), "{}", answer.body);
    let moved = r#"{"devices":["theirs"],"users":["lulu"],"from_rooms":["lobby"]}"#;
    let answer = world.with_key(&key, "POST /v1/namespaces/other/rooms/mine/members", moved).await;
    assert!(answer.body.contains(r#""added":0"#), "{}", answer.body);
    let ack = format!("POST /v1/namespaces/other/acks?device=theirs\nauthorization: Bearer {token}");
    let answer = world.bare(&ack, r#"{"ids":["order-1"]}"#).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{}", answer.body);

    // Nothing of what was tried has done anything there.
    let report = world.call("GET /v1/namespaces/demo/messages/order-1", "").await;
    assert!(
        report.body.contains(r#""state":"live""#) && report.body.contains(r#""waiting":1"#),
        "{}",
        report.body
    );
    let device = world.call("GET /v1/namespaces/demo/devices/theirs", "").await;
    assert!(device.body.contains(r#""rooms":["lobby"]"#), "{}", device.body);
    for (list, id) in [("keys", &key_id), ("simulations", &simulation), ("blocks", &block)] {
        let answer = world.call(&format!("GET /v1/namespaces/demo/{list}"), "").await;
        assert!(answer.body.contains(id.as_str()), "{}", answer.body);
    }
    assert!(world.state.node.namespace("demo").unwrap().directory().is_online(who.device.ordinal));
}
