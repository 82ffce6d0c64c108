//! A device comes and goes.
//!
//! Coming has an order that everything else relies on: the shard attaches the device (catching up),
//! then the directory knows the connection, then its rooms are read, then what it missed. Whatever is
//! accepted or joined in between reaches it by one of these ways.

use std::hash::BuildHasher as _;
use std::num::NonZeroU64;
use std::sync::Arc;

pub use tidings_hub::directory::{ConnectionLimits, TooMany, UserKey};
use tidings_model::{
    ClientAddress, DeviceId, Disconnect, NamespaceName, Ordinal, Platform, RoomName, Seq, UserId,
};
use tidings_store::port::Which;
use tidings_store::{Device, Registered, Registration, StoreError};

use crate::ask::AskError;
use crate::block::Visitor;
use crate::metrics::Refused;
use crate::observe::sight::Gone;
use crate::permit::Permit;
use crate::presence::{Hint, Interest, Person};
use crate::token::TokenError;
use crate::{Namespace, Node, ToShard, ids};

/// What a client says of itself.
#[derive(Clone, Debug, Default)]
pub struct Claim {
    /// Its device, made up when missing.
    pub device: Option<DeviceId>,
    /// Its user.
    pub user: Option<UserId>,
    /// What it is.
    pub platform: Platform,
    /// Its token, where the namespace wants one.
    pub token: Option<String>,
    /// Where it is.
    pub from: ClientAddress,
    /// What an older system's own authority has said of it, which then holds instead of the namespace's rules.
    pub vouched: Option<Box<Permit>>,
}

/// A connection that has gone.
#[derive(Clone, Copy, Debug)]
pub struct Went {
    /// Whose it was.
    pub device: Ordinal,
    /// Its number.
    pub connection: u64,
    /// Where it was.
    pub shard: u8,
    /// What it was counted by.
    pub user: Option<UserKey>,
    /// Up to where everything that was meant for the device has been acknowledged.
    pub settled: Option<Seq>,
    /// Why it has gone.
    pub why: Disconnect,
}

/// A device that may be here.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Where it belongs.
    pub namespace: Arc<Namespace>,
    /// The device as registered.
    pub device: Device,
    /// Whether it was never here before.
    pub new: bool,
    /// What it may do; everything, where that is `None`.
    pub permit: Option<Arc<Permit>>,
}

