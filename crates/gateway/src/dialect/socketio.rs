//! Socket.IO, protocol revisions 5 (over Engine.IO 4) and 4 (over Engine.IO 3).
//!
//! Source: the Socket.IO protocol document; for the event names of light-push, its contract. A Socket.IO
//! namespace `/demo` is the namespace `demo`; one connection may be in several.

use std::rc::Rc;

use serde_json::value::RawValue;
use tidings_model::{Disconnect, ErrorCode, NamespaceName};
use tidings_node::connect::{Claim, connection_id};
use tidings_node::metrics::Refused;
use tidings_node::resume::Since;
use tidings_wire::engineio::Version;
use tidings_wire::socketio::{self, ATTACHMENTS_DEFAULT, Args, Assembled, Kind, Limits, Packet};

use super::engineio::{application, with};
use super::{conformance, goaway_because};
use crate::command::Application;
use crate::connection::Connection;
use crate::door::{Closed, origins};
use crate::local::Local;
use crate::presence;
use crate::session::{self, Opened, Refusal, Request, Session};
use crate::speak::{Calling, Publication};

mod auth;
pub(crate) mod light_push;
pub(crate) mod push_koa;

/// Most namespaces that one connection may be in.
const NAMESPACES_MAX: usize = 16;

/// How the answer to an event is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    /// `{"ok":true,…}`
    Ours,
    /// `{"status":200,"msg":"ok"}`, as light-push did.
    LightPush,
}

/// A Socket.IO packet came, as text.
pub(super) fn text(local: &Rc<Local>, connection: &Rc<Connection>, text: &str) {
    let taken = with(connection, |state| {
        let packet = socketio::decode(text)?;
        if packet.kind.is_binary() {
            let assembled = state.assembler.begin(&packet, limits(local))?;
            return Ok((None, assembled));
        }
        state.assembler.check_text()?;
        Ok::<_, socketio::Error>((Some(packet), None))
    });
    match taken {
        Some(Ok((Some(packet), _))) => take(local, connection, &packet),
        Some(Ok((None, Some(assembled)))) => take_assembled(local, connection, &assembled),
        Some(Ok((None, None))) | None => {}
        Some(Err(_)) => local.close(connection, Disconnect::PROTOCOL_ERROR),
    }
}

/// An attachment came.
pub(super) fn binary(local: &Rc<Local>, connection: &Rc<Connection>, bytes: &[u8]) {
    match with(connection, |state| state.assembler.attach(bytes, limits(local))) {
        Some(Ok(Some(assembled))) => take_assembled(local, connection, &assembled),
        Some(Ok(None)) | None => {}
        Some(Err(_)) => local.close(connection, Disconnect::PROTOCOL_ERROR),
    }
}

fn limits(local: &Local) -> Limits {
    Limits { attachments: ATTACHMENTS_DEFAULT, bytes: local.settings.max_message }
}

fn take(local: &Rc<Local>, connection: &Rc<Connection>, packet: &Packet<'_>) {
    match application(connection) {
        Application::Fixture => return conformance::take(local, connection, packet, &[]),
        Application::PushKoa => return push_koa::take(local, connection, packet),
        Application::Push | Application::LightPush | Application::Echo => {}
    }
    match packet.kind {
        Kind::Connect if application(connection) == Application::LightPush => {
            return light_push::connect(local, connection, packet);
        }
        Kind::Connect => return connect(local, connection, packet),
        // A client refuses nothing.
        Kind::ConnectError => return local.close(connection, Disconnect::PROTOCOL_ERROR),
        Kind::Disconnect | Kind::Event | Kind::Ack | Kind::BinaryEvent | Kind::BinaryAck => {}
    }
    let Some(session) = find(connection, packet.namespace) else {
        // Clients of version 3 are in the root namespace whether they want to or not.
        let root = packet.namespace == "/" && is_v3(connection);
        // light-push passed over what was for a namespace that a client is not in, and kept it: it may have been taken out just now.
        let kept = application(connection) == Application::LightPush;
        if !root && !kept && packet.kind != Kind::Disconnect {
            local.close(connection, Disconnect::PROTOCOL_ERROR);
        }
        return;
    };
    match packet.kind {
        Kind::Disconnect => {
            session::close(local, connection, &session, Disconnect::NORMAL);
            local.settle();
        }
        Kind::Ack | Kind::BinaryAck => acked(local, &session, packet.id),
        Kind::Event | Kind::BinaryEvent => match packet.data.map(Args::event) {
            Some(Ok(event)) => emitted(local, connection, session, &event, packet.id),
            Some(Err(_)) | None => local.close(connection, Disconnect::PROTOCOL_ERROR),
        },
        Kind::Connect | Kind::ConnectError => {}
    }
}

