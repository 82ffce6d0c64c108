//! The port: what the node asks of a store, whatever stands behind it.

mod notices;

use std::collections::HashMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use roaring::RoaringBitmap;
use tidings_model::{
    CollapseKey, DeviceId, DropReason, Durability, Epoch, EventName, Except, Message, MessageId,
    NamespaceName, Ordinal, Platform, Priority, Profile, RoomName, Sender, Seq, Step, Target, Timestamp,
    Topic, UserId,
};

mod history;
mod statistics;

pub use history::{Found, History, Order, Span, Term};
pub use notices::{HookKey, Notices, Pile, Piles, Tries, WaitingNotice};
pub use statistics::{Interval, Numbers, Statistics};

/// What a store answers with: boxed, because the node holds a store behind a pointer.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A whole store.
pub trait Store:
    Messages
    + Deadlines
    + Devices
    + Receipts
    + History
    + Notices
    + Retention
    + Statistics
    + Settings
    + Send
    + Sync
    + 'static
{
}

impl<T> Store for T where
    T: Messages
        + Deadlines
        + Devices
        + Receipts
        + History
        + Notices
        + Retention
        + Statistics
        + Settings
        + Send
        + Sync
        + 'static
{
}
/// Messages, and the topic logs that lead to them.
pub trait Messages {
    /// Appends in the given order, each message to all of its topics. When this resolves, the messages
    /// survive a power cut ([`Durability::Durable`]) or are at least ordered and readable
    /// ([`Durability::Memory`]). Concurrent calls share one fsync. A message whose id is known already
    /// is not appended: see [`Appended`].
    ///
    /// A call has its place among others once its answer has been polled for the first time, whatever
    /// budget the task has left, unless it has to wait for room: who relies on the order of numbers, as
    /// the live delivery does, may have several appends under way.
    fn append(&self, messages: Vec<NewMessage>, durability: Durability) -> Answer<'_, Vec<Appended>>;

    /// The entries of a topic after `from`, oldest first; when there are more than `limit`, the newest ones.
    fn read_topic(
        &self,
        namespace: &NamespaceName,
        topic: &Topic,
        from: From,
        limit: usize,
    ) -> Answer<'_, LogSlice>;

    /// The newest entries of a topic with offsets below `before`, oldest first: what lies behind what
    /// [`Messages::read_topic`] has answered. Fewer than `limit` only where the log begins.
    fn read_topic_back(
        &self,
        namespace: &NamespaceName,
        topic: &Topic,
        before: u64,
        limit: usize,
    ) -> Answer<'_, Vec<(u64, Seq)>>;

    /// The messages with these numbers, each `None` where there is none (any more).
    fn messages(&self, namespace: &NamespaceName, seqs: Vec<Seq>) -> Answer<'_, Vec<Option<Arc<Message>>>>;

    /// The number of the newest message with this public id.
    fn find(&self, namespace: &NamespaceName, id: &MessageId) -> Answer<'_, Option<Seq>>;

    /// The newest number given out in a namespace; 0 when there is none. Immediately known, never blocks.
    fn head(&self, namespace: &NamespaceName) -> Seq;
}

/// Devices, whose they are, and the rooms that they are in.
pub trait Devices {
    /// Makes a device known, or recognises it. The first registration gives it an ordinal and a cursor at
    /// the head of the namespace. A known device that comes with another user starts anew, with a new
    /// ordinal, no rooms and a cursor at the head: what waits for the old user is not for the new one.
    fn register(&self, registration: Registration) -> Answer<'_, Registered>;

    /// Sets what is kept of a device, durably; one that is not known is registered as [`Devices::register`] does it, and one
    /// that is to have another user starts anew in the same way. It does not count as seen. `None` when it was to be a certain
    /// device and is not (any more).
    fn describe(&self, description: Description) -> Answer<'_, Option<Registered>>;

