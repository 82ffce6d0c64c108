//! The actor of a namespace: takes hints, finds out what they come to, writes it down, and has it told.
//!
//! What it has decided and could not write down is kept and written first of all the next time; nothing newer overtakes
//! it. Signals do not wait for the disk.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use tidings_hub::directory::UserKey;
use tidings_model::{DeviceId, Message, Ordinal, RoomName, Seq, Timestamp};
use tidings_store::port::Which;
use tidings_store::{Device, StoreError};
use tokio::sync::oneshot;

use super::signal::{RECEIVERS_PER_SECOND, ROOM_MAX, ROOMS_MAX, Signal, SignalKind};
use super::stays::{Ended, STAYS_MAX, Stays};
use super::{Hint, Interest, Person, data, stay};
use crate::metrics::Unsent;
use crate::notify::{Notice, NoticeKind, Told};
use crate::{Namespace, Node, ToShard};

/// Most hints that are taken at once.
const HINTS: usize = 1_024;

/// Most stays that end at once, and most devices that are looked up together.
const TOGETHER: usize = 256;

/// Most stays that are cleared away at once.
const CLEARED: usize = 4_096;

/// How long it sleeps at most: clocks may be set while it does.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// How long it waits after a failure of the store.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Most devices that are not known any more of which it is known whose they were.
const GONE_MAX: usize = 1_024;

/// What a turn has come to.
enum Next {
    /// There is more to do.
    Again,
    /// There is nothing to do for so long.
    Wait(Duration),
    /// Nobody wants to know anything any more.
    Over,
}

/// What is to be written down.
#[derive(Default)]
struct Unwritten {
    told: Told,
    records: Vec<(String, Option<Bytes>)>,
}

/// What the actor knows.
#[derive(Default)]
pub(super) struct Watch {
    /// Who is online, while that is kept.
    stays: Option<Stays>,
    /// Whether there is nothing on record of anybody, because nobody wants to know.
    cleared: bool,
    /// Whether it is kept which rooms are occupied.
    keeps_rooms: bool,
    /// The rooms that somebody online is in, as far as has been told.
    occupied: HashSet<RoomName>,
    /// Who was forgotten or became another user's, the last ones: their connections end only then.
    gone: VecDeque<Person>,
    /// What it has taken and not dealt with.
    hints: Vec<Hint>,
    /// From which device on those who are online are looked at, while they are.
    adopting: Option<u32>,
    unwritten: Unwritten,
    flushed: Vec<oneshot::Sender<()>>,
    budget: Budget,
}

/// How many devices may still be told something.
#[derive(Default)]
struct Budget {
    left: u64,
    at: Timestamp,
}

impl Budget {
    fn take(&mut self, count: u64, now: Timestamp) -> bool {
        let passed = u64::try_from(now.since(self.at).as_millis()).unwrap_or(u64::MAX);
        let more = passed.saturating_mul(RECEIVERS_PER_SECOND) / 1_000;
        if more > 0 {
            self.left = self.left.saturating_add(more).min(RECEIVERS_PER_SECOND);
            self.at = now;
        }
        let taken = self.left >= count;
        self.left -= if taken { count } else { 0 };
        taken
    }
}

/// What was looked up of what hints name.
#[derive(Default)]
struct Found {
    devices: HashMap<Ordinal, Device>,
    messages: HashMap<Seq, Arc<Message>>,
    /// The first number for a stay that begins.
    number: u64,
}

impl Found {
    fn person(&self, ordinal: Ordinal) -> Option<Person> {
        self.devices.get(&ordinal).map(Person::of)
    }
}

