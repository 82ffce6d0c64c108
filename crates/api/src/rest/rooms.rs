//! A room in numbers. A room is there as long as somebody is in it; any other is an empty one.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tidings_model::{Platform, RoomName};
use utoipa::ToSchema;

use crate::extract::{self, InPath, namespace};
use crate::{ApiState, Problem, openapi};

/// A room.
#[derive(Serialize, ToSchema)]
#[schema(as = Room)]
pub(crate) struct RoomBody {
    room: String,
    /// Devices that are connected.
    online: u64,
    /// Devices, connected or not.
    total: u64,
    /// The same by platform; only those that have devices in the room.
    #[schema(value_type = BTreeMap<String, PresenceBody>)]
    platforms: BTreeMap<&'static str, PresenceBody>,
}

/// How many devices.
#[derive(Serialize, ToSchema)]
pub(crate) struct PresenceBody {
    /// Connected.
    online: u64,
    /// Connected or not.
    total: u64,
}

/// How many devices are in a room.
#[utoipa::path(get, path = "/v1/namespaces/{ns}/rooms/{room}", tag = "rooms", operation_id = "room",
    description = "A room is there as long as somebody is in it; any other name is an empty room.",
    params(
        ("ns" = openapi::NamespaceParam, Path, description = "The namespace"),
        ("room" = openapi::Name, Path, description = "The room"),
    ),
    responses((status = 200, description = "The room", body = RoomBody)))]
pub(crate) async fn show(
    State(state): State<ApiState>,
    InPath((ns, room)): InPath<(String, String)>,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    let room = extract::name("room", &room, RoomName::new)?;
    // Copies, so that nobody else waits for the directory while they are intersected.
    let (members, online, by_platform) = {
        let directory = namespace.directory();
        let Some(members) = directory.room(&room).cloned() else {
            let (online, total, platforms) = (0, 0, BTreeMap::new());
            return Ok(Json(RoomBody { room: room.to_string(), online, total, platforms }).into_response());
        };
        let by_platform = directory.platforms().each_ref().map(|platform| &members & platform);
        (members, directory.online().clone(), by_platform)
    };
    let mut platforms = BTreeMap::new();
    for (platform, devices) in Platform::ALL.into_iter().zip(&by_platform) {
        if !devices.is_empty() {
            let presence = PresenceBody { online: devices.intersection_len(&online), total: devices.len() };
            platforms.insert(platform.as_str(), presence);
        }
    }
    let online = members.intersection_len(&online);
    Ok(Json(RoomBody { room: room.to_string(), online, total: members.len(), platforms }).into_response())
}