    /// Puts a device into rooms and takes it out of others; what is in both lists it leaves. Idempotent.
    /// Answers the rooms it is in now, sorted; `None` when there is no such device.
    fn change_rooms(
        &self,
        namespace: &NamespaceName,
        device: Ordinal,
        join: Vec<RoomName>,
        leave: Vec<RoomName>,
    ) -> Answer<'_, Option<Vec<RoomName>>>;

    /// Forgets devices, with their rooms; those that are not there are left out. Answers what they were. A device that
    /// comes again is a new one, with a new ordinal.
    fn forget(&self, namespace: &NamespaceName, devices: Vec<Ordinal>) -> Answer<'_, Vec<Device>>;

    /// Moves cursors forward (never back) and notes when devices were last seen (never earlier). Devices
    /// that are not there are left out. Not synced on its own: losing it redelivers, nothing else.
    fn settle(&self, namespace: &NamespaceName, devices: Vec<(Ordinal, Seq, Timestamp)>) -> Answer<'_, ()>;

    /// The devices asked for, each `None` where there is none.
    fn devices(&self, namespace: &NamespaceName, which: Which) -> Answer<'_, Vec<Option<Device>>>;

    /// For each topic, whose it is: the devices of a user, or the one device, by ordinal; nobody for any other topic. The
    /// least that a push has to know. What was registered or forgotten before the question counts.
    fn owners(&self, namespace: &NamespaceName, topics: Vec<Topic>) -> Answer<'_, Vec<Arc<[Ordinal]>>>;

    /// Everybody and every room of a namespace, for a node that starts.
    fn census(&self, namespace: &NamespaceName) -> Answer<'_, Census>;
}

/// What is to happen later. Whatever is appended leaves its own deadlines: see [`NewMessage`].
pub trait Deadlines {
    /// What is due in a queue from `from` up to and including `until`, in the order of time: at most `limit` entries.
    fn due(&self, queue: DueQueue, from: Timestamp, until: Timestamp, limit: usize) -> Answer<'_, Vec<Due>>;

    /// When the first entry of a queue from `from` on is due.
    fn next_due(&self, queue: DueQueue, from: Timestamp) -> Answer<'_, Option<Timestamp>>;

    /// Removes entries that have been dealt with, and adds others, durably and in one step.
    fn deal(&self, done: Vec<Due>, add: Vec<Due>) -> Answer<'_, ()>;
}

/// Something that is to happen to messages at some time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Due {
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: DueKind,
    /// Where the messages belong.
    pub namespace: NamespaceName,
    /// The messages, at least one, in the order of their numbers. The first one tells the entry from others
    /// of the same time and kind.
    pub seqs: Vec<Seq>,
}

/// What is to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DueKind {
    /// The time of scheduled messages has come.
    Deliver,
    /// Whoever has given no receipt is to be tried by this rung of the ladder, counted from 0.
    Escalate(u8),
    /// Devices for which no other way was tried because they were not to be disturbed are looked at again.
    Again,
    /// The life of the messages is over.
    Expire,
}

impl DueKind {
    /// The queue that it waits in.
    #[must_use]
    pub const fn queue(self) -> DueQueue {
        match self {
            Self::Deliver => DueQueue::Deliver,
            Self::Escalate(_) | Self::Again => DueQueue::Escalate,
            Self::Expire => DueQueue::Expire,
        }
    }
}

/// What is due waits in queues of its own kind, so that what takes long holds up nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum DueQueue {
    /// See [`DueKind::Deliver`].
    Deliver = 0,
    /// See [`DueKind::Escalate`].
    Escalate = 1,
    /// See [`DueKind::Expire`].
    Expire = 2,
}

impl DueQueue {
    /// All of them, at the index that their discriminant says.
    pub const ALL: [Self; 3] = [Self::Deliver, Self::Escalate, Self::Expire];
}

/// How long messages are kept. When they may go is the node's to say.
pub trait Retention {
    /// What a namespace has accepted and not trimmed, oldest first, in buckets of an hour or less.
    fn buckets(&self, namespace: &NamespaceName) -> Answer<'_, Vec<Bucket>>;

