//! Who is connected, from where, since when, and what waits for it. The shards know; they are asked about a few devices at
//! a time, so that however many there are, nobody waits for the answer but who asked.

use std::time::Duration;

use roaring::RoaringBitmap;
use tidings_model::{ClientAddress, DeviceId, Disconnect, Ordinal, Timestamp, UserId};
use tidings_store::port::Which;
use tidings_store::{Device, StoreError};
use tokio::sync::mpsc;

use crate::{Namespace, Node, ToShard};

/// How long the shards may take to answer.
const WAIT: Duration = Duration::from_secs(5);

/// A connection as its shard knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// Whose it is.
    pub device: Ordinal,
    /// Its number.
    pub connection: u64,
    /// What is spoken on it: `json`, `engineio3`, `engineio4` or `sse`; or, for clients of older systems, `light_push`, `push_koa`, `gopusher`, `go_redis` or
    /// `message_push`.
    pub protocol: &'static str,
    /// What carries it: `websocket`, `polling` or `stream`.
    pub transport: &'static str,
    /// Where the client is.
    pub address: ClientAddress,
    /// Since when.
    pub since: Timestamp,
    /// How many frames wait for it.
    pub frames: usize,
    /// How many bytes they have.
    pub bytes: usize,
}

/// Whose connections are asked for.
#[derive(Clone, Debug, Default)]
pub struct Whose {
    /// Only this user's.
    pub user: Option<UserId>,
    /// Only this device's.
    pub device: Option<DeviceId>,
}

/// Where a list of connections goes on: behind this connection of this device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Behind(pub Ordinal, pub u64);

/// A page of connections, and where the next one begins, if there is one.
pub type Page = (Vec<(Live, Device)>, Option<Behind>);

/// Why connections were not listed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionsError {
    /// A shard has too much to do to answer.
    #[error("the server has too much to do to say who is connected")]
    Busy,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Node {
    /// The connections of a namespace in a fixed order: those behind `after`, at most `limit`.
    ///
    /// # Errors
    /// [`ConnectionsError`].
    pub async fn connections(
        &self,
        namespace: &Namespace,
        whose: &Whose,
        after: Option<Behind>,
        limit: usize,
    ) -> Result<Page, ConnectionsError> {
        let only = self.only(namespace, whose).await?;
        let from = after.map_or(0, |Behind(device, connection)| match connection {
            // All of that device has been seen.
            u64::MAX => device.0.saturating_add(1),
            _ => device.0,
        });
        let (mut devices, mask) = {
            let directory = namespace.directory();
            let online = directory.online();
            let devices: Vec<u32> = match only {
                Some(only) => (only & online).range(from..).take(limit + 1).collect(),
                None => online.range(from..).take(limit + 1).collect(),
            };
            let mask = directory.shards_of(&devices);
            (devices, mask)
        };
        let more = devices.len() > limit;
        devices.truncate(limit);
        let last = devices.last().filter(|_| more).map(|last| Behind(Ordinal(*last), u64::MAX));
        let mut live = self.ask(namespace, mask, devices).await?;
        live.retain(|one| after.is_none_or(|after| Behind(one.device, one.connection) > after));
        live.sort_unstable_by_key(|one| (one.device, one.connection));
        let full = live.len() > limit;
        live.truncate(limit);
        let next = if full { live.last().map(|one| Behind(one.device, one.connection)) } else { last };
        let mut ordinals: Vec<_> = live.iter().map(|one| one.device).collect();
        ordinals.dedup();
        let found = self.store.devices(&namespace.name, Which::Ordinals(ordinals)).await?;
        let found: Vec<Device> = found.into_iter().flatten().collect();
        let with_device = |one: Live| {
            let device = found.iter().find(|device| device.ordinal == one.device)?.clone();
            Some((one, device))
        };
        Ok((live.into_iter().filter_map(with_device).collect(), next))
    }

    /// The only devices that are asked for, if not all are.
    async fn only(&self, namespace: &Namespace, whose: &Whose) -> Result<Option<RoaringBitmap>, StoreError> {
        let mut only: Option<RoaringBitmap> = None;
        if let Some(user) = &whose.user {
            let devices = self.devices_of_user(namespace, user).await?;
            only = Some(devices.iter().map(|device| device.ordinal.0).collect());
        }
        if let Some(device) = &whose.device {
            let device = self.device(namespace, device).await?;
            let one: RoaringBitmap = device.iter().map(|device| device.ordinal.0).collect();
            only = Some(only.map_or_else(|| one.clone(), |only| only & &one));
        }
        Ok(only)
    }

    async fn ask(
        &self,
        namespace: &Namespace,
        mask: u64,
        devices: Vec<u32>,
    ) -> Result<Vec<Live>, ConnectionsError> {
        let (reply, mut answers) = mpsc::channel(mask.count_ones().max(1) as usize);
        let what = ToShard::Connections { namespace: namespace.name.clone(), devices: devices.into(), reply };
        let asked = async {
            self.shards.tell(mask, what).await;
            let mut live = Vec::new();
            for _ in 0..mask.count_ones() {
                live.extend(answers.recv().await?);
            }
            Some(live)
        };
        tokio::time::timeout(WAIT, asked).await.ok().flatten().ok_or(ConnectionsError::Busy)
    }

    /// The numbers of a device's connections, as far as its shards say so in time.
    pub async fn numbers_of(&self, namespace: &Namespace, device: Ordinal) -> Vec<u64> {
        let mask = namespace.directory().shards_of(&[device.0]);
        let live = self.ask(namespace, mask, vec![device.0]).await.unwrap_or_default();
        live.iter().map(|one| one.connection).collect()
    }

    /// Ends connections of a device whose place another one has taken.
    pub async fn replaced(&self, namespace: &Namespace, device: Ordinal, numbers: Vec<u64>) {
        for connection in numbers {
            let (namespace, why) = (namespace.name.clone(), Disconnect::REPLACED);
            self.shards.tell(u64::MAX, ToShard::End { namespace, device, connection, why }).await;
        }
    }

    /// Ends a connection. False when there is none with this number in the namespace.
    pub async fn disconnect(&self, namespace: &Namespace, connection: u64) -> bool {
        let found = {
            let directory = namespace.directory();
            directory.device_of(connection).map(|device| (device, directory.shards_of(&[device.0])))
        };
        let Some((device, mask)) = found else { return false };
        let (namespace, why) = (namespace.name.clone(), Disconnect::OPERATOR);
        self.shards.tell(mask, ToShard::End { namespace, device, connection, why }).await;
        true
    }
}
