//! Devices: who is registered, what is kept of them, and who is not to be registered any more.

use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tidings_model::{DeviceId, ErrorCode, Platform, Tag, Timestamp, UserId};
use tidings_node::devices::Filter;
use tidings_node::forget::Purge;
use tidings_node::profile::{DescribeError, record};
use tidings_node::{Device, Namespace};
use tidings_wire::problem::FieldError;
use tidings_wire::time;
use utoipa::ToSchema;

use crate::extract::{self, InPath, InQuery, json_body, namespace};
use crate::page::page;
use crate::shape::{self, Shape, shown};
use crate::wrong::Wrong;
use crate::{ApiState, Problem, openapi};

/// The shortest and the longest time without a sign of life.
const INACTIVE_MIN: Duration = Duration::from_secs(60);
const INACTIVE_MAX: Duration = Duration::from_secs(3_660 * 24 * 3_600);

/// What a purge looks like in a request.
pub(crate) const SHAPE: Shape = Shape::Object(&[
    ("inactive_for", Shape::Text),
    ("platform", Shape::Text),
    ("tag", Shape::Text),
    ("with_tokens", Shape::Flag),
    ("dry_run", Shape::Flag),
]);

/// What a device looks like in a request. What is in its fields is checked by the node, for clients as for backends.
pub(crate) const DEVICE_SHAPE: Shape = Shape::Object(&[
    ("user", Shape::Any),
    ("platform", Shape::Any),
    ("tags", Shape::Any),
    ("metadata", Shape::Any),
    ("tokens", Shape::Any),
    ("do_not_disturb", Shape::Any),
    ("muted_rooms", Shape::Any),
]);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    inactive_for: Option<String>,
    platform: Option<String>,
    tag: Option<String>,
    with_tokens: Option<bool>,
    dry_run: Option<bool>,
}

/// What is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    limit: Option<String>,
    cursor: Option<String>,
    user: Option<String>,
    platform: Option<String>,
    tag: Option<String>,
    online: Option<String>,
}

/// A registered device.
#[derive(Serialize, ToSchema)]
#[schema(as = Registered)]
pub(crate) struct Shown {
    #[serde(flatten)]
    device: Registered,
    #[serde(flatten)]
    #[schema(value_type = openapi::KeptShown)]
    kept: Map<String, Value>,
}

impl Shown {
    fn of(device: &Device, online: bool, now: Timestamp) -> Self {
        let mut kept = record::show_profile(&device.profile, now);
        // That is in every list, too.
        kept.remove("tags");
        Self { device: Registered::of(device, online), kept }
    }
}

/// A registered device, without what takes much room.
#[derive(Serialize, ToSchema)]
#[schema(as = DeviceListed)]
pub(crate) struct Registered {
    device: String,
    #[schema(required)]
    user: Option<String>,
    #[schema(value_type = openapi::PlatformWord)]
    platform: &'static str,
    /// Whether it is connected.
    online: bool,
    rooms: Vec<String>,
    tags: Vec<String>,
    #[schema(format = DateTime)]
    created_at: String,
    /// When it was connected last; when it was registered, as long as it never was.
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
            tags: device.profile.tags.iter().map(ToString::to_string).collect(),
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
    description = "Those that everything asked for is true of. With `tag` a page looks at 2,000 devices: it may have fewer than \
        `limit`, even none, and there is more as long as `next_cursor` is not null.",
    params(
        ("ns" = openapi::NamespaceParam, Path, description = "The namespace"),
        ("user" = Option<openapi::Name>, Query, description = "Devices of this user"),
        ("platform" = Option<openapi::PlatformWord>, Query, description = "Devices of this platform"),
        ("tag" = Option<openapi::Tag>, Query, description = "Devices with this tag"),
        ("online" = Option<bool>, Query, description = "Devices that are connected, or are not"),
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
    let (limit, after) = page(asked.limit.as_deref(), asked.cursor.as_deref(), extract::after_ordinal)?;
    let mut wrong = Wrong::default();
    let filter = Filter {
        user: asked.user.as_deref().and_then(|text| wrong.name("user", text, UserId::new)),
        platform: platform(&mut wrong, asked.platform.as_deref()),
        tag: asked.tag.as_deref().and_then(|text| wrong.name("tag", text, Tag::new)),
        online: asked.online.as_deref().and_then(|text| online(&mut wrong, text)),
    };
    wrong.check()?;
    let (devices, next) = state.node.devices_of(&namespace, &filter, after, limit).await?;
    let items = devices.iter().map(|(device, online)| Registered::of(device, *online)).collect();
    Ok(Json(DevicesListed { items, next_cursor: next.map(extract::ordinal_cursor) }).into_response())
}

fn platform(wrong: &mut Wrong, text: Option<&str>) -> Option<Platform> {
    let text = text?;
    let platform = Platform::parse(text);
    if platform.is_none() {
        let words = Platform::ALL.map(Platform::as_str).join(", ");
        wrong.add("platform", format!("is {}, must be one of {words}", shown(text)));
    }
    platform
}

fn online(wrong: &mut Wrong, text: &str) -> Option<bool> {
    let online = text.parse().ok();
    if online.is_none() {
        wrong.add("online", format!("is {}, must be true or false", shown(text)));
    }
    online
}

/// A device.
#[utoipa::path(get, path = "/v1/namespaces/{ns}/devices/{device}", tag = "devices", operation_id = "device",
    params(
        ("ns" = openapi::NamespaceParam, Path, description = "The namespace"),
        ("device" = openapi::Name, Path, description = "The device"),
    ),
    responses((status = 200, description = "The device", body = Shown)))]
