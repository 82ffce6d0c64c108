//! What is looked at in a namespace, and what of all that happens there is shown to whom. It knows devices by their
//! ordinals and messages by their numbers, and looks nothing up.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use roaring::RoaringBitmap;
use tidings_hub::Directory;
use tidings_model::{
    DeviceId, Disconnect, Message, MessageId, Ordinal, RoomName, Seq, Step, Timestamp, Topic, UserId,
};
use tidings_store::port::TraceStep;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::Subject;
use crate::presence::Person;

/// Most devices that are named of one step; of more only their number is told.
const NAMED_MAX: u64 = 20;

/// Most messages of rooms that an observer follows; beyond that it lets go of the oldest.
const FOLLOWED_MAX: usize = 4_096;

/// To whom something happened.
#[derive(Debug)]
pub(crate) enum By {
    Each(Box<[u32]>),
    Many(u64),
}

impl By {
    fn of(devices: &RoaringBitmap) -> Self {
        if devices.len() <= NAMED_MAX {
            Self::Each(devices.iter().collect())
        } else {
            Self::Many(devices.len())
        }
    }

    pub(super) fn each(&self) -> impl Iterator<Item = Ordinal> {
        let each: &[u32] = match self {
            Self::Each(each) => each,
            Self::Many(_) => &[],
        };
        each.iter().copied().map(Ordinal)
    }
}

/// Something that has happened, by numbers.
#[derive(Debug)]
pub(crate) enum Raw {
    /// So much is missing here.
    Lost(u64),
    Accepted {
        at: Timestamp,
        seq: Seq,
        id: MessageId,
        /// Whether it was accepted just now, and not before, to be sent now.
        fresh: bool,
        /// When it is to be sent, in words, if not now.
        scheduled: Option<String>,
        room: Option<RoomName>,
        by: By,
    },
    Stepped {
        at: Timestamp,
        seq: Seq,
        step: Step,
        by: By,
        room: Option<RoomName>,
        detail: String,
    },
    Came {
        at: Timestamp,
        who: Person,
        connection: u64,
        first: bool,
    },
    Went {
        at: Timestamp,
        who: Ordinal,
        connection: u64,
        why: Disconnect,
        last: bool,
    },
    Moved {
        at: Timestamp,
        who: Person,
        room: RoomName,
        joined: bool,
    },
}

/// A connection that has gone.
#[derive(Debug)]
pub(crate) struct Gone {
    pub(crate) at: Timestamp,
    pub(crate) who: Ordinal,
    pub(crate) connection: u64,
    pub(crate) why: Disconnect,
    /// Whether it was the last one of its user.
    pub(crate) last: bool,
}

/// What is looked at in a namespace.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    /// How many look. Asked whenever anything happens.
    looking: AtomicUsize,
    looks: Mutex<Vec<Look>>,
}

/// What one observer looks at. Held only for moments, and nothing else is locked meanwhile.
#[derive(Debug)]
struct Look {
    id: u64,
    users: Vec<UserId>,
    devices: Vec<DeviceId>,
    rooms: Vec<RoomName>,
    /// The devices of the users, and the devices.
    ordinals: RoaringBitmap,
    /// Messages for the rooms.
    followed: BTreeMap<Seq, RoomName>,
    queue: mpsc::Sender<Raw>,
    /// What did not fit into the queue, and it does not know of yet.
    lost: u64,
}

impl Look {
    fn show(&mut self, raw: Raw) {
        if self.lost > 0 {
            match self.queue.try_send(Raw::Lost(self.lost)) {
                Ok(()) => self.lost = 0,
                Err(_) => {
                    self.lost += 1;
                    return;
                }
            }
        }
        if let Err(TrySendError::Full(_)) = self.queue.try_send(raw) {
            self.lost += 1;
        }
    }

    fn names(&self, who: &Person) -> bool {
        self.devices.contains(&who.device) || who.user.as_ref().is_some_and(|user| self.users.contains(user))
    }

    fn room_of(&self, rooms: &[RoomName]) -> Option<RoomName> {
        self.rooms.iter().find(|room| rooms.contains(room)).cloned()
    }
}

impl Sight {
    /// Whether anybody looks. One load.
    pub(crate) fn is_looked_at(&self) -> bool {
        self.looking.load(Ordering::Relaxed) > 0
    }