/// Works until nobody wants to know anything of the namespace any more, or the node is gone.
pub(super) async fn run(node: Weak<Node>, namespace: Weak<Namespace>) {
    let mut watch = Watch::default();
    loop {
        let (Some(here), Some(of)) = (node.upgrade(), namespace.upgrade()) else { return };
        let pause = match watch.turn(&here, &of).await {
            Ok(Next::Again) => continue,
            Ok(Next::Wait(pause)) => pause.min(SLEEP_MAX),
            Ok(Next::Over) if of.presence.end() => return,
            Ok(Next::Over) => continue,
            Err(StoreError::Closed) => return,
            Err(why) => {
                tracing::error!(error = %why, namespace = %of.name, "who comes and goes cannot be written down; trying again");
                drop(here);
                tokio::time::sleep(AFTER_FAILURE).await;
                continue;
            }
        };
        drop(here);
        of.presence.changed(pause).await;
    }
}

impl Watch {
    /// Does what is to be done.
    async fn turn(&mut self, node: &Node, namespace: &Namespace) -> Result<Next, StoreError> {
        self.write(node).await?;
        let interest = namespace.interest();
        self.follow(node, namespace, interest).await?;
        let mut more = self.take(node, namespace).await?;
        let found = self.look_up(node, namespace, interest).await?;
        let ending = self.ending(node, namespace).await?;
        more |= ending.len() == TOGETHER;
        let mut turn = Turn {
            node,
            namespace,
            interest,
            number: found.number,
            found,
            notices: Vec::new(),
            signals: Vec::new(),
        };
        let hints = std::mem::take(&mut self.hints);
        // Whose it was is asked for by what came before, too: it was looked up only now.
        self.gone.extend(hints.iter().filter_map(|hint| match hint {
            Hint::Gone(who) => Some(who.clone()),
            _ => None,
        }));
        for hint in hints {
            self.consider(&mut turn, hint);
        }
        self.gone.drain(..self.gone.len().saturating_sub(GONE_MAX));
        for (key, devices) in ending {
            self.end(&mut turn, key, devices);
        }
        let Turn { notices, signals, .. } = turn;
        for signal in signals {
            node.metrics().signals.inc();
            if !node.shards.offer(u64::MAX, &ToShard::Signal(Arc::new(signal))) {
                node.metrics().signals_dropped.get_or_create(&Unsent::BUSY).inc();
            }
        }
        self.unwritten.told.add(node.told(namespace, &notices));
        self.write(node).await?;
        if more || self.adopting.is_some() {
            return Ok(Next::Again);
        }
        for flushed in self.flushed.drain(..) {
            // Whoever waited may have given up.
            let _ = flushed.send(());
        }
        if !interest.has(Interest::ANY) && self.stays.is_none() {
            return Ok(Next::Over);
        }
        Ok(Next::Wait(self.pause(node, namespace)))
    }

    /// Writes down what is to be, durably and in one step.
    async fn write(&mut self, node: &Node) -> Result<(), StoreError> {
        let Unwritten { told, records } = &self.unwritten;
        if told.is_empty() && records.is_empty() {
            return Ok(());
        }
        node.hooks.enqueue(told.clone(), records.clone()).await?;
        self.unwritten = Unwritten::default();
        Ok(())
    }

    /// Begins to keep who is online, or stops, as the rules say now.
    async fn follow(
        &mut self,
        node: &Node,
        namespace: &Namespace,
        interest: Interest,
    ) -> Result<(), StoreError> {
        if std::mem::replace(&mut self.keeps_rooms, interest.has(Interest::ROOMS)) != self.keeps_rooms {
            self.occupied = HashSet::new();
            self.adopting = self.keeps_rooms.then_some(0);
        }
        if interest.has(Interest::STAYS) {
            if self.stays.is_some() {
                return Ok(());
            }
            let (mut stays, now) = (Stays::default(), node.now());
            for (user, stay) in stay::load(&*node.store, &namespace.name).await? {
                stays.restore(node.user_key(&user), user, stay, now);
            }
            self.stays = Some(stays);
            self.cleared = false;
            self.adopting = Some(0);
            return Ok(());
        }
        self.stays = None;
        while !self.cleared {
            let left = stay::load(&*node.store, &namespace.name).await?;
            if left.is_empty() {
                self.cleared = true;
                break;
            }
            let removed = left.iter().take(CLEARED).map(|(user, _)| (stay::key(&namespace.name, user), None));
            node.hooks.enqueue(Told::default(), removed.collect()).await?;
        }
        Ok(())
    }

