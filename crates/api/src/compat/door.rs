//! Who may call an older system that never asked who calls: whoever has a key of its namespace, or anybody, where that is set.

use axum::extract::Request;
use http::HeaderValue;
use http::header::AUTHORIZATION;
use tidings_model::{ClientAddress, ErrorCode, NamespaceName};
use tidings_node::keys::{Holder, Scope};

use crate::auth::{self, Need};
use crate::{ApiState, Problem};

/// Who calls, as far as a request says.
pub(super) struct Caller {
    authorization: Option<HeaderValue>,
    from: ClientAddress,
}

impl Caller {
    pub(super) fn of(request: &Request) -> Self {
        Self {
            authorization: request.headers().get(AUTHORIZATION).cloned(),
            from: request.extensions().get::<ClientAddress>().copied().unwrap_or(ClientAddress::LOCAL),
        }
    }
}

/// What is between a caller and a system.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) state: ApiState,
    pub(super) namespace: NamespaceName,
    /// Whether anybody may come.
    pub(super) open: bool,
}

impl Door {
    /// Lets a call in that needs this. Answers with which key it came, where one was needed.
    ///
    /// # Errors
    /// When it has no key, or one that does not open this.
    pub(super) async fn enter(&self, caller: &Caller, scope: Scope) -> Result<Option<Holder>, Problem> {
        if self.open {
            return Ok(None);
        }
        let holder = auth::access(&self.state.node, caller.authorization.as_ref(), caller.from).await?;
        match auth::refusal(&holder.access, Need::Scope(scope), Some(self.namespace.as_str())) {
            None => Ok(Some(holder)),
            Some(why) => Err(Problem::new(ErrorCode::FORBIDDEN, why)),
        }
    }
}
