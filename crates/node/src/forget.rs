//! Devices that are not to be known any more: one, or all that were not here for a long time.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use tidings_model::{DeviceId, Disconnect, Ordinal};
use tidings_store::{Device, StoreError};

use crate::devices::Filter;
use crate::{Namespace, Node, ToShard, ids};

/// Devices that are looked at together.
const LOOKED_AT: usize = 1_000;

/// Devices that are forgotten at once: each is a change of its own, and they share the disk.
const SIDE_BY_SIDE: usize = 256;

/// Which devices are to be forgotten.
#[derive(Clone, Debug)]
pub struct Purge {
    /// Those that were last seen so long ago.
    pub inactive_for: Duration,
    /// And of which this is true.
    pub filter: Filter,
    /// Those with a token too.
    pub with_tokens: bool,
    /// Nothing is to be done.
    pub dry_run: bool,
}

impl Node {
    /// Forgets a device: its connections end, it is in no room, and nothing waits for it. When it comes again it is a new one.
    /// False when there is none.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub async fn forget(
        self: &Arc<Self>,
        namespace: &Arc<Namespace>,
        device: Ordinal,
    ) -> Result<bool, StoreError> {
        let (node, namespace) = (Arc::clone(self), Arc::clone(namespace));
        crate::namespace::whole(async move {
            let _turn = node.turns.of(device.0.into()).await;
            let forgotten = node.store.forget(&namespace.name, vec![device]).await?;
            let Some(found) = forgotten.into_iter().next() else { return Ok(false) };
            let mask = {
                let mut directory = namespace.directory();
                directory.forget(device, &found.rooms);
                directory.shards_of(&[device.0])
            };
            namespace.is_no_more(&found, node.now());
            namespace.light_push.places.gone(device);
            let away = ToShard::SendAway {
                namespace: namespace.name.clone(),
                devices: Some([device.0].into()),
                why: Disconnect::OPERATOR,
            };
            node.shards.tell(mask, away).await;
            Ok(true)
        })
        .await
    }

    /// Forgets a device that was there for one connection only, some time soon; one that is there for longer, because its token
    /// names it, stays. What is left of it when that fails, or when this process ends before, goes with the next start: see
    /// [`Node::forget_passing`].
    pub fn forget_soon(self: &Arc<Self>, namespace: &Arc<Namespace>, device: Ordinal) {
        let (node, namespace) = (Arc::clone(self), Arc::clone(namespace));
        self.runtime.spawn(async move {
            let forgotten = async {
                match node.known(&namespace, device).await? {
                    Some(found) if ids::is_passing(&found.id) => node.forget(&namespace, device).await,
                    Some(_) | None => Ok(false),
                }
            };
            if let Err(error) = forgotten.await {
                tracing::debug!(%error, "a device that is gone stays registered");
            }
        });
    }

    /// Forgets the devices that were there for one connection only, of which an earlier life of this process was the last to know.
    /// Answers how many.
    ///
    /// # Errors
    /// When the store cannot be read or written; some may have been forgotten.
    pub async fn forget_passing(self: &Arc<Self>, namespace: &Arc<Namespace>) -> Result<u64, StoreError> {
        // Whoever comes while it is looked is of this life, whether it is online yet or not.
        let before = self.now();
        let (mut after, mut count) = (None, 0);
        loop {
            let (devices, next) = self.devices_of(namespace, &Filter::default(), after, LOOKED_AT).await?;
            let earlier = devices
                .into_iter()
                .filter(|(device, online)| !online && device.seen_at < before && ids::is_passing(&device.id));
            let forgetting = stream::iter(earlier).map(|(device, _)| self.forget_known(namespace, device));
            let mut forgetting = forgetting.buffer_unordered(SIDE_BY_SIDE);
            while let Some(forgotten) = forgetting.next().await {
                count += u64::from(forgotten?.is_some());
            }
            match next {
                Some(next) => after = Some(next),
                None => return Ok(count),
            }
        }
    }

    /// Forgets the devices that are not online and were last seen so long ago, if what is asked for is true of them. One with a
    /// token stays unless it is said otherwise: its vendor reaches it, whether it connects or not. Answers how many these are;
    /// in a dry run nothing else is done.
    ///
    /// # Errors
    /// When the store cannot be read or written; some may have been forgotten.
    pub async fn purge(
        self: &Arc<Self>,
        namespace: &Arc<Namespace>,
        purge: &Purge,
    ) -> Result<u64, StoreError> {
        let mut count = 0;
        self.purge_each(namespace, purge, |_| count += 1).await?;
        Ok(count)
    }

    /// The same, and answers which these are.
    ///
    /// # Errors
    /// When the store cannot be read or written; some may have been forgotten.
    pub async fn purge_and_name(
        self: &Arc<Self>,
        namespace: &Arc<Namespace>,
        purge: &Purge,
    ) -> Result<Vec<DeviceId>, StoreError> {
        let mut gone = Vec::new();
        self.purge_each(namespace, purge, |device| gone.push(device.id.clone())).await?;
        Ok(gone)
    }

    async fn purge_each(
        self: &Arc<Self>,
        namespace: &Arc<Namespace>,
        purge: &Purge,
        mut seen: impl FnMut(&Device),
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut after = None;
        loop {
            let (mut devices, next) = self.devices_of(namespace, &purge.filter, after, LOOKED_AT).await?;
            devices.retain(|(device, online)| {
                let reachable = !purge.with_tokens && !device.profile.tokens.is_empty();
                !online && !reachable && now.since(device.seen_at) >= purge.inactive_for
            });
            if purge.dry_run {
                devices.iter().for_each(|(device, _)| seen(device));
            } else {
                let forgetting =
                    stream::iter(devices).map(|(device, _)| self.forget_known(namespace, device));
                let mut forgetting = forgetting.buffer_unordered(SIDE_BY_SIDE);
                while let Some(forgotten) = forgetting.next().await {
                    forgotten?.iter().for_each(&mut seen);
                }
            }
            match next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }
    /// Forgets a device, and gives it back if it was still there.
    async fn forget_known(
        self: &Arc<Self>,
        namespace: &Arc<Namespace>,
        device: Device,
    ) -> Result<Option<Device>, StoreError> {
        let forgotten = self.forget(namespace, device.ordinal).await?;
        Ok(forgotten.then_some(device))
    }
}
