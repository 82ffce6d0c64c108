//! What happens in a namespace, as it happens: an event stream with numbers every second and, of users, devices and rooms
//! that are named, everything. For consoles, and for whoever looks for a fault.
//!
//! A task makes the events and puts them into a queue, from which the body is written; so whoever does not read is found
//! out and let go, and whether the key still holds is asked whether anybody reads or not. What is looked at, and what of it
//! is lost, is the node's matter.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue};
use serde::Serialize;
use tidings_model::{ClientAddress, ErrorCode};
use tidings_node::connect::connection_id;
use tidings_node::keys::Scope;
use tidings_node::observe::{Happened, Observer, SUBJECTS_MAX, Sighting, Subject, What};
use tidings_wire::{sse, time};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use utoipa::ToSchema;

use super::stats::CurrentStatsBody;
use crate::auth::{self, Need};
use crate::extract::{InPath, namespace};
use crate::shape::shown;
use crate::wrong::Wrong;
use crate::{ApiState, Problem, openapi};

/// How often there are numbers, and it is asked whether the key still holds and the namespace is there.
const TICK: Duration = Duration::from_secs(1);

/// How often there is a comment, for whoever takes silence for death.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// For how long an event may wait for a client that does not read, before the stream ends.
const PATIENCE: Duration = Duration::from_secs(60);

/// Most events between the task that makes them and the body. What happens beyond waits in the node, and is lost there.
const QUEUE: usize = 16;

/// How long a client is to wait before it comes back.
const RETRY_MS: u64 = 2_000;

/// What there is now, and what has happened so far.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LiveStats)]
pub(crate) struct StatsEvent {
    /// When it was looked at.
    #[schema(format = DateTime)]
    at: String,
    /// Connections that are open.
    connections: u64,
    /// Users that are connected.
    users: u64,
    /// Rooms with members, whether these are online or not.
    rooms: u64,
    #[serde(flatten)]
    so_far: CurrentStatsBody,
}

/// Something that has happened. Either `step` or `what` says what; the rest is there where it has a meaning.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LiveTrace)]
pub(crate) struct TraceEvent {
    #[schema(format = DateTime)]
    at: String,
    /// A step of a message on its way, as traces have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<openapi::StepWord>)]
    step: Option<&'static str>,
    /// What else happened: `connected`, `disconnected`, `online`, `offline`, `joined` or `left`.
    #[serde(skip_serializing_if = "Option::is_none")]
    what: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<String>,
    /// What else is to be said of it, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// So much has happened here and is not told, because too much waited to be.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LiveLost)]
pub(crate) struct LostEvent {
    count: u64,
}

/// The last event: why there are no more.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LiveEnd)]
pub(crate) struct EndEvent {
    /// `key`: the key opens this no more. `namespace`: it was deleted. `shutdown`: the server stops; come back.
    reason: &'static str,
}

impl TraceEvent {
    fn of(happened: Happened) -> Self {
        let word = happened.what.as_str();
        let is_step = matches!(happened.what, What::Step(_));
        Self {
            at: time::rfc3339(happened.at.0),
            step: is_step.then_some(word),
            what: (!is_step).then_some(word),
            message: happened.message.map(|id| id.to_string()),
            user: happened.user.map(|user| user.to_string()),
            device: happened.device.map(|device| device.to_string()),
            room: happened.room.map(|room| room.to_string()),
            connection: happened.connection.map(connection_id),
            detail: happened.detail,
        }
    }
}

/// Why a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Key,
    Namespace,
    Shutdown,
}

impl End {
    const fn word(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Namespace => "namespace",
            Self::Shutdown => "shutdown",
        }
    }

    /// What a new call would be answered, for streams that end with a status.
    pub(crate) fn problem(self, namespace: &str) -> Problem {
        match self {
            Self::Key => Problem::new(ErrorCode::UNAUTHORIZED, "the key opens this no more"),
            Self::Namespace => Problem::no_namespace(namespace),
            Self::Shutdown => Problem::new(ErrorCode::OVERLOADED, "the server is stopping"),
        }
    }
}

