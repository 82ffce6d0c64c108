//! Client tokens: minted for a backend that does not want to sign any itself.

use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tidings_model::{DeviceId, ErrorCode, Platform, RoomName, Timestamp, UserId};
use tidings_node::ids;
use tidings_node::permit::{META_BYTES_MAX, Pattern, Permit};
use tidings_node::revoke::{JTI_BYTES_MAX, LASTS_DEFAULT, LASTS_MAX, Revoked};
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
    /// What it can be revoked by.
    jti: String,
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
    let token = namespace.mint(&permit);
    let token = token.ok_or_else(|| Problem::new(ErrorCode::INTERNAL, "the token cannot be signed"))?;
    if token.len() > TOKEN_BYTES_MAX {
        let why =
            format!("the token would have {} bytes, at most {TOKEN_BYTES_MAX} are allowed", token.len());
        return Err(Problem::new(ErrorCode::INVALID_REQUEST, why));
    }
    let jti = permit.jti.map(String::from).unwrap_or_default();
    let body = TokenBody { token, jti, expires_at: time::rfc3339(permit.expires_at.0) };
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
    let meta = body.meta.as_ref().and_then(|meta| serde_json::to_string(meta).ok());
    if let Some(meta) = meta.as_ref().filter(|meta| meta.len() > META_BYTES_MAX) {
        wrong.add("meta", format!("has {} bytes, at most {META_BYTES_MAX} are allowed", meta.len()));
    }
    // Tokens know whole seconds.
    let expires_at = Timestamp(now.after(life.unwrap_or(LIFE_DEFAULT)).0 / 1_000 * 1_000);
    match (user, wrong.is_empty()) {
        (Some(user), true) => {
            let (jti, issued_at) = (Some(ids::token().into()), now);
            Ok(Permit {
                user,
                device,
                platform,
                rooms,
                join,
                publish,
                presence,
                meta,
                expires_at,
                jti,
                issued_at,
            })
        }
        _ => Err(wrong.into_problem()),
    }
}

/// What a revocation looks like in a request.
pub(crate) const REVOKE_SHAPE: Shape = Shape::Object(&[
    ("jti", Shape::Text),
    ("user", Shape::Text),
    ("before", Shape::Text),
    ("for", Shape::Text),
]);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RevokeBody {
    jti: Option<String>,
    user: Option<String>,
    before: Option<String>,
    #[serde(rename = "for")]
    lasts: Option<String>,
}

/// Tokens that are worth nothing any more.
#[derive(Serialize, ToSchema)]
pub(crate) struct RevokedBody {
    /// Until when that is kept.
    #[schema(format = DateTime)]
    until: String,
}

/// Revokes tokens.
#[utoipa::path(post, path = "/v1/namespaces/{ns}/tokens:revoke", tag = "keys", operation_id = "revokeTokens",
    description = "One token by its id, or those of a user, or all, that were issued (`iat`) before a time; a token without `iat` was issued before \
        any time. They open nothing from now on, and connections with them end with 3500. Minted tokens and those of your own system alike.",
    params(("ns" = openapi::NamespaceParam, Path, description = "The namespace")),
    request_body(content = openapi::Revocation, description = "Which"),
    responses((status = 200, description = "They are revoked", body = RevokedBody)))]
pub(crate) async fn revoke(
    State(state): State<ApiState>,
    InPath(ns): InPath<String>,
    request: Request,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    let body = json_body(request).await?;
    let body: RevokeBody = shape::decode(&body, &REVOKE_SHAPE)?;
    let (revoked, lasts) = check_revocation(&body, state.node.now())?;
    let until = state.node.revoke_tokens(&namespace, revoked, lasts).await?;
    Ok(Json(RevokedBody { until: time::rfc3339(until.0) }).into_response())
}

fn check_revocation(body: &RevokeBody, now: Timestamp) -> Result<(Revoked, Duration), Problem> {
    let mut wrong = Wrong::default();
    let lasts = wrong.duration("for", body.lasts.as_deref(), Duration::from_secs(1), LASTS_MAX);
    let before = body.before.as_deref().and_then(|text| match time::parse_rfc3339(text) {
        Some(ms) if ms <= now.0 => Some(Timestamp(ms)),
        Some(_) => {
            wrong.add("before", format!("is {}, must not be later than now", shown(text)));
            None
        }
        None => {
            wrong.add(
                "before",
                format!("is {}, must be a time like 2026-11-20T14:29:07Z (RFC 3339)", shown(text)),
            );
            None
        }
    });
    let user = body.user.as_deref().and_then(|user| wrong.name("user", user, UserId::new));
    if let Some(jti) = body.jti.as_deref()
        && !(1..=JTI_BYTES_MAX).contains(&jti.len())
    {
        wrong.add("jti", format!("has {} bytes, must have 1 to {JTI_BYTES_MAX}", jti.len()));
    }
    let revoked = match (&body.jti, &body.user, &body.before) {
        (Some(jti), None, None) => Some(Revoked::Token(jti.as_str().into())),
        (None, Some(_), _) => user.map(|user| Revoked::User(user, before.unwrap_or(now))),
        (None, None, Some(_)) => before.map(Revoked::All),
        (Some(_), _, _) => {
            wrong.add("jti", "names one token; leave user and before out");
            None
        }
        (None, None, None) => {
            wrong.add("jti", "or user or before is required");
            None
        }
    };
    match (revoked, wrong.is_empty()) {
        (Some(revoked), true) => Ok((revoked, lasts.unwrap_or(LASTS_DEFAULT))),
        _ => Err(wrong.into_problem()),
    }
}
