//! Clients say what they have, where their protocol has no way back: event streams do it here.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde::{Deserialize, Serialize};
use tidings_model::{ClientAddress, DeviceId, ErrorCode, MessageId, Platform, limit};
use tidings_node::connect::Claim;
use tidings_wire::problem::FieldError;
use utoipa::ToSchema;

use crate::extract::{self, InPath, InQuery, json_body, namespace};
use crate::shape::{self, Shape, shown};
use crate::{ApiState, Problem, openapi};

/// What the body looks like.
pub(crate) const SHAPE: Shape = Shape::Object(&[("ids", Shape::Texts)]);

/// Who says so.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    device: Option<String>,
    token: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    ids: Option<Vec<String>>,
}

/// What was taken.
#[derive(Serialize, ToSchema)]
pub(crate) struct AckedBody {
    /// The messages that the device has, now or already before.
    acked: Vec<String>,
    /// The ids that are unknown, or of messages that were not meant for the device.
    unknown: Vec<String>,
}

/// A client has messages.
#[utoipa::path(post, path = "/v1/namespaces/{ns}/acks", tag = "clients", operation_id = "ack", security(()),
    description = "For clients, without an API key. In a namespace of `auth.mode` `open`, `device` says whose messages they are; in one \
        of `token`, the client's token says whose, in the header `Authorization: Bearer` or in the query, and `device` which of \
        the user's devices it is, unless the token says that too.",
    params(
        ("ns" = openapi::NamespaceParam, Path, description = "The namespace"),
        ("device" = Option<openapi::Name>, Query, description = "The device, which must be registered; required unless a token says it"),
        ("token" = Option<String>, Query, description = "The client's token, unless it is in the header"),
    ),
    request_body(content = openapi::AckBody, description = "The messages"),
    responses(
        (status = 200, description = "What was taken", body = AckedBody),
        (status = 401, description = "The client's token is missing or opens nothing", body = openapi::ProblemBody,
            content_type = "application/problem+json"),
    ))]
pub(crate) async fn take(
    State(state): State<ApiState>,
    InPath(ns): InPath<String>,
    InQuery(asked): InQuery<Asked>,
    request: Request,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    let asked_for =
        asked.device.as_deref().map(|id| extract::name("device", id, DeviceId::new)).transpose()?;
    let claim = Claim {
        device: asked_for,
        user: None,
        platform: Platform::default(),
        token: asked.token.or_else(|| bearer(request.headers())),
        from: request.extensions().get::<ClientAddress>().copied().unwrap_or_default(),
        vouched: None,
    };
    let (claim, permit) = state.node.permit(&namespace, claim).await?;
    let (user, device) = (permit.map(|permit| permit.user.clone()), claim.device);
    let Some(device) = device else {
        let message = "is required: the device that has the messages";
        return Err(Problem::field(ErrorCode::INVALID_REQUEST, "device", message));
    };
    let body = json_body(request).await?;
    let ids = ids(&body)?;
    let device = state.node.device(&namespace, &device).await?;
    // A device of somebody else is none.
    let device = device.filter(|device| user.is_none() || device.user == user);
    let Some(device) = device else {
        return Err(Problem::new(ErrorCode::NOT_FOUND, "there is no such device"));
    };
    let outcome = state.node.ack_ids(&namespace, device.ordinal, ids.clone()).await?;
    let acked = ids.iter().filter(|id| !outcome.unknown.contains(id)).map(ToString::to_string).collect();
    let unknown = outcome.unknown.iter().map(ToString::to_string).collect();
    Ok(Json(AckedBody { acked, unknown }).into_response())
}

/// The token of a client in the header, if there is one.
fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    value.strip_prefix("Bearer ").map(str::to_owned)
}

/// The ids in a body, each once.
fn ids(body: &[u8]) -> Result<Vec<MessageId>, Problem> {
    let body: Body = shape::decode(body, &SHAPE)?;
    let wrong = |message: String| Err(Problem::field(ErrorCode::INVALID_REQUEST, "ids", message));
    let Some(texts) = body.ids else { return wrong("is required: an array of message ids".to_owned()) };
    if texts.is_empty() || texts.len() > limit::TARGETS_MAX {
        return wrong(format!("has {} entries, must have 1 to {}", texts.len(), limit::TARGETS_MAX));
    }
    let (mut ids, mut errors) = (Vec::with_capacity(texts.len()), Vec::new());
    for (index, text) in texts.iter().enumerate() {
        match MessageId::new(text) {
            Ok(id) => ids.push(id),
            Err(why) => {
                errors.push(FieldError {
                    field: format!("ids[{index}]"),
                    message: format!("{} {why}", shown(text)),
                });
            }
        }
    }
    if !errors.is_empty() {
        return Err(Problem::fields(ErrorCode::INVALID_REQUEST, errors));
    }
    let mut seen = std::collections::HashSet::with_capacity(ids.len());
    ids.retain(|id| seen.insert(id.clone()));
    Ok(ids)
}
