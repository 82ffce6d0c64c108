//! What surrounds the calls of an older system, whatever they are: as every call, and who makes it.

use axum::Router;
use axum::extract::Request;
use axum::routing::MethodRouter;
use http::HeaderValue;
use http::header::AUTHORIZATION;
use tidings_model::{ClientAddress, NamespaceName};
use tidings_node::keys::{Holder, Scope};

use crate::auth::{self, Need};
use crate::{ApiState, Problem, request_id};

/// Who calls, as far as it says.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) authorization: Option<HeaderValue>,
    pub(crate) from: ClientAddress,
}

impl Caller {
    pub(crate) fn of(request: &Request) -> Self {
        Self {
            authorization: request.headers().get(AUTHORIZATION).cloned(),
            from: request.extensions().get::<ClientAddress>().copied().unwrap_or(ClientAddress::LOCAL),
        }
    }

    /// Lets it through when its key opens this.
    pub(crate) async fn needs(
        &self,
        state: &ApiState,
        namespace: &NamespaceName,
        scope: Scope,
    ) -> Result<Holder, Problem> {
        let (key, need) = (self.authorization.as_ref(), Need::Scope(scope));
        auth::holder(&state.node, key, self.from, need, namespace.as_str()).await
    }
}

/// A path, and the same with a slash behind it, which the routers of older systems took for the same.
pub(crate) fn route<S: Clone + Send + Sync + 'static>(
    router: Router<S>,
    path: &str,
    answer: MethodRouter<S>,
) -> Router<S> {
    router.route(path, answer.clone()).route(&format!("{path}/"), answer)
}

/// Gives calls an id, a time limit, a line in the log, and the headers that browsers want; answers `OPTIONS`.
pub(crate) fn around(router: Router, state: &ApiState) -> Router {
    request_id::surround(router, state)
}
