//! The body of a stream that ends when the server stops: its client would never end it.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use http::HeaderMap;
use http_body::Frame;
use tonic::Status;

use crate::Readiness;

/// A body, until the server stops.
pub(super) struct Leaving {
    body: Body,
    stopping: Pin<Box<dyn Future<Output = ()> + Send>>,
    ended: bool,
}

impl Leaving {
    pub(super) fn new(body: Body, ready: Readiness) -> Self {
        Self { body, stopping: Box::pin(async move { ready.draining().await }), ended: false }
    }
}

impl HttpBody for Leaving {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        // What there is to say is said first.
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        if self.stopping.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.ended = true;
        let mut trailers = HeaderMap::new();
        // A status without details is always a header.
        let _ = Status::unavailable("the server is stopping").add_header(&mut trailers);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }
}
