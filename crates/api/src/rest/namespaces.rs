//! Namespaces: created, changed, listed, shown.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::ALLOW;
use serde::{Deserialize, Serialize};
use tidings_model::{ErrorCode, NamespaceName, Timestamp};
use tidings_node::Namespace;
use tidings_node::keys::{Access, Holder};
use tidings_node::merge_patch::merge;
use tidings_node::namespace::{AuthMode, Settings};
use tidings_node::remove::Removal;
use tidings_wire::problem::FieldError;
use tidings_wire::time;
use utoipa::ToSchema;

use crate::extract::{self, InPath, InQuery, json_body, namespace};
use crate::page::Asked;
use crate::shape::{self, Object, Shape, shown};
use crate::{ApiState, Problem, openapi};

mod connect_hook;
pub mod declared;
mod history;
mod hooks;
mod jwt;
mod limits;
mod mailbox;
pub(crate) mod offline;
pub(crate) mod origins;
mod outbox;
mod presence;

/// How long a caller waits at most until a namespace is gone.
const WAIT_FOR_REMOVAL: Duration = Duration::from_secs(3);

/// The words for whether pushes and clients are let in.
const ACTIVE: &str = "active";
const SUSPENDED: &str = "suspended";

/// Longest title, in bytes.
const TITLE_MAX: usize = 255;

/// What a namespace looks like in a request.
pub(crate) const SHAPE: Shape = Shape::Object(&[
    ("name", Shape::Text),
    ("title", Shape::Text),
    ("state", Shape::Text),
    ("auth", Shape::Object(&[("mode", Shape::Text), ("jwt", jwt::SHAPE), ("hook", connect_hook::SHAPE)])),
    ("hooks", Shape::Each(&hooks::SHAPE)),
    ("limits", limits::SHAPE),
    ("outbox", outbox::SHAPE),
    ("mailbox", mailbox::SHAPE),
    ("history", history::SHAPE),
    ("offline", offline::SHAPE),
    ("presence", presence::SHAPE),
    ("origins", Shape::Texts),
]);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    name: Option<String>,
    title: Option<String>,
    auth: Option<Object<AuthBody>>,
    state: Option<String>,
    hooks: Option<Vec<Object<hooks::HookBody>>>,
    limits: Option<Object<limits::LimitsBody>>,
    outbox: Option<Object<outbox::OutboxBody>>,
    mailbox: Option<Object<mailbox::MailboxBody>>,
    history: Option<Object<history::HistoryBody>>,
    offline: Option<Object<offline::OfflineBody>>,
    presence: Option<Object<presence::PresenceBody>>,
    origins: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthBody {
    mode: Option<String>,
    jwt: Option<Object<jwt::JwtBody>>,
    hook: Option<Object<connect_hook::ConnectHookBody>>,
}

/// A namespace.
#[derive(Serialize, ToSchema)]
#[schema(as = Namespace)]
pub(crate) struct NamespaceBody {
    name: String,
    title: String,
    #[schema(value_type = openapi::NamespaceStateWord)]
    state: &'static str,
    auth: AuthShown,
    limits: limits::LimitsShown,
    outbox: outbox::OutboxShown,
    mailbox: mailbox::MailboxShown,
    history: history::HistoryShown,
    offline: offline::OfflineShown,
    presence: presence::PresenceShown,
    #[schema(max_items = 10)]
    hooks: Vec<hooks::HookShown>,
    #[schema(max_items = 100)]
    origins: Vec<String>,
    #[schema(format = DateTime)]
    created_at: String,
}

/// Who may connect.
#[derive(Serialize, ToSchema)]
#[schema(as = NamespaceAuth)]
struct AuthShown {
    #[schema(value_type = openapi::AuthModeWord)]
    mode: &'static str,
    /// How the tokens of the business system are verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    jwt: Option<jwt::JwtShown>,
    /// Who is asked whether a client may connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    hook: Option<connect_hook::ConnectHookShown>,
}

