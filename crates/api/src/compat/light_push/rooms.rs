//! What is done to everybody in a room.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use futures_util::stream::{self, StreamExt as _};
use serde::Serialize;
use serde_json::{Map, Value};
use tidings_model::{Ordinal, RoomName};
use tidings_node::light_push::SetError;
use tidings_node::members::Whom;
use tidings_node::presence::signal::SignalKind;
use tidings_node::{Namespace, Node};

use super::answer::{Refusal, done};
use super::auth::Backend;
use super::fields::Fields;
use super::push::Means;
use crate::ApiState;

/// Devices that are read together, and changed at once.
const READ: usize = 1_000;
const SIDE_BY_SIDE: usize = 64;

/// Most rooms that a call names.
const ROOMS_MAX: usize = 1_000;

/// Who is in some rooms joins another one, or leaves it.
pub(super) async fn transfer(
    State(state): State<ApiState>,
    Extension(backend): Extension<Backend>,
    fields: Fields,
) -> Result<Response, Refusal> {
    let sources = fields.list("sourceRooms").ok_or_else(|| Refusal::business("sourceRoom invalid"))?;
    let (target, kind) = (fields.text("targetRoom"), fields.text("type"));
    let (Some(target), Some(kind), false) = (target, kind, sources.is_empty()) else {
        let why = "targetRoom and sourceRooms and type and namespace can not be empty";
        return Err(Refusal::business(why));
    };
    // What is for a user is for nobody else: nobody is moved to where that arrives.
    let Some(Means::Room(target)) = Means::of(&target) else {
        return Err(Refusal::business("targetRoom invalid"));
    };
    let mut whom = Whom::default();
    for source in sources.iter().take(ROOMS_MAX + 1) {
        match Means::of(source).filter(|_| sources.len() <= ROOMS_MAX) {
            Some(Means::User(user)) => whom.users.push(user),
            Some(Means::Room(room)) => whom.from_rooms.push(room),
            None => return Err(Refusal::business("sourceRoom invalid")),
        }
    }
    let namespace = &backend.namespace;
    let (moved, told) = if kind == "join" {
        (state.node.add_members(namespace, &target, &whom).await?, SignalKind::JoinRoom)
    } else {
        (state.node.remove_members(namespace, &target, &whom).await?, SignalKind::LeaveRoom)
    };
    let body = Transfer {
        target_room: fields.text("targetRoom").unwrap_or_default(),
        source_rooms: sources,
        kind,
        namespace: format!("/{}", namespace.name),
    };
    let body = serde_json::to_string(&body).map_err(|why| Refusal::failed(why.to_string()))?;
    state.node.tell_devices(namespace, &moved.meant, told, body);
    Ok(done())
}

/// What clients are told that were moved.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Transfer {
    target_room: String,
    source_rooms: Vec<String>,
    #[serde(rename = "type")]
    kind: String,
    namespace: String,
}

/// The room that a call is about.
fn room(fields: &Fields) -> Result<Means, Refusal> {
    let room = fields.text("room").ok_or_else(|| Refusal::business("room can not be empty"))?;
    Means::of(&room).ok_or_else(|| Refusal::business("room invalid"))
}

/// Rooms that a call names.
pub(super) fn rooms(fields: &Fields, name: &str) -> Result<Vec<RoomName>, Refusal> {
    let invalid = || Refusal::business("room invalid");
    let texts = fields.list(name).filter(|texts| texts.len() <= ROOMS_MAX).ok_or_else(invalid)?;
    let room = |text: &String| match Means::of(text) {
        Some(Means::Room(room)) => Ok(room),
        // Nothing that is for a user can be muted by a room: it is not one.
        Some(Means::User(_)) | None => Err(invalid()),
    };
    texts.iter().map(room).collect()
}

/// Changes the rooms that wake nobody of a room.
pub(super) async fn mute(
    State(state): State<ApiState>,
    Extension(backend): Extension<Backend>,
    fields: Fields,
) -> Result<Response, Refusal> {
    let room = room(&fields)?;
    let (add, remove) = (rooms(&fields, "add")?, rooms(&fields, "remove")?);
    if !add.is_empty() || !remove.is_empty() {
        each(&state.node, &backend.namespace, &room, &Change::Muted(add, remove)).await?;
    }
    Ok(done())
}

/// Says whether messages wait for who is in a room.
pub(super) async fn leave_message(
    State(state): State<ApiState>,
    Extension(backend): Extension<Backend>,
    fields: Fields,
) -> Result<Response, Refusal> {
    let room = room(&fields)?;
    let stays = fields.flag("leaveMessage").ok_or_else(|| Refusal::business("leaveMessage invalid"))?;
    let set = Map::from_iter([("leaveMessage".to_owned(), Value::from(stays.to_string()))]);
    each(&state.node, &backend.namespace, &room, &Change::Set(set)).await?;
    Ok(done())
}

/// What is to change of a device.
enum Change {
    /// The rooms that do not wake it: more, and fewer.
    Muted(Vec<RoomName>, Vec<RoomName>),
    /// Fields.
    Set(Map<String, Value>),
}

async fn change(
    node: &Arc<Node>,
    namespace: &Arc<Namespace>,
    device: Ordinal,
    change: &Change,
) -> Result<(), SetError> {
    match change {
        Change::Muted(add, remove) => node.light_push_muted(namespace, device, add, remove).await.map(drop),
        Change::Set(fields) => node.light_push_set(namespace, device, fields.clone()).await,
    }
}

/// Changes each device in a room. One that is gone meanwhile is left out.
async fn each(
    node: &Arc<Node>,
    namespace: &Arc<Namespace>,
    room: &Means,
    what: &Change,
) -> Result<(), Refusal> {
    let mut after = None;
    loop {
        let (devices, next): (Vec<Ordinal>, _) = match room {
            Means::User(user) => {
                let devices = node.devices_of_user(namespace, user).await?;
                (devices.iter().map(|device| device.ordinal).collect(), None)
            }
            Means::Room(room) => {
                let (members, next) = node.members(namespace, room, after, READ).await?;
                (members.iter().map(|(device, _)| device.ordinal).collect(), next)
            }
        };
        let changes = stream::iter(devices).map(|device| change(node, namespace, device, what));
        let mut changes = changes.buffer_unordered(SIDE_BY_SIDE);
        while let Some(changed) = changes.next().await {
            match changed {
                Ok(()) | Err(SetError::Unknown) => {}
                Err(why) => return Err(why.into()),
            }
        }
        match next {
            Some(next) => after = Some(next),
            None => return Ok(()),
        }
    }
}
