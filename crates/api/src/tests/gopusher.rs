//! The calls of gopusher, over HTTP and as gRPC: their bytes, who may make them, and to whom a push goes.

use axum::Router;
use http::StatusCode;
use tidings_model::Topic;
use tonic::Code;

use super::*;
use crate::compat::gopusher::{Settings as Compat, router as compat};
use crate::grpc::gopusher::pb;
use crate::grpc::gopusher::pb::rpc_client::RpcClient;

async fn world(open: bool) -> World {
    let mut world = World::new().await;
    let namespace = NamespaceName::new("demo").unwrap();
    let calls = compat(world.state.clone(), Compat { namespace, open, alone: true });
    world.router = world.router.merge(calls);
    world
}

fn client(world: &World) -> RpcClient<Router> {
    RpcClient::new(world.router.clone())
}

/// What was handed to the shards since it was asked last: topics, data and what was said besides.
fn handed(world: &mut World) -> Vec<String> {
    let told = std::iter::from_fn(|| world.inboxes[0].try_recv().ok());
    let pushed = told.flat_map(|told| match told {
        ToShard::Deliver(deliveries) => deliveries,
        _ => Vec::new(),
    });
    let shown = pushed.map(|delivery| {
        let message = &delivery.message;
        // Whoever a caller says that it is from, no client has said it.
        assert_eq!(message.from, None);
        let topics: Vec<_> = message.topics.iter().map(|(topic, _): &(Topic, _)| topic.to_string()).collect();
        let text = |bytes: &bytes::Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        format!("{} {} {}", topics.join(" "), text(&message.data), text(&message.aside))
    });
    shown.collect()
}

