//! Rooms: in numbers, who is in them, and moving devices into and out of them. A room is there as long as somebody is in
//! it; any other is an empty one.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tidings_model::{DeviceId, ErrorCode, Platform, RoomName, UserId};
use tidings_node::Namespace;
use tidings_node::members::Whom;
use utoipa::ToSchema;

use crate::extract::{self, InPath, InQuery, json_body, namespace};
use crate::page::Asked;
use crate::shape::{self, Shape};
use crate::wrong::Wrong;
use crate::{ApiState, Problem, openapi};

/// A room.
#[derive(Serialize, ToSchema)]
#[schema(as = Room)]
pub(crate) struct RoomBody {
    room: String,
    /// Whether clients cannot join it and nothing can be pushed to it.
    suspended: bool,
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
    Ok(Json(in_numbers(&namespace, &room)).into_response())
}

fn in_numbers(namespace: &Namespace, room: &RoomName) -> RoomBody {
    let suspended = namespace.is_suspended(room);
    // Copies, so that nobody else waits for the directory while they are intersected.
    let (members, online, by_platform) = {
        let directory = namespace.directory();
        let Some(members) = directory.room(room).cloned() else {
            let (online, total, platforms) = (0, 0, BTreeMap::new());
            return RoomBody { room: room.to_string(), suspended, online, total, platforms };
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
    RoomBody { room: room.to_string(), suspended, online, total: members.len(), platforms }
}

/// What a change of a room looks like in a request.
pub(crate) const PATCH_SHAPE: Shape = Shape::Object(&[("suspended", Shape::Flag)]);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PatchBody {
    suspended: Option<bool>,
}

/// Suspends a room, or lets it go on.
#[utoipa::path(patch, path = "/v1/namespaces/{ns}/rooms/{room}", tag = "rooms", operation_id = "changeRoom",
    description = "Clients cannot join a suspended room, and pushes to it are refused (`suspended`). Who is in it stays in it, gets what waits, \
        and can leave; the server can move devices into it and out of it. Nobody has to be in it. At most 1,000 rooms of a namespace.",
    params(
        ("ns" = openapi::NamespaceParam, Path, description = "The namespace"),
        ("room" = openapi::Name, Path, description = "The room"),
    ),
    request_body(content = openapi::RoomPatchBody, description = "What to change"),
    responses((status = 200, description = "The room", body = RoomBody)))]
pub(crate) async fn change(
    State(state): State<ApiState>,
    InPath((ns, room)): InPath<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    let room = extract::name("room", &room, RoomName::new)?;
    let body: PatchBody = shape::decode(&json_body(request).await?, &PATCH_SHAPE)?;
    let missing = || Problem::field(ErrorCode::INVALID_REQUEST, "suspended", "is required: true or false");
    state.node.suspend_room(&namespace, &room, body.suspended.ok_or_else(missing)?).await?;
    Ok(Json(in_numbers(&namespace, &room)).into_response())
}

/// A page of rooms.
#[derive(Serialize, ToSchema)]
pub(crate) struct RoomsBody {
    /// By name.
    #[schema(max_items = 1000)]
    items: Vec<RoomListed>,
    /// Where the next page begins; null on the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// A room in a list.
#[derive(Serialize, ToSchema)]
pub(crate) struct RoomListed {
    room: String,
    /// Devices that are connected.
    online: u64,
    /// Devices, connected or not.
    total: u64,
}

/// The rooms that somebody is in.
#[utoipa::path(get, path = "/v1/namespaces/{ns}/rooms", tag = "rooms", operation_id = "rooms",
    params(
        ("ns" = openapi::NamespaceParam, Path, description = "The namespace"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "How many at once; 100 unless said"),
        ("cursor" = Option<String>, Query, description = "Where to go on: `next_cursor` of the page before"),
    ),
    responses((status = 200, description = "A page", body = RoomsBody)))]
pub(crate) async fn list(
    State(state): State<ApiState>,
    InPath(ns): InPath<String>,
    InQuery(asked): InQuery<Asked>,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    let (limit, after) = asked.page(extract::after_name)?;
    let (rooms, more) = state.node.rooms_of(&namespace, after.as_deref(), limit);
    let last = rooms.last().filter(|_| more);
    let next_cursor = last.map(|(name, ..)| extract::name_cursor(name.as_str()));
    let listed =
        |(name, total, online): (RoomName, u64, u64)| RoomListed { room: name.to_string(), online, total };
    Ok(Json(RoomsBody { items: rooms.into_iter().map(listed).collect(), next_cursor }).into_response())
}

/// A page of members.
#[derive(Serialize, ToSchema)]
pub(crate) struct MembersBody {
    #[schema(max_items = 1000)]
    items: Vec<MemberBody>,
    /// Where the next page begins; null on the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// A device in a room.
#[derive(Serialize, ToSchema)]
pub(crate) struct MemberBody {
    device: String,
    #[schema(required)]
    user: Option<String>,
    #[schema(value_type = openapi::PlatformWord)]
    platform: &'static str,
    /// Whether it is connected.
    online: bool,
}

/// The devices that are in a room.
#[utoipa::path(get, path = "/v1/namespaces/{ns}/rooms/{room}/members", tag = "rooms", operation_id = "members",
    params(
        ("ns" = openapi::NamespaceParam, Path, description = "The namespace"),
        ("room" = openapi::Name, Path, description = "The room"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "How many at once; 100 unless said"),
        ("cursor" = Option<String>, Query, description = "Where to go on: `next_cursor` of the page before"),
    ),
    responses((status = 200, description = "A page", body = MembersBody)))]
