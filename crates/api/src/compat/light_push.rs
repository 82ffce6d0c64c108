//! light-push: twenty calls below `/api`, Basic auth with a key of the namespace or the admin key.

use axum::Router;

use crate::ApiState;

/// What is set.
#[derive(Clone, Debug)]
pub struct Settings {}

/// Its paths.
pub fn router(state: ApiState, settings: Settings) -> Router {
    let _ = settings;
    Router::new().with_state(state)
}
