//! Who may call an older system that never asked who calls: whoever has a key of its namespace, or anybody, where that is set.

use tidings_model::NamespaceName;
use tidings_node::keys::{Holder, Scope};

pub(super) use super::around::Caller;
use crate::{ApiState, Problem};

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
        caller.needs(&self.state, &self.namespace, scope).await.map(Some)
    }
}
