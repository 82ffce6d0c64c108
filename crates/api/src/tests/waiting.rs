//! Pushes whose answer waits for receipts.

use expect_test::expect;
use http::StatusCode;

use super::*;

const PUSH: &str = "POST /v1/namespaces/demo/messages";

#[tokio::test]
async fn an_answer_waits_until_everybody_online_has_it() {
    let world = World::new().await;
    for (number, device) in ["d1", "d2"].into_iter().enumerate() {
        let who = world.device(device, "ann", Platform::Web, &[]).await;
        world.state.node.came(&who, number as u64 + 1, 0).await.unwrap();
    }
    world.device("d3", "ann", Platform::Web, &[]).await;
    let acks = async {
        for device in ["d1", "d2"] {
            let call = format!("POST /v1/namespaces/demo/acks?device={device}");
            // The message may not be there yet.
            while !world.call(&call, r#"{"ids":["m1"]}"#).await.body.contains(r#""acked":["m1"]"#) {
                tokio::task::yield_now().await;
            }
        }
    };
    let push = world.call(PUSH, r#"{"to":{"users":["ann"]},"id":"m1","ack":{"wait":"30s"}}"#);
    let (answer, ()) = tokio::join!(push, acks);
    expect![[r#"
        202
        {"id":"m1","accepted_at":"2026-11-20T00:00:00.000Z","duplicate":false,"meant":{"devices":3},"online":{"connections":2},"ack":{"complete":true,"acked":2,"waiting":0,"devices":[{"device":"d1","user":"ann","acked":true},{"device":"d2","user":"ann","acked":true}]}}
    "#]]
    .assert_eq(&answer.show());
    // A retry waits for the same message: everybody has it already.
    let again = world.call(PUSH, r#"{"to":{"users":["ann"]},"id":"m1","ack":{"wait":"30s"}}"#).await;
    assert!(
        again.body.contains(r#""duplicate":true"#) && again.body.contains(r#""complete":true"#),
        "{}",
        again.body
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_waits_no_longer_than_it_is_told() {
    let world = World::new().await;
    let who = world.device("d1", "ann", Platform::Web, &[]).await;
    world.state.node.came(&who, 1, 0).await.unwrap();
    let answer = world.call(PUSH, r#"{"to":{"users":["ann"]},"ack":{"wait":"30s"}}"#).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "the call itself has more time than that");
    let ack = r#""ack":{"complete":false,"acked":0,"waiting":1,"devices":[{"device":"d1","user":"ann","acked":false}]}"#;
    assert!(answer.body.contains(ack), "{}", answer.body);
    let nobody = world.call(PUSH, r#"{"to":{"users":["bob"]},"ack":{"wait":"30s"}}"#).await;
    assert!(
        nobody.body.contains(r#""ack":{"complete":true,"acked":0,"waiting":0,"devices":[]}"#),
        "{}",
        nobody.body
    );
}

#[tokio::test]
async fn what_cannot_be_waited_for() {
    let world = World::new().await;
    for (body, expect) in [
        (
            r#"{"to":{"all":true},"ack":{"wait":"31s"}}"#,
            expect![[r#"
                400 invalid_request
                  ack.wait: is "31s", at most 30s is allowed
            "#]],
        ),
        (
            r#"{"to":{"all":true},"ack":{"wait":"long"}}"#,
            expect![[r#"
                400 invalid_request
                  ack.wait: is "long", must be a whole number with a unit (ms, s, m, h or d), as in "90s"
            "#]],
        ),
        (
            r#"{"to":{"all":true},"ack":{"wait":"1s"},"deliver_at":"2026-11-20T01:00:00Z"}"#,
            expect![[r#"
                400 invalid_request
                  ack.wait: does not go with deliver_at: nobody has it before that
            "#]],
        ),
    ] {
        expect.assert_eq(&world.call(PUSH, body).await.wrong());
    }
    let batch = r#"{"messages":[{"to":{"all":true},"ack":{"wait":"1s"}}]}"#;
    let answer = world.call("POST /v1/namespaces/demo/messages:batch", batch).await;
    assert!(answer.body.contains("cannot be in a batch"), "{}", answer.body);
}
