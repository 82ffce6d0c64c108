//! Hooks as they work: how much waits, what came of the last attempts, what was given up; tried out, and told after all.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::value::RawValue;
use tidings_model::{ErrorCode, HookName, NoticeId};
use tidings_node::notify::Attempt;
use tidings_wire::time;
use utoipa::ToSchema;

use crate::extract::{self, InPath, InQuery, namespace};
use crate::page::Asked;
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

/// The hooks of a namespace.
#[derive(Serialize, ToSchema)]
pub(crate) struct HooksListed {
    /// As they are configured.
    #[schema(max_items = 10)]
    items: Vec<HookBody>,
    /// Always null: there are few.
    #[schema(required, value_type = Option<String>)]
    next_cursor: (),
}

/// A hook of a namespace.
#[derive(Serialize, ToSchema)]
#[schema(as = HookListed)]
pub(crate) struct HookBody {
    #[schema(value_type = openapi::HookName)]
    name: String,
    url: String,
    /// What it is told, and what it is asked.
    #[schema(value_type = Vec<openapi::HookEventWord>)]
    events: Vec<&'static str>,
    /// How much waits for it.
    waiting: u64,
    /// How much it was not told in time; that is kept, and may be replayed.
    dead_letters: u64,
    /// What came of the last attempt since the start; null when there was none.
    #[schema(required)]
    last: Option<AttemptBody>,
}

/// An attempt to tell a hook something.
#[derive(Serialize, ToSchema)]
#[schema(as = HookAttempt)]
pub(crate) struct AttemptBody {
    #[schema(format = DateTime)]
    at: String,
    /// How many notices it was about.
    notices: usize,
    /// The id of the first one.
    id: String,
    /// Its type.
    #[serde(rename = "type")]
    kind: String,
    /// `accepted`; or `refused` (not 2xx), `redirect`, `timeout`, `unreachable`, `unresolved`, `forbidden` (the address), `tls`, `broken`.
    outcome: String,
    /// The status of the answer; null without one.
    #[schema(required)]
    status: Option<u16>,
    /// Why it does not count as told; null when it does.
    #[schema(required)]
    failure: Option<String>,
    /// How long it took, in milliseconds.
    ms: u64,
}

impl AttemptBody {
    fn of(attempt: &Attempt) -> Self {
        Self {
            at: time::rfc3339(attempt.at.0),
            notices: attempt.notices,
            id: attempt.id.to_string(),
            kind: attempt.kind.clone(),
            outcome: attempt.word().to_owned(),
            status: attempt.status(),
            failure: attempt.outcome.as_ref().err().map(ToString::to_string),
            ms: u64::try_from(attempt.took.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// What came of the last attempts.
#[derive(Serialize, ToSchema)]
pub(crate) struct HookLog {
    /// The newest first; those since the start of the server, at most 100.
    #[schema(max_items = 100)]
    items: Vec<AttemptBody>,
    /// Always null.
    #[schema(required, value_type = Option<String>)]
    next_cursor: (),
}

/// A notice that a hook was not told in time.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeadLetter {
    id: String,
    /// Since when it waits.
    #[schema(format = DateTime)]
    since: String,
    /// How many attempts have failed.
    failed: u32,
    /// As it is sent.
    #[schema(value_type = Object)]
    notice: Option<Box<RawValue>>,
}

/// A page of what a hook was not told in time.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeadLetters {
    /// The oldest first.
    #[schema(max_items = 1000)]
    items: Vec<DeadLetter>,
    /// Where the next page begins; null on the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// The hooks of a namespace, and how they do.
#[utoipa::path(get, path = "/v1/namespaces/{ns}/hooks", tag = "namespaces", operation_id = "hooks",
    description = "They are configured with the namespace.",
    params(("ns" = openapi::NamespaceParam, Path, description = "The namespace")),
    responses((status = 200, description = "All of them", body = HooksListed)))]
pub(crate) async fn list(
    State(state): State<ApiState>,
    InPath(ns): InPath<String>,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    let settings = namespace.settings();
    let items = settings.hooks.iter().map(|hook| {
        let piles = state.node.hook_piles(&namespace, &hook.name).unwrap_or_default();
        let log = state.node.hook_log(&namespace, &hook.name).unwrap_or_default();
        HookBody {
            name: hook.name.to_string(),
            url: hook.url.as_str().to_owned(),
            events: hook.words().collect(),
            waiting: piles.waiting,
            dead_letters: piles.dead,
            last: log.first().map(AttemptBody::of),
        }
    });
    Ok(Json(HooksListed { items: items.collect(), next_cursor: () }).into_response())
}

/// Tries a hook out.
#[utoipa::path(post, path = "/v1/namespaces/{ns}/hooks/{hook}/test", tag = "namespaces", operation_id = "testHook",
    description = "Sends it a notice of type `test` now, signed like any other, once, whatever waits for it, and answers what came of it.",
    params(
        ("ns" = openapi::NamespaceParam, Path, description = "The namespace"),
        ("hook" = openapi::HookName, Path, description = "The hook"),
    ),
    responses((status = 200, description = "What came of it", body = AttemptBody)))]
