//! From text to a new store. What is written is not a store before the last line has been read.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, Read as _};
use std::path::Path;
use std::sync::Arc;

use fjall::Slice;
use roaring::RoaringBitmap;
use serde::Deserialize;
use tidings_model::{CollapseKey, Epoch, MessageId, NamespaceName, Ordinal, RoomName, Seq, Timestamp};

use super::line::{
    self, BucketLine, CollapseLine, DeviceLine, DueLine, EndLine, HeaderLine, IdLine, MessageLine,
    NamespaceLine, ReceiptLine, RecordLine, SettingLine, Stride, TopicLine, TraceLine, TypeOnly, Wrong,
};
use super::{AS_THEY_ARE, FORMAT, ImportError, VERSION, VERSION_1};
use crate::embedded::Fresh;
use crate::kv::device::Identity;
use crate::kv::device_cursor::Progress;
use crate::kv::message_id::KnownId;
use crate::kv::namespace_head::Heads;
use crate::kv::{
    self, Keyspace, bucket, collapse, device, device_cursor, device_id, due, message, message_id, meta,
    namespace_head, notice, receipt, room_member, setting, stat, term, topic_entry, trace, user_device,
};
use crate::port::{Bucket, Due, DueKind, Term};
use crate::{Options, StoreError, rules};

/// Longest line, in bytes: a message and everybody that it was meant for fit many times.
const LINE_BYTES_MAX: u64 = 256 << 20;

/// Most bytes of entries that are written together.
const BATCH_BYTES: usize = 4 << 20;

/// The types of lines, in the order of their sections.
const SECTIONS: [&str; 14] = [
    HeaderLine::TYPE,
    NamespaceLine::TYPE,
    SettingLine::TYPE,
    DeviceLine::TYPE,
    MessageLine::TYPE,
    TopicLine::TYPE,
    IdLine::TYPE,
    ReceiptLine::TYPE,
    TraceLine::TYPE,
    DueLine::TYPE,
    CollapseLine::TYPE,
    BucketLine::TYPE,
    RecordLine::TYPE,
    EndLine::TYPE,
];

/// What was imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// How many lines.
    pub lines: u64,
    /// How many bytes the store takes.
    pub bytes: u64,
}

/// Makes a store of a text, in a directory that is empty or not there yet. `progress` is told how many bytes have been
/// read. Blocks until the store is on disk.
///
/// # Errors
/// [`ImportError`] says what is wrong with which line. Nothing is left in the directory then.
pub fn import(
    path: &Path,
    options: Options,
    text: &mut dyn BufRead,
    progress: &mut dyn FnMut(u64),
) -> Result<Imported, ImportError> {
    let epoch = options.epoch_if_new;
    let fresh = Fresh::begin(path, options).map_err(ImportError::Store)?;
    let fresh = fresh.ok_or_else(|| ImportError::NotEmpty(path.to_owned()))?;
    let mut import = Import {
        fresh,
        epoch,
        namespaces: HashMap::new(),
        section: 0,
        last: None,
        changes: Vec::new(),
        bytes: 0,
        batch: 0,
        marks: BTreeMap::new(),
    };
    let (mut number, mut read) = (0, 0);
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        let taken = (&mut *text).take(LINE_BYTES_MAX).read_until(b'\n', &mut buffer);
        let taken = taken.map_err(|why| ImportError::Read { line: number + 1, why })?;
        if taken == 0 {
            return Err(ImportError::CutOff(number));
        }
        number += 1;
        let ended = match import.line(&buffer, number) {
            Ok(ended) => ended,
            Err(Failure::Line(_)) if buffer.last() != Some(&b'\n') && taken as u64 != LINE_BYTES_MAX => {
                return Err(ImportError::CutOff(number - 1));
            }
            Err(Failure::Line(why)) => return Err(ImportError::Line { line: number, why }),
            Err(Failure::Version(found)) => return Err(ImportError::Version { found }),
            Err(Failure::Store(why)) => return Err(ImportError::Store(why)),
        };
        read += taken as u64;
        progress(read);
        if ended {
            break;
        }
    }
    let rest = text.fill_buf().map_err(|why| ImportError::Read { line: number + 1, why })?;
    if !rest.is_empty() {
        let why = "something follows the last line".to_owned();
        return Err(ImportError::Line { line: number + 1, why });
    }
    for (key, places) in std::mem::take(&mut import.marks) {
        let value = term::value(&key, &places);
        import.put(Keyspace::Term, key, value);
    }
    import.write(true).map_err(ImportError::Store)?;
    let bytes = import.fresh.finish(import.batch).map_err(ImportError::Store)?;
    Ok(Imported { lines: number, bytes })
}

