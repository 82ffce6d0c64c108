//! What happens: steps drawn from a seed, each taken by the world and by the model, and what is checked after each.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use tidings_model::{Durability, EventName, Except, Priority, Push, Target, Timestamp};

use crate::model::{DeviceNumber, Message, Model, Scheduled, To};
use crate::random::Random;
use crate::world::{Given, World};

const DEVICES: usize = 6;
const USERS: usize = 3;
const ROOMS: usize = 2;

/// What a history came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What happened, step by step: the same for the same seed.
    pub log: String,
    /// How many messages there were.
    pub messages: usize,
    /// How many were given to devices, repetitions included.
    pub given: usize,
}

struct History {
    random: Random,
    world: Option<World>,
    model: Model,
    log: String,
    given: usize,
    /// What each device was given on its connection, and has not acknowledged there.
    at_hand: BTreeMap<DeviceNumber, Vec<String>>,
    /// Where each device stands in each topic on its connection.
    offsets: BTreeMap<(DeviceNumber, String), u64>,
    /// What each device was given on its connection.
    seen: BTreeMap<DeviceNumber, BTreeSet<String>>,
    /// Which devices do not hear.
    deaf: BTreeSet<DeviceNumber>,
}

/// Runs a history of so many steps.
///
/// # Panics
/// When a promise is broken; the message says which, and ends with the log.
#[must_use]
pub fn run(seed: u64, steps: usize) -> Outcome {
    let mut history = History {
        random: Random::new(seed),
        world: Some(World::new(1_000_000)),
        model: Model::default(),
        log: String::new(),
        given: 0,
        at_hand: BTreeMap::new(),
        offsets: BTreeMap::new(),
        seen: BTreeMap::new(),
        deaf: BTreeSet::new(),
    };
    for _ in 0..steps {
        history.step();
        history.look();
    }
    history.end();
    Outcome { messages: history.model.messages.len(), given: history.given, log: history.log }
}

impl History {
    fn world(&mut self) -> &mut World {
        self.world.as_mut().unwrap_or_else(|| unreachable!("it is away only while it crashes"))
    }

    fn note(&mut self, what: impl std::fmt::Display) {
        let _ = writeln!(self.log, "{what}");
    }

    fn broken(&self, what: impl std::fmt::Display) -> ! {
        panic!("{what}\n{}", self.log)
    }

    fn step(&mut self) {
        let device = self.random.below(DEVICES);
        let here = self.world().is_connected(device);
        match self.random.below(100) {
            0..30 => self.push(),
            30..50 if here => self.acknowledge(device),
            30..50 => self.come(device),
            50..60 if here => self.go(device),
            50..60 => self.come(device),
            60..66 if here => self.change_room(device),
            66..72 if here => {
                self.note(format_args!("d{device} catches up"));
                self.world().catch_up(device);
            }
            72..76 if here => {
                self.note(format_args!("d{device} falls deaf"));
                self.deaf.insert(device);
                self.world().deafen(device);
            }
            76..82 => self.recall(),
            82..90 => self.wait(),
            90..93 => self.crash(),
            93..96 => self.again(),
            _ => {
                self.note("rest");
                self.world().rest();
                self.certain();
            }
        }
    }

    fn push(&mut self) {
        let to = match self.random.below(4) {
            0 => To::All,
            1 | 2 => To::User(self.random.below(USERS)),
            _ => To::Room(self.random.below(ROOMS)),
        };
        let now = self.world().now();
        let life = [300, 5_000, 60_000][self.random.below(3)];
        let scheduled = self.random.percent(12).then(|| now + 1 + self.random.below(4_000) as u64);
        let message = Message {
            id: format!("m{}", self.model.messages.len()),
            meant: if scheduled.is_some() { BTreeSet::new() } else { self.model.meant(&to) },
            expires_at: scheduled.unwrap_or(now) + life,
            collapse_key: self.random.percent(25).then(|| format!("k{}", self.random.below(2))),
            room: if let To::Room(room) = to { Some(room) } else { None },
            scheduled: scheduled.map(|at| Scheduled { at, life, to: to.clone() }),
            ..Message::default()
        };
        let high = self.random.percent(20);
        self.note(format_args!(
            "at {now} push {} to {to:?}, lives {life}, key {:?}, scheduled {scheduled:?}",
            message.id, message.collapse_key
        ));
        let new = self.world().push(push(&message, &to, life, high));
        if !new {
            self.broken(format_args!("{} is new", message.id));
        }
        if scheduled.is_some() {
            self.model.messages.push(message);
        } else {
            self.model.send(message, now);
        }
    }

    /// A retry is the same message, and nothing is sent again.
    fn again(&mut self) {
        let live: Vec<Message> =
            self.model.messages.iter().filter(|message| message.scheduled.is_none()).cloned().collect();
        let Some(message) = self.random.pick(&live).cloned() else { return };
        self.note(format_args!("push {} again", message.id));
        if self.world().push(push(&message, &To::All, 1_000, false)) {
            self.broken(format_args!("{} is not new", message.id));
        }
    }

