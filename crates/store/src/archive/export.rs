//! From a moment of a store to text.

use std::collections::HashMap;
use std::io::{self, Write};
use std::iter::Peekable;

use fjall::Slice;
use serde::Serialize;
use tidings_model::{NamespaceName, Seq, Timestamp, Topic};

use super::described::Described;
use super::line::{
    self, BucketLine, CollapseLine, DeviceLine, DueLine, EndLine, HeaderLine, IdLine, MessageLine,
    NamespaceLine, ReceiptLine, RecordLine, SettingLine, Stride, TopicLine, TraceLine,
};
use super::{AS_THEY_ARE, FORMAT, VERSION};
use crate::kv::codec::Broken;
use crate::kv::{
    Keyspace, bucket, collapse, device, device_cursor, due, message, message_id, namespace_head, receipt,
    room_member, setting, topic_entry, trace,
};
use crate::port::DueKind;
use crate::{Moment, Progress, StoreError};

/// After how many lines progress is told.
const TELL_EVERY: u64 = 1_024;

/// Why a store was not exported: what has been written is not whole, and ends without its last line.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The text cannot be written.
    #[error("the export cannot be written: {0}")]
    Write(#[from] io::Error),
}

/// Writes a whole store. Answers how many lines it takes.
///
/// # Errors
/// [`ExportError`] when the store cannot be read or the text not written.
pub fn export(
    moment: &Moment,
    now: Timestamp,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(Progress),
) -> Result<u64, ExportError> {
    let told = Progress { done: 0, of: moment.about() };
    let mut export = Export { moment, out, progress, told, lines: 0, trimmed: HashMap::new() };
    export.header(now)?;
    export.namespaces()?;
    export.settings()?;
    export.devices()?;
    export.messages()?;
    export.topics()?;
    export.ids()?;
    export.receipts()?;
    export.traces()?;
    export.deadlines()?;
    export.collapse_keys()?;
    export.buckets()?;
    for keyspace in AS_THEY_ARE {
        export.records(*keyspace)?;
    }
    let end = EndLine { kind: EndLine::TYPE.into(), lines: export.lines + 1 };
    export.line(&end)?;
    export.out.flush()?;
    Ok(export.lines)
}

struct Export<'a> {
    moment: &'a Moment,
    out: &'a mut dyn Write,
    progress: &'a mut dyn FnMut(Progress),
    told: Progress,
    lines: u64,
    /// The newest message that was trimmed from each namespace.
    trimmed: HashMap<NamespaceName, Seq>,
}

type Entries<'a> = Peekable<Box<dyn Iterator<Item = Result<(Slice, Slice), StoreError>> + 'a>>;

impl<'a> Export<'a> {
    fn line(&mut self, line: &impl Serialize) -> Result<(), ExportError> {
        serde_json::to_writer(&mut *self.out, line).map_err(io::Error::from)?;
        self.out.write_all(b"\n")?;
        self.lines += 1;
        if self.lines.is_multiple_of(TELL_EVERY) {
            (self.progress)(self.told);
        }
        Ok(())
    }

