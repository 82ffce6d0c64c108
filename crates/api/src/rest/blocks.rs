//! Who is kept out: listed, blocked, let in again.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tidings_model::{DeviceId, ErrorCode, Network, Timestamp, UserId};
use tidings_node::block::{Block, LASTS_MAX, NewBlock, REASON_BYTES_MAX, Whom};
use tidings_wire::time;
use utoipa::ToSchema;

use crate::extract::{self, InPath, InQuery, json_body, namespace};
use crate::page::Asked;
use crate::shape::{self, Object, Shape};
use crate::wrong::Wrong;
use crate::{ApiState, Problem, openapi};

/// The shortest time that is one.
const SHORTEST: Duration = Duration::from_millis(1);

/// What a block looks like in a request.
pub(crate) const SHAPE: Shape = Shape::Object(&[
    ("on", Shape::Object(&[("user", Shape::Text), ("device", Shape::Text), ("address", Shape::Text)])),
    ("for", Shape::Text),
    ("reason", Shape::Text),
]);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    on: Option<Object<OnBody>>,
    #[serde(rename = "for")]
    lasts: Option<String>,
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OnBody {
    user: Option<String>,
    device: Option<String>,
    address: Option<String>,
}

/// A block.
#[derive(Serialize, ToSchema)]
#[schema(as = Block)]
pub(crate) struct BlockShown {
    id: String,
    on: OnShown,
    reason: String,
    #[schema(format = DateTime)]
    created_at: String,
    /// When it ends by itself; null when it lasts until it is lifted.
    #[schema(required, format = DateTime)]
    expires_at: Option<String>,
}

/// Who is kept out.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Blocked)]
enum OnShown {
    User(String),
    Device(String),
    Address(String),
}

/// A page of blocks.
#[derive(Serialize, ToSchema)]
pub(crate) struct BlocksListed {
    /// In the order in which they were set.
    #[schema(max_items = 1000)]
    items: Vec<BlockShown>,
    /// Where the next page begins; null on the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

impl BlockShown {
    fn of(block: &Block) -> Self {
        Self {
            id: block.id.to_string(),
            on: match &block.whom {
                Whom::User(user) => OnShown::User(user.to_string()),
                Whom::Device(device) => OnShown::Device(device.to_string()),
                Whom::Network(network) => OnShown::Address(network.to_string()),
            },
            reason: block.reason.clone(),
            created_at: time::rfc3339(block.created_at.0),
            expires_at: block.until.map(|at| time::rfc3339(at.0)),
        }
    }
}

/// Keeps somebody out.
#[utoipa::path(post, path = "/v1/namespaces/{ns}/blocks", tag = "blocks", operation_id = "block",
    description = "Their connections are closed with 3503, and they may not connect. Whoever is kept out already, is from now \
        on for as long as this says. A namespace has at most 10,000 blocks; beyond, 409.",
    params(("ns" = openapi::NamespaceParam, Path, description = "The namespace")),
    request_body(content = openapi::BlockBody, description = "Who, and for how long"),
    responses(
        (status = 200, description = "The block, which there was already", body = BlockShown),
        (status = 201, description = "The block", body = BlockShown),
    ))]
pub(crate) async fn set(
    State(state): State<ApiState>,
    InPath(ns): InPath<String>,
    request: Request,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    let body = json_body(request).await?;
    let body: Body = shape::decode(&body, &SHAPE)?;
    let (block, new) = state.node.block(&namespace, check(body)?).await?;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(BlockShown::of(&block))).into_response())
}

/// Who is kept out.
#[utoipa::path(get, path = "/v1/namespaces/{ns}/blocks", tag = "blocks", operation_id = "blocks",
    params(
        ("ns" = openapi::NamespaceParam, Path, description = "The namespace"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "How many at once; 100 unless said"),
        ("cursor" = Option<String>, Query, description = "Where to go on: `next_cursor` of the page before"),
    ),
    responses((status = 200, description = "A page", body = BlocksListed)))]
pub(crate) async fn list(
    State(state): State<ApiState>,
    InPath(ns): InPath<String>,
    InQuery(asked): InQuery<Asked>,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    let (limit, behind) = asked.page(behind)?;
    let mut found = state.node.blocks(&namespace, behind.as_ref());
    let more = found.len() > limit;
    found.truncate(limit);
    let next_cursor = found.last().filter(|_| more).map(cursor);
    let items = found.iter().map(BlockShown::of).collect();
    Ok(Json(BlocksListed { items, next_cursor }).into_response())
}

fn cursor(block: &Block) -> String {
    URL_SAFE_NO_PAD.encode([&block.created_at.0.to_be_bytes()[..], block.id.as_bytes()].concat())
}

fn behind(text: &str) -> Result<(Timestamp, Arc<str>), Problem> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| extract::no_cursor(text))?;
    let parts = bytes.split_first_chunk::<8>().and_then(|(at, id)| {
        Some((Timestamp(u64::from_be_bytes(*at)), Arc::from(std::str::from_utf8(id).ok()?)))
    });
    parts.ok_or_else(|| extract::no_cursor(text))
}

/// Lets somebody in again.
#[utoipa::path(delete, path = "/v1/namespaces/{ns}/blocks/{id}", tag = "blocks", operation_id = "unblock",
    params(
        ("ns" = openapi::NamespaceParam, Path, description = "The namespace"),
        ("id" = String, Path, description = "The block"),
    ),
    responses((status = 204, description = "It is lifted")))]
pub(crate) async fn lift(
    State(state): State<ApiState>,
    InPath((ns, id)): InPath<(String, String)>,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    if state.node.unblock(&namespace, &id).await? {
        Ok(StatusCode::NO_CONTENT.into_response())
    } else {
        Err(Problem::new(ErrorCode::NOT_FOUND, "there is no block with this id (any more)"))
    }
}

fn check(body: Body) -> Result<NewBlock, Problem> {
    let mut wrong = Wrong::default();
    let whom = whom(body.on.as_ref().map(|on| &on.0), &mut wrong);
    let lasts = wrong.duration("for", body.lasts.as_deref(), SHORTEST, LASTS_MAX);
    let reason = body.reason.unwrap_or_default();
    if reason.len() > REASON_BYTES_MAX {
        let bytes = reason.len();
        wrong.add("reason", format!("has {bytes} bytes, at most {REASON_BYTES_MAX} are allowed"));
    }
    match (whom, wrong.is_empty()) {
        (Some(whom), true) => Ok(NewBlock { whom, reason, lasts }),
        _ => Err(wrong.into_problem()),
    }
}

fn whom(on: Option<&OnBody>, wrong: &mut Wrong) -> Option<Whom> {
    let none = OnBody { user: None, device: None, address: None };
    let OnBody { user, device, address } = on.unwrap_or(&none);
    match (user, device, address) {
        (Some(user), None, None) => wrong.name("on.user", user, UserId::new).map(Whom::User),
        (None, Some(id), None) => wrong.name("on.device", id, DeviceId::new).map(Whom::Device),
        (None, None, Some(address)) => {
            wrong.name("on.address", address, str::parse::<Network>).map(Whom::Network)
        }
        _ => {
            wrong.add("on", "must name exactly one user, device or address");
            None
        }
    }
}
