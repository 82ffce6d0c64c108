//! The part of the port that keeps statistics: rows of numbers by namespace and interval. What the numbers mean, and
//! for how long a row is kept, is the node's.

use tidings_model::{Granularity, NamespaceName, Timestamp};

use super::Answer;

/// What happened in each namespace, in numbers.
pub trait Statistics {
    /// Replaces rows and removes others, in one step; a row in both lists stays. Not synced: a power cut may
    /// bring the rows of some moments before back.
    fn tally(&self, rows: Vec<(Interval, Numbers)>, gone: Vec<Interval>) -> Answer<'_, ()>;

    /// The rows whose interval begins from `from` on and before `until`, oldest first: at most `limit`.
    fn tallied(
        &self,
        namespace: &NamespaceName,
        granularity: Granularity,
        from: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Answer<'_, Vec<(Timestamp, Numbers)>>;
}

/// Which row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interval {
    /// Where it happened.
    pub namespace: NamespaceName,
    /// How long the interval is.
    pub granularity: Granularity,
    /// When it begins.
    pub at: Timestamp,
}

/// What happened in an interval.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Pushes that were accepted.
    pub pushes: u64,
    /// Messages that were written to a device.
    pub deliveries: u64,
    /// Receipts.
    pub acked: u64,
    /// Devices for which another way was tried, for each message.
    pub escalated: u64,
    /// Devices for which the time of a message was over, for each message.
    pub expired: u64,
    /// Devices that do not get a message, for each message.
    pub dropped: u64,
    /// Most connections at once.
    pub connections: u64,
    /// Most users that were connected at once.
    pub users: u64,
    /// Most rooms at once.
    pub rooms: u64,
    /// How many receipts came after how long: counts by bucket, shorter when the rest is zero. What a bucket means
    /// is the node's.
    pub ack_times: Vec<u64>,
}
