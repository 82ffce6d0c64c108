//! A message is withdrawn: from outboxes, from what is held back, from fan-outs that are not finished.
//!
//! It knows nothing of who has the message already; the ledger does.

use tidings_model::{NamespaceName, Seq};

use super::members::State;
use super::{Shard, Unwritten};

/// How many recalled messages are remembered, so that none of them comes from a mailbox after its recall.
const RECALLED_MAX: usize = 1_024;

impl Shard {
    /// Withdraws a message from everybody to whom it has not begun to leave. What it was put into and did not leave
    /// is reported as unwritten.
    pub fn recall(&mut self, namespace: &NamespaceName, seq: Seq) {
        let Some(&place) = self.place_of.get(namespace) else { return };
        let recalled = &mut self.places[place as usize].recalled;
        if recalled.len() == RECALLED_MAX {
            recalled.pop_front();
        }
        recalled.push_back(seq);
        if let Some(at) = self.jobs.iter().position(|job| job.is_of(place, seq)) {
            if at < self.round.together {
                self.round.together -= 1;
            }
            self.jobs.remove(at).into_iter().for_each(|job| self.finish(job));
        }
        self.forget_held_back(place, seq, None);
        for key in self.places[place as usize].all.clone() {
            let Some(member) = self.members.get_mut(key) else { continue };
            if let State::CatchingUp(held) = &mut member.state {
                held.withdraw(seq);
            }
            member.acknowledged(seq);
            let peer = member.peer;
            let was_there = self.peers.get_mut(peer).is_some_and(|peer| peer.outbox.withdraw(place, seq));
            if was_there {
                self.report_unwritten(&[key], vec![(place, seq)], Unwritten::Recalled);
            }
        }
    }
}
