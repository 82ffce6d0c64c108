//! A call of REST as one handler: what answers it, and in front of that, whatever a call is asked and given. Layers of axum do the
//! same, but each layer copies all that is inside of it whenever there is a call. It knows no path.

use std::pin::Pin;

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use axum::handler::Handler;
use axum::response::{IntoResponse as _, Response};
use tidings_model::ErrorCode;
use tidings_node::keys::Scope;
use tidings_wire::query::not_utf8;
use tracing::Span;

use crate::auth::Need;
use crate::request_id::{Patience, around, named};
use crate::{ApiState, BodyDeadline, Problem, auth, extract};

/// What a handler is going to answer.
pub(crate) type Answering = Pin<Box<dyn Future<Output = Response> + Send>>;

/// What answers a request.
pub(crate) type Answer = Box<dyn FnOnce(Request) -> Answering + Send>;

/// A handler, what its caller needs a key for, and what surrounds every call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<H> {
    need: Option<Need>,
    reads: Reads,
    handler: H,
}

/// What a handler reads of a request. What it does not read is refused where something is said in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reads {
    pub(crate) query: bool,
    pub(crate) body: bool,
}

impl Reads {
    /// Neither.
    pub(crate) const NOTHING: Self = Self { query: false, body: false };
}

impl<H> Call<H> {
    pub(crate) fn new(need: Option<Need>, reads: Reads, handler: H) -> Self {
        Self { need, reads, handler }
    }
}

impl<T, H> Handler<T, ApiState> for Call<H>
where
    T: 'static,
    H: Handler<T, ApiState, Future = Answering>,
{
    type Future = Answering;

    fn call(self, request: Request, state: ApiState) -> Answering {
        let Self { need, reads, handler } = self;
        let inner = state.clone();
        let answer: Answer = Box::new(move |request| {
            let wrong = if reads.query { no_text(&request) } else { unasked(need, &request) };
            if let Some(problem) = wrong {
                return Box::pin(std::future::ready(problem.into_response()));
            }
            if !reads.body && need.is_some() && !request.body().is_end_stream() {
                return Box::pin(async move {
                    match unread(request).await {
                        Ok(request) => handler.call(request, inner).await,
                        Err(problem) => problem.into_response(),
                    }
                });
            }
            handler.call(request, inner)
        });
        Box::pin(surrounded(state, need, request, answer))
    }
}

/// What is wrong with a query in which nothing is asked of a call that needs a key; who probes one that needs none may add what keeps
/// caches away.
fn unasked(need: Option<Need>, request: &Request) -> Option<Problem> {
    let query = request.uri().query().filter(|query| need.is_some() && !query.is_empty())?;
    let (name, _) = form_urlencoded::parse(query.as_bytes()).next()?;
    Some(refused(&name, "query"))
}

/// What is wrong with a query that is no text. Whatever reads queries here does so leniently.
fn no_text(request: &Request) -> Option<Problem> {
    let name = not_utf8(request.uri().query()?)?;
    Some(Problem::field(ErrorCode::INVALID_REQUEST, name, "is not UTF-8"))
}

fn refused(name: &str, place: &str) -> Problem {
    let name: String = name.chars().take(64).collect();
    let message = format!("is not known: this call is asked nothing in its {place}");
    Problem::field(ErrorCode::INVALID_REQUEST, &name, message)
}

/// The request of a call that reads no body, without the one that it has. That may only be nothing, `null`, or an object without fields:
/// who says `{"dry_run": true}` where that is not known would have done what was only to be tried.
async fn unread(request: Request) -> Result<Request, Problem> {
    let (parts, body) = request.into_parts();
    let mut unread = Request::new(body);
    if let Some(deadline) = parts.extensions.get::<BodyDeadline>() {
        unread.extensions_mut().insert(*deadline);
    }
    let whole = extract::body(unread, extract::BODY_MAX).await?;
    let text = whole.trim_ascii();
    if text.is_empty() || text == b"null" {
        return Ok(Request::from_parts(parts, Body::empty()));
    }
    match serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(text) {
        Ok(fields) => match fields.keys().next() {
            Some(name) => Err(refused(name, "body")),
            None => Ok(Request::from_parts(parts, Body::empty())),
        },
        Err(_) => Err(Problem::new(ErrorCode::INVALID_REQUEST, "this call is asked nothing in its body")),
    }
}

/// The same for all handlers. A call that comes out of a call of gRPC is surrounded there.
async fn surrounded(state: ApiState, need: Option<Need>, request: Request, answer: Answer) -> Response {
    if request.extensions().get::<Patience>().is_some() {
        return admitted(state, need, request, answer).await;
    }
    let inner = state.clone();
    let span = if need == Some(Need::Scope(Scope::Push)) { unnamed } else { named };
    around(&state, request, span, |request| admitted(inner, need, request, answer)).await
}

/// A span costs a twentieth of a push. When one fails, the line about the call has its id.
fn unnamed(_: &str) -> Span {
    Span::none()
}

async fn admitted(state: ApiState, need: Option<Need>, mut request: Request, answer: Answer) -> Response {
    if let Some(need) = need
        && let Err(problem) = auth::admit(&state.node, need, &mut request).await
    {
        return problem.into_response();
    }
    answer(request).await
}
