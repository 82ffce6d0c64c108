//! Who is in a room, and moving them by the server: users with all of their devices, devices, whole rooms.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use roaring::RoaringBitmap;
use tidings_model::{DeviceId, Ordinal, RoomName, UserId};
use tidings_store::port::Which;
use tidings_store::{Device, StoreError};

use crate::join::JoinError;
use crate::{Namespace, Node};

/// Most devices that are moved in one call.
pub const MOVED_MAX: usize = 10_000;

/// Devices that are moved at once: each is a change of its own, and they share the disk.
const SIDE_BY_SIDE: usize = 256;

/// Whom a call is about.
#[derive(Clone, Debug, Default)]
pub struct Whom {
    /// All devices of these users.
    pub users: Vec<UserId>,
    /// These devices.
    pub devices: Vec<DeviceId>,
    /// All devices that are in these rooms now.
    pub from_rooms: Vec<RoomName>,
}

/// What came of moving them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Devices that were meant, moved or not.
    pub meant: RoaringBitmap,
    /// Devices that were moved.
    pub changed: u64,
    /// Devices that were there already, or not there at all.
    pub unchanged: u64,
    /// Users without a device, and devices that are not registered.
    pub unknown: Vec<String>,
    /// Devices that are in as many rooms as they may be.
    pub full: Vec<DeviceId>,
}

/// Why nobody was moved.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// They are more than one call can do.
    #[error("these are {0} devices, at most {MOVED_MAX} can be moved in a call")]
    TooMany(usize),
    /// The store failed; some may have been moved.
    #[error(transparent)]
    Store(#[from] StoreError),
}

enum OneMoved {
    Changed,
    Full(DeviceId),
    Gone,
}

impl Node {
    /// Puts devices into a room.
    ///
    /// # Errors
    /// [`MoveError`].
    pub async fn add_members(
        self: &Arc<Self>,
        namespace: &Arc<Namespace>,
        room: &RoomName,
        whom: &Whom,
    ) -> Result<Moved, MoveError> {
        self.move_members(namespace, room, whom, true).await
    }

    /// Takes devices out of a room.
    ///
    /// # Errors
    /// [`MoveError`].
    pub async fn remove_members(
        self: &Arc<Self>,
        namespace: &Arc<Namespace>,
        room: &RoomName,
        whom: &Whom,
    ) -> Result<Moved, MoveError> {
        self.move_members(namespace, room, whom, false).await
    }

    async fn move_members(
        self: &Arc<Self>,
        namespace: &Arc<Namespace>,
        room: &RoomName,
        whom: &Whom,
        into: bool,
    ) -> Result<Moved, MoveError> {
        let mut moved = Moved::default();
        let all = self.resolve_whom(namespace, whom, &mut moved.unknown).await?;
        if all.len() > MOVED_MAX as u64 {
            return Err(MoveError::TooMany(all.len() as usize));
        }
        let there = namespace.directory().room(room).cloned().unwrap_or_default();
        let to_move = if into { &all - &there } else { &all & &there };
        moved.unchanged = all.len() - to_move.len();
        let each =
            stream::iter(to_move).map(|ordinal| self.move_one(namespace, Ordinal(ordinal), room, into));
        let mut each = each.buffer_unordered(SIDE_BY_SIDE);
        while let Some(outcome) = each.next().await {
            match outcome? {
                OneMoved::Changed => moved.changed += 1,
                OneMoved::Full(device) => moved.full.push(device),
                // It changed its user just now, and has left everything behind.
                OneMoved::Gone => moved.unchanged += 1,
            }
        }
        moved.full.sort_unstable();
        moved.meant = all;
        Ok(moved)
    }

    async fn move_one(
        self: &Arc<Self>,
        namespace: &Arc<Namespace>,
        device: Ordinal,
        room: &RoomName,
        into: bool,
    ) -> Result<OneMoved, StoreError> {
        if !into {
            self.leave(namespace, device, vec![room.clone()]).await?;
            return Ok(OneMoved::Changed);
        }
        match self.put_into(namespace, device, vec![room.clone()], true).await {
            Ok(_) => Ok(OneMoved::Changed),
            Err(JoinError::TooManyRooms { .. }) => {
                let found = self.store.devices(&namespace.name, Which::Ordinals(vec![device])).await?;
                Ok(found
                    .into_iter()
                    .flatten()
                    .next()
                    .map_or(OneMoved::Gone, |found| OneMoved::Full(found.id)))
            }
            Err(JoinError::Gone | JoinError::Suspended(_)) => Ok(OneMoved::Gone),
            Err(JoinError::Store(why)) => Err(why),
        }
    }

