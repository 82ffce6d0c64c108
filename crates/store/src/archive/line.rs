//! The lines, as they are written and read: one struct for each type. It knows no keys and no order.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tidings_model::{
    DropReason, Epoch, EventName, Except, Message, Platform, Priority, Sender, Seq, Step, Target, Timestamp,
    Topic,
};

use super::described::Described;
use crate::port::{Attempts, ReceiptRecord, TraceStep};

/// What is wrong with a line.
pub(super) type Wrong = String;

/// Sets of at most so many devices are written as lists.
const LISTED: u64 = 32;

macro_rules! lines {
    ($($(#[$doc:meta])* $name:ident = $kind:literal { $($(#[$attribute:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $name<'a> {
            #[serde(rename = "type", borrow)]
            pub(super) kind: Cow<'a, str>,
            $($(#[$attribute])* pub(super) $field: $type,)*
        }

        impl $name<'_> {
            pub(super) const TYPE: &'static str = $kind;
        }
    )*};
}

lines! {
    /// The first line.
    HeaderLine = "header" {
        format: String,
        version: u32,
        exported_at: u64,
        /// How many messages there are; one that was scheduled and then sent counts twice.
        messages: u64,
    }
    /// The last line.
    EndLine = "end" {
        lines: u64,
    }
    /// The newest numbers of a namespace. Its rules are a setting.
    NamespaceLine = "namespace" {
        name: String,
        newest: u64,
        devices: u64,
        trimmed: u64,
    }
    /// A small named value of the node.
    SettingLine = "setting" {
        key: String,
        #[serde(borrow, skip_serializing_if = "Option::is_none")] value: Option<&'a RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")] value_base64: Option<String>,
    }
    /// A device, its rooms, and how far it is.
    DeviceLine = "device" {
        namespace: String,
        ordinal: u32,
        id: String,
        #[serde(skip_serializing_if = "Option::is_none")] user: Option<String>,
        platform: String,
        created_at: u64,
        seen_at: u64,
        cursor: u64,
        rooms: Vec<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")] profile: Option<Described>,
    }
    /// A message.
    MessageLine = "message" {
        namespace: String,
        seq: u64,
        id: String,
        event: String,
        to: Whom,
        except: Spared,
        topics: Vec<Place>,
        meant: Bits,
        accepted_at: u64,
        sent_at: u64,
        expires_at: u64,
        priority: String,
        keep: bool,
        #[serde(skip_serializing_if = "Option::is_none")] collapse_key: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")] deliver_at: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")] escalate_after_ms: Option<u64>,
        #[serde(borrow, skip_serializing_if = "Option::is_none")] offline: Option<&'a RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")] offline_base64: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")] recalls: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")] from: Option<From>,
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")] aside: Option<&'a RawValue>,
        #[serde(default, skip_serializing_if = "Option::is_none")] aside_base64: Option<String>,
        #[serde(borrow, skip_serializing_if = "Option::is_none")] data: Option<&'a RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")] data_base64: Option<String>,
    }
    /// Where a topic goes on whose newest message has been trimmed.
    TopicLine = "topic" {
        namespace: String,
        topic: String,
        offset: u64,
        seq: u64,
    }
    /// The newest message under an id.
    IdLine = "id" {
        namespace: String,
        id: String,
        seq: u64,
        accepted_at: u64,
        fingerprint: String,
    }
    /// Who has a message.
    ReceiptLine = "receipt" {
        namespace: String,
        seq: u64,
        written: Bits,
        acked: Bits,
        dropped: BTreeMap<String, Bits>,
        escalated: Bits,
        #[serde(default, skip_serializing_if = "Vec::is_empty")] attempts: Vec<Rung>,
        #[serde(default, skip_serializing_if = "Option::is_none")] held: Option<Bits>,
        #[serde(skip_serializing_if = "Option::is_none")] recalled_at: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")] announced: Option<u64>,
        ack_times: Vec<u32>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")] first_steps: Vec<Stride>,
    }
    /// What happened to a message.
    TraceLine = "trace" {
        namespace: String,
        seq: u64,
        steps: Vec<Stride>,
    }
    /// What is to happen.
    DueLine = "due" {
        at: u64,
        what: String,
        #[serde(skip_serializing_if = "Option::is_none")] rung: Option<u8>,
        namespace: String,
        seqs: Vec<u64>,
    }
    /// The messages of a collapse key.
    CollapseLine = "collapse" {
        namespace: String,
        key: String,
        seqs: Vec<u64>,
    }
    /// How much was accepted when.
    BucketLine = "bucket" {
        namespace: String,
        first: u64,
        last: u64,
        messages: u64,
        bytes: u64,
        since: u64,
        until: u64,
        expires_at: u64,
        scheduled: u64,
    }
    /// An entry as it is on disk.
    RecordLine = "record" {
        keyspace: String,
        key: String,
        value: String,
    }
}

/// Only the type of a line.
#[derive(Deserialize)]
pub(super) struct TypeOnly<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Cow<'a, str>,
}