    fn scan(&self, keyspace: Keyspace) -> Entries<'a> {
        let entries: Box<dyn Iterator<Item = _> + 'a> = Box::new(self.moment.scan(keyspace));
        entries.peekable()
    }

    /// Reads each entry of a keyspace.
    fn each<T>(
        &mut self,
        keyspace: Keyspace,
        read: impl Fn(&[u8], &[u8]) -> Result<T, Broken>,
        mut write: impl FnMut(&mut Self, T) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        for entry in self.scan(keyspace) {
            let (key, value) = entry?;
            self.told.done += 1;
            write(self, read(&key, &value).map_err(|broken| keyspace.damaged(&key, broken))?)?;
        }
        Ok(())
    }

    fn is_trimmed(&self, namespace: &NamespaceName, seq: Seq) -> bool {
        self.trimmed.get(namespace).is_some_and(|trimmed| seq <= *trimmed)
    }

    fn header(&mut self, now: Timestamp) -> Result<(), ExportError> {
        let mut messages = 0;
        self.each(Keyspace::Bucket, bucket::decode, |_, (_, bucket)| {
            messages += bucket.messages;
            Ok(())
        })?;
        self.line(&HeaderLine {
            kind: HeaderLine::TYPE.into(),
            format: FORMAT.to_owned(),
            version: VERSION,
            exported_at: now.0,
            messages,
        })
    }

    fn namespaces(&mut self) -> Result<(), ExportError> {
        self.each(Keyspace::NamespaceHead, namespace_head::decode, |export, (name, heads)| {
            let line = NamespaceLine {
                kind: NamespaceLine::TYPE.into(),
                name: name.to_string(),
                newest: heads.seq.0,
                devices: heads.next_ordinal,
                trimmed: heads.trimmed.0,
            };
            export.trimmed.insert(name, heads.trimmed);
            export.line(&line)
        })
    }

    fn settings(&mut self) -> Result<(), ExportError> {
        self.each(Keyspace::Setting, setting::decode, |export, (key, bytes)| {
            let (value, value_base64) = line::json(&bytes);
            export.line(&SettingLine { kind: SettingLine::TYPE.into(), key, value, value_base64 })
        })
    }

    fn devices(&mut self) -> Result<(), ExportError> {
        let mut cursors = self.scan(Keyspace::DeviceCursor);
        let mut members = self.scan(Keyspace::RoomMember);
        for entry in self.scan(Keyspace::Device) {
            let (key, value) = entry?;
            self.told.done += 1;
            let damaged = |broken| Keyspace::Device.damaged(&key, broken);
            let (namespace, ordinal) = device::decode_key(&key).map_err(damaged)?;
            let identity = device::decode(&key, &value).map_err(damaged)?;
            let mut progress = None;
            // Both have the keys of devices, so they are read side by side.
            while let Some((at, value)) = next_if(&mut cursors, |at| at <= &key[..])? {
                self.told.done += 1;
                if at == key {
                    let read = device_cursor::decode(&key, &value);
                    progress = Some(read.map_err(|broken| Keyspace::DeviceCursor.damaged(&key, broken))?);
                }
            }
            let mut rooms = Vec::new();
            while let Some((at, value)) = next_if(&mut members, |at| at < &key[..] || at.starts_with(&key))? {
                self.told.done += 1;
                if at.starts_with(&key) {
                    let read = room_member::decode(&at, &value);
                    rooms.push(
                        read.map_err(|broken| Keyspace::RoomMember.damaged(&at, broken))?.2.to_string(),
                    );
                }
            }
            let progress = progress.ok_or_else(|| Keyspace::DeviceCursor.damaged(&key, Broken::Dangling))?;
            self.line(&DeviceLine {
                kind: DeviceLine::TYPE.into(),
                namespace: namespace.to_string(),
                ordinal: ordinal.0,
                id: identity.id.to_string(),
                user: identity.user.as_ref().map(ToString::to_string),
                platform: identity.platform.to_string(),
                created_at: identity.created_at.0,
                seen_at: progress.seen_at.0,
                cursor: progress.cursor.0,
                rooms,
                profile: Described::of(&identity.profile),
            })?;
        }
        Ok(())
    }

    fn messages(&mut self) -> Result<(), ExportError> {
        self.each(Keyspace::Message, message::decode, |export, message| {
            if export.is_trimmed(&message.namespace, message.seq) {
                return Ok(());
            }
            export.line(&MessageLine::of(&message))
        })
    }

    /// Everything else of the topics follows from the messages.
    fn topics(&mut self) -> Result<(), ExportError> {
        let mut newest: Option<(NamespaceName, Topic, u64, Seq)> = None;
        let read = |key: &[u8], value: &[u8]| {
            let (namespace, topic, offset) = topic_entry::decode_key(key)?;
            Ok((namespace, topic, offset, topic_entry::decode(key, value)?))
        };
        self.each(Keyspace::TopicEntry, read, |export, entry| {
            if newest.as_ref().is_some_and(|newest| (&newest.0, &newest.1) != (&entry.0, &entry.1)) {
                export.topic(newest.take())?;
            }
            newest = Some(entry);
            Ok(())
        })?;
        self.topic(newest)
    }

    fn topic(&mut self, newest: Option<(NamespaceName, Topic, u64, Seq)>) -> Result<(), ExportError> {
        match newest {
            Some((namespace, topic, offset, seq)) if self.is_trimmed(&namespace, seq) => {
                self.line(&TopicLine {
                    kind: TopicLine::TYPE.into(),
                    namespace: namespace.to_string(),
                    topic: topic.to_string(),
                    offset,
                    seq: seq.0,
                })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn ids(&mut self) -> Result<(), ExportError> {
        let read =
            |key: &[u8], value: &[u8]| Ok((message_id::decode_key(key)?, message_id::decode(key, value)?));
        self.each(Keyspace::MessageId, read, |export, ((namespace, id), known)| {
            if export.is_trimmed(&namespace, known.seq) {
                return Ok(());
            }
            export.line(&IdLine {
                kind: IdLine::TYPE.into(),
                namespace: namespace.to_string(),
                id: id.to_string(),
                seq: known.seq.0,
                accepted_at: known.accepted_at.0,
                fingerprint: line::base64(&known.fingerprint),
            })
        })
    }

    fn receipts(&mut self) -> Result<(), ExportError> {
        let read = |key: &[u8], value: &[u8]| Ok((message::decode_key(key)?, receipt::decode(key, value)?));
        self.each(Keyspace::Receipt, read, |export, ((namespace, seq), record)| {
            if export.is_trimmed(&namespace, seq) {
                return Ok(());
            }
            export.line(&ReceiptLine::of(namespace.to_string(), seq, &record))
        })
    }

    fn traces(&mut self) -> Result<(), ExportError> {
        let mut whole: Option<TraceLine<'_>> = None;
        let read = |key: &[u8], value: &[u8]| Ok((trace::decode_key(key)?, trace::decode(key, value)?));
        self.each(Keyspace::Trace, read, |export, ((namespace, seq, _), steps)| {
            if export.is_trimmed(&namespace, seq) {
                return Ok(());
            }
            let steps = steps.iter().map(Stride::of);
            match &mut whole {
                Some(line) if line.seq == seq.0 && line.namespace == namespace.as_str() => {
                    line.steps.extend(steps);
                    return Ok(());
                }
                Some(_) | None => {}
            }
            let next = TraceLine {
                kind: TraceLine::TYPE.into(),
                namespace: namespace.to_string(),
                seq: seq.0,
                steps: steps.collect(),
            };
            whole.replace(next).map_or(Ok(()), |line| export.line(&line))
        })?;
        whole.map_or(Ok(()), |line| self.line(&line))
    }

    fn deadlines(&mut self) -> Result<(), ExportError> {
        self.each(Keyspace::Due, due::decode, |export, due| {
            let (what, rung) = match due.what {
                DueKind::Deliver => ("deliver", None),
                DueKind::Escalate(rung) => ("escalate", Some(rung)),
                DueKind::Again => ("again", None),
                DueKind::Expire => ("expire", None),
            };
            export.line(&DueLine {
                kind: DueLine::TYPE.into(),
                at: due.at.0,
                what: what.to_owned(),
                rung,
                namespace: due.namespace.to_string(),
                seqs: due.seqs.iter().map(|seq| seq.0).collect(),
            })
        })
    }

    fn collapse_keys(&mut self) -> Result<(), ExportError> {
        let read = |key: &[u8], value: &[u8]| Ok((collapse::decode_key(key)?, collapse::decode(key, value)?));
        self.each(Keyspace::Collapse, read, |export, ((namespace, key), seqs)| {
            if seqs.iter().all(|seq| export.is_trimmed(&namespace, *seq)) {
                return Ok(());
            }
            export.line(&CollapseLine {
                kind: CollapseLine::TYPE.into(),
                namespace: namespace.to_string(),
                key: key.to_string(),
                seqs: seqs.iter().map(|seq| seq.0).collect(),
            })
        })
    }

    fn buckets(&mut self) -> Result<(), ExportError> {
        self.each(Keyspace::Bucket, bucket::decode, |export, (namespace, bucket)| {
            export.line(&BucketLine {
                kind: BucketLine::TYPE.into(),
                namespace: namespace.to_string(),
                first: bucket.first.0,
                last: bucket.last.0,
                messages: bucket.messages,
                bytes: bucket.bytes,
                since: bucket.since.0,
                until: bucket.until.0,
                expires_at: bucket.expires_at.0,
                scheduled: bucket.scheduled,
            })
        })
    }

    fn records(&mut self, keyspace: Keyspace) -> Result<(), ExportError> {
        let read = |key: &[u8], value: &[u8]| Ok((line::base64(key), line::base64(value)));
        self.each(keyspace, read, |export, (key, value)| {
            let keyspace = keyspace.name().to_owned();
            export.line(&RecordLine { kind: RecordLine::TYPE.into(), keyspace, key, value })
        })
    }
}

/// The next entry, if its key is one of these.
fn next_if(
    entries: &mut Entries<'_>,
    wanted: impl Fn(&[u8]) -> bool,
) -> Result<Option<(Slice, Slice)>, StoreError> {
    let next = entries.next_if(|entry| entry.as_ref().map_or(true, |(key, _)| wanted(key)));
    next.transpose()
}
