//! What backends of light-push call, beside the rest of the API.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::compat::light_push::{Settings, router as light_push};

/// The paths that a namespace's backends call.
const OWN: [&str; 12] = [
    "POST /api/auth/push",
    "GET /api/auth/report/push",
    "GET /api/auth/report/push/1",
    "GET /api/auth/report/online",
    "GET /api/auth/namespace/current-message-stat",
    "POST /api/auth/transfer",
    "POST /api/auth/client",
    "POST /api/auth/room-apns",
    "POST /api/auth/room-leave-message",
    "GET /api/auth/namespace",
    "POST /api/auth/namespace/save",
    "POST /api/auth/login",
];

/// And those that the administrator calls.
const ADMIN: [&str; 8] = [
    "POST /api/admin/login",
    "POST /api/admin/namespace/save",
    "GET /api/admin/namespace/list",
    "GET /api/admin/namespace/clear/demo",
    "GET /api/admin/namespace/flush/demo",
    "POST /api/admin/namespace/clear-realtime-data",
    "POST /api/admin/clear-legacy-client",
    "GET /api/admin/report/online",
];

async fn world() -> World {
    let world = World::new().await;
    // On the main listener they are merged.
    let router = world.router.clone().merge(light_push(world.state.clone(), Settings {}));
    World { router, ..world }
}

fn basic(key: &str, password: &str) -> String {
    format!("authorization: Basic {}", STANDARD.encode(format!("{key}:{password}")))
}

impl World {
    async fn as_admin(&self, call: &str, body: &'static str) -> Answer {
        self.bare(&format!("{call}\ncontent-type: application/json\n{}", basic("admin", KEY)), body).await
    }
}

#[tokio::test]
async fn no_call_is_open_to_who_has_no_key_for_it() {
    let world = world().await;
    let namespace = world.state.node.namespace("demo").unwrap();
    world.state.node.set_password(&namespace, "right").await.unwrap();
    let status = async |call: &str, key, password| {
        let answer = world.bare(&format!("{call}\n{}", basic(key, password)), "").await;
        assert_eq!(answer.headers["from"], "light-push", "{call}");
        (answer.status.as_u16(), answer.body)
    };
    // A slash behind a path was nothing to routers then.
    let slashed = OWN.map(|call| format!("{call}/"));
    for call in OWN.into_iter().chain(slashed.iter().map(String::as_str)) {
        let nobody = world.bare(call, "").await;
        assert_eq!((nobody.status.as_u16(), nobody.body.as_str()), (400, "need authorization"), "{call}");
        let text = |status, text: &str| (status, text.to_owned());
        assert_eq!(status(call, "/demo", "wrong").await, text(401, "passwd error"), "{call}");
        assert_eq!(status(call, "/other", "right").await, text(400, "namespace not found"), "{call}");
        assert_eq!(status(call, "admin", KEY).await, text(400, "namespace not found"), "{call}");
        assert!(![401, 403, 404].contains(&status(call, "/demo", "right").await.0), "{call}");
    }
    for call in ADMIN {
        let nobody = world.bare(call, "").await;
        assert_eq!((nobody.status.as_u16(), nobody.body.as_str()), (400, "need authorization"), "{call}");
        for (key, password) in [("/demo", "right"), ("admin", "right"), ("admin", "wrong"), ("root", KEY)] {
            assert_eq!(status(call, key, password).await, (401, "auth error".to_owned()), "{call} {key}");
        }
    }
    // The admin key opens every namespace, as everywhere.
    assert_eq!(status("POST /api/auth/login", "/demo", KEY).await.0, 200);
}

#[tokio::test]
async fn clients_that_do_not_come_are_forgotten_and_named() {
    let world = world().await;
    let hour = 3_600_000;
    world.device("u1#ios-d1", "u1", Platform::Ios, &["r1"]).await;
    world.set_time(NOW + 200 * hour);
    world.device("u2#web-d2", "u2", Platform::Web, &[]).await;
    world.set_time(NOW + 240 * hour);
    let forget = async || {
        let path = "POST /api/admin/clear-legacy-client";
        world.as_admin(path, r#"{"namespace":"/demo"}"#).await.body
    };
    assert_eq!(forget().await, r#"{"code": 9999,"msg": "namespace must be set offline on"}"#);
    world.as_admin("POST /api/admin/namespace/save", r#"{"key":"/demo","offline":"on"}"#).await;
    assert_eq!(forget().await, r#"["/demo#u1#ios-d1"]"#);
    assert_eq!(forget().await, "[]");
}

#[tokio::test]
async fn a_message_that_waits_for_nobody_wakes_nobody() {
    let world = world().await;
    let namespace = world.state.node.namespace("demo").unwrap();
    for (body, stays) in [
        (r#"{"room":"r1","pushData":{"a":1,"apsData":{"x":2}},"leaveMessage":true}"#, true),
        (r#"{"room":"r1","pushData":{"a":1},"extra":"lost"}"#, false),
    ] {
        let call = format!("POST /api/auth/push\ncontent-type: application/json\n{}", basic("/demo", KEY));
        let answer = world.bare(&call, body).await;
        let id: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        let seq = tidings_model::Seq(id["id"].as_u64().unwrap());
        let message = world.state.node.message_by_number(&namespace, seq).await.unwrap().unwrap();
        assert_eq!(message.expires_at.since(message.sent_at), Duration::from_secs(3_600), "{body}");
        // Nobody can be woken on this node; whoever could be, is not after the end of the message.
        assert_eq!(message.escalate_after, None);
        assert_eq!(&message.data[..], br#"{"a":1}"#);
        let offline: &[u8] = if stays { br#"{"apns":{"x":2}}"# } else { b"" };
        assert_eq!(&message.offline[..], offline);
        let aside = std::str::from_utf8(&message.aside).unwrap();
        assert_eq!(aside.contains(r#""extra":"lost""#), !stays, "{aside}");
    }
}
