//! A user: the devices, and whether anyone is there. Users are known by their devices; a name without
//! any is a user who was never here.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tidings_model::UserId;
use tidings_wire::time;
use utoipa::ToSchema;

use crate::extract::{self, InPath, namespace};
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
    let directory = namespace.directory();
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
    Ok(Json(UserBody { user: user.to_string(), online, devices, rooms, last_seen }).into_response())
}
