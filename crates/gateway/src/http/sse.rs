//! `GET /v1/namespaces/{namespace}/sse`: an event stream.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use http::request::Parts;
use http::{HeaderValue, header};
use tidings_model::{Epoch, ErrorCode, Seq};
use tidings_node::resume::Since;
use tidings_wire::sse;
use tokio::sync::{mpsc, oneshot};

use super::entrance::take_place;
use super::{problem, query};
use crate::Front;
use crate::command::{Command, Query, SseRequest};
use crate::session::{self, Refusal};

pub(super) async fn endpoint(
    State(front): State<Arc<Front>>,
    Path(namespace): Path<String>,
    request: Request,
) -> Response {
    let (mut request, _) = request.into_parts();
    match open(&front, &namespace, &mut request).await {
        Ok(body) => stream_of(body),
        Err(why) => problem(&request.headers, &why),
    }
}

async fn open(front: &Front, namespace: &str, request: &mut Parts) -> Result<mpsc::Receiver<Bytes>, Refusal> {
    let found = front.node.namespace(namespace);
    let found = found
        .ok_or_else(|| Refusal::new(ErrorCode::NOT_FOUND, format!("there is no namespace `{namespace}`")))?;
    let text = request.uri.query().unwrap_or_default();
    let query = Query::parse(text)?;
    let bearer = request.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = query.token.as_deref().or(bearer.and_then(|value| value.strip_prefix("Bearer ")));
    let claim =
        session::claim(query.device.as_deref(), query.user.as_deref(), query.platform.as_deref(), token)?;
    let rooms = query::find(text, &["rooms"]).unwrap_or_default();
    let rooms = session::names("rooms", rooms.split(',').filter(|room| !room.is_empty()))?;
    let last = request.headers.get("last-event-id").and_then(|value| value.to_str().ok().map(str::to_owned));
    let last = last.or_else(|| query::find(text, &["last_event_id", "lastEventId"]).map(Into::into));
    let since = match last.as_deref().filter(|last| !last.is_empty()) {
        None => Since::Cursor,
        // What is not ours leads nowhere: epoch 0 is no life of any store.
        Some(last) => {
            let (epoch, seq) = sse::parse_event_id(last).unwrap_or_default();
            Since::Seq(Epoch(epoch), Seq(seq))
        }
    };
    let place = take_place(&mut request.extensions);
    let request = SseRequest { namespace: found.name.clone(), claim, rooms, since, place };
    let (reply, opened) = oneshot::channel();
    let command = Command::Sse { request: Box::new(request), reply };
    let stopping = || Refusal::new(ErrorCode::OVERLOADED, "this node is stopping");
    front.least_loaded().open(command).await.map_err(|_| stopping())?;
    opened.await.map_err(|_| stopping())?
}

fn stream_of(mut body: mpsc::Receiver<Bytes>) -> Response {
    let chunks =
        stream::poll_fn(move |context| body.poll_recv(context).map(|chunk| chunk.map(Ok::<_, Infallible>)));
    let mut response = Response::new(Body::from_stream(chunks));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    // nginx would otherwise keep events until its buffer is full.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}
