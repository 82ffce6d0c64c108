//! What is wrong with a request is said in gRPC as REST says it: the same code, fields and texts.

use std::sync::Arc;

use tonic::Code;

use expect_test::expect;

use super::*;

/// What is wrong with a push, both ways.
async fn same(world: &World, push: pb::Push, json: &str) {
    let grpc = world.client().push(keyed(demo(push))).await.unwrap_err();
    let rest = world.call("POST /v1/namespaces/demo/messages", json.to_owned()).await;
    assert_eq!(wrong(&grpc), rest.wrong(), "{json}");
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[tokio::test]
async fn a_push_is_refused_as_in_rest() {
    let world = World::new().await;
    let default = pb::Push::default;
    let to = |to: pb::Target| pb::Push { to: Some(to), ..default() };
    let users = |users: &[&str]| pb::Target { users: texts(users), ..Default::default() };
    same(&world, default(), "{}").await;
    same(&world, to(pb::Target::default()), r#"{"to":{}}"#).await;
    same(&world, to(users(&["ann", "", "b\u{7}b"])), r#"{"to":{"users":["ann","","b\u0007b"]}}"#).await;
    let many: Vec<_> = (0..1_001).map(|n| n.to_string()).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let json = format!(r#"{{"to":{{"users":{}}}}}"#, serde_json::to_string(&many).unwrap());
    same(&world, to(users(&many)), &json).await;
    for (push, json) in [
        (pb::Push { event: some("connect"), ..to_all() }, r#""event":"connect""#),
        (pb::Push { event: some(""), ..to_all() }, r#""event":"""#),
        (pb::Push { id: Some("x".repeat(256)), ..to_all() }, &format!(r#""id":"{}""#, "x".repeat(256))),
        (pb::Push { ttl: some("31d"), ..to_all() }, r#""ttl":"31d""#),
        (pb::Push { ttl: some("soon"), ..to_all() }, r#""ttl":"soon""#),
        (pb::Push { priority: some("urgent"), ..to_all() }, r#""priority":"urgent""#),
        (pb::Push { durability: some("none"), ..to_all() }, r#""durability":"none""#),
        (
            pb::Push { collapse_key: Some("k".repeat(65)), ..to_all() },
            &format!(r#""collapse_key":"{}""#, "k".repeat(65)),
        ),
        (pb::Push { deliver_at: some("yesterday"), ..to_all() }, r#""deliver_at":"yesterday""#),
        (pb::Push { ack: Some(pb::Ack { wait: some("31s") }), ..to_all() }, r#""ack":{"wait":"31s"}"#),
        (
            pb::Push {
                offline: Some(pb::Offline {
                    escalate_after: some("8d"),
                    apns: some("[]"),
                    ..Default::default()
                }),
                ..to_all()
            },
            r#""offline":{"escalate_after":"8d","apns":[]}"#,
        ),
        (pb::Push { data: Some(nested(101)), ..to_all() }, &format!(r#""data":{}"#, nested(101))),
        (pb::Push { data: Some(nested(50_000)), ..to_all() }, &format!(r#""data":{}"#, nested(50_000))),
        (
            pb::Push { data: Some(format!("{:?}", "x".repeat(70_000))), ..to_all() },
            &format!(r#""data":{:?}"#, "x".repeat(70_000)),
        ),
    ] {
        same(&world, push, &format!(r#"{{"to":{{"all":true}},{json}}}"#)).await;
    }
    let to = pb::Target { all: Some(true), platforms: texts(&["web", "fridge"]), ..Default::default() };
    let push = pb::Push {
        to: Some(to),
        ttl: some("x"),
        except: Some(pb::Except { connections: texts(&["?"]), ..Default::default() }),
        ..default()
    };
    same(
        &world,
        push,
        r#"{"to":{"all":true,"platforms":["web","fridge"]},"ttl":"x","except":{"connections":["?"]}}"#,
    )
    .await;
}

fn nested(depth: usize) -> String {
    "[".repeat(depth) + &"]".repeat(depth)
}

/// JSON that is none, and more than one: nothing gets around a check by its text.
#[tokio::test]
async fn data_is_one_json_text() {
    let world = World::new().await;
    for data in ["", "{", "nul", "1 2", r#"1},"to":{"all":true},"x":{"a":1"#, "1,", "\"\u{1}\""] {
        let push = pb::Push { data: some(data), ..to_all() };
        let refused = world.client().push(keyed(demo(push))).await.unwrap_err();
        assert!(
            wrong(&refused).starts_with("400 invalid_request\n  data: is not JSON: "),
            "{data}: {refused:?}"
        );
    }
    let offline = pb::Offline { fcm: some("{"), ..Default::default() };
    let push = pb::Push { offline: Some(offline), ..to_all() };
    let refused = world.client().push(keyed(demo(push))).await.unwrap_err();
    assert!(wrong(&refused).contains("\n  offline.fcm: is not JSON: "), "{refused:?}");
    let data = r#"{ "n": 12345678901234567890.10, "é":"\u00e9"}"#;
    let push = pb::Push { data: some(data), ..to_all() };
    let id = world.client().push(keyed(demo(push))).await.unwrap().into_inner().id.unwrap();
    let asked = pb::GetMessageRequest { namespace: "demo".to_owned(), id };
    let message = world.client().get_message(keyed(asked)).await.unwrap().into_inner();
    assert_eq!(message.data, data, "as it was pushed");
}

#[tokio::test]
async fn other_calls_are_refused_as_in_rest() {
    let world = World::new().await;
    let mut client = world.client();
    let ns = || "demo".to_owned();
    let list = pb::ListDevicesRequest { namespace: ns(), limit: Some(0), ..Default::default() };
    let rest = world.call("GET /v1/namespaces/demo/devices?limit=0", "").await.wrong();
    assert_eq!(wrong(&client.list_devices(keyed(list)).await.unwrap_err()), rest);
    let list = pb::ListMessagesRequest {
        namespace: ns(),
        since: some("x"),
        q: some("."),
        order: some("up"),
        ..Default::default()
    };
    let rest = world.call("GET /v1/namespaces/demo/messages?since=x&q=.&order=up", "").await.wrong();
    assert_eq!(wrong(&client.list_messages(keyed(list)).await.unwrap_err()), rest);
    let device = || "d1".to_owned();
    let put =
        pb::PutDeviceRequest { namespace: ns(), device: device(), json: some(r#"{"tags":["a"],"x":1}"#) };
    let rest = world.call("PUT /v1/namespaces/demo/devices/d1", r#"{"tags":["a"],"x":1}"#).await.wrong();
    assert_eq!(wrong(&client.put_device(keyed(put)).await.unwrap_err()), rest);
    let json = r#"{"metadata":{"n":1.5},"tokens":{"fcm":"t"},"muted_rooms":{"lobby":{}},"do_not_disturb":{"windows":[{"from":"22:00","to":"07:00","zone":"+01:00"}]}}"#;
    let put = pb::PutDeviceRequest { namespace: ns(), device: device(), json: some(json) };
    let made = client.put_device(keyed(put)).await.unwrap().into_inner();
    assert_eq!((made.metadata.as_str(), made.tokens["fcm"].as_str()), (r#"{"n":1.5}"#, "***"));
    assert!(made.muted_rooms.contains_key("lobby") && made.do_not_disturb.unwrap().windows.len() == 1);
    let change =
        pb::ChangeDeviceRequest { namespace: ns(), device: device(), json: some(r#"{"tags":["vip"]}"#) };
    assert_eq!(client.change_device(keyed(change)).await.unwrap().into_inner().tags, ["vip"]);
    let found = pb::ListDevicesRequest {
        namespace: ns(),
        tag: some("vip"),
        online: Some(false),
        ..Default::default()
    };
    assert_eq!(client.list_devices(keyed(found)).await.unwrap().into_inner().items.len(), 1);
    let shut = pb::ChangeRoomRequest { namespace: ns(), room: "shut".to_owned(), suspended: Some(true) };
    assert!(client.change_room(keyed(shut)).await.unwrap().into_inner().suspended);
    let none = pb::GetMessageRequest { namespace: ns(), id: "none/with:odd?signs#".to_owned() };
    let rest = world.call("GET /v1/namespaces/demo/messages/none", "").await.wrong();
    assert_eq!(wrong(&client.get_message(keyed(none)).await.unwrap_err()), rest);
    let nowhere = pb::GetUserRequest { namespace: "a/../b".to_owned(), user: "ann".to_owned() };
    let rest = world.call("GET /v1/namespaces/a%2F..%2Fb/users/ann", "").await.wrong();
    assert_eq!(wrong(&client.get_user(keyed(nowhere)).await.unwrap_err()), rest);
    let long = pb::GetUserRequest { namespace: ns(), user: "u".repeat(256) };
    let rest = world.call(&format!("GET /v1/namespaces/demo/users/{}", "u".repeat(256)), "").await.wrong();
    assert_eq!(wrong(&client.get_user(keyed(long)).await.unwrap_err()), rest);
    let token = pb::MintTokenRequest { namespace: ns(), expires_in: some("31d"), ..Default::default() };
    let rest = world.call("POST /v1/namespaces/demo/tokens", r#"{"expires_in":"31d"}"#).await.wrong();
    assert_eq!(wrong(&client.mint_token(keyed(token)).await.unwrap_err()), rest);
    let simulation =
        pb::SimulateRequest { namespace: ns(), lasts: some("x"), effect: some("burn"), ..Default::default() };
    let rest =
        world.call("POST /v1/namespaces/demo/simulations", r#"{"for":"x","effect":"burn"}"#).await.wrong();
    assert_eq!(wrong(&client.simulate(keyed(simulation)).await.unwrap_err()), rest);
    let patch = r#"{"title":1,"mailbox":{"messages":0},"colour":"red"}"#;
    let change = pb::ChangeNamespaceRequest { namespace: ns(), json: some(patch) };
    let rest = world.call("PATCH /v1/namespaces/demo", patch).await.wrong();
    assert_eq!(wrong(&client.change_namespace(keyed(change)).await.unwrap_err()), rest);
}

#[tokio::test]
async fn what_is_missing_or_too_long_is_named() {
    let world = World::new().await;
    let mut client = world.client();
    for (refused, expect) in [
        (
            client.push(keyed(pb::PushRequest::default())).await.map(drop).unwrap_err(),
            expect![[r#"
                400 invalid_request
                  namespace: is required
            "#]],
        ),
        (
            client
                .push(keyed(pb::PushRequest { namespace: "demo".to_owned(), push: None }))
                .await
                .map(drop)
                .unwrap_err(),
            expect![[r#"
                400 invalid_request
                  push: is required
            "#]],
        ),
        (
            client
                .get_user(keyed(pb::GetUserRequest {
                    namespace: "demo".to_owned(),
                    user: "u".repeat(70_000),
                }))
                .await
                .map(drop)
                .unwrap_err(),
            expect![[r#"
                400 invalid_request
                  the names in the request are longer than names may be
            "#]],
        ),
        (
            client
                .create_namespace(keyed(pb::CreateNamespaceRequest { json: some("{") }))
                .await
                .map(drop)
                .unwrap_err(),
            expect![[r#"
                400 invalid_request
                  json: is not JSON: EOF while parsing an object at line 1 column 1
            "#]],
        ),
    ] {
        expect.assert_eq(&wrong(&refused));
    }
}

#[tokio::test]
async fn what_is_too_large_is_not_taken() {
    let world = World::new().await;
    let mut client = world.client();
    let data = format!("{:?}", "x".repeat(300 * 1024));
    let large = pb::Push { data: Some(data), ..to_all() };
    let refused = client.push(keyed(demo(large.clone()))).await.unwrap_err();
    assert!(wrong(&refused).starts_with("413 payload_too_large\n"), "{refused:?}");
    assert!(refused.message().contains("the limit is: 262144 bytes"), "{refused:?}");
    // In a batch it spoils none of the others.
    let messages = vec![to_all(), large, to_all()];
    let batch = pb::PushBatchRequest { namespace: "demo".to_owned(), messages };
    let results = client.push_batch(keyed(batch)).await.unwrap().into_inner().results;
    let json = serde_json::to_string(&results[1]).unwrap();
    assert!(json.contains(r#""code":"payload_too_large","status":413"#), "{json}");
    assert!(matches!(results[0].outcome, Some(pb::push_result::Outcome::Accepted(_))));
    assert!(matches!(results[2].outcome, Some(pb::push_result::Outcome::Accepted(_))));
    let huge = pb::Push { data: Some(format!("{:?}", "x".repeat(17 << 20))), ..to_all() };
    let batch = pb::PushBatchRequest { namespace: "demo".to_owned(), messages: vec![huge] };
    let refused = client.push_batch(keyed(batch)).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
}

#[tokio::test]
async fn who_has_no_key_is_told_that_first() {
    let world = World::new().await;
    let request =
        || pb::PutDeviceRequest { namespace: "demo".to_owned(), device: "d".to_owned(), json: some("{") };
    let refused = world.client().put_device(tonic::Request::new(request())).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
    let refused = world.client().put_device(keyed(request())).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
}

/// A status travels in headers, of which some clients take 8 KiB.
#[tokio::test]
async fn a_status_has_room_for_so_much() {
    let world = World::new().await;
    let users = (0..1_000).map(|n| format!("\u{7}{n}{}", "é".repeat(50))).collect();
    let push = pb::Push { to: Some(pb::Target { users, ..Default::default() }), ..Default::default() };
    let refused = world.client().push(keyed(demo(push))).await.unwrap_err();
    assert!(refused.details().len() < 5_000, "{}", refused.details().len());
    let named = refused.get_error_details().bad_request().unwrap().field_violations.len();
    assert!((10..50).contains(&named), "{named}");
    expect!["1000 fields are not as they must be"].assert_eq(refused.message());
}

#[tokio::test]
async fn what_is_no_call_is_said_to_be_none() {
    let world = World::new().await;
    for (method, bytes, expect) in [
        (
            "Push",
            &b"\x0a\xff"[..],
            expect![[r#"
            400 invalid_request
              the message cannot be read: failed to decode Protobuf message: PushRequest.namespace: invalid varint
        "#]],
        ),
        (
            "Push",
            b"\x0a\x02\xff\xfe",
            expect![[r#"
            400 invalid_request
              the message cannot be read: failed to decode Protobuf message: PushRequest.namespace: invalid string value: data is not UTF-8 encoded
        "#]],
        ),
        (
            "Poll",
            b"",
            expect![[r#"
                400 not_supported
                  there is no such method; reflection lists those that there are
            "#]],
        ),
    ] {
        expect.assert_eq(&wrong(&world.raw(method, KEY, bytes).await));
    }
    for (call, status, code) in [
        ("GET /tidings.v1.PushService/Push", 405, "method_not_allowed"),
        ("POST /tidings.v1.PushService/Push\ncontent-type: application/json", 415, "unsupported_media_type"),
        (
            "POST /tidings.v1.PushService/Push\ncontent-type: application/grpc-web",
            415,
            "unsupported_media_type",
        ),
        ("POST /tidings.v1.PushService/Push\ncontent-type: application/grpc", 400, "invalid_request"),
        ("POST /tidings.v2.PushService/Push", 404, "not_found"),
    ] {
        let answer = world.bare(call, "").await;
        assert_eq!(answer.status.as_u16(), status, "{call}: {}", answer.body);
        assert!(answer.wrong().contains(code), "{call}: {}", answer.body);
    }
}

/// A call has as long as one of REST, its body included.
#[tokio::test(start_paused = true)]
async fn a_call_that_does_not_arrive_is_not_waited_for() {
    let world = World::new().await;
    let never = futures_util::stream::pending::<Result<bytes::Bytes, std::io::Error>>();
    let request = Request::builder()
        .method("POST")
        .version(Version::HTTP_2)
        .uri("/tidings.v1.PushService/Push")
        .header(CONTENT_TYPE, "application/grpc+proto");
    let (headers, _) = world.frames(request.body(Body::from_stream(never)).unwrap()).await;
    let status = Status::from_header_map(&headers).unwrap();
    expect![[r#"
        503 dependency_unavailable
          the call took longer than 5s; whether it had an effect is not known, so retry a push with the same id
    "#]].assert_eq(&wrong(&status));
}

/// With `ack.wait` it may take longer.
#[tokio::test(start_paused = true)]
async fn receipts_are_waited_for() {
    let world = Arc::new(World::new().await);
    world.device("phone", "ann", Platform::Ios, &[]).await;
    let push = pb::Push { ack: Some(pb::Ack { wait: some("20s") }), ..to_all() };
    let answer = world.client().push(keyed(demo(push))).await.unwrap().into_inner();
    let ack = answer.ack.unwrap();
    assert_eq!((ack.complete, ack.acked, ack.waiting), (true, 0, 0), "nobody was online");
    let dry = pb::Push { dry_run: Some(true), ..to_all() };
    let answer = world.client().push(keyed(demo(dry))).await.unwrap().into_inner();
    assert_eq!((answer.dry_run, answer.id, answer.meant.unwrap().devices), (true, None, 1));
}
