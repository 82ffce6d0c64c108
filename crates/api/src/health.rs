//! Whether this process lives, whether it may take traffic, and what it is.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::RETRY_AFTER;
use serde::Serialize;
use tidings_wire::time;
use tokio::sync::watch;
use utoipa::ToSchema;

use crate::ApiState;

/// Where a process is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Starting,
    Ready,
    Draining,
}

/// Whether this process may take traffic. Clones share the answer.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<watch::Sender<Phase>>);

impl Readiness {
    /// It may, from now on.
    pub fn ready(&self) {
        // A drain that began earlier stays one.
        self.0.send_if_modified(|phase| {
            let starting = *phase == Phase::Starting;
            if starting {
                *phase = Phase::Ready;
            }
            starting
        });
    }

    /// It may not any more: it is about to stop.
    pub fn drain(&self) {
        self.0.send_replace(Phase::Draining);
    }

    /// Whether it may now.
    pub(crate) fn is_ready(&self) -> bool {
        *self.0.borrow() == Phase::Ready
    }

    /// Returns when it is about to stop.
    pub async fn draining(&self) {
        // The sender is here, so that there is always an answer.
        let _ = self.0.subscribe().wait_for(|phase| *phase == Phase::Draining).await;
    }

    /// Returns when the answer is not `ready` any more.
    pub(crate) async fn changed_from(&self, ready: bool) {
        let changed = |phase: &Phase| (*phase == Phase::Ready) != ready;
        let _ = self.0.subscribe().wait_for(changed).await;
    }

    /// Where the process is in its life, in a word.
    pub(crate) fn word(&self) -> &'static str {
        match *self.0.borrow() {
            Phase::Starting => "starting",
            Phase::Ready => "ready",
            Phase::Draining => "draining",
        }
    }

    fn missing(&self) -> Vec<&'static str> {
        match *self.0.borrow() {
            Phase::Ready => Vec::new(),
            Phase::Draining => vec!["server: it is draining and will stop"],
            Phase::Starting => vec!["server: it is starting"],
        }
    }
}

/// The answer of `/healthz`.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    /// Always `ok`: a process that does not live does not answer.
    #[schema(example = "ok")]
    status: &'static str,
}

/// The answer of `/readyz`.
#[derive(Serialize, ToSchema)]
pub(crate) struct Ready {
    /// Whether this process may take traffic.
    ready: bool,
    /// What is missing, if anything is.
    #[schema(value_type = Vec<String>)]
    missing: Vec<&'static str>,
}

/// The answer of `/version`.
#[derive(Serialize, ToSchema)]
pub(crate) struct Version {
    /// The version of this program.
    version: &'static str,
    /// The commit that it was built from; null when the build did not know.
    #[schema(required)]
    commit: Option<&'static str>,
    /// How this node is called.
    node: String,
    /// When this process started.
    #[schema(format = DateTime)]
    started_at: String,
}

/// Whether the process lives.
#[utoipa::path(get, path = "/healthz", tag = "process", operation_id = "healthz",
    responses((status = 200, description = "It lives", body = Health)))]
pub(crate) async fn healthz() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Whether the process may take traffic, and what is missing if it may not.
#[utoipa::path(get, path = "/readyz", tag = "process", operation_id = "readyz",
    responses(
        (status = 200, description = "It may take traffic", body = Ready),
        (status = 503, description = "It may not; the answer says what is missing", body = Ready),
    ))]
pub(crate) async fn readyz(State(state): State<ApiState>) -> Response {
    let missing = state.ready.missing();
    let ready = missing.is_empty();
    let body = Json(Ready { ready, missing });
    if ready {
        body.into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")], body).into_response()
    }
}

/// What runs here.
#[utoipa::path(get, path = "/version", tag = "process", operation_id = "version",
    responses((status = 200, description = "What runs here", body = Version)))]
pub(crate) async fn version(State(state): State<ApiState>) -> Json<Version> {
    Json(Version {
        version: state.version,
        commit: state.commit,
        node: state.node.name().to_owned(),
        started_at: time::rfc3339(state.started_at.0),
    })
}
