//! Who is here, and who gets it.
//!
//! Reading order: [`frame`] (bytes ready for a socket), [`outbox`] (what waits for one connection),
//! [`shard`] (one core's slice of the connections, and the fan-out), [`broadcast`] (encode once for
//! each format), [`directory`] (who is registered, in which room, and online where), [`wheel`] (all
//! timers of a shard in one place), [`rates`] (how often an address may do something).
//!
//! This crate knows no sockets, no tokio and no clock: a shell hands in deliveries and times, and takes
//! out bytes and events. The fan-out loop knows nothing about formats, and the formats nothing about
//! the loop.

pub mod broadcast;
pub mod directory;
pub mod frame;
pub mod outbox;
pub mod rates;
pub mod shard;
pub mod slots;
pub mod wheel;

pub use directory::Directory;
pub use frame::{Carried, Frame, Lane};
pub use outbox::{Bounds, Outbox, Policy, WhenFull};
pub use shard::faults::{Effect, Fault, FaultOn};
pub use shard::{Attach, CatchUp, Delivery, Event, MemberKey, Ordinals, PeerKey, Shard, Unwritten};
pub use wheel::Wheel;