    fn come(&mut self, device: DeviceNumber) {
        self.note(format_args!("d{device} comes"));
        let user = device % USERS;
        self.world().come(device, user);
        self.model.devices.insert(device, user);
        self.forget_connection(device);
        if self.random.percent(70) {
            self.note(format_args!("d{device} catches up"));
            self.world().catch_up(device);
        }
    }

    fn go(&mut self, device: DeviceNumber) {
        self.note(format_args!("d{device} goes"));
        self.world().go(device);
        self.forget_connection(device);
    }

    fn forget_connection(&mut self, device: DeviceNumber) {
        self.deaf.remove(&device);
        self.at_hand.remove(&device);
        self.seen.remove(&device);
        self.offsets.retain(|(of, _), _| *of != device);
    }

    fn change_room(&mut self, device: DeviceNumber) {
        let (room, join) = (self.random.below(ROOMS), self.random.percent(70));
        self.note(format_args!("d{device} {} r{room}", if join { "joins" } else { "leaves" }));
        self.world().change_room(device, room, join);
        let members = self.model.rooms.entry(room).or_default();
        if join {
            members.insert(device);
        } else {
            members.remove(&device);
            for message in self.model.messages.iter_mut().filter(|message| message.room == Some(room)) {
                message.left.insert(device);
            }
        }
    }

    /// A device acknowledges some of what it was given, and perhaps something that it was not.
    fn acknowledge(&mut self, device: DeviceNumber) {
        let mut ids = self.at_hand.remove(&device).unwrap_or_default();
        let keep = if self.random.percent(30) { ids.len() / 2 } else { 0 };
        let left = ids.split_off(ids.len() - keep);
        self.at_hand.insert(device, left);
        if self.random.percent(50) {
            for id in ids {
                self.note(format_args!("d{device} calls back for {id}"));
                self.world().call_back(device, &id);
                if let Some(message) = self.model.find_mut(&id) {
                    message.perhaps_acked.insert(device);
                }
            }
            return;
        }
        if self.random.percent(20) {
            ids.push("nobody-knows".to_owned());
            let strangers: Vec<String> = self
                .model
                .messages
                .iter()
                .filter(|message| !message.meant.contains(&device))
                .map(|message| message.id.clone())
                .collect();
            ids.extend(self.random.pick(&strangers).cloned());
        }
        if ids.is_empty() {
            return;
        }
        self.note(format_args!("d{device} acknowledges {ids:?}"));
        self.world().acknowledge(device, &ids);
        for id in ids {
            if let Some(message) = self.model.find_mut(&id).filter(|message| message.meant.contains(&device))
            {
                message.acked.insert(device);
                message.perhaps_acked.remove(&device);
                message.unknown.remove(&device);
            }
        }
    }

    fn recall(&mut self) {
        let Some(message) = self.random.pick(&self.model.messages.clone()).cloned() else { return };
        self.note(format_args!("recall {}", message.id));
        self.world().recall(&message.id);
        if let Some(message) = self.model.find_mut(&message.id) {
            message.recalled = true;
        }
    }

    fn wait(&mut self) {
        let ms = [50, 400, 3_000, 10_000][self.random.below(4)];
        let until = self.world().now() + ms;
        self.note(format_args!("wait {ms} until {until}"));
        self.world().wait(ms);
        self.certain();
        // What was scheduled is sent, in the order of its times; at the same time in that of its acceptance.
        let mut due: Vec<(u64, usize)> = (self.model.messages.iter().enumerate())
            .filter_map(|(at, message)| Some((message.scheduled.as_ref()?.at, at)))
            .filter(|(at, _)| *at <= until)
            .collect();
        due.sort_unstable();
        let mut sent = Vec::new();
        for (_, at) in &due {
            let message = self.model.messages[*at].clone();
            if let (Some(scheduled), false) = (message.scheduled.clone(), message.recalled) {
                let meant = self.model.meant(&scheduled.to);
                let left = BTreeSet::new();
                sent.push(Message { meant, left, expires_at: scheduled.at + scheduled.life, ..message });
            } else if let Some(scheduled) = &mut self.model.messages[*at].scheduled {
                // Recalled before its time: it stays what it is for ever.
                scheduled.at = u64::MAX;
            }
        }
        self.model.messages.retain(|message| sent.iter().all(|sent| sent.id != message.id));
        for message in sent {
            self.note(format_args!("{} is sent to {:?}", message.id, message.meant));
            self.model.send(message, until);
        }
    }

