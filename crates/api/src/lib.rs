//! Backends: REST, gRPC, the error table, health, metrics and OpenAPI.
//!
//! What comes in is parsed at the edge, one use case of the node is called, and its answer is written
//! as JSON. This crate knows no client protocol, no store and no rule of delivery; it decides nothing
//! that a push means.
//!
//! Reading order: [`rest`] (the paths), `push` (a body becomes a push), [`problem`] (how an error
//! becomes an answer), `call` (a handler and who may ask it), `request_id` (what surrounds every call), [`openapi`] (what all of it is for others),
//! `grpc` (the same for gRPC), [`compat`] (what backends of the older systems call).

mod auth;
mod call;
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

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use prometheus_client::registry::Registry;
use tidings_model::Timestamp;
pub use tidings_model::duration;
use tidings_node::Node;

pub use extract::BodyDeadline;
pub use health::Readiness;
pub use metrics::Metrics;
pub use problem::Problem;
pub use rest::namespaces::declared;
pub use rest::reload::Reloads;

/// What the API answers from. A call hands it on many times over, so it is in one place for all of them.
#[derive(Clone)]
pub struct ApiState(Arc<ApiParts>);

/// What [`ApiState`] is made of.
#[derive(Clone)]
pub struct ApiParts {
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

impl From<ApiParts> for ApiState {
    fn from(parts: ApiParts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Deref for ApiState {
    type Target = ApiParts;

    fn deref(&self) -> &ApiParts {
        &self.0
    }
}

/// Every path of the API, and an answer for every other path. A router that is merged into this one
/// keeps its own middleware, and brings no fallback.
pub fn router(state: ApiState) -> Router {
    let rest = rest::routes().router.with_state(state.clone());
    let grpc = grpc::routes(&state, rest.clone());
    rest.merge(grpc)
}
