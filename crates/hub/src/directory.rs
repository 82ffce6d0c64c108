//! Who is registered in a namespace, in which room, and online on which shards.
//!
//! One directory for each namespace of a node. Whoever shares it between threads puts a lock around
//! it; every call here is short. It knows ordinals, not names: the store keeps those.

use std::collections::HashMap;
use std::num::NonZeroU64;

use roaring::RoaringBitmap;
use rustc_hash::{FxHashMap, FxHashSet};
use tidings_model::{Ordinal, Platform, RoomName};

/// Most shards of a node: one bit each in a route.
pub const SHARDS_MAX: usize = 64;

/// Who is registered, in which room, and online where.
#[derive(Debug, Default)]
pub struct Directory {
    platforms: [RoaringBitmap; Platform::ALL.len()],
    rooms: HashMap<RoomName, RoaringBitmap>,
    online: RoaringBitmap,
    /// The shard of each device that has one connection, which is nearly all of them.
    alone: FxHashMap<u32, u8>,
    /// The shards of each device that has several, one for each connection.
    shared: FxHashMap<u32, Vec<u8>>,
    /// The devices with more than one connection.
    several: RoaringBitmap,
    connections: FxHashMap<u64, u32>,
    /// The users that are connected.
    users: FxHashSet<UserKey>,
    /// How many connections those users have that have several: most have one, and cost less in a set.
    many: FxHashMap<UserKey, u32>,
}

/// A user, as far as counting goes: a number that nobody else can make another user's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserKey(pub NonZeroU64);

/// Whose only connection one is that has come, or whose last one that has gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alone {
    /// Of its device.
    pub of_device: bool,
    /// Of its user; not when it has none.
    pub of_user: bool,
}

/// How many connections there may be; 0 for as many as they like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Most connections altogether.
    pub all: u32,
    /// Most connections of a device.
    pub per_device: u32,
    /// Most connections of a user.
    pub per_user: u32,
}

/// A limit that one more connection would be over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooMany {
    /// Of the namespace.
    Namespace(u32),
    /// Of the device.
    Device(u32),
    /// Of the user.
    User(u32),
}

/// Who a push means, names resolved to ordinals.
#[derive(Debug, Default)]
pub struct Meant<'a> {
    /// Everybody.
    pub all: bool,
    /// The devices of the users and the devices that are named.
    pub ordinals: RoaringBitmap,
    /// The rooms that are named.
    pub rooms: &'a [RoomName],
    /// Only these platforms; empty means every platform.
    pub platforms: &'a [Platform],
    /// Not these devices.
    pub except: RoaringBitmap,
    /// Not who is in these rooms.
    pub except_rooms: &'a [RoomName],
    /// Not the devices behind these connections.
    pub except_connections: &'a [u64],
}

impl Directory {
    /// A directory of what was there before this node started.
    #[must_use]
    pub fn new(
        platforms: [RoaringBitmap; Platform::ALL.len()],
        rooms: HashMap<RoomName, RoaringBitmap>,
    ) -> Self {
        Self { platforms, rooms, ..Self::default() }
    }

    /// A device is registered, or its platform has changed.
    pub fn register(&mut self, device: Ordinal, platform: Platform) {
        for (index, set) in self.platforms.iter_mut().enumerate() {
            if index == platform as usize {
                set.insert(device.0);
            } else {
                set.remove(device.0);
            }
        }
    }

    /// A device is no longer registered.
    pub fn forget(&mut self, device: Ordinal, rooms: &[RoomName]) {
        for set in &mut self.platforms {
            set.remove(device.0);
        }
        for room in rooms {
            self.leave(device, room);
        }
    }

    /// A device is in a room from now on.
    pub fn join(&mut self, device: Ordinal, room: &RoomName) {
        match self.rooms.get_mut(room) {
            Some(members) => {
                members.insert(device.0);
            }
            None => {
                self.rooms.insert(room.clone(), [device.0].into_iter().collect());
            }
        }
    }

    /// A device is no longer in a room.
    pub fn leave(&mut self, device: Ordinal, room: &RoomName) {
        if let Some(members) = self.rooms.get_mut(room) {
            members.remove(device.0);
            if members.is_empty() {
                self.rooms.remove(room);
            }
        }
    }

