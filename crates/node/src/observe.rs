//! Who looks on: consoles, and whoever looks for a fault, see what happens to users, devices and rooms as it happens.
//!
//! Whatever happens is shown where it happens, to those observers whom it concerns, and to nobody else: where nobody looks
//! that is one load of a number, and nothing is made. An observer has a queue; what does not fit is counted and told as
//! a number, so that nobody waits for who does not look. Names are looked up by the observer, not where it happened. It keeps
//! nothing: what happened before somebody looked is in traces.
//!
//! Reading order: `Observers` (who may look, and where), `sight` (what concerns whom), [`Observer`] (what is seen).

pub(crate) mod sight;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tidings_model::{
    DeviceId, Disconnect, MessageId, NamespaceName, Ordinal, RoomName, Seq, Step, Timestamp, UserId,
};
use tidings_store::StoreError;
use tidings_store::port::Which;
use tokio::sync::mpsc;

use crate::presence::Person;
use crate::{Namespace, Node};
use sight::{By, Raw, Sight};

/// Most users, devices and rooms that one observer looks at.
pub const SUBJECTS_MAX: usize = 10;

/// Most observers of a namespace, and of the node.
pub const IN_NAMESPACE_MAX: usize = 32;
/// Most observers of the node.
pub const ALTOGETHER_MAX: usize = 256;

/// Most of what has happened that waits for an observer; what happens beyond is lost to it, and counted.
const QUEUE: usize = 1_024;

/// Most of it that is looked up together.
const TOGETHER: usize = 64;

/// Most devices and messages whose names an observer remembers; beyond that it forgets all of them.
const REMEMBERED: usize = 4_096;

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// All devices of a user.
    User(UserId),
    /// One device.
    Device(DeviceId),
    /// Who comes into a room and leaves it, and the messages for it that are accepted from now on.
    Room(RoomName),
}

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A step of a message on its way.
    Step(Step),
    /// A connection has come.
    Connected,
    /// A connection has ended.
    Disconnected,
    /// It was the first one of its user.
    Online,
    /// It was the last one of its user. Hooks hear of that after the grace, unless the user comes back.
    Offline,
    /// A device is in a room from now on.
    Joined,
    /// A device is in a room no longer.
    Left,
}

impl What {
    /// What there is besides the steps.
    pub const WITHOUT_STEPS: [Self; 6] =
        [Self::Connected, Self::Disconnected, Self::Online, Self::Offline, Self::Joined, Self::Left];

    /// The name in the API: the slug of a step, or the type of the notice that hooks hear of the same.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Step(step) => step.as_str(),
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::Online => "online",
            Self::Offline => "offline",
            Self::Joined => "joined",
            Self::Left => "left",
        }
    }
}

/// Something that has happened. What has no name (any more) is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: What,
    /// To which message.
    pub message: Option<MessageId>,
    /// Whose device it was.
    pub user: Option<UserId>,
    /// To which device.
    pub device: Option<DeviceId>,
    /// In which room, or to a message for which room.
    pub room: Option<RoomName>,
    /// The number of the connection.
    pub connection: Option<u64>,
    /// What else is to be said of it, for people.
    pub detail: Option<String>,
}

impl Happened {
    fn new(at: Timestamp, what: What) -> Self {
        let (message, user, device, room, connection, detail) = Default::default();
        Self { at, what, message, user, device, room, connection, detail }
    }

    fn to(self, person: Option<&Person>) -> Self {
        let device = person.map(|person| person.device.clone());
        Self { user: person.and_then(|person| person.user.clone()), device, ..self }
    }
}

/// What an observer gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// Something has happened.
    Happened(Box<Happened>),
    /// So much has happened here and was not seen, because too much waited.
    Lost(u64),
}

/// Why somebody may not look.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// As many look at the namespace as may.
    #[error("{IN_NAMESPACE_MAX} look at this namespace, which is the limit; end one that is not needed")]
    InNamespace,
    /// As many look at anything here as may.
    #[error("{ALTOGETHER_MAX} look at namespaces of this server, which is the limit; retry later")]
    Altogether,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Who looks on, and where.
#[derive(Debug, Default)]
pub(crate) struct Observers {
    /// How many look at users, devices and rooms. Asked wherever anything happens.
    tracing: AtomicUsize,
    /// Where they do. Nothing else is found here.
    sights: ArcSwap<HashMap<NamespaceName, Arc<Sight>>>,
    seats: Mutex<HashMap<NamespaceName, usize>>,
    next: AtomicU64,
}

impl Observers {
    /// What is looked at in a namespace, if anything is. Where nobody looks at anything that is one load.
    pub(crate) fn sight(&self, namespace: &NamespaceName) -> Option<Arc<Sight>> {
        if self.tracing.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.sights.load().get(namespace).cloned()
    }

