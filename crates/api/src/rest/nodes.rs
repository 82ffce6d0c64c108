//! The nodes that there are, and sending one away. There is one: this.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::ALLOW;
use serde::Serialize;
use tidings_model::ErrorCode;
use tidings_wire::time;
use utoipa::ToSchema;

use super::report::rounded;
use crate::extract::InPath;
use crate::shape::shown;
use crate::{ApiState, Problem};

/// The nodes.
#[derive(Serialize, ToSchema)]
pub(crate) struct NodesListed {
    items: Vec<NodeBody>,
    /// Where the next page begins; null on the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// A node: a server process.
#[derive(Serialize, ToSchema)]
#[schema(as = Node)]
pub(crate) struct NodeBody {
    node: String,
    version: &'static str,
    #[schema(format = DateTime)]
    started_at: String,
    /// `starting`, `ready` or `draining`.
    #[schema(value_type = String)]
    state: &'static str,
    /// How many threads have connections.
    shards: usize,
    /// Connections of clients.
    connections: u64,
    /// Memory that is in use; null where the system does not say.
    #[schema(required)]
    memory_bytes: Option<u64>,
    /// How late the latest shard is for what is due, in milliseconds.
    lag_ms: f64,
}

/// A node that goes.
#[derive(Serialize, ToSchema)]
pub(crate) struct DrainingBody {
    node: String,
    /// Always `draining`.
    #[schema(value_type = String)]
    state: &'static str,
}

/// The nodes that there are: this one.
#[utoipa::path(get, path = "/v1/nodes", tag = "nodes", operation_id = "nodes",
    responses((status = 200, description = "The nodes", body = NodesListed)))]
pub(crate) async fn list(State(state): State<ApiState>) -> Json<NodesListed> {
    let vitals = state.node.vitals();
    let node = NodeBody {
        node: state.node.name().to_owned(),
        version: state.version,
        started_at: time::rfc3339(state.started_at.0),
        state: state.ready.word(),
        shards: vitals.shards,
        connections: vitals.connections,
        memory_bytes: vitals.memory_bytes,
        lag_ms: rounded(vitals.lag_ms, 1_000.0),
    };
    Json(NodesListed { items: vec![node], next_cursor: None })
}

/// What the operator does with a node: `{node}:drain`.
pub(crate) async fn act(
    State(state): State<ApiState>,
    InPath(path): InPath<String>,
) -> Result<Response, Problem> {
    let Some(name) = path.strip_suffix(":drain") else {
        let why = "this path has POST with :drain behind the name only";
        let refusal = Problem::new(ErrorCode::METHOD_NOT_ALLOWED, why);
        return Ok(([(ALLOW, "POST")], refusal).into_response());
    };
    if name != state.node.name() {
        return Err(Problem::new(ErrorCode::NOT_FOUND, format!("there is no node {}", shown(name))));
    }
    tracing::warn!(node = name, "an operator has this node go");
    state.ready.drain();
    let body = DrainingBody { node: name.to_owned(), state: state.ready.word() };
    Ok((StatusCode::ACCEPTED, Json(body)).into_response())
}

/// Has a node go, as SIGTERM does.
#[utoipa::path(post, path = "/v1/nodes/{node}:drain", tag = "nodes", operation_id = "drainNode",
    description = "Clients are sent away over a while, everything is written down, and the process ends with 0. Again does nothing.",
    params(("node" = String, Path, description = "The node")),
    responses((status = 202, description = "It goes", body = DrainingBody)))]
#[expect(dead_code, reason = "for the document")]
pub(crate) async fn drain() {}