    pub(super) fn look(&self, id: u64, subjects: &[Subject], queue: mpsc::Sender<Raw>) {
        let (mut users, mut devices, mut rooms) = (Vec::new(), Vec::new(), Vec::new());
        for subject in subjects {
            match subject {
                Subject::User(user) => users.push(user.clone()),
                Subject::Device(device) => devices.push(device.clone()),
                Subject::Room(room) => rooms.push(room.clone()),
            }
        }
        let (ordinals, followed) = Default::default();
        self.lock().push(Look { id, users, devices, rooms, ordinals, followed, queue, lost: 0 });
        self.looking.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn look_away(&self, id: u64) {
        self.looking.fetch_sub(1, Ordering::Relaxed);
        self.lock().retain(|look| look.id != id);
    }

    /// These devices are looked at, too.
    pub(super) fn add(&self, id: u64, ordinals: impl Iterator<Item = u32>) {
        if let Some(look) = self.lock().iter_mut().find(|look| look.id == id) {
            look.ordinals.extend(ordinals);
        }
    }

    pub(super) fn take_lost(&self, id: u64) -> Option<u64> {
        let mut looks = self.lock();
        let look = looks.iter_mut().find(|look| look.id == id)?;
        Some(std::mem::take(&mut look.lost)).filter(|lost| *lost > 0)
    }

    /// A device is registered: perhaps it is one that is looked at.
    pub(crate) fn registered(&self, who: &Person) {
        for look in self.lock().iter_mut().filter(|look| look.names(who)) {
            look.ordinals.insert(who.ordinal.0);
        }
    }

    /// A connection of a device that is in these rooms has come. Whether it is the first one of its user.
    pub(crate) fn came(&self, at: Timestamp, who: &Person, rooms: &[RoomName], connection: u64, first: bool) {
        for look in self.lock().iter_mut() {
            if look.names(who) {
                look.ordinals.insert(who.ordinal.0);
            } else if look.room_of(rooms).is_none() {
                continue;
            }
            look.show(Raw::Came { at, who: who.clone(), connection, first });
        }
    }

    /// A connection has gone.
    pub(crate) fn went(&self, directory: &Directory, gone: &Gone) {
        let Gone { at, who, connection, why, last } = *gone;
        let is_in = |room: &RoomName| directory.room(room).is_some_and(|members| members.contains(who.0));
        for look in self.lock().iter_mut() {
            let concerns = look.ordinals.contains(who.0) || look.rooms.iter().any(is_in);
            if concerns {
                look.show(Raw::Went { at, who, connection, why, last });
            }
        }
    }

    /// A device has joined these rooms, or left them.
    pub(crate) fn moved(&self, at: Timestamp, who: &Person, rooms: &[RoomName], joined: bool) {
        if !self.is_looked_at() {
            return;
        }
        for look in self.lock().iter_mut() {
            let its_own = look.ordinals.contains(who.ordinal.0) || look.names(who);
            for room in rooms {
                if its_own || look.rooms.contains(room) {
                    look.show(Raw::Moved { at, who: who.clone(), room: room.clone(), joined });
                }
            }
        }
    }

    /// A message has its place: it was accepted just now (`fresh`), or its time has come.
    pub(crate) fn accepted(&self, message: &Message, fresh: bool) {
        if !self.is_looked_at() {
            return;
        }
        let scheduled = message.is_scheduled().then(|| {
            let wait = message.deliver_at.unwrap_or_default().since(message.accepted_at);
            format!("to be sent {} s later", wait.as_secs_f64())
        });
        for look in self.lock().iter_mut() {
            let room = message.topics.iter().find_map(|(topic, _)| match topic {
                Topic::Room(room) => look.rooms.contains(room).then(|| room.clone()),
                Topic::All | Topic::User(_) | Topic::Device(_) => None,
            });
            let room = room.or_else(|| look.room_of(&message.to.rooms));
            let by = match &room {
                Some(_) => (*message.meant).clone(),
                None => &*message.meant & &look.ordinals,
            };
            // What is for somebody who has no device, and what is for everybody later.
            let named = look.users.iter().any(|user| message.to.users.contains(user))
                || look.devices.iter().any(|device| message.to.devices.contains(device))
                || scheduled.is_some() && message.to.all;
            if room.is_none() && by.is_empty() && !named {
                continue;
            }
            if let Some(room) = &room {
                look.followed.insert(message.seq, room.clone());
                if look.followed.len() > FOLLOWED_MAX {
                    look.followed.pop_first();
                }
            }
            let (seq, id, by) = (message.seq, message.id.clone(), By::of(&by));
            let at = if fresh { message.accepted_at } else { message.sent_at };
            look.show(Raw::Accepted { at, seq, id, fresh, scheduled: scheduled.clone(), room, by });
        }
    }

    /// Whether a message that is meant for these is of any interest.
    pub(crate) fn concerns(&self, seq: Seq, meant: &RoaringBitmap) -> bool {
        let looks = self.lock();
        looks.iter().any(|look| !look.ordinals.is_disjoint(meant) || look.followed.contains_key(&seq))
    }

    /// Something has happened to a message on its way. Who had acknowledged it already is shown no more that it was written.
    pub(crate) fn stepped(&self, seq: Seq, steps: &[TraceStep], acked: &RoaringBitmap) {
        for look in self.lock().iter_mut() {
            let room = look.followed.get(&seq).cloned();
            for TraceStep { at, step, by, detail } in steps {
                let mut by = match &room {
                    Some(_) => by.clone(),
                    None => by & &look.ordinals,
                };
                if *step == Step::Written {
                    by -= acked;
                }
                if by.is_empty() {
                    continue;
                }
                let (by, room, detail) = (By::of(&by), room.clone(), detail.clone());
                look.show(Raw::Stepped { at: *at, seq, step: *step, by, room, detail });
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Look>> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
