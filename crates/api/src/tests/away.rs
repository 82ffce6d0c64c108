//! Who is there, and who is sent away: users, and everybody in a namespace that is suspended.

use expect_test::expect;
use http::StatusCode;
use tidings_node::connect::ConnectError;

use super::*;

#[tokio::test]
async fn many_users_are_asked_about_at_once() {
    let world = World::new().await;
    let phone = world.device("d1", "ann", Platform::Ios, &[]).await;
    world.device("d2", "ann", Platform::Web, &[]).await;
    world.state.node.came(&phone, 1, 0).await.unwrap();
    let call = "POST /v1/namespaces/demo/users:status";
    world.check(call, r#"{"users":["ann","bob"]}"#, expect![[r#"
        200
        {"items":[{"user":"ann","online":true,"devices":2,"connections":1,"last_seen":"2026-11-20T00:00:00.000Z"},{"user":"bob","online":false,"devices":0,"connections":0,"last_seen":null}]}
    "#]]).await;
    for (body, expect) in [
        (
            "{}",
            expect![[r#"
                400 invalid_request
                  users: is required: whom to ask about
            "#]],
        ),
        (
            r#"{"users":["ann",""]}"#,
            expect![[r#"
                400 invalid_request
                  users[1]: "" must not be empty
            "#]],
        ),
    ] {
        expect.assert_eq(&world.call(call, body).await.wrong());
    }
}

#[tokio::test]
async fn a_user_is_sent_away_and_kept_away_for_a_while() {
    let mut world = World::new().await;
    let phone = world.device("d1", "ann", Platform::Ios, &[]).await;
    world.state.node.came(&phone, 1, 0).await.unwrap();
    let away = "DELETE /v1/namespaces/demo/users/ann/connections";
    world
        .check(
            &format!("{away}?block=10m"),
            "",
            expect![[r#"
                200
                {"connections":1}
            "#]],
        )
        .await;
    let told = std::iter::from_fn(|| world.inboxes[0].try_recv().ok());
    let told = told
        .filter(|told| matches!(told, ToShard::SendAway { devices: Some(devices), .. } if **devices == [0]));
    assert_eq!(told.count(), 1);
    let identify = |world: &World| {
        let claim = Claim { user: Some(UserId::new("ann").unwrap()), ..Claim::default() };
        let node = Arc::clone(&world.state.node);
        async move { node.identify(&NamespaceName::new("demo").unwrap(), claim).await }
    };
    assert!(matches!(identify(&world).await, Err(ConnectError::Blocked)));
    world.set_time(NOW + 600_000);
    assert!(identify(&world).await.is_ok(), "ten minutes later");
    world.call(&format!("{away}?block=1h"), "").await;
    assert!(matches!(identify(&world).await, Err(ConnectError::Blocked)));
    world.call(&format!("{away}?block=0s"), "").await;
    assert!(identify(&world).await.is_ok(), "the block was ended");
    for (query, expect) in [
        (
            "block=31d",
            expect![[r#"
                400 invalid_request
                  block: is "31d", at most 30d is allowed
            "#]],
        ),
        (
            "block=soon",
            expect![[r#"
                400 invalid_request
                  block: is "soon", must be a whole number with a unit (ms, s, m, h or d), as in "90s"
            "#]],
        ),
    ] {
        expect.assert_eq(&world.call(&format!("{away}?{query}"), "").await.wrong());
    }
}

#[tokio::test]
async fn a_suspended_namespace_refuses_until_it_goes_on() {
    let world = World::new().await;
    let act = |verb: &str| format!("POST /v1/namespaces/demo:{verb}");
    let suspended = world.call(&act("suspend"), "").await;
    assert_eq!(suspended.status, StatusCode::OK);
    assert!(suspended.body.contains(r#""state":"suspended""#), "{}", suspended.body);
    let push = "POST /v1/namespaces/demo/messages";
    for body in [r#"{"to":{"all":true}}"#, r#"{"to":{"all":true},"dry_run":true}"#] {
        expect![[r#"
            403 suspended
              the namespace is suspended
        "#]]
        .assert_eq(&world.call(push, body).await.wrong());
    }
    let demo = NamespaceName::new("demo").unwrap();
    let refused = world.state.node.identify(&demo, Claim::default()).await;
    assert!(matches!(refused, Err(ConnectError::Suspended)));
    // A change of the rules does not let it go on.
    world.call("PATCH /v1/namespaces/demo", r#"{"title":"new"}"#).await;
    assert!(world.call("GET /v1/namespaces/demo", "").await.body.contains(r#""state":"suspended""#));
    assert!(world.call(&act("resume"), "").await.body.contains(r#""state":"active""#));
    assert_eq!(world.call(push, r#"{"to":{"all":true}}"#).await.status, StatusCode::ACCEPTED);
    assert_eq!(world.call("POST /v1/namespaces/none:suspend", "").await.status, StatusCode::NOT_FOUND);
    let unknown = world.call(&act("explode"), "").await;
    assert_eq!(unknown.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(unknown.headers["allow"], "GET, HEAD, PATCH, DELETE");
    for (path, allowed) in
        [("demo", "GET, HEAD, PATCH, DELETE"), ("demo:suspend", "POST"), ("demo:clear", "POST")]
    {
        let options = world.bare(&format!("OPTIONS /v1/namespaces/{path}"), "").await;
        assert_eq!(
            (options.status, &options.headers["allow"]),
            (StatusCode::NO_CONTENT, &allowed.parse().unwrap())
        );
    }
    assert_eq!(world.call("POST /v1/namespaces/demo", "").await.status, StatusCode::METHOD_NOT_ALLOWED);
    // What is done with a namespace is none, whatever the method.
    for method in ["GET", "PATCH", "DELETE"] {
        let refused = world.call(&format!("{method} /v1/namespaces/demo:resume"), "{}").await;
        assert_eq!(refused.status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert_eq!(refused.headers["allow"], "POST");
    }
}