#[tokio::test]
async fn its_json_has_the_habits_of_its_gateway() {
    let world = world(true).await;
    let ann = world.device("a1", "ann", Platform::Web, &[]).await;
    world.state.node.came(&ann, 7, 0).await.unwrap();
    for (call, body, expected) in [
        ("GET /", "", r#"{"msg":"welcome to socket server"}"#),
        ("GET /isOnline?cardID=ann", "", r#"{"result":"yes"}"#),
        ("GET /isOnline?cardID=bob", "", r#"{"result":"no"}"#),
        ("GET /isOnline", "", r#"{"result":"no"}"#),
        ("GET /group?cardID=ann", "", r#"{"clientNum":"1"}"#),
        ("GET /group?cardID=bob", "", r#"{"clientNum":"-1"}"#),
        ("POST /push", r#"{"from":"x","to":["ann","b"],"appID":"","content":"hi"}"#, r#"{"message":"ok"}"#),
        (
            "POST /push\ncontent-type: text/plain",
            r#"{"to":["ann"],"more":1,"content":null}"#,
            r#"{"message":"ok"}"#,
        ),
        ("POST /push", "", r#"{"message":"ok"}"#),
    ] {
        let answer = world.bare(call, body).await;
        assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, expected), "{call}");
        assert_eq!(answer.headers["content-type"], "application/json");
        assert_eq!(answer.headers["access-control-allow-origin"], "*", "{call}");
    }
    let system = world.bare("GET /system", "").await.body;
    assert!(
        system.starts_with(r#"{"cpuNum":""#) && system.ends_with(r#""clientNum":"1","groupNum":"1"}"#),
        "{system}"
    );
    assert_eq!(
        world.bare("OPTIONS /push\norigin: https://a.example", "").await.status,
        StatusCode::NO_CONTENT
    );
}

#[tokio::test]
async fn what_is_wrong_is_said_with_the_codes_of_grpc() {
    let mut world = world(true).await;
    let long = format!(r#"{{"to":["a"],"from":"{}"}}"#, "x".repeat(256));
    let app = format!(r#"{{"to":["a"],"appID":"{}"}}"#, "x".repeat(255));
    for (call, body, status, code) in [
        ("POST /push", "{", 400, 3),
        ("POST /push", "[]", 400, 3),
        ("POST /push", r#"["x",["ann"],"","hi"]"#, 400, 3),
        ("POST /push", r#"{"to":"ann"}"#, 400, 3),
        ("POST /push", r#"{"to":[1]}"#, 400, 3),
        ("POST /push", r#"{"content":{}}"#, 400, 3),
        ("POST /push", r#"{"to":["ann",""]}"#, 400, 3),
        ("POST /push", r#"{"to":["a\nb"]}"#, 400, 3),
        ("POST /push", &long, 400, 3),
        ("POST /push", &app, 400, 3),
        ("PUT /push", "", 405, 12),
        ("POST /system", "", 405, 12),
    ] {
        let answer = world.bare(call, body.to_owned()).await;
        let said: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(answer.status.as_u16(), status, "{call} {body} {said}");
        assert_eq!(said["code"], code, "{call} {body} {said}");
        assert!(
            said["error"] == said["message"] && said["error"].as_str().is_some_and(|text| !text.is_empty())
        );
    }
    // Nobody was told anything, not even those who are named before what is wrong.
    assert_eq!(handed(&mut world), Vec::<String>::new());
}

#[tokio::test]
async fn a_push_goes_to_users_or_to_those_of_an_application() {
    let mut world = world(true).await;
    let ann = world.device("a1", "ann", Platform::Web, &["gopusher/shop/ann"]).await;
    world.state.node.came(&ann, 7, 0).await.unwrap();
    handed(&mut world);
    for (body, expected) in [
        (r#"{"from":"me","to":["ann","ann"],"content":"a \"b\""}"#, r#"user:ann "a \"b\"" {"from":"me"}"#),
        (r#"{"to":["ann"],"appID":"shop","content":"x"}"#, r#"room:gopusher/shop/ann "x" "#),
        (r#"{"to":["p/ann"],"appID":"sho","content":"x"}"#, r#"room:gopusher/sho/p%2Fann "x" "#),
    ] {
        assert_eq!(world.bare("POST /push", body).await.status, StatusCode::OK);
        assert_eq!(handed(&mut world), [expected], "{body}");
    }
}

#[tokio::test]
async fn without_a_key_of_its_namespace_nothing_is_done() {
    let mut world = world(false).await;
    world.other_namespace().await;
    let (_, theirs) = world.key("other", r#"["push","read","manage"]"#).await;
    let (_, reads) = world.key("demo", r#"["read"]"#).await;
    let (_, pushes) = world.key("demo", r#"["push"]"#).await;
    handed(&mut world);
    for (key, call, expected) in [
        ("", "POST /push", 401),
        ("", "GET /system", 401),
        ("", "GET /isOnline?cardID=a", 401),
        ("", "GET /group?cardID=a", 401),
        ("nobody's", "POST /push", 401),
        (&theirs, "POST /push", 403),
        (&theirs, "GET /system", 403),
        (&reads, "POST /push", 403),
        (&pushes, "GET /system", 403),
        (&pushes, "GET /isOnline?cardID=a", 403),
        (&pushes, "GET /group?cardID=a", 403),
        (&reads, "GET /system", 200),
        (&pushes, "POST /push", 200),
        (KEY, "POST /push", 200),
    ] {
        let call =
            if key.is_empty() { call.to_owned() } else { format!("{call}\nauthorization: Bearer {key}") };
        let answer = world.bare(&call, "{}").await;
        assert_eq!(answer.status.as_u16(), expected, "{call}: {}", answer.body);
    }
    assert_eq!(handed(&mut world), Vec::<String>::new());
    for (key, code) in
        [("", Code::Unauthenticated), (&theirs, Code::PermissionDenied), (&reads, Code::PermissionDenied)]
    {
        let mut request =
            tonic::Request::new(pb::PushRequest { to: vec!["ann".to_owned()], ..Default::default() });
        if !key.is_empty() {
            request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
        }
        assert_eq!(client(&world).push(request).await.unwrap_err().code(), code, "{key}");
    }
    assert_eq!(handed(&mut world), Vec::<String>::new());
}

#[tokio::test]
async fn its_messages_are_the_same_calls() {
    let world = world(true).await;
    let ann = world.device("a1", "ann", Platform::Web, &[]).await;
    world.state.node.came(&ann, 7, 0).await.unwrap();
    let mut client = client(&world);
    let push = pb::PushRequest { to: vec!["ann".to_owned()], content: "hi".to_owned(), ..Default::default() };
    let reply = client.push(push).await.unwrap().into_inner();
    assert_eq!((reply.code, reply.message.as_str()), (0, "ok"));
    let system = client.system(pb::SystemRequest::default()).await.unwrap().into_inner();
    assert_eq!((system.client_num, system.group_num), (1, 1));
    assert!(system.cpu_num > 0);
    for (card, word, number) in [("ann", "yes", 1), ("bob", "no", -1), ("", "no", -1)] {
        let online = client.is_online(pb::IsOnlineRequest { card_id: card.to_owned() }).await.unwrap();
        assert_eq!(online.into_inner().result, word, "{card}");
        let group = client.group(pb::GroupRequest { card_id: card.to_owned() }).await.unwrap();
        assert_eq!(group.into_inner().client_num, number, "{card}");
    }
    let nobody = pb::PushRequest { to: vec![String::new()], ..Default::default() };
    assert_eq!(client.push(nobody).await.unwrap_err().code(), Code::InvalidArgument);
}

#[test]
fn its_contract_has_the_numbers_that_it_had() {
    use prost::Message as _;
    let push = pb::PushRequest {
        from: "f".to_owned(),
        to: vec!["a".to_owned(), "b".to_owned()],
        app_id: "p".to_owned(),
        content: "c".to_owned(),
    };
    assert_eq!(push.encode_to_vec(), b"\x0a\x01f\x12\x01a\x12\x01b\x1a\x01p\x22\x01c");
    let system = pb::SystemReply { cpu_num: 1, goroutine_num: 2, client_num: 3, group_num: 4 };
    assert_eq!(system.encode_to_vec(), b"\x08\x01\x10\x02\x18\x03\x20\x04");
    assert_eq!(pb::PushReply { code: 1, message: "m".to_owned() }.encode_to_vec(), b"\x08\x01\x12\x01m");
}
