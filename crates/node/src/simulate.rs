//! Faults on purpose, for whoever tests how a client recovers. They are asked for by name, end by themselves, and are
//! forgotten by a restart.
//!
//! What a simulation does to a message happens on the shards; they are told which devices it is about, and told again when
//! another device comes that it is about. It does not know how.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use roaring::RoaringBitmap;
pub use tidings_hub::Effect;
use tidings_hub::{Fault, FaultOn};
use tidings_model::{DeviceId, MessageId, NamespaceName, RoomName, Timestamp, UserId};
use tidings_store::{Device, StoreError};

use crate::{Namespace, Node, ToShard, ids};

/// Most simulations of a namespace at once.
pub const SIMULATIONS_MAX: usize = 100;

/// How long a simulation lasts at most.
pub const LASTS_MAX: Duration = Duration::from_secs(3_600);

/// How long a simulation holds a message back at most.
pub const DELAY_MAX: Duration = Duration::from_secs(60);

/// What a simulation is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Whatever goes to the devices of this user, those that it will have included.
    User(UserId),
    /// Whatever goes to this device, whether it is known or not.
    Device(DeviceId),
    /// What is pushed to this room.
    Room(RoomName),
    /// The message with this id, whether there is one or not.
    Message(MessageId),
}

/// A simulation about to begin.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// What it is about.
    pub on: Subject,
    /// What it does.
    pub effect: Effect,
    /// How likely it does so: from 0 to 1.
    pub probability: f64,
    /// How long it lasts: at most [`LASTS_MAX`].
    pub lasts: Duration,
}

/// A simulation.
#[derive(Clone, Debug, PartialEq)]
pub struct Simulation {
    /// Its id.
    pub id: String,
    /// What it is about.
    pub on: Subject,
    /// What it does.
    pub effect: Effect,
    /// How likely it does so.
    pub probability: f64,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ends.
    pub until: Timestamp,
}

/// Why a simulation does not begin.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// This server does not simulate anything.
    #[error("simulations are switched off on this server; simulations.enabled = true switches them on")]
    Off,
    /// There are too many.
    #[error(
        "the namespace has {SIMULATIONS_MAX} simulations, which is the limit; end one, or wait until one is over"
    )]
    TooMany,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The simulations of a node.
#[derive(Debug)]
pub(crate) struct Simulations {
    enabled: bool,
    /// Whether there may be any: a device that comes is looked at only then. Changed by who is telling.
    any: AtomicBool,
    of: Mutex<HashMap<NamespaceName, Vec<Running>>>,
    /// Whoever tells the shards holds this: what they were told last is what holds.
    telling: tokio::sync::Mutex<()>,
}

#[derive(Clone, Debug)]
struct Running {
    simulation: Simulation,
    /// The devices that it is about, for a user or a device.
    devices: RoaringBitmap,
}

impl Simulations {
    pub(crate) fn new(enabled: bool) -> Self {
        Self {
            enabled,
            any: AtomicBool::new(false),
            of: Mutex::default(),
            telling: tokio::sync::Mutex::default(),
        }
    }

    /// Those that are not over.
    fn lock(&self, now: Timestamp) -> MutexGuard<'_, HashMap<NamespaceName, Vec<Running>>> {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        of.retain(|_, list| {
            list.retain(|one| one.simulation.until > now);
            !list.is_empty()
        });
        of
    }

    /// There are none in this namespace any more.
    pub(crate) fn forget_all(&self, namespace: &NamespaceName) {
        self.of.lock().unwrap_or_else(PoisonError::into_inner).remove(namespace);
    }

    /// The simulations of a namespace, as its shards are told them.
    fn faults(&self, namespace: &NamespaceName, now: Timestamp) -> Vec<Fault> {
        let of = self.lock(now);
        let list = of.get(namespace).map_or(&[][..], Vec::as_slice);
        list.iter().map(Running::fault).collect()
    }
}

impl Running {
    fn fault(&self) -> Fault {
        let Simulation { on, effect, probability, until, .. } = &self.simulation;
        let on = match on {
            Subject::User(_) | Subject::Device(_) => FaultOn::Devices(self.devices.clone()),
            Subject::Room(room) => FaultOn::Room(room.clone()),
            Subject::Message(id) => FaultOn::Message(id.clone()),
        };
        Fault { on, effect: *effect, probability: *probability, until: *until }
    }

