//! What is kept of a device: set by a backend as a whole or in part, and by the device itself in part.

pub mod record;

use std::sync::Arc;

use serde_json::{Map, Value};
use tidings_model::{DeviceId, Ordinal};
use tidings_store::port::Which;
use tidings_store::{Description, Device, Registered, StoreError};
use tokio::sync::OwnedMutexGuard;

use crate::merge_patch::merge;
use crate::namespace::whole;
use crate::{Namespace, Node};
use record::Complaint;

/// What a device may change of itself. The other fields are said when it connects, or are the backend's.
const ITS_OWN: [&str; 4] = ["metadata", "tokens", "do_not_disturb", "muted_rooms"];

/// How often a change is made again because the device was changed at the same time.
const TURNS_MAX: usize = 3;

/// Why nothing of a device was changed.
#[derive(Debug, thiserror::Error)]
pub enum DescribeError {
    /// This is wrong with what it was to be.
    #[error("{} fields are not as they must be", .0.len())]
    Wrong(Vec<Complaint>),
    /// These fields are not the device's to change.
    #[error("a device cannot change {} of itself", .0.join(", "))]
    NotItsOwn(Vec<String>),
    /// There is no such device (any more).
    #[error("there is no such device")]
    Unknown,
    /// It was registered anew by somebody else, again and again.
    #[error("the device was changed at the same time; try again")]
    Busy,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Node {
    /// Registers a device, or replaces what is kept of it. Whose it is and what it is stays as it is unless that is said;
    /// with another user it starts anew.
    ///
    /// # Errors
    /// [`DescribeError`]; nothing has changed then.
    pub async fn describe(
        self: &Arc<Self>,
        namespace: &Arc<Namespace>,
        id: &DeviceId,
        record: &Map<String, Value>,
    ) -> Result<Registered, DescribeError> {
        for _ in 0..TURNS_MAX {
            let before = self.device(namespace, id).await?;
            let turn = match &before {
                Some(device) => Some(self.turns.of(device.ordinal.0.into()).await),
                None => None,
            };
            let profile = before.as_ref().map(|device| Arc::clone(&device.profile)).unwrap_or_default();
            let read = record::read(record, &profile).map_err(DescribeError::Wrong)?;
            let only = before.as_ref().map(|device| device.ordinal);
            let stays = before.filter(|_| !record.contains_key("user")).and_then(|device| device.user);
            let description = Description {
                namespace: namespace.name.clone(),
                device: id.clone(),
                only,
                user: read.user.or(stays),
                platform: read.platform,
                profile: Arc::new(read.profile.current(self.now())),
                now: self.now(),
            };
            if let Some(described) = self.set_described(namespace, description, turn).await? {
                return Ok(described);
            }
        }
        Err(DescribeError::Busy)
    }

    /// Changes what is kept of a device by a merge patch (RFC 7396). With another user it starts anew, with what is
    /// kept of it.
    ///
    /// # Errors
    /// [`DescribeError`]; nothing has changed then.
    pub async fn amend(
        self: &Arc<Self>,
        namespace: &Arc<Namespace>,
        id: &DeviceId,
        patch: &Map<String, Value>,
    ) -> Result<Registered, DescribeError> {
        let device = self.device(namespace, id).await?.ok_or(DescribeError::Unknown)?;
        self.amend_one(namespace, device.ordinal, patch).await
    }

    /// The same by the device itself, which may not change everything.
    ///
    /// # Errors
    /// [`DescribeError`]; nothing has changed then.
    pub async fn amend_own(
        self: &Arc<Self>,
        namespace: &Arc<Namespace>,
        device: Ordinal,
        patch: &Map<String, Value>,
    ) -> Result<Device, DescribeError> {
        let others: Vec<String> = record::FIELDS
            .into_iter()
            .filter(|field| patch.contains_key(*field) && !ITS_OWN.contains(field))
            .map(str::to_owned)
            .collect();
        if !others.is_empty() {
            return Err(DescribeError::NotItsOwn(others));
        }
        self.amend_one(namespace, device, patch).await.map(|registered| registered.device)
    }

    async fn amend_one(
        self: &Arc<Self>,
        namespace: &Arc<Namespace>,
        device: Ordinal,
        patch: &Map<String, Value>,
    ) -> Result<Registered, DescribeError> {
        record::check_names(patch).map_err(DescribeError::Wrong)?;
        // Two patches at once, and none of them undoes what the other did.
        let turn = self.turns.of(device.0.into()).await;
        let found = self.store.devices(&namespace.name, Which::Ordinals(vec![device])).await?;
        let device = found.into_iter().flatten().next().ok_or(DescribeError::Unknown)?;
        let shown = record::show(device.user.as_ref(), device.platform, &device.profile, self.now());
        let mut whole = Value::Object(shown);
        merge(&mut whole, Value::Object(patch.clone()));
        let Value::Object(whole) = whole else { return Err(DescribeError::Unknown) };
        let read = record::read(&whole, &device.profile).map_err(DescribeError::Wrong)?;
        let description = Description {
            namespace: namespace.name.clone(),
            device: device.id,
            only: Some(device.ordinal),
            user: read.user,
            platform: patch.contains_key("platform").then(|| read.platform.unwrap_or_default()),
            profile: Arc::new(read.profile.current(self.now())),
            now: self.now(),
        };
        let described = self.set_described(namespace, description, Some(turn)).await?;
        described.ok_or(DescribeError::Unknown)
    }

    async fn set_described(
        self: &Arc<Self>,
        namespace: &Arc<Namespace>,
        description: Description,
        turn: Option<OwnedMutexGuard<()>>,
    ) -> Result<Option<Registered>, StoreError> {
        let (node, namespace) = (Arc::clone(self), Arc::clone(namespace));
        whole(async move {
            let described = node.store.describe(description).await?;
            if let Some(described) = &described {
                let _turn = match (turn, &described.replaced) {
                    // It was not known when it was looked, and came in between.
                    (None, Some(old)) => Some(node.turns.of(old.ordinal.0.into()).await),
                    (turn, _) => turn,
                };
                node.registered(&namespace, described).await;
                namespace.light_push.places.changed(described.device.ordinal, &described.device.profile);
            }
            Ok(described)
        })
        .await
    }
}
