//! The keys of a namespace: made, listed, revoked.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tidings_model::limit::LIMIT_MAX;
use tidings_model::{ErrorCode, KeyName, Timestamp};
use tidings_node::keys::{Key, NewKey, Scope, Scopes};
use tidings_wire::time;
use utoipa::ToSchema;

use crate::extract::{InPath, json_body, namespace};
use crate::shape::{self, Shape, shown};
use crate::wrong::Wrong;
use crate::{ApiState, Problem, openapi};

/// What a key looks like in a request.
pub(crate) const SHAPE: Shape = Shape::Object(&[
    ("name", Shape::Text),
    ("scopes", Shape::Texts),
    ("expires_at", Shape::Text),
    ("pushes_per_second", Shape::Count),
]);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    name: Option<String>,
    scopes: Option<Vec<String>>,
    expires_at: Option<String>,
    pushes_per_second: Option<u64>,
}

/// A key, without the key.
#[derive(Serialize, ToSchema)]
#[schema(as = Key)]
pub(crate) struct KeyShown {
    /// What it is revoked by.
    id: String,
    name: String,
    #[schema(value_type = Vec<openapi::ScopeWord>, min_items = 1, max_items = 3)]
    scopes: Vec<&'static str>,
    #[schema(format = DateTime)]
    created_at: String,
    /// When it ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// Most pushes in a second; 0 for no limit of its own.
    pushes_per_second: u32,
    /// When it was last used, to the minute; null when it never was.
    #[schema(required, format = DateTime)]
    last_used_at: Option<String>,
}

/// A key that was just made.
#[derive(Serialize, ToSchema)]
#[schema(as = MadeKey)]
pub(crate) struct KeyMade {
    #[serde(flatten)]
    shown: KeyShown,
    /// The key itself. Nobody is shown it again.
    key: String,
}

/// Keys.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeysBody {
    /// In the order in which they were made.
    #[schema(max_items = 100)]
    items: Vec<KeyShown>,
    /// Always null: there are never more than one page.
    #[schema(required)]
    next_cursor: Option<String>,
}

impl KeyShown {
    fn of(key: &Key) -> Self {
        Self {
            id: key.id.clone(),
            name: key.name.to_string(),
            scopes: key.scopes.iter().map(Scope::as_str).collect(),
            created_at: time::rfc3339(key.created_at.0),
            expires_at: key.expires_at.map(|at| time::rfc3339(at.0)),
            pushes_per_second: key.pushes_per_second,
            last_used_at: key.used_at.map(|at| time::rfc3339(at.0)),
        }
    }
}

/// Makes a key.
#[utoipa::path(post, path = "/v1/namespaces/{ns}/keys", tag = "keys", operation_id = "makeKey",
    description = "It is answered this once. To change a key without a gap, make the new one, use it, and revoke the old one.",
    params(("ns" = openapi::NamespaceParam, Path, description = "The namespace")),
    request_body(content = openapi::KeyBody, description = "The key"),
    responses((status = 201, description = "The key, this once", body = KeyMade)))]
pub(crate) async fn make(
    State(state): State<ApiState>,
    InPath(ns): InPath<String>,
    request: Request,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    let body = json_body(request).await?;
    let body: Body = shape::decode(&body, &SHAPE)?;
    let (key, secret) = state.node.make_key(&namespace, check(&body, state.node.now())?).await?;
    let made = KeyMade { shown: KeyShown::of(&key), key: secret };
    Ok((StatusCode::CREATED, Json(made)).into_response())
}

/// The keys of a namespace, without the keys.
#[utoipa::path(get, path = "/v1/namespaces/{ns}/keys", tag = "keys", operation_id = "keys",
    params(("ns" = openapi::NamespaceParam, Path, description = "The namespace")),
    responses((status = 200, description = "All of them", body = KeysBody)))]
pub(crate) async fn list(
    State(state): State<ApiState>,
    InPath(ns): InPath<String>,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    let items = state.node.keys_of(&namespace).iter().map(KeyShown::of).collect();
    Ok(Json(KeysBody { items, next_cursor: None }).into_response())
}

/// Revokes a key.
#[utoipa::path(delete, path = "/v1/namespaces/{ns}/keys/{id}", tag = "keys", operation_id = "revokeKey",
    description = "It opens nothing from now on.",
    params(
        ("ns" = openapi::NamespaceParam, Path, description = "The namespace"),
        ("id" = String, Path, description = "The id of the key"),
    ),
    responses((status = 204, description = "It is revoked")))]
pub(crate) async fn revoke(
    State(state): State<ApiState>,
    InPath((ns, id)): InPath<(String, String)>,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    if state.node.revoke_key(&namespace, &id).await? {
        Ok(StatusCode::NO_CONTENT.into_response())
    } else {
        Err(Problem::new(ErrorCode::NOT_FOUND, "there is no key with this id (any more)"))
    }
}

fn check(body: &Body, now: Timestamp) -> Result<NewKey, Problem> {
    let mut wrong = Wrong::default();
    let name = wrong.required("name", body.name.as_deref(), KeyName::new);
    let words = body.scopes.as_deref().unwrap_or_default();
    let scopes: Scopes = words.iter().filter_map(|word| Scope::parse(word)).collect();
    for (index, word) in words.iter().enumerate().filter(|(_, word)| Scope::parse(word).is_none()) {
        wrong.add(format!("scopes[{index}]"), format!("is {}, must be push, read or manage", shown(word)));
    }
    if words.is_empty() {
        wrong.add("scopes", "is required: at least one of push, read and manage");
    }
    let mut expires_at = None;
    if let Some(text) = &body.expires_at {
        match time::parse_rfc3339(text) {
            Some(ms) if ms > now.0 => expires_at = Some(Timestamp(ms)),
            Some(_) => wrong.add("expires_at", format!("is {}, must be later than now", shown(text))),
            None => {
                let message = "must be a time like 2027-11-20T14:29:07Z (RFC 3339)";
                wrong.add("expires_at", format!("is {}, {message}", shown(text)));
            }
        }
    }
    let pushes_per_second = match body.pushes_per_second.map(|asked| (asked, u32::try_from(asked))) {
        None => 0,
        Some((_, Ok(asked))) if asked <= LIMIT_MAX => asked,
        Some((asked, _)) => {
            let message = format!("is {asked}, must be from 1 to {LIMIT_MAX}, or 0 for no limit");
            wrong.add("pushes_per_second", message);
            0
        }
    };
    match (name, wrong.is_empty()) {
        (Some(name), true) => Ok(NewKey { name, scopes, expires_at, pushes_per_second }),
        _ => Err(wrong.into_problem()),
    }
}
