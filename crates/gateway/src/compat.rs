//! The client side of the five older systems: what is set for each, and the paths that its clients know. Each router may be
//! served beside everything else or on a listener of its own.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tidings_model::NamespaceName;
use tidings_node::passport::Passport;

use crate::Gateway;
use crate::http::compat;

/// light-push: Socket.IO namespaces are namespaces.
#[derive(Clone, Debug)]
pub struct LightPush {
    /// Where its Socket.IO is; ends with `/socket.io/`.
    pub socket_path: String,
}

/// push (koa).
#[derive(Clone, Debug)]
pub struct PushKoa {
    /// The namespace that its clients are in; on their Socket.IO it is called the same.
    pub namespace: NamespaceName,
}

/// gopusher.
#[derive(Clone, Debug)]
pub struct Gopusher {
    /// The namespace that its clients are in.
    pub namespace: NamespaceName,
}

/// The push server of Go and Redis.
#[derive(Clone, Debug)]
pub struct GoRedis {
    /// The namespace that its clients are in.
    pub namespace: NamespaceName,
    /// Whether anybody may see how many are on its channels.
    pub open: bool,
}

/// message-push.
#[derive(Clone, Debug)]
pub struct MessagePush {
    /// The namespace that its clients are in.
    pub namespace: NamespaceName,
    /// How long a client may take until its `LOGIN`.
    pub login_timeout: Duration,
    /// Who is asked whose a token is; the namespace's rules hold where that is `None`.
    pub passport: Option<Arc<Passport>>,
    /// Whether it has a listener of its own, where its path is also there without a prefix.
    pub alone: bool,
}

impl Gateway {
    /// The paths of light-push's clients.
    pub fn light_push(&self, settings: LightPush) -> Router {
        compat::light_push(Arc::clone(&self.front), &settings)
    }

    /// The paths of push's clients.
    pub fn push_koa(&self, settings: PushKoa) -> Router {
        compat::push_koa(Arc::clone(&self.front), &settings)
    }

    /// The paths of gopusher's clients.
    pub fn gopusher(&self, settings: Gopusher) -> Router {
        compat::gopusher(Arc::clone(&self.front), settings)
    }

    /// The paths of the clients of the push server of Go and Redis.
    pub fn go_redis(&self, settings: GoRedis) -> Router {
        compat::go_redis(Arc::clone(&self.front), settings)
    }

    /// The paths of message-push's clients.
    pub fn message_push(&self, settings: MessagePush) -> Router {
        compat::message_push(Arc::clone(&self.front), settings)
    }
}