/// An event of the stream.
#[derive(Debug)]
pub(crate) enum Event {
    Stats(Box<StatsEvent>),
    Trace(Box<TraceEvent>),
    Lost(LostEvent),
    Heartbeat,
    End(End),
}

impl Event {
    fn text(&self) -> String {
        fn event(name: &str, data: &impl Serialize) -> String {
            // Texts and numbers have a JSON of their own, always.
            sse::event(None, Some(name), &serde_json::to_string(data).unwrap_or_default())
        }
        match self {
            Self::Stats(stats) => event("stats", stats),
            Self::Trace(trace) => event("trace", trace),
            Self::Lost(lost) => event("lost", lost),
            Self::Heartbeat => sse::HEARTBEAT.to_owned(),
            Self::End(end) => event("end", &EndEvent { reason: end.word() }),
        }
    }
}

/// Where the events go that are not to become a body: gRPC puts one into a request, and finds them there.
#[derive(Clone, Default)]
pub(crate) struct Handover(Arc<Mutex<Option<mpsc::Receiver<Event>>>>);

impl Handover {
    fn give(&self, events: mpsc::Receiver<Event>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(events);
    }

    pub(crate) fn take(&self) -> Option<mpsc::Receiver<Event>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What happens in a namespace, as it happens.
#[utoipa::path(get, path = "/v1/namespaces/{ns}/events", tag = "namespaces", operation_id = "events",
    description = "Server-Sent Events. `stats`, at once and every second: `LiveStats`. With `trace`, in addition `trace` for \
        everything that happens to these users, devices and rooms: `LiveTrace`. `lost` says how much was left out here because \
        the client did not read: `LiveLost`. The last event is `end`: `LiveEnd`. At most 32 streams for a namespace, and 256 \
        for the server.",
    params(
        ("ns" = openapi::NamespaceParam, Path, description = "The namespace"),
        ("trace" = Option<Vec<String>>, Query, example = "user:ann",
            description = "`user:<id>`, `device:<id>` or `room:<name>`; up to 10 of them, with commas between them or said again"),
    ),
    responses((status = 200, description = "The events", content_type = "text/event-stream", body = String)))]
pub(crate) async fn stream(
    State(state): State<ApiState>,
    InPath(ns): InPath<String>,
    request: Request,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    let subjects = subjects(request.uri().query().unwrap_or_default())?;
    let observer = state.node.observe(&namespace, &subjects).await?;
    let from = request.extensions().get::<ClientAddress>().copied().unwrap_or(ClientAddress::LOCAL);
    let key = request.headers().get(AUTHORIZATION).cloned();
    let (out, events) = mpsc::channel(QUEUE);
    tokio::spawn(Feed { state, ns, observer, key, from, out }.run());
    let handover = request.extensions().get::<Handover>();
    match handover {
        Some(handover) => {
            handover.give(events);
            Ok(Response::default())
        }
        None => Ok(body_of(events)),
    }
}

