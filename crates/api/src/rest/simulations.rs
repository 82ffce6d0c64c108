//! Faults on purpose: begun, listed, ended.

use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tidings_model::{DeviceId, ErrorCode, MessageId, RoomName, UserId};
use tidings_node::simulate::{DELAY_MAX, Effect, LASTS_MAX, Simulation, Subject, Wanted};
use tidings_wire::time;
use utoipa::ToSchema;

use crate::extract::{InPath, json_body, namespace};
use crate::shape::{self, Object, Shape, shown};
use crate::wrong::Wrong;
use crate::{ApiState, Problem, duration, openapi};

/// The shortest time that is one.
const SHORTEST: Duration = Duration::from_millis(1);

/// How long a simulation lasts unless it is said.
const LASTS_DEFAULT: Duration = Duration::from_secs(600);

/// What a simulation looks like in a request.
pub(crate) const SHAPE: Shape = Shape::Object(&[
    (
        "on",
        Shape::Object(&[
            ("user", Shape::Text),
            ("device", Shape::Text),
            ("room", Shape::Text),
            ("message", Shape::Text),
        ]),
    ),
    ("effect", Shape::Text),
    ("probability", Shape::Number),
    ("delay", Shape::Text),
    ("for", Shape::Text),
]);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    on: Option<Object<OnBody>>,
    effect: Option<String>,
    probability: Option<f64>,
    delay: Option<String>,
    #[serde(rename = "for")]
    lasts: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OnBody {
    user: Option<String>,
    device: Option<String>,
    room: Option<String>,
    message: Option<String>,
}

/// A simulation.
#[derive(Serialize, ToSchema)]
#[schema(as = Simulation)]
pub(crate) struct SimulationShown {
    id: String,
    on: OnShown,
    #[schema(value_type = openapi::EffectWord)]
    effect: &'static str,
    #[schema(minimum = 0, maximum = 1)]
    probability: f64,
    /// How long messages are held back, with `delay`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "200ms")]
    delay: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
    /// When it ends by itself.
    #[schema(format = DateTime)]
    expires_at: String,
}

/// What a simulation is about.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = SimulationSubject)]
enum OnShown {
    User(String),
    Device(String),
    Room(String),
    Message(String),
}

/// Simulations.
#[derive(Serialize, ToSchema)]
pub(crate) struct SimulationsBody {
    /// Oldest first.
    #[schema(max_items = 100)]
    items: Vec<SimulationShown>,
    /// Always null: there are never more than one page.
    #[schema(required)]
    next_cursor: Option<String>,
}

impl SimulationShown {
    fn of(simulation: &Simulation) -> Self {
        Self {
            id: simulation.id.clone(),
            on: match &simulation.on {
                Subject::User(user) => OnShown::User(user.to_string()),
                Subject::Device(device) => OnShown::Device(device.to_string()),
                Subject::Room(room) => OnShown::Room(room.to_string()),
                Subject::Message(id) => OnShown::Message(id.to_string()),
            },
            effect: simulation.effect.as_str(),
            probability: simulation.probability,
            delay: match simulation.effect {
                Effect::Delay(by) => Some(duration::show(by)),
                Effect::Lose | Effect::Duplicate | Effect::Reorder | Effect::Disconnect => None,
            },
            created_at: time::rfc3339(simulation.created_at.0),
            expires_at: time::rfc3339(simulation.until.0),
        }
    }
}

/// Begins a simulation.
#[utoipa::path(post, path = "/v1/namespaces/{ns}/simulations", tag = "simulations", operation_id = "simulate",
    description = "From then on messages meet with a fault on their way to connections, so that one can see how a client \
        recovers; a trace of a message says so. It ends by itself. Servers do this only where `simulations.enabled` is \
        set, or with `--dev`; others answer 403.",
    params(("ns" = openapi::NamespaceParam, Path, description = "The namespace")),
    request_body(content = openapi::SimulationBody, description = "The simulation"),
    responses((status = 201, description = "It has begun", body = SimulationShown)))]
pub(crate) async fn begin(
    State(state): State<ApiState>,
    InPath(ns): InPath<String>,
    request: Request,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    let body = json_body(request).await?;
    let body: Body = shape::decode(&body, &SHAPE)?;
    let simulation = state.node.simulate(&namespace, check(&body)?).await?;
    Ok((StatusCode::CREATED, Json(SimulationShown::of(&simulation))).into_response())
}

