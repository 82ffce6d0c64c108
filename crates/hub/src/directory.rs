//! Who is registered in a namespace, in which room, and online on which shards.
//!
//! One directory for each namespace of a node. Whoever shares it between threads puts a lock around
//! it; every call here is short. It knows ordinals, not names: the store keeps those.

use std::collections::HashMap;

use roaring::RoaringBitmap;
use rustc_hash::FxHashMap;
use tidings_model::{Ordinal, Platform, RoomName};

/// Most shards of a node: one bit each in a route.
pub const SHARDS_MAX: usize = 64;

/// Who is registered, in which room, and online where.
#[derive(Debug, Default)]
pub struct Directory {
    platforms: [RoaringBitmap; Platform::ALL.len()],
    rooms: HashMap<RoomName, RoaringBitmap>,
    online: RoaringBitmap,
    /// The shard of each connection of a device.
    places: FxHashMap<u32, Places>,
    /// The devices with more than one connection.
    several: RoaringBitmap,
    connections: FxHashMap<u64, u32>,
}

#[derive(Debug)]
enum Places {
    One(u8),
    Many(Vec<u8>),
}

impl Places {
    fn list(&self) -> &[u8] {
        match self {
            Self::One(shard) => std::slice::from_ref(shard),
            Self::Many(shards) => shards,
        }
    }
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

    /// A connection of a device has come.
    pub fn connect(&mut self, device: Ordinal, connection: u64, shard: u8) {
        self.connections.insert(connection, device.0);
        self.online.insert(device.0);
        let places = match self.places.remove(&device.0) {
            None => Places::One(shard),
            Some(Places::One(one)) => {
                self.several.insert(device.0);
                Places::Many(vec![one, shard])
            }
            Some(Places::Many(mut many)) => {
                many.push(shard);
                Places::Many(many)
            }
        };
        self.places.insert(device.0, places);
    }

    /// A connection of a device has gone. Answers whether it was the device's last one.
    pub fn disconnect(&mut self, device: Ordinal, connection: u64, shard: u8) -> bool {
        if self.connections.remove(&connection).is_none() {
            return false;
        }
        let left = match self.places.remove(&device.0) {
            Some(Places::Many(mut many)) => {
                if let Some(at) = many.iter().position(|one| *one == shard) {
                    many.swap_remove(at);
                }
                many
            }
            Some(Places::One(_)) | None => Vec::new(),
        };
        match left.as_slice() {
            [] => {
                self.online.remove(device.0);
                return true;
            }
            [one] => {
                self.several.remove(device.0);
                self.places.insert(device.0, Places::One(*one))
            }
            _ => self.places.insert(device.0, Places::Many(left)),
        };
        false
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
        let several = self.several.iter().filter(|device| set.contains(*device));
        let more = several.filter_map(|device| Some(self.places.get(&device)?.list().len() as u64 - 1));
        self.online.intersection_len(set) + more.sum::<u64>()
    }

    /// The shards that have connections of any of these devices, one bit each.
    #[must_use]
    pub fn shards_of(&self, devices: &[u32]) -> u64 {
        let places = devices.iter().filter_map(|device| self.places.get(device));
        places.flat_map(Places::list).fold(0, |mask, shard| mask | 1 << shard)
    }

    /// Whether a device has a connection.
    #[must_use]
    pub fn is_online(&self, device: Ordinal) -> bool {
        self.online.contains(device.0)
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

    /// The devices that are online.
    #[must_use]
    pub fn online(&self) -> &RoaringBitmap {
        &self.online
    }

    /// How many rooms have members.
    #[must_use]
    pub fn room_count(&self) -> usize {
        self.rooms.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ordinals: &[u32]) -> RoaringBitmap {
        ordinals.iter().copied().collect()
    }

    fn room(name: &str) -> RoomName {
        RoomName::new(name).unwrap()
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
        directory.connect(Ordinal(2), 77, 0);
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
        directory.connect(Ordinal(1), 10, 0);
        directory.connect(Ordinal(1), 11, 3);
        directory.connect(Ordinal(2), 12, 1);
        assert_eq!(directory.shards_of(&[1]), 0b1001);
        assert_eq!(directory.connections_of(&set(&[1, 2, 3])), 3);
        assert!(!directory.disconnect(Ordinal(1), 10, 0));
        assert_eq!(directory.shards_of(&[1, 2]), 0b1010);
        assert!(directory.disconnect(Ordinal(1), 11, 3));
        assert!(!directory.disconnect(Ordinal(1), 11, 3), "twice");
        assert!(!directory.is_online(Ordinal(1)));
        assert_eq!(directory.connections_of(&set(&[1, 2, 3])), 1);
    }

    #[test]
    fn rooms_without_members_are_gone() {
        let mut directory = directory();
        directory.forget(Ordinal(1), &[room("lobby")]);
        directory.leave(Ordinal(3), &room("lobby"));
        assert_eq!((directory.room_count(), directory.room(&room("lobby"))), (0, None));
    }
}
