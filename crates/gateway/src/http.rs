//! The HTTP side: judges requests and hands what becomes of them to a shard.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::{any, get};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tidings_model::ErrorCode;
use tidings_wire::problem::{self, Problem};

use crate::Front;
use crate::session::Refusal;

mod engineio;
mod query;
mod sse;
mod upgrade;
mod websocket;

/// The routes that clients use.
pub(crate) fn router(front: Arc<Front>) -> Router {
    Router::new()
        .route("/socket.io/", any(engineio::endpoint))
        .route("/socket.io", any(engineio::endpoint))
        .route("/v1/namespaces/{namespace}/connect", get(websocket::endpoint))
        .route("/v1/namespaces/{namespace}/sse", get(sse::endpoint))
        .with_state(front)
}

/// An error answer.
fn problem(headers: &HeaderMap, why: &Refusal) -> Response {
    let given = headers.get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
    let body = Problem {
        kind: format!("urn:tidings:error:{}", why.code.slug),
        title: why.code.title,
        status: why.code.status,
        code: why.code.slug,
        detail: &why.message,
        request_id: given,
        errors: &[],
    };
    let mut response = Response::new(Body::from(body.to_json()));
    *response.status_mut() =
        StatusCode::from_u16(why.code.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(problem::CONTENT_TYPE));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    if why.code.status == 503 {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
    }
    response
}

/// The refusal while the server stops.
fn draining() -> Refusal {
    Refusal::new(ErrorCode::OVERLOADED, "this node is stopping; reconnect to another one, or in a moment")
}