    /// Takes hints. Answers whether there are more.
    async fn take(&mut self, node: &Node, namespace: &Namespace) -> Result<bool, StoreError> {
        if !self.hints.is_empty() {
            return Ok(true);
        }
        let taken = namespace.presence.take(HINTS);
        node.metrics().presence_lost.inc_by(namespace.presence.take_lost());
        if taken.stale {
            self.adopting = Some(0);
            let directory = namespace.directory();
            let stays = self.stays.iter_mut();
            for stays in stays {
                let gone: Vec<_> = stays.keys().filter(|key| !directory.is_here(*key)).collect();
                gone.into_iter().for_each(|key| stays.went(key, node.now()));
            }
        }
        self.hints = taken.hints;
        if let Some(from) = self.adopting {
            let (ordinals, next) = {
                let directory = namespace.directory();
                let ordinals: Vec<_> = directory.online().range(from..).take(TOGETHER).map(Ordinal).collect();
                let next = ordinals.last().filter(|_| ordinals.len() == TOGETHER).map(|last| last.0 + 1);
                (ordinals, next)
            };
            let found = node.store.devices(&namespace.name, Which::Ordinals(ordinals)).await?;
            self.hints.extend(found.into_iter().flatten().map(|device| Hint::Came {
                user: device.user.as_ref().map(|user| node.user_key(user)),
                who: Person::of(&device),
                first: false,
                at: device.seen_at,
                rooms: device.rooms,
            }));
            self.adopting = next;
        }
        Ok(taken.more)
    }

    /// Looks up what the hints name.
    async fn look_up(
        &self,
        node: &Node,
        namespace: &Namespace,
        interest: Interest,
    ) -> Result<Found, StoreError> {
        let (mut ordinals, mut seqs, mut begin) = (Vec::new(), Vec::new(), 0);
        for hint in &self.hints {
            match hint {
                Hint::Came { .. } => begin += 1,
                Hint::Went { who, .. } => ordinals.push(*who),
                Hint::Acked { device, seq, .. } => {
                    ordinals.push(*device);
                    seqs.push(*seq);
                }
                Hint::Moved { .. } | Hint::Gone(_) | Hint::Flush(_) => {}
            }
        }
        let mut found = Found::default();
        ordinals.sort_unstable();
        ordinals.dedup();
        for some in ordinals.chunks(TOGETHER) {
            let devices = node.store.devices(&namespace.name, Which::Ordinals(some.to_vec())).await?;
            found.devices.extend(devices.into_iter().flatten().map(|device| (device.ordinal, device)));
        }
        seqs.sort_unstable();
        seqs.dedup();
        for some in seqs.chunks(TOGETHER) {
            let messages = node.store.messages(&namespace.name, some.to_vec()).await?;
            found.messages.extend(messages.into_iter().flatten().map(|message| (message.seq, message)));
        }
        if begin > 0 && interest.has(Interest::STAYS) {
            found.number = node.numbers.take(&*node.store, begin).await?;
        }
        Ok(found)
    }

    /// Whose stay is over, each with the devices that were online in it.
    async fn ending(
        &self,
        node: &Node,
        namespace: &Namespace,
    ) -> Result<Vec<(UserKey, Vec<Device>)>, StoreError> {
        let Some(stays) = &self.stays else { return Ok(Vec::new()) };
        let grace = namespace.settings().offline.grace_ms;
        let Some(until) = node.now().0.checked_sub(grace).map(Timestamp) else { return Ok(Vec::new()) };
        let due = stays.due(until, TOGETHER, STAYS_MAX);
        let look = |key: UserKey| {
            let (user, since) = stays.get(key).map(|known| (known.user.clone(), known.stay.since))?;
            Some(async move {
                let found = node.store.devices(&namespace.name, Which::OfUser(user)).await?;
                let mut devices: Vec<Device> = found.into_iter().flatten().collect();
                devices.retain(|device| device.seen_at >= since);
                Ok::<_, StoreError>((key, devices))
            })
        };
        let mut looking = stream::iter(due.into_iter().filter_map(look)).buffered(TOGETHER);
        let mut ending = Vec::new();
        while let Some(one) = looking.next().await {
            ending.push(one?);
        }
        Ok(ending)
    }