/// Why a line was not taken.
enum Failure {
    Line(Wrong),
    Version(u32),
    Store(StoreError),
}

impl From<Wrong> for Failure {
    fn from(why: Wrong) -> Self {
        Self::Line(why)
    }
}

impl From<StoreError> for Failure {
    fn from(why: StoreError) -> Self {
        Self::Store(why)
    }
}

struct Import {
    fresh: Fresh,
    /// The life that begins: see [`crate::Moment::copy`].
    epoch: Epoch,
    namespaces: HashMap<NamespaceName, Heads>,
    /// The section of the last line, and the key of the entry that it became.
    section: usize,
    last: Option<Vec<u8>>,
    changes: Vec<(Keyspace, Slice, Option<Slice>)>,
    bytes: usize,
    /// The newest batch that was written.
    batch: u64,
    /// What the index of history knows without reading messages, by the keys that it has.
    marks: BTreeMap<Vec<u8>, RoaringBitmap>,
}

impl Import {
    /// Takes a line. Answers whether it was the last one.
    fn line(&mut self, bytes: &[u8], number: u64) -> Result<bool, Failure> {
        let text = std::str::from_utf8(bytes).map_err(|why| format!("is not UTF-8: {why}"))?;
        let text = text.strip_suffix('\n').ok_or_else(|| "is too long, or has no end".to_owned())?;
        let kind = parse::<TypeOnly<'_>>(text)?.kind;
        let section = SECTIONS.iter().position(|known| *known == kind);
        let section = section.ok_or_else(|| format!("type: {kind:?} is none that is known"))?;
        if (number == 1) != (section == 0) {
            return Err(Failure::Line(format!(
                "type: is {kind:?}; the first line is the header, and only that"
            )));
        }
        if section < self.section {
            let before = SECTIONS[self.section];
            return Err(Failure::Line(format!("type: {kind:?} comes after {before:?}")));
        }
        if section != self.section {
            self.last = None;
        }
        self.section = section;
        match SECTIONS[section] {
            HeaderLine::TYPE => self.header(text)?,
            NamespaceLine::TYPE => self.namespace(&parse(text)?)?,
            SettingLine::TYPE => self.setting(&parse(text)?)?,
            DeviceLine::TYPE => self.device(&parse(text)?)?,
            MessageLine::TYPE => self.message(&parse(text)?)?,
            TopicLine::TYPE => self.topic(&parse(text)?)?,
            IdLine::TYPE => self.id(&parse(text)?)?,
            ReceiptLine::TYPE => self.receipt(&parse(text)?)?,
            TraceLine::TYPE => self.trace(&parse(text)?)?,
            DueLine::TYPE => self.due(&parse(text)?)?,
            CollapseLine::TYPE => self.collapse(&parse(text)?)?,
            BucketLine::TYPE => self.bucket(&parse(text)?)?,
            RecordLine::TYPE => self.record(&parse(text)?)?,
            _ => {
                let end: EndLine<'_> = parse(text)?;
                if end.lines != number {
                    return Err(Failure::Line(format!(
                        "lines: says {}, but this is line {number}",
                        end.lines
                    )));
                }
                return Ok(true);
            }
        }
        if self.bytes >= BATCH_BYTES {
            self.write(false)?;
        }
        Ok(false)
    }