impl NamespaceBody {
    fn of(namespace: &Namespace) -> Self {
        let settings = &*namespace.settings();
        Self {
            name: namespace.name.to_string(),
            title: settings.title.clone(),
            state: state_of(settings),
            auth: AuthShown {
                mode: settings.auth.as_str(),
                jwt: settings.jwt.as_ref().map(jwt::JwtShown::of),
                hook: settings.connect_hook.as_ref().map(connect_hook::ConnectHookShown::of),
            },
            limits: limits::LimitsShown::of(settings),
            outbox: outbox::OutboxShown::of(&settings.outbox),
            mailbox: mailbox::MailboxShown::of(&settings.mailbox),
            history: history::HistoryShown::of(&settings.history),
            offline: offline::OfflineShown::of(&settings.offline),
            presence: presence::PresenceShown::of(&settings.presence),
            hooks: settings.hooks.iter().map(hooks::HookShown::of).collect(),
            origins: origins::show(&settings.origins),
            created_at: time::rfc3339(settings.created_at),
        }
    }
}

fn state_of(settings: &Settings) -> &'static str {
    if settings.suspended { SUSPENDED } else { ACTIVE }
}

/// A page of namespaces.
#[derive(Serialize, ToSchema)]
pub(crate) struct NamespacesBody {
    #[schema(max_items = 1000)]
    items: Vec<NamespaceBody>,
    /// Where the next page begins; null on the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

#[cfg(test)]
pub(crate) use hooks::SHAPE as HOOK_SHAPE;

/// Creates a namespace.
#[utoipa::path(post, path = "/v1/namespaces", tag = "namespaces", operation_id = "createNamespace",
    request_body(content = openapi::NewNamespace, description = "The namespace"),
    responses((status = 201, description = "The namespace, whole", body = NamespaceBody)))]
pub(crate) async fn create(State(state): State<ApiState>, request: Request) -> Result<Response, Problem> {
    let body = json_body(request).await?;
    let body: Body = shape::decode(&body, &SHAPE)?;
    let (name, settings) = check(&body, None, state.node.now())?;
    hooks::look(&state.node, &settings, None).await?;
    let namespace = state.node.create_namespace(name, settings).await?;
    Ok((StatusCode::CREATED, Json(NamespaceBody::of(&namespace))).into_response())
}

/// Changes a namespace.
#[utoipa::path(patch, path = "/v1/namespaces/{ns}", tag = "namespaces", operation_id = "changeNamespace",
    description = "A merge patch (RFC 7396): what is named is changed, `null` brings a default back, everything else stays. \
        A name cannot be changed.",
    params(("ns" = openapi::NamespaceParam, Path, description = "The namespace")),
    request_body(content = openapi::NamespacePatch, description = "What to change"),
    responses((status = 200, description = "The namespace, whole", body = NamespaceBody)))]
pub(crate) async fn change(
    State(state): State<ApiState>,
    InPath(ns): InPath<String>,
    request: Request,
) -> Result<Response, Problem> {
    if let Some(refusal) = only_post(&ns) {
        return Ok(refusal);
    }
    let namespace = namespace(&state.node, &ns)?;
    let holder = request.extensions().get::<Holder>();
    let by_admin = holder.is_some_and(|holder| holder.access == Access::Admin);
    let patch = json_body(request).await?;
    // Held against the shape first, so that what is wrong is named as it was sent.
    let _: Body = shape::decode(&patch, &SHAPE)?;
    let patch: serde_json::Value = serde_json::from_slice(&patch)
        .map_err(|why| Problem::new(ErrorCode::INVALID_REQUEST, format!("the body is not JSON: {why}")))?;
    // Where hooks lead may take long to find out, and others want their turn.
    let (settings, before) = patched(&namespace, &patch, by_admin, state.node.now())?;
    hooks::look(&state.node, &settings, Some(&before)).await?;
    let looked_at = (settings.hooks, settings.connect_hook);
    let changing = namespace.changing().await;
    let (settings, before) = patched(&namespace, &patch, by_admin, state.node.now())?;
    if (&settings.hooks, &settings.connect_hook) != (&looked_at.0, &looked_at.1) {
        hooks::look(&state.node, &settings, Some(&before)).await?;
    }
    state.node.change_namespace(changing, settings).await?;
    Ok(Json(NamespaceBody::of(&namespace)).into_response())
}

