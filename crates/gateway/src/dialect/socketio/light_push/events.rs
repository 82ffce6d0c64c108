//! The events of light-push's clients, and their answers.

use std::collections::HashMap;
use std::rc::Rc;

use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tidings_model::{ErrorCode, EventName, Ordinal, Platform, RoomName, Seq, UserId, limit};
use tidings_node::relay::Said;
use tidings_node::{Device, Namespace};
use tidings_wire::compat::light_push::{self as names, USER_ROOM, push};
use tidings_wire::compat::{Aside, light_push::client_id};
use tidings_wire::socketio::{self, Args};

use super::people::tell_people;
use super::{client, is_known, with};
use crate::connection::Connection;
use crate::local::Local;
use crate::session::{self, Refusal, Request, Session};
use crate::speak;

/// How far around it a client looks for others unless it says, in kilometres, and at how many of them.
const RADIUS_KM: f64 = 10.0;
const NEAR_MAX: usize = 100;

/// What a client asks, in its own words.
enum Asked {
    Join(Vec<String>),
    Leave(Vec<String>),
    Apns {
        add: Vec<RoomName>,
        remove: Vec<RoomName>,
        get: bool,
    },
    Info(Map<String, Value>),
    Push(Box<push::Pushed>),
    Discover {
        radius: f64,
        count: usize,
    },
    /// Nothing but the answer.
    Answer(String),
}

/// The event that a client emitted, if it is one of light-push's own. Answers whether it was.
pub(in crate::dialect::socketio) fn emitted(
    local: &Rc<Local>,
    connection: &Rc<Connection>,
    session: &Session,
    event: &Args<'_>,
    id: Option<u64>,
) -> bool {
    let argument = event.args.first().copied();
    let asked = match (&*event.name, argument) {
        ("ackPush", argument) => {
            acked(local, session, argument);
            return true;
        }
        ("joinRoom", argument) => Asked::Join(rooms(argument)),
        ("leaveRoom", argument) => Asked::Leave(rooms(argument)),
        // Without an argument its server took the callback for one, and never answered.
        ("apns" | "info", None) => return true,
        ("apns", Some(argument)) => apns(connection, argument),
        ("info", Some(argument)) => info(connection, session, argument),
        ("push", argument) => match pushed(argument) {
            Asked::Push(_) if is_too_soon(local, connection, session) => Asked::Answer(status(500, LIMITED)),
            asked => asked,
        },
        ("discover", argument) => discover(connection, session, argument),
        // What nobody listens for is nobody's.
        (name, _) => return !is_known(name),
    };
    connection.busy.set(true);
    let (local, connection, session) = (Rc::clone(local), Rc::clone(connection), session.clone());
    tokio::task::spawn_local(async move {
        let answer = perform(&local, &connection, &session, asked).await;
        if let Some(id) = id.filter(|_| connection.is_open()) {
            let path = format!("/{}", session.namespace.name);
            local.send(&connection, &format!("4{}", socketio::ack(&path, id, &[&answer])));
        }
        local.unbusy(&connection);
    });
    true
}

