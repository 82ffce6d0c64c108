//! Questions to the tree, answered from keys and values. It knows no threads and changes nothing.

use std::sync::Arc;

use bytes::Bytes;
use fjall::Slice;
use tidings_model::{DeviceId, Message, MessageId, NamespaceName, Ordinal, Seq, Timestamp, Topic, UserId};

use super::disk::{Disk, View};
use crate::StoreError;
use crate::kv::codec::{self, Broken};
use crate::kv::{
    Keyspace, bucket, device, device_cursor, device_id, due, message, message_id, notice, receipt,
    room_member, setting, stat, topic_entry, trace, user_device,
};
use crate::port::{
    Bucket, Census, Device, Due, DueQueue, From, HookKey, Interval, LogSlice, Numbers, Pile, Piles,
    ReceiptRecord, TraceStep, WaitingNotice, Which,
};
use crate::rules;

/// A stretch of a topic log, by the prefix of its keys, without what has been trimmed.
pub(super) fn topic(
    disk: &Disk,
    prefix: &[u8],
    from: From,
    limit: usize,
    trimmed: impl FnOnce() -> Seq,
) -> Result<LogSlice, StoreError> {
    let view = disk.view();
    // Asked afterwards: whatever the view misses was trimmed before it was taken.
    let trimmed = trimmed();
    let mut newer: Option<u64> = None;
    let backwards = view.scan(Keyspace::TopicEntry, prefix).rev().map(|entry| {
        let (offset, seq) = topic_entry(prefix, &entry?)?;
        // Entries are contiguous; if one is gone, whatever follows it cannot be called complete. What has been
        // trimmed goes in any order.
        if seq > trimmed && newer.is_some_and(|newer| newer != offset + 1) {
            let key = topic_entry::key(prefix, offset + 1);
            return Err(Keyspace::TopicEntry.damaged(&key, Broken::Dangling));
        }
        newer = Some(offset);
        Ok((offset, seq))
    });
    rules::slice(from, limit, trimmed, backwards)
}

/// The newest entries of a topic with offsets below `before`, by the prefix of its keys.
pub(super) fn topic_back(
    disk: &Disk,
    prefix: &[u8],
    before: u64,
    limit: usize,
    trimmed: impl FnOnce() -> Seq,
) -> Result<Vec<(u64, Seq)>, StoreError> {
    let end = topic_entry::key(prefix, before);
    let view = disk.view();
    let trimmed = trimmed();
    let entries = view.range(Keyspace::TopicEntry, prefix, &end).rev().take(limit);
    let entries = entries.map(|entry| topic_entry(prefix, &entry?));
    let there = |entry: &Result<(u64, Seq), _>| entry.as_ref().map_or(true, |(_, seq)| *seq > trimmed);
    let mut found = entries.take_while(there).collect::<Result<Vec<_>, _>>()?;
    found.reverse();
    Ok(found)
}

/// The newest offset of a topic; 0 when it is empty.
pub(super) fn topic_head(view: &View<'_>, prefix: &[u8]) -> Result<u64, StoreError> {
    match view.scan(Keyspace::TopicEntry, prefix).next_back() {
        Some(newest) => Ok(topic_entry(prefix, &newest?)?.0),
        None => Ok(0),
    }
}

/// Some keys, and where the next ones begin, if there may be any.
pub(super) type Keys = (Vec<Vec<u8>>, Option<Vec<u8>>);

/// Of so many keys at once, those that go; and where the next ones begin, if there may be any.
pub(super) fn keys(
    disk: &Disk,
    keyspace: Keyspace,
    from: &[u8],
    end: &[u8],
    together: usize,
    goes: impl Fn(&[u8]) -> bool,
) -> Result<Keys, StoreError> {
    let (mut keys, mut next) = (Vec::new(), None);
    for (index, entry) in disk.view().range(keyspace, from, end).enumerate() {
        let (key, _) = entry?;
        if index == together {
            next = Some(key.to_vec());
            break;
        }
        if goes(&key) {
            keys.push(key.to_vec());
        }
    }
    Ok((keys, next))
}

fn topic_entry(prefix: &[u8], (key, value): &(Slice, Slice)) -> Result<(u64, Seq), StoreError> {
    let entry = || Ok((topic_entry::offset(prefix, key)?, topic_entry::decode(key, value)?));
    entry().map_err(|broken| Keyspace::TopicEntry.damaged(key, broken))
}

