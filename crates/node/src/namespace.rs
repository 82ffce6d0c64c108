//! Namespaces: whose rules hold, and who is registered there.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
pub use tidings_hub::WhenFull;
use tidings_hub::{Bounds, Directory, Policy};
use tidings_model::{Disconnect, NamespaceName, Origins, Timestamp, limit};
use tidings_outbound::hook::Client;
use tidings_store::{Store, StoreError};

use crate::ask::{Askers, ConnectHook};
use crate::block::{self, Blocks};
use crate::channels::{self, Channels};
use crate::connect::ConnectionLimits;
use crate::light_push;
use crate::notify::Hook;
use crate::observe::sight::Sight;
use crate::permit::Permit;
use crate::presence::{self, Interest};
use crate::rates::Bucket;
use crate::revoke::{self, Revocations};
use crate::rooms::{self, Suspended};
use crate::token::{self, Jwt, TokenError, Verifier};
use crate::{Node, ToShard};

mod origins;

const PREFIX: &str = "namespace/";

/// Where the key is kept that a namespace signs tokens with.
const OWN_KEY: &str = "signing/";

/// What is kept of a namespace among the settings: one of each under its name,
pub(crate) const SETTINGS: [&str; 3] = [PREFIX, OWN_KEY, light_push::PREFIX];

/// and any number below its name.
pub(crate) const SETTINGS_BELOW: [&str; 6] =
    [block::PREFIX, channels::PREFIX, crate::keys::PREFIX, presence::PREFIX, revoke::PREFIX, rooms::PREFIX];

/// A namespace of this node.
#[derive(Debug)]
pub struct Namespace {
    /// Its name.
    pub name: NamespaceName,
    settings: ArcSwap<Settings>,
    /// What tokens that are minted here are signed with. It stays.
    own_key: OwnKey,
    /// What verifies tokens, by the rules that hold now.
    pub(crate) verifier: ArcSwap<Verifier>,
    /// Which tokens are worth nothing any more.
    pub(crate) revoked: ArcSwap<Revocations>,
    /// Whom it asks, by the rules that hold now.
    askers: ArcSwap<Askers>,
    /// What asks.
    client: Client,
    directory: Mutex<Directory>,
    /// Who is kept out.
    pub(crate) blocks: Mutex<Blocks>,
    /// How many pushes there have been lately.
    pub(crate) pushes: Bucket,
    /// The rooms that are suspended.
    pub(crate) suspended_rooms: Mutex<Suspended>,
    /// The rooms that are there because somebody said so.
    pub(crate) channels: Channels,
    turn: Arc<tokio::sync::Mutex<()>>,
    /// What anybody wants to know of it, by the rules that hold now.
    interest: AtomicU32,
    /// What is to be told of comings and goings.
    pub(crate) presence: presence::Inbox,
    /// What somebody looks at.
    pub(crate) sight: Arc<Sight>,
    /// What it has of light-push.
    pub(crate) light_push: light_push::OfNamespace,
    /// It is being removed, and there for nobody any more.
    pub(crate) gone: AtomicBool,
}

/// The turn to change the rules of a namespace: while one has it, the rules stay as they are.
pub struct Changing {
    namespace: Arc<Namespace>,
    _turn: tokio::sync::OwnedMutexGuard<()>,
}

impl Changing {
    /// The namespace whose turn it is.
    pub(crate) fn namespace(&self) -> &Arc<Namespace> {
        &self.namespace
    }
}

/// The rules of a namespace, as they are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// What people call it.
    #[serde(default)]
    pub title: String,
    /// Who may connect.
    pub auth: AuthMode,
    /// Who is asked, where it is the business system that decides.
    #[serde(default)]
    pub connect_hook: Option<ConnectHook>,
    /// How the tokens of the business system are verified, where there are any.
    #[serde(default)]
    pub jwt: Option<Jwt>,
    /// Whether nobody may connect or push for now.
    #[serde(default)]
    pub suspended: bool,
    /// Whether it is declared outside of the API.
    #[serde(default)]
    pub declared: bool,
    /// When it was created, in milliseconds since the Unix epoch.
    pub created_at: u64,
    /// Largest `data` of a push, in bytes; 0 for as much as a push can have.
    pub message_size: usize,
    /// Most rooms of a device; 0 for as many as there can be.
    pub rooms_per_device: usize,
    /// How much of what else there may be.
    #[serde(default)]
    pub limits: Limits,
    /// How much may wait for one connection.
    #[serde(default)]
    pub outbox: Outbox,
    /// How much may wait for a device.
    #[serde(default)]
    pub mailbox: Mailbox,
    /// What happens to what a device does not get in time.
    #[serde(default)]
    pub offline: Offline,
    /// Who is told what has happened.
    #[serde(default)]
    pub hooks: Vec<Hook>,
    /// How long messages are kept.
    #[serde(default)]
    pub history: History,
    /// What the members of a room are told of each other.
    #[serde(default)]
    pub presence: Presence,
    /// Which pages may connect.
    #[serde(default, with = "origins")]
    pub origins: Origins,
}