pub(crate) async fn members(
    State(state): State<ApiState>,
    InPath((ns, room)): InPath<(String, String)>,
    InQuery(asked): InQuery<Asked>,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    let room = extract::name("room", &room, RoomName::new)?;
    let (limit, after) = asked.page(extract::after_ordinal)?;
    let (members, next) = state.node.members(&namespace, &room, after, limit).await?;
    let items = members.into_iter().map(|(device, online)| MemberBody {
        device: device.id.to_string(),
        user: device.user.as_ref().map(ToString::to_string),
        platform: device.platform.as_str(),
        online,
    });
    let next_cursor = next.map(extract::ordinal_cursor);
    Ok(Json(MembersBody { items: items.collect(), next_cursor }).into_response())
}

/// Whom a call is about, in a request.
pub(crate) const WHOM_SHAPE: Shape =
    Shape::Object(&[("users", Shape::Texts), ("devices", Shape::Texts), ("from_rooms", Shape::Texts)]);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WhomBody {
    users: Option<Vec<String>>,
    devices: Option<Vec<String>>,
    from_rooms: Option<Vec<String>>,
}

/// Devices were put into a room.
#[derive(Serialize, ToSchema)]
pub(crate) struct Added {
    added: u64,
    /// Devices that were in it already.
    already: u64,
    /// Users without a device, and devices that are not registered.
    unknown: Vec<String>,
    /// Devices that are in as many rooms as they may be, and were not added.
    full: Vec<String>,
}

/// Devices were taken out of a room.
#[derive(Serialize, ToSchema)]
pub(crate) struct Removed {
    removed: u64,
    /// Devices that were not in it.
    absent: u64,
    /// Users without a device, and devices that are not registered.
    unknown: Vec<String>,
}

/// Puts devices into a room.
#[utoipa::path(post, path = "/v1/namespaces/{ns}/rooms/{room}/members", tag = "rooms", operation_id = "addMembers",
    description = "All devices of users, devices, and all devices that are in other rooms now; at most 10,000 in a call. They stay until \
        they leave or are taken out, online or not, whatever their tokens allow.",
    params(
        ("ns" = openapi::NamespaceParam, Path, description = "The namespace"),
        ("room" = openapi::Name, Path, description = "The room"),
    ),
    request_body(content = openapi::WhomBody, description = "Whom"),
    responses((status = 200, description = "They are in it", body = Added)))]
pub(crate) async fn add(
    State(state): State<ApiState>,
    InPath((ns, room)): InPath<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    let room = extract::name("room", &room, RoomName::new)?;
    let whom = whom(&json_body(request).await?)?;
    let moved = state.node.add_members(&namespace, &room, &whom).await?;
    let full = moved.full.iter().map(ToString::to_string).collect();
    let (added, already, unknown) = (moved.changed, moved.unchanged, moved.unknown);
    Ok(Json(Added { added, already, unknown, full }).into_response())
}

/// Takes devices out of a room.
#[utoipa::path(delete, path = "/v1/namespaces/{ns}/rooms/{room}/members", tag = "rooms", operation_id = "removeMembers",
    description = "Whom, as in adding them. They get nothing more of the room, not even what waits.",
    params(
        ("ns" = openapi::NamespaceParam, Path, description = "The namespace"),
        ("room" = openapi::Name, Path, description = "The room"),
    ),
    request_body(content = openapi::WhomBody, description = "Whom"),
    responses((status = 200, description = "They are out of it", body = Removed)))]
pub(crate) async fn remove(
    State(state): State<ApiState>,
    InPath((ns, room)): InPath<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    let room = extract::name("room", &room, RoomName::new)?;
    let whom = whom(&json_body(request).await?)?;
    let moved = state.node.remove_members(&namespace, &room, &whom).await?;
    let (removed, absent, unknown) = (moved.changed, moved.unchanged, moved.unknown);
    Ok(Json(Removed { removed, absent, unknown }).into_response())
}

fn whom(body: &[u8]) -> Result<Whom, Problem> {
    let body: WhomBody = shape::decode(body, &WHOM_SHAPE)?;
    let mut wrong = Wrong::default();
    let whom = Whom {
        users: wrong.names("users", body.users.as_deref(), UserId::new),
        devices: wrong.names("devices", body.devices.as_deref(), DeviceId::new),
        from_rooms: wrong.names("from_rooms", body.from_rooms.as_deref(), RoomName::new),
    };
    wrong.check()?;
    if whom.users.is_empty() && whom.devices.is_empty() && whom.from_rooms.is_empty() {
        let why = "the body names nobody: name users, devices or from_rooms";
        return Err(Problem::new(ErrorCode::INVALID_REQUEST, why));
    }
    Ok(whom)
}
