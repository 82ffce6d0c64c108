//! What was promised, as small as it can be said: who was meant, who has it, who may still get it.

use std::collections::{BTreeMap, BTreeSet};

/// Devices are named by small numbers here.
pub type DeviceNumber = usize;

/// A message as the model knows it.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// Its id.
    pub id: String,
    /// Who was meant.
    pub meant: BTreeSet<DeviceNumber>,
    /// From when on it is delivered no longer.
    pub expires_at: u64,
    /// Its collapse key.
    pub collapse_key: Option<String>,
    /// Whether its time has not come yet, and when it does.
    pub scheduled: Option<Scheduled>,
    /// Whether it was recalled.
    pub recalled: bool,
    /// Whose receipts are on record for certain.
    pub acked: BTreeSet<DeviceNumber>,
    /// Whose receipts a crash would forget.
    pub perhaps_acked: BTreeSet<DeviceNumber>,
    /// Whose receipts a crash has forgotten, or has not.
    pub unknown: BTreeSet<DeviceNumber>,
    /// For whom a newer message has taken its place.
    pub superseded: BTreeSet<DeviceNumber>,
    /// For whom that is so new that a crash would forget it: then they are given both.
    pub just_superseded: BTreeSet<DeviceNumber>,
    /// For whom a crash has forgotten it, or has not.
    pub perhaps_superseded: BTreeSet<DeviceNumber>,
    /// The room that it was for, if it was for one.
    pub room: Option<usize>,
    /// Who has left that room since: they need not be given it.
    pub left: BTreeSet<DeviceNumber>,
}

/// A message whose time has not come.
#[derive(Clone, Debug)]
pub struct Scheduled {
    /// When it does.
    pub at: u64,
    /// How long it lives from then on.
    pub life: u64,
    /// Who is meant then.
    pub to: To,
}

/// Who is meant.
#[derive(Clone, Debug)]
pub enum To {
    /// Everybody.
    All,
    /// A user.
    User(usize),
    /// A room.
    Room(usize),
}

/// Everything that was promised.
#[derive(Debug, Default)]
pub struct Model {
    /// The messages in the order of their acceptance.
    pub messages: Vec<Message>,
    /// The user of each device that is registered.
    pub devices: BTreeMap<DeviceNumber, usize>,
    /// The members of each room.
    pub rooms: BTreeMap<usize, BTreeSet<DeviceNumber>>,
}

impl Model {
    /// Who is meant by a push now.
    #[must_use]
    pub fn meant(&self, to: &To) -> BTreeSet<DeviceNumber> {
        match to {
            To::All => self.devices.keys().copied().collect(),
            To::User(user) => {
                self.devices.iter().filter(|(_, of)| *of == user).map(|(device, _)| *device).collect()
            }
            To::Room(room) => self.rooms.get(room).cloned().unwrap_or_default(),
        }
    }

    /// A message is delivered from now on, and takes the place of older ones.
    pub fn send(&mut self, mut message: Message, now: u64) {
        message.scheduled = None;
        if message.collapse_key.is_some() {
            for old in &mut self.messages {
                if old.collapse_key == message.collapse_key && old.scheduled.is_none() && now < old.expires_at
                {
                    // What a crash has made of an earlier one stays as it is: the place is taken from that one now.
                    let both = old.meant.intersection(&message.meant);
                    let fresh = both.filter(|device| !old.perhaps_superseded.contains(device));
                    old.just_superseded.extend(fresh);
                }
            }
        }
        self.messages.push(message);
    }

    /// The message with this id.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<&Message> {
        self.messages.iter().find(|message| message.id == id)
    }

    /// The message with this id, to change it.
    pub fn find_mut(&mut self, id: &str) -> Option<&mut Message> {
        self.messages.iter_mut().find(|message| message.id == id)
    }
}

impl Message {
    /// Whether a device may be given it now.
    #[must_use]
    pub fn may_reach(&self, device: DeviceNumber, now: u64) -> bool {
        self.scheduled.is_none()
            && self.meant.contains(&device)
            && !self.recalled
            && now < self.expires_at
            && !self.acked.contains(&device)
            && !self.superseded.contains(&device)
            && !self.just_superseded.contains(&device)
    }

    /// Whether a device that comes has to be given it: nobody can have forgotten a receipt either.
    #[must_use]
    pub fn must_reach(&self, device: DeviceNumber, now: u64) -> bool {
        let perhaps = [&self.perhaps_acked, &self.unknown, &self.perhaps_superseded, &self.left]
            .iter()
            .any(|set| set.contains(&device));
        self.may_reach(device, now) && !perhaps
    }
}