    fn header(&mut self, text: &str) -> Result<(), Failure> {
        // Another version may have other fields.
        #[derive(Deserialize)]
        struct Least {
            format: String,
            version: u32,
        }
        let least: Least = parse(text)?;
        if least.format != FORMAT {
            return Err(Failure::Line(format!("format: {:?} is not {FORMAT:?}", least.format)));
        }
        if !(VERSION_1..=VERSION).contains(&least.version) {
            return Err(Failure::Version(least.version));
        }
        let _: HeaderLine<'_> = parse(text)?;
        for (key, number) in [(meta::FORMAT_KEY, kv::FORMAT), (meta::EPOCH_KEY, self.epoch.0)] {
            self.put(Keyspace::Meta, key.to_vec(), meta::value(key, number));
        }
        Ok(())
    }

    fn namespace(&mut self, line: &NamespaceLine<'_>) -> Result<(), Failure> {
        let name: NamespaceName = line::name("name", &line.name)?;
        let heads = Heads { seq: Seq(line.newest), next_ordinal: line.devices, trimmed: Seq(line.trimmed) };
        if heads.trimmed > heads.seq {
            return Err(Failure::Line(format!(
                "trimmed: {} is beyond newest, {}",
                line.trimmed, line.newest
            )));
        }
        let key = namespace_head::key(&name);
        let value = namespace_head::value(&key, heads);
        self.namespaces.insert(name, heads);
        self.next(Keyspace::NamespaceHead, key, value)
    }

    fn setting(&mut self, line: &SettingLine<'_>) -> Result<(), Failure> {
        rules::check_setting(&line.key).map_err(|why| format!("key: {why}"))?;
        let bytes = line::from_json("value", line.value, line.value_base64.as_deref())?;
        let key = setting::key(&line.key);
        let value = setting::value(&key, &bytes);
        self.next(Keyspace::Setting, key, value)
    }

    fn device(&mut self, line: &DeviceLine<'_>) -> Result<(), Failure> {
        let (namespace, heads) = self.known(&line.namespace)?;
        if u64::from(line.ordinal) >= heads.next_ordinal {
            let text = format!("ordinal: {} is beyond the {} devices", line.ordinal, heads.next_ordinal);
            return Err(Failure::Line(text));
        }
        let ordinal = Ordinal(line.ordinal);
        let identity = Identity {
            id: line::name("id", &line.id)?,
            user: line.user.as_deref().map(|user| line::name("user", user)).transpose()?,
            platform: line::platform("platform", &line.platform)?,
            created_at: Timestamp(line.created_at),
            profile: match &line.profile {
                Some(described) => Arc::new(described.profile()?),
                None => Arc::default(),
            },
        };
        let key = device::key(&namespace, ordinal);
        let value = device::value(&key, &identity);
        let progress = Progress { cursor: Seq(line.cursor), seen_at: Timestamp(line.seen_at) };
        let cursor = device_cursor::value(&key, &progress);
        self.put(Keyspace::DeviceCursor, key.clone(), cursor);
        self.next(Keyspace::Device, key, value)?;
        let key = device_id::key(&namespace, &identity.id);
        let value = device_id::value(&key, ordinal);
        self.put(Keyspace::DeviceId, key, value);
        if let Some(user) = &identity.user {
            let key = user_device::key(&namespace, user, ordinal);
            let value = user_device::value(&key);
            self.put(Keyspace::UserDevice, key, value);
        }
        for room in &line.rooms {
            let room: RoomName = line::name("rooms", room)?;
            let key = room_member::key(&namespace, ordinal, &room);
            let value = room_member::value(&key);
            self.put(Keyspace::RoomMember, key, value);
        }
        Ok(())
    }

    fn message(&mut self, line: &MessageLine<'_>) -> Result<(), Failure> {
        let namespace = self.there(&line.namespace, line.seq)?;
        let message = line.message(self.epoch)?;
        let key = message::key(&namespace, message.seq);
        let value = message::value(&key, &message, &message::tail(&message));
        self.next(Keyspace::Message, key, value)?;
        if message.is_scheduled() {
            self.mark(&namespace, message.seq, &Term::Scheduled);
        }
        for (topic, offset) in &message.topics {
            let key = topic_entry::key(&topic_entry::prefix(&namespace, topic), *offset);
            let value = topic_entry::value(&key, message.seq);
            self.put(Keyspace::TopicEntry, key, value);
        }
        Ok(())
    }

