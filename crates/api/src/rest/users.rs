//! A user: the devices, and whether anyone is there. Users are known by their devices; a name without
//! any is a user who was never here.

use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tidings_model::UserId;
use tidings_node::kick::BLOCK_MAX;
use tidings_wire::time;
use utoipa::ToSchema;

use crate::extract::{self, InPath, InQuery, json_body, namespace};
use crate::shape::{self, Shape};
use crate::wrong::Wrong;
use crate::{ApiState, Problem, openapi};

/// A user.
#[derive(Serialize, ToSchema)]
#[schema(as = User)]
pub(crate) struct UserBody {
    user: String,
    /// Whether any device is connected.
    online: bool,
    devices: Vec<DeviceBody>,
    /// The rooms that any device is in.
    rooms: Vec<String>,
    /// When a device was last seen; null when there is none.
    #[schema(required, format = DateTime)]
    last_seen: Option<String>,
    /// How many connections the devices have.
    connections: u64,
    /// How many messages wait for the devices, one for each device that it waits for; of a device, 1,000 at most are counted.
    waiting: u64,
}

/// A device.
#[derive(Serialize, ToSchema)]
#[schema(as = Device)]
pub(crate) struct DeviceBody {
    device: String,
    #[schema(value_type = openapi::PlatformWord)]
    platform: &'static str,
    /// Whether it is connected.
    online: bool,
    rooms: Vec<String>,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    last_seen: String,
}

/// A user's devices, and whether they are online.
#[utoipa::path(get, path = "/v1/namespaces/{ns}/users/{user}", tag = "users", operation_id = "user",
    description = "Users are known by their devices; a user who was never here has none.",
    params(
        ("ns" = openapi::NamespaceParam, Path, description = "The namespace"),
        ("user" = openapi::Name, Path, description = "The user"),
    ),
    responses((status = 200, description = "The user", body = UserBody)))]
pub(crate) async fn show(
    State(state): State<ApiState>,
    InPath((ns, user)): InPath<(String, String)>,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    let user = extract::name("user", &user, UserId::new)?;
    let found = state.node.devices_of_user(&namespace, &user).await?;
    let mut rooms: Vec<_> = found.iter().flat_map(|device| &device.rooms).map(ToString::to_string).collect();
    rooms.sort_unstable();
    rooms.dedup();
    let last_seen = found.iter().map(|device| device.seen_at).max();
    let mut waiting = 0;
    for device in &found {
        waiting += state.node.waiting(&namespace, device).await? as u64;
    }
    let directory = namespace.directory();
    let connections = directory.connections_of(&found.iter().map(|device| device.ordinal.0).collect());
    let devices: Vec<_> = found
        .iter()
        .map(|device| DeviceBody {
            device: device.id.to_string(),
            platform: device.platform.as_str(),
            online: directory.is_online(device.ordinal),
            rooms: device.rooms.iter().map(ToString::to_string).collect(),
            created_at: time::rfc3339(device.created_at.0),
            last_seen: time::rfc3339(device.seen_at.0),
        })
        .collect();
    drop(directory);
    let online = devices.iter().any(|device| device.online);
    let last_seen = last_seen.map(|at| time::rfc3339(at.0));
    let user = user.to_string();
    Ok(Json(UserBody { user, online, devices, rooms, last_seen, connections, waiting }).into_response())
}

/// What a question about many users looks like.
pub(crate) const STATUS_SHAPE: Shape = Shape::Object(&[("users", Shape::Texts)]);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StatusOf {
    users: Option<Vec<String>>,
}

/// Whether a user is there.
#[derive(Serialize, ToSchema)]
#[schema(as = UserStatus)]
pub(crate) struct StatusBody {
    user: String,
    /// Whether any device is connected.
    online: bool,
    /// How many devices there are.
    devices: usize,
    /// How many connections they have.
    connections: u64,
    /// When a device was last seen; null when there is none.
    #[schema(required, format = DateTime)]
    last_seen: Option<String>,
}

/// Whether users are there.
#[derive(Serialize, ToSchema)]
#[schema(as = UserStatuses)]
pub(crate) struct StatusesBody {
    /// In the order in which they were asked for.
    #[schema(max_items = 1000)]
    items: Vec<StatusBody>,
}

/// Says of many users whether they are there.
#[utoipa::path(post, path = "/v1/namespaces/{ns}/users:status", tag = "users", operation_id = "userStatus",
    params(("ns" = openapi::NamespaceParam, Path, description = "The namespace")),
    request_body(content = openapi::StatusOfBody, description = "The users"),
    responses((status = 200, description = "One for each", body = StatusesBody)))]
pub(crate) async fn status(
    State(state): State<ApiState>,
    InPath(ns): InPath<String>,
    request: Request,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    let body = json_body(request).await?;
    let body: StatusOf = shape::decode(&body, &STATUS_SHAPE)?;
    let mut wrong = Wrong::default();
    if body.users.as_ref().is_none_or(Vec::is_empty) {
        wrong.add("users", "is required: whom to ask about");
    }
    let users = wrong.names("users", body.users.as_deref(), UserId::new);
    wrong.check()?;
    let mut items = Vec::with_capacity(users.len());
    for user in users {
        let found = state.node.devices_of_user(&namespace, &user).await?;
        let ordinals = found.iter().map(|device| device.ordinal.0).collect();
        let connections = namespace.directory().connections_of(&ordinals);
        let last_seen = found.iter().map(|device| device.seen_at).max();
        items.push(StatusBody {
            user: user.to_string(),
            online: connections > 0,
            devices: found.len(),
            connections,
            last_seen: last_seen.map(|at| time::rfc3339(at.0)),
        });
    }
    Ok(Json(StatusesBody { items }).into_response())
}

/// How a user is sent away.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Away {
    block: Option<String>,
}

/// Who was sent away.
#[derive(Serialize, ToSchema)]
pub(crate) struct SentAway {
    /// How many connections are ended.
    connections: u64,
}

/// Sends a user away.
#[utoipa::path(delete, path = "/v1/namespaces/{ns}/users/{user}/connections", tag = "users", operation_id = "disconnectUser",
    description = "The connections of the user are closed with 3503.",
    params(
        ("ns" = openapi::NamespaceParam, Path, description = "The namespace"),
        ("user" = openapi::Name, Path, description = "The user"),
        ("block" = Option<openapi::Duration>, Query, description = "For how long the user is refused from now on, at most 30d; \
            `0s` ends an earlier block"),
    ),
    responses((status = 200, description = "The connections are being closed", body = SentAway)))]
pub(crate) async fn disconnect(
    State(state): State<ApiState>,
    InPath((ns, user)): InPath<(String, String)>,
    InQuery(away): InQuery<Away>,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    let user = extract::name("user", &user, UserId::new)?;
    let mut wrong = Wrong::default();
    let block = wrong.duration("block", away.block.as_deref(), Duration::ZERO, BLOCK_MAX);
    wrong.check()?;
    let connections = state.node.kick(&namespace, &user, block).await?;
    Ok(Json(SentAway { connections }).into_response())
}