/// What the members of a room are told of each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// Whether they are told who joins and leaves, and who comes online and goes.
    pub notify: bool,
}

/// How many connections there may be, and how often something may happen; 0 for no limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Most connections.
    pub connections: u32,
    /// Most connections of a user, beside what the server allows.
    pub connections_per_user: u32,
    /// Most pushes in a second.
    pub pushes_per_second: u32,
    /// Most that a user may publish in a second; a device, when it has none.
    pub publish_per_second: u32,
    /// Most that a device may ask for in a second.
    pub requests_per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 0,
            connections_per_user: 0,
            pushes_per_second: 0,
            publish_per_second: limit::PUBLISH_PER_SECOND_DEFAULT,
            requests_per_second: limit::REQUESTS_PER_SECOND_DEFAULT,
        }
    }
}

impl Limits {
    /// How many connections there may be on a server that has limits of its own.
    #[must_use]
    pub fn of_connections(&self, server: ConnectionLimits) -> ConnectionLimits {
        // Of two limits the lower one holds, and 0 is none.
        let per_user = [server.per_user, self.connections_per_user].into_iter().filter(|limit| *limit > 0);
        ConnectionLimits { all: self.connections, per_user: per_user.min().unwrap_or(0), ..server }
    }
}

/// How long messages are kept, and how much of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// For how long after they were accepted, in milliseconds; 0 for ever.
    pub keep_ms: u64,
    /// How many bytes of them; 0 for no limit.
    pub bytes: u64,
}

impl Default for History {
    fn default() -> Self {
        Self { keep_ms: limit::HISTORY_KEEP_SECS_DEFAULT * 1_000, bytes: 0 }
    }
}

/// How much may wait for a device that is away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mailbox {
    /// Most messages; the oldest ones go first.
    pub messages: usize,
    /// For how long, in milliseconds: no message lives longer.
    pub keep_ms: u64,
}

impl Default for Mailbox {
    fn default() -> Self {
        Self { messages: limit::MAILBOX_MESSAGES_DEFAULT, keep_ms: limit::TTL_SECS_MAX * 1_000 }
    }
}

/// What happens to what a device does not get in time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offline {
    /// After how many milliseconds without a receipt another way is tried, unless a push says otherwise.
    pub escalate_after_ms: u64,
    /// For how many milliseconds a user is without a connection before hooks are told.
    #[serde(default = "Offline::grace_by_default")]
    pub grace_ms: u64,
}

impl Offline {
    const fn grace_by_default() -> u64 {
        limit::OFFLINE_GRACE_MS_DEFAULT
    }
}

impl Default for Offline {
    fn default() -> Self {
        Self { escalate_after_ms: limit::ESCALATE_AFTER_MS_DEFAULT, grace_ms: Self::grace_by_default() }
    }
}

/// How much may wait for one connection, and what happens beyond. What is not said is as the server has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outbox {
    /// Most messages.
    #[serde(default)]
    pub frames: Option<usize>,
    /// Most bytes.
    #[serde(default)]
    pub bytes: Option<usize>,
    /// What happens beyond.
    #[serde(default, with = "when_full")]
    pub when_full: WhenFull,
}

impl Outbox {
    /// What holds on a server with these bounds.
    #[must_use]
    pub fn policy(&self, server: Bounds) -> Policy {
        let bounds = Bounds {
            frames: self.frames.unwrap_or(server.frames),
            bytes: self.bytes.unwrap_or(server.bytes),
        };
        Policy { bounds, when_full: self.when_full }
    }
}

