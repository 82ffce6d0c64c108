//! Streams of events: numbers, what happens to whom, who may look, and how a stream ends.

use std::time::Duration;

use axum::body::BodyDataStream;
use expect_test::expect;
use futures_util::StreamExt as _;
use tidings_model::Platform;
use tidings_node::observe::IN_NAMESPACE_MAX;

use super::*;

const EVENTS: &str = "GET /v1/namespaces/demo/events";

/// A stream, event by event.
struct Events {
    body: BodyDataStream,
    text: String,
}

impl World {
    async fn events(&self, key: &str, query: &str) -> Events {
        let request = Request::get(format!("/v1/namespaces/demo/events{query}"))
            .header("authorization", format!("Bearer {key}"));
        let response = self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        for (name, expected) in [
            ("content-type", "text/event-stream; charset=utf-8"),
            ("cache-control", "no-store, no-transform"),
            ("x-accel-buffering", "no"),
        ] {
            assert_eq!(response.headers()[name], expected);
        }
        Events { body: response.into_body().into_data_stream(), text: String::new() }
    }
}

impl Events {
    /// The next event or comment; `None` at the end.
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                return Some(event);
            }
            let chunk = self.body.next().await?.unwrap();
            self.text += std::str::from_utf8(&chunk).unwrap();
        }
    }

    /// The data of the next event of a kind.
    async fn next_of(&mut self, kind: &str) -> serde_json::Value {
        loop {
            let event = self.next().await.expect("the stream goes on");
            if let Some(data) = event.strip_prefix(&format!("event: {kind}\ndata: ")) {
                return serde_json::from_str(data).unwrap();
            }
        }
    }

    /// All until the end: the last event.
    async fn end(&mut self) -> String {
        let mut last = String::new();
        while let Some(event) = self.next().await {
            last = event;
        }
        last
    }
}

