//! Permits end, and with them the connections of whoever brings no newer one.

use tidings_hub::{MemberKey, PeerKey, Wheel};
use tidings_model::Disconnect;
use tidings_node::permit::Permit;

use crate::local::Local;
use crate::session;

/// How exactly permits end, in milliseconds.
const TICK_MS: u64 = 256;

/// Permits are looked at this often, in milliseconds: what is left of a connection that is gone is gone soon after, however
/// long its permit would have held.
const LOOK_MS: u64 = 60_000;

/// When to look at which session.
pub(crate) type Ends = Wheel<(PeerKey, MemberKey)>;

/// When to look at the permits of a shard.
pub(crate) fn ends() -> Ends {
    Wheel::new(TICK_MS, (LOOK_MS / TICK_MS) as usize + 2, 0)
}

impl Local {
    /// The connection of a session ends when this permit does, unless there is a newer one by then.
    pub(crate) fn ends_with(&self, connection: PeerKey, session: MemberKey, permit: Option<&Permit>) {
        if let Some(permit) = permit {
            let left = permit.expires_at.since(self.node.now());
            let left = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).min(LOOK_MS);
            self.ends.borrow_mut().schedule(self.now_ms() + left, (connection, session));
            self.wake.notify_one();
        }
    }

    /// Ends the connections whose permit is over.
    pub(crate) fn end_the_expired(&self) {
        let mut due = Vec::new();
        self.ends.borrow_mut().advance(self.now_ms(), |who| due.push(who));
        let now = self.node.now();
        for (key, member) in due {
            let Some(connection) = self.get(key).filter(|connection| connection.is_open()) else { continue };
            let permit = {
                let sessions = connection.sessions.borrow();
                let session = sessions.iter().find(|session| session.member == member);
                session.and_then(|session| Some((session.namespace.name.clone(), session.permit.clone()?)))
            };
            match permit {
                Some((namespace, permit)) if permit.is_over(now) => {
                    session::send_away(self, &connection, &namespace, Disconnect::EXPIRED);
                }
                Some((_, permit)) => self.ends_with(key, member, Some(&permit)),
                None => {}
            }
        }
    }
}
