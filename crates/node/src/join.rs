//! Rooms: a device joins and leaves.
//!
//! Order matters. Joining: written down, then subscribed on the shards, then in the directory; so
//! whoever is meant is subscribed. Leaving goes the other way round.

use std::sync::Arc;

use tidings_model::{Ordinal, RoomName, Timestamp};
use tidings_store::port::Which;
use tidings_store::{Device, StoreError};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::namespace::whole;
use crate::presence::{Hint, Interest, Person};
use crate::{Namespace, Node, ToShard};

/// Why a device did not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The device would be in more rooms than the namespace allows.
    #[error("the device would be in {rooms} rooms, at most {limit} are allowed")]
    TooManyRooms {
        /// How many rooms it would be in.
        rooms: usize,
        /// The most that is allowed.
        limit: usize,
    },
    /// The operator has suspended a room that the device is not in.
    #[error("the room {0} is suspended")]
    Suspended(RoomName),
    /// The device belongs to another user now.
    #[error("this device has been taken over by another user")]
    Gone,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Turns of what has a number, one after the other for each. Changes of a device's rooms are one such thing: the store, the shards
/// and the directory are changed in turn, and two devices' changes may mix, but not two of one.
#[derive(Debug)]
pub(crate) struct Turns([Arc<Mutex<()>>; TURNS]);

/// Enough that two of them seldom wait for each other.
const TURNS: usize = 64;

impl Default for Turns {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Arc::default()))
    }
}

impl Turns {
    /// The turn of what has this number.
    pub(crate) async fn of(&self, number: u64) -> OwnedMutexGuard<()> {
        Arc::clone(&self.0[(number % TURNS as u64) as usize]).lock_owned().await
    }
}

impl Namespace {
    /// Has it told that a device that was known is in no room any more; what is told of it later still says whose it was.
    pub(crate) fn is_no_more(&self, device: &Device, at: Timestamp) {
        let who = Person::of(device);
        if self.interest().has(Interest::ANY) {
            self.presence.push(Hint::Gone(who.clone()));
        }
        self.has_left(who, &device.rooms, at);
    }

    /// Has it told that a device is not in these rooms any more.
    pub(crate) fn has_left(&self, who: Person, rooms: &[RoomName], at: Timestamp) {
        self.sight.moved(at, &who, rooms, false);
        if self.interest().has(Interest::MOVED) && !rooms.is_empty() {
            let left = rooms.to_vec();
            self.presence.push(Hint::Moved { who, joined: Vec::new(), left, at });
        }
    }
}

/// Those of `rooms` that are not in `before`, each once.
fn new_ones(before: &[RoomName], rooms: &[RoomName]) -> Vec<RoomName> {
    let mut fresh: Vec<_> =
        rooms.iter().filter(|room| before.binary_search(room).is_err()).cloned().collect();
    fresh.sort_unstable();
    fresh.dedup();
    fresh
}

impl Node {
    /// Puts a device into rooms, as it asks itself. Idempotent. Answers all the rooms it is in.
    ///
    /// # Errors
    /// [`JoinError`]; it joined none of the rooms then.
    pub async fn join(
        self: &Arc<Self>,
        namespace: &Arc<Namespace>,
        device: Ordinal,
        rooms: Vec<RoomName>,
    ) -> Result<Vec<RoomName>, JoinError> {
        self.put_into(namespace, device, rooms, false).await
    }

    /// The same; the server puts devices into suspended rooms, too.
    pub(crate) async fn put_into(
        self: &Arc<Self>,
        namespace: &Arc<Namespace>,
        device: Ordinal,
        rooms: Vec<RoomName>,
        by_server: bool,
    ) -> Result<Vec<RoomName>, JoinError> {
        let limit = namespace.settings().most_rooms();
        let turn = self.turns.of(device.0.into()).await;
        let found = self.store.devices(&namespace.name, Which::Ordinals(vec![device])).await?;
        let found = found.into_iter().flatten().next().ok_or(JoinError::Gone)?;
        let person = Person::of(&found);
        let (fresh, mut after) = (new_ones(&found.rooms, &rooms), found.rooms);
        if let Some(room) = fresh.iter().find(|room| !by_server && namespace.is_suspended(room)) {
            return Err(JoinError::Suspended(room.clone()));
        }
        after.extend_from_slice(&rooms);
        after.sort_unstable();
        after.dedup();
        // A limit that was lowered meanwhile takes nobody out.
        if !fresh.is_empty() && after.len() > limit {
            return Err(JoinError::TooManyRooms { rooms: after.len(), limit });
        }
        let (node, namespace) = (Arc::clone(self), Arc::clone(namespace));
        let joined = whole(async move {
            let _turn = turn;
            let now = node.store.change_rooms(&namespace.name, device, rooms.clone(), Vec::new()).await?;
            // It may have become another user's just now. A room that it were in would have a member that nobody knows.
            let Some(now) = now else { return Ok(None) };
            node.tell_rooms(&namespace, device, &rooms, &[]).await;
            {
                let mut directory = namespace.directory();
                for room in &rooms {
                    directory.join(device, room);
                }
            }
            let (who, at) = (person, node.now());
            namespace.sight.moved(at, &who, &fresh, true);
            if namespace.interest().has(Interest::MOVED) && !fresh.is_empty() {
                namespace.presence.push(Hint::Moved { who, joined: fresh, left: Vec::new(), at });
            }
            Ok(Some(now))
        });
        joined.await?.ok_or(JoinError::Gone)
    }

    /// Takes a device out of rooms. Idempotent. Answers all the rooms it is still in.
    ///
    /// # Errors
    /// When the store failed; the device may still be in the rooms then.
    pub async fn leave(
        self: &Arc<Self>,
        namespace: &Arc<Namespace>,
        device: Ordinal,
        rooms: Vec<RoomName>,
    ) -> Result<Vec<RoomName>, StoreError> {
        let turn = self.turns.of(device.0.into()).await;
        let (node, namespace) = (Arc::clone(self), Arc::clone(namespace));
        whole(async move {
            let _turn = turn;
            let Some(found) = node.known(&namespace, device).await? else { return Ok(Vec::new()) };
            let now = node.store.change_rooms(&namespace.name, device, Vec::new(), rooms.clone()).await?;
            // It may have become another user's just now, and whoever sees to that takes it out and tells so.
            let Some(now) = now else { return Ok(Vec::new()) };
            let mut left = rooms.clone();
            {
                let mut directory = namespace.directory();
                left.retain(|room| directory.room(room).is_some_and(|members| members.contains(device.0)));
                for room in &rooms {
                    directory.leave(device, room);
                }
            }
            node.tell_rooms(&namespace, device, &[], &rooms).await;
            left.sort_unstable();
            left.dedup();
            namespace.has_left(Person::of(&found), &left, node.now());
            Ok(now)
        })
        .await
    }

    async fn tell_rooms(
        &self,
        namespace: &Namespace,
        device: Ordinal,
        join: &[RoomName],
        leave: &[RoomName],
    ) {
        let mask = namespace.directory().shards_of(&[device.0]);
        let namespace = namespace.name.clone();
        let what = ToShard::Rooms { namespace, device, join: join.into(), leave: leave.into() };
        self.shards.tell(mask, what).await;
    }
}
