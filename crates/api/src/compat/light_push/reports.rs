//! What became of messages, and how many there were.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use tidings_model::{Message, Platform, Seq};
use tidings_node::history::{Asked as History, Order};
use tidings_node::ledger::report::{Report, State as Became};
use tidings_node::{Namespace, Node};
use tidings_wire::compat::Aside;
use tidings_wire::compat::light_push::{USER_ROOM, client_id};

use super::answer::{Refusal, json};
use super::auth::Backend;
use super::fields::Asked;
use crate::ApiState;
use crate::extract::InPath;
use tidings_wire::compat::light_push::push::whole;

/// How many messages a page has, unless that is said, and at most.
const SIZE_DEFAULT: usize = 20;
const SIZE_MAX: usize = 500;

/// How many messages can be seen at all.
const MESSAGES_MAX: usize = 1_000;

/// From how many clients on they are not named.
const NAMED_MAX: u64 = 1_000;

/// What stands for clients that are too many to name.
const TOO_MANY: &str = "$$";

/// Lines of the books that are read together.
const READ: usize = 500;

/// A message. All values are texts.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    room: String,
    push_data: String,
    expire: String,
    id: String,
    namespace: String,
    send_date: String,
    ack_count: String,
    #[serde(rename = "ackIOSCount")]
    ack_ios_count: String,
    ack_android_count: String,
    online_client_count: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    except: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    apns_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    leave_message: Option<String>,
    /// Devices that were tried another way.
    #[serde(skip_serializing_if = "Option::is_none")]
    apns_count: Option<String>,
}

/// How many of the clients on a platform have a message.
fn acked(report: &Report, platform: Platform) -> u64 {
    report.platforms.iter().find(|(of, _)| *of == platform).map_or(0, |(_, counts)| counts.acked)
}

/// Hours, as somebody would write them.
fn hours(message: &Message) -> String {
    let life = message.expires_at.since(message.sent_at).as_secs_f64() / 3_600.0;
    ((life * 1e3).round() / 1e3).to_string()
}

/// The room that a message was for, if nobody has said how they write it.
fn room(message: &Message) -> String {
    let to = &message.to;
    match (to.rooms.first(), to.users.first(), to.devices.first()) {
        (Some(room), ..) => room.to_string(),
        (None, Some(user), _) => format!("{USER_ROOM}{user}"),
        (None, None, Some(device)) => device.to_string(),
        (None, None, None) => "all".to_owned(),
    }
}

impl Shown {
    fn of(message: &Message, report: &Report) -> Self {
        let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
        let aside = Aside::read(text(&message.aside));
        let sender = || {
            let device = &message.from.as_ref()?.device;
            Some(client_id(&format!("/{}", message.namespace), device.as_str()))
        };
        let escalated = report.total.escalated;
        Self {
            room: aside.room.map_or_else(|| room(message), Into::into),
            push_data: whole(text(&message.data), text(&message.offline)),
            expire: aside.expire.map_or_else(|| hours(message), Into::into),
            id: message.seq.0.to_string(),
            namespace: format!("/{}", message.namespace),
            send_date: message.sent_at.0.to_string(),
            ack_count: report.total.acked.to_string(),
            ack_ios_count: acked(report, Platform::Ios).to_string(),
            ack_android_count: acked(report, Platform::Android).to_string(),
            online_client_count: report.total.written.to_string(),
            except: aside.except.map(Into::into),
            from: aside.from.map(Into::into).or_else(sender),
            extra: aside.extra.map(Into::into),
            apns_name: aside.apns_name.map(Into::into),
            leave_message: aside.leave_message.map(|stays| stays.to_string()),
            apns_count: (escalated > 0).then(|| escalated.to_string()),
        }
    }
}

