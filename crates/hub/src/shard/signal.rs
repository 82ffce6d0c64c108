//! What is worth telling somebody who is here and has room, and nobody else: no message, so nothing is owed, nothing is
//! held back for whoever catches up, and what does not fit is let go.

use std::rc::Rc;

use tidings_model::{NamespaceName, Ordinal, RoomName};

use super::members::State;
use super::{MemberKey, PeerKey, Shard, mark_urgent};
use crate::frame::{Frame, Lane};
use crate::outbox::Bounds;

impl Shard {
    /// The members of a room that are live here, but for those of one device.
    #[must_use]
    pub fn listeners(
        &self,
        namespace: &NamespaceName,
        room: &RoomName,
        but: Ordinal,
    ) -> Vec<(MemberKey, PeerKey)> {
        let place = self.place_of.get(namespace).map(|place| &self.places[*place as usize]);
        let Some(room) = place.and_then(|place| place.rooms.get(room)) else { return Vec::new() };
        let live = |key: &MemberKey| {
            let member = self.members.get(*key)?;
            let hears = member.ordinal != but && matches!(member.state, State::Live);
            hears.then_some((*key, member.peer))
        };
        self.rooms[*room as usize].members.iter().filter_map(live).collect()
    }

    /// Queues a frame that is no message for a member, if half of what may wait for it does not. Answers whether it is
    /// there.
    pub fn offer(&mut self, key: MemberKey, frame: Rc<Frame>) -> bool {
        let Some(member) = self.members.get(key) else { return false };
        let Bounds { frames, bytes } = self.places[member.place as usize].policy.bounds;
        let Some(peer) = self.peers.get_mut(member.peer) else { return false };
        let half = Bounds { frames: frames / 2, bytes: bytes / 2 };
        if peer.slow || peer.push(Lane::Normal, frame, half).is_err() {
            return false;
        }
        mark_urgent(&mut self.urgent, peer, member.peer);
        true
    }
}
