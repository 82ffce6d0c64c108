//! light-push: twenty calls below `/api`, Basic auth with a key of the namespace or the admin key.
//!
//! Reading order: `answer` (what is answered), `auth` (who calls), `fields` (what a call says), then one file for each noun.

mod answer;
mod auth;
mod clients;
mod fields;
mod namespaces;
mod online;
mod push;
mod reports;
mod rooms;

use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ORIGIN, VARY,
};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use tidings_node::keys::Scope;
use tower_http::catch_panic::CatchPanicLayer;

use self::answer::{Refusal, plain};
use self::auth::Need;
use super::around::route;
use crate::{ApiState, request_id};

/// What is set.
#[derive(Clone, Debug)]
pub struct Settings {}

/// Its paths. Whatever has no path here is for whoever this is merged into, or for [`not_found`].
pub fn router(state: ApiState, settings: Settings) -> Router {
    let Settings {} = settings;
    const PUSH: Need = Need::Namespace(Some(Scope::Push));
    const READ: Need = Need::Namespace(Some(Scope::Read));
    const MANAGE: Need = Need::Namespace(Some(Scope::Manage));
    const ANY: Need = Need::Namespace(None);
    let needs = |need, answer: MethodRouter<ApiState>| {
        answer.route_layer(from_fn_with_state((state.clone(), need), auth::need))
    };
    let admin = |answer| needs(Need::Admin, answer);
    [
        ("/api/auth/push", needs(PUSH, post(push::push))),
        ("/api/auth/report/push", needs(READ, get(reports::list))),
        ("/api/auth/report/push/{id}", needs(READ, get(reports::show))),
        ("/api/auth/report/online", needs(READ, get(online::of_namespace))),
        ("/api/auth/namespace/current-message-stat", needs(READ, get(reports::counters))),
        ("/api/auth/transfer", needs(MANAGE, post(rooms::transfer))),
        // Whether it reads or writes is said in the body.
        ("/api/auth/client", needs(ANY, post(clients::client))),
        ("/api/auth/room-apns", needs(MANAGE, post(rooms::mute))),
        ("/api/auth/room-leave-message", needs(MANAGE, post(rooms::leave_message))),
        ("/api/auth/namespace", needs(READ, get(namespaces::own))),
        ("/api/auth/namespace/save", needs(MANAGE, post(namespaces::save_own))),
        ("/api/auth/login", needs(ANY, post(answer::nothing))),
        ("/api/admin/login", admin(post(answer::nothing))),
        ("/api/admin/namespace/save", admin(post(namespaces::save))),
        ("/api/admin/namespace/list", admin(get(namespaces::list))),
        ("/api/admin/namespace/clear/{key}", admin(get(namespaces::clear))),
        ("/api/admin/namespace/flush/{key}", admin(get(namespaces::flush))),
        ("/api/admin/namespace/clear-realtime-data", admin(post(namespaces::clear_presence))),
        ("/api/admin/clear-legacy-client", admin(post(namespaces::clear_legacy))),
        ("/api/admin/report/online", admin(get(online::of_all))),
        ("/health", get(async || plain(StatusCode::OK, "hello"))),
    ]
    .into_iter()
    .fold(Router::new(), |router, (path, answer)| route(router, path, answer))
    .method_not_allowed_fallback(not_found)
    .route_layer(CatchPanicLayer::custom(answer::panicked))
    .route_layer(from_fn_with_state(state.clone(), timed))
    .route_layer(from_fn(across_origins))
    .with_state(state)
}

/// The answer to a path that is none of light-push's, where it has a listener to itself.
pub async fn not_found() -> Response {
    let mut response = plain(StatusCode::NOT_FOUND, "Not Found");
    response.headers_mut().insert("from", HeaderValue::from_static(FROM));
    response
}

/// Who answers.
const FROM: &str = "light-push";

/// How long it took.
const RESPONSE_TIME: HeaderName = HeaderName::from_static("x-response-time");

/// What pages may send.
const ALLOWED_HEADERS: &str =
    "Content-Type, AdminKey, Nonce, Timestamp, Signature, AppKey, Token, AppId, RefKey, Authorization";

/// Says how long a call took, to its caller, to the log and to the numbers; and ends one that takes too long.
async fn timed(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let (started, method) = (Instant::now(), request.method().clone());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let answered = tokio::time::timeout(state.request_timeout, next.run(request)).await;
    let mut response = answered.unwrap_or_else(|_| Refusal::failed("the call took too long").into_response());
    let (took, route) = (started.elapsed(), route.as_ref().map_or("none", MatchedPath::as_str));
    let (status, ms) = (response.status().as_u16(), millis(took));
    if request_id::is_worth_a_line(status >= 400, took) {
        tracing::info!(%method, route, status, ms, "call");
    } else {
        tracing::debug!(%method, route, status, ms, "call");
    }
    state.metrics.called(&method, route, response.status().as_u16(), took);
    if let Ok(took) = HeaderValue::try_from(format!("{}ms", took.as_millis())) {
        response.headers_mut().insert(RESPONSE_TIME, took);
    }
    response
}

fn millis(took: Duration) -> f64 {
    (took.as_secs_f64() * 1e6).round() / 1e3
}

/// What pages of other origins are to know. A key is in no cookie: whoever has none gets nothing by this.
async fn across_origins(request: Request, next: Next) -> Response {
    let origin = request.headers().get(ORIGIN).cloned();
    let mut response = if request.method() == Method::OPTIONS {
        let headers = [
            (ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST")),
            (ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(ALLOWED_HEADERS)),
            (ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("2592000")),
            (RESPONSE_TIME, HeaderValue::from_static("0ms")),
        ];
        (StatusCode::NO_CONTENT, headers).into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.insert("from", HeaderValue::from_static(FROM));
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        headers.append(VARY, HeaderValue::from_static("Origin"));
    }
    response
}