    /// A connection of a device has come: whether it is the first one. `user` is counted when it is given, which it is to
    /// be on [`Directory::disconnect`] as well.
    ///
    /// # Errors
    /// [`TooMany`] when it would be over a limit; it is not here then.
    pub fn connect(
        &mut self,
        device: Ordinal,
        connection: u64,
        shard: u8,
        user: Option<UserKey>,
        limits: ConnectionLimits,
    ) -> Result<Alone, TooMany> {
        let over = |has: usize, limit: u32| limit != 0 && has >= limit as usize;
        if over(self.connections.len(), limits.all) {
            return Err(TooMany::Namespace(limits.all));
        }
        if over(self.shards(device.0).len(), limits.per_device) {
            return Err(TooMany::Device(limits.per_device));
        }
        let mut alone = Alone { of_device: !self.online.contains(device.0), of_user: false };
        if let Some(user) = user {
            let count = self.connections_of_user(user);
            alone.of_user = count == 0;
            if over(count as usize, limits.per_user) {
                return Err(TooMany::User(limits.per_user));
            }
            if !self.users.insert(user) {
                self.many.insert(user, count + 1);
            }
        }
        self.connections.insert(connection, device.0);
        self.online.insert(device.0);
        if let Some(shards) = self.shared.get_mut(&device.0) {
            shards.push(shard);
        } else if let Some(one) = self.alone.remove(&device.0) {
            self.several.insert(device.0);
            self.shared.insert(device.0, vec![one, shard]);
        } else {
            self.alone.insert(device.0, shard);
        }
        Ok(alone)
    }

    /// A connection of a device has gone: whether it was the last one. `None` when it was not here.
    pub fn disconnect(
        &mut self,
        device: Ordinal,
        connection: u64,
        shard: u8,
        user: Option<UserKey>,
    ) -> Option<Alone> {
        self.connections.remove(&connection)?;
        let mut alone = Alone::default();
        if let Some(user) = user {
            match self.connections_of_user(user) {
                0 => {}
                1 => {
                    self.users.remove(&user);
                    alone.of_user = true;
                }
                2 => drop(self.many.remove(&user)),
                count => drop(self.many.insert(user, count - 1)),
            }
        }
        let Some(shards) = self.shared.get_mut(&device.0) else {
            self.alone.remove(&device.0);
            self.online.remove(device.0);
            return Some(Alone { of_device: true, ..alone });
        };
        if let Some(at) = shards.iter().position(|one| *one == shard) {
            shards.swap_remove(at);
        }
        if let [one] = shards[..] {
            self.several.remove(device.0);
            self.shared.remove(&device.0);
            self.alone.insert(device.0, one);
        }
        Some(alone)
    }

    fn connections_of_user(&self, user: UserKey) -> u32 {
        match self.many.get(&user) {
            Some(count) => *count,
            None => u32::from(self.users.contains(&user)),
        }
    }

    /// The shard of each connection of a device.
    fn shards(&self, device: u32) -> &[u8] {
        match self.alone.get(&device) {
            Some(one) => std::slice::from_ref(one),
            None => self.shared.get(&device).map_or(&[], Vec::as_slice),
        }
    }

    /// Who is meant, by ordinal.
    #[must_use]
    pub fn resolve(&self, meant: &Meant<'_>) -> RoaringBitmap {
        let mut set = meant.ordinals.clone();
        if meant.all {
            self.platforms.iter().for_each(|platform| set |= platform);
        }
        for room in meant.rooms {
            if let Some(members) = self.rooms.get(room) {
                set |= members;
            }
        }
        if !meant.platforms.is_empty() {
            let mut allowed = RoaringBitmap::new();
            for platform in meant.platforms {
                allowed |= &self.platforms[*platform as usize];
            }
            set &= allowed;
        }
        set -= &meant.except;
        for room in meant.except_rooms {
            if let Some(members) = self.rooms.get(room) {
                set -= members;
            }
        }
        for connection in meant.except_connections {
            if let Some(device) = self.connections.get(connection) {
                set.remove(*device);
            }
        }
        set.optimize();
        set
    }

    /// How many connections the devices in `set` have.
    #[must_use]
    pub fn connections_of(&self, set: &RoaringBitmap) -> u64 {
        // The usual device has one connection: count those by set algebra and walk the rest.
        let online = self.online.intersection_len(set);
        if self.several.is_disjoint(set) {
            return online;
        }
        let several = &self.several & set;
        online + several.iter().map(|device| self.shards(device).len() as u64 - 1).sum::<u64>()
    }

