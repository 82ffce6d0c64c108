//! gRPC against the same node as REST, through the router and without a port: what one says the other says.

mod contract;
mod errors;
mod events;
mod keys;
mod process;
mod stream;

use axum::Router;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Request, Version};
use tonic::Status;
use tonic_types::StatusExt as _;

use super::*;
use crate::grpc::pb;
use crate::grpc::pb::push_service_client::PushServiceClient;

impl World {
    fn client(&self) -> PushServiceClient<Router> {
        PushServiceClient::new(self.router.clone())
    }

    /// Calls with bytes that no client would send. What came is the status, in the headers or behind the body.
    async fn raw(&self, method: &str, key: &str, message: &[u8]) -> Status {
        let mut frame = vec![0];
        frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        frame.extend(message);
        let request = Request::builder()
            .method("POST")
            .version(Version::HTTP_2)
            .uri(format!("/tidings.v1.PushService/{method}"))
            .header(CONTENT_TYPE, "application/grpc")
            .header(AUTHORIZATION, format!("Bearer {key}"));
        let (headers, trailers) = self.frames(request.body(Body::from(frame)).unwrap()).await;
        Status::from_header_map(&headers).or_else(|| Status::from_header_map(&trailers)).unwrap()
    }

    /// The headers of an answer, and what follows its body.
    async fn frames(&self, request: Request<Body>) -> (HeaderMap, HeaderMap) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let headers = response.headers().clone();
        let trailers = response.into_body().collect().await.unwrap().trailers().cloned().unwrap_or_default();
        (headers, trailers)
    }
}

/// A message with the key that may do everything.
fn keyed<T>(message: T) -> tonic::Request<T> {
    with_key(KEY, message)
}

fn with_key<T>(key: &str, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
    request
}

/// A status in the words of [`Answer::wrong`], if what it says of itself is consistent.
fn wrong(status: &Status) -> String {
    let details = status.get_error_details();
    let about = details.error_info().unwrap_or_else(|| panic!("no details: {status:?}"));
    assert_eq!(about.domain, "tidings");
    let code = ErrorCode::ALL.iter().find(|code| code.slug == about.reason).unwrap();
    assert_eq!(code.grpc as i32, status.code() as i32, "{status:?}");
    assert_eq!(about.metadata["http_status"], code.status.to_string());
    assert_eq!(details.retry_info().is_some(), matches!(code.status, 429 | 503), "{status:?}");
    assert!(details.request_info().is_some_and(|request| !request.request_id.is_empty()), "{status:?}");
    let mut out = format!("{} {}", code.status, code.slug);
    match details.bad_request() {
        Some(fields) => {
            for field in &fields.field_violations {
                out += &format!("\n  {}: {}", field.field, field.description);
            }
        }
        None => out += &format!("\n  {}", status.message()),
    }
    out + "\n"
}

/// A push to everybody.
fn to_all() -> pb::Push {
    pb::Push { to: Some(pb::Target { all: Some(true), ..Default::default() }), ..Default::default() }
}

fn demo(push: pb::Push) -> pb::PushRequest {
    pb::PushRequest { namespace: "demo".to_owned(), push: Some(push) }
}