/// What the rules would be with a patch, and what they are.
fn patched(
    namespace: &Namespace,
    patch: &serde_json::Value,
    by_admin: bool,
    now: Timestamp,
) -> Result<(Settings, Arc<Settings>), Problem> {
    let mut whole = writable(namespace);
    merge(&mut whole, patch.clone());
    if whole["name"] != namespace.name.as_str() {
        return Err(Problem::field(ErrorCode::INVALID_REQUEST, "name", "cannot be changed"));
    }
    let whole = whole.to_string();
    let body: Body = shape::decode(whole.as_bytes(), &SHAPE)?;
    let before = namespace.settings();
    let (_, settings) = check(&body, Some(&before), now)?;
    if !by_admin {
        hooks::need_public(&settings, &before)?;
        jwt::need_public(settings.jwt.as_ref(), before.jwt.as_ref())?;
        if settings.suspended != before.suspended {
            return Err(Problem::field(ErrorCode::FORBIDDEN, "state", "needs the admin key"));
        }
    }
    let settings = kept(settings, &before);
    Ok((settings, before))
}

/// These rules, with what of those before nobody writes.
fn kept(settings: Settings, before: &Settings) -> Settings {
    Settings { created_at: before.created_at, declared: before.declared, ..settings }
}

/// The methods of a path that is a namespace, or what is done with one.
pub(crate) fn methods(path: &str) -> &'static str {
    if is_act(path) { "POST" } else { "GET, HEAD, PATCH, DELETE" }
}

/// Whether a path is what is done with a namespace, rather than one: no name has a colon.
fn is_act(path: &str) -> bool {
    [":suspend", ":resume", ":clear"].iter().any(|act| path.ends_with(act))
}

/// The answer to whoever takes a path that is what is done with a namespace for one.
fn only_post(path: &str) -> Option<Response> {
    let refusal = || Problem::new(ErrorCode::METHOD_NOT_ALLOWED, "this path has POST only");
    is_act(path).then(|| ([(ALLOW, methods(path))], refusal()).into_response())
}

/// What the operator does with a namespace: `{ns}:suspend`, `{ns}:resume`, `{ns}:clear`.
pub(crate) async fn act(
    State(state): State<ApiState>,
    InPath(path): InPath<String>,
) -> Result<Response, Problem> {
    let (name, act) = match path.rsplit_once(':') {
        Some((name, "suspend")) => (name, Act::Suspend),
        Some((name, "resume")) => (name, Act::Resume),
        Some((name, "clear")) => (name, Act::Clear),
        Some(_) | None => {
            let why = "this path has POST with :suspend, :resume and :clear behind the name only";
            let refusal = Problem::new(ErrorCode::METHOD_NOT_ALLOWED, why);
            return Ok(([(ALLOW, methods(&path))], refusal).into_response());
        }
    };
    let namespace = namespace(&state.node, name)?;
    let changing = namespace.changing().await;
    match act {
        Act::Suspend => state.node.suspend(changing, true).await?,
        Act::Resume => state.node.suspend(changing, false).await?,
        Act::Clear => state.node.clear_namespace(changing).await?,
    }
    Ok(Json(NamespaceBody::of(&namespace)).into_response())
}

enum Act {
    Suspend,
    Resume,
    Clear,
}

/// A namespace that goes.
#[derive(Serialize, ToSchema)]
pub(crate) struct GoingBody {
    name: String,
    /// Always `deleting`.
    state: &'static str,
}

/// Deletes a namespace, with everything in it.
#[utoipa::path(delete, path = "/v1/namespaces/{ns}", tag = "namespaces", operation_id = "deleteNamespace",
    description = "Its clients are sent away with 3503, a few at a time, and everything of it goes: devices, rooms, messages, history,         statistics, keys, hooks and what they were still to be told. From the answer on it is not there for anybody; its name is free         when all of it is gone. A deletion that is interrupted goes on at the next start. It cannot be undone.",
    params(("ns" = openapi::NamespaceParam, Path, description = "The namespace")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 202, description = "It goes; asking again answers when it is gone", body = GoingBody),
    ))]
