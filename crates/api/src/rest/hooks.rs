//! A hook in numbers, and what it was not told, told after all.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tidings_model::{ErrorCode, HookName};
use utoipa::ToSchema;

use crate::extract::{self, InPath, namespace};
use crate::shape::shown;
use crate::{ApiState, Problem, openapi};

/// What there is for a hook.
#[derive(Serialize, ToSchema)]
#[schema(as = HookQueue)]
pub(crate) struct QueueBody {
    #[schema(value_type = openapi::HookName)]
    name: String,
    /// How much waits for it.
    waiting: u64,
    /// How much it was not told in time; that is kept, and may be replayed.
    dead_letters: u64,
}

/// What is told after all.
#[derive(Serialize, ToSchema)]
#[schema(as = HookReplay)]
pub(crate) struct ReplayBody {
    /// How many notices wait again.
    replayed: u64,
}

/// How much waits for a hook.
#[utoipa::path(get, path = "/v1/namespaces/{ns}/hooks/{hook}", tag = "namespaces", operation_id = "hook",
    params(
        ("ns" = openapi::NamespaceParam, Path, description = "The namespace"),
        ("hook" = openapi::HookName, Path, description = "The hook"),
    ),
    responses((status = 200, description = "How much there is for it", body = QueueBody)))]
pub(crate) async fn show(
    State(state): State<ApiState>,
    InPath((ns, hook)): InPath<(String, String)>,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    let hook = extract::name("hook", &hook, HookName::new)?;
    let piles = state.node.hook_piles(&namespace, &hook).ok_or_else(|| unknown(&hook))?;
    let (waiting, dead_letters) = (piles.waiting, piles.dead);
    Ok(Json(QueueBody { name: hook.to_string(), waiting, dead_letters }).into_response())
}

/// Tells a hook what it was not told in time.
#[utoipa::path(post, path = "/v1/namespaces/{ns}/hooks/{hook}/replay", tag = "namespaces", operation_id = "replayHook",
    description = "What was given up waits again, before what is newer, as if it had not been tried. Ids stay.",
    params(
        ("ns" = openapi::NamespaceParam, Path, description = "The namespace"),
        ("hook" = openapi::HookName, Path, description = "The hook"),
    ),
    responses((status = 200, description = "It waits again", body = ReplayBody)))]
pub(crate) async fn replay(
    State(state): State<ApiState>,
    InPath((ns, hook)): InPath<(String, String)>,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    let hook = extract::name("hook", &hook, HookName::new)?;
    let replayed = state.node.replay(&namespace, &hook).await?.ok_or_else(|| unknown(&hook))?;
    Ok(Json(ReplayBody { replayed }).into_response())
}

fn unknown(hook: &HookName) -> Problem {
    Problem::new(ErrorCode::NOT_FOUND, format!("there is no hook {}", shown(hook.as_str())))
}
