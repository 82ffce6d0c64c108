//! What a shard's thread does about what its hub tells, before the ledger hears of it; and the time, which the hub has to be
//! told while there are faults on purpose.

use tidings_hub::Event;
use tidings_hub::shard::Ordinals;
use tidings_model::{Disconnect, Timestamp};

use crate::local::Local;

impl Local {
    /// Does what an event asks for.
    pub(crate) fn react(&self, event: &mut Event) {
        match event {
            Event::Slow(key) => {
                if let Some(connection) = self.get(*key) {
                    self.close(&connection, Disconnect::SLOW);
                }
            }
            Event::EndOnPurpose(key) => {
                if let Some(connection) = self.get(*key) {
                    // What is to be the last thing it gets may still wait for its round.
                    self.flush_one(&connection);
                    self.close(&connection, Disconnect::RECONNECT);
                }
            }
            Event::Dropped { namespace, seq, by, .. } => {
                let all = std::mem::replace(by, Ordinals::None);
                *by = self.node.without_others(namespace, all);
                self.hub.borrow_mut().settle_dropped(namespace, *seq, by);
            }
            Event::Written { .. } | Event::Unwritten { .. } | Event::Befallen { .. } => {}
        }
    }

    /// Tells the hub what time it is, if that matters to it.
    pub(crate) fn pass_time(&self) {
        let mut hub = self.hub.borrow_mut();
        if hub.has_faults() {
            hub.pass_time(self.node.now());
        }
    }

    /// In how many milliseconds something that is held back on purpose is to leave.
    pub(crate) fn next_release_ms(&self) -> Option<u64> {
        let at: Timestamp = self.hub.borrow().next_release()?;
        u64::try_from(at.since(self.node.now()).as_millis()).ok()
    }
}