/// The newest messages, page by page.
pub(super) async fn list(
    State(state): State<ApiState>,
    Extension(backend): Extension<Backend>,
    asked: Asked,
) -> Result<Response, Refusal> {
    let size = asked.number("size", SIZE_DEFAULT, SIZE_MAX);
    let before = (asked.number("page", 1, MESSAGES_MAX) - 1) * size;
    let wanted = (before + size).min(MESSAGES_MAX);
    let mut shown = Vec::new();
    let mut seen = 0;
    let mut after = None;
    while seen < wanted {
        let history = History { order: Order::NewestFirst, ..History::default() };
        let page = state.node.history(&backend.namespace, &history, after, wanted - seen).await?;
        // Nobody of light-push knows of recalls.
        for (message, report) in page.items.iter().filter(|(message, _)| message.recalls.is_none()) {
            if seen >= before {
                shown.push(Shown::of(message, report));
            }
            seen += 1;
        }
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    Ok(json(&shown))
}

/// One message.
pub(super) async fn show(
    State(state): State<ApiState>,
    Extension(backend): Extension<Backend>,
    InPath(id): InPath<String>,
    asked: Asked,
) -> Result<Response, Refusal> {
    let unknown = || Refusal::business("this id not exists");
    let seq = id.parse().ok().filter(|seq| *seq > 0).map(Seq).ok_or_else(unknown)?;
    let message = state.node.message_by_number(&backend.namespace, seq).await?;
    let message = message.filter(|message| message.recalls.is_none()).ok_or_else(unknown)?;
    let report = state.node.report(&backend.namespace, &message).await;
    let shown = Shown::of(&message, &report);
    if !asked.flag("ackDetail") {
        return Ok(json(&shown));
    }
    let [ios, android, web] = who_has(&state.node, &backend.namespace, &message, &report).await?;
    Ok(json(&Detailed { shown, ios, android, web }))
}

/// A message, and who has it.
#[derive(Serialize)]
struct Detailed {
    #[serde(flatten)]
    shown: Shown,
    #[serde(rename = "ackIOSDetail")]
    ios: Vec<String>,
    #[serde(rename = "ackAndroidDetail")]
    android: Vec<String>,
    /// Everything else that has it, too.
    #[serde(rename = "ackWebDetail")]
    web: Vec<String>,
}

/// The clients that have a message: iOS, Android, and all others.
async fn who_has(
    node: &Node,
    namespace: &Namespace,
    message: &Arc<Message>,
    report: &Report,
) -> Result<[Vec<String>; 3], Refusal> {
    let (ios, android) = (acked(report, Platform::Ios), acked(report, Platform::Android));
    let web = report.total.acked.saturating_sub(ios + android);
    let mut clients = [ios, android, web]
        .map(|count| if count < NAMED_MAX { Vec::new() } else { vec![TOO_MANY.to_owned()] });
    let named = [ios, android, web].map(|count| count > 0 && count < NAMED_MAX);
    let path = format!("/{}", namespace.name);
    let mut after = None;
    while named.contains(&true) {
        let (lines, next) = node.receipts(namespace, message, Some(Became::Acked), after, READ).await?;
        for device in lines.into_iter().filter_map(|line| line.device) {
            let which = match device.platform {
                Platform::Ios => 0,
                Platform::Android => 1,
                Platform::Web | Platform::Desktop | Platform::Other => 2,
            };
            if named[which] {
                clients[which].push(client_id(&path, device.id.as_str()));
            }
        }
        match next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    Ok(clients)
}

/// How many pushes there were in this minute, this hour and on this day.
pub(super) async fn counters(
    State(state): State<ApiState>,
    Extension(backend): Extension<Backend>,
) -> Result<Response, Refusal> {
    let rows = state.node.current_statistics(&backend.namespace).await?;
    let [minute, hour, day] = rows.map(|row| match row.numbers.pushes {
        0 => Value::from(0),
        pushes => Value::from(pushes.to_string()),
    });
    Ok(json(&Counters { minute, hour, day }))
}

/// How many: 0, or a text.
#[derive(Serialize)]
struct Counters {
    #[serde(rename = "currMinuteMessageCount")]
    minute: Value,
    #[serde(rename = "currHourMessageCount")]
    hour: Value,
    #[serde(rename = "currDateMessageCount")]
    day: Value,
}
