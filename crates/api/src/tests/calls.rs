//! What calls answer.

use axum::body::Body;
use expect_test::expect;
use http::Request;
use tidings_model::Platform;

use super::{KEY, World};

const PUSH: &str = "POST /v1/namespaces/demo/messages";

#[tokio::test]
async fn a_namespace_says_what_becomes_of_slow_readers() {
    let world = World::new().await;
    let body = r#"{"name":"score","auth":{"mode":"open"},"outbox":{"frames":64,"size":"128KiB","when_full":"keep_latest"}}"#;
    world.check("POST /v1/namespaces", body, expect![[r#"
        201
        {"name":"score","title":"","state":"active","auth":{"mode":"open"},"limits":{"connections":0,"connections_per_user":0,"rooms_per_device":1000,"message_size":"64KiB","pushes_per_second":0,"publish_per_second":1,"requests_per_second":100},"outbox":{"frames":64,"size":"128KiB","when_full":"keep_latest"},"mailbox":{"messages":10000,"keep":"30d"},"history":{"keep":"30d","size":"0B"},"offline":{"escalate_after":"5s","grace":"10s"},"presence":{"notify":false},"hooks":[],"origins":[],"created_at":"2026-11-20T00:00:00.000Z"}
    "#]]).await;
    world.check("POST /v1/namespaces", r#"{"name":"other","auth":{"mode":"open"},"outbox":{}}"#, expect![[r#"
        201
        {"name":"other","title":"","state":"active","auth":{"mode":"open"},"limits":{"connections":0,"connections_per_user":0,"rooms_per_device":1000,"message_size":"64KiB","pushes_per_second":0,"publish_per_second":1,"requests_per_second":100},"outbox":{"when_full":"disconnect"},"mailbox":{"messages":10000,"keep":"30d"},"history":{"keep":"30d","size":"0B"},"offline":{"escalate_after":"5s","grace":"10s"},"presence":{"notify":false},"hooks":[],"origins":[],"created_at":"2026-11-20T00:00:00.000Z"}
    "#]]).await;
    world.check("GET /v1/namespaces/score", "", expect![[r#"
        200
        {"name":"score","title":"","state":"active","auth":{"mode":"open"},"limits":{"connections":0,"connections_per_user":0,"rooms_per_device":1000,"message_size":"64KiB","pushes_per_second":0,"publish_per_second":1,"requests_per_second":100},"outbox":{"frames":64,"size":"128KiB","when_full":"keep_latest"},"mailbox":{"messages":10000,"keep":"30d"},"history":{"keep":"30d","size":"0B"},"offline":{"escalate_after":"5s","grace":"10s"},"presence":{"notify":false},"hooks":[],"origins":[],"created_at":"2026-11-20T00:00:00.000Z"}
    "#]]).await;
}

#[tokio::test]
async fn a_push_is_accepted_reported_and_acknowledged() {
    let world = World::new().await;
    let phone = world.device("d1", "ann", Platform::Ios, &["lobby"]).await;
    world.device("d2", "ann", Platform::Web, &[]).await;
    world.device("d3", "bob", Platform::Web, &["lobby"]).await;
    world.state.node.came(&phone, 1, 0).await.unwrap();
    let body = r#"{"to":{"users":["ann","ann"],"rooms":["lobby"]},"except":{"devices":["d3"]},"event":"note","data":{ "n": 1.0, "big": 12345678901234567890123 },"id":"m1"}"#;
    world
        .check(
            PUSH,
            body,
            expect![[r#"
                202
                {"id":"m1","accepted_at":"2026-11-20T00:00:00.000Z","duplicate":false,"meant":{"devices":2},"online":{"connections":1}}
            "#]],
        )
        .await;
    let acks = "POST /v1/namespaces/demo/acks?device=d1";
    world
        .check(
            acks,
            r#"{"ids":["m1","m1","nope"]}"#,
            expect![[r#"
        200
        {"acked":["m1"],"unknown":["nope"]}
    "#]],
        )
        .await;
    world
        .check(
            "GET /v1/namespaces/demo/messages/m1/report",
            "",
            expect![[r#"
                200
                {"meant":2,"written":1,"acked":1,"waiting":1,"escalated":0,"expired":0,"dropped":{},"recalled":0,"platforms":{"ios":{"meant":1,"written":1,"acked":1,"waiting":0,"escalated":0,"expired":0,"dropped":{},"recalled":0},"web":{"meant":1,"written":0,"acked":0,"waiting":1,"escalated":0,"expired":0,"dropped":{},"recalled":0}},"delivery_rate":0.5,"ack_ms":{"p50":0.0,"p95":0.0,"p99":0.0}}
            "#]],
        )
        .await;
    world
        .check(
            "GET /v1/namespaces/demo/messages/m1/receipts?limit=1",
            "",
            expect![[r#"
                200
                {"items":[{"device":"d1","user":"ann","platform":"ios","state":"acked","written":true}],"next_cursor":"AAAAAA"}
            "#]],
        )
        .await;
    world
        .check(
            "GET /v1/namespaces/demo/messages/m1/receipts?limit=1&cursor=AAAAAA",
            "",
            expect![[r#"
                200
                {"items":[{"device":"d2","user":"ann","platform":"web","state":"waiting","written":false}],"next_cursor":null}
            "#]],
        )
        .await;
    world
        .check(
            "GET /v1/namespaces/demo/messages/m1/receipts?state=waiting",
            "",
            expect![[r#"
                200
                {"items":[{"device":"d2","user":"ann","platform":"web","state":"waiting","written":false}],"next_cursor":null}
            "#]],
        )
        .await;
    world
        .check(
            "GET /v1/namespaces/demo/messages/m1",
            "",
            expect![[r#"
                200
                {"id":"m1","event":"note","data":{ "n": 1.0, "big": 12345678901234567890123 },"to":{"all":false,"users":["ann"],"devices":[],"rooms":["lobby"],"platforms":[]},"except":{"users":[],"devices":["d3"],"rooms":[],"connections":[]},"accepted_at":"2026-11-20T00:00:00.000Z","expires_at":"2026-11-21T00:00:00.000Z","priority":"normal","state":"live","report":{"meant":2,"written":1,"acked":1,"waiting":1,"escalated":0,"expired":0,"dropped":{},"recalled":0,"platforms":{"ios":{"meant":1,"written":1,"acked":1,"waiting":0,"escalated":0,"expired":0,"dropped":{},"recalled":0},"web":{"meant":1,"written":0,"acked":0,"waiting":1,"escalated":0,"expired":0,"dropped":{},"recalled":0}},"delivery_rate":0.5,"ack_ms":{"p50":0.0,"p95":0.0,"p99":0.0}}}
            "#]],
        )
        .await;
    let raw = world.call("GET /v1/namespaces/demo/messages/m1", "").await.body;
    assert!(raw.contains(r#""data":{ "n": 1.0, "big": 12345678901234567890123 }"#), "{raw}");
    world
        .check(
            "GET /v1/namespaces/demo/users/ann",
            "",
            expect![[r#"
                200
                {"user":"ann","online":true,"devices":[{"device":"d1","platform":"ios","online":true,"rooms":["lobby"],"created_at":"2026-11-20T00:00:00.000Z","last_seen":"2026-11-20T00:00:00.000Z"},{"device":"d2","platform":"web","online":false,"rooms":[],"created_at":"2026-11-20T00:00:00.000Z","last_seen":"2026-11-20T00:00:00.000Z"}],"rooms":["lobby"],"last_seen":"2026-11-20T00:00:00.000Z","connections":1,"waiting":1}
            "#]],
        )
        .await;
    world
        .check(
            "GET /v1/namespaces/demo/rooms/lobby",
            "",
            expect![[r#"
                200
                {"room":"lobby","suspended":false,"online":1,"total":2,"platforms":{"ios":{"online":1,"total":1},"web":{"online":0,"total":1}}}
            "#]],
        )
        .await;
    world
        .check(
            "GET /v1/namespaces/demo/rooms/empty",
            "",
            expect![[r#"
                200
                {"room":"empty","suspended":false,"online":0,"total":0,"platforms":{}}
            "#]],
        )
        .await;
    world
        .check(
            "GET /v1/namespaces/demo/users/nobody",
            "",
            expect![[r#"
                200
                {"user":"nobody","online":false,"devices":[],"rooms":[],"last_seen":null,"connections":0,"waiting":0}
            "#]],
        )
        .await;
    assert_eq!(world.inboxes.len(), 1);
}

#[tokio::test]
async fn a_retry_is_known_by_what_it_means() {
    let world = World::new().await;
    world.device("d1", "ann", Platform::Web, &[]).await;
    let first = r#"{"to":{"users":["ann"]},"data":{"a":[1,2]}}"#;
    let call = format!("{PUSH}\nidempotency-key: k1");
    assert!(world.call(&call, first).await.body.contains(r#""duplicate":false"#));
    let same =
        r#"{ "id": "k1", "data": {"a" : [1, 2]}, "ttl": "24h", "to": {"users": ["ann"], "all": false} }"#;
    for call in [PUSH, &call] {
        let answer = world.call(call, same).await;
        assert!(answer.body.contains(r#""duplicate":true"#), "{}", answer.body);
    }
    world
        .check(
            &call,
            r#"{"to":{"users":["ann"]},"data":{"a":[2,1]}}"#,
            expect![[r#"
                409
                {"type":"urn:tidings:error:conflict","title":"It contradicts what is there already","status":409,"code":"conflict","detail":"id was used for another push less than 24 h ago; a retry must be the same push","request_id":"r1","errors":[{"field":"id","message":"was used for another push less than 24 h ago; a retry must be the same push"}]}
            "#]],
        )
        .await;
    world
        .check(
            &call,
            r#"{"to":{"users":["ann"]},"id":"k2"}"#,
            expect![[r#"
                400
                {"type":"urn:tidings:error:invalid_request","title":"The request is not valid","status":400,"code":"invalid_request","detail":"id is \"k2\", but the header Idempotency-Key says \"k1\"","request_id":"r1","errors":[{"field":"id","message":"is \"k2\", but the header Idempotency-Key says \"k1\""}]}
            "#]],
        )
        .await;
}

#[tokio::test]
async fn a_dry_run_sends_nothing() {
    let world = World::new().await;
    world.device("d1", "ann", Platform::Web, &[]).await;
    world
        .check(
            PUSH,
            r#"{"to":{"all":true},"id":"m1","dry_run":true}"#,
            expect![[r#"
        200
        {"dry_run":true,"meant":{"devices":1},"online":{"connections":0}}
    "#]],
        )
        .await;
    assert_eq!(world.call("GET /v1/namespaces/demo/messages/m1", "").await.status, 404);
    let refused = world.call(&format!("{PUSH}?dry_run=true"), r#"{"to":{"all":true},"id":"m1"}"#).await;
    expect![[r#"
        400 invalid_request
          dry_run: is not known: this call is asked nothing in its query
    "#]]
    .assert_eq(&refused.wrong());
    assert_eq!(world.call("GET /v1/namespaces/demo/messages/m1", "").await.status, 404);
}

#[tokio::test]
async fn what_is_given_nothing_does_nothing_when_something_is_said() {
    let world = World::new().await;
    world.device("d1", "ann", Platform::Web, &[]).await;
    assert_eq!(world.call(PUSH, r#"{"to":{"all":true},"id":"m1"}"#).await.status, 202);
    for (call, body, wrong) in [
        (
            "POST /v1/namespaces/demo:clear",
            r#"{"dry_run":true}"#,
            "  dry_run: is not known: this call is asked nothing in its body\n",
        ),
        (
            "POST /v1/namespaces/demo:suspend",
            r#"{"x":1}"#,
            "  x: is not known: this call is asked nothing in its body\n",
        ),
        ("DELETE /v1/namespaces/demo/messages/m1", "[1]", "  this call is asked nothing in its body\n"),
        ("POST /v1/namespaces/demo:clear", "dry_run", "  this call is asked nothing in its body\n"),
    ] {
        let refused = world.call(call, body).await;
        assert_eq!(refused.wrong(), format!("400 invalid_request\n{wrong}"), "{call} {body}");
        assert_eq!(world.call("GET /v1/namespaces/demo/messages/m1", "").await.status, 200);
    }
    assert_eq!(world.call("POST /v1/namespaces/demo:clear", " {} ").await.status, 200);
    assert_eq!(world.call("GET /v1/namespaces/demo/messages/m1", "").await.status, 404);
}

#[tokio::test]
async fn everything_of_a_push_is_taken() {
    let world = World::new().await;
    world.device("d1", "ann", Platform::Web, &[]).await;
    let body = r#"{"to":{"all":false,"users":["ann"],"devices":[],"rooms":["lobby"],"platforms":["web","ios","android"]},
        "except":{"users":[],"devices":[],"rooms":[],"connections":["c1f"]},"event":"push","data":{"any":"JSON"},
        "id":"order-7781-shipped","ttl":"1h","collapse_key":null,"priority":"high","durability":"memory","deliver_at":null,
        "ack":{"wait":null},"offline":{"keep":true,"escalate_after":"5s",
        "notification":{"title":"t","body":"b","badge":1,"sound":"s","url":"u","image":"i"},"apns":{},"fcm":{},"webpush":{}},
        "dry_run":false}"#;
    world
        .check(
            PUSH,
            body,
            expect![[r#"
                202
                {"id":"order-7781-shipped","accepted_at":"2026-11-20T00:00:00.000Z","duplicate":false,"meant":{"devices":1},"online":{"connections":0}}
            "#]],
        )
        .await;
}

#[tokio::test]
async fn one_bad_entry_of_a_batch_spoils_none() {
    let world = World::new().await;
    world.device("d1", "ann", Platform::Web, &[]).await;
    let batch = "POST /v1/namespaces/demo/messages:batch";
    let large = format!(r#"{{"to":{{"all":true}},"data":"{}"}}"#, "x".repeat(70_000));
    let body = format!(
        r#"{{"messages":[{{"to":{{"users":["ann"]}},"id":"a"}},{{"to":{{}}}},7,{{"to":{{"all":true}},"dry_run":true}},{large},{{"to":{{"all":true}},"id":"b"}}]}}"#
    );
    world
        .check(
            batch,
            body,
            expect![[r#"
                200
                {"results":[{"id":"a","accepted_at":"2026-11-20T00:00:00.000Z","duplicate":false,"meant":{"devices":1},"online":{"connections":0}},{"error":{"code":"invalid_request","status":400,"detail":"to names nobody: set all, or name users, devices or rooms","errors":[{"field":"to","message":"names nobody: set all, or name users, devices or rooms"}]}},{"error":{"code":"invalid_request","status":400,"detail":"the body must be an object, not the number 7"}},{"dry_run":true,"meant":{"devices":1},"online":{"connections":0}},{"error":{"code":"payload_too_large","status":413,"detail":"data has 70002 bytes, at most 65536 are allowed","errors":[{"field":"data","message":"has 70002 bytes, at most 65536 are allowed"}]}},{"id":"b","accepted_at":"2026-11-20T00:00:00.000Z","duplicate":false,"meant":{"devices":1},"online":{"connections":0}}]}
            "#]],
        )
        .await;
    let lines = format!("{batch}\ncontent-type: application/x-ndjson");
    world
        .check(
            &lines,
            "{\"to\":{\"all\":true},\"id\":\"c\"}\r\n\n{bad\n",
            expect![[r#"
                200
                {"results":[{"id":"c","accepted_at":"2026-11-20T00:00:00.000Z","duplicate":false,"meant":{"devices":1},"online":{"connections":0}},{"error":{"code":"invalid_request","status":400,"detail":"the body is not JSON: key must be a string at line 1 column 2"}}]}
            "#]],
        )
        .await;
    world
        .check(
            batch,
            r#"{"messages":[]}"#,
            expect![[r#"
        200
        {"results":[]}
    "#]],
        )
        .await;
    world
        .check(
            batch,
            "{}",
            expect![[r#"
                400
                {"type":"urn:tidings:error:invalid_request","title":"The request is not valid","status":400,"code":"invalid_request","detail":"messages is required: an array of pushes","request_id":"r1","errors":[{"field":"messages","message":"is required: an array of pushes"}]}
            "#]],
        )
        .await;
    let many = format!(r#"{{"messages":[{}]}}"#, vec!["1"; 1001].join(","));
    world
        .check(
            batch,
            many,
            expect![[r#"
                400
                {"type":"urn:tidings:error:invalid_request","title":"The request is not valid","status":400,"code":"invalid_request","detail":"messages has 1001 entries, at most 1000 are allowed","request_id":"r1","errors":[{"field":"messages","message":"has 1001 entries, at most 1000 are allowed"}]}
            "#]],
        )
        .await;
    world
        .check(
            &format!("{batch}\nidempotency-key: k"),
            r#"{"messages":[]}"#,
            expect![[r#"
                400
                {"type":"urn:tidings:error:invalid_request","title":"The request is not valid","status":400,"code":"invalid_request","detail":"Idempotency-Key is for a single push; give each message of a batch an id of its own","request_id":"r1","errors":[{"field":"Idempotency-Key","message":"is for a single push; give each message of a batch an id of its own"}]}
            "#]],
        )
        .await;
}

#[tokio::test]
async fn only_a_key_opens_anything() {
    let world = World::new().await;
    let body = "not even JSON";
    // "demo:tk_test", ":tk_test", "demo:wrong".
    for (headers, status) in [
        ("", 401),
        ("\nauthorization: Bearer wrong", 401),
        ("\nauthorization: Bearer ", 401),
        ("\nauthorization: Basic ZGVtbzp3cm9uZw==", 401),
        ("\nauthorization: Basic ZGVtbzp0a190ZXN0", 400),
        ("\nauthorization: Basic OnRrX3Rlc3Q=", 400),
    ] {
        for namespace in ["demo", "none"] {
            let answer =
                world.bare(&format!("POST /v1/namespaces/{namespace}/messages{headers}"), body).await;
            let expected = if status == 400 && namespace == "none" { 404 } else { status };
            assert_eq!(answer.status, expected, "{headers} {namespace}");
            assert_eq!(
                answer.headers.get_all("www-authenticate").iter().count(),
                if status == 401 { 2 } else { 0 }
            );
            assert_eq!(answer.headers["content-type"], "application/problem+json");
        }
    }
    let answer = world.bare("GET /v1/namespaces", "").await;
    assert!(!answer.body.contains(KEY));
}

#[tokio::test]
async fn a_key_of_one_namespace_opens_no_other() {
    let world = World::new().await;
    let key = world.state.node.make_passing_key(tidings_model::NamespaceName::new("demo").unwrap());
    for (call, status) in [
        ("GET /v1/namespaces/demo", 200),
        ("GET /v1/namespaces/demo/rooms/lobby", 200),
        ("GET /v1/namespaces/other", 403),
        ("GET /v1/namespaces/de%6do/rooms/lobby", 200),
        ("GET /v1/namespaces", 403),
        ("POST /v1/namespaces", 403),
    ] {
        let answer = world.bare(&format!("{call}\nauthorization: Bearer {key}"), "").await;
        assert_eq!(answer.status, status, "{call}: {}", answer.body);
    }
}

#[tokio::test]
async fn namespaces_are_created_listed_and_shown() {
    let world = World::new().await;
    world
        .check(
            "POST /v1/namespaces",
            r#"{"name":"shop","title":"Shop","auth":{"mode":"open"}}"#,
            expect![[r#"
                201
                {"name":"shop","title":"Shop","state":"active","auth":{"mode":"open"},"limits":{"connections":0,"connections_per_user":0,"rooms_per_device":1000,"message_size":"64KiB","pushes_per_second":0,"publish_per_second":1,"requests_per_second":100},"outbox":{"when_full":"disconnect"},"mailbox":{"messages":10000,"keep":"30d"},"history":{"keep":"30d","size":"0B"},"offline":{"escalate_after":"5s","grace":"10s"},"presence":{"notify":false},"hooks":[],"origins":[],"created_at":"2026-11-20T00:00:00.000Z"}
            "#]],
        )
        .await;
    world
        .check(
            "GET /v1/namespaces?limit=1",
            "",
            expect![[r#"
                200
                {"items":[{"name":"demo","title":"Demo","state":"active","auth":{"mode":"open"},"limits":{"connections":0,"connections_per_user":0,"rooms_per_device":1000,"message_size":"64KiB","pushes_per_second":0,"publish_per_second":1,"requests_per_second":100},"outbox":{"when_full":"disconnect"},"mailbox":{"messages":10000,"keep":"30d"},"history":{"keep":"30d","size":"0B"},"offline":{"escalate_after":"5s","grace":"10s"},"presence":{"notify":false},"hooks":[],"origins":[],"created_at":"2026-11-20T00:00:00.000Z"}],"next_cursor":"ZGVtbw"}
            "#]],
        )
        .await;
    world
        .check(
            "GET /v1/namespaces?limit=1&cursor=ZGVtbw",
            "",
            expect![[r#"
                200
                {"items":[{"name":"shop","title":"Shop","state":"active","auth":{"mode":"open"},"limits":{"connections":0,"connections_per_user":0,"rooms_per_device":1000,"message_size":"64KiB","pushes_per_second":0,"publish_per_second":1,"requests_per_second":100},"outbox":{"when_full":"disconnect"},"mailbox":{"messages":10000,"keep":"30d"},"history":{"keep":"30d","size":"0B"},"offline":{"escalate_after":"5s","grace":"10s"},"presence":{"notify":false},"hooks":[],"origins":[],"created_at":"2026-11-20T00:00:00.000Z"}],"next_cursor":null}
            "#]],
        )
        .await;
    world
        .check(
            "GET /v1/namespaces?limit=0",
            "",
            expect![[r#"
                400
                {"type":"urn:tidings:error:invalid_request","title":"The request is not valid","status":400,"code":"invalid_request","detail":"limit is \"0\", must be a number from 1 to 1000","request_id":"r1","errors":[{"field":"limit","message":"is \"0\", must be a number from 1 to 1000"}]}
            "#]],
        )
        .await;
    world
        .check(
            "GET /v1/namespaces/none",
            "",
            expect![[r#"
                404
                {"type":"urn:tidings:error:not_found","title":"There is no such thing","status":404,"code":"not_found","detail":"there is no namespace \"none\"","request_id":"r1"}
            "#]],
        )
        .await;
    world
        .check(
            "GET /v1/namespaces?cursor=%20",
            "",
            expect![[r#"
                400
                {"type":"urn:tidings:error:invalid_request","title":"The request is not valid","status":400,"code":"invalid_request","detail":"cursor is \" \", must be the next_cursor of an answer","request_id":"r1","errors":[{"field":"cursor","message":"is \" \", must be the next_cursor of an answer"}]}
            "#]],
        )
        .await;
}

#[tokio::test]
async fn errors_are_problems_everywhere() {
    let world = World::new().await;
    for (call, status) in [
        ("GET /nowhere", 404),
        ("GET /v1/namespaces/demo/messages:other", 404),
        ("PUT /v1/namespaces/demo/messages", 405),
        ("DELETE /healthz", 405),
        ("GET /v1/namespaces/demo/messages/none", 404),
        ("GET /v1/namespaces/demo/messages/%00", 400),
        ("GET /v1/namespaces/demo/messages/%ff", 400),
        ("GET /v1/namespaces/demo/messages/x/receipts?state=lost", 400),
        ("GET /v1/namespaces/demo/messages/x/receipts?stat=acked", 400),
        ("POST /v1/namespaces/demo/messages\ncontent-type: text/plain", 415),
        // What `curl -d` says by itself; it is the empty body that is wrong here.
        ("POST /v1/namespaces/demo/messages\ncontent-type: application/x-www-form-urlencoded", 400),
        ("POST /v1/namespaces/demo/messages\ncontent-type: application/json; charset=latin1", 415),
        ("POST /v1/namespaces/demo/messages\ncontent-type: application/x-ndjson", 415),
        ("POST /v1/namespaces/demo/messages\ncontent-encoding: gzip", 415),
        ("POST /v1/namespaces/demo/messages\ncontent-encoding: identity", 400),
        ("POST /v1/namespaces/demo/messages\ncontent-type: Application/JSON; charset=\"UTF-8\"", 400),
    ] {
        let answer = world.call(call, "").await;
        assert_eq!(answer.status, status, "{call}");
        assert_eq!(answer.headers["content-type"], "application/problem+json", "{call}");
        assert_eq!(answer.headers["access-control-allow-origin"], "*", "{call}");
        let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(body["status"], status, "{call}");
        assert_eq!(body["request_id"], "r1", "{call}");
        assert_eq!(answer.headers.contains_key("allow"), status == 405, "{call}");
    }
    world
        .check(
            "GET /nowhere",
            "",
            expect![[r#"
                404
                {"type":"urn:tidings:error:not_found","title":"There is no such thing","status":404,"code":"not_found","detail":"there is no path \"/nowhere\"; /openapi.json lists what there is","request_id":"r1"}
            "#]],
        )
        .await;
}

#[tokio::test]
async fn queries_that_are_no_text_are_refused_by_name() {
    let world = World::new().await;
    for (call, field) in [
        ("GET /v1/namespaces/demo/messages?user=%ff", "user"),
        ("GET /v1/namespaces/demo/messages?limit=1&q=%c3%28", "q"),
        ("GET /v1/namespaces/demo/connections?user=%fe", "user"),
        ("GET /v1/namespaces/demo/devices?tag=%ed%a0%80", "tag"),
        ("GET /v1/namespaces/demo/devices?%ff=1", "query"),
        ("GET /v1/namespaces/demo/events?trace=user:%ff", "trace"),
        ("POST /v1/namespaces/demo/acks?device=%ff", "device"),
        ("GET /v1/namespaces/demo/blocks?limit=%ff", "limit"),
    ] {
        let answer = world.call(call, "").await;
        let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(
            (answer.status.as_u16(), &body["code"]),
            (400, &"invalid_request".into()),
            "{call}: {body}"
        );
        let errors = serde_json::json!([{"field": field, "message": "is not UTF-8"}]);
        assert_eq!(body["errors"], errors, "{call}");
    }
    // What is text is taken as before, and where nothing is asked nothing is wrong with a query.
    for (call, status) in [
        ("GET /v1/namespaces/demo/messages?user=%c3%bc%EF%BF%BD", 200),
        ("GET /v1/namespaces/demo/devices?tag=%zz", 200),
        ("GET /healthz?%ff=%ff", 200),
        ("GET /nowhere?x=%ff", 404),
        ("PUT /v1/namespaces/demo/messages?x=%ff", 405),
    ] {
        assert_eq!(world.call(call, "").await.status, status, "{call}");
    }
}

#[tokio::test]
async fn request_ids_are_kept_or_made() {
    let world = World::new().await;
    let sent = |id: &[u8]| {
        let value = http::HeaderValue::from_bytes(id).unwrap();
        world.send(Request::get("/healthz").header("x-request-id", value).body(Body::empty()).unwrap())
    };
    assert_eq!(sent(b"abc-1").await.headers["x-request-id"], "abc-1");
    for bad in [&b"a b"[..], "ü".as_bytes(), b"", &[b'x'; 65]] {
        let made = sent(bad).await.headers["x-request-id"].clone();
        assert_eq!(made.len(), 26, "{made:?}");
    }
}

#[tokio::test]
async fn browsers_are_answered() {
    let world = World::new().await;
    for path in ["/v1/namespaces/demo/messages", "/nowhere"] {
        let answer = world.bare(&format!("OPTIONS {path}\norigin: https://example.com"), "").await;
        assert_eq!(answer.status, 204);
        assert_eq!(answer.headers["access-control-allow-origin"], "*");
        assert!(!answer.headers.contains_key("access-control-allow-credentials"));
        assert!(answer.headers["access-control-allow-headers"].to_str().unwrap().contains("authorization"));
    }
}

#[tokio::test]
async fn probes_and_numbers() {
    let world = World::new().await;
    world
        .check(
            "GET /healthz",
            "",
            expect![[r#"
        200
        {"status":"ok"}
    "#]],
        )
        .await;
    world
        .check(
            "GET /readyz",
            "",
            expect![[r#"
        200
        {"ready":true,"missing":[]}
    "#]],
        )
        .await;
    world
        .check(
            "GET /version",
            "",
            expect![[r#"
        200
        {"version":"0.0.0","commit":null,"node":"n1","started_at":"2026-11-20T00:00:00.000Z"}
    "#]],
        )
        .await;
    world.state.ready.drain();
    world.state.ready.ready();
    world
        .check(
            "GET /readyz",
            "",
            expect![[r#"
        503
        {"ready":false,"missing":["server: it is draining and will stop"]}
    "#]],
        )
        .await;
    let answer = world.bare("GET /metrics", "").await;
    assert!(answer.headers["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    for line in [
        "tidings_pushes_total 0",
        r#"tidings_api_calls_total{method="GET",route="/readyz",status="503"} 1"#,
        r#"tidings_api_call_seconds_count{route="/version"} 1"#,
    ] {
        assert!(answer.body.contains(line), "{line} in {}", answer.body);
    }
    assert!(answer.body.ends_with("# EOF\n"));
}

#[tokio::test]
async fn a_panic_is_an_error_with_an_id() {
    let world = World::new().await;
    let panics = axum::routing::get(|| async {
        if true {
            panic!("on purpose")
        }
    });
    let router = crate::request_id::surround(axum::Router::new().route("/panic", panics), &world.state);
    let world = World { router, ..world };
    world
        .check(
            "GET /panic",
            "",
            expect![[r#"
                500
                {"type":"urn:tidings:error:internal","title":"Something went wrong here; the log has the request id","status":500,"code":"internal","detail":"the call failed because of an error in the server","request_id":"r1"}
            "#]],
        )
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_ends_the_call() {
    let world = World::new().await;
    let answer = world.call(PUSH, Body::from_stream(Never)).await;
    assert_eq!(answer.headers["retry-after"], "1");
    expect![[r#"
        503
        {"type":"urn:tidings:error:dependency_unavailable","title":"Something that this needs is away; retry later","status":503,"code":"dependency_unavailable","detail":"the call took longer than 5s; whether it had an effect is not known, so retry a push with the same id","request_id":"r1"}
    "#]].assert_eq(&answer.show());
}

struct Never;

impl futures_core::Stream for Never {
    type Item = Result<bytes::Bytes, std::convert::Infallible>;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Pending
    }
}
