//! Limits that hold everywhere, each with its unit. Limits that an operator may change live in the
//! configuration of the part that enforces them.

/// Longest name of a user, device, room, event or message, in bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 255;

/// Longest name of a namespace, in bytes.
pub const NAMESPACE_BYTES_MAX: usize = 50;

/// Longest origin, in bytes: a scheme, a name of the longest kind, a port.
pub const ORIGIN_BYTES_MAX: usize = 512;

/// Most origins that a namespace may list.
pub const ORIGINS_MAX: usize = 100;

/// Longest collapse key, in bytes: what APNs takes (`apns-collapse-id`).
pub const COLLAPSE_KEY_BYTES_MAX: usize = 64;

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

/// Most rooms that one device may be in, whatever the namespace says.
pub const ROOMS_PER_DEVICE_MAX: usize = 10_000;

/// Most that a namespace may allow as the largest `data` of a push, in bytes: a call has no more.
pub const DATA_BYTES_MAX: u64 = 256 * 1024;

/// Most that a limit of connections, or of how often something may happen in a second, can be.
pub const LIMIT_MAX: u32 = 10_000_000;

/// How often a device may publish in a second unless the namespace says otherwise.
pub const PUBLISH_PER_SECOND_DEFAULT: u32 = 1;

/// How much a device may ask for in a second unless the namespace says otherwise.
pub const REQUESTS_PER_SECOND_DEFAULT: u32 = 100;

/// What it may ask for at once, where that is more: to be in as many rooms as it may be in.
pub const REQUESTS_BURST: u32 = 1_000;

/// How long a message lives when the push does not say.
pub const TTL_DEFAULT_SECS: u64 = 24 * 60 * 60;

/// Longest life that a push may ask for.
pub const TTL_SECS_MAX: u64 = 30 * 24 * 60 * 60;

/// How far ahead a push may be scheduled.
pub const SCHEDULE_SECS_MAX: u64 = 366 * 24 * 60 * 60;

/// For how long the id of a push is remembered, so that it can be repeated.
pub const ID_SECS: u64 = 24 * 60 * 60;

/// How far in the past the time of a scheduled push may be and still mean "now": clocks differ.
pub const SCHEDULE_LATE_SECS_MAX: u64 = 60;

/// Longest time without a receipt after which another way may be tried.
pub const ESCALATE_AFTER_SECS_MAX: u64 = 7 * 24 * 60 * 60;

/// How long a device may be without a receipt before another way is tried, unless the namespace says otherwise.
pub const ESCALATE_AFTER_MS_DEFAULT: u64 = 5_000;

/// For how long a user may be without a connection before hooks are told that the user is offline: what a namespace may
/// say, in seconds.
pub const OFFLINE_GRACE_SECS_MAX: u64 = 24 * 60 * 60;

/// The same, unless the namespace says otherwise, in milliseconds.
pub const OFFLINE_GRACE_MS_DEFAULT: u64 = 10_000;

/// How many messages may wait for a device unless the namespace says otherwise.
pub const MAILBOX_MESSAGES_DEFAULT: usize = 10_000;

/// How many messages may wait for a device: what a namespace may say.
pub const MAILBOX_MESSAGES: std::ops::RangeInclusive<usize> = 1..=100_000;

/// How long messages are kept after they were accepted, unless the namespace says otherwise.
pub const HISTORY_KEEP_SECS_DEFAULT: u64 = 30 * 24 * 60 * 60;

/// How long messages are kept: what a namespace may say, beside 0 for ever.
pub const HISTORY_KEEP_SECS: std::ops::RangeInclusive<u64> = 60..=100 * 366 * 24 * 60 * 60;

/// How much is kept, in bytes: what a namespace may say, beside 0 for no limit. The least is several buckets.
pub const HISTORY_BYTES: std::ops::RangeInclusive<u64> = 64 << 20..=1 << 50;

/// How many messages may wait for one connection: what may be said.
pub const OUTBOX_FRAMES: std::ops::RangeInclusive<usize> = 16..=1_000_000;

/// How many bytes may wait for one connection: what may be said.
pub const OUTBOX_BYTES: std::ops::RangeInclusive<u64> = 64 << 10..=1 << 30;

/// Longest tag of a device, in bytes.
pub const TAG_BYTES_MAX: usize = 64;

/// Most tags of a device.
pub const TAGS_MAX: usize = 64;

/// Largest metadata of a device, in bytes of JSON.
pub const METADATA_BYTES_MAX: usize = 4 * 1024;

/// Deepest nesting of the metadata of a device.
pub const METADATA_DEPTH_MAX: usize = 10;

/// Longest token of a device, in bytes of JSON.
pub const TOKEN_BYTES_MAX: usize = 4 * 1024;

/// Most rooms that a device may have muted.
pub const MUTED_ROOMS_MAX: usize = 1_000;

/// Most hours of the day in which a device may want to be left alone.
pub const QUIET_WINDOWS_MAX: usize = 8;

/// Longest name of a time zone, in bytes.
pub const ZONE_BYTES_MAX: usize = 64;
