//! What happens in a namespace, as it happens: REST answers the call, and hands over the events instead of writing them.

use std::pin::Pin;

use axum::body::Body;
use futures_util::{Stream, StreamExt as _, stream};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tidings_model::ErrorCode;
use tonic::{Request, Response, Status};

use super::pb::event::Event as Kind;
use super::transcode::{self, unreadable};
use super::{Calls, pb, status};
use crate::Problem;
use crate::rest::events::{Event, Handover};

/// The events of a stream.
pub(crate) type Events = Pin<Box<dyn Stream<Item = Result<pb::Event, Status>> + Send>>;

impl Calls {
    /// Answers what happens, until the caller has had enough, or may have no more.
    pub(super) async fn live(&self, request: Request<pb::EventsRequest>) -> Result<Response<Events>, Status> {
        let caller = self.caller(request.extensions());
        let request_id = caller.request_id.clone();
        let refused = |problem: Problem| status::of(&problem, &request_id);
        let pb::EventsRequest { namespace, trace } = request.into_inner();
        let (call, handover) = match call(&namespace, &trace) {
            Ok(call) => call,
            Err(unfit) => return Err(refused(self.unfit(unfit, &caller).await)),
        };
        transcode::respond(&self.rest, call, &caller).await.map_err(refused)?;
        let mut events = handover.take().ok_or_else(|| refused(unreadable()))?;
        let events = stream::poll_fn(move |context| events.poll_recv(context));
        let events = events.filter_map(move |event| {
            let event = message(event, &namespace).map_err(|problem| status::of(&problem, &request_id));
            std::future::ready(event.transpose())
        });
        Ok(Response::new(Box::pin(events)))
    }
}

/// The call of REST, and where the events will be.
fn call(namespace: &str, trace: &[String]) -> Result<(http::Request<Body>, Handover), Problem> {
    if namespace.is_empty() {
        return Err(Problem::field(ErrorCode::INVALID_REQUEST, "namespace", "is required"));
    }
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(trace.iter().map(|subject| ("trace", subject)))
        .finish();
    let namespace = utf8_percent_encode(namespace, NON_ALPHANUMERIC);
    let mut request = http::Request::new(Body::empty());
    *request.uri_mut() = transcode::uri(format!("/v1/namespaces/{namespace}/events?{query}"))?;
    let handover = Handover::default();
    request.extensions_mut().insert(handover.clone());
    Ok((request, handover))
}

/// An event as a message; nothing for what is for proxies of HTTP/1 only.
fn message(event: Event, namespace: &str) -> Result<Option<pb::Event>, Problem> {
    let kind = match event {
        Event::Stats(stats) => Kind::Stats(same(&stats)?),
        Event::Trace(trace) => Kind::Trace(same(&trace)?),
        Event::Lost(lost) => Kind::Lost(same(&lost)?),
        Event::Heartbeat => return Ok(None),
        Event::End(end) => return Err(end.problem(namespace)),
    };
    Ok(Some(pb::Event { event: Some(kind) }))
}

/// The same fields, in a message.
fn same<T: DeserializeOwned>(event: &impl Serialize) -> Result<T, Problem> {
    let json = serde_json::to_string(event).map_err(|_| unreadable())?;
    serde_json::from_str(&json).map_err(|_| unreadable())
}