    fn seats(&self) -> MutexGuard<'_, HashMap<NamespaceName, usize>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_seat(self: &Arc<Self>, namespace: &NamespaceName) -> Result<Seat, ObserveError> {
        let mut seats = self.seats();
        if seats.get(namespace).is_some_and(|taken| *taken >= IN_NAMESPACE_MAX) {
            return Err(ObserveError::InNamespace);
        }
        if seats.values().sum::<usize>() >= ALTOGETHER_MAX {
            return Err(ObserveError::Altogether);
        }
        *seats.entry(namespace.clone()).or_default() += 1;
        Ok(Seat { observers: Arc::clone(self), namespace: namespace.clone() })
    }

    fn begin(&self, namespace: &NamespaceName, sight: &Arc<Sight>) {
        self.sights.rcu(|before| {
            let mut after = HashMap::clone(before);
            after.insert(namespace.clone(), Arc::clone(sight));
            after
        });
        self.tracing.fetch_add(1, Ordering::Relaxed);
    }

    fn end(&self, namespace: &NamespaceName, sight: &Arc<Sight>) {
        self.tracing.fetch_sub(1, Ordering::Relaxed);
        self.sights.rcu(|before| {
            let mut after = HashMap::clone(before);
            // Another one may have begun, perhaps in another namespace of that name.
            if after.get(namespace).is_some_and(|known| Arc::ptr_eq(known, sight) && !known.is_looked_at()) {
                after.remove(namespace);
            }
            after
        });
    }
}

/// A place among those who look, given back when it is dropped.
#[derive(Debug)]
struct Seat {
    observers: Arc<Observers>,
    namespace: NamespaceName,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.observers.seats();
        if let Some(taken) = seats.get_mut(&self.namespace) {
            *taken -= 1;
            if *taken == 0 {
                seats.remove(&self.namespace);
            }
        }
    }
}

/// Somebody who looks on. Dropped, it does so no more.
///
/// It holds no namespace: one that goes waits for nobody who looks.
#[derive(Debug)]
pub struct Observer {
    seat: Seat,
    sight: Arc<Sight>,
    /// What it looks at in the sight, and its queue; nothing for who only wants numbers.
    looks: Option<(u64, mpsc::Receiver<Raw>)>,
    /// What has been taken from the queue and has no names yet.
    taken: Vec<Raw>,
    ready: VecDeque<Sighting>,
    people: HashMap<Ordinal, Person>,
    messages: HashMap<Seq, MessageId>,
}

impl Drop for Observer {
    fn drop(&mut self) {
        if let Some((id, _)) = &self.looks {
            self.sight.look_away(*id);
            self.seat.observers.end(&self.seat.namespace, &self.sight);
        }
    }
}

impl Observer {
    /// Whether this is the namespace that it looks at, and not another one of that name.
    #[must_use]
    pub fn is_of(&self, namespace: &Namespace) -> bool {
        Arc::ptr_eq(&self.sight, &namespace.sight)
    }

    /// The next thing that is seen. Never, where nothing is looked at. To be dropped at any moment: nothing is lost by it.
    pub async fn next(&mut self, node: &Node) -> Sighting {
        loop {
            if let Some(sighting) = self.ready.pop_front() {
                return sighting;
            }
            if self.taken.is_empty() {
                let Some((_, queue)) = &mut self.looks else { return std::future::pending().await };
                // The other end is in the sight, for as long as this looks.
                if queue.recv_many(&mut self.taken, TOGETHER).await == 0 {
                    return std::future::pending().await;
                }
            }
            self.look_up(node).await;
            for raw in std::mem::take(&mut self.taken) {
                self.name(raw);
            }
        }
    }

    /// How much was lost behind the last thing that was seen, if nothing has come since that could say so.
    pub fn behind(&mut self) -> Option<Sighting> {
        let (id, queue) = self.looks.as_ref()?;
        if !self.ready.is_empty() || !self.taken.is_empty() || !queue.is_empty() {
            return None;
        }
        self.sight.take_lost(*id).map(Sighting::Lost)
    }

    /// Looks up the names of what was taken. What cannot be found has none.
    async fn look_up(&mut self, node: &Node) {
        if self.people.len() > REMEMBERED {
            self.people.clear();
        }
        if self.messages.len() > REMEMBERED {
            self.messages.clear();
        }
        let (mut ordinals, mut seqs) = (Vec::new(), Vec::new());
        for raw in &self.taken {
            match raw {
                Raw::Accepted { seq, id, by, .. } => {
                    self.messages.insert(*seq, id.clone());
                    ordinals.extend(by.each());
                }
                Raw::Stepped { seq, by, .. } => {
                    seqs.push(*seq);
                    ordinals.extend(by.each());
                }
                Raw::Came { who, .. } => drop(self.people.insert(who.ordinal, who.clone())),
                Raw::Went { who, .. } => ordinals.push(*who),
                Raw::Moved { who, .. } => drop(self.people.insert(who.ordinal, who.clone())),
                Raw::Lost(_) => {}
            }
        }
        ordinals.retain(|ordinal| !self.people.contains_key(ordinal));
        seqs.retain(|seq| !self.messages.contains_key(seq));
        let namespace = &self.seat.namespace;
        if !ordinals.is_empty() {
            ordinals.sort_unstable();
            ordinals.dedup();
            let found = node.store.devices(namespace, Which::Ordinals(ordinals)).await.unwrap_or_default();
            self.people.extend(found.iter().flatten().map(|device| (device.ordinal, Person::of(device))));
        }
        if !seqs.is_empty() {
            seqs.sort_unstable();
            seqs.dedup();
            let found = node.store.messages(namespace, seqs).await.unwrap_or_default();
            self.messages.extend(found.iter().flatten().map(|message| (message.seq, message.id.clone())));
        }
    }

