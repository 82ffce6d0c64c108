//! Devices: who is registered, and who is not to be any more.

use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tidings_model::{DeviceId, ErrorCode};
use tidings_node::Device;
use tidings_wire::time;
use utoipa::ToSchema;

use crate::extract::{self, InPath, InQuery, json_body, namespace};
use crate::page::Asked;
use crate::shape::{self, Shape, shown};
use crate::wrong::Wrong;
use crate::{ApiState, Problem, openapi};

/// The shortest and the longest time without a sign of life.
const INACTIVE_MIN: Duration = Duration::from_secs(60);
const INACTIVE_MAX: Duration = Duration::from_secs(3_660 * 24 * 3_600);

/// What a purge looks like in a request.
pub(crate) const SHAPE: Shape = Shape::Object(&[("inactive_for", Shape::Text), ("dry_run", Shape::Flag)]);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    inactive_for: Option<String>,
    dry_run: Option<bool>,
}

/// A registered device.
#[derive(Serialize, ToSchema)]
pub(crate) struct Registered {
    device: String,
    #[schema(required)]
    user: Option<String>,
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

impl Registered {
    fn of(device: &Device, online: bool) -> Self {
        Self {
            device: device.id.to_string(),
            user: device.user.as_ref().map(ToString::to_string),
            platform: device.platform.as_str(),
            online,
            rooms: device.rooms.iter().map(ToString::to_string).collect(),
            created_at: time::rfc3339(device.created_at.0),
            last_seen: time::rfc3339(device.seen_at.0),
        }
    }
}

/// A page of devices.
#[derive(Serialize, ToSchema)]
pub(crate) struct DevicesListed {
    #[schema(max_items = 1000)]
    items: Vec<Registered>,
    /// Where the next page begins; null on the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// Devices that were not here for long.
#[derive(Serialize, ToSchema)]
pub(crate) struct Purged {
    /// How many there are; unless it was a dry run they are forgotten now.
    devices: u64,
    dry_run: bool,
}

/// The devices that are registered.
#[utoipa::path(get, path = "/v1/namespaces/{ns}/devices", tag = "devices", operation_id = "devices",
    params(
        ("ns" = openapi::NamespaceParam, Path, description = "The namespace"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "How many at once; 100 unless said"),
        ("cursor" = Option<String>, Query, description = "Where to go on: `next_cursor` of the page before"),
    ),
    responses((status = 200, description = "A page", body = DevicesListed)))]
pub(crate) async fn list(
    State(state): State<ApiState>,
    InPath(ns): InPath<String>,
    InQuery(asked): InQuery<Asked>,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    let (limit, after) = asked.page(extract::after_ordinal)?;
    let (devices, next) = state.node.devices_of(&namespace, after, limit).await?;
    let items = devices.iter().map(|(device, online)| Registered::of(device, *online)).collect();
    Ok(Json(DevicesListed { items, next_cursor: next.map(extract::ordinal_cursor) }).into_response())
}

/// A device.
#[utoipa::path(get, path = "/v1/namespaces/{ns}/devices/{device}", tag = "devices", operation_id = "device",
    params(
        ("ns" = openapi::NamespaceParam, Path, description = "The namespace"),
        ("device" = openapi::Name, Path, description = "The device"),
    ),
    responses((status = 200, description = "The device", body = Registered)))]
pub(crate) async fn show(
    State(state): State<ApiState>,
    InPath((ns, device)): InPath<(String, String)>,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    let id = extract::name("device", &device, DeviceId::new)?;
    let found = state.node.device(&namespace, &id).await?.ok_or_else(|| unknown(&id))?;
    let online = namespace.directory().is_online(found.ordinal);
    Ok(Json(Registered::of(&found, online)).into_response())
}

/// Forgets a device.
#[utoipa::path(delete, path = "/v1/namespaces/{ns}/devices/{device}", tag = "devices", operation_id = "forgetDevice",
    description = "Its connections are closed with 3503, it is in no room any more, and nothing waits for it. When it comes again it is a new one.",
    params(
        ("ns" = openapi::NamespaceParam, Path, description = "The namespace"),
        ("device" = openapi::Name, Path, description = "The device"),
    ),
    responses((status = 204, description = "It is forgotten")))]
pub(crate) async fn forget(
    State(state): State<ApiState>,
    InPath((ns, device)): InPath<(String, String)>,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    let id = extract::name("device", &device, DeviceId::new)?;
    let found = state.node.device(&namespace, &id).await?.ok_or_else(|| unknown(&id))?;
    if state.node.forget(&namespace, found.ordinal).await? {
        Ok(StatusCode::NO_CONTENT.into_response())
    } else {
        Err(unknown(&id))
    }
}

/// Forgets all devices that were not here for long.
#[utoipa::path(post, path = "/v1/namespaces/{ns}/devices:purge", tag = "devices", operation_id = "purgeDevices",
    description = "Those that are not online and were last seen so long ago; with `dry_run` they are only counted.",
    params(("ns" = openapi::NamespaceParam, Path, description = "The namespace")),
    request_body(content = openapi::PurgeBody, description = "For how long"),
    responses((status = 200, description = "How many these were", body = Purged)))]
pub(crate) async fn purge(
    State(state): State<ApiState>,
    InPath(ns): InPath<String>,
    request: Request,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    let body = json_body(request).await?;
    let body: Body = shape::decode(&body, &SHAPE)?;
    let mut wrong = Wrong::default();
    if body.inactive_for.is_none() {
        wrong.add("inactive_for", "is required");
    }
    let inactive = wrong.duration("inactive_for", body.inactive_for.as_deref(), INACTIVE_MIN, INACTIVE_MAX);
    wrong.check()?;
    let dry_run = body.dry_run.unwrap_or(false);
    let devices = state.node.purge(&namespace, inactive.unwrap_or(INACTIVE_MAX), dry_run).await?;
    Ok(Json(Purged { devices, dry_run }).into_response())
}

fn unknown(id: &DeviceId) -> Problem {
    Problem::new(ErrorCode::NOT_FOUND, format!("there is no device {}", shown(id.as_str())))
}
