//! What a shard says of its connections when it is asked, and how a single one is ended.

use std::time::Duration;

use tidings_hub::PeerKey;
use tidings_model::{Disconnect, NamespaceName, Ordinal, Timestamp};
use tidings_node::connections::Live;

use crate::connection::{Connection, Transport};
use crate::local::Local;
use crate::session;

impl Local {
    /// The connections of these devices.
    pub(crate) fn live(&self, namespace: &NamespaceName, devices: &[u32]) -> Vec<Live> {
        let mut live = Vec::new();
        for device in devices {
            let members = self.hub.borrow().members_of_device(namespace, Ordinal(*device));
            for member in members {
                let peer = self.hub.borrow().peer_of(member);
                let Some(connection) = peer.and_then(|peer| self.get(peer)) else { continue };
                let sessions = connection.sessions.borrow();
                let Some(session) = sessions.iter().find(|session| session.member == member) else {
                    continue;
                };
                live.push(self.describe(&connection, session.ordinal, session.connection));
            }
        }
        live
    }

    fn describe(&self, connection: &Connection, device: Ordinal, number: u64) -> Live {
        let transport = match &*connection.transport.borrow() {
            Transport::Socket(_) => "websocket",
            Transport::Poll(_) => "polling",
            Transport::Stream(_) | Transport::Gone => "stream",
        };
        let waits = self.hub.borrow_mut().outbox(connection.key).map(|outbox| (outbox.len(), outbox.bytes()));
        let (frames, bytes) = waits.unwrap_or_default();
        let here_for = Duration::from_millis(self.now_ms().saturating_sub(connection.opened_at));
        let here_for = u64::try_from(here_for.as_millis()).unwrap_or_default();
        Live {
            device,
            connection: number,
            protocol: connection.dialect.borrow().name(),
            transport,
            address: connection.address(),
            since: Timestamp(self.node.now().0.saturating_sub(here_for)),
            frames,
            bytes,
        }
    }

    /// Ends the connection with this number, which is one of these.
    pub(crate) fn end(&self, namespace: &NamespaceName, peers: Vec<PeerKey>, number: u64, why: Disconnect) {
        for connection in peers.into_iter().filter_map(|peer| self.get(peer)) {
            let is_it = connection.sessions.borrow().iter().any(|session| session.connection == number);
            if is_it {
                session::send_away(self, &connection, namespace, why);
            }
        }
    }
}
