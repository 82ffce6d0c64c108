//! The requests of a connection: where each comes from, whether one has come, and when the last one ended.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::response::Response;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::header::{HOST, HeaderMap, SEC_WEBSOCKET_KEY};
use hyper::service::{Service, service_fn};
use hyper::{Request, Version};
use tidings_api::{BodyDeadline, Problem, request_id};
use tidings_gateway::Traffic;
use tidings_model::{ClientAddress, ErrorCode};
use tokio::time::Instant;
use tower::ServiceExt as _;

use super::Sources;
use super::leftover::{Leftover, Watched};
use super::waiting::Place;

/// The requests of a connection.
#[derive(Clone, Debug)]
pub(super) struct Requests(Arc<State>);

#[derive(Debug)]
struct State {
    place: Place,
    /// Who has sent them.
    peer: ClientAddress,
    http1: AtomicBool,
    traffic: Arc<Traffic>,
    /// Requests that have not been answered to their end.
    running: AtomicUsize,
    quiet: Mutex<Quiet>,
}

/// A connection on which no request is being answered.
#[derive(Clone, Copy, Debug)]
struct Quiet {
    since: Instant,
    /// When the client has begun with the next request, if that is not there yet. Only known of HTTP/1.
    head_since: Option<Instant>,
}

/// What is to be done about a connection when it is time to look at it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Nothing; look again then.
    Again(Instant),
    /// Nothing has been asked for a long time.
    Idle,
    /// The client has begun with a request and does not come to the end of its head.
    SlowHead,
}

impl Requests {
    pub(super) fn new(place: Place, peer: ClientAddress) -> Self {
        Self(Arc::new(State {
            place,
            peer,
            http1: AtomicBool::new(false),
            traffic: Arc::default(),
            running: AtomicUsize::new(0),
            quiet: Mutex::new(Quiet { since: Instant::now(), head_since: None }),
        }))
    }

    /// Where to note what goes on on the connection.
    pub(super) fn traffic(&self) -> Arc<Traffic> {
        Arc::clone(&self.0.traffic)
    }

    /// Whether one has come.
    pub(super) fn have_come(&self) -> bool {
        self.0.place.has_left()
    }

    /// Whether the client has just begun with a request that is not there yet: true once for each. To be asked after what has
    /// come was looked at. Of HTTP/2 it is not known: there, other frames come between requests, too.
    pub(super) fn head_has_begun(&self) -> bool {
        let State { http1, traffic, .. } = &*self.0;
        if !traffic.heard() || !http1.load(Ordering::Relaxed) || self.0.is_answering() {
            return false;
        }
        traffic.forget_heard();
        let mut quiet = self.0.quiet();
        let first = quiet.head_since.is_none();
        quiet.head_since.get_or_insert_with(Instant::now);
        first
    }

    /// What is to be done about the connection now, where it may be without a request for `idle`, and a head may take `head`.
    pub(super) fn look(&self, idle: Duration, head: Duration) -> Look {
        let now = Instant::now();
        if self.0.is_answering() {
            return Look::Again(now + idle);
        }
        let mut quiet = self.0.quiet();
        if self.0.traffic.take_freed() {
            quiet.since = now;
        }
        let Quiet { since, head_since } = *quiet;
        match head_since {
            Some(begun) if begun + head <= now => Look::SlowHead,
            Some(begun) => Look::Again(begun + head),
            None if since + idle <= now => Look::Idle,
            None => Look::Again(since + idle),
        }
    }

    /// Answers them from `router`, which finds the client's address in each. Their bodies may take so long to arrive.
    pub(super) fn answered_from(
        &self,
        router: Router,
        sources: Sources,
        body_timeout: Duration,
    ) -> impl Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send> + use<> {
        let requests = self.clone();
        service_fn(move |request: Request<Incoming>| {
            let is_http1 = request.version() != Version::HTTP_2;
            requests.0.http1.store(is_http1, Ordering::Relaxed);
            requests.0.place.leave();
            let running = Running::new(&requests.0);
            let client = sources.of_request(requests.0.peer, request.headers());
            let unclear = unclear(request.version(), request.headers());
            let (mut request, leftover) = watched(request, is_http1, body_timeout);
            request.extensions_mut().insert(client);
            let id = request_id::name(&mut request);
            let router = router.clone();
            async move {
                let mut answer = match unclear {
                    None => router.oneshot(request).await?,
                    Some(problem) => {
                        drop(request);
                        request_id::refusal(problem, &id)
                    }
                };
                request_id::tell(&id, &mut answer);
                if let Some(leftover) = leftover {
                    leftover.settle(&mut answer).await;
                }
                Ok(answer.map(|body| Body::new(Counted { body, _running: running })))
            }
        })
    }
}

