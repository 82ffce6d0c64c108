//! Random histories: pushes, clients that come, go, fall deaf and acknowledge, recalls, time that passes, crashes. All
//! of it in one thread from one seed, with the node, the hub and the ledger as they are, and held against a small
//! model of what was promised.
//!
//! The simulation knows no sockets and no disk: connections are queues, and the store is the one in memory. A crash
//! takes away everything but the store. What the store itself may lose is the business of its own tests.
//!
//! Reading order: [`random`] (where chance comes from), [`model`] (what was promised), [`world`] (what runs),
//! [`history`] (what happens to it).

pub mod history;
pub mod model;
pub mod random;
pub mod world;

pub use history::{Outcome, run};
