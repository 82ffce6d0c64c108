//! One message: pushed, and shown.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::value::RawValue;
use tidings_model::{ErrorCode, Message, MessageId, Priority, Timestamp};
use tidings_node::ack::Awaited;
use tidings_node::keys::Holder;
use tidings_node::ledger::report::Report;
use tidings_node::publish::Accepted;
use tidings_node::{Namespace, Node};
use tidings_wire::time;
use utoipa::ToSchema;

use super::report::ReportBody;
use crate::extract::{self, InPath, json_body, namespace};
use crate::push::{self, Parsed};
use crate::request_id::Patience;
use crate::{ApiState, Problem, openapi};

/// A push was accepted.
#[derive(Serialize, ToSchema)]
pub(crate) struct AcceptedBody {
    /// The id of the message: the caller's, or one that was made up.
    id: String,
    /// When it was accepted.
    #[schema(format = DateTime)]
    accepted_at: String,
    /// Whether the same push had been accepted before; nothing new was sent then.
    duplicate: bool,
    meant: DevicesBody,
    online: ConnectionsBody,
    /// With `ack.wait`: who has given a receipt by the time of this answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    ack: Option<AwaitedBody>,
}

/// Of those who were online when the push was accepted, who has it by now.
#[derive(Serialize, ToSchema)]
#[schema(as = Awaited)]
pub(crate) struct AwaitedBody {
    /// Whether all of them have.
    complete: bool,
    /// How many devices have.
    acked: u64,
    /// How many have not.
    waiting: u64,
    /// The first 1,000 of them; the receipts of the message have all.
    #[schema(max_items = 1000)]
    devices: Vec<AwaitedDevice>,
}

/// A device, and whether it has given a receipt.
#[derive(Serialize, ToSchema)]
pub(crate) struct AwaitedDevice {
    device: String,
    #[schema(required)]
    user: Option<String>,
    acked: bool,
}

/// Most devices that an answer names.
const AWAITED_MAX: usize = 1_000;

impl AwaitedBody {
    fn of(awaited: &Awaited) -> Self {
        let device = |(device, acked): &(tidings_node::Device, bool)| AwaitedDevice {
            device: device.id.to_string(),
            user: device.user.as_ref().map(ToString::to_string),
            acked: *acked,
        };
        Self {
            complete: awaited.waiting == 0,
            acked: awaited.acked,
            waiting: awaited.waiting,
            devices: awaited.devices.iter().map(device).collect(),
        }
    }
}

/// Nothing was sent; this is who would be meant now.
#[derive(Serialize, ToSchema)]
pub(crate) struct DryRunBody {
    /// Always true.
    dry_run: bool,
    meant: DevicesBody,
    online: ConnectionsBody,
}

/// Whom a push is for.
#[derive(Serialize, ToSchema)]
pub(crate) struct DevicesBody {
    /// How many devices.
    devices: u64,
}

/// Who of them is here.
#[derive(Serialize, ToSchema)]
pub(crate) struct ConnectionsBody {
    /// How many connections they have.
    connections: u64,
}

impl AcceptedBody {
    pub(super) fn of(accepted: &Accepted) -> Self {
        Self {
            id: accepted.message.id.to_string(),
            accepted_at: time::rfc3339(accepted.message.accepted_at.0),
            duplicate: accepted.duplicate,
            meant: DevicesBody { devices: accepted.meant },
            online: ConnectionsBody { connections: accepted.online },
            ack: None,
        }
    }
}

impl DryRunBody {
    pub(super) fn of((devices, connections): (u64, u64)) -> Self {
        Self { dry_run: true, meant: DevicesBody { devices }, online: ConnectionsBody { connections } }
    }
}

/// Counts a push by the rate of the key that it came with.
///
/// # Errors
/// When there have been too many.
pub(crate) fn may_push(holder: Option<&Holder>, now: Timestamp) -> Result<(), Problem> {
    let counted = holder.map_or(Ok(()), |holder| holder.may_push(now));
    counted.map_err(|wait| Problem::too_often(format!("this key has pushed too often; {wait}"), wait))
}

