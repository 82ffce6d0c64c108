//! Change the rooms of a device.

use std::collections::BTreeSet;

use tidings_model::{NamespaceName, Ordinal, RoomName};

use super::Verb;
use crate::StoreError;
use crate::embedded::transaction::Transaction;
use crate::kv::{Keyspace, device, room_member};

/// Puts a device into rooms and takes it out of others.
pub(crate) struct ChangeRooms {
    pub(crate) namespace: NamespaceName,
    pub(crate) device: Ordinal,
    pub(crate) join: Vec<RoomName>,
    pub(crate) leave: Vec<RoomName>,
}

impl Verb for ChangeRooms {
    type Outcome = Option<Vec<RoomName>>;

    fn bytes(&self) -> usize {
        (self.join.len() + self.leave.len()) * 320
    }

    fn apply(&mut self, transaction: &mut Transaction<'_>) -> Result<Option<Vec<RoomName>>, StoreError> {
        let (namespace, device) = (&self.namespace, self.device);
        if transaction.get(Keyspace::Device, &device::key(namespace, device))?.is_none() {
            return Ok(None);
        }
        let mut rooms = BTreeSet::new();
        for (key, value) in transaction.scan(Keyspace::RoomMember, &room_member::prefix(namespace, device))? {
            let (_, _, room) = room_member::decode(&key, &value)
                .map_err(|broken| Keyspace::RoomMember.damaged(&key, broken))?;
            rooms.insert(room);
        }
        for room in &self.join {
            if rooms.insert(room.clone()) {
                let key = room_member::key(namespace, device, room);
                let value = room_member::value(&key);
                transaction.put(Keyspace::RoomMember, key, value);
                transaction.ask_sync();
            }
        }
        for room in &self.leave {
            if rooms.remove(room) {
                transaction.remove(Keyspace::RoomMember, room_member::key(namespace, device, room));
                transaction.ask_sync();
            }
        }
        Ok(Some(rooms.into_iter().collect()))
    }
}
