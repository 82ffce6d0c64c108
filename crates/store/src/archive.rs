//! A store as text: one JSON object for each line, in a fixed order, everything that a backup holds.
//!
//! The first line says what it is, the last one that it is whole. In between stand namespaces, settings, devices,
//! messages, and so on: one section after the other, each in the order of its keys, so that what is exported from an
//! imported store is the same text again. Indexes are left out where they follow from the rest. What has been trimmed is
//! left out too, but for where its topics go on.
//!
//! The store that is made of it is another life of the one that it was made from, so there is no epoch in it.
//!
//! Times are milliseconds since the Unix epoch. Sets of devices are lists of ordinals when they are small, else bitmaps in
//! the portable format of roaring, as base64. This file knows no files and no clock.

mod described;
mod export;
mod import;
mod line;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use crate::StoreError;
use crate::kv::Keyspace;
pub use export::{ExportError, export};
pub use import::{Imported, import};

/// The keyspaces that are written entry by entry, as they are on disk. Every other one has lines of its own type, or
/// follows from them.
const AS_THEY_ARE: &[Keyspace] = &[Keyspace::Stat, Keyspace::Notice];

/// What the first line calls the format.
const FORMAT: &str = "tidings-export";

/// The version of the format. It changes when an older program would misunderstand a newer text.
pub const VERSION: u32 = 2;

/// The version before, which has a line for the id of every message; it is read like this one.
const VERSION_1: u32 = 1;

/// Why a text was not imported. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// There is something in the directory already.
    #[error("{} is not empty; an import begins a store of its own", .0.display())]
    NotEmpty(PathBuf),
    /// The text is of another version.
    #[error("this is an export of format version {found}, and this program reads version {VERSION}")]
    Version {
        /// The version found.
        found: u32,
    },
    /// The text cannot be read.
    #[error("line {line} cannot be read: {why}")]
    Read {
        /// Which line.
        line: u64,
        /// What the operating system says.
        why: std::io::Error,
    },
    /// A line is not what it must be.
    #[error("line {line}: {why}")]
    Line {
        /// Which line, counted from 1.
        line: u64,
        /// What is wrong with it; begins with the field, if it is one field.
        why: String,
    },
    /// The text ends before its last line.
    #[error("the export is cut off after line {0}: its last line, of type end, is missing")]
    CutOff(u64),
    /// The store cannot be written.
    #[error(transparent)]
    Store(StoreError),
}