    /// The shards that have connections of any of these devices, one bit each.
    #[must_use]
    pub fn shards_of(&self, devices: &[u32]) -> u64 {
        let shards = devices.iter().flat_map(|device| self.shards(*device));
        shards.fold(0, |mask, shard| mask | 1 << shard)
    }

    /// Whether a device has a connection.
    #[must_use]
    pub fn is_online(&self, device: Ordinal) -> bool {
        self.online.contains(device.0)
    }

    /// Whether a user has a connection.
    #[must_use]
    pub fn is_here(&self, user: UserKey) -> bool {
        self.users.contains(&user)
    }

    /// The device that a connection is of.
    #[must_use]
    pub fn device_of(&self, connection: u64) -> Option<Ordinal> {
        self.connections.get(&connection).copied().map(Ordinal)
    }

    /// Whether anybody in a room is online.
    #[must_use]
    pub fn is_occupied(&self, room: &RoomName) -> bool {
        self.rooms.get(room).is_some_and(|members| !members.is_disjoint(&self.online))
    }

    /// The devices with more than one connection.
    #[must_use]
    pub fn several(&self) -> &RoaringBitmap {
        &self.several
    }

    /// The devices of each platform, at [`Platform`]'s index.
    #[must_use]
    pub fn platforms(&self) -> &[RoaringBitmap; Platform::ALL.len()] {
        &self.platforms
    }

    /// The members of a room, online or not; `None` when there is no such room.
    #[must_use]
    pub fn room(&self, name: &RoomName) -> Option<&RoaringBitmap> {
        self.rooms.get(name)
    }

    /// The names of the rooms that have members, in no order.
    pub fn room_names(&self) -> impl Iterator<Item = &RoomName> {
        self.rooms.keys()
    }

    /// The devices that are online.
    #[must_use]
    pub fn online(&self) -> &RoaringBitmap {
        &self.online
    }