pub(crate) async fn delete(
    State(state): State<ApiState>,
    InPath(ns): InPath<String>,
) -> Result<Response, Problem> {
    if let Some(refusal) = only_post(&ns) {
        return Ok(refusal);
    }
    let name = NamespaceName::new(&ns).map_err(|_| Problem::no_namespace(&ns))?;
    if state.node.delete_namespace(&name).await? == Removal::Unknown {
        return Err(Problem::no_namespace(&ns));
    }
    if state.node.removed(&name, WAIT_FOR_REMOVAL).await {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let going = GoingBody { name: ns, state: "deleting" };
    Ok((StatusCode::ACCEPTED, Json(going)).into_response())
}

/// Takes away what has happened in a namespace.
#[utoipa::path(post, path = "/v1/namespaces/{ns}:clear", tag = "namespaces", operation_id = "clearNamespace",
    description = "Its messages go, and with them mailboxes, deadlines, reports, history and statistics. Rules, keys, hooks (and what they \
        are still to be told), devices and their rooms stay, and so do connections. A client that missed something which is gone is told so \
        (`recovered: false`). It cannot be undone.",
    params(("ns" = openapi::NamespaceParam, Path, description = "The namespace")),
    responses((status = 200, description = "The namespace, whole", body = NamespaceBody)))]
#[expect(dead_code, reason = "for the document")]
pub(crate) async fn clear() {}

/// Suspends a namespace.
#[utoipa::path(post, path = "/v1/namespaces/{ns}:suspend", tag = "namespaces", operation_id = "suspendNamespace",
    description = "Pushes and clients are refused (`suspended`), and those that are connected are sent away with 3503, a few at \
        a time. Nothing that is there is lost: what waits for them goes on waiting, for as long as it lives.",
    params(("ns" = openapi::NamespaceParam, Path, description = "The namespace")),
    responses((status = 200, description = "The namespace, whole", body = NamespaceBody)))]
#[expect(dead_code, reason = "for the document")]
pub(crate) async fn suspend() {}

/// Lets a namespace go on.
#[utoipa::path(post, path = "/v1/namespaces/{ns}:resume", tag = "namespaces", operation_id = "resumeNamespace",
    params(("ns" = openapi::NamespaceParam, Path, description = "The namespace")),
    responses((status = 200, description = "The namespace, whole", body = NamespaceBody)))]
#[expect(dead_code, reason = "for the document")]
pub(crate) async fn resume() {}

/// What of a namespace can be written, as it is written.
fn writable(namespace: &Namespace) -> serde_json::Value {
    let mut whole = serde_json::to_value(NamespaceBody::of(namespace)).unwrap_or_default();
    if let Some(fields) = whole.as_object_mut() {
        fields.remove("created_at");
    }
    whole
}

