//! `origins` of a namespace: how they are written, and what pages may read what is answered of it.

use expect_test::expect;
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, VARY};

use super::*;

const DEMO: &str = "/v1/namespaces/demo";

impl World {
    async fn set_origins(&self, origins: &str) -> Answer {
        self.call(&format!("PATCH {DEMO}"), format!(r#"{{"origins":{origins}}}"#)).await
    }
}

/// What a browser is told: who may read it, and what that depends on.
fn told(answer: &Answer) -> (String, String) {
    let text = |name| {
        let values: Vec<_> =
            answer.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
        values.join(" + ")
    };
    (text(ACCESS_CONTROL_ALLOW_ORIGIN), text(VARY))
}

#[tokio::test]
async fn a_list_of_origins_is_checked_and_kept() {
    let world = World::new().await;
    let list = r#"["https://app.example.com","HTTPS://*.Example.org","null","http://localhost:3000"]"#;
    let shown = world.set_origins(list).await;
    let kept =
        r#""origins":["https://app.example.com","https://*.example.org","null","http://localhost:3000"]"#;
    assert!(shown.body.contains(kept), "{}", shown.body);
    assert!(world.call(&format!("GET {DEMO}"), "").await.body.contains(kept));
    expect![[r#"
        400 invalid_request
          origins[0]: is "app.example.com", must be an origin, as in "https://app.example.com", "https://*.example.com" or "http://localhost:3000", or be * or null
          origins[2]: is "https://a/b", must be an origin, as in "https://app.example.com", "https://*.example.com" or "http://localhost:3000", or be * or null
    "#]]
    .assert_eq(&world.set_origins(r#"["app.example.com","*","https://a/b"]"#).await.wrong());
    expect![[r#"
        400 invalid_request
          origins[1]: must be a string, not the number 5
    "#]]
    .assert_eq(&world.set_origins(r#"["*",5]"#).await.wrong());
    let most = format!("[{}\"*\"]", r#""https://a.net","#.repeat(99));
    assert_eq!(world.set_origins(&most).await.status, StatusCode::OK);
    let more = format!("[{}\"*\"]", r#""https://a.net","#.repeat(100));
    expect![[r#"
        400 invalid_request
          origins: has 101 entries, at most 100 are allowed
    "#]]
    .assert_eq(&world.set_origins(&more).await.wrong());
    assert!(world.set_origins("null").await.body.contains(r#""origins":[]"#));
}

#[tokio::test]
async fn a_page_that_is_not_listed_reads_nothing_of_a_namespace() {
    let world = World::new().await;
    let said = |origin: &str, vary: &str| (origin.to_owned(), vary.to_owned());
    let ask =
        async |call: &str, origin: &str| told(&world.call(&format!("{call}\norigin: {origin}"), "").await);
    const OURS: &str = "https://app.example.com";
    const OTHER: &str = "https://evil.net";
    assert_eq!(ask(&format!("GET {DEMO}"), OTHER).await, said("*", ""));
    world.set_origins(r#"["https://app.example.com"]"#).await;
    for call in [
        format!("GET {DEMO}"),
        format!("GET {DEMO}/rooms"),
        // Errors, preflights and what is done with it as well.
        format!("GET {DEMO}/messages/none"),
        format!("DELETE {DEMO}/rooms"),
        format!("POST {DEMO}/messages"),
        format!("OPTIONS {DEMO}/messages"),
        format!("POST {DEMO}:suspend"),
        format!("POST {DEMO}:resume"),
    ] {
        assert_eq!(ask(&call, OURS).await, said(OURS, "Origin"), "{call}");
        assert_eq!(ask(&call, OTHER).await, said("", "Origin"), "{call}");
        assert_eq!(told(&world.call(&call, "").await), said("", "Origin"), "{call}");
    }
    let refused = world.bare(&format!("GET {DEMO}\norigin: {OURS}"), "").await;
    assert_eq!((refused.status, told(&refused)), (StatusCode::UNAUTHORIZED, said(OURS, "Origin")));
    // What is about no namespace, or about none that there is.
    for call in ["GET /v1/namespaces", "GET /v1/namespaces/none/rooms", "GET /nowhere", "GET /healthz"] {
        assert_eq!(ask(call, OTHER).await, said("*", ""), "{call}");
    }
    world.set_origins(r#"["https://app.example.com","*"]"#).await;
    assert_eq!(ask(&format!("GET {DEMO}"), OTHER).await, said("*", ""));
}

#[tokio::test]
async fn a_state_is_a_field_too() {
    let mut world = World::new().await;
    let patch = format!("PATCH {DEMO}");
    let sent_away = |world: &mut World| {
        let told = std::iter::from_fn(|| world.inboxes[0].try_recv().ok());
        told.filter(|told| matches!(told, ToShard::SendAway { devices: None, .. })).count()
    };
    let both = world.call(&patch, r#"{"state":"suspended","title":"Closed"}"#).await;
    assert!(both.body.contains(r#""title":"Closed","state":"suspended""#), "{}", both.body);
    assert_eq!(sent_away(&mut world), 1);
    assert!(world.call(&patch, r#"{"title":"Shut"}"#).await.body.contains(r#""state":"suspended""#));
    assert!(world.call(&patch, r#"{"state":"active"}"#).await.body.contains(r#""state":"active""#));
    assert_eq!(sent_away(&mut world), 0);
    expect![[r#"
        400 invalid_request
          state: is "deleting", must be active or suspended
    "#]]
    .assert_eq(&world.call(&patch, r#"{"state":"deleting"}"#).await.wrong());
    // As with `:suspend`, it is the operator's.
    let (_, key) = world.key("demo", r#"["manage"]"#).await;
    expect![[r#"
        403 forbidden
          state: needs the admin key
    "#]]
    .assert_eq(&world.with_key(&key, &patch, r#"{"state":"suspended"}"#).await.wrong());
    let same = world.with_key(&key, &patch, r#"{"state":"active","title":"Open"}"#).await;
    assert_eq!(same.status, StatusCode::OK, "{}", same.body);
    let made = r#"{"name":"later","auth":{"mode":"open"},"state":"suspended"}"#;
    assert!(world.call("POST /v1/namespaces", made).await.body.contains(r#""state":"suspended""#));
}