    /// Takes all messages up to this number away, durably and at once: their receipts, what is known of their way,
    /// their ids, and their places in topics. Offsets and numbers go on where they were. Disk space comes back later.
    fn trim(&self, namespace: &NamespaceName, through: Seq) -> Answer<'_, ()>;

    /// The newest message that has been trimmed; 0 when none was. Immediately known, never blocks.
    fn trimmed(&self, namespace: &NamespaceName) -> Seq;

    /// Takes what there is of a namespace away, durably, a piece at a time: changes of others go on in between. Offsets,
    /// numbers and ordinals go on where they were. Interrupted, it is partly done, and can be asked again; what is written
    /// to the namespace meanwhile may stay.
    fn erase(&self, namespace: &NamespaceName, what: Erase) -> Answer<'_, ()>;
}

/// What of a namespace is to go. Settings are the node's, and stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Erase {
    /// What has happened: messages as by [`Retention::trim`], what they are due for, statistics.
    Happened,
    /// That, and devices with their rooms, and what hooks are to be told.
    Everything,
}

/// What a namespace accepted in a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Its first message.
    pub first: Seq,
    /// Its last message.
    pub last: Seq,
    /// How many messages it holds.
    pub messages: u64,
    /// What they take, before compression: the message, its id and its places in topics.
    pub bytes: u64,
    /// The time of the first.
    pub since: Timestamp,
    /// The newest time of any.
    pub until: Timestamp,
    /// When all of them have expired, scheduled ones aside.
    pub expires_at: Timestamp,
    /// How many were scheduled. Some may still be, long after the others have expired.
    pub scheduled: u64,
}

/// Who has which message.
pub trait Receipts {
    /// Replaces the receipts of these messages, and adds to what is known of their way. Synced only when asked.
    fn record(&self, books: Vec<Recording>, durability: Durability) -> Answer<'_, ()>;

    /// What is known of a message's way besides its [`ReceiptRecord::first_steps`], in the order in which it was recorded.
    fn steps(&self, namespace: &NamespaceName, seq: Seq) -> Answer<'_, Vec<TraceStep>>;

    /// The receipts of these messages, each `None` where none was recorded.
    fn receipts(&self, namespace: &NamespaceName, seqs: Vec<Seq>) -> Answer<'_, Vec<Option<ReceiptRecord>>>;
}

/// Small named values that change rarely: namespaces, key digests. Their meaning is the node's.
pub trait Settings {
    /// Sets a value durably; `None` removes it. A key has at most 1,024 bytes.
    fn put(&self, key: &str, value: Option<Bytes>) -> Answer<'_, ()>;

    /// All values whose key starts with `prefix`, in key order.
    fn list(&self, prefix: &str) -> Answer<'_, Vec<(String, Bytes)>>;

    /// Which life of the store this is.
    fn epoch(&self) -> Epoch;

    /// Makes everything durable, and refuses what comes later with [`StoreError::Closed`].
    fn close(&self) -> Answer<'_, ()>;
}

/// What a message about to be appended is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewId {
    /// As its caller chose, so that it may have come before.
    Chosen(MessageId),
    /// As it is called already, so that nobody looks whether that came before; see [`NewMessage::replaces`].
    Kept(MessageId),
    /// As the store decides, which puts the number of the message into the id: see [`MessageId::made`].
    Made {
        /// Bits that two stores do not share.
        salt: u32,
    },
}

