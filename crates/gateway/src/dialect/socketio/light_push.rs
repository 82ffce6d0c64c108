//! light-push on Socket.IO: who a client is, the words in which it is refused, its events and their answers.
//!
//! Source: the contract of light-push, section 1.1. A client is the device `<userid>#<platform>-<uuid>`; the room
//! `user_<id>` is the user.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tidings_model::{
    DeviceId, Disconnect, ErrorCode, EventName, Message, NamespaceName, Ordinal, Platform, RoomName, Seq,
    Timestamp, Topic, UserId, limit,
};
use tidings_node::connect::Claim;
use tidings_node::light_push::{Caller, Vouched};
use tidings_node::permit::{Pattern, Permit};
use tidings_node::relay::Said;
use tidings_node::resume::Since;
use tidings_node::{Device, Namespace};
use tidings_wire::compat::light_push::{self as names, USER_ROOM, push};
use tidings_wire::compat::{Aside, light_push::client_id};
use tidings_wire::push::Encoded;
use tidings_wire::socketio::{self, Args, Packet};
use tidings_wire::websocket::{self, Opcode};

use super::{NAMESPACES_MAX, find, is_v3, may_be_in, with};
use crate::command::{Application, Verbatim};
use crate::connection::Connection;
use crate::door::Closed;
use crate::http::query;
use crate::local::Local;
use crate::session::{self, Opened, Refusal, Request, Session};
use crate::speak;

mod people;

use people::tell_people;

/// Longest `uuid` and `userid`, in bytes.
const NAME_BYTES_MAX: usize = 100;

/// How far around it a client looks for others unless it says, in kilometres, and at how many of them.
const RADIUS_KM: f64 = 10.0;
const NEAR_MAX: usize = 100;

/// Who a client says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Client {
    userid: String,
    uuid: String,
    platform: Platform,
    /// Whether the others in its rooms are told when it comes and goes.
    announces: bool,
    token: Option<String>,
}

impl Client {
    /// Reads the query of a handshake.
    fn read(query: &str) -> Result<Self, &'static str> {
        let text = |name: &str| {
            query::find(query, &[name]).map(|text| text.into_owned()).filter(|text| !text.is_empty())
        };
        let fits = |text: &str| text.len() <= NAME_BYTES_MAX && names::is_room_name(text);
        let uuid = text("uuid").filter(|uuid| fits(uuid)).ok_or("uuid invalid")?;
        let userid = text("userid").unwrap_or_else(|| uuid.clone());
        if !fits(&userid) {
            return Err("userid invalid");
        }
        let platform = match text("platform").as_deref() {
            None | Some("web") => Platform::Web,
            Some("ios") => Platform::Ios,
            Some("android") => Platform::Android,
            Some(_) => return Err("platform invalid"),
        };
        let truthy = |text: &str| !matches!(text, "false" | "0" | "null" | "undefined");
        Ok(Self {
            announces: text("activityBroadcast").is_some_and(|text| truthy(&text)),
            token: text("token"),
            userid,
            uuid,
            platform,
        })
    }

    fn device(&self) -> String {
        names::device_id(&self.userid, self.platform.as_str(), &self.uuid)
    }
}

/// Why a client is not let in: what it is told, and whether it is told before that it has been taken out.
struct Refused {
    message: String,
    left: bool,
}

impl Refused {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), left: true }
    }
}

/// The same client is here already.
fn conflict() -> Refused {
    Refused { message: "socket.id conflict".to_owned(), left: false }
}

/// What a client said when it came.
fn verbatim(connection: &Connection) -> Option<Box<Verbatim>> {
    with(connection, |state| state.query.verbatim.clone()).flatten()
}

/// Who a client is, by its handshake.
fn client(connection: &Connection) -> Option<Client> {
    verbatim(connection).and_then(|said| Client::read(&said.query).ok())
}

