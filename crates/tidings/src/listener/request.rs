//! The requests of a connection: where each comes from, whether one has come, and when the last one ended.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::response::Response;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper::{Request, Version};
use tidings_model::ClientAddress;
use tokio::time::Instant;
use tower::ServiceExt as _;

use super::Sources;
use super::waiting::Place;

/// The requests of a connection.
#[derive(Clone, Debug)]
pub(super) struct Requests(Arc<State>);

#[derive(Debug)]
struct State {
    place: Place,
    /// Who has sent them.
    peer: ClientAddress,
    /// What comes over HTTP/1 ends by itself when it is silent for too long.
    http1: AtomicBool,
    /// Requests of HTTP/2 that have not been answered to their end.
    running: AtomicUsize,
    idle_since: Mutex<Instant>,
}

impl Requests {
    pub(super) fn new(place: Place, peer: ClientAddress) -> Self {
        Self(Arc::new(State {
            place,
            peer,
            http1: AtomicBool::new(false),
            running: AtomicUsize::new(0),
            idle_since: Mutex::new(Instant::now()),
        }))
    }

    /// Whether one has come.
    pub(super) fn have_come(&self) -> bool {
        self.0.place.has_left()
    }

    /// Whether they come over HTTP/1; only known once one has come.
    pub(super) fn are_http1(&self) -> bool {
        self.0.http1.load(Ordering::Relaxed)
    }

    /// When to look again whether there has been none for `timeout`; `None` when that is so now.
    pub(super) fn next_idle(&self, timeout: Duration) -> Option<Instant> {
        if self.0.running.load(Ordering::Acquire) > 0 {
            return Some(Instant::now() + timeout);
        }
        let since = *self.0.idle_since.lock().unwrap_or_else(PoisonError::into_inner);
        Some(since + timeout).filter(|at| *at > Instant::now())
    }

    /// Answers them from `router`, which finds the client's address in each.
    pub(super) fn answered_from(
        &self,
        router: Router,
        sources: Sources,
    ) -> impl Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send> + use<> {
        let requests = self.clone();
        service_fn(move |request: Request<Incoming>| {
            let http2 = request.version() == Version::HTTP_2;
            requests.0.http1.store(!http2, Ordering::Relaxed);
            requests.0.place.leave();
            let running = http2.then(|| Running::new(&requests.0));
            let client = sources.of_request(requests.0.peer, request.headers());
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(client);
            let answer = router.clone().oneshot(request);
            async move {
                let answer = answer.await?;
                Ok(match running {
                    Some(running) => answer.map(|body| Body::new(Counted { body, _running: running })),
                    None => answer,
                })
            }
        })
    }
}

/// A request that is being answered.
#[derive(Debug)]
struct Running(Arc<State>);

impl Running {
    fn new(state: &Arc<State>) -> Self {
        state.running.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(state))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        *self.0.idle_since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
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
