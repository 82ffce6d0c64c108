//! The push server of Go and Redis: `/set`, which lists, adds and removes channels.

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
}

/// Its paths.
pub fn router(state: ApiState, settings: Settings) -> Router {
    let _ = settings;
    Router::new().with_state(state)
}