    async fn resolve_whom(
        &self,
        namespace: &Namespace,
        whom: &Whom,
        unknown: &mut Vec<String>,
    ) -> Result<RoaringBitmap, StoreError> {
        let mut all = RoaringBitmap::new();
        for user in &whom.users {
            let devices = self.devices_of_user(namespace, user).await?;
            if devices.is_empty() {
                unknown.push(user.to_string());
            }
            all.extend(devices.iter().map(|device| device.ordinal.0));
        }
        let found = self.store.devices(&namespace.name, Which::Ids(whom.devices.clone())).await?;
        for (id, device) in whom.devices.iter().zip(found) {
            match device {
                Some(device) => drop(all.insert(device.ordinal.0)),
                None => unknown.push(id.to_string()),
            }
        }
        let directory = namespace.directory();
        for room in &whom.from_rooms {
            if let Some(members) = directory.room(room) {
                all |= members;
            }
        }
        Ok(all)
    }

    /// The devices in a room in a fixed order: those after `after`, at most `limit`, each with whether it is online. The second
    /// answer says where to go on, if there is more.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn members(
        &self,
        namespace: &Namespace,
        room: &RoomName,
        after: Option<Ordinal>,
        limit: usize,
    ) -> Result<(Vec<(Device, bool)>, Option<Ordinal>), StoreError> {
        let start = after.map_or(0, |after| after.0.saturating_add(1));
        let (mut ordinals, online): (Vec<Ordinal>, RoaringBitmap) = {
            let directory = namespace.directory();
            let members = directory.room(room).into_iter().flat_map(|members| members.range(start..));
            (members.take(limit + 1).map(Ordinal).collect(), directory.online().clone())
        };
        let more = ordinals.len() > limit;
        ordinals.truncate(limit);
        let next = if more { ordinals.last().copied() } else { None };
        let found = self.store.devices(&namespace.name, Which::Ordinals(ordinals)).await?;
        let members = found.into_iter().flatten().map(|device| {
            let is_online = online.contains(device.ordinal.0);
            (device, is_online)
        });
        Ok((members.collect(), next))
    }

    /// The devices in a room that are online, in a fixed order: how many there are, and those after `after`, at most `limit`.
    /// The last answer says where to go on, if there is more.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn present(
        &self,
        namespace: &Namespace,
        room: &RoomName,
        after: Option<Ordinal>,
        limit: usize,
    ) -> Result<(u64, Vec<Device>, Option<Ordinal>), StoreError> {
        let start = after.map_or(0, |after| after.0.saturating_add(1));
        let present = {
            let directory = namespace.directory();
            directory.room(room).map(|members| members & directory.online()).unwrap_or_default()
        };
        let mut ordinals: Vec<Ordinal> = present.range(start..).take(limit + 1).map(Ordinal).collect();
        let more = ordinals.len() > limit;
        ordinals.truncate(limit);
        let next = if more { ordinals.last().copied() } else { None };
        let found = self.store.devices(&namespace.name, Which::Ordinals(ordinals)).await?;
        Ok((present.len(), found.into_iter().flatten().collect(), next))
    }

    /// The rooms of a namespace by name: those after `after`, at most `limit`, each with how many devices are in it and how many of
    /// them are online. The second answer says whether there is more.
    #[must_use]
    pub fn rooms_of(
        &self,
        namespace: &Namespace,
        after: Option<&str>,
        limit: usize,
    ) -> (Vec<(RoomName, u64, u64)>, bool) {
        let directory = namespace.directory();
        // The first ones of many, without sorting all of them.
        let mut first: BTreeSet<&RoomName> = BTreeSet::new();
        for name in directory.room_names() {
            if after.is_some_and(|after| name.as_str() <= after) {
                continue;
            }
            first.insert(name);
            if first.len() > limit + 1 {
                first.pop_last();
            }
        }
        let more = first.len() > limit;
        let rooms = first.into_iter().take(limit).filter_map(|name| {
            let members = directory.room(name)?;
            Some((name.clone(), members.len(), members.intersection_len(directory.online())))
        });
        (rooms.collect(), more)
    }
}
