//! Who may call what in gRPC: the same as in REST, call by call.

use tonic::Code;

use expect_test::expect;

use super::*;
use crate::grpc::twins::{Carries, TWINS, Twin};

/// The least that gets past the edge: the names in the path, and something to carry.
fn message(twin: &Twin) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut text = |field: u8, value: &str| {
        bytes.extend([field << 3 | 2, u8::try_from(value.len()).unwrap()]);
        bytes.extend(value.as_bytes());
    };
    let names = twin.path.matches('{').count();
    for (field, value) in (1..).zip(["demo", "x"].iter().take(names)) {
        text(field, value);
    }
    let next = u8::try_from(names).unwrap() + 1;
    match twin.carries {
        Carries::Only("json") => text(next, "{}"),
        Carries::Only(_) => text(next, ""),
        Carries::Query | Carries::Body => {}
    }
    bytes
}

fn method(twin: &Twin) -> String {
    twin.rpc.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect()
}

#[tokio::test]
async fn a_tenant_opens_nothing_of_another() {
    let world = World::new().await;
    world.other_namespace().await;
    let (_, key) = world.key("other", r#"["push","read","manage"]"#).await;
    for twin in TWINS {
        let (method, message) = (method(twin), message(twin));
        let status = world.raw(&method, &key, &message).await;
        assert_eq!(status.code(), Code::PermissionDenied, "{method}: {status:?}");
        let status = world.raw(&method, "nk_none", &message).await;
        assert_eq!(status.code(), Code::Unauthenticated, "{method}: {status:?}");
    }
    // Nor is anybody without a key told what a message lacks.
    for method in TWINS.iter().map(method).chain(["PushBatch", "Events"].map(str::to_owned)) {
        let status = world.raw(&method, "nk_none", b"").await;
        assert_eq!(status.code(), Code::Unauthenticated, "{method}: {status:?}");
    }
    let batch = pb::PushBatchRequest { namespace: "demo".to_owned(), messages: vec![to_all()] };
    let refused = world.client().push_batch(with_key(&key, batch)).await.unwrap_err();
    expect![[r#"
        403 forbidden
          the key is for another namespace only
    "#]]
    .assert_eq(&wrong(&refused));
}

#[tokio::test]
async fn a_scope_opens_what_it_opens_in_rest() {
    let world = World::new().await;
    for scope in ["push", "read", "manage"] {
        let (_, key) = world.key("demo", &format!(r#"["{scope}"]"#)).await;
        for twin in TWINS {
            let path = twin.path.replace("{ns}", "demo");
            let path = path.replace(['{', '}'], "").replace("/messages/id", "/messages/x");
            let call = format!("{} {path}\nauthorization: Bearer {key}", twin.method.to_uppercase());
            let rest = world.bare(&call, "").await.status == StatusCode::FORBIDDEN;
            let grpc = world.raw(&method(twin), &key, &message(twin)).await.code() == Code::PermissionDenied;
            assert_eq!(grpc, rest, "{} with {scope}", twin.rpc);
        }
    }
}

#[tokio::test]
async fn a_key_comes_in_metadata() {
    let world = World::new().await;
    let without = tonic::Request::new(demo(to_all()));
    expect![[r#"
        401 unauthorized
          send a key: Authorization: Bearer <key>, or Basic with <namespace>:<key>
    "#]]
    .assert_eq(&wrong(&world.client().push(without).await.unwrap_err()));
    let mut basic = tonic::Request::new(demo(to_all()));
    // :tk_test
    basic.metadata_mut().insert("authorization", "Basic OnRrX3Rlc3Q=".parse().unwrap());
    assert!(world.client().push(basic).await.is_ok());
    let mut broken = tonic::Request::new(demo(to_all()));
    broken.metadata_mut().insert("authorization", "Digest x".parse().unwrap());
    expect![[r#"
        401 unauthorized
          the header Authorization is neither Bearer <key> nor Basic base64(<namespace>:<key>)
    "#]]
    .assert_eq(&wrong(&world.client().push(broken).await.unwrap_err()));
}
