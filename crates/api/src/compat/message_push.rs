//! message-push: `POST /message-push/v1/push`, Basic auth with a key of the namespace.

use axum::Router;
use tidings_model::NamespaceName;

use crate::ApiState;

/// What is set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespace that it pushes to.
    pub namespace: NamespaceName,
    /// Whether the secret that anybody can compute from a name opens it.
    pub derived_secrets: bool,
}

/// Its paths.
pub fn router(state: ApiState, settings: Settings) -> Router {
    let _ = settings;
    Router::new().with_state(state)
}