pub(crate) async fn show(
    State(state): State<ApiState>,
    InPath((ns, device)): InPath<(String, String)>,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    let id = extract::name("device", &device, DeviceId::new)?;
    let found = state.node.device(&namespace, &id).await?.ok_or_else(|| unknown(&id))?;
    Ok(whole(&state, &namespace, &found))
}

fn whole(state: &ApiState, namespace: &Namespace, device: &Device) -> Response {
    let online = namespace.directory().is_online(device.ordinal);
    Json(Shown::of(device, online, state.node.now())).into_response()
}

/// Registers a device, or replaces what is kept of it.
#[utoipa::path(put, path = "/v1/namespaces/{ns}/devices/{device}", tag = "devices", operation_id = "putDevice",
    description = "A device that was never here has a mailbox from now on. Whose device it is and its platform stay as they are unless \
        they are said; everything else that is not said is empty afterwards. With another user it starts anew: it is in no room, nothing \
        waits for it, and its connections are closed.",
    params(
        ("ns" = openapi::NamespaceParam, Path, description = "The namespace"),
        ("device" = openapi::Name, Path, description = "The device"),
    ),
    request_body(content = openapi::DeviceBody, description = "The device"),
    responses(
        (status = 200, description = "It was known, and is like this now", body = Shown),
        (status = 201, description = "It is registered", body = Shown)
    ))]
pub(crate) async fn put(
    State(state): State<ApiState>,
    InPath((ns, device)): InPath<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    let id = extract::name("device", &device, DeviceId::new)?;
    let record: Map<String, Value> = shape::decode(&json_body(request).await?, &DEVICE_SHAPE)?;
    let described = state.node.describe(&namespace, &id, &record).await.map_err(|why| refused(&id, why))?;
    let status = if described.new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, whole(&state, &namespace, &described.device)).into_response())
}

/// Changes what is kept of a device.
#[utoipa::path(patch, path = "/v1/namespaces/{ns}/devices/{device}", tag = "devices", operation_id = "changeDevice",
    description = "A merge patch (RFC 7396): what is named is changed, what is `null` goes, everything else stays. Tags and the hours of \
        do-not-disturb are replaced as a whole. With another user it starts anew, with what is kept of it.",
    params(
        ("ns" = openapi::NamespaceParam, Path, description = "The namespace"),
        ("device" = openapi::Name, Path, description = "The device"),
    ),
    request_body(content = openapi::DevicePatch, description = "What to change"),
    responses((status = 200, description = "The device, whole", body = Shown)))]
pub(crate) async fn change(
    State(state): State<ApiState>,
    InPath((ns, device)): InPath<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    let id = extract::name("device", &device, DeviceId::new)?;
    let patch: Map<String, Value> = shape::decode(&json_body(request).await?, &DEVICE_SHAPE)?;
    let described = state.node.amend(&namespace, &id, &patch).await.map_err(|why| refused(&id, why))?;
    Ok(whole(&state, &namespace, &described.device))
}

fn refused(id: &DeviceId, why: DescribeError) -> Problem {
    match why {
        DescribeError::Wrong(complaints) => {
            let field = |one: record::Complaint| FieldError { field: one.field, message: one.message };
            Problem::fields(ErrorCode::INVALID_REQUEST, complaints.into_iter().map(field).collect())
        }
        DescribeError::NotItsOwn(_) => Problem::new(ErrorCode::FORBIDDEN, why.to_string()),
        DescribeError::Unknown => unknown(id),
        DescribeError::Busy => Problem::new(ErrorCode::CONFLICT, why.to_string()),
        DescribeError::Store(why) => why.into(),
    }
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
    description = "Those that are not online and were last seen so long ago, if they are of `platform` and have `tag` where that is said. \
        Devices with a token for phone push stay unless `with_tokens` is true. With `dry_run` they are only counted.",
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
    let filter = Filter {
        platform: platform(&mut wrong, body.platform.as_deref()),
        tag: body.tag.as_deref().and_then(|text| wrong.name("tag", text, Tag::new)),
        ..Filter::default()
    };
    wrong.check()?;
    let dry_run = body.dry_run.unwrap_or(false);
    let purge = Purge {
        inactive_for: inactive.unwrap_or(INACTIVE_MAX),
        filter,
        with_tokens: body.with_tokens.unwrap_or(false),
        dry_run,
    };
    let devices = state.node.purge(&namespace, &purge).await?;
    Ok(Json(Purged { devices, dry_run }).into_response())
}

fn unknown(id: &DeviceId) -> Problem {
    Problem::new(ErrorCode::NOT_FOUND, format!("there is no device {}", shown(id.as_str())))
}
