//! Client tokens: minted for a backend that does not want to sign any itself.

use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tidings_model::{DeviceId, ErrorCode, NameError, Platform, RoomName, Timestamp, UserId};
use tidings_node::permit::{Pattern, Permit};
use tidings_node::token::{LIST_MAX, TOKEN_BYTES_MAX};
use tidings_wire::problem::FieldError;
use tidings_wire::time;
use utoipa::ToSchema;

use crate::extract::{InPath, json_body, namespace};
use crate::shape::{self, Shape, shown};
use crate::{ApiState, Problem, duration, openapi};

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
    let mut wrong = Vec::new();
    if body.user.is_none() {
        complain(&mut wrong, "user", "is required".to_owned());
    }
    let user = one("user", body.user.as_deref(), UserId::new, &mut wrong);
    let device = one("device", body.device.as_deref(), DeviceId::new, &mut wrong);
    let platform = body.platform.as_deref().and_then(|word| {
        let platform = Platform::parse(word);
        if platform.is_none() {
            let message = format!("is {}, must be web, android, ios, desktop or other", shown(word));
            complain(&mut wrong, "platform", message);
        }
        platform
    });
    let of_room = |text: &str| RoomName::new(text).map_err(|why| format!("{} {why}", shown(text)));
    let of_pattern =
        |text: &str| Pattern::new(text).ok_or_else(|| format!("{} must have 1 to 255 bytes", shown(text)));
    let rooms = each("rooms", body.rooms.as_deref(), of_room, &mut wrong);
    let join = each("join", body.join.as_deref(), of_pattern, &mut wrong);
    let publish = each("publish", body.publish.as_deref(), of_pattern, &mut wrong);
    let life = match body.expires_in.as_deref().map(|text| (text, duration::parse(text))) {
        None => LIFE_DEFAULT,
        Some((_, Ok(life))) if (Duration::from_secs(1)..=LIFE_MAX).contains(&life) => life,
        Some((text, Ok(_))) => {
            let message = format!("is {}, must be from 1s to {}", shown(text), duration::show(LIFE_MAX));
            complain(&mut wrong, "expires_in", message);
            LIFE_DEFAULT
        }
        Some((text, Err(why))) => {
            complain(&mut wrong, "expires_in", format!("is {}, {why}", shown(text)));
            LIFE_DEFAULT
        }
    };
    // Tokens know whole seconds.
    let expires_at = Timestamp(now.after(life).0 / 1_000 * 1_000);
    match (user, wrong.is_empty()) {
        (Some(user), true) => Ok(Permit { user, device, platform, rooms, join, publish, expires_at }),
        _ => Err(Problem::fields(ErrorCode::INVALID_REQUEST, wrong)),
    }
}

fn complain(wrong: &mut Vec<FieldError>, field: &str, message: String) {
    wrong.push(FieldError { field: field.to_owned(), message });
}

fn one<T>(
    field: &str,
    text: Option<&str>,
    new: fn(&str) -> Result<T, NameError>,
    wrong: &mut Vec<FieldError>,
) -> Option<T> {
    let text = text?;
    new(text).map_err(|why| complain(wrong, field, format!("{} {why}", shown(text)))).ok()
}

fn each<T>(
    field: &str,
    list: Option<&[String]>,
    read: impl Fn(&str) -> Result<T, String>,
    wrong: &mut Vec<FieldError>,
) -> Vec<T> {
    let list = list.unwrap_or_default();
    if list.len() > LIST_MAX {
        complain(wrong, field, format!("has {} entries, at most {LIST_MAX} are allowed", list.len()));
        return Vec::new();
    }
    let entries = list.iter().enumerate();
    entries
        .filter_map(|(index, text)| {
            read(text).map_err(|message| complain(wrong, &format!("{field}[{index}]"), message)).ok()
        })
        .collect()
}
