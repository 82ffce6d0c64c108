//! `POST /v1/reload`: who may ask, and what is answered.

use expect_test::expect;

use super::*;
use crate::rest::reload::Reloaded;

const CALL: &str = "POST /v1/reload";

#[tokio::test]
async fn what_has_come_of_it_is_answered() {
    let world = World::new().await;
    let (reloads, mut asked) = Reloads::new();
    let state = ApiState::from(ApiParts { reloads, ..ApiParts::clone(&world.state) });
    let world = World { router: router(state.clone()), state, ..world };
    let answers = [
        Ok(Reloaded { applied: vec!["namespaces.demo".to_owned()], needs_restart: Vec::new() }),
        Ok(Reloaded { applied: Vec::new(), needs_restart: vec!["server.listen".to_owned()] }),
        Err(crate::Problem::field(ErrorCode::INVALID_REQUEST, "server.listen", "must be an address")),
    ];
    let answering = tokio::spawn(async move {
        for answer in answers {
            asked.recv().await.unwrap().send(answer).unwrap();
        }
    });
    world
        .check(
            CALL,
            "",
            expect![[r#"
                200
                {"applied":["namespaces.demo"],"needs_restart":[]}
            "#]],
        )
        .await;
    world
        .check(
            CALL,
            "",
            expect![[r#"
                200
                {"applied":[],"needs_restart":["server.listen"]}
            "#]],
        )
        .await;
    expect![[r#"
        400 invalid_request
          server.listen: must be an address
    "#]]
    .assert_eq(&world.call(CALL, "").await.wrong());
    answering.await.unwrap();
    // Whoever answers has gone.
    assert_eq!(world.call(CALL, "").await.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn it_needs_the_admin_key() {
    let world = World::new().await;
    let (_, key) = world.key("demo", r#"["push","read","manage"]"#).await;
    assert_eq!(world.with_key(&key, CALL, "").await.status, StatusCode::FORBIDDEN);
    assert_eq!(world.bare(CALL, "").await.status, StatusCode::UNAUTHORIZED);
}
