//! The body of a push becomes a checked [`Push`].
//!
//! It is read without a copy, checked field by field with every complaint gathered, and only then
//! anything is allocated for it. What a push means, and who is meant, is the node's.

mod body;
mod fingerprint;

use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;
use tidings_model::{
    CollapseKey, DeviceId, Durability, EventName, Except, MessageId, Platform, Priority, Push, RoomName,
    Target, Timestamp, UserId, limit,
};
use tidings_wire::{nesting, time};

use self::body::{Body, ExceptBody, OfflineBody, Text, ToBody};
use crate::rest::namespaces::offline::escalate_after;
use crate::shape::{self, shown};
use crate::wrong::Wrong;
use crate::{Problem, duration};

pub(crate) use body::SHAPE;

/// A push that may be given to the node.
#[derive(Debug)]
pub(crate) struct Parsed {
    /// It is large.
    pub(crate) push: Box<Push>,
    /// Only say who would be meant.
    pub(crate) dry_run: bool,
    /// How long the answer is to wait for receipts.
    pub(crate) wait: Option<Duration>,
}

/// Reads a push that came at `now`. `key` is the caller's `Idempotency-Key`.
pub(crate) fn parse(json: &[u8], key: Option<&str>, now: Timestamp) -> Result<Parsed, Problem> {
    let body: Body<'_> = shape::decode(json, &SHAPE)?;
    let mut wrong = Wrong::default();
    let to = target(body.to.map(|to| to.0), &mut wrong);
    let except = exceptions(body.except.map(|except| except.0), &mut wrong);
    let event = body.event.as_ref().map_or("push", Text::as_str);
    let event = wrong.name("event", event, EventName::new);
    let id = message_id(body.id.as_ref().map(Text::as_str), key, &mut wrong);
    let data = body.data.map_or("null", RawValue::get);
    if !nesting::is_within(data, limit::DATA_DEPTH_MAX) {
        wrong.add("data", format!("is nested deeper than {} levels", limit::DATA_DEPTH_MAX));
    }
    let ttl = ttl(body.ttl.as_ref().map(Text::as_str), &mut wrong);
    let priority = wrong.choice(
        "priority",
        body.priority.as_ref().map(Text::as_str),
        &[("normal", Priority::Normal), ("high", Priority::High)],
    );
    let durability = wrong.choice(
        "durability",
        body.durability.as_ref().map(Text::as_str),
        &[("durable", Durability::Durable), ("memory", Durability::Memory)],
    );
    let offline = body.offline.map(|offline| offline.0).unwrap_or_default();
    let escalate_after = check_offline(&offline, &mut wrong);
    let collapse_key = body.collapse_key.as_ref().map(Text::as_str);
    let collapse_key = collapse_key.and_then(|key| wrong.name("collapse_key", key, CollapseKey::new));
    let deliver_at = deliver_at(body.deliver_at.as_ref().map(Text::as_str), now, &mut wrong);
    let wait = body.ack.and_then(|ack| ack.0.wait);
    let wait = wait.as_ref().map(Text::as_str);
    let wait = wrong.duration("ack.wait", wait, Duration::ZERO, ACK_WAIT_MAX);
    if wait.is_some() && deliver_at.is_some() {
        wrong.add("ack.wait", "does not go with deliver_at: nobody has it before that");
    }
    let (Some(event), true) = (event, wrong.is_empty()) else { return Err(wrong.into_problem()) };
    let mut push = Box::new(Push {
        to,
        except,
        event,
        data: Bytes::copy_from_slice(data.as_bytes()),
        id,
        fingerprint: [0; 16],
        ttl,
        priority,
        durability,
        keep: offline.keep.unwrap_or(true),
        collapse_key,
        deliver_at,
        escalate_after,
        offline: said(&offline),
        from: None,
        aside: Bytes::new(),
    });
    // Only a push with an id of the caller's can be a retry.
    if push.id.is_some() {
        push.fingerprint = fingerprint::of(&push, &offline);
    }
    Ok(Parsed { push, dry_run: body.dry_run.unwrap_or(false), wait })
}

fn target(to: Option<ToBody<'_>>, wrong: &mut Wrong) -> Target {
    let Some(to) = to else {
        wrong.add("to", "is required: it says who is meant (all, users, devices, rooms)");
        return Target::default();
    };
    let before = wrong.len();
    let target = Target {
        all: to.all.unwrap_or(false),
        users: wrong.names("to.users", to.users.as_deref(), UserId::new),
        devices: wrong.names("to.devices", to.devices.as_deref(), DeviceId::new),
        rooms: wrong.names("to.rooms", to.rooms.as_deref(), RoomName::new),
        platforms: platforms(to.platforms, wrong),
    };
    if wrong.len() == before && target.is_empty() {
        wrong.add("to", "names nobody: set all, or name users, devices or rooms");
    }
    target
}