fn body_of(mut events: mpsc::Receiver<Event>) -> Response {
    let mut first = Some(sse::retry(RETRY_MS));
    let chunks = stream::poll_fn(move |context| {
        if let Some(first) = first.take() {
            return std::task::Poll::Ready(Some(Ok::<_, Infallible>(Bytes::from(first))));
        }
        events.poll_recv(context).map(|event| event.map(|event| Ok(Bytes::from(event.text()))))
    });
    let mut response = Response::new(Body::from_stream(chunks));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    // nginx would otherwise keep events until its buffer is full.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

/// What makes the events of a stream.
struct Feed {
    state: ApiState,
    ns: String,
    observer: Observer,
    key: Option<HeaderValue>,
    from: ClientAddress,
    out: mpsc::Sender<Event>,
}

impl Feed {
    async fn run(mut self) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heartbeat = Instant::now();
        loop {
            let events = tokio::select! {
                biased;
                () = self.out.closed() => return,
                () = self.state.ready.draining() => vec![Event::End(End::Shutdown)],
                _ = ticks.tick() => self.tick(&mut heartbeat).await,
                sighting = self.observer.next(&self.state.node) => vec![seen(sighting)],
            };
            for event in events {
                let last = matches!(event, Event::End(_));
                let taken = tokio::select! {
                    biased;
                    taken = self.out.send_timeout(event, PATIENCE) => taken.is_ok(),
                    // Nobody who does not read is waited for then.
                    () = self.state.ready.draining(), if !last => false,
                };
                if last || !taken {
                    return;
                }
            }
        }
    }

    async fn tick(&mut self, heartbeat: &mut Instant) -> Vec<Event> {
        let node = &self.state.node;
        let namespace = node.namespace(&self.ns).filter(|namespace| self.observer.is_of(namespace));
        let Some(namespace) = namespace else { return vec![Event::End(End::Namespace)] };
        if !auth::holds(node, self.key.as_ref(), self.from, Need::Scope(Scope::Read), &self.ns).await {
            return vec![Event::End(End::Key)];
        }
        let mut events = Vec::from_iter(self.observer.behind().map(seen));
        if heartbeat.elapsed() >= HEARTBEAT {
            *heartbeat = Instant::now();
            events.push(Event::Heartbeat);
        }
        match node.current_statistics(&namespace).await {
            Ok(rows) => {
                let directory = namespace.directory();
                events.push(Event::Stats(Box::new(StatsEvent {
                    at: time::rfc3339(node.now().0),
                    connections: directory.connection_count() as u64,
                    users: directory.user_count() as u64,
                    rooms: directory.room_count() as u64,
                    so_far: CurrentStatsBody::of(&rows),
                })));
            }
            Err(why) => tracing::warn!(error = %why, "there are no numbers for a stream of events now"),
        }
        events
    }
}

fn seen(sighting: Sighting) -> Event {
    match sighting {
        Sighting::Happened(happened) => Event::Trace(Box::new(TraceEvent::of(*happened))),
        Sighting::Lost(count) => Event::Lost(LostEvent { count }),
    }
}

/// What is to be looked at. Names may have commas: only what begins like a subject is another one.
fn subjects(query: &str) -> Result<Vec<Subject>, Problem> {
    let mut wrong = Wrong::default();
    let mut subjects = Vec::new();
    for (field, value) in form_urlencoded::parse(query.as_bytes()) {
        if field != "trace" {
            let message = format!("there is no parameter {}, only trace", shown(&field));
            return Err(Problem::new(ErrorCode::INVALID_REQUEST, message));
        }
        for text in split(&value) {
            let subject = match text.split_once(':') {
                Some(("user", name)) => wrong.name("trace", name, str::parse).map(Subject::User),
                Some(("device", name)) => wrong.name("trace", name, str::parse).map(Subject::Device),
                Some(("room", name)) => wrong.name("trace", name, str::parse).map(Subject::Room),
                Some(_) | None => {
                    let message =
                        format!("is {}, must be user:<id>, device:<id> or room:<name>", shown(text));
                    wrong.add("trace", message);
                    None
                }
            };
            subjects.extend(subject.filter(|subject| !subjects.contains(subject)));
            if subjects.len() > SUBJECTS_MAX {
                wrong.add("trace", format!("names more than {SUBJECTS_MAX}, which is the limit"));
                return Err(wrong.into_problem());
            }
        }
    }
    wrong.check()?;
    Ok(subjects)
}

fn split(value: &str) -> impl Iterator<Item = &str> {
    let begins =
        |at: &usize| ["user:", "device:", "room:"].iter().any(|kind| value[at + 1..].starts_with(kind));
    let mut start = 0;
    let ends: Vec<usize> =
        value.match_indices(',').map(|(at, _)| at).filter(begins).chain([value.len()]).collect();
    ends.into_iter().map(move |end| {
        let text = &value[start..end];
        start = end + 1;
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_split_where_another_one_begins() {
        for (value, expected) in [
            ("user:ann", &["user:ann"][..]),
            ("user:ann,device:d1,room:a:b", &["user:ann", "device:d1", "room:a:b"]),
            ("user:smith, ann", &["user:smith, ann"]),
            ("user:,room:x", &["user:", "room:x"]),
            ("", &[""]),
        ] {
            assert_eq!(split(value).collect::<Vec<_>>(), expected, "{value}");
        }
    }
}
