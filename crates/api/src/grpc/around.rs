//! What surrounds every call: its id, its line in the log, its numbers, its time limit, and an answer for what is no call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Method, Version};
use http_body_util::BodyExt as _;
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
    let broke = Arc::new(AtomicBool::new(false));
    let breaks = Arc::clone(&broke);
    let request = request.map(|body| {
        Body::new(body.map_err(move |why| {
            breaks.store(true, Ordering::Relaxed);
            why
        }))
    });
    let mut called = Called { state: &state, path: &path, lasts, id: &text, started, is_answered: false };
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
    let mut response = refused(response, &text);
    let code = match Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code()) {
        // What breaks off was given up by its caller.
        Code::Unknown if broke.load(Ordering::Relaxed) => Code::Cancelled,
        code => code,
    };
    called.answered(if unknown { "none" } else { called.method() }, code);
    drop(called);
    response.headers_mut().insert(X_REQUEST_ID, id);
    response
}

/// A call until it is answered, or nobody waits for its answer any more.
struct Called<'a> {
    state: &'a ApiState,
    path: &'a str,
    lasts: Lasts,
    id: &'a str,
    started: Instant,
    is_answered: bool,
}

impl<'a> Called<'a> {
    fn method(&self) -> &'a str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    fn answered(&mut self, method: &str, code: Code) {
        self.is_answered = true;
        self.ended(method, code);
    }

    fn ended(&self, method: &str, code: Code) {
        let took = self.started.elapsed();
        let (ms, id) = (took.as_secs_f64() * 1e3, self.id);
        if request_id::is_worth_a_line(code != Code::Ok, took) {
            tracing::info!(method, code = ?code, ms, request_id = id, "gRPC call");
        } else {
            tracing::debug!(method, code = ?code, ms, request_id = id, "gRPC call");
        }
        self.state.metrics.called_by_grpc(method, code as i32, (self.lasts == Lasts::Call).then_some(took));
    }
}

impl Drop for Called<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.ended(self.method(), Code::Cancelled);
        }
    }
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