/// A request whose body has its time; and where what nobody reads of that will be, if it matters to the connection.
fn watched(
    request: Request<Incoming>,
    is_http1: bool,
    body_timeout: Duration,
) -> (Request<Body>, Option<Leftover>) {
    let (mut parts, body) = request.into_parts();
    if body.is_end_stream() {
        return (Request::from_parts(parts, Body::new(body)), None);
    }
    parts.extensions.insert(BodyDeadline::new(body_timeout));
    if !is_http1 {
        return (Request::from_parts(parts, Body::new(body)), None);
    }
    let (body, leftover) = Watched::new(body, &parts.headers, body_timeout);
    (Request::from_parts(parts, Body::new(body)), Some(leftover))
}

/// What is wrong with headers that others on the way may have read differently (RFC 9112, section 3.2; RFC 6455, section
/// 11.3.1). That a length is there twice, or beside chunks, is seen to before: the first is refused, and of the second the
/// chunks hold and the connection ends.
fn unclear(version: Version, headers: &HeaderMap) -> Option<Problem> {
    let mut hosts = headers.get_all(HOST).iter();
    let detail = match (hosts.next(), hosts.next()) {
        (None, _) if version == Version::HTTP_11 => "the request has no header Host, which HTTP/1.1 asks for",
        (_, Some(_)) => "the request has more than one header Host",
        (Some(host), None) if host.as_bytes().iter().any(|byte| b" \t,/?#@\\".contains(byte)) => {
            "the header Host is not the name of a host, with or without a port"
        }
        _ if headers.get_all(SEC_WEBSOCKET_KEY).iter().nth(1).is_some() => {
            "the request has more than one header Sec-WebSocket-Key"
        }
        _ => return None,
    };
    Some(Problem::new(ErrorCode::INVALID_REQUEST, detail))
}

impl State {
    /// Whether a request is being answered, or the client has not taken an answer yet.
    fn is_answering(&self) -> bool {
        self.running.load(Ordering::Acquire) > 0 || self.traffic.is_stuck()
    }

    fn quiet(&self) -> MutexGuard<'_, Quiet> {
        self.quiet.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is being answered.
#[derive(Debug)]
struct Running(Arc<State>);

impl Running {
    fn new(state: &Arc<State>) -> Self {
        state.running.fetch_add(1, Ordering::AcqRel);
        state.quiet().head_since = None;
        Self(Arc::clone(state))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.quiet().since = Instant::now();
        // What came until now was of the request that ends here.
        self.0.traffic.forget_heard();
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The body of an answer that counts as running until its end.
struct Counted {
    body: Body,
    _running: Running,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn a_request_names_one_host() {
        let one: &[(HeaderName, &str)] = &[(HOST, "push.example.com:8080")];
        for (version, headers, expected) in [
            (Version::HTTP_11, one, None),
            (Version::HTTP_11, &[(HOST, "[2001:db8::1]:80")], None),
            (Version::HTTP_11, &[(HOST, "a_b.internal")], None),
            (Version::HTTP_11, &[(HOST, "")], None),
            (Version::HTTP_11, &[(HOST, "\u{e9}.example")], None),
            (Version::HTTP_11, &[], Some("has no header Host")),
            (Version::HTTP_10, &[], None),
            (Version::HTTP_2, &[], None),
            (Version::HTTP_11, &[(HOST, "a"), (HOST, "a")], Some("more than one header Host")),
            (Version::HTTP_10, &[(HOST, "a"), (HOST, "b")], Some("more than one header Host")),
            (Version::HTTP_2, &[(HOST, "a"), (HOST, "b")], Some("more than one header Host")),
            (Version::HTTP_11, &[(HOST, "a, b")], Some("is not the name of a host")),
            (Version::HTTP_11, &[(HOST, "a/b")], Some("is not the name of a host")),
            (Version::HTTP_11, &[(HOST, "u@b")], Some("is not the name of a host")),
            (Version::HTTP_11, &[(HOST, "a"), (SEC_WEBSOCKET_KEY, "x")], None),
            (
                Version::HTTP_11,
                &[(HOST, "a"), (SEC_WEBSOCKET_KEY, "x"), (SEC_WEBSOCKET_KEY, "x")],
                Some("more than one header Sec-WebSocket-Key"),
            ),
        ] {
            let map = headers.iter().cloned();
            let map = map.map(|(name, value)| (name, HeaderValue::from_str(value).unwrap())).fold(
                HeaderMap::new(),
                |mut map, (name, value)| {
                    map.append(name, value);
                    map
                },
            );
            let found = unclear(version, &map);
            let detail = found.as_ref().map(Problem::detail);
            assert_eq!(detail.is_some(), expected.is_some(), "{version:?} {headers:?} {detail:?}");
            assert!(detail.unwrap_or_default().contains(expected.unwrap_or_default()), "{detail:?}");
        }
    }
}
