//! The HTTP side: judges requests and hands what becomes of them to a shard.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{any, get};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tidings_model::ErrorCode;
use tidings_wire::problem::{self, FieldError, Problem};

use crate::Front;
use crate::command::Application;
use crate::session::Refusal;

pub(crate) mod compat;
mod engineio;
mod entrance;
pub(crate) mod query;
mod sse;
mod upgrade;
mod websocket;

/// The routes that clients use.
pub(crate) fn router(front: Arc<Front>) -> Router {
    Router::new()
        .route("/socket.io/", any(engineio::endpoint))
        .route("/socket.io", any(engineio::endpoint))
        .route("/v1/namespaces/{namespace}/connect", get(websocket::endpoint).fallback(no_socket))
        .route(
            "/v1/namespaces/{namespace}/sse",
            // A `get` alone takes HEAD too, and would open a session for it.
            get(sse::endpoint).options(preflight).head(no_stream).fallback(no_stream),
        )
        .route_layer(axum::middleware::from_fn_with_state((Arc::clone(&front), None), entrance::enter))
        .with_state(front)
}

/// The routes that protocol suites use: a plain WebSocket that echoes, an Engine.IO that does, and a
/// Socket.IO application.
pub(crate) fn conformance_router(front: Arc<Front>) -> Router {
    let engineio = |application| {
        any(move |State(front): State<Arc<Front>>, request: Request| {
            engineio::serve(front, request, application, None)
        })
    };
    Router::new()
        .route("/echo", get(websocket::echo))
        .route("/engine.io/", engineio(Application::Echo))
        .route("/engine.io", engineio(Application::Echo))
        .route("/socket.io/", engineio(Application::Fixture))
        .route("/socket.io", engineio(Application::Fixture))
        .with_state(front)
}

/// Longest request id that is taken from a caller, in bytes.
const REQUEST_ID_MAX: usize = 64;

/// Answers who asks for an event stream with another method.
async fn no_stream(request: Request) -> Response {
    only_for_get(&request, "an event stream", "GET, OPTIONS")
}

/// Answers who asks for a WebSocket with another method.
async fn no_socket(request: Request) -> Response {
    only_for_get(&request, "a WebSocket", "GET")
}

fn only_for_get(request: &Request, what: &str, allow: &'static str) -> Response {
    let why = format!("{what} is there for GET, not for {}", request.method());
    let mut response = problem(request.headers(), &Refusal::new(ErrorCode::METHOD_NOT_ALLOWED, why));
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

/// What a browser asks before it reads a stream with a header of ours.
async fn preflight() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Last-Event-ID, Cache-Control"),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// An error answer.
fn problem(headers: &HeaderMap, why: &Refusal) -> Response {
    let given = headers.get("x-request-id").and_then(|id| id.to_str().ok());
    let given =
        given.filter(|id| id.len() <= REQUEST_ID_MAX && id.bytes().all(|byte| byte.is_ascii_graphic()));
    let request_id = given.map_or_else(tidings_node::ids::token, str::to_owned);
    let errors: Vec<FieldError> = why
        .field
        .iter()
        .map(|field| FieldError { field: field.clone(), message: why.message.clone() })
        .collect();
    let body = Problem {
        kind: format!("urn:tidings:error:{}", why.code.slug),
        title: why.code.title,
        status: why.code.status,
        code: why.code.slug,
        detail: &why.message,
        request_id: &request_id,
        errors: &errors,
    };
    // Of many that are asked to wait, the door logs some.
    if !matches!(why.code.status, 429 | 503) {
        tracing::info!(status = why.code.status, code = why.code.slug, reason = ?why.message, request_id, "a client was refused");
    }
    let mut response = Response::new(Body::from(body.to_json()));
    *response.status_mut() =
        StatusCode::from_u16(why.code.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(problem::CONTENT_TYPE));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    let exposed = HeaderValue::from_static("x-request-id, retry-after");
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        headers.insert("x-request-id", id);
    }
    if matches!(why.code.status, 429 | 503) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
    }
    response
}
