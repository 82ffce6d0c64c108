//! Forget a device: whatever the store knows of it by itself. What was meant for it stays meant for its ordinal, which
//! nobody gets again.

use tidings_model::{NamespaceName, Ordinal};

use super::Verb;
use crate::StoreError;
use crate::embedded::read::Source;
use crate::embedded::transaction::Transaction;
use crate::kv::{Keyspace, device, device_id, room_member, user_device};
use crate::port::Device;

/// Forgets devices.
pub(crate) struct Forget {
    pub(crate) namespace: NamespaceName,
    pub(crate) devices: Vec<Ordinal>,
}

impl Verb for Forget {
    type Outcome = Vec<Device>;

    fn bytes(&self) -> usize {
        self.devices.len() * 512
    }

    fn apply(&mut self, transaction: &mut Transaction<'_>) -> Result<Vec<Device>, StoreError> {
        let mut forgotten = Vec::with_capacity(self.devices.len());
        for ordinal in &self.devices {
            let source = Source {
                get: |keyspace, key: &[u8]| transaction.get(keyspace, key),
                scan: |keyspace, prefix: &[u8]| transaction.scan(keyspace, prefix),
            };
            let Some(device) = source.device(&self.namespace, *ordinal)? else { continue };
            transaction.remove(Keyspace::DeviceId, device_id::key(&self.namespace, &device.id));
            take_apart(transaction, &self.namespace, &device);
            forgotten.push(device);
        }
        if !forgotten.is_empty() {
            transaction.ask_sync();
        }
        Ok(forgotten)
    }
}

/// Removes everything of a device but its id.
pub(super) fn take_apart(transaction: &mut Transaction<'_>, namespace: &NamespaceName, device: &Device) {
    let key = device::key(namespace, device.ordinal);
    transaction.remove(Keyspace::Device, key.clone());
    transaction.remove(Keyspace::DeviceCursor, key);
    if let Some(user) = &device.user {
        transaction.remove(Keyspace::UserDevice, user_device::key(namespace, user, device.ordinal));
    }
    for room in &device.rooms {
        transaction.remove(Keyspace::RoomMember, room_member::key(namespace, device.ordinal, room));
    }
}
