//! The nouns of Tidings: names, topics, targets, messages, positions, close codes.
//!
//! This crate knows no clock, no randomness, no sockets and no serialisation format: times and ids
//! come in as arguments, and whoever reads or writes bytes (a store, an API, a client protocol)
//! keeps its own representation and converts at its edge.
//!
//! Reading order: [`name`] (what things are called), [`topic`] (where messages are logged),
//! [`target`] (who is meant), [`message`] (what was accepted), [`step`] (what becomes of it),
//! [`profile`] (what is kept of a device), [`disconnect`] (how a connection ends), [`address`] and [`network`] (where a client is),
//! [`origin`] (which page it belongs to), [`glob`] (patterns as Redis has them),
//! [`duration`] (as people write it), [`ulid`] (ids that sort by time), [`granularity`] (intervals of statistics), [`limit`] (how large anything may be).

pub mod address;
pub mod disconnect;
pub mod duration;
pub mod error_code;
pub mod glob;
pub mod granularity;
pub mod limit;
pub mod message;
pub mod name;
pub mod network;
pub mod origin;
pub mod profile;
pub mod step;
pub mod target;
pub mod time;
pub mod topic;
pub mod ulid;

pub use address::ClientAddress;
pub use disconnect::Disconnect;
pub use error_code::ErrorCode;
pub use glob::Glob;
pub use granularity::Granularity;
pub use message::{Durability, Message, Priority, Push, Sender};
pub use name::{
    CollapseKey, DeviceId, EventName, HookName, KeyName, MessageId, NameError, NamespaceName, NoticeId,
    RoomName, Tag, UserId,
};
pub use network::Network;
pub use origin::{Origin, Origins};
pub use profile::{Profile, Quiet, Vendor, VendorToken, Window, Zone};
pub use step::{DropReason, Step};
pub use target::{Except, Platform, Target};
pub use time::Timestamp;
pub use topic::{Epoch, Ordinal, Position, Seq, Topic};
