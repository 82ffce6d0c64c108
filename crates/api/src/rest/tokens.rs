//! Client tokens: minted for a backend that does not want to sign any itself.

use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tidings_model::{DeviceId, ErrorCode, Platform, RoomName, Timestamp, UserId};
use tidings_node::permit::{Pattern, Permit};
use tidings_node::token::TOKEN_BYTES_MAX;
use tidings_wire::time;
use utoipa::ToSchema;

use crate::extract::{InPath, json_body, namespace};
use crate::shape::{self, Shape, shown};
use crate::wrong::Wrong;
use crate::{ApiState, Problem, openapi};

/// How long a token holds unless it is said, and at most.
const LIFE_DEFAULT: Duration = Duration::from_secs(3_600);
const LIFE_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);

/// What a token looks like in a request.
pub(crate) const SHAPE: Shape = Shape::Object(&[
    ("user", Shape::Text),
    ("device", Shape::Text),
    ("platform", Shape::Text),
    ("rooms", Shape::Texts),
    ("join", Shape::Texts),
    ("publish", Shape::Texts),
    ("presence", Shape::Texts),
    ("meta", Shape::Free),
    ("expires_in", Shape::Text),
]);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    user: Option<String>,
    device: Option<String>,
    platform: Option<String>,
    rooms: Option<Vec<String>>,
    join: Option<Vec<String>>,
    publish: Option<Vec<String>>,
    presence: Option<Vec<String>>,
    meta: Option<serde_json::Map<String, serde_json::Value>>,
    expires_in: Option<String>,
}

/// A token.
#[derive(Serialize, ToSchema)]
#[schema(as = Token)]
pub(crate) struct TokenBody {
    /// What a client connects with.
    token: String,
    #[schema(format = DateTime)]
    expires_at: String,
}

/// Mints a token for a client.
#[utoipa::path(post, path = "/v1/namespaces/{ns}/tokens", tag = "keys", operation_id = "mintToken",
    description = "A JSON Web Token that the namespace verifies without further set-up, as long as its `auth.mode` is `token`.",
    params(("ns" = openapi::NamespaceParam, Path, description = "The namespace")),
    request_body(content = openapi::TokenBody, description = "Who it is for, and what it allows"),
    responses((status = 201, description = "The token", body = TokenBody)))]
pub(crate) async fn mint(
    State(state): State<ApiState>,
    InPath(ns): InPath<String>,
    request: Request,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    let body = json_body(request).await?;
    let body: Body = shape::decode(&body, &SHAPE)?;
    let permit = check(&body, state.node.now())?;
    let token = namespace.mint(&permit, body.meta.map(serde_json::Value::Object));
    let token = token.ok_or_else(|| Problem::new(ErrorCode::INTERNAL, "the token cannot be signed"))?;
    if token.len() > TOKEN_BYTES_MAX {
        let why =
            format!("the token would have {} bytes, at most {TOKEN_BYTES_MAX} are allowed", token.len());
        return Err(Problem::new(ErrorCode::INVALID_REQUEST, why));
    }
    let body = TokenBody { token, expires_at: time::rfc3339(permit.expires_at.0) };
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

fn check(body: &Body, now: Timestamp) -> Result<Permit, Problem> {
    let mut wrong = Wrong::default();
    let user = wrong.required("user", body.user.as_deref(), UserId::new);
    let device = body.device.as_deref().and_then(|id| wrong.name("device", id, DeviceId::new));
    let platform = body.platform.as_deref().and_then(|word| {
        let platform = Platform::parse(word);
        if platform.is_none() {
            let message = format!("is {}, must be web, android, ios, desktop or other", shown(word));
            wrong.add("platform", message);
        }
        platform
    });
    let rooms = wrong.names("rooms", body.rooms.as_deref(), RoomName::new);
    let join = wrong.names("join", body.join.as_deref(), Pattern::new);
    let publish = wrong.names("publish", body.publish.as_deref(), Pattern::new);
    let presence = body.presence.as_deref().map(|names| wrong.names("presence", Some(names), Pattern::new));
    let life = wrong.duration("expires_in", body.expires_in.as_deref(), Duration::from_secs(1), LIFE_MAX);
    // Tokens know whole seconds.
    let expires_at = Timestamp(now.after(life.unwrap_or(LIFE_DEFAULT)).0 / 1_000 * 1_000);
    match (user, wrong.is_empty()) {
        (Some(user), true) => {
            Ok(Permit { user, device, platform, rooms, join, publish, presence, expires_at })
        }
        _ => Err(wrong.into_problem()),
    }
}
