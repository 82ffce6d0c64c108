//! What surrounds every call: its id, its line in the log, its numbers, its time limit, the headers
//! that browsers want, and errors as `application/problem+json`. It knows no path and no body.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE, ALLOW, CONTENT_LENGTH, ORIGIN,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tidings_model::ErrorCode;
use tidings_model::origin::EVERY_PAGE;
use tracing::{Instrument as _, Span};

use crate::rest::namespaces;
use crate::{ApiState, Problem, extract, problem};

/// The header that names a request.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What routes about a namespace begin with.
const ABOUT_A_NAMESPACE: &str = "/v1/namespaces/{ns}";

/// Longest id that is taken from a caller, in characters.
const ID_MAX: usize = 64;

/// What a call is counted as whose caller has hung up before the answer; nobody is ever answered it.
const CLIENT_GONE: u16 = 499;

/// Gives a request an id, whatever route it is for: whoever answers finds it in the request.
pub fn name(request: &mut Request) -> HeaderValue {
    let id = id_of(request.headers());
    request.headers_mut().insert(X_REQUEST_ID, id.clone());
    id
}

/// Gives a response the id of its request.
pub fn tell(id: &HeaderValue, response: &mut Response) {
    response.headers_mut().insert(X_REQUEST_ID, id.clone());
}

/// Surrounds the calls of a router, each route by itself: `OPTIONS` is answered, and a call that panics is.
pub(crate) fn surround(router: Router, state: &ApiState) -> Router {
    router.layer(from_fn_with_state(state.clone(), layer))
}

async fn layer(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    around(&state, request, named, |request| next.run(request)).await
}

/// What a call answers, also when it panics.
pub(crate) async fn answered(call: impl Future<Output = Response>) -> Response {
    AssertUnwindSafe(call).catch_unwind().await.unwrap_or_else(problem::panicked)
}

/// How much longer a call may take than others, because its caller wants it to wait.
#[derive(Clone, Debug, Default)]
pub(crate) struct Patience(Arc<AtomicU64>);

impl Patience {
    /// The call waits for so long besides what it does.
    pub(crate) fn wait(&self, wait: Duration) {
        self.0.store(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// What a call answers, or how long it was given.
    pub(crate) async fn within<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = T>,
    ) -> Result<T, Duration> {
        let mut call = std::pin::pin!(call);
        let mut given = Duration::ZERO;
        let mut limit = limit;
        loop {
            if let Ok(answer) = tokio::time::timeout(limit, call.as_mut()).await {
                return Ok(answer);
            }
            given += limit;
            // What was not known when the call began.
            limit = Duration::from_millis(self.0.swap(0, Ordering::Relaxed));
            if limit.is_zero() {
                return Err(given);
            }
        }
    }
}

/// Gives the lines in the log that are written during a call its id.
pub(crate) fn named(id: &str) -> Span {
    tracing::info_span!("api", request_id = id)
}

/// Surrounds a call. What is logged during it has `span` around it.
pub(crate) async fn around<F: Future<Output = Response>>(
    state: &ApiState,
    mut request: Request,
    span: fn(&str) -> Span,
    answer: impl FnOnce(Request) -> F,
) -> Response {
    let started = Instant::now();
    let origin = request.headers().get(ORIGIN).cloned();
    let id = id_of(request.headers());
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let about = namespace_of(route.as_ref().map(MatchedPath::as_str), request.uri().path());
    let span = span(id.to_str().unwrap_or_default());
    let name = route.as_ref().map_or("none", MatchedPath::as_str);
    let mut called = Called { state, method: &method, route: name, id: &id, started, is_answered: false };
    let mut response = if method == Method::OPTIONS {
        preflight(route.as_ref().map(MatchedPath::as_str), request.uri().path())
    } else {
        let patience = Patience::default();
        request.extensions_mut().insert(patience.clone());
        let call = answered(answer(request)).instrument(span);
        match patience.within(state.request_timeout, call).await {
            Ok(response) => response,
            Err(limit) => timed_out(limit),
        }
    };
    response = written(response, id.to_str().unwrap_or_default());
    called.answered(response.status());
    drop(called);
    let headers = response.headers_mut();
    headers.insert(X_REQUEST_ID, id);
    // By the rules that hold now: a call may have changed them.
    let namespace = about.and_then(|name| state.node.namespace(&name));
    let settings = namespace.map(|namespace| namespace.settings());
    let origins = settings.as_ref().map_or(&EVERY_PAGE, |settings| &settings.origins);
    namespaces::origins::answer(origins, origin.as_ref(), headers);
    headers.insert(
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("x-request-id, retry-after, allow, www-authenticate"),
    );
    response
}

/// A call until it is answered, or nobody waits for its answer any more.
struct Called<'a> {
    state: &'a ApiState,
    method: &'a Method,
    route: &'a str,
    id: &'a HeaderValue,
    started: Instant,
    is_answered: bool,
}

