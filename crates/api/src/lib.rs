//! Backends: REST, gRPC, the error table, health, metrics and OpenAPI.
//!
//! What comes in is parsed at the edge, one use case of the node is called, and its answer is written
//! as JSON. This crate knows no client protocol, no store and no rule of delivery; it decides nothing
//! that a push means.
//!
//! Reading order: [`rest`] (the paths), `push` (a body becomes a push), [`problem`] (how an error
//! becomes an answer), `request_id` (what surrounds every call), [`openapi`] (what all of it is for others),
//! `grpc` (the same for gRPC), [`compat`] (what backends of the older systems call).

mod auth;
pub mod compat;
pub mod demo;
mod extract;
mod grpc;
pub mod health;
pub mod metrics;
pub mod openapi;
mod page;
pub mod problem;
mod push;
pub mod request_id;
pub mod rest;
mod shape;
pub mod size;
#[cfg(test)]
mod tests;
mod wrong;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use prometheus_client::registry::Registry;
use tidings_model::Timestamp;
pub use tidings_model::duration;
use tidings_node::Node;
use tower_http::catch_panic::CatchPanicLayer;

pub use health::Readiness;
pub use metrics::Metrics;
pub use problem::Problem;
pub use rest::namespaces::declared;
pub use rest::reload::Reloads;

/// What the API answers from.
#[derive(Clone)]
pub struct ApiState {
    /// The use cases.
    pub node: Arc<Node>,
    /// Every number of this process, for `/metrics`.
    pub registry: Arc<Registry>,
    /// The numbers of the API itself; they are in `registry` too.
    pub metrics: Arc<Metrics>,
    /// Whether this process may take traffic.
    pub ready: Readiness,
    /// The way to whoever reads the configuration again.
    pub reloads: Reloads,
    /// The version of this program.
    pub version: &'static str,
    /// The commit it was built from, if the build knew.
    pub commit: Option<&'static str>,
    /// When this process started.
    pub started_at: Timestamp,
    /// How long a call may take, the arrival of its body included.
    pub request_timeout: Duration,
}

/// Every path of the API, and an answer for every other path. A router that is merged into this one
/// keeps its own middleware, and brings no fallback.
pub fn router(state: ApiState) -> Router {
    let rest = rest::routes(&state)
        .router
        .method_not_allowed_fallback(problem::method_not_allowed)
        .fallback(problem::no_such_path)
        .with_state(state.clone());
    let grpc = grpc::routes(&state, rest.clone());
    rest.layer(CatchPanicLayer::custom(problem::panicked))
        .layer(axum::middleware::from_fn_with_state(state, request_id::around))
        .merge(grpc)
}