/// Why a client may not connect.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// There is no such namespace.
    #[error("there is no such namespace")]
    NoNamespace,
    /// The operator has suspended the namespace.
    #[error("the namespace is suspended")]
    Suspended,
    /// Its user, its device or its address is kept out.
    #[error("the operator wants this client to stay away for now")]
    Blocked,
    /// Its device was forgotten, or became another user's, while it came.
    #[error("this device was forgotten just now; connect again")]
    Forgotten,
    /// Its token opens nothing.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The business system does not let it in, because of this.
    #[error("{0}")]
    Denied(String),
    /// Neither the client nor the business system says who it is.
    #[error("nobody says which user this is")]
    NoUser,
    /// The business system could not be asked.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// It says that it is somebody else than its token says.
    #[error("{0} is not the one of the token")]
    NotTheTokens(&'static str),
    /// Its device is another user's, and its token does not say that it is to be this one's.
    #[error("this device is another user's; its token has to name it")]
    NotYours,
    /// Its device, its user or the namespace has as many connections as it may have.
    #[error("{}", too_many(.0))]
    TooMany(TooMany),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn too_many(which: &TooMany) -> String {
    let (what, limit) = match which {
        TooMany::Namespace(limit) => ("namespace", limit),
        TooMany::Device(limit) => ("device", limit),
        TooMany::User(limit) => ("user", limit),
    };
    format!("this {what} has {limit} connections, which is the limit")
}

/// A client is nobody else than its permit says.
fn same(claim: &Claim, permit: &Permit) -> Result<(), ConnectError> {
    if claim.user.as_ref().is_some_and(|user| *user != permit.user) {
        return Err(ConnectError::NotTheTokens("user"));
    }
    match (&permit.device, &claim.device) {
        (Some(own), Some(claimed)) if own != claimed => Err(ConnectError::NotTheTokens("device")),
        _ => Ok(()),
    }
}

/// The public id of a connection.
#[must_use]
pub fn connection_id(number: u64) -> String {
    format!("c{number:x}")
}

/// The number behind a public id.
#[must_use]
pub fn connection_number(id: &str) -> Option<u64> {
    u64::from_str_radix(id.strip_prefix('c')?, 16).ok()
}

impl Node {
    /// Decides who a client is, and registers its device.
    ///
    /// # Errors
    /// [`ConnectError`] says why it may not be here.
    pub async fn identify(
        self: &Arc<Self>,
        namespace: &NamespaceName,
        claim: Claim,
    ) -> Result<Identity, ConnectError> {
        let namespace = self.namespace(namespace.as_str()).ok_or(ConnectError::NoNamespace)?;
        let (claim, permit) = self.permit(&namespace, claim).await?;
        let visitor = Visitor { user: claim.user.as_ref(), device: claim.device.as_ref(), from: claim.from };
        self.may_be_here(&namespace, visitor, permit.as_deref())?;
        if let (Some(permit), Some(id)) = (&permit, &claim.device)
            && permit.device.is_none()
            && let Some(known) = self.device(&namespace, id).await?
            && known.user.as_ref() != Some(&permit.user)
        {
            return Err(ConnectError::NotYours);
        }
        let registered = self
            .store
            .register(Registration {
                namespace: namespace.name.clone(),
                device: claim.device.unwrap_or_else(ids::device_id),
                user: claim.user,
                platform: claim.platform,
                now: self.clock.now(),
            })
            .await?;
        // What puts the device that it was into rooms at this moment is over before that is forgotten.
        let _turn = match &registered.replaced {
            Some(old) => Some(self.turns.of(old.ordinal.0.into()).await),
            None => None,
        };
        self.registered(&namespace, &registered).await;
        let device = registered.device;
        Ok(Identity { namespace, device, new: registered.new, permit })
    }

    /// A device has been registered: everybody here is to know, and to forget who it was before, whose turn this is.
    pub(crate) async fn registered(&self, namespace: &Namespace, registered: &Registered) {
        let device = &registered.device;
        if let Some(old) = &registered.replaced {
            let ordinal = old.ordinal;
            namespace.directory().forget(ordinal, &old.rooms);
            namespace.is_no_more(old, self.clock.now());
            let mask = namespace.directory().shards_of(&[ordinal.0]);
            let replaced = ToShard::Replaced { namespace: namespace.name.clone(), device: ordinal };
            self.shards.tell(mask, replaced).await;
            namespace.light_push.places.gone(ordinal);
            namespace.light_push.places.changed(device.ordinal, &device.profile);
        }
        namespace.directory().register(device.ordinal, device.platform);
        if namespace.sight.is_looked_at() {
            namespace.sight.registered(&Person::of(device));
        }
        self.expose(namespace, device).await;
    }

    /// Whether the operator lets this client in.
    ///
    /// # Errors
    /// [`ConnectError`] says why not.
    pub fn may_be_here(
        &self,
        namespace: &Namespace,
        who: Visitor<'_>,
        permit: Option<&Permit>,
    ) -> Result<(), ConnectError> {
        if namespace.is_gone() {
            return Err(ConnectError::NoNamespace);
        }
        if namespace.settings().suspended {
            return Err(ConnectError::Suspended);
        }
        if permit.is_some_and(|permit| namespace.is_revoked(permit, self.clock.now())) {
            return Err(TokenError::Revoked.into());
        }
        if namespace.keeps_out(who, self.clock.now()) { Err(ConnectError::Blocked) } else { Ok(()) }
    }

    /// Who a client is, by the rules of the namespace, and what it may do; everything, where that is `None`.
    ///
    /// # Errors
    /// [`ConnectError`] says why it may not be here.
    pub async fn permit(
        self: &Arc<Self>,
        namespace: &Namespace,
        claim: Claim,
    ) -> Result<(Claim, Option<Arc<Permit>>), ConnectError> {
        if let Some(permit) = claim.vouched {
            let (user, device) = (Some(permit.user.clone()), permit.device.clone().or(claim.device));
            let claim = Claim { user, device, token: None, vouched: None, ..claim };
            return Ok((claim, Some(Arc::new(*permit))));
        }
        let auth = namespace.settings().auth;
        let verified = if auth.verifies() {
            let token = claim.token.as_deref().ok_or(TokenError::Missing)?;
            Some(self.verify(namespace, token).await?)
        } else {
            None
        };
        if let Some(permit) = &verified {
            same(&claim, permit)?;
        }
        let permit = match verified {
            Some(permit) if !auth.asks() => permit,
            verified if auth.asks() => self.ask_who(namespace, &claim, verified.as_ref()).await?,
            Some(_) | None => return Ok((claim, None)),
        };
        let device = permit.device.clone().or(claim.device);
        let (user, platform) = (Some(permit.user.clone()), permit.platform.unwrap_or(claim.platform));
        let from = claim.from;
        let claim = Claim { device, user, platform, token: None, from, vouched: None };
        Ok((claim, Some(Arc::new(permit))))
    }

    /// Reads a client's token. One that names a key which nobody knows has the keys fetched first, if that was not tried just now.
    ///
    /// # Errors
    /// [`TokenError`] says why it opens nothing.
    pub async fn verify(&self, namespace: &Namespace, token: &str) -> Result<Permit, TokenError> {
        match namespace.verify(token, self.clock.now()) {
            Err(TokenError::UnknownKey | TokenError::NoKeys) => {
                self.look_for_keys(namespace).await;
                namespace.verify(token, self.clock.now())
            }
            other => other,
        }
    }

    /// What a client may do from now on, by a newer token for the same user and device, which are those of `who`.
    ///
    /// # Errors
    /// [`ConnectError`]; what held before still holds then.
    pub async fn renew(
        self: &Arc<Self>,
        namespace: &Namespace,
        who: Claim,
    ) -> Result<Option<Arc<Permit>>, ConnectError> {
        let (user, device) = (who.user.clone(), who.device.clone());
        let (_, permit) = self.permit(namespace, who).await?;
        if let Some(permit) = &permit {
            if user.as_ref() != Some(&permit.user) {
                return Err(ConnectError::NotTheTokens("user"));
            }
            if permit.device.is_some() && permit.device != device {
                return Err(ConnectError::NotTheTokens("device"));
            }
        }
        Ok(permit)
    }

    /// A connection of a device has come, and its shard holds back what arrives for it. Answers the rooms
    /// that it is to be subscribed to.
    ///
    /// # Errors
    /// [`ConnectError`] when it may not be here, or the store cannot be read.
    pub async fn came(
        &self,
        who: &Identity,
        connection: u64,
        shard: u8,
    ) -> Result<Vec<RoomName>, ConnectError> {
        let (device, user) = (who.device.ordinal, self.counted(who));
        let interest = who.namespace.interest();
        let limits = who.namespace.settings().limits.of_connections(self.limits);
        let outcome = who.namespace.directory().connect(device, connection, shard, user, limits);
        let alone = outcome.map_err(|which| {
            let reason = match which {
                TooMany::Namespace(_) => "namespace",
                TooMany::Device(_) => "device",
                TooMany::User(_) => "user",
            };
            self.metrics.clients_refused.get_or_create(&Refused { reason }).inc();
            ConnectError::TooMany(which)
        })?;
        if interest.has(Interest::CAME) {
            who.namespace.presence.push(Hint::Came {
                who: Person::of(&who.device),
                user,
                first: alone.of_device,
                rooms: who.device.rooms.clone(),
                at: who.device.seen_at,
            });
        }
        if who.namespace.sight.is_looked_at() {
            let (at, person) = (self.clock.now(), Person::of(&who.device));
            who.namespace.sight.came(at, &person, &who.device.rooms, connection, alone.of_user);
        }
        let found =
            self.store.devices(&who.namespace.name, Which::Ordinals(vec![who.device.ordinal])).await?;
        found.into_iter().flatten().next().map(|device| device.rooms).ok_or(ConnectError::Forgotten)
    }

    /// The rooms that a device is in now.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn rooms(&self, namespace: &Namespace, device: Ordinal) -> Result<Vec<RoomName>, StoreError> {
        let found = self.store.devices(&namespace.name, Which::Ordinals(vec![device])).await?;
        Ok(found.into_iter().flatten().next().map(|device| device.rooms).unwrap_or_default())
    }

    /// A device by its ordinal, if it is registered.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn known(&self, namespace: &Namespace, device: Ordinal) -> Result<Option<Device>, StoreError> {
        let found = self.store.devices(&namespace.name, Which::Ordinals(vec![device])).await?;
        Ok(found.into_iter().flatten().next())
    }

    /// What the connections of a device's user are counted by; `None` when it has no user.
    #[must_use]
    pub fn counted(&self, who: &Identity) -> Option<UserKey> {
        who.device.user.as_ref().map(|user| self.user_key(user))
    }

    /// What the connections of a user are counted by.
    pub(crate) fn user_key(&self, user: &UserId) -> UserKey {
        // Whoever has 0 shares the count of who has 1: one pair of users in 2⁶⁴.
        let hash = self.hasher.hash_one(user.as_str());
        UserKey(NonZeroU64::new(hash).unwrap_or(NonZeroU64::MIN))
    }

    /// A connection of a device has gone.
    pub fn went(&self, namespace: &Arc<Namespace>, went: Went) {
        let Went { device, connection, shard, user, settled, why } = went;
        let at = self.clock.now();
        let alone = namespace.directory().disconnect(device, connection, shard, user);
        if let Some(alone) = alone
            && namespace.sight.is_looked_at()
        {
            let gone = Gone { at, who: device, connection, why, last: alone.of_user };
            namespace.sight.went(&namespace.directory(), &gone);
        }
        if let Some(alone) = alone.filter(|_| namespace.interest().has(Interest::WENT)) {
            let last = alone.of_device;
            namespace.presence.push(Hint::Went { who: device, user, connection, why, last, at });
        }
        self.ledger.settle(&namespace.name, device, settled.unwrap_or_default(), at);
    }

    /// Whether a device has a connection.
    #[must_use]
    pub fn is_online(&self, namespace: &NamespaceName, device: Ordinal) -> bool {
        self.namespace(namespace.as_str()).is_some_and(|found| found.directory().is_online(device))
    }

    /// Everything up to `seq` is settled for a device that is still here.
    pub fn settled(&self, namespace: &Namespace, device: Ordinal, seq: Seq) {
        self.ledger.settle(&namespace.name, device, seq, self.clock.now());
    }
}