/// [`WhenFull`] as it is kept: by its name.
mod when_full {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use tidings_hub::WhenFull;

    pub(super) fn serialize<S: Serializer>(one: &WhenFull, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(one.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<WhenFull, D::Error> {
        let name = String::deserialize(from)?;
        WhenFull::parse(&name).ok_or_else(|| D::Error::custom(format!("there is no policy {name:?}")))
    }
}

/// Who may connect as whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMode {
    /// What a client says of itself is believed. For development.
    Open,
    /// A client is who its token says.
    Token,
    /// A client is who the business system says, when it is asked.
    Hook,
    /// A client is who its token says, and may be here if the business system says so.
    TokenAndHook,
}

impl AuthMode {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Open, Self::Token, Self::Hook, Self::TokenAndHook];

    /// The word for it in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Token => "token",
            Self::Hook => "hook",
            Self::TokenAndHook => "token+hook",
        }
    }

    /// The mode that a word of the API means.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == word)
    }

    /// Whether tokens are verified here.
    #[must_use]
    pub const fn verifies(self) -> bool {
        matches!(self, Self::Token | Self::TokenAndHook)
    }

    /// Whether the business system is asked.
    #[must_use]
    pub const fn asks(self) -> bool {
        matches!(self, Self::Hook | Self::TokenAndHook)
    }
}

/// The key that a namespace signs tokens with. Not to be seen in logs.
#[derive(Clone, Copy)]
struct OwnKey([u8; 32]);

impl std::fmt::Debug for OwnKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Settings {
    /// The rules that a namespace starts with.
    #[must_use]
    pub fn new(title: &str, auth: AuthMode, now: Timestamp) -> Self {
        Self {
            title: title.to_owned(),
            auth,
            connect_hook: None,
            jwt: None,
            suspended: false,
            declared: false,
            created_at: now.0,
            message_size: limit::DATA_BYTES_DEFAULT,
            rooms_per_device: limit::ROOMS_PER_DEVICE_DEFAULT,
            limits: Limits::default(),
            outbox: Outbox::default(),
            mailbox: Mailbox::default(),
            offline: Offline::default(),
            hooks: Vec::new(),
            history: History::default(),
            presence: Presence::default(),
            origins: Origins::default(),
        }
    }

    /// What anybody wants to know.
    fn interest(&self) -> Interest {
        let wanted = self.hooks.iter().flat_map(|hook| &hook.events);
        let signals = if self.presence.notify { Interest::SIGNALS } else { Interest::default() };
        wanted.fold(signals, |all, kind| all.and(Interest::of(*kind)))
    }

    /// Largest `data` of a push, in bytes.
    #[must_use]
    pub fn largest_data(&self) -> usize {
        if self.message_size == 0 { usize::MAX } else { self.message_size }
    }

    /// Most rooms of a device.
    #[must_use]
    pub fn most_rooms(&self) -> usize {
        if self.rooms_per_device == 0 { limit::ROOMS_PER_DEVICE_MAX } else { self.rooms_per_device }
    }
}

impl Namespace {
    fn new(
        name: NamespaceName,
        own_key: OwnKey,
        settings: Settings,
        directory: Directory,
        client: Client,
    ) -> Arc<Self> {
        Arc::new(Self {
            askers: ArcSwap::from_pointee(Askers::new(&settings, &client, &Askers::default())),
            client,
            name,
            own_key,
            verifier: ArcSwap::from_pointee(Verifier::new(&own_key.0, settings.jwt.as_ref())),
            interest: AtomicU32::new(settings.interest().bits()),
            presence: presence::Inbox::default(),
            sight: Arc::default(),
            light_push: light_push::OfNamespace::default(),
            settings: ArcSwap::from_pointee(settings),
            revoked: ArcSwap::default(),
            directory: Mutex::new(directory),
            blocks: Mutex::default(),
            pushes: Bucket::default(),
            suspended_rooms: Mutex::default(),
            channels: Channels::default(),
            turn: Arc::default(),
            gone: AtomicBool::new(false),
        })
    }

    /// The rules that hold now.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// Waits for the turn to change the rules, so that of two who change them at once neither undoes what the other did.
    pub async fn changing(self: &Arc<Self>) -> Changing {
        Changing { namespace: Arc::clone(self), _turn: Arc::clone(&self.turn).lock_owned().await }
    }