#[tokio::test(start_paused = true)]
async fn numbers_come_at_once_and_every_second_with_comments() {
    let world = World::new().await;
    world.device("d1", "ann", Platform::Web, &["lobby"]).await;
    let mut events = world.events(KEY, "").await;
    assert_eq!(events.next().await.unwrap(), "retry: 2000");
    expect![[r#"
        event: stats
        data: {"at":"2026-11-20T00:00:00.000Z","connections":0,"users":0,"rooms":1,"minute":{"at":"2026-11-20T00:00:00.000Z","pushes":0,"deliveries":0,"acked":0,"delivery_rate":null,"escalated":0,"expired":0,"dropped":0,"ack_ms":null,"connections":0,"users":0,"rooms":0},"hour":{"at":"2026-11-20T00:00:00.000Z","pushes":0,"deliveries":0,"acked":0,"delivery_rate":null,"escalated":0,"expired":0,"dropped":0,"ack_ms":null,"connections":0,"users":0,"rooms":0},"day":{"at":"2026-11-20T00:00:00.000Z","pushes":0,"deliveries":0,"acked":0,"delivery_rate":null,"escalated":0,"expired":0,"dropped":0,"ack_ms":null,"connections":0,"users":0,"rooms":0}}
    "#]]
    .assert_eq(&(events.next().await.unwrap() + "\n"));
    let mut stats = 0;
    while events.next().await.unwrap() != ":" {
        stats += 1;
    }
    assert!((14..=15).contains(&stats), "{stats} in 15 s");
}

#[tokio::test]
async fn what_happens_is_told() {
    let world = World::new().await;
    let ann = world.device("d1", "ann", Platform::Web, &[]).await;
    let mut events = world.events(KEY, "?trace=user:ann,room:lobby&trace=device:d9").await;
    events.next_of("stats").await;
    world.state.node.came(&ann, 10, 0).await.unwrap();
    world.call("POST /v1/namespaces/demo/messages", r#"{"to":{"users":["ann"]},"id":"m1"}"#).await;
    world.call("POST /v1/namespaces/demo/acks?device=d1", r#"{"ids":["m1"]}"#).await;
    let mut lines = String::new();
    for _ in 0..6 {
        lines += &events.next_of("trace").await.to_string();
        lines.push('\n');
    }
    expect![[r#"
        {"at":"2026-11-20T00:00:00.000Z","connection":"ca","device":"d1","user":"ann","what":"connected"}
        {"at":"2026-11-20T00:00:00.000Z","user":"ann","what":"online"}
        {"at":"2026-11-20T00:00:00.000Z","message":"m1","step":"accepted"}
        {"at":"2026-11-20T00:00:00.000Z","device":"d1","message":"m1","step":"queued","user":"ann"}
        {"at":"2026-11-20T00:00:00.000Z","device":"d1","message":"m1","step":"written","user":"ann"}
        {"at":"2026-11-20T00:00:00.000Z","device":"d1","message":"m1","step":"acked","user":"ann"}
    "#]]
    .assert_eq(&lines);
}

#[tokio::test]
async fn what_cannot_be_looked_at_is_said() {
    let world = World::new().await;
    let many: Vec<_> = (0..11).map(|number| format!("user:u{number}")).collect();
    for (query, expect) in [
        (
            "?trace=ann&trace=user:",
            expect![[r#"
                400 invalid_request
                  trace: is "ann", must be user:<id>, device:<id> or room:<name>
                  trace: "" must not be empty
            "#]],
        ),
        (
            "?trace=",
            expect![[r#"
                400 invalid_request
                  trace: is "", must be user:<id>, device:<id> or room:<name>
            "#]],
        ),
        (
            &format!("?trace={}", many.join(",")),
            expect![[r#"
                400 invalid_request
                  trace: names more than 10, which is the limit
            "#]],
        ),
        (
            "?tracer=user:ann",
            expect![[r#"
                400 invalid_request
                  there is no parameter "tracer", only trace
            "#]],
        ),
    ] {
        expect.assert_eq(&world.call(&format!("{EVENTS}{query}"), "").await.wrong());
    }
    assert_eq!(world.call("GET /v1/namespaces/none/events", "").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_its_key_with_its_namespace_and_with_the_server() {
    let world = World::new().await;
    let (id, key) = world.key("demo", r#"["read"]"#).await;
    let mut by_key = world.events(&key, "?trace=user:ann").await;
    let mut by_admin = world.events(KEY, "").await;
    by_key.next_of("stats").await;
    world.call(&format!("DELETE /v1/namespaces/demo/keys/{id}"), "").await;
    assert_eq!(by_key.end().await, "event: end\ndata: {\"reason\":\"key\"}");
    let expiring = r#"{"name":"console","scopes":["read"],"expires_at":"2026-11-20T00:00:10Z"}"#;
    let made = world.call("POST /v1/namespaces/demo/keys", expiring).await.body;
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    let mut expires = world.events(made["key"].as_str().unwrap(), "").await;
    expires.next_of("stats").await;
    world.set_time(NOW + 10_000);
    assert_eq!(expires.end().await, "event: end\ndata: {\"reason\":\"key\"}");
    // A suspended namespace is still looked at.
    world.call("POST /v1/namespaces/demo:suspend", "").await;
    by_admin.next_of("stats").await;
    by_admin.next_of("stats").await;
    world.call("DELETE /v1/namespaces/demo", "").await;
    assert_eq!(by_admin.end().await, "event: end\ndata: {\"reason\":\"namespace\"}");
    world.call("POST /v1/namespaces", r#"{"name":"other","auth":{"mode":"open"}}"#).await;
    let request =
        Request::get("/v1/namespaces/other/events").header("authorization", format!("Bearer {KEY}"));
    let response = world.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let mut last = Events { body: response.into_body().into_data_stream(), text: String::new() };
    last.next_of("stats").await;
    world.state.ready.drain();
    assert_eq!(last.end().await, "event: end\ndata: {\"reason\":\"shutdown\"}");
}

#[tokio::test(start_paused = true)]
async fn so_many_may_look_and_who_goes_makes_room() {
    let world = World::new().await;
    let mut all = Vec::new();
    for _ in 0..IN_NAMESPACE_MAX {
        all.push(world.events(KEY, "?trace=user:ann").await);
    }
    let refused = world.call(EVENTS, "").await;
    assert_eq!(refused.headers["retry-after"], "1");
    expect![[r#"
        429 too_many_connections
          32 look at this namespace, which is the limit; end one that is not needed
    "#]]
    .assert_eq(&refused.wrong());
    all.pop();
    // The task has to notice.
    tokio::time::sleep(Duration::from_millis(10)).await;
    all.push(world.events(KEY, "").await);
    // Who reads nothing is let go after a minute, and makes room, too.
    tokio::time::sleep(Duration::from_secs(120)).await;
    world.events(KEY, "").await;
}
