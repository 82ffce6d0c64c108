//! Rooms: listed, and devices moved into and out of them by the server.

use expect_test::expect;

use super::*;

const MEMBERS: &str = "/v1/namespaces/demo/rooms/lobby/members";

#[tokio::test]
async fn devices_are_moved_by_the_server() {
    let world = World::new().await;
    world.device("d1", "ann", Platform::Ios, &["lobby"]).await;
    let web = world.device("d2", "ann", Platform::Web, &[]).await;
    world.device("d3", "bob", Platform::Web, &["old"]).await;
    world.device("d4", "eve", Platform::Web, &[]).await;
    world.state.node.came(&web, 1, 0).await.unwrap();
    let add = format!("POST {MEMBERS}");
    let body = r#"{"users":["ann","nobody"],"devices":["d4","d9"],"from_rooms":["old","never"]}"#;
    world
        .check(
            &add,
            body,
            expect![[r#"
                200
                {"added":3,"already":1,"unknown":["nobody","d9"],"full":[]}
            "#]],
        )
        .await;
    world
        .check(
            &format!("GET {MEMBERS}?limit=3"),
            "",
            expect![[r#"
                200
                {"items":[{"device":"d1","user":"ann","platform":"ios","online":false},{"device":"d2","user":"ann","platform":"web","online":true},{"device":"d3","user":"bob","platform":"web","online":false}],"next_cursor":"AAAAAg"}
            "#]],
        )
        .await;
    world
        .check(
            &format!("GET {MEMBERS}?limit=3&cursor=AAAAAg"),
            "",
            expect![[r#"
                200
                {"items":[{"device":"d4","user":"eve","platform":"web","online":false}],"next_cursor":null}
            "#]],
        )
        .await;
    world
        .check(
            &format!("DELETE {MEMBERS}"),
            r#"{"users":["ann"],"from_rooms":["old"],"devices":["d9"]}"#,
            expect![[r#"
                200
                {"removed":3,"absent":0,"unknown":["d9"]}
            "#]],
        )
        .await;
    world
        .check(
            "GET /v1/namespaces/demo/rooms?limit=1",
            "",
            expect![[r#"
                200
                {"items":[{"room":"lobby","online":0,"total":1}],"next_cursor":"bG9iYnk"}
            "#]],
        )
        .await;
    world
        .check(
            "GET /v1/namespaces/demo/rooms?limit=1&cursor=bG9iYnk",
            "",
            expect![[r#"
                200
                {"items":[{"room":"old","online":0,"total":1}],"next_cursor":null}
            "#]],
        )
        .await;
}

#[tokio::test]
async fn a_device_is_in_so_many_rooms_and_no_more() {
    let world = World::new().await;
    let namespace = world.state.node.namespace("demo").unwrap();
    let settings = Settings { rooms_per_device: 1, ..Settings::clone(&namespace.settings()) };
    world.state.node.change_namespace(namespace.changing().await, settings).await.unwrap();
    world.device("d1", "ann", Platform::Web, &["first"]).await;
    world.device("d2", "ann", Platform::Web, &[]).await;
    world
        .check(
            &format!("POST {MEMBERS}"),
            r#"{"users":["ann"]}"#,
            expect![[r#"
                200
                {"added":1,"already":0,"unknown":[],"full":["d1"]}
            "#]],
        )
        .await;
}

#[tokio::test]
async fn whom_must_be_said() {
    let world = World::new().await;
    for (body, expect) in [
        (
            r#"{"users":[]}"#,
            expect![[r#"
                400 invalid_request
                  the body names nobody: name users, devices or from_rooms
            "#]],
        ),
        (
            r#"{"users":["ann",""],"devices":["a\u0000"],"from_rooms":["x"],"rooms":[]}"#,
            expect![[r#"
                400 invalid_request
                  rooms: is not a known field; there are users, devices, from_rooms
            "#]],
        ),
        (
            r#"{"users":["ann",""],"devices":["a\u0000"]}"#,
            expect![[r#"
                400 invalid_request
                  users[1]: "" must not be empty
                  devices[0]: "a\0" has a control character at byte 1
            "#]],
        ),
    ] {
        expect.assert_eq(&world.call(&format!("POST {MEMBERS}"), body).await.wrong());
    }
    let refused = world.call(&format!("GET {MEMBERS}?cursor=x"), "").await;
    expect![[r#"
        400 invalid_request
          cursor: is "x", must be the next_cursor of an answer
    "#]]
    .assert_eq(&refused.wrong());
}

#[tokio::test]
async fn a_suspended_room_takes_no_pushes_and_no_guests() {
    let mut world = World::new().await;
    let room = "/v1/namespaces/demo/rooms/lobby";
    let here = world.device("d1", "ann", Platform::Web, &["lobby"]).await;
    let guest = world.device("d2", "bob", Platform::Web, &[]).await;
    world.state.node.came(&here, 1, 0).await.unwrap();
    while world.inboxes[0].try_recv().is_ok() {}
    let suspend = r#"{"suspended":true}"#;
    world
        .check(
            &format!("PATCH {room}"),
            suspend,
            expect![[r#"
        200
        {"room":"lobby","suspended":true,"online":1,"total":1,"platforms":{"web":{"online":1,"total":1}}}
    "#]],
        )
        .await;
    let told = world.inboxes[0].try_recv();
    assert!(
        matches!(&told, Ok(ToShard::Signal(signal)) if signal.data == r#"{"room":"lobby","suspended":true}"#),
        "{told:?}"
    );
    // Once is enough.
    assert_eq!(world.call(&format!("PATCH {room}"), suspend).await.status, 200);
    assert!(world.inboxes[0].try_recv().is_err());
    let push = r#"{"to":{"users":["ann"],"rooms":["other","lobby"]}}"#;
    let refused = world.call("POST /v1/namespaces/demo/messages", push).await;
    expect![[r#"
        403 suspended
          to.rooms[1]: "lobby" is suspended
    "#]]
    .assert_eq(&refused.wrong());
    let batch = format!(r#"{{"messages":[{push},{{"to":{{"users":["ann"]}}}}]}}"#);
    let batch = world.call("POST /v1/namespaces/demo/messages:batch", batch).await.body;
    assert!(batch.contains(r#""code":"suspended""#) && batch.contains(r#""meant":{"devices":1}"#), "{batch}");
    let lobby = || vec![RoomName::new("lobby").unwrap()];
    let (node, namespace) = (&world.state.node, &here.namespace);
    let refused = node.join(namespace, guest.device.ordinal, lobby()).await;
    assert!(matches!(&refused, Err(tidings_node::join::JoinError::Suspended(_))), "{refused:?}");
    // Who is in it may say so again, and leave; the server moves whom it wants.
    assert_eq!(node.join(namespace, here.device.ordinal, lobby()).await.unwrap(), lobby());
    let moved = world.call(&format!("POST {room}/members"), r#"{"devices":["d2"]}"#).await.body;
    assert!(moved.contains(r#""added":1"#), "{moved}");
    assert_eq!(node.leave(namespace, here.device.ordinal, lobby()).await.unwrap(), []);
    world
        .check(
            &format!("GET {room}"),
            "",
            expect![[r#"
        200
        {"room":"lobby","suspended":true,"online":0,"total":1,"platforms":{"web":{"online":0,"total":1}}}
    "#]],
        )
        .await;
    world
        .check(
            &format!("PATCH {room}"),
            r#"{"suspended":false}"#,
            expect![[r#"
        200
        {"room":"lobby","suspended":false,"online":0,"total":1,"platforms":{"web":{"online":0,"total":1}}}
    "#]],
        )
        .await;
    let accepted = world.call("POST /v1/namespaces/demo/messages", push).await;
    assert_eq!(accepted.status, 202, "{}", accepted.body);
    for (body, expect) in [
        (
            "{}",
            expect![[r#"
        400 invalid_request
          suspended: is required: true or false
    "#]],
        ),
        (
            r#"{"suspended":1,"name":"x"}"#,
            expect![[r#"
        400 invalid_request
          name: is not a known field; there are suspended
          suspended: must be true or false, not the number 1
    "#]],
        ),
    ] {
        expect.assert_eq(&world.call(&format!("PATCH {room}"), body).await.wrong());
    }
}