    /// How many connections there are.
    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.connections.len()
    }

    /// How many users are connected.
    #[must_use]
    pub fn user_count(&self) -> usize {
        self.users.len()
    }

    /// How many rooms have members.
    #[must_use]
    pub fn room_count(&self) -> usize {
        self.rooms.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(ordinals: &[u32]) -> RoaringBitmap {
        ordinals.iter().copied().collect()
    }

    fn room(name: &str) -> RoomName {
        RoomName::new(name).unwrap()
    }

    fn connect(directory: &mut Directory, device: u32, connection: u64, shard: u8) {
        directory.connect(Ordinal(device), connection, shard, None, ConnectionLimits::default()).unwrap();
    }

    fn directory() -> Directory {
        let mut directory = Directory::default();
        for (device, platform) in
            [(1, Platform::Web), (2, Platform::Web), (3, Platform::Ios), (4, Platform::Android)]
        {
            directory.register(Ordinal(device), platform);
        }
        directory.join(Ordinal(1), &room("lobby"));
        directory.join(Ordinal(3), &room("lobby"));
        directory
    }

    #[test]
    fn sets_are_united_then_filtered_then_subtracted() {
        let mut directory = directory();
        connect(&mut directory, 2, 77, 0);
        let (lobby, web) = ([room("lobby")], [Platform::Web]);
        let base = || Meant { all: true, ..Meant::default() };
        for (meant, expected) in [
            (base(), vec![1, 2, 3, 4]),
            (Meant { platforms: &web, ..base() }, vec![1, 2]),
            (Meant { except_rooms: &lobby, ..base() }, vec![2, 4]),
            (Meant { except: set(&[4]), except_connections: &[77], ..base() }, vec![1, 3]),
            (Meant { rooms: &lobby, ordinals: set(&[4]), ..Meant::default() }, vec![1, 3, 4]),
            (Meant { rooms: &[room("nobody")], ..Meant::default() }, vec![]),
        ] {
            assert_eq!(directory.resolve(&meant), set(&expected), "{meant:?}");
        }
    }

    #[test]
    fn a_device_is_online_until_its_last_connection_goes() {
        let mut directory = directory();
        connect(&mut directory, 1, 10, 0);
        connect(&mut directory, 1, 11, 3);
        connect(&mut directory, 2, 12, 1);
        assert_eq!(directory.shards_of(&[1]), 0b1001);
        assert_eq!(directory.connections_of(&set(&[1, 2, 3])), 3);
        let last = |of_device| Some(Alone { of_device, of_user: false });
        assert_eq!(directory.disconnect(Ordinal(1), 10, 0, None), last(false));
        assert_eq!(directory.shards_of(&[1, 2]), 0b1010);
        assert!(directory.is_occupied(&room("lobby")));
        assert_eq!(directory.disconnect(Ordinal(1), 11, 3, None), last(true));
        assert_eq!(directory.disconnect(Ordinal(1), 11, 3, None), None, "twice");
        assert!(!directory.is_occupied(&room("lobby")));
        assert!(!directory.is_online(Ordinal(1)));
        assert_eq!(directory.connections_of(&set(&[1, 2, 3])), 1);
    }

    proptest! {
        /// Counts are what a list of the connections says, and nobody is let in over a limit.
        #[test]
        fn connections_are_counted_exactly(
            steps in prop::collection::vec((any::<bool>(), 0u32..3, 0u64..12, 0u8..3), 0..80),
        ) {
            let limits = ConnectionLimits { all: 4, per_device: 2, per_user: 3 };
            let key = |user: u32| UserKey(NonZeroU64::new(u64::from(user) + 1).unwrap());
            let mut directory = Directory::default();
            // Connection to device, user (device 0 has one of its own, the others share one) and shard.
            let mut here: std::collections::BTreeMap<u64, (u32, u8)> = std::collections::BTreeMap::new();
            let user_of = |device: u32| device.min(1);
            for (comes, device, connection, shard) in steps {
                if comes && !here.contains_key(&connection) {
                    let of_device = here.values().filter(|(one, _)| *one == device).count();
                    let of_user = here.values().filter(|(one, _)| user_of(*one) == user_of(device)).count();
                    let expected = match (of_device, of_user) {
                        _ if here.len() == 4 => Err(TooMany::Namespace(4)),
                        (2, _) => Err(TooMany::Device(2)),
                        (_, 3) => Err(TooMany::User(3)),
                        _ => Ok(Alone { of_device: of_device == 0, of_user: of_user == 0 }),
                    };
                    let user = Some(key(user_of(device)));
                    prop_assert_eq!(directory.connect(Ordinal(device), connection, shard, user, limits), expected);
                    if expected.is_ok() {
                        here.insert(connection, (device, shard));
                    }
                } else if !comes {
                    let was = here.remove(&connection);
                    let (device, shard) = was.unwrap_or((device, shard));
                    let last = was.map(|_| Alone {
                        of_device: here.values().all(|(one, _)| *one != device),
                        of_user: here.values().all(|(one, _)| user_of(*one) != user_of(device)),
                    });
                    let user = Some(key(user_of(device)));
                    prop_assert_eq!(directory.disconnect(Ordinal(device), connection, shard, user), last);
                }
                for device in 0..3 {
                    let shards = here.values().filter(|(one, _)| *one == device).map(|(_, shard)| *shard);
                    let mask = shards.clone().fold(0, |mask, shard| mask | 1 << shard);
                    prop_assert_eq!(directory.shards_of(&[device]), mask);
                    let count = shards.count() as u64;
                    prop_assert_eq!(directory.connections_of(&set(&[device])), count);
                    prop_assert_eq!(directory.several().contains(device), count > 1);
                }
                let users: std::collections::BTreeSet<_> = here.values().map(|(one, _)| user_of(*one)).collect();
                prop_assert_eq!((directory.connection_count(), directory.user_count()), (here.len(), users.len()));
            }
            for (connection, (device, shard)) in here {
                directory.disconnect(Ordinal(device), connection, shard, Some(key(user_of(device))));
            }
            prop_assert!(directory.users.is_empty() && directory.many.is_empty());
            prop_assert!(directory.alone.is_empty() && directory.shared.is_empty());
        }
    }

    #[test]
    fn rooms_without_members_are_gone() {
        let mut directory = directory();
        directory.forget(Ordinal(1), &[room("lobby")]);
        directory.leave(Ordinal(3), &room("lobby"));
        assert_eq!((directory.room_count(), directory.room(&room("lobby"))), (0, None));
    }
}
