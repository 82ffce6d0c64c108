//! What we call on our own account: providers that wake phones.
//!
//! This crate knows neither the store nor who is connected, and decides nothing: the node says what is to be
//! said to whom, and hears what came of it.
//!
//! Reading order: [`provider`] (the port, and the list of what stands behind it).

pub mod provider;

pub use provider::{Outcome, Provider, Wake};