    fn crash(&mut self) {
        self.note("crash");
        self.world = self.world.take().map(World::crash);
        for message in &mut self.model.messages {
            message.unknown.append(&mut message.perhaps_acked);
            message.perhaps_superseded.append(&mut message.just_superseded);
        }
        for device in 0..DEVICES {
            self.forget_connection(device);
        }
    }

    /// Everything that a crash could have forgotten is on record now.
    fn certain(&mut self) {
        for message in &mut self.model.messages {
            let now_certain: Vec<_> = message.perhaps_acked.iter().copied().collect();
            for device in message.perhaps_acked.iter() {
                message.unknown.remove(device);
            }
            message.acked.extend(now_certain);
            message.perhaps_acked.clear();
            message.superseded.append(&mut message.just_superseded);
        }
    }

    /// Whatever devices were given, they were to be given, and in order.
    fn look(&mut self) {
        let now = self.world().now();
        for (device, given) in self.world().take_given() {
            self.given += 1;
            self.note(format_args!("  d{device} is given {given:?}"));
            let (id, topic, offset) = match given {
                Given::Push { id, topic, offset } => (id, topic, offset),
                Given::Recall { id } => {
                    if self.model.find(&id).is_none_or(|message| !message.recalled) {
                        self.broken(format_args!(
                            "d{device} hears of a recall of {id} that nobody has asked for"
                        ));
                    }
                    continue;
                }
            };
            let Some(message) = self.model.find(&id) else {
                self.broken(format_args!("d{device} is given {id}, which nobody has pushed"))
            };
            if !message.may_reach(device, now) {
                self.broken(format_args!(
                    "at {now} d{device} is given {id}, which is not for it (any more): {message:?}"
                ));
            }
            let at = self.offsets.entry((device, topic.clone())).or_default();
            if offset <= *at {
                let before = *at;
                self.broken(format_args!("d{device} is given {topic}/{offset} behind {before}"));
            }
            *at = offset;
            if !self.seen.entry(device).or_default().insert(id.clone()) {
                self.broken(format_args!("d{device} is given {id} twice on one connection"));
            }
            self.at_hand.entry(device).or_default().push(id);
        }
    }

    /// Everybody comes once more and stays: each is given exactly what is still for it, and the books say the same.
    fn end(&mut self) {
        self.world().rest();
        self.certain();
        self.look();
        let devices: Vec<_> = self.model.devices.clone().into_iter().collect();
        for (device, user) in devices {
            if self.world().is_connected(device) {
                self.go(device);
                self.look();
            }
            self.note(format_args!("d{device} comes for the last time"));
            self.world().come(device, user);
            self.world().catch_up(device);
            self.look();
            let now = self.world().now();
            let seen = self.seen.remove(&device).unwrap_or_default();
            for message in &self.model.messages {
                if message.must_reach(device, now) && !seen.contains(&message.id) {
                    self.broken(format_args!("d{device} is not given {}: {message:?}", message.id));
                }
            }
        }
        self.world().rest();
        let now = self.world().now();
        for message in self.model.messages.clone() {
            let Some([acked, waiting, expired, dropped, recalled]) = self.world().report(&message.id) else {
                self.broken(format_args!("there are no books of {}", message.id))
            };
            let certain = message.acked.len();
            let (least, most) = (certain as u64, (certain + message.unknown.len()) as u64);
            let superseded = message.superseded.union(&message.perhaps_superseded);
            let superseded = superseded.filter(|device| !message.acked.contains(device)).count() as u64;
            let wrong = !(least..=most).contains(&acked)
                || dropped > superseded
                || (waiting > 0 && (message.recalled || now >= message.expires_at))
                || (expired > 0 && now < message.expires_at);
            if wrong {
                self.broken(format_args!(
                    "the books of {} are wrong: acked {acked} waiting {waiting} expired {expired} dropped {dropped} recalled {recalled}, {message:?}",
                    message.id
                ));
            }
        }
    }
}

fn push(message: &Message, to: &To, life: u64, high: bool) -> Push {
    let mut target = Target::default();
    match to {
        To::All => target.all = true,
        To::User(user) => target.users.extend(format!("u{user}").parse()),
        To::Room(room) => target.rooms.extend(format!("r{room}").parse()),
    }
    Push {
        to: target,
        except: Except::default(),
        event: EventName::new("push").unwrap_or_else(|_| unreachable!("it is a name")),
        data: Bytes::from_static(b"1"),
        id: message.id.parse().ok(),
        // Every push under an id is the same one here.
        fingerprint: [1; 16],
        ttl: Duration::from_millis(life),
        priority: if high { Priority::High } else { Priority::Normal },
        durability: Durability::Durable,
        keep: true,
        collapse_key: message.collapse_key.as_ref().and_then(|key| key.parse().ok()),
        deliver_at: message.scheduled.as_ref().map(|scheduled| Timestamp(scheduled.at)),
        escalate_after: None,
        offline: Bytes::new(),
        from: None,
        aside: Bytes::new(),
    }
}
