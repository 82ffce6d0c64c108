//! The monitor of the push server of Go and Redis: how many are on each channel, whenever that changes.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use tidings_model::NamespaceName;
use tidings_node::Node;
use tokio::time::{MissedTickBehavior, interval};

use crate::connection::Connection;
use crate::dialect::Dialect;
use crate::dialect::compat::State as Compat;
use crate::local::Local;

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// For how long what was seen is shown to others who look: however many do, it is counted once.
const SEEN_FOR: Duration = Duration::from_millis(500);

/// What everybody sees who looks.
pub(crate) struct Board {
    namespace: NamespaceName,
    seen: Mutex<Option<(Instant, Arc<str>)>>,
}

/// `{"channels":{"news":2},"lconn":3}`
#[derive(Serialize)]
struct Counts<'a> {
    channels: BTreeMap<&'a str, u64>,
    lconn: usize,
}

impl Board {
    pub(crate) fn new(namespace: NamespaceName) -> Self {
        Self { namespace, seen: Mutex::default() }
    }

    /// What is to be seen now, or was a moment ago: a line.
    fn look(&self, node: &Node) -> Arc<str> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, text)) = seen.as_ref().filter(|(at, _)| at.elapsed() < SEEN_FOR) {
            return Arc::clone(text);
        }
        let found = node.namespace(self.namespace.as_str());
        let (channels, lconn) = found.map(|namespace| namespace.count_channels()).unwrap_or_default();
        let channels = channels.iter().map(|(name, count)| (name.as_str(), *count)).collect();
        let text = serde_json::to_string(&Counts { channels, lconn }).unwrap_or_default();
        let text: Arc<str> = format!("{text}\n").into();
        *seen = Some((Instant::now(), Arc::clone(&text)));
        text
    }
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Board").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

/// The connection has come: it is told until it goes. Who does not read is told less often.
pub(super) fn welcome(local: &Rc<Local>, connection: &Rc<Connection>) {
    let board = match &*connection.dialect.borrow() {
        Dialect::Compat(state) => match &**state {
            Compat::Monitor(board) => Arc::clone(board),
            Compat::Gopusher(_) | Compat::GoRedis(_) | Compat::MessagePush(_) => return,
        },
        Dialect::Json(_) | Dialect::EngineIo(_) | Dialect::Sse | Dialect::Echo => return,
    };
    let (local, connection) = (Rc::clone(local), Rc::downgrade(connection));
    tokio::task::spawn_local(async move {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told: Arc<str> = Arc::default();
        loop {
            looks.tick().await;
            let Some(connection) = connection.upgrade().filter(|connection| connection.is_open()) else {
                return;
            };
            let seen = board.look(&local.node);
            if seen != told && !connection.blocked.get() {
                local.send(&connection, &seen);
                local.settle();
                told = seen;
            }
        }
    });
}