/// A message.
pub(super) fn message(
    disk: &Disk,
    namespace: &NamespaceName,
    seq: Seq,
) -> Result<Option<Arc<Message>>, StoreError> {
    let key = message::key(namespace, seq);
    let read = || {
        let Some(value) = disk.get(Keyspace::Message, &key)? else { return Ok(None) };
        match message::decode(&key, &value) {
            Ok(message) => Ok(Some(Arc::new(message))),
            Err(broken) => Err(Keyspace::Message.damaged(&key, broken)),
        }
    };
    disk.decoded.get_or(&key, read)
}

/// The messages with these numbers.
pub(super) fn messages(
    disk: &Disk,
    namespace: &NamespaceName,
    seqs: &[Seq],
    trimmed: Seq,
) -> Result<Vec<Option<Arc<Message>>>, StoreError> {
    let one = |seq: &Seq| {
        if *seq <= trimmed {
            return Ok(None);
        }
        message(disk, namespace, *seq)
    };
    seqs.iter().map(one).collect()
}

/// The number under an id: the one on record, or the one in the id, if a message has it for its own.
pub(super) fn find(
    disk: &Disk,
    namespace: &NamespaceName,
    id: &MessageId,
) -> Result<Option<Seq>, StoreError> {
    let key = message_id::key(namespace, id);
    if let Some(value) = disk.get(Keyspace::MessageId, &key)? {
        let known = message_id::decode(&key, &value);
        return known
            .map(|known| Some(known.seq))
            .map_err(|broken| Keyspace::MessageId.damaged(&key, broken));
    }
    let Some(seq) = id.number() else { return Ok(None) };
    let made = message(disk, namespace, seq)?.filter(|message| message.id == *id);
    Ok(made.map(|_| seq))
}

/// The buckets of a namespace, oldest first.
pub(super) fn buckets(disk: &Disk, namespace: &NamespaceName) -> Result<Vec<Bucket>, StoreError> {
    disk.view().scan(Keyspace::Bucket, &bucket::prefix(namespace)).map(|entry| bucket(&entry?)).collect()
}

/// The newest bucket of a namespace.
pub(super) fn newest_bucket(
    view: &View<'_>,
    namespace: &NamespaceName,
) -> Result<Option<Bucket>, StoreError> {
    let newest = view.scan(Keyspace::Bucket, &bucket::prefix(namespace)).next_back();
    newest.map(|entry| bucket(&entry?)).transpose()
}

fn bucket((key, value): &(Slice, Slice)) -> Result<Bucket, StoreError> {
    let (_, bucket) = bucket::decode(key, value).map_err(|broken| Keyspace::Bucket.damaged(key, broken))?;
    Ok(bucket)
}

/// What is due in a queue from `from` until `until`.
pub(super) fn due(
    disk: &Disk,
    queue: DueQueue,
    from: Timestamp,
    until: Timestamp,
    limit: usize,
) -> Result<Vec<Due>, StoreError> {
    let end = match until.0.checked_add(1) {
        Some(after) => due::time(queue, Timestamp(after)),
        None => due::end(queue),
    };
    let entries = disk.view().range(Keyspace::Due, &due::time(queue, from), &end).take(limit);
    let read = |entry: Result<(Slice, Slice), StoreError>| {
        let (key, value) = entry?;
        due::decode(&key, &value).map_err(|broken| Keyspace::Due.damaged(&key, broken))
    };
    entries.map(read).collect()
}

/// When the first entry of a queue from `from` on is due.
pub(super) fn next_due(
    disk: &Disk,
    queue: DueQueue,
    from: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    let first = disk.view().range(Keyspace::Due, &due::time(queue, from), &due::end(queue)).next();
    let Some(entry) = first else { return Ok(None) };
    let (key, _) = entry?;
    due::at(&key).map(Some).map_err(|broken| Keyspace::Due.damaged(&key, broken))
}

/// What is known of a message's way, by the prefix of its keys.
pub(super) fn steps(disk: &Disk, prefix: &[u8]) -> Result<Vec<TraceStep>, StoreError> {
    let mut steps = Vec::new();
    for entry in disk.view().scan(Keyspace::Trace, prefix) {
        let (key, value) = entry?;
        steps.extend(trace::decode(&key, &value).map_err(|broken| Keyspace::Trace.damaged(&key, broken))?);
    }
    Ok(steps)
}

/// The receipts of these messages.
pub(super) fn receipts(
    disk: &Disk,
    namespace: &NamespaceName,
    seqs: &[Seq],
    trimmed: Seq,
) -> Result<Vec<Option<ReceiptRecord>>, StoreError> {
    let one = |seq: &Seq| {
        if *seq <= trimmed {
            return Ok(None);
        }
        let key = receipt::key(namespace, *seq);
        let value = disk.get(Keyspace::Receipt, &key)?;
        let record = value.map(|value| receipt::decode(&key, &value)).transpose();
        record.map_err(|broken| Keyspace::Receipt.damaged(&key, broken))
    };
    seqs.iter().map(one).collect()
}

