//! What surrounds every call: its id, its line in the log, its numbers, its time limit, and an answer for what is no call.

use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Method, Version};
use tidings_model::{ClientAddress, ErrorCode};
use tonic::{Code, Status};
use tracing::Instrument as _;

use super::leaving::Leaving;
use super::status;
use super::transcode::Caller;
use crate::request_id::{self, Patience, X_REQUEST_ID};
use crate::{ApiState, Problem};

/// Whether the answer is a stream, which lasts as long as its client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lasts {
    /// One answer, within the time for a call.
    Call,
    /// A stream that ends itself when the server stops.
    Stream,
    /// A stream that has to be ended then.
    Open,
}

/// Surrounds a call.
pub(super) async fn around(
    State((state, lasts)): State<(ApiState, Lasts)>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let id = request_id::id_of(request.headers());
    let text = id.to_str().unwrap_or_default().to_owned();
    if let Some((problem, allow)) = no_call(&request) {
        let mut refusal = request_id::written(problem.into_response(), &text);
        if allow {
            refusal.headers_mut().insert(ALLOW, http::HeaderValue::from_static("POST"));
        }
        return refusal;
    }
    let path = request.uri().path().to_owned();
    let patience = Patience::default();
    let caller = Caller {
        authorization: request.headers().get(AUTHORIZATION).cloned(),
        from: request.extensions().get::<ClientAddress>().copied().unwrap_or(ClientAddress::LOCAL),
        patience: patience.clone(),
        request_id: text.clone(),
    };
    request.extensions_mut().insert(caller);
    let span = tracing::info_span!("grpc", request_id = %text);
    let call = request_id::answered(next.run(request)).instrument(span);
    let response = match lasts {
        Lasts::Call => match patience.within(state.request_timeout, call).await {
            Ok(response) => response,
            Err(limit) => request_id::timed_out(limit),
        },
        Lasts::Stream => call.await,
        Lasts::Open => call.await.map(|body| Body::new(Leaving::new(body, state.ready.clone()))),
    };
    // A method that there is not is no label: callers choose it.
    let unknown = Status::from_header_map(response.headers())
        .is_some_and(|status| status.code() == Code::Unimplemented && status.details().is_empty());
    let method = if unknown { "none" } else { path.rsplit('/').next().unwrap_or_default() };
    let mut response = refused(response, &text);
    let code = Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code());
    let took = started.elapsed();
    let ms = took.as_secs_f64() * 1e3;
    if request_id::is_worth_a_line(code != Code::Ok, took) {
        tracing::info!(method, code = ?code, ms, request_id = text, "gRPC call");
    } else {
        tracing::debug!(method, code = ?code, ms, request_id = text, "gRPC call");
    }
    state.metrics.called_by_grpc(method, code as i32, (lasts == Lasts::Call).then_some(took));
    response.headers_mut().insert(X_REQUEST_ID, id);
    response
}

/// Why a request is no call at all, and whether its method is why.
fn no_call(request: &Request) -> Option<(Problem, bool)> {
    if request.method() != Method::POST {
        let why = "this path is a call of gRPC, which is POST";
        return Some((Problem::new(ErrorCode::METHOD_NOT_ALLOWED, why), true));
    }
    if !is_grpc(request.headers()) {
        let why = "this path is a call of gRPC, whose body is application/grpc; REST is under /v1";
        return Some((Problem::new(ErrorCode::UNSUPPORTED_MEDIA_TYPE, why), false));
    }
    if request.version() != Version::HTTP_2 {
        let why = "gRPC needs HTTP/2, and this came over an older version; a proxy on the way has to keep it";
        return Some((Problem::new(ErrorCode::INVALID_REQUEST, why), false));
    }
    None
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let rest = text.strip_prefix("application/grpc");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';']))
}

/// What went wrong on the way, as a status with details.
fn refused(mut response: Response, request_id: &str) -> Response {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        return status::of(&problem, request_id).into_http();
    }
    status::complete(response.headers_mut(), request_id);
    response
}
