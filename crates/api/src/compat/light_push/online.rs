//! Who is here.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use tidings_model::{Platform, RoomName, UserId};
use tidings_node::devices::Filter;
use tidings_node::{Device, Namespace, Node};
use tidings_wire::compat::light_push::{USER_ROOM, client_id};

use super::answer::{Refusal, json};
use super::auth::Backend;
use super::fields::Asked;
use super::namespaces::named;
use super::push::Means;
use crate::ApiState;

/// Longest list that is shown; a longer one is left out.
const LIST_MAX: usize = 1_000;

/// Most devices that are read to count users.
const READ_MAX: u64 = 10_000;

/// Most rooms that a call asks about.
const ROOMS_MAX: usize = 100;

/// A namespace in numbers, and who is there.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Everybody {
    #[serde(flatten)]
    counts: Counts,
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<Vec<String>>,
}

/// A namespace in numbers.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Counts {
    /// Rooms with somebody in them who is online. The one of each user is one.
    room_count: u64,
    user_count: u64,
    client_count: u64,
    /// Online or not.
    total_client_count: u64,
}

impl Counts {
    pub(super) fn of(namespace: &Namespace) -> Self {
        let directory = namespace.directory();
        let rooms = directory.room_names().filter(|room| directory.is_occupied(room)).count();
        let users = directory.user_count();
        Self {
            room_count: (rooms + users) as u64,
            user_count: users as u64,
            client_count: directory.online().len(),
            total_client_count: directory.platforms().iter().map(|of| of.len()).sum(),
        }
    }
}

/// All namespaces in numbers.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct All {
    user_count: u64,
    room_count: u64,
    client_count: u64,
}

/// A room in numbers, and who is there.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Room {
    name: String,
    user_count: u64,
    client_count: u64,
    total_client_count: u64,
    ios_client_count: u64,
    #[serde(rename = "totalIOSClientCount")]
    total_ios_client_count: u64,
    android_client_count: u64,
    total_android_client_count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<Vec<String>>,
}

/// Who is in the namespace of whoever asks.
pub(super) async fn of_namespace(
    State(state): State<ApiState>,
    Extension(backend): Extension<Backend>,
    asked: Asked,
) -> Result<Response, Refusal> {
    show(&state.node, &backend.namespace, &asked).await
}

/// Who is in a namespace, or how many there are in all of them.
pub(super) async fn of_all(State(state): State<ApiState>, asked: Asked) -> Result<Response, Refusal> {
    if let Some(key) = asked.text("namespace") {
        let namespace = named(&state, key)?;
        return show(&state.node, &namespace, &asked).await;
    }
    let mut all = All { user_count: 0, room_count: 0, client_count: 0 };
    for namespace in state.node.namespaces() {
        let counts = Counts::of(&namespace);
        all.user_count += counts.user_count;
        all.room_count += counts.room_count;
        all.client_count += counts.client_count;
    }
    Ok(json(&all))
}

async fn show(node: &Node, namespace: &Namespace, asked: &Asked) -> Result<Response, Refusal> {
    let detail = asked.flag("detail");
    let names: Vec<&str> = asked.all("room").filter(|room| !room.is_empty()).collect();
    if names.is_empty() {
        return Ok(json(&everybody(node, namespace, detail).await?));
    }
    if names.len() > ROOMS_MAX {
        return Err(Refusal::business("room invalid"));
    }
    let mut rooms = Vec::with_capacity(names.len());
    for name in names {
        let room = match Means::of(name) {
            Some(Means::User(user)) => of_user(node, namespace, &user, detail).await?,
            Some(Means::Room(room)) => of_room(node, namespace, &room, detail).await?,
            None => return Err(Refusal::business("room invalid")),
        };
        rooms.push(Room { name: name.to_owned(), ..room });
    }
    Ok(json(&rooms))
}