/// The simulations that are not over.
#[utoipa::path(get, path = "/v1/namespaces/{ns}/simulations", tag = "simulations", operation_id = "simulations",
    params(("ns" = openapi::NamespaceParam, Path, description = "The namespace")),
    responses((status = 200, description = "All of them", body = SimulationsBody)))]
pub(crate) async fn list(
    State(state): State<ApiState>,
    InPath(ns): InPath<String>,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    let items = state.node.simulations(&namespace).iter().map(SimulationShown::of).collect();
    Ok(Json(SimulationsBody { items, next_cursor: None }).into_response())
}

/// Ends a simulation before its time.
#[utoipa::path(delete, path = "/v1/namespaces/{ns}/simulations/{id}", tag = "simulations",
    operation_id = "endSimulation", description = "What it holds back leaves when it would have.",
    params(
        ("ns" = openapi::NamespaceParam, Path, description = "The namespace"),
        ("id" = String, Path, description = "The simulation"),
    ),
    responses((status = 204, description = "It has ended")))]
pub(crate) async fn end(
    State(state): State<ApiState>,
    InPath((ns, id)): InPath<(String, String)>,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    if state.node.end_simulation(&namespace, &id).await {
        Ok(StatusCode::NO_CONTENT.into_response())
    } else {
        Err(Problem::new(ErrorCode::NOT_FOUND, "there is no simulation with this id (any more)"))
    }
}

fn check(body: &Body) -> Result<Wanted, Problem> {
    let mut wrong = Wrong::default();
    let on = subject(body.on.as_ref().map(|on| &on.0), &mut wrong);
    let probability = body.probability.unwrap_or(1.0);
    if !(0.0..=1.0).contains(&probability) {
        wrong.add("probability", format!("is {probability}, must be from 0 to 1"));
    }
    let delay = wrong.duration("delay", body.delay.as_deref(), SHORTEST, DELAY_MAX);
    let lasts = wrong.duration("for", body.lasts.as_deref(), SHORTEST, LASTS_MAX).unwrap_or(LASTS_DEFAULT);
    let effect = effect(body, delay, &mut wrong);
    match (on, effect, wrong.is_empty()) {
        (Some(on), Some(effect), true) => Ok(Wanted { on, effect, probability, lasts }),
        _ => Err(wrong.into_problem()),
    }
}

fn effect(body: &Body, delay: Option<Duration>, wrong: &mut Wrong) -> Option<Effect> {
    let effect = match body.effect.as_deref() {
        Some("lose") => Some(Effect::Lose),
        Some("delay") => {
            if body.delay.is_none() {
                wrong.add("delay", "is required with the effect delay");
            }
            return delay.map(Effect::Delay);
        }
        Some("duplicate") => Some(Effect::Duplicate),
        Some("reorder") => Some(Effect::Reorder),
        Some("disconnect") => Some(Effect::Disconnect),
        Some(other) => {
            let known = "lose, delay, duplicate, reorder or disconnect";
            wrong.add("effect", format!("is {}, must be {known}", shown(other)));
            None
        }
        None => {
            wrong.add("effect", "is required");
            None
        }
    };
    if effect.is_some() && body.delay.is_some() {
        wrong.add("delay", "goes with the effect delay only");
    }
    effect
}

fn subject(on: Option<&OnBody>, wrong: &mut Wrong) -> Option<Subject> {
    let none = OnBody { user: None, device: None, room: None, message: None };
    let OnBody { user, device, room, message } = on.unwrap_or(&none);
    match (user, device, room, message) {
        (Some(user), None, None, None) => wrong.name("on.user", user, UserId::new).map(Subject::User),
        (None, Some(id), None, None) => wrong.name("on.device", id, DeviceId::new).map(Subject::Device),
        (None, None, Some(room), None) => wrong.name("on.room", room, RoomName::new).map(Subject::Room),
        (None, None, None, Some(id)) => wrong.name("on.message", id, MessageId::new).map(Subject::Message),
        _ => {
            wrong.add("on", "must name exactly one user, device, room or message");
            None
        }
    }
}