fn take_assembled(local: &Rc<Local>, connection: &Rc<Connection>, packet: &Assembled) {
    if application(connection) == Application::Fixture {
        return conformance::take(local, connection, &packet.as_packet(), &packet.attachments);
    }
    let Some(session) = find(connection, &packet.namespace) else {
        // As with those without attachments. push listens for none of them, whether somebody is logged in or not.
        let kept = matches!(application(connection), Application::LightPush | Application::PushKoa);
        let root = packet.namespace == "/" && is_v3(connection);
        if !root && !kept {
            local.close(connection, Disconnect::PROTOCOL_ERROR);
        }
        return;
    };
    match (packet.kind, packet.id) {
        (Kind::BinaryAck, id) => acked(local, &session, id),
        (_, Some(id)) if application(connection) != Application::PushKoa => {
            let why = Refusal::new(ErrorCode::NOT_SUPPORTED, "this event takes no binary arguments");
            let style = match application(connection) {
                Application::LightPush => Reply::LightPush,
                _ => Reply::Ours,
            };
            answer(local, connection, &session, Some(id), style, &Err(why));
        }
        (_, Some(_) | None) => {}
    }
}

fn acked(local: &Rc<Local>, session: &Session, id: Option<u64>) {
    let seq = id.and_then(|id| local.node.seq_of_ack(&session.namespace.name, id));
    match seq {
        Some(seq) => local.acked(session, seq),
        None => {
            local.metrics().acks_refused.inc();
        }
    }
}

fn find(connection: &Connection, path: &str) -> Option<Session> {
    let name = path.strip_prefix('/')?;
    let sessions = connection.sessions.borrow();
    sessions.iter().find(|session| session.namespace.name.as_str() == name).cloned()
}

pub(super) fn is_v3(connection: &Connection) -> bool {
    with(connection, |state| state.version == Version::V3).unwrap_or_default()
}

/// The event that a client emitted: reads it, carries it out, answers.
fn emitted(
    local: &Rc<Local>,
    connection: &Rc<Connection>,
    session: Session,
    event: &Args<'_>,
    id: Option<u64>,
) {
    if application(connection) == Application::LightPush
        && light_push::emitted(local, connection, &session, event, id)
    {
        return;
    }
    let style = match &*event.name {
        "joinRoom" | "leaveRoom" | "ackPush" => Reply::LightPush,
        _ => Reply::Ours,
    };
    let request = match read(&event.name, event.args.first().copied()) {
        Ok(request) => request,
        Err(why) => return answer(local, connection, &session, id, style, &Err(why)),
    };
    // What the business system takes its time for holds up nothing else.
    let waits = !matches!(request, Request::Rpc(_));
    if waits {
        connection.busy.set(true);
    }
    let (local, connection) = (Rc::clone(local), Rc::clone(connection));
    tokio::task::spawn_local(async move {
        let outcome = session::perform(&local, &connection, &session, request).await;
        if connection.is_open() {
            answer(&local, &connection, &session, id, style, &outcome);
        }
        if waits {
            local.unbusy(&connection);
        } else {
            local.settle();
        }
    });
}

