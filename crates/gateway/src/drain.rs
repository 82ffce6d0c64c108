//! Sending clients away: a few at a time and in no order, each once what waits for it is written.
//!
//! A shard's share of the connections leaves in batches over a window, so that those that come back, here
//! or elsewhere, come spread over it as well. Who does not read holds up nobody: past a point in time
//! everybody hears the goodbye, whatever still waits for them; their mailboxes have it.

use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::time::Duration;

use tidings_model::{Disconnect, NamespaceName, Network};
use tidings_node::revoke::Revoked;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::connection::{Connection, LINGER};
use crate::local::Local;
use crate::session;

/// Time between two batches, on average.
const TICK: Duration = Duration::from_millis(20);

/// Fewest connections in a batch: with few of them there is no storm to avoid.
const BATCH_MIN: usize = 4;

/// How many clients a node is expected to take back in a second: what they are advised to wait follows.
const RETURNS_PER_SECOND: usize = 2_500;

/// When to be done with what.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Over which time connections are closed.
    pub window: Duration,
    /// When it is over, whoever is left.
    pub timeout: Duration,
}

impl Plan {
    /// From when on nobody's outbox is waited for. What remains is for goodbyes.
    fn patience(&self) -> Duration {
        self.timeout.saturating_sub(LINGER).max(self.window)
    }
}

/// Of which connections.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Whose<'a> {
    /// Of all.
    All,
    /// Of those that are here by a token that was revoked.
    Revoked(&'a Revoked),
    /// Of those that come from these addresses.
    From(Network),
}

/// Sends everybody away, and answers when the last one has gone.
///
/// `of` is how many connections the node had.
pub(crate) async fn run(local: Rc<Local>, plan: Plan, of: usize, reply: oneshot::Sender<()>) {
    let started = Instant::now();
    let mut order = in_no_order(local.all());
    let returns_ms = u32::try_from(of * 1_000 / RETURNS_PER_SECOND).unwrap_or(u32::MAX);
    local.advise_ms.set(local.advise_ms.get().max(returns_ms));
    let ticks = (plan.window.as_millis() / TICK.as_millis()).max(1) as usize;
    let batch = order.len().div_ceil(ticks).max(BATCH_MIN);
    // Those that do not take what waits for them.
    let mut behind: Vec<Rc<Connection>> = Vec::new();
    while local.count() > 0 {
        let patient = started.elapsed() < plan.patience();
        if order.is_empty() || !patient {
            // Also whoever was on the way in when it began.
            behind = local.all();
            behind.retain(|connection| connection.is_open());
        }
        let next = if patient { order.len().saturating_sub(batch) } else { 0 };
        behind.extend(order.drain(next..));
        behind.retain(|connection| !send_away(&local, connection, patient));
        local.settle();
        tokio::time::sleep(jittered(TICK)).await;
    }
    let _ = reply.send(());
}

/// Sends everybody away who is in a namespace now, a few at a time; when it is suspended, for as long as it is;
/// when it goes, everybody. Or only some of them.
pub(crate) fn disperse(local: Rc<Local>, namespace: NamespaceName, why: Disconnect, whose: Whose<'_>) {
    let mut order = in_no_order(local.all());
    let everybody = matches!(whose, Whose::All);
    order.retain(|connection| match whose {
        Whose::All => true,
        Whose::Revoked(revoked) => connection.sessions.borrow().iter().any(|session| {
            session.namespace.name == namespace
                && session.permit.as_deref().is_some_and(|permit| revoked.takes(permit))
        }),
        Whose::From(network) => network.contains(connection.address()),
    });
    let per_tick = (RETURNS_PER_SECOND as u128 * TICK.as_millis() / 1_000) as usize;
    tokio::task::spawn_local(async move {
        while !order.is_empty() {
            let found = local.node.namespace(namespace.as_str());
            let lets_in = found.is_some_and(|found| !found.settings().suspended);
            if everybody && why == Disconnect::OPERATOR && lets_in {
                return;
            }
            for connection in order.drain(order.len().saturating_sub(per_tick)..) {
                session::send_away(&local, &connection, &namespace, why);
            }
            local.settle();
            tokio::time::sleep(jittered(TICK)).await;
        }
    });
}

/// Answers whether it has heard the goodbye.
fn send_away(local: &Local, connection: &Rc<Connection>, patient: bool) -> bool {
    if patient && connection.is_open() {
        local.flush_one(connection);
        // An answer that is owed comes before the goodbye, too.
        if connection.is_open() && (connection.busy.get() || local.has_output(connection)) {
            return false;
        }
    }
    local.close(connection, Disconnect::SHUTDOWN);
    true
}

fn in_no_order(mut connections: Vec<Rc<Connection>>) -> Vec<Rc<Connection>> {
    let random = RandomState::new();
    connections.sort_by_cached_key(|connection| random.hash_one(connection.key));
    connections
}

/// Between half and one and a half of it.
fn jittered(time: Duration) -> Duration {
    let random = u32::from(u16::from_le_bytes(tidings_node::ids::random()));
    time / 2 + time * random / u32::from(u16::MAX)
}
