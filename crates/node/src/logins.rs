//! Who wants to know at once when somebody logs in, and says into which rooms that takes them: an older system's backend, which
//! hears it on a Redis of its own. The node knows neither; whoever runs it says how.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tidings_model::RoomName;

use crate::Node;

/// What is told of logins.
pub trait Logins: Send + Sync {
    /// The rooms that the backend has for a user who logs in; `None` when it cannot be asked now, which is no reason to keep
    /// anybody out.
    fn rooms(&self, uid: &str) -> BoxFuture<'_, Option<Vec<RoomName>>>;

    /// A user has logged in, and gets what is sent from now on.
    fn logged_in(&self, uid: &str) -> BoxFuture<'_, ()>;
}

impl Node {
    /// From now on this is told of logins. The first one stays.
    pub fn set_logins(&self, logins: Arc<dyn Logins>) {
        let _ = self.logins.set(logins);
    }

    /// What is told of logins, if anything is.
    #[must_use]
    pub fn logins(&self) -> Option<Arc<dyn Logins>> {
        self.logins.get().cloned()
    }
}