    /// What was taken is ready, with the names that there are.
    fn name(&mut self, raw: Raw) {
        let happened = match raw {
            Raw::Lost(count) => return self.ready.push_back(Sighting::Lost(count)),
            Raw::Accepted { at, id, fresh, scheduled, room, by, .. } => {
                let of =
                    Happened { message: Some(id), room, ..Happened::new(at, What::Step(Step::Accepted)) };
                if fresh {
                    self.see(of.clone());
                }
                match scheduled {
                    Some(detail) => {
                        let detail = Some(detail);
                        return self.see(Happened { what: What::Step(Step::Scheduled), detail, ..of });
                    }
                    None => return self.see_each(&Happened { what: What::Step(Step::Queued), ..of }, &by),
                }
            }
            Raw::Stepped { at, seq, step, by, room, detail } => {
                let message = self.messages.get(&seq).cloned();
                let detail = Some(detail).filter(|detail| !detail.is_empty());
                let of = Happened { message, room, detail, ..Happened::new(at, What::Step(step)) };
                return self.see_each(&of, &by);
            }
            Raw::Came { at, who, connection, first } => {
                let of = Happened::new(at, What::Connected).to(Some(&who));
                let online = Happened { what: What::Online, device: None, ..of.clone() };
                self.see(Happened { connection: Some(connection), ..of });
                if !first || online.user.is_none() {
                    return;
                }
                online
            }
            Raw::Went { at, who, connection, why, last } => {
                let of = Happened::new(at, What::Disconnected).to(self.people.get(&who));
                let offline = Happened { what: What::Offline, device: None, ..of.clone() };
                let Disconnect { code, reason, .. } = why;
                let detail = Some(format!("{code} {reason}"));
                self.see(Happened { connection: Some(connection), detail, ..of });
                if !last || offline.user.is_none() {
                    return;
                }
                offline
            }
            Raw::Moved { at, who, room, joined } => {
                let what = if joined { What::Joined } else { What::Left };
                let of = Happened::new(at, what).to(self.people.get(&who.ordinal));
                Happened { room: Some(room), ..of }
            }
        };
        self.see(happened);
    }

    fn see(&mut self, happened: Happened) {
        self.ready.push_back(Sighting::Happened(Box::new(happened)));
    }

    /// It has happened to each of these devices.
    fn see_each(&mut self, of: &Happened, by: &By) {
        match by {
            By::Each(devices) => {
                for device in devices.iter() {
                    let happened = of.clone().to(self.people.get(&Ordinal(*device)));
                    self.see(happened);
                }
            }
            By::Many(count) => {
                let devices = format!("{count} devices");
                let detail = of.detail.as_ref().map(|detail| format!("{devices}: {detail}"));
                self.see(Happened { detail: detail.or(Some(devices)), ..of.clone() });
            }
        }
    }
}

impl Node {
    /// Looks on in a namespace from now on: at what happens to these, or only for a place among those who want numbers.
    ///
    /// # Errors
    /// [`ObserveError`]: as many look as may, or the devices of the users cannot be looked up.
    pub async fn observe(
        &self,
        namespace: &Namespace,
        subjects: &[Subject],
    ) -> Result<Observer, ObserveError> {
        let seat = self.observers.take_seat(&namespace.name)?;
        let sight = Arc::clone(&namespace.sight);
        let mut observer = Observer {
            seat,
            sight,
            looks: None,
            taken: Vec::new(),
            ready: VecDeque::new(),
            people: HashMap::new(),
            messages: HashMap::new(),
        };
        if subjects.is_empty() {
            return Ok(observer);
        }
        let (sender, queue) = mpsc::channel(QUEUE);
        let id = self.observers.next.fetch_add(1, Ordering::Relaxed);
        // First it looks, then it is found out at which devices: none that comes meanwhile is missed.
        observer.sight.look(id, subjects, sender);
        self.observers.begin(&namespace.name, &observer.sight);
        observer.looks = Some((id, queue));
        for subject in subjects {
            let devices = match subject {
                Subject::User(user) => self.devices_of_user(namespace, user).await?,
                Subject::Device(device) => self.device(namespace, device).await?.into_iter().collect(),
                Subject::Room(_) => continue,
            };
            observer.sight.add(id, devices.iter().map(|device| device.ordinal.0));
        }
        Ok(observer)
    }
}
