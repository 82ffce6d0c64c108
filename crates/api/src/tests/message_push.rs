//! The push of message-push: its answers, who may push, and to whom.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;

use super::*;
use crate::compat::message_push::{Settings as Compat, router as compat};

const APP: &str = "aad55a6355c54a3c9bc1f1d2b3a4c5d6";
/// What the old server computed of it.
const DERIVED: &str = "6f538a7b6396f37c";
const PUSH: &str = r#"{"push_method":1,"platform":"Android","audience":{"uids":["ann"]},"message":{"title":"T","content":"hi"}}"#;

async fn world(derived_secrets: bool, alone: bool) -> World {
    let mut world = World::new().await;
    let namespace = NamespaceName::new("demo").unwrap();
    world.router =
        world.router.merge(compat(world.state.clone(), Compat { namespace, derived_secrets, alone }));
    world
}

fn basic(secret: &str) -> String {
    format!("POST /message-push/v1/push\nauthorization: Basic {}", STANDARD.encode(format!("{APP}:{secret}")))
}

fn pushes(world: &mut World) -> Vec<String> {
    let told = std::iter::from_fn(|| world.inboxes[0].try_recv().ok());
    let pushed = told.flat_map(|told| match told {
        ToShard::Deliver(deliveries) => deliveries,
        _ => Vec::new(),
    });
    let text = |data: &bytes::Bytes| String::from_utf8(data.to_vec()).unwrap();
    let shown = pushed
        .map(|delivery| format!("{:?} {}", delivery.message.to.platforms, text(&delivery.message.data)));
    shown.collect()
}

#[tokio::test]
async fn a_push_is_answered_as_it_was() {
    let mut world = world(false, true).await;
    let (_, key) = world.key("demo", r#"["push"]"#).await;
    let ann = world.device("a1", "ann", Platform::Android, &[]).await;
    world.state.node.came(&ann, 7, 0).await.unwrap();
    pushes(&mut world);
    let answer = world.bare(&basic(&key), PUSH).await;
    assert_eq!(answer.show(), "200\n{\"code\":1,\"msg\":\"OK\",\"data\":null}\n");
    assert_eq!(answer.headers["access-control-allow-origin"], "*");
    assert_eq!(pushes(&mut world), [r#"[Android] {"title":"T","content":"hi"}"#]);
    let alone = basic(&key).replace("/message-push", "");
    assert_eq!(world.bare(&alone, PUSH).await.status, StatusCode::OK);
    // A slash behind a path was nothing to routers then.
    let slash = basic(&key).replace("/push\n", "/push/\n");
    assert_eq!(world.bare(&slash, PUSH).await.status, StatusCode::OK);
    for (call, body, expected) in [
        (
            basic(&key),
            "{",
            "400\n{\"code\":400,\"msg\":\"Bad Request:输入参数(JSON)格式错误,请确认后重试.\"}\n",
        ),
        (
            basic(&key),
            r#"{"push_method":2,"audience":{},"message":{"content":""}}"#,
            "400\n{\"code\":400,\"msg\":\"参数错误:push_method:值错误,取值范围: 1:websocket,content:消息内容不能为空,uids:一次最少1个,最多1000\"}\n",
        ),
        (
            "GET /message-push/v1/push".to_owned(),
            "",
            "400\n{\"code\":405,\"msg\":\"Request method 'GET' not supported\"}\n",
        ),
    ] {
        assert_eq!(world.bare(&call, body).await.show(), expected, "{call}");
    }
    assert_eq!(world.bare("OPTIONS /message-push/v1/push", "").await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn beside_others_it_has_one_path() {
    let world = world(false, false).await;
    assert_eq!(world.bare("POST /v1/push", PUSH).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn only_a_key_of_its_namespace_pushes() {
    for derived in [false, true] {
        let mut world = world(derived, false).await;
        world.other_namespace().await;
        let (_, key) = world.key("demo", r#"["push"]"#).await;
        let (_, reads) = world.key("demo", r#"["read"]"#).await;
        let (_, theirs) = world.key("other", r#"["push"]"#).await;
        let ann = world.device("a1", "ann", Platform::Android, &[]).await;
        world.state.node.came(&ann, 7, 0).await.unwrap();
        pushes(&mut world);
        let path = "POST /message-push/v1/push";
        for (call, lets_in) in [
            (basic(&key), true),
            (basic(KEY), true),
            (basic(DERIVED), derived),
            (basic("6f538a7b6396f37d"), false),
            (basic(""), false),
            (basic(&format!("{key}:x")), false),
            (basic(&reads), false),
            (basic(&theirs), false),
            (path.to_owned(), false),
            (format!("{path}\nauthorization: Bearer {key}"), false),
            (format!("{path}\nauthorization: Basic !"), false),
        ] {
            let answer = world.bare(&call, PUSH).await;
            let expected =
                if lets_in { "200" } else { "403\n{\"code\":403,\"msg\":\"invalid Authorization\"}\n" };
            assert!(answer.show().starts_with(expected), "{derived} {call}: {}", answer.body);
            assert_eq!(pushes(&mut world).len(), usize::from(lets_in), "{derived} {call}");
        }
    }
}