/// The rows of statistics from the interval `from` until before `until`.
pub(super) fn tallied(
    disk: &Disk,
    from: Interval,
    until: Timestamp,
    limit: usize,
) -> Result<Vec<(Timestamp, Numbers)>, StoreError> {
    let begin = stat::key(&from);
    let end = stat::key(&Interval { at: until.max(from.at), ..from });
    let entries = disk.view().range(Keyspace::Stat, &begin, &end).take(limit);
    let read = |entry: Result<(Slice, Slice), StoreError>| {
        let (key, value) = entry?;
        let row = || Ok((stat::decode_key(&key)?.at, stat::decode(&key, &value)?));
        row().map_err(|broken| Keyspace::Stat.damaged(&key, broken))
    };
    entries.map(read).collect()
}

/// The first ones of a pile, by the prefix of its keys.
pub(super) fn notices(disk: &Disk, prefix: &[u8], limit: usize) -> Result<Vec<WaitingNotice>, StoreError> {
    disk.view().scan(Keyspace::Notice, prefix).take(limit).map(read_notice).collect()
}

/// The next ones of a pile behind a key.
pub(super) fn notices_after(
    disk: &Disk,
    prefix: &[u8],
    mut after: Vec<u8>,
    limit: usize,
) -> Result<Vec<WaitingNotice>, StoreError> {
    // The first key that can come next, and one that is behind all of the pile: an id is text.
    after.push(0);
    let end = [prefix, &[0xff]].concat();
    disk.view().range(Keyspace::Notice, &after, &end).take(limit).map(read_notice).collect()
}

fn read_notice(entry: Result<(Slice, Slice), StoreError>) -> Result<WaitingNotice, StoreError> {
    let (key, value) = entry?;
    notice::decode(&key, &value).map_err(|broken| Keyspace::Notice.damaged(&key, broken))
}

/// How much there is for each hook.
pub(super) fn piles(disk: &Disk) -> Result<Vec<(HookKey, Piles)>, StoreError> {
    let mut all: Vec<(HookKey, Piles)> = Vec::new();
    for entry in disk.view().scan(Keyspace::Notice, &[]) {
        let (key, _) = entry?;
        let (hook, pile, _) =
            notice::decode_key(&key).map_err(|broken| Keyspace::Notice.damaged(&key, broken))?;
        if all.last().is_none_or(|(last, _)| *last != hook) {
            all.push((hook, Piles::default()));
        }
        if let Some((_, piles)) = all.last_mut() {
            match pile {
                Pile::Waiting => piles.waiting += 1,
                Pile::Dead => piles.dead += 1,
            }
        }
    }
    Ok(all)
}

/// The settings whose key starts with `prefix`.
pub(super) fn settings(disk: &Disk, prefix: &str) -> Result<Vec<(String, Bytes)>, StoreError> {
    let entries = disk.view().scan(Keyspace::Setting, &setting::key(prefix));
    entries
        .map(|entry| {
            let (key, value) = entry?;
            setting::decode(&key, &value).map_err(|broken| Keyspace::Setting.damaged(&key, broken))
        })
        .collect()
}

/// Everybody and every room.
pub(super) fn census(disk: &Disk, namespace: &NamespaceName) -> Result<Census, StoreError> {
    let view = disk.view();
    let prefix = codec::namespace_prefix(namespace, 0);
    let mut census = Census::default();
    for entry in view.scan(Keyspace::Device, &prefix) {
        let (key, value) = entry?;
        let decode = || Ok((device::decode_key(&key)?.1, device::decode(&key, &value)?.platform));
        let (ordinal, platform) = decode().map_err(|broken| Keyspace::Device.damaged(&key, broken))?;
        census.platforms[platform as usize].insert(ordinal.0);
    }
    for entry in view.scan(Keyspace::RoomMember, &prefix) {
        let (key, value) = entry?;
        let (_, ordinal, room) =
            room_member::decode(&key, &value).map_err(|broken| Keyspace::RoomMember.damaged(&key, broken))?;
        census.rooms.entry(room).or_default().insert(ordinal.0);
    }
    Ok(census)
}

