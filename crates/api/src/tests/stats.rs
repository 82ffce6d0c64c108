//! Statistics: rows, pages, and what is no time.

use expect_test::expect;
use tidings_model::Platform;

use super::World;

const STATS: &str = "GET /v1/namespaces/demo/stats";

#[tokio::test]
async fn what_happened_is_answered_by_interval() {
    let world = World::new().await;
    let ann = world.device("d1", "ann", Platform::Web, &["lobby"]).await;
    world
        .check(
            STATS,
            "",
            expect![[r#"
        200
        {"items":[],"next_cursor":null}
    "#]],
        )
        .await;
    world.state.node.came(&ann, 1, 0).await.unwrap();
    world.call("POST /v1/namespaces/demo/messages", r#"{"to":{"all":true},"id":"m1"}"#).await;
    world.call("POST /v1/namespaces/demo/acks?device=d1", r#"{"ids":["m1"]}"#).await;
    world.check(&format!("{STATS}?granularity=minute&since=2026-11-20T00:00:00Z"), "", expect![[r#"
        200
        {"items":[{"at":"2026-11-20T00:00:00.000Z","pushes":1,"deliveries":1,"acked":1,"delivery_rate":1.0,"escalated":0,"expired":0,"dropped":0,"ack_ms":{"p50":0.0,"p95":0.0,"p99":0.0},"connections":1,"users":1,"rooms":1}],"next_cursor":null}
    "#]]).await;
    world
        .check(
            &format!("{STATS}?until=2026-11-20T00:00:00Z"),
            "",
            expect![[r#"
        200
        {"items":[],"next_cursor":null}
    "#]],
        )
        .await;
    world
        .check(
            &format!("{STATS}/current"),
            "",
            expect![[r#"
                200
                {"minute":{"at":"2026-11-20T00:00:00.000Z","pushes":1,"deliveries":1,"acked":1,"delivery_rate":1.0,"escalated":0,"expired":0,"dropped":0,"ack_ms":{"p50":0.0,"p95":0.0,"p99":0.0},"connections":1,"users":1,"rooms":1},"hour":{"at":"2026-11-20T00:00:00.000Z","pushes":1,"deliveries":1,"acked":1,"delivery_rate":1.0,"escalated":0,"expired":0,"dropped":0,"ack_ms":{"p50":0.0,"p95":0.0,"p99":0.0},"connections":1,"users":1,"rooms":1},"day":{"at":"2026-11-20T00:00:00.000Z","pushes":1,"deliveries":1,"acked":1,"delivery_rate":1.0,"escalated":0,"expired":0,"dropped":0,"ack_ms":{"p50":0.0,"p95":0.0,"p99":0.0},"connections":1,"users":1,"rooms":1}}
            "#]],
        )
        .await;
    for (asked, expect) in [
        (
            "?granularity=week&since=yesterday",
            expect![[r#"
            400 invalid_request
              granularity: is "week", must be one of minute, hour, day
        "#]],
        ),
        (
            "?since=yesterday",
            expect![[r#"
            400 invalid_request
              since: is "yesterday", must be a time like 2026-11-20T14:29:07Z (RFC 3339)
        "#]],
        ),
        (
            "?limit=0",
            expect![[r#"
            400 invalid_request
              limit: is "0", must be a number from 1 to 1000
        "#]],
        ),
        (
            "?cursor=x",
            expect![[r#"
            400 invalid_request
              cursor: is "x", must be the next_cursor of an answer
        "#]],
        ),
    ] {
        expect.assert_eq(&world.call(&format!("{STATS}{asked}"), "").await.wrong());
    }
}

#[tokio::test]
async fn rows_come_in_pages() {
    let world = World::new().await;
    for minute in 0..5 {
        world.set_time(super::NOW + minute * 60_000);
        world.call("POST /v1/namespaces/demo/messages", r#"{"to":{"all":true}}"#).await;
    }
    let (mut cursor, mut seen, mut pages) = (String::new(), Vec::new(), 0);
    loop {
        let answer = world.call(&format!("{STATS}?granularity=minute&limit=2{cursor}"), "").await.body;
        let page: serde_json::Value = serde_json::from_str(&answer).unwrap();
        seen.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|row| row["at"].as_str().unwrap()[14..16].to_owned()),
        );
        pages += 1;
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!((seen.join(" "), pages), ("00 01 02 03 04".to_owned(), 3));
}