/// Who was meant.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Whom {
    all: bool,
    users: Vec<String>,
    devices: Vec<String>,
    rooms: Vec<String>,
    platforms: Vec<String>,
}

/// Who was not.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Spared {
    users: Vec<String>,
    devices: Vec<String>,
    rooms: Vec<String>,
    connections: Vec<String>,
}

/// The client that published a message.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct From {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    device: String,
}

impl From {
    fn sender(&self) -> Result<Sender, Wrong> {
        let user = self.user.as_deref().map(|id| name("from.user", id)).transpose()?;
        Ok(Sender { user, device: name("from.device", &self.device)? })
    }
}

/// A place in a topic.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Place {
    topic: String,
    offset: u64,
}

/// For whom a rung of the ladder was tried.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rung {
    claimed: Bits,
    settled: Bits,
}

/// A step of a trace.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stride {
    at: u64,
    step: String,
    by: Bits,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    detail: String,
}

/// A set of devices.
#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "neither a list of ordinals nor a bitmap as base64")]
pub(super) enum Bits {
    /// The ordinals.
    List(Vec<u32>),
    /// The bitmap, as base64.
    Bitmap(String),
}

impl Bits {
    pub(super) fn of(set: &RoaringBitmap) -> Self {
        if set.len() <= LISTED {
            return Self::List(set.iter().collect());
        }
        let mut bytes = Vec::with_capacity(set.serialized_size());
        // A vector takes whatever is written to it.
        let _ = set.serialize_into(&mut bytes);
        Self::Bitmap(STANDARD.encode(bytes))
    }

    pub(super) fn set(&self, field: &str) -> Result<RoaringBitmap, Wrong> {
        match self {
            Self::List(list) => Ok(list.iter().copied().collect()),
            Self::Bitmap(text) => {
                let bytes = from_base64(field, text)?;
                let set = RoaringBitmap::deserialize_from(&bytes[..]);
                set.map_err(|why| format!("{field}: is no bitmap: {why}"))
            }
        }
    }
}

/// A name in a field.
pub(super) fn name<T: FromStr<Err: Display>>(field: &str, text: &str) -> Result<T, Wrong> {
    text.parse().map_err(|why| format!("{field}: {text:?} {why}"))
}

pub(super) fn names<T: FromStr<Err: Display>>(field: &str, texts: &[String]) -> Result<Vec<T>, Wrong> {
    texts.iter().map(|text| name(field, text)).collect()
}

/// A topic in a field.
pub(super) fn topic(field: &str, text: &str) -> Result<Topic, Wrong> {
    Topic::parse(text).map_err(|why| match why {
        Some(why) => format!("{field}: {text:?} {why}"),
        None => format!("{field}: {text:?} is none of all, user:…, device:…, room:…"),
    })
}

/// A platform in a field.
pub(super) fn platform(field: &str, text: &str) -> Result<Platform, Wrong> {
    Platform::parse(text).ok_or_else(|| format!("{field}: {text:?} is no platform"))
}

/// Bytes in a field, as base64.
pub(super) fn from_base64(field: &str, text: &str) -> Result<Vec<u8>, Wrong> {
    STANDARD.decode(text).map_err(|why| format!("{field}: is not base64: {why}"))
}

