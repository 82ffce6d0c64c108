//! Everything that is on disk, one file per persistent thing: who owns it, how long it lives, how its
//! key and its value are laid out. Nothing here knows the engine underneath; it is bytes in, bytes out.
//!
//! Keys: a namespace or another name is one length byte and its text, so that no key is the beginning of
//! another one's prefix; numbers are big endian, so that the order of keys is the order of numbers.
//! Values: one version byte, the crc32 of key and body, the body ([`codec::seal`]). A value that was
//! moved to another key is therefore as damaged as one with a flipped bit.

pub mod bucket;
pub mod codec;
pub mod collapse;
pub mod device;
pub mod device_cursor;
pub mod device_id;
pub mod due;
pub mod message;
pub mod message_id;
pub mod meta;
pub mod namespace_head;
pub mod notice;
pub mod receipt;
pub mod room_member;
pub mod setting;
pub mod stat;
pub mod term;
pub mod topic_entry;
pub mod trace;
pub mod user_device;

use crate::StoreError;
use codec::Broken;

/// The format of the whole directory. It changes when a reader of the old one would misunderstand the new
/// one; a new version of a single value does not change it.
pub const FORMAT: u32 = 3;

/// The oldest format that is read: it has fewer keyspaces, and is otherwise read as it is, like the one after it, whose readers
/// look for all ids of messages in [`message_id`].
pub const FORMAT_1: u32 = 1;

/// How many of the keyspaces a directory of format 1 has: the first ones. The others are made when it is opened.
pub const KEYSPACES_OF_FORMAT_1: usize = 12;

/// The keyspaces: each holds one kind of thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(usize)]
pub enum Keyspace {
    /// [`message`]: accepted messages by number.
    Message,
    /// [`message_id`]: the newest number of each public id.
    MessageId,
    /// [`topic_entry`]: the topic logs.
    TopicEntry,
    /// [`namespace_head`]: the newest numbers given out in each namespace.
    NamespaceHead,
    /// [`device`]: devices by ordinal.
    Device,
    /// [`device_id`]: the ordinal of each device id.
    DeviceId,
    /// [`device_cursor`]: how far each device is, and when it was last seen.
    DeviceCursor,
    /// [`user_device`]: the devices of each user.
    UserDevice,
    /// [`room_member`]: the rooms of each device.
    RoomMember,
    /// [`receipt`]: who has which message.
    Receipt,
    /// [`setting`]: the node's small named values.
    Setting,
    /// [`meta`]: what the store knows about itself.
    Meta,
    /// [`due`]: what is to happen to messages, by time.
    Due,
    /// [`collapse`]: the messages of each collapse key.
    Collapse,
    /// [`trace`]: what happened to each message on its way.
    Trace,
    /// [`stat`]: what happened in each namespace, by interval.
    Stat,
    /// [`notice`]: what hooks are to be told.
    Notice,
    /// [`bucket`]: how much was accepted when.
    Bucket,
    /// [`term`]: which messages have which term.
    Term,
}

impl Keyspace {
    /// Every keyspace, at the index that its discriminant says.
    pub const ALL: [Self; 19] = [
        Self::Message,
        Self::MessageId,
        Self::TopicEntry,
        Self::NamespaceHead,
        Self::Device,
        Self::DeviceId,
        Self::DeviceCursor,
        Self::UserDevice,
        Self::RoomMember,
        Self::Receipt,
        Self::Setting,
        Self::Meta,
        Self::Due,
        Self::Collapse,
        Self::Trace,
        Self::Stat,
        Self::Notice,
        Self::Bucket,
        Self::Term,
    ];

    /// Its name on disk. Never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::MessageId => "message_id",
            Self::TopicEntry => "topic_entry",
            Self::NamespaceHead => "namespace_head",
            Self::Device => "device",
            Self::DeviceId => "device_id",
            Self::DeviceCursor => "device_cursor",
            Self::UserDevice => "user_device",
            Self::RoomMember => "room_member",
            Self::Receipt => "receipt",
            Self::Setting => "setting",
            Self::Meta => "meta",
            Self::Due => "due",
            Self::Collapse => "collapse",
            Self::Trace => "trace",
            Self::Stat => "stat",
            Self::Notice => "notice",
            Self::Bucket => "bucket",
            Self::Term => "term",
        }
    }

    /// The error for an entry that does not read back.
    #[must_use]
    pub fn damaged(self, key: &[u8], why: Broken) -> StoreError {
        StoreError::Damaged(format!("{} {}: {why}", self.name(), codec::hex(key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyspaces_stand_at_their_index_and_have_names_of_their_own() {
        let mut names = Vec::new();
        for (index, keyspace) in Keyspace::ALL.into_iter().enumerate() {
            assert_eq!(keyspace as usize, index);
            names.push(keyspace.name());
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Keyspace::ALL.len());
    }
}