impl Called<'_> {
    fn answered(&mut self, status: StatusCode) {
        self.is_answered = true;
        self.ended(status.as_u16());
    }

    fn ended(&self, status: u16) {
        let Self { state, method, route, id, started, .. } = *self;
        log(method, route, status, started, id);
        state.metrics.called(method, route, status, started.elapsed());
    }
}

impl Drop for Called<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.ended(CLIENT_GONE);
        }
    }
}

/// The name of the namespace that a call is about, without what is done with it.
fn namespace_of(route: Option<&str>, path: &str) -> Option<String> {
    let name = route?.starts_with(ABOUT_A_NAMESPACE).then(|| extract::namespace_in(path))??;
    name.split(':').next().map(str::to_owned)
}

/// With its problem as a body, if it has one.
pub(crate) fn written(mut response: Response, id: &str) -> Response {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let body = problem.to_json(id);
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        *response.body_mut() = Body::from(body);
    }
    response
}

/// The answer to a request that is refused before it comes to any route.
pub fn refusal(problem: Problem, id: &HeaderValue) -> Response {
    written(problem.into_response(), id.to_str().unwrap_or_default())
}

/// The caller's id when it is printable and short, else one that is made up.
pub(crate) fn id_of(headers: &HeaderMap) -> HeaderValue {
    let printable = |value: &HeaderValue| {
        let bytes = value.as_bytes();
        !bytes.is_empty() && bytes.len() <= ID_MAX && bytes.iter().all(u8::is_ascii_graphic)
    };
    headers
        .get(X_REQUEST_ID)
        .filter(|value| printable(value))
        .cloned()
        .or_else(|| HeaderValue::from_str(&tidings_node::ids::distinct()).ok())
        .unwrap_or_else(|| HeaderValue::from_static("unknown"))
}

/// The answer to a browser that asks what it may send. Keys are not cookies: no credentials.
fn preflight(route: Option<&str>, path: &str) -> Response {
    let headers = [
        (ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE")),
        (
            ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static("authorization, content-type, idempotency-key, x-request-id"),
        ),
        (ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400")),
    ];
    let mut response = (StatusCode::NO_CONTENT, headers).into_response();
    // Of all others the router knows the methods.
    if route == Some(ABOUT_A_NAMESPACE) {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(namespaces::methods(path)));
    }
    response
}

/// The answer to a call that took too long.
pub(crate) fn timed_out(limit: Duration) -> Response {
    let detail = format!(
        "the call took longer than {limit:?}; whether it had an effect is not known, so retry a push with the same id"
    );
    Problem::new(ErrorCode::DEPENDENCY_UNAVAILABLE, detail).into_response()
}

/// A call that takes so long is worth a line although nothing is wrong with it.
const SLOW: Duration = Duration::from_secs(1);

/// Whether an operator wants to read of a call that failed or did not, and took so long. Of all others there is a line at
/// `debug` only, because it costs as much as a push.
pub(crate) fn is_worth_a_line(failed: bool, took: Duration) -> bool {
    failed || took >= SLOW
}

/// One line for each call. `readyz` says no while it is meant to.
fn log(method: &Method, route: &str, status: u16, started: Instant, id: &HeaderValue) {
    let took = started.elapsed();
    let id = id.to_str().unwrap_or_default();
    let ms = || (took.as_secs_f64() * 1e6).round() / 1e3;
    let is_probe = matches!(route, "/healthz" | "/readyz" | "/metrics");
    if !is_probe && is_worth_a_line(status >= 400, took) {
        tracing::info!(%method, route, status, ms = ms(), request_id = id, "call");
    } else {
        tracing::debug!(%method, route, status, ms = ms(), request_id = id, "call");
    }
}