fn caller(said: &Verbatim, client: &Client) -> Caller {
    Caller {
        query: said.query.to_string(),
        cookie: said.cookie.as_deref().map(str::to_owned),
        userid: client.userid.clone(),
        platform: client.platform.as_str().to_owned(),
    }
}

/// A client asks for a namespace.
pub(super) fn connect(local: &Rc<Local>, connection: &Rc<Connection>, packet: &Packet<'_>) {
    let path = packet.namespace.to_owned();
    if path == "/" && is_v3(connection) {
        return;
    }
    if find(connection, &path).is_some() || connection.sessions.borrow().len() >= NAMESPACES_MAX {
        return local.close(connection, Disconnect::PROTOCOL_ERROR);
    }
    // The handshake's query wins; a client that said nothing there may have said it here.
    let own = packet.query.unwrap_or_default().to_owned();
    with(connection, |state| {
        if let Some(said) = &mut state.query.verbatim
            && query::find(&said.query, &["uuid"]).is_none()
            && !own.is_empty()
        {
            said.query = format!("{}&{own}", said.query).into();
        }
    });
    connection.busy.set(true);
    let (local, connection) = (Rc::clone(local), Rc::clone(connection));
    tokio::task::spawn_local(async move {
        match admit(&local, &connection, &path).await {
            Ok(Some((client, opened))) => welcome(&local, &connection, &path, &client, opened).await,
            Ok(None) => {}
            Err(why) => refuse(&local, &connection, &path, &why),
        }
        local.unbusy(&connection);
    });
}

/// Decides whether a client is let in. `None` when it has gone meanwhile.
async fn admit(
    local: &Local,
    connection: &Rc<Connection>,
    path: &str,
) -> Result<Option<(Client, Opened)>, Refused> {
    let name = path.strip_prefix('/').and_then(|name| NamespaceName::new(name).ok());
    let found = name.as_ref().and_then(|name| local.node.namespace(name.as_str()));
    let (Some(name), Some(namespace)) = (name, found) else {
        return Err(Refused::new("this namespace not found"));
    };
    if namespace.settings().suspended {
        return Err(Refused::new("this namespace offline"));
    }
    let Some(said) = verbatim(connection) else { return Err(Refused::new("uuid invalid")) };
    let client = Client::read(&said.query).map_err(Refused::new)?;
    let page = with(connection, |state| state.query.page.clone()).flatten();
    if !may_be_in(local, &name, page.as_deref()) {
        return Err(Refused::new(Closed::Origin.refusal().message));
    }
    let device = DeviceId::new(&client.device()).map_err(|_| Refused::new("uuid invalid"))?;
    let user = UserId::new(&client.userid).map_err(|_| Refused::new("userid invalid"))?;
    let failed = |why: tidings_node::StoreError| Refused::new(Refusal::from(why).message);
    let known = local.node.device(&namespace, &device).await.map_err(failed)?;
    if known.is_some_and(|known| local.node.is_online(&name, known.ordinal)) {
        return Err(conflict());
    }
    let asked = local.node.light_push_asks(&namespace, &caller(&said, &client)).await;
    let vouched = asked.map_err(|message| {
        // Whoever could not be asked has not refused anybody.
        let words = ["connect ", "getaddrinfo ", "socket hang up"];
        let left = !words.iter().any(|word| message.starts_with(word));
        Refused { message, left }
    })?;
    // It took its time, and others may have come meanwhile who are the same client.
    let entering = local.node.light_push_enters(&namespace, &device).ok_or_else(conflict)?;
    let known = local.node.device(&namespace, &device).await.map_err(failed)?;
    if known.is_some_and(|known| local.node.is_online(&name, known.ordinal)) {
        return Err(conflict());
    }
    // Who came without a name has whatever name the business system gives them now; who said one keeps off the devices of others.
    let given = (client.userid == client.uuid).then(|| device.clone());
    let claim = Claim {
        device: Some(device),
        vouched: vouched.map(|vouched| Box::new(Permit { device: given, ..permit(vouched, &user) })),
        user: Some(user),
        platform: client.platform,
        token: client.token.clone(),
        ..Claim::default()
    };
    let opened = session::open(local, connection, &name, claim, Vec::new(), &Since::Cursor).await;
    drop(entering);
    match opened {
        Ok(opened) => Ok(Some((client, opened))),
        Err(Some(why)) => Err(Refused::new(why.message)),
        Err(None) => Ok(None),
    }
}

