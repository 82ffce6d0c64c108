//! What survives a restart: messages, topic logs, devices, rooms, receipts, what hooks are to be told,
//! namespaces.
//!
//! The port is [`port::Store`]: small traits, one for each question. Two implementations stand
//! behind it: [`embedded`] (one directory, fsync group commit) and [`memory`] (the twin that tests and
//! the conformance suite hold against it). This crate knows neither connections nor who is online, nor
//! what time it is: times come in with what is stored.
//!
//! Reading order: [`port`] (what is promised), [`kv`] (what is on disk), [`embedded`] (how it gets there),
//! `conformance` (what every implementation is held to; feature `testing`).

pub mod archive;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
pub mod embedded;
pub mod kv;
pub mod memory;
pub mod port;
mod rules;
#[cfg(test)]
mod tests;

pub use embedded::{Copied, CopyError, EmbeddedStore, Moment, Options, Progress, WriterStats};
pub use memory::MemoryStore;
pub use port::{
    Appended, Attempts, Bucket, Census, Deadlines, Description, Device, Devices, Due, DueKind, DueQueue,
    Erase, Found, From, History, HookKey, Interval, LogSlice, Messages, NewId, NewMessage, Notices, Numbers,
    Order, Pile, Piles, ReceiptRecord, Receipts, Recording, Registered, Registration, Retention, Settings,
    Span, Statistics, Store, StoreError, Term, TraceStep, Tries, WaitingNotice, Which,
};
