//! Nodes: which there are, that one goes when it is told to, and what is wrong.

use expect_test::expect;

use super::*;

#[tokio::test]
async fn the_node_is_listed_and_goes_when_it_is_told_to() {
    let world = World::new().await;
    let ann = world.device("d1", "ann", Platform::Web, &[]).await;
    world.state.node.came(&ann, 1, 0).await.unwrap();
    let late = tidings_node::metrics::ShardLabel { shard: 0 };
    world.state.node.metrics().shard_late.get_or_create(&late).set(0.0125);
    let listed = world.call("GET /v1/nodes", "").await.body;
    let mut body: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert!(body["items"][0]["memory_bytes"].take().as_u64().unwrap() > 0);
    assert_eq!(
        body.to_string(),
        r#"{"items":[{"connections":1,"lag_ms":12.5,"memory_bytes":null,"node":"n1","shards":1,"started_at":"2026-11-20T00:00:00.000Z","state":"ready","version":"0.0.0"}],"next_cursor":null}"#
    );
    for (call, expect) in [
        (
            "POST /v1/nodes/n2:drain",
            expect![[r#"
                404 not_found
                  there is no node "n2"
            "#]],
        ),
        (
            "POST /v1/nodes/n1",
            expect![[r#"
                405 method_not_allowed
                  this path has POST with :drain behind the name only
            "#]],
        ),
    ] {
        expect.assert_eq(&world.call(call, "").await.wrong());
    }
    assert_eq!(world.call("GET /readyz", "").await.status, StatusCode::OK);
    for _ in 0..2 {
        world
            .check(
                "POST /v1/nodes/n1:drain",
                "",
                expect![[r#"
                    202
                    {"node":"n1","state":"draining"}
                "#]],
            )
            .await;
    }
    assert_eq!(world.call("GET /readyz", "").await.status, StatusCode::SERVICE_UNAVAILABLE);
    let (_, key) = world.key("demo", r#"["push","read","manage"]"#).await;
    for call in ["GET /v1/nodes", "POST /v1/nodes/n1:drain"] {
        assert_eq!(world.with_key(&key, call, "").await.status, StatusCode::FORBIDDEN, "{call}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_is_listed() {
    let world = World::new().await;
    world
        .check(
            "GET /v1/alerts",
            "",
            expect![[r#"
                200
                {"items":[],"next_cursor":null}
            "#]],
        )
        .await;
    world.state.node.metrics().pushes_refused.inc();
    // It is looked every second; only then is there anything to see.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let answer = world.call("GET /v1/alerts", "").await;
    expect![[r#"
        200
        {"items":[{"kind":"pushes_refused","severity":"critical","since":"2026-11-20T00:00:00.000Z","until":null,"namespace":null,"hook":null,"meaning":"More pushes wait than may: some were refused with 503 in the last minute.","action":"Look at queued{queue=\"pushes\"} and at the disk; have the backend send in batches, or set pushes_per_second for whoever sends too much.","detail":"1 in a second"}],"next_cursor":null}
    "#]].assert_eq(&answer.show());
    let (_, key) = world.key("demo", r#"["push","read","manage"]"#).await;
    assert_eq!(world.with_key(&key, "GET /v1/alerts", "").await.status, StatusCode::FORBIDDEN);
}
