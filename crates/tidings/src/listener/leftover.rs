//! What is left of the body of a request on HTTP/1 when the request is answered. The next request of the connection comes
//! behind it: it is read then, or the answer says that the connection ends.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Bytes;
use axum::response::Response;
use http_body::{Body, Frame, SizeHint};
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, EXPECT, HeaderMap, HeaderValue};
use tokio::time::{Instant, timeout, timeout_at};

/// How much of a body that nobody has asked for is read so that the connection can be kept, in bytes.
const READ_MAX: u64 = 64 * 1024;

/// How long an answer waits for that.
const READ_WITHIN: Duration = Duration::from_secs(1);

/// How long what a client sends is still taken when its connection ends: closed at once, the connection would break under
/// it before it has read the answer.
const LINGER: Duration = Duration::from_secs(2);

/// How much of it, in bytes.
const LINGER_MAX: u64 = 4 << 20;

/// The body of a request, which leaves behind what nobody has read of it.
pub(super) struct Watched {
    body: Option<Incoming>,
    /// Whether the client sends it, or will when it is asked to.
    comes: bool,
    ended: bool,
    /// By when it has to be there.
    by: Instant,
    leftover: Leftover,
}

/// Where that is left.
#[derive(Clone, Default)]
pub(super) struct Leftover(Arc<Mutex<Option<Left>>>);

struct Left {
    body: Incoming,
    comes: bool,
    by: Instant,
}

impl Watched {
    /// The body of a request with these headers, which has so much time; and where what is left of it will be.
    pub(super) fn new(body: Incoming, headers: &HeaderMap, within: Duration) -> (Self, Leftover) {
        let leftover = Leftover::default();
        // Who wants to be asked for a body may not send it behind an answer.
        let comes = !headers.contains_key(EXPECT);
        let by = Instant::now() + within;
        (Self { body: Some(body), comes, ended: false, by, leftover: leftover.clone() }, leftover)
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.comes = true;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(context));
        self.ended = !matches!(frame, Some(Ok(_)));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, Incoming::size_hint)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|body| !self.ended && !body.is_end_stream()) {
            let left = Left { body, comes: self.comes, by: self.by };
            *self.leftover.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(left);
        }
    }
}

impl Leftover {
    fn take(&self) -> Option<Left> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Makes that the client knows of the connection what holds behind this answer.
    pub(super) async fn settle(self, answer: &mut Response) {
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return;
        }
        let Some(Left { mut body, comes, by }) = self.take() else { return };
        let is_small = body.size_hint().upper().is_none_or(|left| left <= READ_MAX);
        let by = by.min(Instant::now() + READ_WITHIN);
        if comes && is_small && timeout_at(by, read(&mut body, READ_MAX)).await == Ok(true) {
            return;
        }
        answer.headers_mut().append(CONNECTION, HeaderValue::from_static("close"));
        if comes {
            tokio::spawn(timeout(LINGER, async move { read(&mut body, LINGER_MAX).await }));
        }
    }
}

/// Reads a body of at most so many bytes, and throws it away. Whether it came to its end.
async fn read(body: &mut Incoming, most: u64) -> bool {
    let mut seen = 0;
    while let Some(frame) = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await {
        let Ok(frame) = frame else { return false };
        seen += frame.data_ref().map_or(0, |data| data.len() as u64);
        if seen > most {
            return false;
        }
    }
    true
}