async fn everybody(node: &Node, namespace: &Namespace, detail: bool) -> Result<Everybody, Refusal> {
    let counts = Counts::of(namespace);
    if !detail || counts.client_count > READ_MAX {
        return Ok(Everybody { counts, room: None, client: None, user: None });
    }
    let filter = Filter { online: Some(true), ..Filter::default() };
    let (mut online, mut after) = (Vec::new(), None);
    loop {
        let (devices, next) = node.devices_of(namespace, &filter, after, LIST_MAX).await?;
        online.extend(devices.into_iter().map(|(device, _)| device));
        match next.filter(|_| online.len() as u64 <= READ_MAX) {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    let users = users_of(&online);
    let mut rooms: Vec<String> = {
        let directory = namespace.directory();
        let occupied = directory.room_names().filter(|room| directory.is_occupied(room));
        occupied.take(LIST_MAX + 1).map(ToString::to_string).collect()
    };
    rooms.extend(users.iter().map(|user| format!("{USER_ROOM}{user}")));
    rooms.sort_unstable();
    Ok(Everybody {
        counts,
        room: short(rooms),
        client: short(clients(namespace, &online)),
        user: short(users),
    })
}

async fn of_room(node: &Node, namespace: &Namespace, name: &RoomName, detail: bool) -> Result<Room, Refusal> {
    // Copies, so that nobody else waits for the directory while they are counted.
    let (members, online, platforms, all_users) = {
        let directory = namespace.directory();
        let Some(members) = directory.room(name).cloned() else {
            let nobody = detail.then(Vec::new);
            return Ok(Room { client: nobody.clone(), user: nobody, ..Room::default() });
        };
        let platforms =
            [Platform::Ios, Platform::Android].map(|of| &members & &directory.platforms()[of as usize]);
        (members, directory.online().clone(), platforms, directory.user_count() as u64)
    };
    let [ios, android] = platforms;
    let mut room = Room {
        client_count: members.intersection_len(&online),
        total_client_count: members.len(),
        ios_client_count: ios.intersection_len(&online),
        total_ios_client_count: ios.len(),
        android_client_count: android.intersection_len(&online),
        total_android_client_count: android.len(),
        ..Room::default()
    };
    if room.client_count > READ_MAX {
        // To read so many only to count their users costs more than it is worth.
        room.user_count = room.client_count.min(all_users);
        return Ok(room);
    }
    let (mut present, mut after) = (Vec::new(), None);
    loop {
        let (_, devices, next) = node.present(namespace, name, after, LIST_MAX).await?;
        present.extend(devices);
        match next.filter(|_| present.len() as u64 <= READ_MAX) {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    Ok(with_people(namespace, room, &present, detail))
}

/// The room that each user is.
async fn of_user(node: &Node, namespace: &Namespace, user: &UserId, detail: bool) -> Result<Room, Refusal> {
    let devices = node.devices_of_user(namespace, user).await?;
    let (mut room, mut present) = (Room::default(), Vec::new());
    for device in devices {
        let online = namespace.directory().is_online(device.ordinal);
        room.total_client_count += 1;
        room.client_count += u64::from(online);
        match device.platform {
            Platform::Ios => {
                room.total_ios_client_count += 1;
                room.ios_client_count += u64::from(online);
            }
            Platform::Android => {
                room.total_android_client_count += 1;
                room.android_client_count += u64::from(online);
            }
            Platform::Web | Platform::Desktop | Platform::Other => {}
        }
        present.extend(Some(device).filter(|_| online));
    }
    Ok(with_people(namespace, room, &present, detail))
}

fn with_people(namespace: &Namespace, room: Room, present: &[Device], detail: bool) -> Room {
    let users = users_of(present);
    let user_count = users.len() as u64;
    if !detail {
        return Room { user_count, ..room };
    }
    Room { user_count, client: short(clients(namespace, present)), user: short(users), ..room }
}

fn clients(namespace: &Namespace, devices: &[Device]) -> Vec<String> {
    let path = format!("/{}", namespace.name);
    devices.iter().map(|device| client_id(&path, device.id.as_str())).collect()
}

/// Each user once.
fn users_of(devices: &[Device]) -> Vec<String> {
    let mut users: Vec<String> =
        devices.iter().filter_map(|device| Some(device.user.as_ref()?.to_string())).collect();
    users.sort_unstable();
    users.dedup();
    users
}

fn short(list: Vec<String>) -> Option<Vec<String>> {
    Some(list).filter(|list| list.len() <= LIST_MAX)
}
