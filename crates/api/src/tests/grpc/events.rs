//! A stream of events by gRPC: the same as by REST, and a status where that ends with a word.

use expect_test::expect;
use futures_util::StreamExt as _;
use tidings_model::Platform;
use tonic::Code;

use super::*;
use crate::grpc::pb::EventsRequest;
use crate::grpc::pb::event::Event as Kind;

fn asked(trace: &[&str]) -> EventsRequest {
    EventsRequest { namespace: "demo".to_owned(), trace: trace.iter().map(ToString::to_string).collect() }
}

#[tokio::test]
async fn what_happens_is_told_until_the_server_stops() {
    let world = World::new().await;
    let ann = world.device("d1", "ann", Platform::Web, &[]).await;
    let answer = world.client().events(keyed(asked(&["user:ann", "room:a,b"]))).await.unwrap();
    let mut events = answer.into_inner();
    let Some(Kind::Stats(stats)) = events.next().await.unwrap().unwrap().event else { panic!("no numbers") };
    assert_eq!(stats.at, "2026-11-20T00:00:00.000Z");
    assert!(stats.minute.is_some() && stats.hour.is_some() && stats.day.is_some());
    world.state.node.came(&ann, 10, 0).await.unwrap();
    let trace = loop {
        if let Some(Kind::Trace(trace)) = events.next().await.unwrap().unwrap().event {
            break trace;
        }
    };
    assert_eq!((trace.what(), trace.user(), trace.device()), ("connected", "ann", "d1"));
    world.state.ready.drain();
    let status = loop {
        if let Err(status) = events.next().await.unwrap() {
            break status;
        }
    };
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "the server is stopping"));
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn it_is_refused_where_and_as_its_twin_is() {
    let world = World::new().await;
    let (_, key) = world.key("demo", r#"["push"]"#).await;
    let mut client = world.client();
    let refused = client.events(with_key(&key, asked(&[]))).await.err().unwrap();
    expect![[r#"
        403 forbidden
          the key has not the scope "read" that this needs
    "#]]
    .assert_eq(&wrong(&refused));
    let refused = client.events(keyed(asked(&["ann"]))).await.err().unwrap();
    expect![[r#"
        400 invalid_request
          trace: is "ann", must be user:<id>, device:<id> or room:<name>
    "#]]
    .assert_eq(&wrong(&refused));
    let refused = client.events(keyed(EventsRequest::default())).await.err().unwrap();
    expect![[r#"
        400 invalid_request
          namespace: is required
    "#]]
    .assert_eq(&wrong(&refused));
}