/// What a client may do of whom the business system has spoken: anything that a client of light-push could, but be somebody
/// else.
fn permit(vouched: Vouched, user: &UserId) -> Permit {
    let everywhere = || Pattern::new("*").into_iter().collect();
    Permit {
        user: vouched.user.unwrap_or_else(|| user.clone()),
        device: None,
        platform: None,
        rooms: vouched.rooms,
        join: everywhere(),
        publish: everywhere(),
        presence: None,
        meta: None,
        expires_at: Timestamp::NEVER,
        jti: None,
        issued_at: Timestamp(0),
    }
}

/// Lets a client in. Those of Android get what they have missed before they are told that they are in.
async fn welcome(
    local: &Rc<Local>,
    connection: &Rc<Connection>,
    path: &str,
    client: &Client,
    opened: Opened,
) {
    with(connection, |state| state.has_connected = true);
    let granted = if is_v3(connection) {
        socketio::connect_v4(path)
    } else {
        let sid = tidings_node::connect::connection_id(opened.session.connection);
        socketio::connect_v5(path, &sid, None)
    };
    local.send(connection, &format!("4{granted}"));
    let port = verbatim(connection).map_or(0, |said| said.port);
    let device = opened.identity.device.id.as_str();
    let id = session::json_string(&client_id(path, device));
    let ok =
        format!(r#"{{"system":{},"port":{port},"clientId":{id}}}"#, session::json_string(local.node.name()));
    let ok = format!("4{}", socketio::event(path, None, "ok", &[&ok]));
    let session = opened.session.clone();
    // Whatever it asks for from now on is heard, though there may be a long list to be written first.
    let catching_up = session::catch_up(Rc::clone(local), Rc::clone(connection), opened);
    if client.platform == Platform::Android {
        local.settle();
        catching_up.await;
        local.send_behind(connection, &ok);
        local.settle();
    } else {
        local.send(connection, &ok);
        local.settle();
        tokio::task::spawn_local(catching_up);
    }
    if client.announces {
        let rooms = local.node.rooms(&session.namespace, session.ordinal).await.unwrap_or_default();
        tell_people(local, &session, client, &rooms, None);
    }
}

fn refuse(local: &Local, connection: &Connection, path: &str, why: &Refused) {
    let message = session::json_string(&why.message);
    if is_v3(connection) {
        if why.left {
            local.send(connection, &format!("4{}", socketio::disconnect(path)));
        }
        local.send(connection, &format!("4{}", socketio::error_v4(path, &message)));
    } else {
        local.send(connection, &format!("4{}", socketio::connect_error_v5(path, &why.message, None)));
    }
    // The transport stays, as it always did, and ends with its heartbeats.
    with(connection, |state| state.has_connected = true);
}

/// What the messages that a client has missed are to it in one packet: the list as the event `offlineMessage`, in the place of
/// the last of them; in the places of the others, a packet that says nothing. `None` for all who get them one by one.
pub(crate) fn together(connection: &Connection, messages: &[(Arc<Message>, usize)]) -> Option<Vec<Encoded>> {
    let is_one = with(connection, |state| state.application == Application::LightPush)?;
    if !is_one || client(connection)?.platform != Platform::Android {
        return None;
    }
    let (last, others) = messages.split_last()?;
    let path = format!("/{}", last.0.namespace);
    let list: Vec<Value> = messages.iter().map(|(message, topic)| stored(message, *topic)).collect();
    let event = socketio::event(&path, None, "offlineMessage", &[&Value::from(list).to_string()]);
    let mut packets: Vec<_> = others.iter().map(|_| framed(tidings_wire::engineio::NOOP)).collect();
    packets.push(framed(&format!("4{event}")));
    Some(packets)
}

fn framed(payload: &str) -> Encoded {
    let bytes = websocket::frame(Opcode::Text, payload.as_bytes());
    let payload_at = (bytes.len() - payload.len()) as u8;
    Encoded { bytes, payload_at }
}

/// A message as light-push stored it: strings, but for the data.
fn stored(message: &Message, topic: usize) -> Value {
    let aside = std::str::from_utf8(&message.aside).unwrap_or_default();
    let Aside { room, from, except, extra, expire, apns_name, leave_message, .. } = Aside::read(aside);
    let room = room.map(std::borrow::Cow::into_owned).or_else(|| {
        message.topics.get(topic).map(|(topic, _)| match topic {
            Topic::Room(room) => room.to_string(),
            Topic::User(user) => format!("{USER_ROOM}{user}"),
            Topic::All | Topic::Device(_) => topic.to_string(),
        })
    });
    let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
    let data = push::whole(text(&message.data), text(&message.offline));
    let mut fields = json!({
        "room": room,
        "pushData": serde_json::from_str::<Value>(&data).unwrap_or_default(),
        "id": message.seq.0.to_string(),
        "namespace": format!("/{}", message.namespace),
        "sendDate": message.sent_at.0.to_string(),
    });
    for (name, value) in [
        ("from", from),
        ("except", except),
        ("extra", extra),
        ("expire", expire),
        ("apnsName", apns_name),
        ("leaveMessage", leave_message.map(|leave| leave.to_string().into())),
    ] {
        if let Some(value) = value {
            fields[name] = value.into();
        }
    }
    fields
}

/// A client has left a namespace: its business system hears of it, and the others in its rooms.
pub(crate) fn has_left(local: &Local, connection: &Connection, session: &Session) {
    let (Some(said), Some(client)) = (verbatim(connection), client(connection)) else { return };
    local.node.light_push_tells(&session.namespace, caller(&said, &client));
    if !client.announces {
        return;
    }
    let (Some(local), session) = (local.me.upgrade(), session.clone()) else { return };
    tokio::task::spawn_local(async move {
        let rooms = local.node.rooms(&session.namespace, session.ordinal).await.unwrap_or_default();
        tell_people(&local, &session, &client, &rooms, Some(true));
    });
}

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
pub(super) fn emitted(
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
        (name, _) => return !super::is_known(name),
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
                _ => status(500, &why.message),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_what_its_query_says() {
        let client = |userid: &str, platform, announces| {
            Ok(Client { userid: userid.into(), uuid: "d1".into(), platform, announces, token: None })
        };
        for (query, expected) in [
            ("uuid=d1", client("d1", Platform::Web, false)),
            ("uuid=d1&userid=u1&platform=ios&EIO=3", client("u1", Platform::Ios, false)),
            ("uuid=d1&userid=&platform=android", client("d1", Platform::Android, false)),
            ("uuid=d1&activityBroadcast=true", client("d1", Platform::Web, true)),
            ("uuid=d1&activityBroadcast=", client("d1", Platform::Web, false)),
            ("userid=u1", Err("uuid invalid")),
            ("uuid=a%20b", Err("uuid invalid")),
            ("uuid=d1&userid=%C3%A9", Err("userid invalid")),
            ("uuid=d1&platform=windows", Err("platform invalid")),
        ] {
            assert_eq!(Client::read(query), expected, "{query}");
        }
        let long = format!("uuid={}", "x".repeat(101));
        assert_eq!(Client::read(&long), Err("uuid invalid"));
    }
}