    fn topic(&mut self, line: &TopicLine<'_>) -> Result<(), Failure> {
        let (namespace, heads) = self.known(&line.namespace)?;
        if Seq(line.seq) > heads.trimmed {
            return Err(Failure::Line(format!("seq: {} has not been trimmed", line.seq)));
        }
        let topic = line::topic("topic", &line.topic)?;
        let key = topic_entry::key(&topic_entry::prefix(&namespace, &topic), line.offset);
        let value = topic_entry::value(&key, Seq(line.seq));
        self.next(Keyspace::TopicEntry, key, value)
    }

    fn id(&mut self, line: &IdLine<'_>) -> Result<(), Failure> {
        let namespace = self.there(&line.namespace, line.seq)?;
        let id: MessageId = line::name("id", &line.id)?;
        let fingerprint = line::from_base64("fingerprint", &line.fingerprint)?;
        let fingerprint =
            fingerprint.try_into().map_err(|_| "fingerprint: does not have 16 bytes".to_owned())?;
        let known = KnownId { seq: Seq(line.seq), accepted_at: Timestamp(line.accepted_at), fingerprint };
        let key = message_id::key(&namespace, &id);
        let value = message_id::value(&key, &known);
        self.next(Keyspace::MessageId, key, value)
    }

    fn receipt(&mut self, line: &ReceiptLine<'_>) -> Result<(), Failure> {
        let namespace = self.there(&line.namespace, line.seq)?;
        let key = receipt::key(&namespace, Seq(line.seq));
        let record = line.record()?;
        if record.recalled_at.is_some() {
            self.mark(&namespace, Seq(line.seq), &Term::Recalled);
        }
        let value = receipt::value(&key, &record);
        self.next(Keyspace::Receipt, key, value)
    }

    fn trace(&mut self, line: &TraceLine<'_>) -> Result<(), Failure> {
        let namespace = self.there(&line.namespace, line.seq)?;
        let steps = line.steps.iter().map(Stride::step).collect::<Result<Vec<_>, _>>()?;
        // Before everything that a batch of this store will add.
        let key = trace::key(&namespace, Seq(line.seq), 0);
        let value = trace::value(&key, &steps);
        self.next(Keyspace::Trace, key, value)
    }

    fn due(&mut self, line: &DueLine<'_>) -> Result<(), Failure> {
        let (namespace, _) = self.known(&line.namespace)?;
        let what = match (line.what.as_str(), line.rung) {
            ("deliver", None) => DueKind::Deliver,
            ("escalate", Some(rung)) => DueKind::Escalate(rung),
            ("again", None) => DueKind::Again,
            ("expire", None) => DueKind::Expire,
            (other, _) => {
                let text =
                    format!("what: {other:?} is none of deliver, again, expire, and escalate with a rung");
                return Err(Failure::Line(text));
            }
        };
        if line.seqs.is_empty() {
            return Err(Failure::Line("seqs: is empty".to_owned()));
        }
        let seqs = line.seqs.iter().copied().map(Seq).collect();
        let due = Due { at: Timestamp(line.at), what, namespace, seqs };
        let key = due::key(&due);
        let value = due::value(&key, &due);
        self.next(Keyspace::Due, key, value)
    }

    fn collapse(&mut self, line: &CollapseLine<'_>) -> Result<(), Failure> {
        let (namespace, _) = self.known(&line.namespace)?;
        let collapse_key: CollapseKey = line::name("key", &line.key)?;
        let seqs: Vec<Seq> = line.seqs.iter().copied().map(Seq).collect();
        let key = collapse::key(&namespace, &collapse_key);
        let value = collapse::value(&key, &seqs);
        self.next(Keyspace::Collapse, key, value)
    }

    fn bucket(&mut self, line: &BucketLine<'_>) -> Result<(), Failure> {
        let namespace = self.there(&line.namespace, line.last)?;
        let bucket = Bucket {
            first: Seq(line.first),
            last: Seq(line.last),
            messages: line.messages,
            bytes: line.bytes,
            since: Timestamp(line.since),
            until: Timestamp(line.until),
            expires_at: Timestamp(line.expires_at),
            scheduled: line.scheduled,
        };
        if bucket.first > bucket.last {
            return Err(Failure::Line(format!("first: {} is beyond last, {}", line.first, line.last)));
        }
        let key = bucket::key(&namespace, bucket.first);
        let value = bucket::value(&key, &bucket);
        self.next(Keyspace::Bucket, key, value)
    }