/// A message about to be appended. It leaves deadlines: for its expiry, for another way to be tried when
/// `escalate_after` is given, or, when it is scheduled, only for its delivery.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// Where it belongs.
    pub namespace: NamespaceName,
    /// Its public id.
    pub id: NewId,
    /// Digest of what the caller sent.
    pub fingerprint: [u8; 16],
    /// The event.
    pub event: EventName,
    /// The payload: JSON text.
    pub data: Bytes,
    /// Who was meant, as asked.
    pub to: Target,
    /// Who was not, as asked.
    pub except: Except,
    /// The topics to append it to, no duplicates. None for a message that is scheduled, and only for that.
    pub topics: Vec<Topic>,
    /// Who is meant, by ordinal.
    pub meant: Arc<RoaringBitmap>,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// From when on it is no longer delivered.
    pub expires_at: Timestamp,
    /// Which queue it waits in.
    pub priority: Priority,
    /// Whether it waits for devices that are away.
    pub keep: bool,
    /// It takes the place of older messages with this key, for whom both are meant.
    pub collapse_key: Option<CollapseKey>,
    /// When it is, or was, to be delivered.
    pub deliver_at: Option<Timestamp>,
    /// When it gets its place in its topics.
    pub sent_at: Timestamp,
    /// After how long without a receipt another way is to be tried.
    pub escalate_after: Option<Duration>,
    /// What other ways are to say: a JSON object, or nothing.
    pub offline: Bytes,
    /// The message whose recall this one announces.
    pub recalls: Option<MessageId>,
    /// Who published it, if that was a client.
    pub from: Option<Sender>,
    /// What an older system's call said besides: a JSON object, or nothing.
    pub aside: Bytes,
    /// The scheduled message that this one is, now that its time has come: it goes, and its id means this one.
    pub replaces: Option<Seq>,
}

/// What became of a [`NewMessage`].
#[derive(Clone, Debug, PartialEq)]
pub enum Appended {
    /// It is stored, and takes the place of these older messages for those for whom both are meant.
    New(Arc<Message>, Vec<Arc<Message>>),
    /// The scheduled message that it was to replace is not there (any more).
    Gone,
    /// The same push was accepted less than 24 h before: this is that message, as stored then.
    Duplicate(Arc<Message>),
    /// Another push was accepted under this id less than 24 h before. (An id older than that is free again.)
    Conflict,
}

/// Where to read a topic from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// What the namespace accepted after this number.
    After(Seq),
    /// What the topic got after this offset.
    AfterOffset(u64),
}

/// A stretch of a topic log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogSlice {
    /// Offset and number of each entry, oldest first, without gaps.
    pub entries: Vec<(u64, Seq)>,
    /// Whether entries are missing between `from` and the first one here, because of `limit` or because
    /// they were trimmed, or because `from` is an offset that the topic has not reached.
    pub truncated: bool,
    /// The newest offset of the topic; 0 when it is empty.
    pub head: u64,
}

/// A device about to be registered.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Where it belongs.
    pub namespace: NamespaceName,
    /// Its id.
    pub device: DeviceId,
    /// Whose it is, if anybody's.
    pub user: Option<UserId>,
    /// What it is.
    pub platform: Platform,
    /// When it asked.
    pub now: Timestamp,
}

/// What is to be kept of a device.
#[derive(Clone, Debug)]
pub struct Description {
    /// Where it belongs.
    pub namespace: NamespaceName,
    /// Its id.
    pub device: DeviceId,
    /// The device that it must be.
    pub only: Option<Ordinal>,
    /// Whose it is, if anybody's.
    pub user: Option<UserId>,
    /// What it is; `None` for what it is already.
    pub platform: Option<Platform>,
    /// What else is kept of it.
    pub profile: Arc<Profile>,
    /// The time.
    pub now: Timestamp,
}

/// A registered device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its small number.
    pub ordinal: Ordinal,
    /// Its id.
    pub id: DeviceId,
    /// Whose it is, if anybody's.
    pub user: Option<UserId>,
    /// What it is.
    pub platform: Platform,
    /// The rooms it is in, sorted.
    pub rooms: Vec<RoomName>,
    /// Everything up to here is settled for it: acknowledged, expired, or not meant for it.
    pub cursor: Seq,
    /// When it was first seen.
    pub created_at: Timestamp,
    /// When it was last seen.
    pub seen_at: Timestamp,
    /// What else is kept of it.
    pub profile: Arc<Profile>,
}

/// The answer to a [`Registration`] or a [`Description`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// The device as it is now. Its platform is the one just given.
    pub device: Device,
    /// Whether it was unknown before (or belonged to another user).
    pub new: bool,
    /// What it was with another user, under another ordinal, which is no longer meant by anything.
    pub replaced: Option<Device>,
}

