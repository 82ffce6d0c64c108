//! Providers: the ways to reach a device that has not taken a message over its connection.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use tidings_model::{DeviceId, EventName, MessageId, NamespaceName, Platform, UserId};

pub mod recording;

pub use recording::Recording;

/// What a provider answers with: boxed, because the node holds providers behind pointers.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// A way to reach devices: a rung of the ladder.
pub trait Provider: Send + Sync + 'static {
    /// Its name in configuration, traces and metrics.
    fn name(&self) -> &str;

    /// Whether it can reach devices of this platform.
    fn serves(&self, platform: Platform) -> bool;

    /// Whether the same attempt may be made twice, told by its id, and reach the device once. An attempt that a crash
    /// interrupted is then made again; with any other provider it is not.
    fn idempotent(&self) -> bool;

    /// Tries to reach a device. Bounded in time.
    fn wake<'a>(&'a self, wake: &'a Wake) -> Answer<'a>;
}

/// One attempt to reach one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wake {
    /// The same for the same message, device and rung, whenever it is tried.
    pub attempt: String,
    /// Where the message belongs.
    pub namespace: NamespaceName,
    /// The message.
    pub message: MessageId,
    /// Its event.
    pub event: EventName,
    /// Its payload: JSON text.
    pub data: Bytes,
    /// What the push said for this way: a JSON object, or nothing.
    pub offline: Bytes,
    /// Whom to reach.
    pub device: DeviceId,
    /// Whose it is.
    pub user: Option<UserId>,
    /// What it is.
    pub platform: Platform,
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The provider took it.
    Accepted,
    /// The provider will not take it, and says why.
    Refused(String),
    /// It cannot be said whether the provider took it: it did not answer in time, or not at all.
    Unknown(String),
}