/// `{"status":200,"msg":"ok"}`
fn status(code: u16, message: &str) -> String {
    format!(r#"{{"status":{code},"msg":{}}}"#, session::json_string(message))
}

/// One room or a list of them; none where it is neither.
fn rooms(argument: Option<&RawValue>) -> Vec<String> {
    argument.and_then(|raw| session::one_or_many("rooms", raw).ok()).unwrap_or_default()
}

/// `{"id":5}`, in whatever type.
fn acked(local: &Rc<Local>, session: &Session, argument: Option<&RawValue>) {
    let seq = argument.and_then(|raw| {
        let fields: Map<String, Value> = serde_json::from_str(raw.get()).ok()?;
        match fields.get("id")? {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        }
    });
    match seq.filter(|seq| *seq > 0 && *seq <= local.node.head(&session.namespace.name).0) {
        Some(seq) => local.acked(session, Seq(seq)),
        None => {
            local.metrics().acks_refused.inc();
        }
    }
}

/// What a client is told that pushes too often.
const LIMITED: &str = "limited access in 1s";

/// Whether a client has pushed just now: once in a second, or as often as the namespace says, and never several at once.
fn is_too_soon(local: &Local, connection: &Connection, session: &Session) -> bool {
    let often = u64::from(session.namespace.settings().limits.publish_per_second);
    let now = local.now_ms();
    let before = with(connection, |state| (state.pushed.0 == session.connection).then_some(state.pushed.1));
    if often > 0 && before.flatten().is_some_and(|before| (now - before) * often < 1_000) {
        return true;
    }
    with(connection, |state| state.pushed = (session.connection, now));
    false
}

/// A push, or what is wrong with it.
fn pushed(argument: Option<&RawValue>) -> Asked {
    let fields = argument.and_then(|raw| serde_json::from_str::<HashMap<String, &RawValue>>(raw.get()).ok());
    let fields = fields.unwrap_or_default();
    match push::read(|name| fields.get(name).map(|raw| raw.get()), limit::DATA_DEPTH_MAX) {
        Ok(pushed) => Asked::Push(Box::new(pushed)),
        Err(why) => Asked::Answer(status(400, &format!(r#"{{"code": 9999,"msg": "{why}"}}"#))),
    }
}

fn is_ios(connection: &Connection) -> bool {
    client(connection).is_some_and(|client| client.platform == Platform::Ios)
}

fn object(argument: &RawValue) -> Map<String, Value> {
    serde_json::from_str(argument.get()).unwrap_or_default()
}

fn apns(connection: &Connection, argument: &RawValue) -> Asked {
    if !is_ios(connection) {
        return Asked::Answer(status(403, "Forbidden"));
    }
    let fields = object(argument);
    let list = |name: &str| -> Vec<RoomName> {
        let rooms = fields.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let rooms = rooms.iter().filter_map(Value::as_str).filter(|room| names::is_room_name(room));
        rooms.filter_map(|room| RoomName::new(names::room_name(room)).ok()).collect()
    };
    let get = !fields.contains_key("add") && !fields.contains_key("remove");
    Asked::Apns { add: list("add"), remove: list("remove"), get }
}

/// Whether a client speaks of itself; what it says of others is not heard.
fn is_itself(connection: &Connection, session: &Session, fields: &Map<String, Value>) -> bool {
    let Some(named) = fields.get("clientId") else { return true };
    let path = format!("/{}", session.namespace.name);
    client(connection).is_some_and(|client| named.as_str() == Some(&client_id(&path, &client.device())))
}

fn info(connection: &Connection, session: &Session, argument: &RawValue) -> Asked {
    let mut fields = object(argument);
    if !is_itself(connection, session, &fields) {
        return Asked::Answer(status(403, "Forbidden"));
    }
    fields.remove("clientId");
    Asked::Info(fields)
}

fn discover(connection: &Connection, session: &Session, argument: Option<&RawValue>) -> Asked {
    let fields = argument.map(object).unwrap_or_default();
    if !is_itself(connection, session, &fields) {
        return Asked::Answer(status(403, "Forbidden"));
    }
    let number = |name: &str| match fields.get(name) {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.parse().ok(),
        _ => None,
    };
    let count = number("count").filter(|count| *count >= 1.0).map_or(NEAR_MAX, |count| count as usize);
    let radius = number("radius").filter(|radius| *radius > 0.0).unwrap_or(RADIUS_KM);
    Asked::Discover { radius, count: count.min(NEAR_MAX) }
}

/// Carries it out. Answers the argument of the callback.
async fn perform(local: &Rc<Local>, connection: &Connection, session: &Session, asked: Asked) -> String {
    let Session { namespace, ordinal, .. } = session;
    let outcome = match asked {
        Asked::Answer(answer) => Ok(answer),
        Asked::Join(rooms) => return moved(local, connection, session, rooms, true).await,
        Asked::Leave(rooms) => return moved(local, connection, session, rooms, false).await,
        Asked::Apns { add, remove, get } => {
            let rooms = local.node.light_push_muted(namespace, *ordinal, &add, &remove).await;
            let answer = |rooms: Vec<RoomName>| {
                let rooms: Vec<_> = rooms.iter().map(|room| session::json_string(room.as_str())).collect();
                if get { format!("[{}]", rooms.join(",")) } else { status(200, "ok") }
            };
            rooms.map(answer).map_err(|why| why.to_string())
        }
        Asked::Info(fields) if fields.is_empty() => known(local, namespace, *ordinal).await,
        Asked::Info(fields) => {
            let set = local.node.light_push_set(namespace, *ordinal, fields).await;
            set.map(|()| status(200, "ok")).map_err(|why| why.to_string())
        }
        Asked::Push(pushed) => return said(local, session, *pushed).await,
        Asked::Discover { radius, count } => {
            let near = local.node.light_push_near(namespace, *ordinal, radius, count).await;
            near.map(|near| found(local, namespace, near)).map_err(|why| why.to_string())
        }
    };
    outcome.unwrap_or_else(|why| status(500, &why))
}

/// What is kept of a client, with `status` and `msg`.
async fn known(local: &Local, namespace: &Namespace, device: Ordinal) -> Result<String, String> {
    let found = local.node.known(namespace, device).await.map_err(|why| why.to_string())?;
    let mut record = found.map(|device| local.node.light_push_record(namespace, &device)).unwrap_or_default();
    record.insert("status".to_owned(), 200.into());
    record.insert("msg".to_owned(), "ok".into());
    Ok(Value::Object(record).to_string())
}

/// Who is near.
fn found(local: &Local, namespace: &Namespace, near: Option<Vec<(Device, f64)>>) -> String {
    let Some(near) = near else {
        // What its server made of a client without a position.
        return status(500, "object null is not iterable (cannot read property Symbol(Symbol.iterator))");
    };
    let path = format!("/{}", namespace.name);
    let list: Vec<Value> = near
        .into_iter()
        .map(|(device, km)| {
            let mut record = local.node.light_push_record(namespace, &device);
            // Where to reach somebody's phone is nobody else's business.
            record.remove("device_token");
            record.insert("id".to_owned(), client_id(&path, device.id.as_str()).into());
            record.insert("userId".to_owned(), device.user.as_ref().map(|user| user.as_str()).into());
            record.insert("distance".to_owned(), format!("{km:.4}").into());
            Value::Object(record)
        })
        .collect();
    json!({ "list": list, "status": 200, "msg": "ok" }).to_string()
}

/// A client joins or leaves rooms. The room of a user is no room that can be joined: its user is in it, nobody else.
async fn moved(
    local: &Rc<Local>,
    connection: &Connection,
    session: &Session,
    rooms: Vec<String>,
    join: bool,
) -> String {
    let wrong = |why: &str| status(500, &format!("joinOrleaveRoom error: Error: {why}"));
    let own = client(connection).map(|client| format!("{USER_ROOM}{}", client.userid));
    let mut list = Vec::new();
    for room in &rooms {
        let is_own = own.as_deref() == Some(room);
        if is_own && join {
            continue;
        }
        let fits = names::is_room_name(room) && names::user_of(room).is_none();
        match RoomName::new(names::room_name(room)) {
            Ok(name) if fits => list.push(name),
            Ok(_) | Err(_) => return wrong("room invalid"),
        }
    }
    if rooms.is_empty() {
        return wrong("room invalid");
    }
    let request = if join { Request::Join(list.clone()) } else { Request::Leave(list.clone()) };
    match session::perform(local, connection, session, request).await {
        Ok(_) => {
            if let Some(client) = client(connection).filter(|client| client.announces) {
                tell_people(local, session, &client, &list, (!join).then_some(false));
            }
            status(200, "ok")
        }
        Err(why) => wrong(&why.message),
    }
}

/// A client pushes. Who it is from is what the server knows, and so is the namespace; whoever says it does not get it.
async fn said(local: &Local, session: &Session, pushed: push::Pushed) -> String {
    let user = names::user_of(&pushed.room).map(UserId::new);
    let (Ok(user), Ok(room)) = (user.transpose(), RoomName::new(names::room_name(&pushed.room))) else {
        return status(400, r#"{"code": 9999,"msg": "room invalid"}"#);
    };
    let speaker = match speak::speaker(local, session).await {
        Ok(speaker) => speaker,
        Err(why) => return status(500, &why.message),
    };
    let own = client_id(&format!("/{}", session.namespace.name), speaker.device().as_str());
    let aside = Aside { from: Some(own.clone().into()), except: Some(own.into()), ..pushed.aside };
    let Ok(event) = EventName::new("push") else { return status(500, "push") };
    let said = Said {
        room,
        user,
        event,
        data: Bytes::from(pushed.data),
        ttl: std::time::Duration::from_secs_f64(pushed.expire * 3_600.0),
        echo: false,
        offline: pushed.aps.map_or_else(Bytes::new, |aps| Bytes::from(format!(r#"{{"apns":{aps}}}"#))),
        aside: Bytes::from(aside.to_json()),
    };
    match local.node.relay(&speaker, said).await {
        Ok(message) => format!(r#"{{"status":200,"msg":"ok","id":{}}}"#, message.seq.0),
        Err(why) => {
            let why = Refusal::from(why);
            match why.code {
                ErrorCode::RATE_LIMITED => status(500, LIMITED),
                ErrorCode::PAYLOAD_TOO_LARGE => {
                    let most = session.namespace.settings().largest_data();
                    let why = format!("pushData size must be less then {most} bytes");
                    status(400, &format!(r#"{{"code": 9999,"msg": "{why}"}}"#))
                }
                _ => status(500, &why.message),
            }
        }
    }
}