    /// From now on these rules hold.
    fn set(&self, settings: Settings) {
        let before = self.verifier.load();
        let verifier = Verifier::after(&self.own_key.0, settings.jwt.as_ref(), Some(&before));
        self.verifier.store(Arc::new(verifier));
        self.interest.store(settings.interest().bits(), Ordering::Release);
        self.askers.store(Arc::new(Askers::new(&settings, &self.client, &self.askers.load())));
        self.settings.store(Arc::new(settings));
    }

    /// From now on it is there for nobody, and nobody wants to know anything of it.
    pub(crate) fn end(&self) {
        self.gone.store(true, Ordering::Release);
        let before = Settings::clone(&self.settings());
        let (hooks, presence) = (Vec::new(), Presence::default());
        self.set(Settings { suspended: true, hooks, presence, ..before });
    }

    /// What anybody wants to know of it. Cheap: asked whenever anything happens.
    pub(crate) fn interest(&self) -> Interest {
        Interest::from_bits(self.interest.load(Ordering::Acquire))
    }

    /// Reads a client's token.
    ///
    /// # Errors
    /// [`TokenError`] says why it opens nothing.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Permit, TokenError> {
        let permit = self.verifier.load().verify(token, now)?;
        if self.is_revoked(&permit, now) {
            return Err(TokenError::Revoked);
        }
        Ok(permit)
    }

    /// Whether a permit comes of a token that has been revoked.
    pub(crate) fn is_revoked(&self, permit: &Permit, now: Timestamp) -> bool {
        self.revoked.load().take(permit, now)
    }

    /// Makes a token that this namespace verifies, whatever its rules are.
    #[must_use]
    pub fn mint(&self, permit: &Permit) -> Option<String> {
        token::mint(&self.own_key.0, permit)
    }

    /// Whom it asks.
    pub(crate) fn askers(&self) -> Arc<Askers> {
        self.askers.load_full()
    }

    /// How long a message with this TTL lives here.
    pub(crate) fn life(&self, ttl: Duration) -> Duration {
        ttl.min(Duration::from_millis(self.settings.load().mailbox.keep_ms))
    }

    /// Who is registered and online. Held only for moments, never across an await.
    pub fn directory(&self) -> MutexGuard<'_, Directory> {
        self.directory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a namespace was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// There is one with this name.
    #[error("a namespace with this name exists already")]
    Exists,
    /// There was one with this name, and not all of it is gone.
    #[error("the namespace that had this name is still being removed")]
    Going,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

pub(crate) async fn load(
    store: &dyn Store,
    now: Timestamp,
    client: &Client,
) -> Result<HashMap<NamespaceName, Arc<Namespace>>, StoreError> {
    let own_keys: HashMap<NamespaceName, OwnKey> = store
        .list(OWN_KEY)
        .await?
        .into_iter()
        .filter_map(|(key, value)| {
            let name = NamespaceName::new(&key[OWN_KEY.len()..]).ok()?;
            Some((name, OwnKey(<[u8; 32]>::try_from(&value[..]).ok()?)))
        })
        .collect();
    let mut blocks = block::load(store, now).await?;
    let mut revoked = revoke::load(store, now).await?;
    let mut suspended = rooms::load(store).await?;
    let mut light_push = light_push::load(store).await?;
    let mut channels = channels::load(store).await?;
    let mut namespaces = HashMap::new();
    for (key, value) in store.list(PREFIX).await? {
        let name = NamespaceName::new(&key[PREFIX.len()..]).map_err(|why| damaged(&key, &why))?;
        let settings = serde_json::from_slice(&value).map_err(|why| damaged(&key, &why))?;
        let census = store.census(&name).await?;
        let directory = Directory::new(census.platforms, census.rooms);
        let own_key = match own_keys.get(&name) {
            Some(key) => *key,
            None => make_own_key(store, &name).await?,
        };
        let namespace = Namespace::new(name.clone(), own_key, settings, directory, client.clone());
        *namespace.blocks.lock().unwrap_or_else(PoisonError::into_inner) =
            blocks.remove(&name).unwrap_or_default();
        namespace.revoked.store(Arc::new(revoked.remove(&name).unwrap_or_default()));
        *namespace.suspended_rooms.lock().unwrap_or_else(PoisonError::into_inner) =
            suspended.remove(&name).unwrap_or_default();
        namespace.light_push.kept.store(Arc::new(light_push.remove(&name).unwrap_or_default()));
        namespace.channels.set_marks(channels.remove(&name).unwrap_or_default());
        namespaces.insert(name, namespace);
    }
    Ok(namespaces)
}

