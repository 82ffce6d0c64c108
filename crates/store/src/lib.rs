//! What survives a restart: messages, topic logs, devices, rooms, receipts, namespaces.
//!
//! The port is [`port::Store`]: four small traits, one for each question. Two implementations stand
//! behind it: [`embedded`] (one directory, fsync group commit) and [`memory`] (the twin that tests and
//! the conformance suite hold against it). This crate knows neither connections nor who is online.

pub mod port;

pub use port::{
    Appended, Census, Device, Devices, From, LogSlice, Messages, NewMessage, Receipts, Registered,
    Registration, Settings, Store, StoreError,
};