    /// For how long there is nothing to do.
    fn pause(&self, node: &Node, namespace: &Namespace) -> Duration {
        let first = self.stays.as_ref().and_then(Stays::first_left);
        let grace = Duration::from_millis(namespace.settings().offline.grace_ms);
        first.map_or(SLEEP_MAX, |left_at| left_at.after(grace).since(node.now()))
    }

    /// Who a device was that is not known any more.
    fn was(&self, ordinal: Ordinal) -> Option<Person> {
        self.gone.iter().rev().find(|person| person.ordinal == ordinal).cloned()
    }

    fn consider(&mut self, turn: &mut Turn<'_>, hint: Hint) {
        match hint {
            Hint::Came { who, user, first, rooms, at } => {
                if let (Some(key), Some(user)) = (user, &who.user) {
                    self.came(turn, key, user, &who, at);
                }
                self.look_at(turn, &rooms, at);
                if first {
                    self.signal_all(turn, SignalKind::Presence, &rooms, Some(&who), who.ordinal, true);
                }
            }
            Hint::Went { who, user, connection, why, last, at } => {
                let device = turn.found.devices.get(&who).cloned();
                let person = device.as_ref().map(Person::of).or_else(|| self.was(who));
                turn.tell(NoticeKind::Disconnected, at, || {
                    data::disconnected(person.as_ref(), connection, why)
                });
                if let (Some(key), Some(stays)) = (user, &mut self.stays)
                    && !turn.namespace.directory().is_here(key)
                {
                    stays.went(key, at);
                }
                let rooms = device.filter(|_| last).map(|device| device.rooms).unwrap_or_default();
                self.look_at(turn, &rooms, at);
                self.signal_all(turn, SignalKind::Presence, &rooms, person.as_ref(), who, false);
            }
            Hint::Moved { who, joined, left, at } => {
                let (ordinal, person) = (who.ordinal, Some(&who));
                for (kind, rooms) in [(NoticeKind::Left, &left), (NoticeKind::Joined, &joined)] {
                    for room in rooms {
                        turn.tell(kind, at, || data::moved(room, person));
                    }
                    self.look_at(turn, rooms, at);
                }
                self.signal_all(turn, SignalKind::Left, &left, person, ordinal, false);
                self.signal_all(turn, SignalKind::Joined, &joined, person, ordinal, true);
            }
            Hint::Acked { device, seq, at } => {
                let person = turn.found.person(device).or_else(|| self.was(device));
                if let Some(message) = turn.found.messages.get(&seq).cloned() {
                    turn.tell(NoticeKind::Acked, at, || data::acked(&message, person.as_ref()));
                }
            }
            Hint::Gone(_) => {}
            Hint::Flush(flushed) => self.flushed.push(flushed),
        }
    }

    /// A user has a connection, or had one for a moment.
    fn came(
        &mut self,
        turn: &mut Turn<'_>,
        key: UserKey,
        user: &tidings_model::UserId,
        who: &Person,
        at: Timestamp,
    ) {
        let Some(stays) = &mut self.stays else { return };
        let number = turn.number;
        if let Some(stay) = stays.came(key, user, at, || number) {
            turn.number += 1;
            self.unwritten.records.push((stay::key(&turn.namespace.name, user), Some(stay.record())));
            let devices = [who.device.clone()];
            turn.tell(NoticeKind::Online, at, || data::stay(user, stay, at, &devices));
        }
        if !turn.namespace.directory().is_here(key) {
            stays.went(key, turn.node.now());
        }
    }