/// What a namespace is to be like, which had these rules before.
fn check(
    body: &Body,
    before: Option<&Settings>,
    now: Timestamp,
) -> Result<(NamespaceName, Settings), Problem> {
    let mut invalid = Vec::new();
    let mut wrong =
        |field: &str, message: String| invalid.push(FieldError { field: field.to_owned(), message });
    let name = match body.name.as_deref().map(|text| (text, NamespaceName::new(text))) {
        Some((_, Ok(name))) => Some(name),
        Some((text, Err(why))) => {
            wrong("name", format!("{} {why}", shown(text)));
            None
        }
        None => {
            wrong("name", "is required".to_owned());
            None
        }
    };
    let title = body.title.clone().unwrap_or_default();
    if title.len() > TITLE_MAX {
        wrong("title", format!("has {} bytes, at most {TITLE_MAX} are allowed", title.len()));
    }
    if title.chars().any(char::is_control) {
        wrong("title", "has a control character".to_owned());
    }
    let auth = body.auth.as_ref().map(|auth| &auth.0);
    let mode = auth.and_then(|auth| auth.mode.as_deref());
    let known = AuthMode::ALL.map(AuthMode::as_str).join(", ");
    let mode = match mode.map(|word| (word, AuthMode::parse(word))) {
        Some((_, Some(mode))) => mode,
        Some((word, None)) => {
            wrong("auth.mode", format!("is {}, must be one of {known}", shown(word)));
            AuthMode::Open
        }
        None => {
            wrong("auth.mode", format!("is required: who may connect, one of {known}"));
            AuthMode::Open
        }
    };
    let mut settings = Settings::new(&title, mode, now);
    match auth.and_then(|auth| auth.hook.as_ref()) {
        Some(hook) => {
            let before = before.and_then(|before| before.connect_hook.as_ref());
            settings.connect_hook = hook.0.check(before, &mut wrong);
        }
        None if mode.asks() => {
            wrong("auth.hook", format!("is required with mode {}: whom to ask", mode.as_str()));
        }
        None => {}
    }
    if let Some(jwt) = auth.and_then(|auth| auth.jwt.as_ref()) {
        settings.jwt = jwt.0.check(before.and_then(|before| before.jwt.as_ref()), &mut wrong);
    }
    if let Some(limits) = &body.limits {
        limits.0.check(&mut settings, &mut wrong);
    }
    if let Some(outbox) = &body.outbox {
        settings.outbox = outbox.0.check(&mut wrong);
    }
    if let Some(mailbox) = &body.mailbox {
        settings.mailbox = mailbox.0.check(&mut wrong);
    }
    if let Some(history) = &body.history {
        settings.history = history.0.check(&mut wrong);
    }
    if let Some(offline) = &body.offline {
        settings.offline = offline.0.check(&mut wrong);
    }
    if let Some(presence) = &body.presence {
        settings.presence = presence.0.read();
    }
    match body.state.as_deref() {
        None | Some(ACTIVE) => {}
        Some(SUSPENDED) => settings.suspended = true,
        Some(word) => wrong("state", format!("is {}, must be {ACTIVE} or {SUSPENDED}", shown(word))),
    }
    if let Some(texts) = &body.origins {
        settings.origins = origins::check(texts, &mut wrong);
    }
    if let Some(all) = &body.hooks {
        settings.hooks = hooks::check(all, before.map_or(&[], |before| &before.hooks), &mut wrong);
    }
    match (name, invalid.is_empty()) {
        (Some(name), true) => Ok((name, settings)),
        _ => Err(Problem::fields(ErrorCode::INVALID_REQUEST, invalid)),
    }
}

/// The namespaces, by name.
#[utoipa::path(get, path = "/v1/namespaces", tag = "namespaces", operation_id = "namespaces",
    params(
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "How many at once; 100 unless said"),
        ("cursor" = Option<String>, Query, description = "Where to go on: `next_cursor` of the page before"),
    ),
    responses((status = 200, description = "A page", body = NamespacesBody)))]
pub(crate) async fn list(
    State(state): State<ApiState>,
    InQuery(asked): InQuery<Asked>,
) -> Result<Response, Problem> {
    let (limit, after) = asked.page(extract::after_name)?;
    let later = |namespace: &Arc<Namespace>| {
        after.as_ref().is_none_or(|after| namespace.name.as_str() > after.as_str())
    };
    let mut items: Vec<_> = state.node.namespaces().into_iter().filter(later).take(limit + 1).collect();
    let more = items.len() > limit;
    items.truncate(limit);
    let last = items.last().filter(|_| more);
    let next_cursor = last.map(|last| extract::name_cursor(last.name.as_str()));
    let items = items.iter().map(|namespace| NamespaceBody::of(namespace)).collect();
    Ok(Json(NamespacesBody { items, next_cursor }).into_response())
}

/// A namespace.
#[utoipa::path(get, path = "/v1/namespaces/{ns}", tag = "namespaces", operation_id = "namespace",
    params(("ns" = openapi::NamespaceParam, Path, description = "The namespace")),
    responses((status = 200, description = "The namespace", body = NamespaceBody)))]
pub(crate) async fn show(
    State(state): State<ApiState>,
    InPath(ns): InPath<String>,
) -> Result<Response, Problem> {
    if let Some(refusal) = only_post(&ns) {
        return Ok(refusal);
    }
    let namespace = namespace(&state.node, &ns)?;
    Ok(Json(NamespaceBody::of(&namespace)).into_response())
}
