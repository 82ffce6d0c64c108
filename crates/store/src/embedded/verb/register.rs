//! Register a device: recognise it, or make it known. Describe one: the same, with what is to be kept of it.

use std::sync::Arc;

use tidings_model::{NamespaceName, Ordinal, Profile};

use super::Verb;
use super::forget::take_apart;
use crate::StoreError;
use crate::embedded::read::Source;
use crate::embedded::transaction::Transaction;
use crate::kv::device::Identity;
use crate::kv::device_cursor::Progress;
use crate::kv::{Keyspace, device, device_cursor, device_id, user_device};
use crate::port::{Description, Device, Registered, Registration};

/// Registers a device.
pub(crate) struct Register(pub(crate) Registration);

impl Verb for Register {
    type Outcome = Registered;

    fn bytes(&self) -> usize {
        1024
    }

    fn apply(&mut self, transaction: &mut Transaction<'_>) -> Result<Registered, StoreError> {
        let id_key = device_id::key(&self.0.namespace, &self.0.device);
        match known(transaction, &self.0.namespace, &id_key)? {
            Some(device) if device.user == self.0.user => Ok(self.recognise(transaction, device)),
            before => make_known(transaction, &self.0, Arc::default(), before, id_key),
        }
    }
}

/// Sets what is kept of a device.
pub(crate) struct Describe(pub(crate) Description);

impl Verb for Describe {
    type Outcome = Option<Registered>;

    fn bytes(&self) -> usize {
        let Profile { tags, metadata, tokens, muted, quiet } = &*self.0.profile;
        let tokens: usize = tokens.values().map(|token| token.0.len()).sum();
        1024 + metadata.len() + tokens + (tags.len() + muted.len() + quiet.windows.len()) * 320
    }

    fn apply(&mut self, transaction: &mut Transaction<'_>) -> Result<Option<Registered>, StoreError> {
        let Description { namespace, device: id, only, user, platform, profile, now } = &self.0;
        let id_key = device_id::key(namespace, id);
        let before = known(transaction, namespace, &id_key)?;
        if only.is_some() && *only != before.as_ref().map(|device| device.ordinal) {
            return Ok(None);
        }
        let platform = platform.or(before.as_ref().map(|device| device.platform)).unwrap_or_default();
        match before {
            Some(mut device) if device.user == *user => {
                device.platform = platform;
                device.profile = Arc::clone(profile);
                let key = device::key(namespace, device.ordinal);
                let value = device::value(&key, &identity(&device));
                transaction.put(Keyspace::Device, key, value);
                transaction.ask_sync();
                Ok(Some(Registered { device, new: false, replaced: None }))
            }
            before => {
                let registration = Registration {
                    namespace: namespace.clone(),
                    device: id.clone(),
                    user: user.clone(),
                    platform,
                    now: *now,
                };
                make_known(transaction, &registration, Arc::clone(profile), before, id_key).map(Some)
            }
        }
    }
}

fn known(
    transaction: &Transaction<'_>,
    namespace: &NamespaceName,
    id_key: &[u8],
) -> Result<Option<Device>, StoreError> {
    let source = Source {
        get: |keyspace, key: &[u8]| transaction.get(keyspace, key),
        scan: |keyspace, prefix: &[u8]| transaction.scan(keyspace, prefix),
    };
    match source.ordinal(id_key)? {
        Some(ordinal) => source.device(namespace, ordinal),
        None => Ok(None),
    }
}

impl Register {
    /// Not synced: what it writes is worth nothing to a device that comes again anyway.
    fn recognise(&self, transaction: &mut Transaction<'_>, mut device: Device) -> Registered {
        let key = device::key(&self.0.namespace, device.ordinal);
        if device.platform != self.0.platform {
            device.platform = self.0.platform;
            let value = device::value(&key, &identity(&device));
            transaction.put(Keyspace::Device, key.clone(), value);
        }
        if self.0.now > device.seen_at {
            device.seen_at = self.0.now;
            let value = device_cursor::value(&key, &progress(&device));
            transaction.put(Keyspace::DeviceCursor, key, value);
        }
        Registered { device, new: false, replaced: None }
    }
}

/// Gives a device a new ordinal. What it was before, with another user, goes.
fn make_known(
    transaction: &mut Transaction<'_>,
    registration: &Registration,
    profile: Arc<Profile>,
    before: Option<Device>,
    id_key: Vec<u8>,
) -> Result<Registered, StoreError> {
    let Registration { namespace, device: id, user, platform, now } = registration;
    // Its id stays, and is the next one's.
    let replaced = before.inspect(|before| take_apart(transaction, namespace, before));
    let mut heads = transaction.heads(namespace);
    let ordinal = u32::try_from(heads.next_ordinal).map(Ordinal).map_err(|_| {
        StoreError::Full(format!("{namespace} has given out all of its 4,294,967,296 device ordinals"))
    })?;
    heads.next_ordinal += 1;
    let device = Device {
        ordinal,
        id: id.clone(),
        user: user.clone(),
        platform: *platform,
        rooms: Vec::new(),
        cursor: heads.seq,
        created_at: *now,
        seen_at: *now,
        profile,
    };
    let key = device::key(namespace, ordinal);
    transaction.put(Keyspace::Device, key.clone(), device::value(&key, &identity(&device)));
    let value = device_cursor::value(&key, &progress(&device));
    transaction.put(Keyspace::DeviceCursor, key, value);
    let value = device_id::value(&id_key, ordinal);
    transaction.put(Keyspace::DeviceId, id_key, value);
    if let Some(user) = user {
        let key = user_device::key(namespace, user, ordinal);
        let value = user_device::value(&key);
        transaction.put(Keyspace::UserDevice, key, value);
    }
    transaction.set_heads(namespace, heads);
    transaction.ask_sync();
    Ok(Registered { device, new: true, replaced })
}

fn identity(device: &Device) -> Identity {
    Identity {
        id: device.id.clone(),
        user: device.user.clone(),
        platform: device.platform,
        created_at: device.created_at,
        profile: Arc::clone(&device.profile),
    }
}

fn progress(device: &Device) -> Progress {
    Progress { cursor: device.cursor, seen_at: device.seen_at }
}