    fn is_about(&self, device: &Device) -> bool {
        match &self.simulation.on {
            Subject::User(user) => device.user.as_ref() == Some(user),
            Subject::Device(id) => device.id == *id,
            Subject::Room(_) | Subject::Message(_) => false,
        }
    }
}

impl Node {
    /// Begins a simulation. It acts on what is delivered once this has answered.
    ///
    /// # Errors
    /// [`SimulateError`] says why it does not begin.
    pub async fn simulate(&self, namespace: &Namespace, wanted: Wanted) -> Result<Simulation, SimulateError> {
        if !self.simulations.enabled {
            return Err(SimulateError::Off);
        }
        let telling = self.simulations.telling.lock().await;
        // From here on a device that comes waits for its turn to be looked at.
        self.simulations.any.store(true, Ordering::Release);
        let devices = match &wanted.on {
            Subject::User(user) => self.devices_of_user(namespace, user).await?,
            Subject::Device(id) => self.device(namespace, id).await?.into_iter().collect(),
            Subject::Room(_) | Subject::Message(_) => Vec::new(),
        };
        let now = self.clock.now();
        let simulation = Simulation {
            id: format!("s{:016x}", u64::from_le_bytes(ids::random())),
            on: wanted.on,
            effect: wanted.effect,
            probability: wanted.probability,
            created_at: now,
            until: now.after(wanted.lasts.min(LASTS_MAX)),
        };
        {
            let mut of = self.simulations.lock(now);
            let list = of.entry(namespace.name.clone()).or_default();
            if list.len() >= SIMULATIONS_MAX {
                return Err(SimulateError::TooMany);
            }
            let devices = devices.iter().map(|device| device.ordinal.0).collect();
            list.push(Running { simulation: simulation.clone(), devices });
        }
        self.tell_faults(namespace, now).await;
        drop(telling);
        tracing::warn!(namespace = %namespace.name, ?simulation, "a simulation begins");
        Ok(simulation)
    }

    /// The simulations that are not over, oldest first.
    #[must_use]
    pub fn simulations(&self, namespace: &Namespace) -> Vec<Simulation> {
        let of = self.simulations.lock(self.clock.now());
        let list = of.get(&namespace.name).map_or(&[][..], Vec::as_slice);
        list.iter().map(|one| one.simulation.clone()).collect()
    }

    /// Ends a simulation before its time. What it holds back leaves when it would have. Answers whether there was one.
    pub async fn end_simulation(&self, namespace: &Namespace, id: &str) -> bool {
        let telling = self.simulations.telling.lock().await;
        let now = self.clock.now();
        let ended = {
            let mut of = self.simulations.lock(now);
            let list = of.get_mut(&namespace.name);
            list.is_some_and(|list| {
                let before = list.len();
                list.retain(|one| one.simulation.id != id);
                list.len() < before
            })
        };
        if ended {
            self.tell_faults(namespace, now).await;
            tracing::info!(namespace = %namespace.name, id, "a simulation was ended");
        }
        drop(telling);
        ended
    }

    /// A device has been registered: simulations that are about it, or its user, are about it from now on.
    pub(crate) async fn expose(&self, namespace: &Namespace, device: &Device) {
        if !self.simulations.any.load(Ordering::Acquire) {
            return;
        }
        let telling = self.simulations.telling.lock().await;
        let now = self.clock.now();
        let changed = {
            let mut of = self.simulations.lock(now);
            self.simulations.any.store(!of.is_empty(), Ordering::Release);
            let list = of.get_mut(&namespace.name).map_or(&mut [][..], Vec::as_mut_slice);
            let about = list.iter_mut().filter(|one| one.is_about(device));
            about.fold(false, |changed, one| one.devices.insert(device.ordinal.0) | changed)
        };
        if changed {
            self.tell_faults(namespace, now).await;
        }
        drop(telling);
    }

    async fn tell_faults(&self, namespace: &Namespace, now: Timestamp) {
        let faults = self.simulations.faults(&namespace.name, now);
        let told = ToShard::Faults { namespace: namespace.name.clone(), faults };
        self.shards.tell(u64::MAX, told).await;
    }
}