/// The events that mean something here, in whatever dialect of Socket.IO.
fn is_known(name: &str) -> bool {
    matches!(name, "join" | "leave" | "ack" | "refresh" | "presence" | "device" | "publish" | "rpc")
}

fn read(name: &str, argument: Option<&RawValue>) -> Result<Request, Refusal> {
    let missing = || Refusal::new(ErrorCode::INVALID_REQUEST, format!("`{name}` needs an argument"));
    match name {
        "join" | "joinRoom" => {
            let rooms = session::one_or_many("rooms", argument.ok_or_else(missing)?)?;
            Ok(Request::Join(session::names("rooms", rooms)?))
        }
        "leave" | "leaveRoom" => {
            let rooms = session::one_or_many("rooms", argument.ok_or_else(missing)?)?;
            Ok(Request::Leave(session::names("rooms", rooms)?))
        }
        "ack" => {
            let ids = auth::ids(argument.ok_or_else(missing)?)?;
            Ok(Request::Ack(session::names("ids", ids)?))
        }
        "ackPush" => {
            let ids = auth::ids_as_light_push(argument.ok_or_else(missing)?)?;
            Ok(Request::Ack(session::names("ids", ids)?))
        }
        "refresh" => Ok(Request::Refresh(auth::token(argument.ok_or_else(missing)?)?)),
        "presence" => presence::read_argument(argument.ok_or_else(missing)?),
        "device" => auth::device(argument).map(Request::Device),
        "publish" => {
            let said: Publication<'_> = fields(argument.ok_or_else(missing)?)?;
            Ok(Request::Publish(Box::new(said.read()?)))
        }
        "rpc" => {
            let call: Calling<'_> = fields(argument.ok_or_else(missing)?)?;
            Ok(Request::Rpc(call.read()?))
        }
        _ => {
            let name: String = name.chars().take(64).collect();
            Err(Refusal::new(ErrorCode::NOT_FOUND, format!("there is no event `{name}` here")))
        }
    }
}

/// The fields of an argument that is an object.
fn fields<'a, T: serde::Deserialize<'a>>(argument: &'a RawValue) -> Result<T, Refusal> {
    if !argument.get().starts_with('{') {
        return Err(Refusal::field("", "the argument must be an object"));
    }
    serde_json::from_str(argument.get()).map_err(|why| {
        // Where in the packet it is, nobody can tell.
        let why = why.to_string();
        Refusal::field("", why.split(" at line ").next().unwrap_or_default())
    })
}

