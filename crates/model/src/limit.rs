//! Limits that hold everywhere, each with its unit. Limits that an operator may change live in the
//! configuration of the part that enforces them.

/// Longest name of a user, device, room, event or message, in bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 255;

/// Longest name of a namespace, in bytes.
pub const NAMESPACE_BYTES_MAX: usize = 50;

/// Most users, devices, rooms or connections that one list of a push may name.
pub const TARGETS_MAX: usize = 1_000;

/// Most messages in one batch call.
pub const BATCH_MESSAGES_MAX: usize = 1_000;

/// Largest `data` of a push unless the namespace says otherwise, in bytes of JSON.
pub const DATA_BYTES_DEFAULT: usize = 64 * 1024;

/// Deepest nesting of `data`. Clients parse recursively; a deeper document could end them.
pub const DATA_DEPTH_MAX: usize = 100;

/// Most rooms that one device may be in unless the namespace says otherwise.
pub const ROOMS_PER_DEVICE_DEFAULT: usize = 1_000;

/// How long a message lives when the push does not say.
pub const TTL_DEFAULT_SECS: u64 = 24 * 60 * 60;

/// Longest life that a push may ask for.
pub const TTL_SECS_MAX: u64 = 30 * 24 * 60 * 60;

/// How many messages may wait for one connection: what may be said.
pub const OUTBOX_FRAMES: std::ops::RangeInclusive<usize> = 16..=1_000_000;

/// How many bytes may wait for one connection: what may be said.
pub const OUTBOX_BYTES: std::ops::RangeInclusive<u64> = 64 << 10..=1 << 30;
