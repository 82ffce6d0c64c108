//! Connections: who is connected from where, and since when; and one is ended.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tidings_model::{DeviceId, ErrorCode, Ordinal, UserId};
use tidings_node::Device;
use tidings_node::connect::{connection_id, connection_number};
use tidings_node::connections::{Behind, Live, Whose};
use tidings_wire::time;
use utoipa::ToSchema;

use crate::extract::{self, InPath, InQuery, namespace};
use crate::shape::shown;
use crate::wrong::Wrong;
use crate::{ApiState, Problem, openapi, page};

/// What is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    user: Option<String>,
    device: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

/// A connection.
#[derive(Serialize, ToSchema)]
#[schema(as = Connection)]
pub(crate) struct ConnectionBody {
    connection: String,
    device: String,
    #[schema(required)]
    user: Option<String>,
    #[schema(value_type = openapi::PlatformWord)]
    platform: &'static str,
    /// What is spoken on it: `json`, `engineio3`, `engineio4` or `sse`; or, for clients of older systems, `light_push`, `push_koa`, `gopusher`, `go_redis` or
    /// `message_push`.
    #[schema(value_type = String)]
    protocol: &'static str,
    /// What carries it: `websocket`, `polling` or `stream`.
    #[schema(value_type = String)]
    transport: &'static str,
    /// Where the client is, as far as trusted proxies say; null for a client of this machine without an address.
    #[schema(required)]
    address: Option<String>,
    #[schema(format = DateTime)]
    since: String,
    outbox: Waiting,
}

/// What waits for a connection.
#[derive(Serialize, ToSchema)]
pub(crate) struct Waiting {
    frames: usize,
    bytes: usize,
}

/// A page of connections.
#[derive(Serialize, ToSchema)]
pub(crate) struct ConnectionsListed {
    #[schema(max_items = 1000)]
    items: Vec<ConnectionBody>,
    /// Where the next page begins; null on the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

impl ConnectionBody {
    fn of((live, device): &(Live, Device)) -> Self {
        Self {
            connection: connection_id(live.connection),
            device: device.id.to_string(),
            user: device.user.as_ref().map(ToString::to_string),
            platform: device.platform.as_str(),
            protocol: live.protocol,
            transport: live.transport,
            address: live.address.ip().map(|ip| ip.to_string()),
            since: time::rfc3339(live.since.0),
            outbox: Waiting { frames: live.frames, bytes: live.bytes },
        }
    }
}

/// The connections that there are.
#[utoipa::path(get, path = "/v1/namespaces/{ns}/connections", tag = "connections", operation_id = "connections",
    description = "In a fixed order. Whoever comes or goes meanwhile may be in it or not.",
    params(
        ("ns" = openapi::NamespaceParam, Path, description = "The namespace"),
        ("user" = Option<openapi::Name>, Query, description = "Only this user's"),
        ("device" = Option<openapi::Name>, Query, description = "Only this device's"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "How many at once; 100 unless said"),
        ("cursor" = Option<String>, Query, description = "Where to go on: `next_cursor` of the page before"),
    ),
    responses((status = 200, description = "A page", body = ConnectionsListed)))]
pub(crate) async fn list(
    State(state): State<ApiState>,
    InPath(ns): InPath<String>,
    InQuery(asked): InQuery<Asked>,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    let mut wrong = Wrong::default();
    let user = asked.user.as_deref().and_then(|text| wrong.name("user", text, UserId::new));
    let device = asked.device.as_deref().and_then(|text| wrong.name("device", text, DeviceId::new));
    wrong.check()?;
    let (limit, after) = page::page(asked.limit.as_deref(), asked.cursor.as_deref(), behind)?;
    let whose = Whose { user, device };
    let (found, next) = state.node.connections(&namespace, &whose, after, limit).await?;
    let items = found.iter().map(ConnectionBody::of).collect();
    Ok(Json(ConnectionsListed { items, next_cursor: next.map(cursor) }).into_response())
}

fn cursor(Behind(device, connection): Behind) -> String {
    URL_SAFE_NO_PAD.encode([&device.0.to_be_bytes()[..], &connection.to_be_bytes()].concat())
}

fn behind(text: &str) -> Result<Behind, Problem> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| <[u8; 12]>::try_from(bytes).ok());
    let parts = bytes.and_then(|bytes| {
        let (device, connection) = bytes.split_first_chunk::<4>()?;
        let connection = u64::from_be_bytes(connection.try_into().ok()?);
        Some(Behind(Ordinal(u32::from_be_bytes(*device)), connection))
    });
    parts.ok_or_else(|| extract::no_cursor(text))
}

/// Ends a connection.
#[utoipa::path(delete, path = "/v1/namespaces/{ns}/connections/{id}", tag = "connections", operation_id = "disconnect",
    description = "It is closed with 3503; the client does not come back by itself.",
    params(
        ("ns" = openapi::NamespaceParam, Path, description = "The namespace"),
        ("id" = String, Path, description = "The connection"),
    ),
    responses((status = 204, description = "It is being closed")))]
pub(crate) async fn end(
    State(state): State<ApiState>,
    InPath((ns, id)): InPath<(String, String)>,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    let ended = match connection_number(&id) {
        Some(number) => state.node.disconnect(&namespace, number).await,
        None => false,
    };
    if ended {
        Ok(StatusCode::NO_CONTENT.into_response())
    } else {
        Err(Problem::new(ErrorCode::NOT_FOUND, format!("there is no connection {}", shown(&id))))
    }
}