/// The devices asked for.
pub(super) fn devices(
    disk: &Disk,
    namespace: &NamespaceName,
    which: &Which,
) -> Result<Vec<Option<Device>>, StoreError> {
    let view = disk.view();
    let source = Source {
        get: |keyspace, key: &[u8]| view.get(keyspace, key),
        scan: |keyspace, prefix: &[u8]| {
            view.scan(keyspace, prefix).map(|entry| entry.map(|(key, value)| (key.to_vec(), value))).collect()
        },
    };
    match which {
        Which::Ids(ids) => ids
            .iter()
            .map(|id| match source.ordinal(&device_id::key(namespace, id))? {
                Some(ordinal) => source.device(namespace, ordinal),
                None => Ok(None),
            })
            .collect(),
        Which::Ordinals(ordinals) => {
            ordinals.iter().map(|ordinal| source.device(namespace, *ordinal)).collect()
        }
        Which::OfUser(user) => view
            .scan(Keyspace::UserDevice, &user_device::prefix(namespace, user))
            .map(|entry| {
                let (key, value) = entry?;
                let (_, _, ordinal) = user_device::decode(&key, &value)
                    .map_err(|broken| Keyspace::UserDevice.damaged(&key, broken))?;
                source.device(namespace, ordinal)
            })
            .collect(),
    }
}

/// Whose topics these are.
pub(super) fn owners(
    disk: &Disk,
    namespace: &NamespaceName,
    topics: &[Topic],
) -> Result<Vec<Arc<[Ordinal]>>, StoreError> {
    let of_user = |user: &UserId| {
        let prefix = user_device::prefix(namespace, user);
        let ordinal = |entry: Result<(Slice, Slice), StoreError>| {
            let (key, value) = entry?;
            let decoded = user_device::decode(&key, &value);
            decoded.map(|(.., ordinal)| ordinal).map_err(|broken| Keyspace::UserDevice.damaged(&key, broken))
        };
        let read = || disk.view().scan(Keyspace::UserDevice, &prefix).map(ordinal).collect();
        disk.owned.get_or(Keyspace::UserDevice, &prefix, read)
    };
    let of_device = |id: &DeviceId| {
        let key = device_id::key(namespace, id);
        let read = || {
            let Some(value) = disk.get(Keyspace::DeviceId, &key)? else { return Ok(Vec::new()) };
            let ordinal = device_id::decode(&key, &value);
            ordinal.map(|ordinal| vec![ordinal]).map_err(|broken| Keyspace::DeviceId.damaged(&key, broken))
        };
        disk.owned.get_or(Keyspace::DeviceId, &key, read)
    };
    let owners = |topic: &Topic| match topic {
        Topic::User(user) => of_user(user),
        Topic::Device(id) => of_device(id),
        Topic::Room(_) | Topic::All => Ok(Arc::default()),
    };
    topics.iter().map(owners).collect()
}

/// Where the parts of a device are read: from a view for readers, through a transaction for the writer.
pub(super) struct Source<Get, Scan> {
    pub(super) get: Get,
    pub(super) scan: Scan,
}

impl<Get, Scan> Source<Get, Scan>
where
    Get: Fn(Keyspace, &[u8]) -> Result<Option<Slice>, StoreError>,
    Scan: Fn(Keyspace, &[u8]) -> Result<Vec<(Vec<u8>, Slice)>, StoreError>,
{
    /// The ordinal of a device id, by the key of the id.
    pub(super) fn ordinal(&self, key: &[u8]) -> Result<Option<Ordinal>, StoreError> {
        let ordinal = (self.get)(Keyspace::DeviceId, key)?.map(|value| device_id::decode(key, &value));
        ordinal.transpose().map_err(|broken| Keyspace::DeviceId.damaged(key, broken))
    }

    /// A device with all of its parts.
    pub(super) fn device(
        &self,
        namespace: &NamespaceName,
        ordinal: Ordinal,
    ) -> Result<Option<Device>, StoreError> {
        let key = device::key(namespace, ordinal);
        let Some(value) = (self.get)(Keyspace::Device, &key)? else { return Ok(None) };
        let identity =
            device::decode(&key, &value).map_err(|broken| Keyspace::Device.damaged(&key, broken))?;
        let damaged = |broken| Keyspace::DeviceCursor.damaged(&key, broken);
        let value = (self.get)(Keyspace::DeviceCursor, &key)?.ok_or_else(|| damaged(Broken::Dangling))?;
        let progress = device_cursor::decode(&key, &value).map_err(damaged)?;
        let mut rooms = Vec::new();
        for (key, value) in (self.scan)(Keyspace::RoomMember, &room_member::prefix(namespace, ordinal))? {
            let (_, _, room) = room_member::decode(&key, &value)
                .map_err(|broken| Keyspace::RoomMember.damaged(&key, broken))?;
            rooms.push(room);
        }
        // Keys sort by length first.
        rooms.sort_unstable();
        Ok(Some(Device {
            ordinal,
            id: identity.id,
            user: identity.user,
            platform: identity.platform,
            rooms,
            cursor: progress.cursor,
            created_at: identity.created_at,
            seen_at: progress.seen_at,
            profile: identity.profile,
        }))
    }
}
