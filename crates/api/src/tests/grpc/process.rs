//! Health and reflection, which every tool for gRPC asks for; and what the log and the numbers say of calls.

use futures_util::StreamExt as _;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use super::*;

fn of(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

#[tokio::test]
async fn health_is_what_readyz_says() {
    let world = World::new().await;
    let mut client = HealthClient::new(world.router.clone());
    for service in ["", "tidings.v1.PushService"] {
        assert_eq!(client.check(of(service)).await.unwrap().into_inner().status, 1, "serving");
    }
    assert_eq!(client.check(of("other")).await.unwrap_err().code(), Code::NotFound);
    let mut watch = client.watch(of("")).await.unwrap().into_inner();
    assert_eq!(watch.next().await.unwrap().unwrap().status, 1);
    let mut unknown = client.watch(of("other")).await.unwrap().into_inner();
    assert_eq!(unknown.next().await.unwrap().unwrap().status, 3, "unknown");
    world.state.ready.drain();
    assert_eq!(client.check(of("")).await.unwrap().into_inner().status, 2, "not serving");
    assert_eq!(watch.next().await.unwrap().unwrap().status, 2);
    // Nobody who watches keeps a server from stopping.
    assert_eq!(watch.next().await.unwrap().unwrap_err().code(), Code::Unavailable);
    assert_eq!(unknown.next().await.unwrap().unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn reflection_knows_the_contract() {
    let world = World::new().await;
    let mut client = ServerReflectionClient::new(world.router.clone());
    let asked = |request| ServerReflectionRequest { host: String::new(), message_request: Some(request) };
    let questions = [
        asked(MessageRequest::ListServices(String::new())),
        asked(MessageRequest::FileContainingSymbol("tidings.v1.PushService.PushStream".to_owned())),
    ];
    let answers = client.server_reflection_info(futures_util::stream::iter(questions)).await.unwrap();
    let answers: Vec<_> =
        answers.into_inner().map(|answer| answer.unwrap().message_response.unwrap()).collect().await;
    let MessageResponse::ListServicesResponse(services) = &answers[0] else { panic!("{answers:?}") };
    let mut names: Vec<_> = services.service.iter().map(|service| service.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "tidings.v1.PushService"]
    );
    assert!(matches!(answers[1], MessageResponse::FileDescriptorResponse(_)), "{answers:?}");
}

#[tokio::test]
async fn calls_are_counted_by_names_that_there_are() {
    let world = World::new().await;
    world.client().push(keyed(demo(to_all()))).await.unwrap();
    world.client().push(keyed(demo(pb::Push::default()))).await.unwrap_err();
    world.raw("MadeUp", KEY, b"").await;
    let metrics = world.call("GET /metrics", "").await.body;
    for line in [
        r#"tidings_api_grpc_calls_total{method="Push",code="0"} 1"#,
        r#"tidings_api_grpc_calls_total{method="Push",code="3"} 1"#,
        r#"tidings_api_grpc_calls_total{method="none",code="12"} 1"#,
        r#"tidings_api_call_seconds_count{route="gRPC Push"} 2"#,
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    assert!(!metrics.contains("MadeUp"));
}

#[tokio::test]
async fn an_answer_has_the_id_of_its_request() {
    let world = World::new().await;
    let mut request = keyed(demo(to_all()));
    request.metadata_mut().insert("x-request-id", "mine".parse().unwrap());
    let answer = world.client().push(request).await.unwrap();
    assert_eq!(answer.metadata().get("x-request-id").unwrap(), "mine");
    let mut request = keyed(demo(pb::Push::default()));
    request.metadata_mut().insert("x-request-id", "mine".parse().unwrap());
    let refused = world.client().push(request).await.unwrap_err();
    assert_eq!(refused.get_error_details().request_info().unwrap().request_id, "mine");
    assert_eq!(refused.metadata().get("x-request-id").unwrap(), "mine");
}