/// Which devices to look up.
#[derive(Clone, Debug)]
pub enum Which {
    /// By id, answered in this order.
    Ids(Vec<DeviceId>),
    /// By ordinal, answered in this order.
    Ordinals(Vec<Ordinal>),
    /// All of this user, by ordinal.
    OfUser(UserId),
}

/// Everybody and every room of a namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Census {
    /// The devices of each platform, at [`Platform`]'s index.
    pub platforms: [RoaringBitmap; 5],
    /// The members of each room that has any.
    pub rooms: HashMap<RoomName, RoaringBitmap>,
}

/// How many buckets [`ReceiptRecord::ack_times`] has.
pub const ACK_TIME_BUCKETS: usize = 96;

/// What is known of a message's way.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReceiptRecord {
    /// The devices it was written to.
    pub written: RoaringBitmap,
    /// The devices that acknowledged it.
    pub acked: RoaringBitmap,
    /// The devices that do not get it, by [`DropReason`]; a device has at most one.
    pub dropped: [RoaringBitmap; DropReason::ALL.len()],
    /// The devices for which another way was tried, and taken as far as is known.
    pub escalated: RoaringBitmap,
    /// For each rung of the ladder, whom it was to be tried for.
    pub attempts: Vec<Attempts>,
    /// The devices for which another way is to be tried only when they want to be disturbed again.
    pub held: RoaringBitmap,
    /// When it was recalled.
    pub recalled_at: Option<Timestamp>,
    /// The message that announces this to those who have it.
    pub announced: Option<Seq>,
    /// How many acknowledgements came after how long: counts by bucket, at most [`ACK_TIME_BUCKETS`],
    /// shorter when the rest is zero. What a bucket means is the ledger's.
    pub ack_times: Vec<u32>,
    /// What happened to it first, as much as is little. What happened then is under [`Receipts::steps`].
    pub first_steps: Vec<TraceStep>,
}

impl ReceiptRecord {
    /// The devices that do not get it for this reason.
    #[must_use]
    pub fn dropped_for(&self, why: DropReason) -> &RoaringBitmap {
        &self.dropped[why as usize]
    }

    /// Why a device does not get it, if it does not.
    #[must_use]
    pub fn dropped(&self, device: u32) -> Option<DropReason> {
        DropReason::ALL.into_iter().find(|why| self.dropped_for(*why).contains(device))
    }
}

/// The receipts of a message as they are to be recorded, and what has happened to it since they last were.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// Where the message belongs.
    pub namespace: NamespaceName,
    /// The message.
    pub seq: Seq,
    /// Its receipts. Whoever brings them may go on with the same ones once they are answered.
    pub record: Arc<ReceiptRecord>,
    /// What has happened.
    pub steps: Vec<TraceStep>,
}

/// Something that happened to a message on its way to some devices.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceStep {
    /// When.
    pub at: Timestamp,
    /// What.
    pub step: Step,
    /// On its way to whom.
    pub by: RoaringBitmap,
    /// What else is to be said of it; mostly nothing.
    pub detail: String,
}

/// For whom a rung of the ladder was tried.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attempts {
    /// The devices for which it was about to be tried.
    pub claimed: RoaringBitmap,
    /// Those of them of which is known what came of it.
    pub settled: RoaringBitmap,
}

/// Why a store did not do as asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no space left on the device.
    #[error("the disk is full: {0}")]
    Full(String),
    /// Another process has the directory.
    #[error("the data directory {} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// What was read is not what was written.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// The directory was written by a version that this one cannot read.
    #[error("the data directory has format {found}, this version reads {expected}")]
    Format {
        /// The version found.
        found: u32,
        /// The version that this program reads.
        expected: u32,
    },
    /// The operating system refused.
    #[error("the store cannot be read or written: {0}")]
    Io(String),
    /// The store has been closed.
    #[error("the store is closed")]
    Closed,
}