pub(super) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// JSON text that fits into a line as it is, or base64 of it.
pub(super) fn json(bytes: &[u8]) -> (Option<&RawValue>, Option<String>) {
    // A null would be taken for nothing.
    let fits = |text: &&str| !text.contains(['\n', '\r']) && text.trim() == *text && *text != "null";
    let text = std::str::from_utf8(bytes).ok().filter(fits);
    match text.and_then(|text| serde_json::from_str::<&RawValue>(text).ok()) {
        Some(raw) => (Some(raw), None),
        None => (None, Some(base64(bytes))),
    }
}

/// What [`json`] was made of. Without either there is nothing.
pub(super) fn from_json(field: &str, raw: Option<&RawValue>, text: Option<&str>) -> Result<Bytes, Wrong> {
    match (raw, text) {
        (Some(raw), None) => Ok(Bytes::copy_from_slice(raw.get().as_bytes())),
        (None, Some(text)) => from_base64(&format!("{field}_base64"), text).map(Bytes::from),
        (None, None) => Ok(Bytes::new()),
        (Some(_), Some(_)) => Err(format!("{field}: is there twice, as {field}_base64 too")),
    }
}

fn strings<T: ToString>(list: &[T]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

impl<'a> MessageLine<'a> {
    pub(super) fn of(message: &'a Message) -> Self {
        let (data, data_base64) = json(&message.data);
        let (offline, offline_base64) =
            if message.offline.is_empty() { (None, None) } else { json(&message.offline) };
        let (aside, aside_base64) =
            if message.aside.is_empty() { (None, None) } else { json(&message.aside) };
        let place = |(topic, offset): &(Topic, u64)| Place { topic: topic.to_string(), offset: *offset };
        let Target { all, users, devices, rooms, platforms } = &message.to;
        let to = Whom {
            all: *all,
            users: strings(users),
            devices: strings(devices),
            rooms: strings(rooms),
            platforms: strings(platforms),
        };
        let Except { users, devices, rooms, connections } = &message.except;
        let except = Spared {
            users: strings(users),
            devices: strings(devices),
            rooms: strings(rooms),
            connections: connections.clone(),
        };
        let priority = match message.priority {
            Priority::Normal => "normal",
            Priority::High => "high",
        };
        Self {
            kind: Self::TYPE.into(),
            namespace: message.namespace.to_string(),
            seq: message.seq.0,
            id: message.id.to_string(),
            event: message.event.to_string(),
            to,
            except,
            topics: message.topics.iter().map(place).collect(),
            meant: Bits::of(&message.meant),
            accepted_at: message.accepted_at.0,
            sent_at: message.sent_at.0,
            expires_at: message.expires_at.0,
            priority: priority.to_owned(),
            keep: message.keep,
            collapse_key: message.collapse_key.as_ref().map(ToString::to_string),
            deliver_at: message.deliver_at.map(|at| at.0),
            escalate_after_ms: message.escalate_after.map(|after| after.as_millis() as u64),
            offline,
            offline_base64,
            recalls: message.recalls.as_ref().map(ToString::to_string),
            from: message.from.as_ref().map(|from| From {
                user: from.user.as_ref().map(ToString::to_string),
                device: from.device.to_string(),
            }),
            aside,
            aside_base64,
            data,
            data_base64,
        }
    }

    pub(super) fn message(&self, epoch: Epoch) -> Result<Message, Wrong> {
        let place = |place: &Place| Ok((topic("topics", &place.topic)?, place.offset));
        let platforms = self.to.platforms.iter().map(|text| platform("to.platforms", text));
        Ok(Message {
            namespace: name("namespace", &self.namespace)?,
            seq: Seq(self.seq),
            id: name("id", &self.id)?,
            event: EventName::stored(&self.event).map_err(|why| format!("event: {:?} {why}", self.event))?,
            data: from_json("data", self.data, self.data_base64.as_deref())?,
            to: Target {
                all: self.to.all,
                users: names("to.users", &self.to.users)?,
                devices: names("to.devices", &self.to.devices)?,
                rooms: names("to.rooms", &self.to.rooms)?,
                platforms: platforms.collect::<Result<_, _>>()?,
            },
            except: Except {
                users: names("except.users", &self.except.users)?,
                devices: names("except.devices", &self.except.devices)?,
                rooms: names("except.rooms", &self.except.rooms)?,
                connections: self.except.connections.clone(),
            },
            topics: self.topics.iter().map(place).collect::<Result<_, Wrong>>()?,
            epoch,
            meant: Arc::new(self.meant.set("meant")?),
            accepted_at: Timestamp(self.accepted_at),
            expires_at: Timestamp(self.expires_at),
            priority: match self.priority.as_str() {
                "normal" => Priority::Normal,
                "high" => Priority::High,
                other => return Err(format!("priority: {other:?} is neither normal nor high")),
            },
            keep: self.keep,
            collapse_key: self.collapse_key.as_deref().map(|key| name("collapse_key", key)).transpose()?,
            deliver_at: self.deliver_at.map(Timestamp),
            sent_at: Timestamp(self.sent_at),
            escalate_after: self.escalate_after_ms.map(Duration::from_millis),
            offline: from_json("offline", self.offline, self.offline_base64.as_deref())?,
            recalls: self.recalls.as_deref().map(|id| name("recalls", id)).transpose()?,
            from: self.from.as_ref().map(From::sender).transpose()?,
            aside: from_json("aside", self.aside, self.aside_base64.as_deref())?,
        })
    }
}

impl ReceiptLine<'_> {
    pub(super) fn of(namespace: String, seq: Seq, record: &ReceiptRecord) -> Self {
        let ReceiptRecord {
            written,
            acked,
            dropped,
            escalated,
            attempts,
            held,
            recalled_at,
            announced,
            ack_times,
            first_steps,
        } = record;
        let rung = |Attempts { claimed, settled }: &Attempts| Rung {
            claimed: Bits::of(claimed),
            settled: Bits::of(settled),
        };
        let reasons = DropReason::ALL.into_iter().zip(dropped).filter(|(_, set)| !set.is_empty());
        Self {
            kind: Self::TYPE.into(),
            namespace,
            seq: seq.0,
            written: Bits::of(written),
            acked: Bits::of(acked),
            dropped: reasons.map(|(why, set)| (why.as_str().to_owned(), Bits::of(set))).collect(),
            escalated: Bits::of(escalated),
            attempts: attempts.iter().map(rung).collect(),
            held: (!held.is_empty()).then(|| Bits::of(held)),
            recalled_at: recalled_at.map(|at| at.0),
            announced: announced.map(|seq| seq.0),
            ack_times: ack_times.clone(),
            first_steps: first_steps.iter().map(Stride::of).collect(),
        }
    }

    pub(super) fn record(&self) -> Result<ReceiptRecord, Wrong> {
        let rung = |rung: &Rung| {
            let (claimed, settled) = (rung.claimed.set("attempts")?, rung.settled.set("attempts")?);
            Ok(Attempts { claimed, settled })
        };
        let mut dropped: [RoaringBitmap; DropReason::ALL.len()] = Default::default();
        for (slug, set) in &self.dropped {
            let why = DropReason::ALL.into_iter().find(|why| why.as_str() == slug);
            let why = why.ok_or_else(|| format!("dropped: {slug:?} is no reason"))?;
            dropped[why as usize] = set.set("dropped")?;
        }
        Ok(ReceiptRecord {
            written: self.written.set("written")?,
            acked: self.acked.set("acked")?,
            dropped,
            escalated: self.escalated.set("escalated")?,
            attempts: self.attempts.iter().map(rung).collect::<Result<_, Wrong>>()?,
            held: self.held.as_ref().map(|held| held.set("held")).transpose()?.unwrap_or_default(),
            recalled_at: self.recalled_at.map(Timestamp),
            announced: self.announced.map(Seq),
            ack_times: self.ack_times.clone(),
            first_steps: self.first_steps.iter().map(Stride::step).collect::<Result<_, Wrong>>()?,
        })
    }
}

impl Stride {
    pub(super) fn of(step: &TraceStep) -> Self {
        let TraceStep { at, step, by, detail } = step;
        Self { at: at.0, step: step.as_str().to_owned(), by: Bits::of(by), detail: detail.clone() }
    }

    pub(super) fn step(&self) -> Result<TraceStep, Wrong> {
        let step = Step::ALL.iter().copied().find(|step| step.as_str() == self.step);
        Ok(TraceStep {
            at: Timestamp(self.at),
            step: step.ok_or_else(|| format!("steps: {:?} is no step", self.step))?,
            by: self.by.set("steps")?,
            detail: self.detail.clone(),
        })
    }
}