async fn make_own_key(store: &dyn Store, name: &NamespaceName) -> Result<OwnKey, StoreError> {
    let key = crate::ids::random();
    store.put(&format!("{OWN_KEY}{name}"), Some(Bytes::copy_from_slice(&key))).await?;
    Ok(OwnKey(key))
}

fn damaged(key: &str, why: &dyn std::fmt::Display) -> StoreError {
    StoreError::Damaged(format!("setting {key}: {why}"))
}

/// Does both, the disk and the memory, even if whoever asked for it goes away in between.
pub(crate) async fn whole<T: Send + 'static>(
    work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::spawn(work).await.unwrap_or_else(|why| Err(StoreError::Io(why.to_string())))
}

impl Node {
    /// Creates a namespace.
    ///
    /// # Errors
    /// When it exists, or cannot be written down.
    pub async fn create_namespace(
        self: &Arc<Self>,
        name: NamespaceName,
        settings: Settings,
    ) -> Result<Arc<Namespace>, CreateError> {
        // Two at once would each write rules and a key of their own, and only one of them is in memory.
        let turn = Arc::clone(&self.creating).lock_owned().await;
        if self.namespace(name.as_str()).is_some() {
            return Err(CreateError::Exists);
        }
        if self.going.borrow().contains(&name) {
            return Err(CreateError::Going);
        }
        let node = Arc::clone(self);
        let created = whole(async move {
            let _turn = turn;
            let own_key = make_own_key(&*node.store, &name).await?;
            node.write_namespace(&name, &settings).await?;
            let (directory, client) = (Directory::default(), node.outbound.clone());
            let created = Namespace::new(name.clone(), own_key, settings, directory, client);
            {
                let mut namespaces = node.namespaces.write().unwrap_or_else(PoisonError::into_inner);
                namespaces.insert(name, Arc::clone(&created));
            }
            node.hooks.configure(&created);
            node.watch(&created);
            Ok(created)
        });
        Ok(created.await?)
    }

    /// Changes the rules of a namespace. They hold for what comes from now on. Who is connected stays, unless it is suspended now, or
    /// nobody is believed any more who says who they are.
    ///
    /// # Errors
    /// When they cannot be written down; nothing has changed then.
    pub async fn change_namespace(
        self: &Arc<Self>,
        changing: Changing,
        settings: Settings,
    ) -> Result<(), StoreError> {
        let node = Arc::clone(self);
        whole(async move {
            let Changing { namespace, _turn } = changing;
            if namespace.is_gone() {
                // It was changed first, and then it went.
                return Ok(());
            }
            let before = namespace.settings();
            let shut = settings.suspended && !before.suspended;
            let bound = before.auth == AuthMode::Open && settings.auth != AuthMode::Open;
            node.write_namespace(&namespace.name, &settings).await?;
            namespace.set(settings);
            node.hooks.configure(&namespace);
            node.watch(&namespace);
            // Whoever is here was believed, and from now on nobody is; or there is nobody to be here for now.
            let why = if shut { Some(Disconnect::OPERATOR) } else { bound.then_some(Disconnect::RECONNECT) };
            if let Some(why) = why {
                let namespace = namespace.name.clone();
                node.shards.tell(u64::MAX, ToShard::SendAway { namespace, devices: None, why }).await;
            }
            Ok(())
        })
        .await
    }

    async fn write_namespace(&self, name: &NamespaceName, settings: &Settings) -> Result<(), StoreError> {
        let value = serde_json::to_vec(settings).map_err(|why| damaged(name.as_str(), &why))?;
        self.store.put(&format!("{PREFIX}{name}"), Some(Bytes::from(value))).await
    }

    /// All namespaces, by name.
    #[must_use]
    pub fn namespaces(&self) -> Vec<Arc<Namespace>> {
        let namespaces = self.namespaces.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = namespaces.values().cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }
}
