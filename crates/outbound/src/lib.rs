//! What we call on our own account: providers that wake phones, and hooks of the business system.
//!
//! This crate knows neither the store nor who is connected, and decides nothing: the node says what is to be
//! said to whom, and hears what came of it.
//!
//! Reading order: [`provider`] (the port, and the list of what stands behind it), [`hook`] (one signed call),
//! [`guard`] (which addresses it may go to).

pub mod guard;
pub mod hook;
pub mod provider;

pub use provider::{Outcome, Provider, Wake};
