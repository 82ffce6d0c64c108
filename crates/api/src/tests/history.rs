//! History over the API: pages and their cursors, and what is wrong with a question.

use expect_test::expect;
use serde_json::Value;

use super::World;

const LIST: &str = "GET /v1/namespaces/demo/messages";

/// The ids of a page, and where the next one begins.
async fn page(world: &World, query: &str) -> (Vec<String>, Option<String>) {
    let answer = world.call(&format!("{LIST}{query}"), "").await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.body);
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    let ids = body["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned());
    (ids.collect(), body["next_cursor"].as_str().map(str::to_owned))
}

async fn world() -> World {
    let world = World::new().await;
    for (id, body) in [
        ("m1", r#""to":{"users":["ann"]},"data":{"text":"您的订单已发货"}"#),
        ("m2", r#""to":{"rooms":["lobby"]},"data":"Order 7781 shipped","event":"note""#),
        ("m3", r#""to":{"all":true},"data":"Order 7782 shipped","deliver_at":"2026-11-21T00:00:00Z""#),
    ] {
        let answer =
            world.call("POST /v1/namespaces/demo/messages", format!(r#"{{"id":"{id}",{body}}}"#)).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
    }
    world
}

#[tokio::test]
async fn messages_are_listed_page_by_page() {
    let world = world().await;
    for (query, expected) in [
        ("", "m3 m2 m1"),
        ("?order=asc", "m1 m2 m3"),
        ("?q=order", "m3 m2"),
        ("?q=ORDER+7781", "m2"),
        ("?q=%E8%AE%A2%E5%8D%95", "m1"),
        ("?q=%E8%B4%A7&user=ann", "m1"),
        ("?q=nothing", ""),
        ("?event=note", "m2"),
        ("?room=lobby&order=desc", "m2"),
        ("?device=d1", ""),
        ("?status=scheduled", "m3"),
        ("?status=live&limit=1000", "m2 m1"),
        ("?since=2026-11-20T00:00:00Z", "m3 m2 m1"),
        ("?since=2026-11-20T00:00:00.001%2B00:00", ""),
        ("?until=2026-11-20T00:00:00Z", ""),
    ] {
        let (ids, next) = page(&world, query).await;
        assert_eq!((ids.join(" ").as_str(), next), (expected, None), "{query}");
    }
    let (first, next) = page(&world, "?q=order&limit=1").await;
    let next = next.unwrap();
    let (second, end) = page(&world, &format!("?limit=9&cursor={next}&q=order")).await;
    assert_eq!((first, second, end), (vec!["m3".to_owned()], vec!["m2".to_owned()], None));
    let answer = world.call(&format!("{LIST}?q=order&order=asc&cursor={next}"), "").await;
    expect![[r#"
        400 invalid_request
          cursor: belongs to an answer to another question: everything but limit must be as there
    "#]]
    .assert_eq(&answer.wrong());
    // Each as it is shown alone.
    let alone = world.call(&format!("{LIST}/m1"), "").await.body;
    let listed = world.call(&format!("{LIST}?user=ann"), "").await.body;
    assert_eq!(listed, format!(r#"{{"items":[{alone}],"next_cursor":null}}"#));
}

#[tokio::test]
async fn a_question_that_is_wrong_is_told_what() {
    let world = World::new().await;
    let mut out = String::new();
    let long = format!("?q={}", "x".repeat(257));
    for query in [
        "?since=yesterday&until=1700000000",
        "?since=2026-11-20T00:00:01Z&until=2026-11-20T00:00:00Z",
        "?user=&device=%01&room=&event=connect",
        "?status=lost&order=up",
        "?limit=0",
        "?limit=1001",
        "?limit=x&status=lost",
        "?q=",
        "?q=%E3%80%82!",
        &long,
        "?cursor=abc",
        "?cursor=AAAAAAAAAAAAAAAAAAAAAA",
        "?colour=red&user=ann&user=bob",
    ] {
        let shown: String = query.chars().take(70).collect();
        out += &format!("{shown}\n{}", world.call(&format!("{LIST}{query}"), "").await.wrong());
    }
    expect![[r#"
        ?since=yesterday&until=1700000000
        400 invalid_request
          since: is "yesterday", must be a time as in RFC 3339, such as 2026-11-20T14:29:07Z
          until: is "1700000000", must be a time as in RFC 3339, such as 2026-11-20T14:29:07Z
        ?since=2026-11-20T00:00:01Z&until=2026-11-20T00:00:00Z
        400 invalid_request
          since: is 2026-11-20T00:00:01.000Z, must not be after until, which is 2026-11-20T00:00:00.000Z
        ?user=&device=%01&room=&event=connect
        400 invalid_request
          user: "" must not be empty
          device: "\u{1}" has a control character at byte 0
          room: "" must not be empty
          event: "connect" is reserved by clients or by the server (connect*, disconnect*, error, reconnect*, ping, pong, newListener, removeListener, ready, goaway, dropped, recall, presence, joined, left, room)
        ?status=lost&order=up
        400 invalid_request
          status: is "lost", must be one of scheduled, live, expired, recalled
          order: is "up", must be one of desc, asc
        ?limit=0
        400 invalid_request
          limit: is "0", must be a number from 1 to 1000
        ?limit=1001
        400 invalid_request
          limit: is "1001", must be a number from 1 to 1000
        ?limit=x&status=lost
        400 invalid_request
          status: is "lost", must be one of scheduled, live, expired, recalled
        ?q=
        400 invalid_request
          q: is "", must have a letter or a digit to search for
        ?q=%E3%80%82!
        400 invalid_request
          q: is "。!", must have a letter or a digit to search for
        ?q=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
        400 invalid_request
          q: has 257 bytes, at most 256 are allowed
        ?cursor=abc
        400 invalid_request
          cursor: is "abc", must be the next_cursor of an answer
        ?cursor=AAAAAAAAAAAAAAAAAAAAAA
        400 invalid_request
          cursor: belongs to an answer to another question: everything but limit must be as there
        ?colour=red&user=ann&user=bob
        400 invalid_request
          colour: is not known; there are since, until, user, device, room, event, status, q, order, limit, cursor
          user: is there twice
    "#]].assert_eq(&out);
    assert_eq!(world.call("GET /v1/namespaces/none/messages", "").await.status, 404);
    assert_eq!(world.bare(LIST, "").await.status, 401);
}