    fn record(&mut self, line: &RecordLine<'_>) -> Result<(), Failure> {
        let index = AS_THEY_ARE.iter().position(|known| known.name() == line.keyspace);
        let index = index.ok_or_else(|| format!("keyspace: {:?} is none that is known", line.keyspace))?;
        let (key, value) = (line::from_base64("key", &line.key)?, line::from_base64("value", &line.value)?);
        let keyspace = AS_THEY_ARE[index];
        let (good_key, good_value) = match keyspace {
            Keyspace::Notice => (notice::decode_key(&key).map(drop), notice::decode(&key, &value).map(drop)),
            _ => (stat::decode_key(&key).map(drop), stat::decode(&key, &value).map(drop)),
        };
        good_key.map_err(|broken| format!("key: {broken}"))?;
        good_value.map_err(|broken| format!("value: {broken}"))?;
        // Keyspaces stand in their order too.
        let place = [&[index as u8], &key[..]].concat();
        self.in_order(place)?;
        self.put(keyspace, key, value);
        Ok(())
    }

    /// A namespace that has a line of its own.
    fn known(&self, text: &str) -> Result<(NamespaceName, Heads), Wrong> {
        let name: NamespaceName = line::name("namespace", text)?;
        match self.namespaces.get(&name) {
            Some(heads) => Ok((name, *heads)),
            None => Err(format!("namespace: {text:?} has no line of its own")),
        }
    }

    /// The namespace of a message that it has given out and not trimmed.
    fn there(&self, namespace: &str, seq: u64) -> Result<NamespaceName, Wrong> {
        let (name, heads) = self.known(namespace)?;
        if Seq(seq) <= heads.trimmed || Seq(seq) > heads.seq {
            let (trimmed, newest) = (heads.trimmed.0, heads.seq.0);
            return Err(format!("seq: {seq} is not above {trimmed} (trimmed) and up to {newest} (newest)"));
        }
        Ok(name)
    }

    /// Puts an entry that comes after all of its section so far.
    fn mark(&mut self, namespace: &NamespaceName, seq: Seq, what: &Term) {
        let (block, place) = term::place(seq);
        self.marks.entry(term::key(namespace, block, what)).or_default().insert(place);
    }

    fn next(&mut self, keyspace: Keyspace, key: Vec<u8>, value: Vec<u8>) -> Result<(), Failure> {
        self.in_order(key.clone())?;
        self.put(keyspace, key, value);
        Ok(())
    }

    fn in_order(&mut self, key: Vec<u8>) -> Result<(), Wrong> {
        match &self.last {
            Some(last) if *last == key => Err("is there already".to_owned()),
            Some(last) if *last > key => {
                Err("comes too late: lines stand in the order of an export".to_owned())
            }
            Some(_) | None => {
                self.last = Some(key);
                Ok(())
            }
        }
    }

    fn put(&mut self, keyspace: Keyspace, key: Vec<u8>, value: Vec<u8>) {
        self.bytes += key.len() + value.len();
        self.changes.push((keyspace, key.into(), Some(value.into())));
    }

    fn write(&mut self, sync: bool) -> Result<(), StoreError> {
        self.bytes = 0;
        self.batch += 1;
        self.fresh.write(self.batch, std::mem::take(&mut self.changes), sync)
    }
}

/// Reads a line. What is wrong names the field, if it is one.
fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Wrong> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let line = serde_path_to_error::deserialize(&mut reader).map_err(|why| {
        let (path, why) = (why.path().to_string(), why.into_inner().to_string());
        let why = why.split(" at line 1 column").next().unwrap_or_default().to_owned();
        if path == "." { why } else { format!("{path}: {why}") }
    })?;
    reader.end().map_err(|_| "goes on behind the object".to_owned())?;
    Ok(line)
}
