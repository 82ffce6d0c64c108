//! The configuration, read again. What that means is whoever configured this process to know; the call only asks.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tidings_model::ErrorCode;
use tokio::sync::{mpsc, oneshot};
use utoipa::ToSchema;

use crate::{ApiState, Problem};

/// Most calls that wait for an answer; the next ones wait to be heard.
const WAITING_MAX: usize = 8;

/// What has come of reading the configuration again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Reloaded {
    /// What has changed, by key: settings, namespaces that are declared, and the certificate where there is one.
    #[schema(example = json!(["namespaces.demo", "server.tls"]))]
    pub applied: Vec<String>,
    /// What is otherwise in the configuration and holds after the next start.
    #[schema(example = json!(["server.listen"]))]
    pub needs_restart: Vec<String>,
}

/// Where the answer to a call goes: what has changed, or why nothing has.
pub type Reply = oneshot::Sender<Result<Reloaded, Problem>>;

/// The way to whoever reads the configuration again.
#[derive(Clone, Debug)]
pub struct Reloads(mpsc::Sender<Reply>);

impl Reloads {
    /// The way, and its other end.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Reply>) {
        let (asked, heard) = mpsc::channel(WAITING_MAX);
        (Self(asked), heard)
    }
}

/// Reads the configuration again.
#[utoipa::path(post, path = "/v1/reload", tag = "process", operation_id = "reload",
    description = "As SIGHUP does. What can change while the server runs does: the namespaces that the file declares, the certificate, and the \
        settings that docs/configuration.md marks so. Everything is checked first: with an error in the configuration nothing changes, and the answer names \
        each key.",
    responses((status = 200, description = "What has changed, and what has not", body = Reloaded)))]
pub(crate) async fn reload(State(state): State<ApiState>) -> Result<Response, Problem> {
    let stopping = || Problem::new(ErrorCode::DEPENDENCY_UNAVAILABLE, "the server is stopping");
    let (reply, answer) = oneshot::channel();
    state.reloads.0.send(reply).await.map_err(|_| stopping())?;
    let reloaded = answer.await.map_err(|_| stopping())??;
    Ok(Json(reloaded).into_response())
}
