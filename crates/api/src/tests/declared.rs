//! Namespaces that are declared outside of the API: what is there afterwards, and what the API had said before.

use serde_json::{Value, json};

use super::*;
use crate::declared::{BroughtAbout, Declared, let_go};

fn declared(name: &str, body: Value) -> Declared {
    Declared::check(name, body.as_object().unwrap().clone()).unwrap()
}

impl World {
    async fn bring_about(&self, one: &Declared) -> BroughtAbout {
        one.foresee(&self.state.node).await.unwrap();
        one.bring_about(&self.state.node).await.unwrap()
    }

    async fn shown(&self, name: &str) -> Value {
        serde_json::from_str(&self.call(&format!("GET /v1/namespaces/{name}"), "").await.body).unwrap()
    }
}

#[tokio::test]
async fn what_is_declared_holds_and_the_rest_stays() {
    let world = World::new().await;
    let hook = json!({
        "name": "crm", "url": "https://8.8.8.8/", "events": ["acked"], "secret": "0123456789abcdef"
    });
    let jwt = json!({"algorithms": ["HS256"], "secret": "0123456789abcdef0123456789abcdef"});
    let shop = declared(
        "shop",
        json!({"title": "Shop", "auth": {"mode": "token", "jwt": jwt}, "limits": {"connections": 5}}),
    );
    assert_eq!(world.bring_about(&shop).await, BroughtAbout::Created);
    assert_eq!(world.bring_about(&shop).await, BroughtAbout::Same);

    // What the API says of other fields stays, what it says of these does not.
    let key = json!({"algorithms": ["HS512"], "secret": "fedcba9876543210".repeat(4), "issuer": "elsewhere"});
    let patch = json!({
        "title": "Other", "auth": {"mode": "open", "jwt": key}, "hooks": [hook], "mailbox": {"messages": 7},
        "limits": {"connections": 6, "pushes_per_second": 7}
    });
    let patched = world.call("PATCH /v1/namespaces/shop", patch.to_string()).await;
    assert_eq!(patched.status, StatusCode::OK, "{}", patched.body);
    assert_eq!(world.bring_about(&shop).await, BroughtAbout::Changed);
    let now = world.shown("shop").await;
    assert_eq!(now["title"], "Shop");
    assert_eq!(now["auth"], json!({"mode": "token", "jwt": {"algorithms": ["HS256"], "secret": "***"}}));
    assert_eq!(now["limits"]["connections"], 5);
    assert_eq!(now["limits"]["pushes_per_second"], 7);
    assert_eq!(now["mailbox"]["messages"], 7);
    let settings = world.state.node.namespace("shop").unwrap().settings();
    assert_eq!(settings.hooks[0].secret.0, "0123456789abcdef");
    assert_eq!(settings.jwt.as_ref().unwrap().secret.as_deref(), jwt["secret"].as_str());
    assert_eq!(world.bring_about(&shop).await, BroughtAbout::Same);

    // A suspended one stays suspended.
    world.call("POST /v1/namespaces/shop:suspend", "").await;
    assert_eq!(world.bring_about(&shop).await, BroughtAbout::Same);
    assert_eq!(world.shown("shop").await["state"], "suspended");
}

#[tokio::test]
async fn what_is_declared_no_more_stays_as_it_is() {
    let world = World::new().await;
    // It was there before.
    let demo = declared("demo", json!({"title": "Ours", "auth": {"mode": "open"}}));
    assert_eq!(world.bring_about(&demo).await, BroughtAbout::Changed);
    let node = &world.state.node;
    assert_eq!(let_go(node, std::slice::from_ref(&demo)).await.unwrap(), []);
    let patched = world.call("PATCH /v1/namespaces/demo", r#"{"mailbox":{"messages":7}}"#).await;
    assert_eq!(patched.status, StatusCode::OK, "{}", patched.body);
    let name = demo.name().clone();
    assert_eq!(let_go(node, &[]).await.unwrap(), [name]);
    assert_eq!(let_go(node, &[]).await.unwrap(), []);
    assert_eq!(world.shown("demo").await["title"], "Ours");
}

#[tokio::test]
async fn where_its_hooks_lead_is_looked_at() {
    let world = World::new().await;
    let hook = json!({
        "name": "crm", "url": "https://localhost/", "events": ["acked"], "secret": "0123456789abcdef"
    });
    let shop = declared("shop", json!({"auth": {"mode": "open"}, "hooks": [hook]}));
    let wrong = shop.foresee(&world.state.node).await.unwrap_err();
    assert_eq!(wrong.errors()[0].field, "hooks[0].url", "{wrong:?}");
    assert!(world.state.node.namespace("shop").is_none());
}