fn answer(
    local: &Local,
    connection: &Connection,
    session: &Session,
    id: Option<u64>,
    style: Reply,
    outcome: &Result<String, Refusal>,
) {
    let Some(id) = id else { return };
    let argument = match (style, outcome) {
        (Reply::Ours, Ok(fields)) if fields == "{}" => r#"{"ok":true}"#.to_owned(),
        (Reply::Ours, Ok(fields)) => format!(r#"{{"ok":true,{}"#, &fields[1..]),
        (Reply::Ours, Err(why)) => format!(r#"{{"ok":false,"error":{}}}"#, why.to_json()),
        (Reply::LightPush, Ok(_)) => r#"{"status":200,"msg":"ok"}"#.to_owned(),
        (Reply::LightPush, Err(why)) => {
            format!(r#"{{"status":500,"msg":{}}}"#, session::json_string(&why.message))
        }
    };
    let path = format!("/{}", session.namespace.name);
    local.send(connection, &format!("4{}", socketio::ack(&path, id, &[&argument])));
}

/// A client asks for a namespace.
fn connect(local: &Rc<Local>, connection: &Rc<Connection>, packet: &Packet<'_>) {
    let path = packet.namespace.to_owned();
    if path == "/" && is_v3(connection) {
        // It was let in already.
        return;
    }
    if find(connection, &path).is_some() {
        return again(local, connection, &path);
    }
    if connection.sessions.borrow().len() >= NAMESPACES_MAX {
        return local.close(connection, Disconnect::PROTOCOL_ERROR);
    }
    let query = with(connection, |state| state.query.clone()).unwrap_or_default();
    let namespace = path.strip_prefix('/').and_then(|name| NamespaceName::new(name).ok());
    let claim = auth::claim(packet, &query);
    connection.busy.set(true);
    let (local, connection) = (Rc::clone(local), Rc::clone(connection));
    tokio::task::spawn_local(async move {
        let outcome = match (namespace, claim) {
            (None, _) => Err(Some(Refusal::new(ErrorCode::NOT_FOUND, "Invalid namespace"))),
            (_, Err(why)) => Err(Some(why)),
            (Some(namespace), _) if !may_be_in(&local, &namespace, query.page.as_deref()) => {
                Err(Some(Closed::Origin.refusal()))
            }
            (Some(namespace), Ok((claim, pid))) => {
                open(&local, &connection, &namespace, claim).await.map(|opened| (opened, pid))
            }
        };
        match outcome {
            Ok((opened, pid)) => welcome(&local, &connection, &path, opened, pid),
            Err(Some(why)) => refuse(&local, &connection, &path, &why),
            Err(None) => {}
        }
        local.unbusy(&connection);
    });
}

/// A client asks for a namespace that it is in. The servers of version 3 let it in once more, of which its client makes nothing;
/// those of version 4 end such a connection.
fn again(local: &Local, connection: &Rc<Connection>, path: &str) {
    if is_v3(connection) {
        local.send(connection, &format!("4{}", socketio::connect_v4(path)));
    } else {
        local.close(connection, Disconnect::PROTOCOL_ERROR);
    }
}

/// Whether a namespace lets in what belongs to a page. Whoever is not let in is counted as at the door.
fn may_be_in(local: &Local, namespace: &NamespaceName, page: Option<&str>) -> bool {
    let found = local.node.namespace(namespace.as_str());
    let may = found.is_none_or(|found| origins::allow(&found.settings().origins, page));
    if !may {
        let reason = Closed::Origin.reason();
        local.metrics().clients_refused.get_or_create(&Refused { reason }).inc();
    }
    may
}

async fn open(
    local: &Local,
    connection: &Rc<Connection>,
    namespace: &NamespaceName,
    claim: Claim,
) -> Result<Opened, Option<Refusal>> {
    let opened = session::open(local, connection, namespace, claim, Vec::new(), &Since::Cursor).await;
    opened.map_err(|why| {
        why.map(|why| {
            // The words that every client of this family knows.
            let unknown = why.code == ErrorCode::NOT_FOUND;
            if unknown { Refusal::new(ErrorCode::NOT_FOUND, "Invalid namespace") } else { why }
        })
    })
}

fn welcome(local: &Rc<Local>, connection: &Rc<Connection>, path: &str, opened: Opened, pid: Option<String>) {
    with(connection, |state| state.has_connected = true);
    if is_v3(connection) {
        local.send(connection, &format!("4{}", socketio::connect_v4(path)));
    } else {
        let sid = connection_id(opened.session.connection);
        let pid = auth::pid(opened.identity.device.id.as_str(), pid, opened.recovered);
        local.send(connection, &format!("4{}", socketio::connect_v5(path, &sid, Some(&pid))));
    }
    let ready = socketio::event(path, None, "ready", &[&opened.to_json("")]);
    local.send(connection, &format!("4{ready}"));
    local.settle();
    tokio::task::spawn_local(session::catch_up(Rc::clone(local), Rc::clone(connection), opened));
}

fn refuse(local: &Local, connection: &Connection, path: &str, why: &Refusal) {
    let packet = if is_v3(connection) {
        socketio::error_v4(path, &session::json_string(&why.message))
    } else {
        let data = goaway_because(local, why.disconnect(), &format!(r#","error":{}"#, why.to_json()));
        socketio::connect_error_v5(path, &why.message, Some(&data))
    };
    local.send(connection, &format!("4{packet}"));
}