fn platforms(list: Option<Vec<Text<'_>>>, wrong: &mut Wrong) -> Vec<Platform> {
    let mut platforms = Vec::new();
    for (index, text) in list.unwrap_or_default().iter().enumerate() {
        match Platform::parse(text.as_str()) {
            Some(platform) if platforms.contains(&platform) => {}
            Some(platform) => platforms.push(platform),
            None => {
                let known = Platform::ALL.map(Platform::as_str).join(", ");
                let message = format!("{} is no platform; there are {known}", shown(text.as_str()));
                wrong.add(format!("to.platforms[{index}]"), message);
            }
        }
    }
    platforms
}

fn exceptions(except: Option<ExceptBody<'_>>, wrong: &mut Wrong) -> Except {
    let Some(except) = except else { return Except::default() };
    let connection = |text: &str| match tidings_node::connect::connection_number(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err("is no connection id"),
    };
    Except {
        users: wrong.names("except.users", except.users.as_deref(), UserId::new),
        devices: wrong.names("except.devices", except.devices.as_deref(), DeviceId::new),
        rooms: wrong.names("except.rooms", except.rooms.as_deref(), RoomName::new),
        connections: wrong.names("except.connections", except.connections.as_deref(), connection),
    }
}

/// The caller's id for the push: from the body, from the header, or the same from both.
fn message_id(id: Option<&str>, key: Option<&str>, wrong: &mut Wrong) -> Option<MessageId> {
    if let (Some(id), Some(key)) = (id, key)
        && id != key
    {
        wrong.add("id", format!("is {}, but the header Idempotency-Key says {}", shown(id), shown(key)));
        return None;
    }
    let field = if id.is_some() { "id" } else { "Idempotency-Key" };
    wrong.name(field, id.or(key)?, MessageId::new)
}

fn ttl(text: Option<&str>, wrong: &mut Wrong) -> Duration {
    let max = Duration::from_secs(limit::TTL_SECS_MAX);
    let ttl = wrong.duration("ttl", text, Duration::ZERO, max);
    ttl.unwrap_or(Duration::from_secs(limit::TTL_DEFAULT_SECS))
}

/// How long an answer waits for receipts at most.
const ACK_WAIT_MAX: Duration = Duration::from_secs(30);

/// When a push is to be delivered. Whether that is over is the node's matter: what is repeated may be late.
fn deliver_at(text: Option<&str>, now: Timestamp, wrong: &mut Wrong) -> Option<Timestamp> {
    let text = text?;
    let Some(at) = time::parse_rfc3339(text).map(Timestamp) else {
        let message = format!("is {}, must be a time like 2026-11-20T14:29:07Z (RFC 3339)", shown(text));
        wrong.add("deliver_at", message);
        return None;
    };
    let ahead = Duration::from_secs(limit::SCHEDULE_SECS_MAX);
    if at.since(now) > ahead {
        let message = format!("is {}, more than {} ahead", shown(text), duration::show(ahead));
        wrong.add("deliver_at", message);
    }
    Some(at)
}

/// Answers how long a device may be without a receipt before another way is tried, if the push says so.
fn check_offline(offline: &OfflineBody<'_>, wrong: &mut Wrong) -> Option<Duration> {
    let after = offline.escalate_after.as_ref().map(|text| escalate_after(text.as_str()));
    let after = after.and_then(|after| after.map_err(|why| wrong.add("offline.escalate_after", why)).ok());
    for (field, value) in [("apns", offline.apns), ("fcm", offline.fcm), ("webpush", offline.webpush)] {
        let Some(value) = value else { continue };
        if !value.get().starts_with('{') {
            wrong.add(format!("offline.{field}"), "must be an object");
        } else if !nesting::is_within(value.get(), limit::DATA_DEPTH_MAX) {
            wrong.add(
                format!("offline.{field}"),
                format!("is nested deeper than {} levels", limit::DATA_DEPTH_MAX),
            );
        }
    }
    after
}

/// What other ways are to say, as it was pushed: a JSON object, or nothing.
fn said(offline: &OfflineBody<'_>) -> Bytes {
    let notification = offline.notification.as_ref();
    let notification = notification.and_then(|notification| serde_json::to_string(&notification.0).ok());
    let parts = [
        ("notification", notification.as_deref()),
        ("apns", offline.apns.map(RawValue::get)),
        ("fcm", offline.fcm.map(RawValue::get)),
        ("webpush", offline.webpush.map(RawValue::get)),
    ];
    let said = parts.into_iter().filter_map(|(name, value)| Some(format!("\"{name}\":{}", value?)));
    let said: Vec<String> = said.collect();
    if said.is_empty() { Bytes::new() } else { Bytes::from(format!("{{{}}}", said.join(","))) }
}
