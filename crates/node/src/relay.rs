//! A client publishes to a room that it may publish to. What it says of itself does not count: who it is was decided when it
//! connected, and that is what the message says.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;
use tidings_model::{
    DeviceId, Durability, EventName, Except, Message, Ordinal, Priority, Push, RoomName, Sender, Target,
    UserId,
};
use tidings_store::StoreError;

use crate::ask::AskError;
use crate::connect::connection_id;
use crate::permit::Permit;
use crate::publish::PublishError;
use crate::rates::{Publisher, RetryAfter};
use crate::{Namespace, Node};

/// A device on a connection that says something.
#[derive(Clone, Debug)]
pub struct Speaker {
    /// Where it belongs.
    pub(crate) namespace: Arc<Namespace>,
    ordinal: Ordinal,
    user: Option<UserId>,
    device: DeviceId,
    connection: String,
    permit: Option<Arc<Permit>>,
}

/// What a client publishes, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Where to.
    pub room: RoomName,
    /// The user that this room stands for, where an older system has rooms of users.
    pub user: Option<UserId>,
    /// The event that others see.
    pub event: EventName,
    /// JSON text.
    pub data: Bytes,
    /// How long it is kept for those who are away; zero reaches only who is connected now.
    pub ttl: Duration,
    /// Whether the device that says it gets it, too.
    pub echo: bool,
    /// What other ways are to say: a JSON object, or nothing.
    pub offline: Bytes,
    /// What an older system's client said besides: a JSON object, or nothing.
    pub aside: Bytes,
}

/// Why something was not published.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The client may not publish there.
    #[error("the token does not allow to publish to this room")]
    NotAllowed,
    /// Its device was forgotten meanwhile.
    #[error("this device is not registered any more")]
    Gone,
    /// Its device has published too often.
    #[error("this device publishes too often: {0}")]
    TooOften(RetryAfter),
    /// The business system does not want it.
    #[error("{0}")]
    Denied(String),
    /// The business system could not be asked.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// It was not accepted.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Speaker {
    /// Its device.
    #[must_use]
    pub fn device(&self) -> &DeviceId {
        &self.device
    }

    /// As the business system is told.
    pub(crate) fn who(&self) -> crate::ask::Who<'_> {
        crate::ask::Who {
            user: self.user.as_ref().map(UserId::as_str),
            device: self.device.as_str(),
            connection: &self.connection,
            meta: self.permit.as_ref().and_then(|permit| meta(permit)),
        }
    }
}

fn meta(permit: &Permit) -> Option<&RawValue> {
    serde_json::from_str(permit.meta.as_deref()?).ok()
}

impl Node {
    /// Who speaks on a connection; `None` when its device was forgotten.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn speaker(
        &self,
        namespace: &Arc<Namespace>,
        device: Ordinal,
        connection: u64,
        permit: Option<Arc<Permit>>,
    ) -> Result<Option<Speaker>, StoreError> {
        let known = self.known(namespace, device).await?;
        Ok(known.map(|device| Speaker {
            namespace: Arc::clone(namespace),
            ordinal: device.ordinal,
            user: device.user,
            device: device.id,
            connection: connection_id(connection),
            permit,
        }))
    }

    /// Publishes what a client says, to the others in a room.
    ///
    /// # Errors
    /// [`RelayError`]; nothing was published then.
    pub async fn relay(self: &Arc<Self>, speaker: &Speaker, said: Said) -> Result<Arc<Message>, RelayError> {
        if speaker.permit.as_ref().is_some_and(|permit| !permit.may_publish(&said.room)) {
            return Err(RelayError::NotAllowed);
        }
        let publisher = speaker.user.as_ref().map_or(Publisher::Device(speaker.ordinal), Publisher::User);
        let counted = self.may_publish(&speaker.namespace, publisher, self.now());
        counted.map_err(RelayError::TooOften)?;
        let data = self.ask_whether(speaker, &said.room, &said.event, said.data).await?;
        let lives = said.ttl > Duration::ZERO;
        let push = Push {
            to: match said.user {
                Some(user) => Target { users: vec![user], ..Target::default() },
                None => Target { rooms: vec![said.room], ..Target::default() },
            },
            except: Except {
                devices: if said.echo { Vec::new() } else { vec![speaker.device.clone()] },
                ..Except::default()
            },
            event: said.event,
            data,
            id: None,
            fingerprint: [0; 16],
            ttl: said.ttl,
            priority: Priority::Normal,
            // What nobody gets later need not survive.
            durability: if lives { Durability::Durable } else { Durability::Memory },
            keep: lives,
            collapse_key: None,
            deliver_at: None,
            escalate_after: None,
            offline: said.offline,
            from: Some(Sender { user: speaker.user.clone(), device: speaker.device.clone() }),
            aside: said.aside,
        };
        let accepted = self.publish(&speaker.namespace.name, push).await?;
        Ok(accepted.message)
    }
}