pub(crate) async fn test(
    State(state): State<ApiState>,
    InPath((ns, hook)): InPath<(String, String)>,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    let hook = extract::name("hook", &hook, HookName::new)?;
    let attempt = state.node.try_hook(&namespace, &hook).await;
    let attempt = attempt.map_err(|why| Problem::new(ErrorCode::OVERLOADED, why.to_string()))?;
    let attempt = attempt.ok_or_else(|| unknown(&hook))?;
    Ok(Json(AttemptBody::of(&attempt)).into_response())
}

/// What came of the last attempts at a hook.
#[utoipa::path(get, path = "/v1/namespaces/{ns}/hooks/{hook}/log", tag = "namespaces", operation_id = "hookLog",
    description = "Since the start of the server.",
    params(
        ("ns" = openapi::NamespaceParam, Path, description = "The namespace"),
        ("hook" = openapi::HookName, Path, description = "The hook"),
    ),
    responses((status = 200, description = "The newest first", body = HookLog)))]
pub(crate) async fn log(
    State(state): State<ApiState>,
    InPath((ns, hook)): InPath<(String, String)>,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    let hook = extract::name("hook", &hook, HookName::new)?;
    let log = state.node.hook_log(&namespace, &hook).ok_or_else(|| unknown(&hook))?;
    Ok(Json(HookLog { items: log.iter().map(AttemptBody::of).collect(), next_cursor: () }).into_response())
}

/// What a hook was not told in time.
#[utoipa::path(get, path = "/v1/namespaces/{ns}/hooks/{hook}/dead", tag = "namespaces", operation_id = "deadLetters",
    description = "It is kept until it is replayed, or there is too much of it.",
    params(
        ("ns" = openapi::NamespaceParam, Path, description = "The namespace"),
        ("hook" = openapi::HookName, Path, description = "The hook"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "How many at once; 100 unless said"),
        ("cursor" = Option<String>, Query, description = "Where to go on: `next_cursor` of the page before"),
    ),
    responses((status = 200, description = "A page", body = DeadLetters)))]
pub(crate) async fn dead(
    State(state): State<ApiState>,
    InPath((ns, hook)): InPath<(String, String)>,
    InQuery(asked): InQuery<Asked>,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    let hook = extract::name("hook", &hook, HookName::new)?;
    let (limit, after) = asked.page(after_notice)?;
    let found = state.node.dead_letters(&namespace, &hook, after, limit + 1).await?;
    let mut found = found.ok_or_else(|| unknown(&hook))?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next_cursor = found.last().filter(|_| more).map(|last| extract::name_cursor(last.id.as_str()));
    let items = found.into_iter().map(|notice| DeadLetter {
        id: notice.id.to_string(),
        since: time::rfc3339(notice.since.0),
        failed: notice.attempts.failed,
        notice: serde_json::from_slice(&notice.body).ok(),
    });
    Ok(Json(DeadLetters { items: items.collect(), next_cursor }).into_response())
}

fn after_notice(text: &str) -> Result<NoticeId, Problem> {
    NoticeId::new(&extract::after_name(text)?).map_err(|_| extract::no_cursor(text))
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
