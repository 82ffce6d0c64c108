//! Tables of bodies that are refused, with what the answer says of each.

use expect_test::{Expect, expect};

use super::*;
use crate::BodyDeadline;

const PUSH: &str = "POST /v1/namespaces/demo/messages";

async fn table(call: &str, bodies: &[&str], expect: Expect) {
    let world = World::new().await;
    let mut out = String::new();
    for body in bodies {
        let answer = world.call(call, (*body).to_owned()).await;
        out += &format!("{body}\n{}", answer.wrong());
    }
    expect.assert_eq(&out);
}

#[tokio::test]
async fn pushes_that_are_not_json() {
    table(
        PUSH,
        &[
            "",
            "{",
            "[]",
            "1",
            "{\"to\":{\"all\":true},}",
            "{\"to\":{\"all\":true}} x",
            "[{\"all\":true}]",
            "{\"to\":[true]}",
        ],
        expect![[r#"

            400 invalid_request
              the body is not JSON: EOF while parsing a value at line 1 column 0
            {
            400 invalid_request
              the body is not JSON: EOF while parsing an object at line 1 column 1
            []
            400 invalid_request
              the body must be an object, not an array
            1
            400 invalid_request
              the body must be an object, not the number 1
            {"to":{"all":true},}
            400 invalid_request
              the body is not JSON: trailing comma at line 1 column 20
            {"to":{"all":true}} x
            400 invalid_request
              the body is not JSON: trailing characters at line 1 column 21
            [{"all":true}]
            400 invalid_request
              the body must be an object, not an array
            {"to":[true]}
            400 invalid_request
              to: must be an object, not an array
        "#]],
    )
    .await;
}

#[tokio::test]
async fn pushes_with_wrong_types() {
    table(
        PUSH,
        &[
            r#"{"to":{"users":"ann"}}"#,
            r#"{"to":{"users":["ann",7,null]},"event":5,"colour":"red","dry_run":"yes"}"#,
            r#"{"to":{"all":true,"usres":[]},"offline":{"notification":{"badge":-1,"tone":1}}}"#,
            r#"{"to":{"all":true},"to":{"all":true}}"#,
            r#"{"to":{"all":true},"offline":{"apns":[]}}"#,
            r#"{"to":{"all":true},"a.b\n":1}"#,
        ],
        expect![[r#"
            {"to":{"users":"ann"}}
            400 invalid_request
              to.users: must be an array of strings, not the string "ann"
            {"to":{"users":["ann",7,null]},"event":5,"colour":"red","dry_run":"yes"}
            400 invalid_request
              colour: is not a known field; there are to, except, event, data, id, ttl, collapse_key, priority, durability, deliver_at, ack, offline, dry_run
              dry_run: must be true or false, not the string "yes"
              event: must be a string, not the number 5
              to.users[1]: must be a string, not the number 7
              to.users[2]: must be a string, not null
            {"to":{"all":true,"usres":[]},"offline":{"notification":{"badge":-1,"tone":1}}}
            400 invalid_request
              offline.notification.badge: must be a whole number from 0 on, not the number -1
              offline.notification.tone: is not a known field; there are title, body, badge, sound, url, image
              to.usres: is not a known field; there are all, users, devices, rooms, platforms
            {"to":{"all":true},"to":{"all":true}}
            400 invalid_request
              the body cannot be read: duplicate field `to` at line 1 column 23
            {"to":{"all":true},"offline":{"apns":[]}}
            400 invalid_request
              offline.apns: must be an object
            {"to":{"all":true},"a.b\n":1}
            400 invalid_request
              "a.b\n": is not a known field; there are to, except, event, data, id, ttl, collapse_key, priority, durability, deliver_at, ack, offline, dry_run
        "#]],
    )
    .await;
}

#[tokio::test]
async fn pushes_that_make_no_sense() {
    let long = "x".repeat(256);
    let long_user = format!(r#"{{"to":{{"users":["ann","","{long}","a\nb"]}},"id":""}}"#);
    let many = format!(r#"{{"to":{{"rooms":[{}]}}}}"#, vec!["\"r\""; 1001].join(","));
    let deep = format!(r#"{{"to":{{"all":true}},"data":{}{}}}"#, "[".repeat(101), "]".repeat(101));
    table(
        PUSH,
        &[
            "{}",
            r#"{"to":null}"#,
            r#"{"to":{}}"#,
            r#"{"to":{"users":[],"platforms":["web"]}}"#,
            r#"{"to":{"all":true,"platforms":["web","fridge"]}}"#,
            r#"{"to":{"all":true},"event":"connect_error"}"#,
            r#"{"to":{"all":true},"ttl":"31d"}"#,
            r#"{"to":{"all":true},"ttl":"soon"}"#,
            r#"{"to":{"all":true},"priority":"urgent","durability":"disk"}"#,
            r#"{"to":{"all":true},"except":{"connections":["x"]}}"#,
            r#"{"to":{"all":true},"offline":{"escalate_after":"5"}}"#,
            r#"{"to":{"all":true},"collapse_key":"a","deliver_at":"2027-01-01T00:00:00Z","ack":{"wait":"5s"}}"#,
            r#"{"to":{},"collapse_key":"a"}"#,
        ],
        expect![[r#"
            {}
            400 invalid_request
              to: is required: it says who is meant (all, users, devices, rooms)
            {"to":null}
            400 invalid_request
              to: is required: it says who is meant (all, users, devices, rooms)
            {"to":{}}
            400 invalid_request
              to: names nobody: set all, or name users, devices or rooms
            {"to":{"users":[],"platforms":["web"]}}
            400 invalid_request
              to: names nobody: set all, or name users, devices or rooms
            {"to":{"all":true,"platforms":["web","fridge"]}}
            400 invalid_request
              to.platforms[1]: "fridge" is no platform; there are web, android, ios, desktop, other
            {"to":{"all":true},"event":"connect_error"}
            400 invalid_request
              event: "connect_error" is reserved by clients or by the server (connect*, disconnect*, error, reconnect*, ping, pong, newListener, removeListener, ready, goaway, dropped, recall, presence, joined, left, room)
            {"to":{"all":true},"ttl":"31d"}
            400 invalid_request
              ttl: is "31d", at most 30d is allowed
            {"to":{"all":true},"ttl":"soon"}
            400 invalid_request
              ttl: is "soon", must be a whole number with a unit (ms, s, m, h or d), as in "90s"
            {"to":{"all":true},"priority":"urgent","durability":"disk"}
            400 invalid_request
              priority: is "urgent", must be normal or high
              durability: is "disk", must be durable or memory
            {"to":{"all":true},"except":{"connections":["x"]}}
            400 invalid_request
              except.connections[0]: "x" is no connection id
            {"to":{"all":true},"offline":{"escalate_after":"5"}}
            400 invalid_request
              offline.escalate_after: is "5", must be a whole number with a unit (ms, s, m, h or d), as in "90s"
            {"to":{"all":true},"collapse_key":"a","deliver_at":"2027-01-01T00:00:00Z","ack":{"wait":"5s"}}
            400 invalid_request
              ack.wait: does not go with deliver_at: nobody has it before that
            {"to":{},"collapse_key":"a"}
            400 invalid_request
              to: names nobody: set all, or name users, devices or rooms
        "#]],
    )
    .await;
    let world = World::new().await;
    let mut out = String::new();
    for body in [long_user, many, deep] {
        out += &world.call(PUSH, body).await.wrong();
    }
    expect![[r#"
        400 invalid_request
          to.users[1]: "" must not be empty
          to.users[2]: "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…" has 256 bytes, at most 255 are allowed
          to.users[3]: "a\nb" has a control character at byte 1
          id: "" must not be empty
        400 invalid_request
          to.rooms: has 1001 entries, at most 1000 are allowed
        400 invalid_request
          data: is nested deeper than 100 levels
    "#]]
    .assert_eq(&out);
}

#[tokio::test]
async fn bodies_that_are_not_utf8_or_too_large() {
    let world = World::new().await;
    let mut out = world.call(PUSH, b"{\"to\":{\"users\":[\"\xff\"]}}".to_vec()).await.wrong();
    let large = |bytes: usize| format!(r#"{{"to":{{"all":true}},"data":"{}"}}"#, "x".repeat(bytes - 2));
    out += &world.call(PUSH, large(64 * 1024 + 1)).await.wrong();
    out += &world.call(PUSH, large(256 * 1024)).await.wrong();
    let chunks = axum::body::Body::from_stream(Chunks(300));
    out += &world.call(PUSH, chunks).await.wrong();
    expect![[r#"
        400 invalid_request
          the body is not UTF-8: byte 17 begins no character
        413 payload_too_large
          data: has 65537 bytes, at most 65536 are allowed
        413 payload_too_large
          the body has more than 262144 bytes, which is the limit
        413 payload_too_large
          the body has more than 262144 bytes, which is the limit
    "#]]
    .assert_eq(&out);
    assert_eq!(world.call(PUSH, large(64 * 1024)).await.status, 202);
}

/// So many pieces of 1 KiB, without a length beforehand.
struct Chunks(usize);

impl futures_core::Stream for Chunks {
    type Item = Result<bytes::Bytes, std::convert::Infallible>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        let more = self.0 > 0;
        self.0 = self.0.saturating_sub(1);
        std::task::Poll::Ready(more.then(|| Ok(bytes::Bytes::from_static(&[b' '; 1024]))))
    }
}

#[tokio::test]
async fn namespaces_that_are_refused() {
    table(
        "POST /v1/namespaces",
        &[
            "{}",
            r#"{"name":"Demo","auth":{"mode":"maybe"}}"#,
            r#"{"name":"x","auth":{"mode":"hook","hook":{}},"presence":{},"limits":{"connections":0},"title":"t"}"#,
            r#"{"name":"x","auth":{"mode":"token","jwt":{}}}"#,
            r#"{"name":"x","auth":{"mode":"open"},"color":1}"#,
            r#"{"name":"x","auth":{"mode":"open"},"outbox":{"frames":15,"size":"1TB","when_full":"panic","x":1}}"#,
            r#"{"name":"x","auth":{"mode":"open"},"outbox":{"frames":15,"size":"1KiB","when_full":"panic"}}"#,
            r#"{"name":"x","auth":{"mode":"open"},"history":{"keep":"1s","size":"1KiB"}}"#,
            r#"{"name":"x","auth":{"mode":"open"},"history":{"keep":"30","size":"1"}}"#,
            r#"{"name":"demo","auth":{"mode":"open"}}"#,
        ],
        expect![[r#"
            {}
            400 invalid_request
              name: is required
              auth.mode: is required: who may connect, one of open, token, hook, token+hook
            {"name":"Demo","auth":{"mode":"maybe"}}
            400 invalid_request
              name: "Demo" must match [a-z0-9][a-z0-9_-]{0,49}, but does not at byte 0
              auth.mode: is "maybe", must be one of open, token, hook, token+hook
            {"name":"x","auth":{"mode":"hook","hook":{}},"presence":{},"limits":{"connections":0},"title":"t"}
            400 invalid_request
              auth.hook.url: is required: whom to ask
            {"name":"x","auth":{"mode":"token","jwt":{}}}
            400 invalid_request
              auth.jwt.algorithms: must name at least one
            {"name":"x","auth":{"mode":"open"},"color":1}
            400 invalid_request
              color: is not a known field; there are name, title, state, auth, hooks, limits, outbox, mailbox, history, offline, presence, origins
            {"name":"x","auth":{"mode":"open"},"outbox":{"frames":15,"size":"1TB","when_full":"panic","x":1}}
            400 invalid_request
              outbox.x: is not a known field; there are frames, size, when_full
            {"name":"x","auth":{"mode":"open"},"outbox":{"frames":15,"size":"1KiB","when_full":"panic"}}
            400 invalid_request
              outbox.frames: is 15, must be from 16 to 1000000
              outbox.size: is "1KiB", must be from 64KiB to 1GiB
              outbox.when_full: is "panic", must be one of disconnect, drop_oldest, keep_latest
            {"name":"x","auth":{"mode":"open"},"history":{"keep":"1s","size":"1KiB"}}
            400 invalid_request
              history.keep: is "1s", must be from 1m to 36600d, or 0s for ever
              history.size: is "1KiB", must be from 64MiB to 1048576GiB, or 0B for no limit
            {"name":"x","auth":{"mode":"open"},"history":{"keep":"30","size":"1"}}
            400 invalid_request
              history.keep: is "30", must be a whole number with a unit (ms, s, m, h or d), as in "90s"
              history.size: is "1", must be a whole number with a unit (B, KB, MB, GB, KiB, MiB or GiB), as in "64MiB"
            {"name":"demo","auth":{"mode":"open"}}
            409 conflict
              name: is the name of a namespace already
        "#]],
    )
    .await;
}

#[tokio::test]
async fn acks_that_are_refused() {
    let bodies = ["{}", r#"{"ids":[]}"#, r#"{"ids":["a",""]}"#, r#"{"ids":["a"]}"#];
    table(
        "POST /v1/namespaces/demo/acks?device=nobody",
        &bodies,
        expect![[r#"
        {}
        400 invalid_request
          ids: is required: an array of message ids
        {"ids":[]}
        400 invalid_request
          ids: has 0 entries, must have 1 to 1000
        {"ids":["a",""]}
        400 invalid_request
          ids[1]: "" must not be empty
        {"ids":["a"]}
        404 not_found
          there is no such device
    "#]],
    )
    .await;
    table(
        "POST /v1/namespaces/demo/acks",
        &bodies[3..],
        expect![[r#"
        {"ids":["a"]}
        400 invalid_request
          device: is required: the device that has the messages
    "#]],
    )
    .await;
    table(
        "POST /v1/namespaces/demo/acks?device=&x=1",
        &bodies[3..],
        expect![[r#"
            {"ids":["a"]}
            400 invalid_request
              x: is not a known parameter; there are device, token
        "#]],
    )
    .await;
}

/// The answer to a push of whose body only the first byte comes, and after how long.
async fn cut_short(world: &World, within: Option<Duration>) -> (Answer, Duration) {
    let first = futures_util::stream::iter([Ok::<_, std::io::Error>("{")]);
    let body = futures_util::StreamExt::chain(first, futures_util::stream::pending());
    let request =
        Request::post("/v1/namespaces/demo/messages").header("authorization", format!("Bearer {KEY}"));
    let mut request = request.body(Body::from_stream(body)).unwrap();
    if let Some(within) = within {
        request.extensions_mut().insert(BodyDeadline::new(within));
    }
    let started = tokio::time::Instant::now();
    let answer = world.send(request).await;
    (answer, started.elapsed())
}

#[tokio::test(start_paused = true)]
async fn bodies_that_do_not_arrive() {
    let world = World::new().await;
    let (answer, took) = cut_short(&world, Some(Duration::from_secs(3))).await;
    expect![[r#"
        408 invalid_request
          the body did not arrive within 3s (limits.body_timeout)
    "#]]
    .assert_eq(&answer.wrong());
    assert_eq!(took.as_secs(), 3);
    let (answer, _) = cut_short(&world, None).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "a call has its own time");
}

#[tokio::test]
async fn who_hangs_up_is_counted() {
    let world = World::new().await;
    {
        let mut call = std::pin::pin!(cut_short(&world, None));
        assert!(futures_util::FutureExt::now_or_never(call.as_mut()).is_none());
    }
    let numbers = world.bare("GET /metrics", "").await.body;
    let call = r#"calls_total{method="POST",route="/v1/namespaces/{ns}/messages",status="499"} 1"#;
    assert!(numbers.contains(call), "{numbers}");
}

#[tokio::test]
async fn paths_with_percent_signs_that_encode_nothing() {
    let world = World::new().await;
    for (name, shown) in [("a%zz", "\"%zz\""), ("a%4", "\"%4\""), ("100%", "\"%\""), ("%25%2", "\"%2\"")] {
        let answer = world.call(&format!("GET /v1/namespaces/demo/rooms/{name}"), "").await;
        let wrong =
            format!("400 invalid_request\n  the path is not valid: {shown} is no percent-encoded byte\n");
        assert_eq!(answer.wrong(), wrong);
    }
    assert_eq!(world.call("GET /v1/namespaces/demo/rooms/a%25%7a", "").await.status, StatusCode::OK);
}