    /// A user did not come back in time, unless that has just happened.
    fn end(&mut self, turn: &mut Turn<'_>, key: UserKey, devices: Vec<Device>) {
        let Some(stays) = &mut self.stays else { return };
        if turn.namespace.directory().is_here(key) {
            stays.stay(key);
            return;
        }
        let Some(Ended { user, stay, left_at, lost }) = stays.end(key) else { return };
        self.unwritten.records.push((stay::key(&turn.namespace.name, &user), None));
        let seen = devices.iter().map(|device| device.seen_at).max();
        let since = seen.filter(|_| lost).unwrap_or(left_at);
        let devices: Vec<DeviceId> = devices.into_iter().map(|device| device.id).collect();
        let now = turn.node.now();
        turn.tell(NoticeKind::Offline, now, || data::stay(&user, stay, since, &devices));
    }

    /// Looks whether somebody online is in these rooms.
    fn look_at(&mut self, turn: &mut Turn<'_>, rooms: &[RoomName], at: Timestamp) {
        if !turn.interest.has(Interest::ROOMS) {
            return;
        }
        for room in rooms {
            let is = turn.namespace.directory().is_occupied(room);
            if is && self.occupied.insert(room.clone()) {
                turn.tell(NoticeKind::Occupied, at, || data::room(room));
            } else if !is && self.occupied.remove(room) {
                turn.tell(NoticeKind::Vacated, at, || data::room(room));
            }
        }
    }

    /// Has the other members of these rooms told.
    fn signal_all(
        &mut self,
        turn: &mut Turn<'_>,
        kind: SignalKind,
        rooms: &[RoomName],
        who: Option<&Person>,
        about: Ordinal,
        online: bool,
    ) {
        if !turn.interest.has(Interest::SIGNALS) {
            return;
        }
        let dropped = &turn.node.metrics().signals_dropped;
        let surplus = rooms.len().saturating_sub(ROOMS_MAX) as u64;
        dropped.get_or_create(&Unsent::MANY_ROOMS).inc_by(surplus);
        for room in rooms.iter().take(ROOMS_MAX) {
            let receivers = turn.receivers(room);
            if receivers == 0 {
                continue;
            }
            if receivers > ROOM_MAX {
                dropped.get_or_create(&Unsent::BIG_ROOM).inc();
                continue;
            }
            if !self.budget.take(receivers, turn.node.now()) {
                dropped.get_or_create(&Unsent::TOO_FAST).inc();
                continue;
            }
            let data = match kind {
                SignalKind::Joined | SignalKind::Left => data::moved(room, who),
                SignalKind::Presence => data::presence(room, who, online),
                // That is told where it is decided.
                SignalKind::Room
                | SignalKind::PeopleJoin
                | SignalKind::PeopleLeave
                | SignalKind::JoinRoom
                | SignalKind::LeaveRoom => continue,
            };
            let namespace = turn.namespace.name.clone();
            turn.signals.push(Signal { namespace, room: room.clone(), kind, about, data });
        }
    }
}

/// What a turn looks at, and what comes of it.
struct Turn<'a> {
    node: &'a Node,
    namespace: &'a Namespace,
    interest: Interest,
    found: Found,
    /// The next number for a stay.
    number: u64,
    notices: Vec<Notice>,
    signals: Vec<Signal>,
}

impl Turn<'_> {
    fn tell(&mut self, kind: NoticeKind, at: Timestamp, data: impl FnOnce() -> String) {
        if self.interest.has(Interest::of(kind)) {
            self.notices.push(Notice { id: None, kind, at, data: data() });
        }
    }

    /// How many devices of a room are online.
    fn receivers(&self, room: &RoomName) -> u64 {
        let directory = self.namespace.directory();
        directory.room(room).map_or(0, |members| members.intersection_len(directory.online()))
    }
}