/// Pushes a message to whom it is for.
#[utoipa::path(post, path = "/v1/namespaces/{ns}/messages", tag = "messages", operation_id = "push",
    description = "Sends to everybody who is meant and online, and keeps the message for who is away. The answer \
        comes when the message is on disk (`durability: durable`); with `ack.wait`, when everybody who is online has it, or that \
        time is over. With an id, in the body or as \
        `Idempotency-Key`, a retry within 24 h is safe.",
    params(
        ("ns" = openapi::NamespaceParam, Path, description = "The namespace"),
        ("Idempotency-Key" = Option<openapi::Name>, Header, description = "The id of the push, if the body has none; the same as there, if it has"),
    ),
    request_body(content = openapi::PushBody, description = "What, to whom"),
    responses(
        (status = 202, description = "Accepted", body = AcceptedBody),
        (status = 200, description = "With `dry_run`: who would be meant; nothing was sent", body = DryRunBody),
    ))]
pub(crate) async fn push(
    State(state): State<ApiState>,
    InPath(ns): InPath<String>,
    request: Request,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    let key = idempotency_key(request.headers())?;
    let patience = request.extensions().get::<Patience>().cloned().unwrap_or_default();
    let holder = request.extensions().get::<Holder>().cloned();
    let body = json_body(request).await?;
    let Parsed { push, dry_run, wait } = push::parse(&body, key.as_deref(), state.node.now())?;
    if dry_run {
        let who = state.node.dry_run(&namespace.name, &push).await?;
        return Ok(Json(DryRunBody::of(who)).into_response());
    }
    may_push(holder.as_ref(), state.node.now())?;
    let accepted = state.node.publish(&namespace.name, push).await?;
    let mut body = AcceptedBody::of(&accepted);
    if let Some(wait) = wait {
        patience.wait(wait);
        // When this process is about to stop, clients are sent away: the caller is to hear what is known, rather than nothing.
        let (message, stop) = (&accepted.message, state.ready.draining());
        let awaited =
            state.node.await_acks(&namespace, message, accepted.duplicate, wait, stop, AWAITED_MAX).await?;
        body.ack = Some(AwaitedBody::of(&awaited));
    }
    Ok((StatusCode::ACCEPTED, Json(body)).into_response())
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => Ok(Some(text.to_owned())),
        Err(_) => Err(Problem::field(ErrorCode::INVALID_REQUEST, "Idempotency-Key", "is not UTF-8")),
    }
}

/// A message, and what became of it.
#[derive(Serialize, ToSchema)]
pub(crate) struct MessageBody {
    id: String,
    event: String,
    /// As it was pushed, byte for byte.
    #[schema(value_type = serde_json::Value)]
    data: Box<RawValue>,
    to: TargetBody,
    except: ExceptBody,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<FromBody>,
    #[schema(format = DateTime)]
    accepted_at: String,
    /// From when on it is no longer delivered.
    #[schema(format = DateTime)]
    expires_at: String,
    /// When it was to be delivered, if not at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    deliver_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    collapse_key: Option<String>,
    /// `normal` or `high`.
    #[schema(value_type = openapi::PriorityWord)]
    priority: &'static str,
    /// `scheduled`, `live`, `expired` or `recalled`.
    #[schema(value_type = openapi::StateWord)]
    state: &'static str,
    report: ReportBody,
}

/// The client that published it. The server says so, not the client.
#[derive(Serialize, ToSchema)]
#[schema(as = MessageFrom)]
struct FromBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    device: String,
}

/// Who was meant, as it was asked.
#[derive(Serialize, ToSchema)]
#[schema(as = MessageTo)]
struct TargetBody {
    all: bool,
    users: Vec<String>,
    devices: Vec<String>,
    rooms: Vec<String>,
    #[schema(value_type = Vec<openapi::PlatformWord>)]
    platforms: Vec<&'static str>,
}

/// Who was not, as it was asked.
#[derive(Serialize, ToSchema)]
#[schema(as = MessageExcept)]
struct ExceptBody {
    users: Vec<String>,
    devices: Vec<String>,
    rooms: Vec<String>,
    connections: Vec<String>,
}

impl MessageBody {
    pub(super) fn of(message: &Message, report: &Report) -> Result<Self, Problem> {
        let unreadable = || Problem::new(ErrorCode::INTERNAL, "the message's data cannot be read");
        let data = String::from_utf8(message.data.to_vec()).map_err(|_| unreadable())?;
        Ok(Self {
            id: message.id.to_string(),
            event: message.event.to_string(),
            data: RawValue::from_string(data).map_err(|_| unreadable())?,
            to: TargetBody {
                all: message.to.all,
                users: texts(&message.to.users),
                devices: texts(&message.to.devices),
                rooms: texts(&message.to.rooms),
                platforms: message.to.platforms.iter().map(|platform| platform.as_str()).collect(),
            },
            except: ExceptBody {
                users: texts(&message.except.users),
                devices: texts(&message.except.devices),
                rooms: texts(&message.except.rooms),
                connections: message.except.connections.clone(),
            },
            from: message.from.as_ref().map(|from| FromBody {
                user: from.user.as_ref().map(ToString::to_string),
                device: from.device.to_string(),
            }),
            accepted_at: time::rfc3339(message.accepted_at.0),
            expires_at: time::rfc3339(message.expires_at.0),
            deliver_at: message.deliver_at.map(|at| time::rfc3339(at.0)),
            collapse_key: message.collapse_key.as_ref().map(ToString::to_string),
            priority: match message.priority {
                Priority::Normal => "normal",
                Priority::High => "high",
            },
            state: report.state.as_str(),
            report: ReportBody::of(report),
        })
    }
}

fn texts<T: ToString>(names: &[T]) -> Vec<String> {
    names.iter().map(T::to_string).collect()
}

/// A message and its report.
#[utoipa::path(get, path = "/v1/namespaces/{ns}/messages/{id}", tag = "messages", operation_id = "message",
    params(
        ("ns" = openapi::NamespaceParam, Path, description = "The namespace"),
        ("id" = openapi::Name, Path, description = "The message"),
    ),
    responses((status = 200, description = "The message", body = MessageBody)))]
pub(crate) async fn show(
    State(state): State<ApiState>,
    InPath((ns, id)): InPath<(String, String)>,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    let message = find(&state.node, &namespace, &id).await?;
    let report = state.node.report(&namespace, &message).await;
    Ok(Json(MessageBody::of(&message, &report)?).into_response())
}

/// A message was recalled.
#[derive(Serialize, ToSchema)]
pub(crate) struct RecalledBody {
    id: String,
    /// Always `recalled`.
    state: &'static str,
    /// Devices from which it was withdrawn: they had not acknowledged it.
    withdrawn: u64,
    /// Devices that are told of it, at once or when they come back: it was written to them, or they have it.
    announced: u64,
}

/// Recalls a message.
#[utoipa::path(delete, path = "/v1/namespaces/{ns}/messages/{id}", tag = "messages", operation_id = "recall",
    description = "Whoever has not got the message does not get it any more; whoever has it gets a `recall` with its id. \
        What is scheduled is never sent. Asking again answers the same.",
    params(
        ("ns" = openapi::NamespaceParam, Path, description = "The namespace"),
        ("id" = openapi::Name, Path, description = "The message"),
    ),
    responses((status = 200, description = "It is recalled", body = RecalledBody)))]
pub(crate) async fn recall(
    State(state): State<ApiState>,
    InPath((ns, id)): InPath<(String, String)>,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    let message = find(&state.node, &namespace, &id).await?;
    let recalled = state.node.recall(&namespace, &message).await?;
    let body = RecalledBody {
        id: message.id.to_string(),
        state: "recalled",
        withdrawn: recalled.withdrawn,
        announced: recalled.announced,
    };
    Ok(Json(body).into_response())
}

/// The message that a path names.
pub(super) async fn find(
    node: &Node,
    namespace: &Namespace,
    id: &str,
) -> Result<std::sync::Arc<Message>, Problem> {
    let id = extract::name("id", id, MessageId::new)?;
    let message = node.message(namespace, &id).await?;
    message.ok_or_else(|| Problem::new(ErrorCode::NOT_FOUND, "there is no message with this id"))
}
