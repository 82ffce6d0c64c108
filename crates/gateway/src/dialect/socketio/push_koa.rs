//! push (koa) on Socket.IO: a client is in its namespace without being anybody, until it says `login`; and it is logged in on one
//! connection at a time.
//!
//! Source: the contract of push, section 2.1. A user of push is the device `push-<uid>`, so that what it misses waits for it.

use std::rc::Rc;

use serde_json::value::RawValue;
use tidings_model::{DeviceId, Disconnect, NamespaceName, Platform, UserId};
use tidings_node::connect::Claim;
use tidings_node::metrics::Refused;
use tidings_node::resume::Since;
use tidings_wire::compat::push_koa::device_id;
use tidings_wire::socketio::{self, Args, Kind, Packet};

use super::{acked, again, find, is_v3, may_be_in, with};
use crate::command::Application;
use crate::connection::Connection;
use crate::local::Local;
use crate::session::{self, Refusal, Session};

/// A packet came.
pub(super) fn take(local: &Rc<Local>, connection: &Rc<Connection>, packet: &Packet<'_>) {
    match packet.kind {
        Kind::Connect => connect(local, connection, packet.namespace),
        Kind::ConnectError => local.close(connection, Disconnect::PROTOCOL_ERROR),
        Kind::Disconnect => {
            log_out(local, connection, packet.namespace);
            with(connection, |state| state.koa.entered = false);
        }
        Kind::Ack | Kind::BinaryAck => match find(connection, packet.namespace) {
            Some(session) => acked(local, &session, packet.id),
            // It was logged out meanwhile.
            None => {
                local.metrics().acks_refused.inc();
            }
        },
        Kind::Event => match packet.data.map(Args::event) {
            Some(Ok(event)) if is_in(connection, packet.namespace) => {
                emitted(local, connection, packet, &event)
            }
            // Its server passed over what was for a namespace that a client is not in.
            Some(Ok(_)) => {}
            Some(Err(_)) | None => local.close(connection, Disconnect::PROTOCOL_ERROR),
        },
        // Nothing that it listens for has attachments.
        Kind::BinaryEvent => {}
    }
}

/// Whether a client is in a namespace: there is one that it can be in.
fn is_in(connection: &Connection, path: &str) -> bool {
    with(connection, |state| state.koa.entered && is_its(state.query.only.as_ref(), path)).unwrap_or_default()
}

fn is_its(only: Option<&NamespaceName>, path: &str) -> bool {
    only.is_some_and(|only| path.strip_prefix('/') == Some(only.as_str()))
}

fn connect(local: &Rc<Local>, connection: &Rc<Connection>, path: &str) {
    if path == "/" && is_v3(connection) {
        return;
    }
    if is_in(connection, path) {
        return again(local, connection, path);
    }
    let name = path.strip_prefix('/').and_then(|name| NamespaceName::new(name).ok());
    let is_its = with(connection, |state| is_its(state.query.only.as_ref(), path)).unwrap_or_default();
    let name = name.filter(|_| is_its);
    let page = with(connection, |state| state.query.page.clone()).flatten();
    match name {
        Some(name) if may_be_in(local, &name, page.as_deref()) => {
            with(connection, |state| {
                state.has_connected = true;
                state.koa.entered = true;
            });
            let granted = if is_v3(connection) {
                socketio::connect_v4(path)
            } else {
                socketio::connect_v5(path, &tidings_node::ids::token(), None)
            };
            local.send(connection, &format!("4{granted}"));
        }
        Some(_) | None => {
            let why = "Invalid namespace";
            let refused = if is_v3(connection) {
                socketio::error_v4(path, &session::json_string(why))
            } else {
                socketio::connect_error_v5(path, why, None)
            };
            local.send(connection, &format!("4{refused}"));
        }
    }
}

fn emitted(local: &Rc<Local>, connection: &Rc<Connection>, packet: &Packet<'_>, event: &Args<'_>) {
    match &*event.name {
        "logout" => log_out(local, connection, packet.namespace),
        "login" => {
            let uid = event.args.first().and_then(|raw| text(raw));
            let Some(uid) = uid else {
                // There is no answer in which it could be told.
                tracing::info!("a login without a uid was refused");
                return;
            };
            connection.busy.set(true);
            let (local, connection, path) =
                (Rc::clone(local), Rc::clone(connection), packet.namespace.to_owned());
            tokio::task::spawn_local(async move {
                if let Err(why) = log_in(&local, &connection, &path, &uid).await {
                    local.metrics().clients_refused.get_or_create(&Refused { reason: "login" }).inc();
                    tracing::info!(why = why.message, "a login was refused");
                }
                local.unbusy(&connection);
            });
        }
        _ => {}
    }
}

/// A uid: a string, or a number.
fn text(raw: &RawValue) -> Option<String> {
    let text = serde_json::from_str::<String>(raw.get()).ok();
    text.or_else(|| raw.get().parse::<u64>().ok().map(|number| number.to_string()))
        .filter(|uid| !uid.is_empty())
}

fn log_out(local: &Rc<Local>, connection: &Rc<Connection>, path: &str) {
    if let Some(session) = find(connection, path) {
        session::close(local, connection, &session, Disconnect::NORMAL);
        local.settle();
    }
}

async fn log_in(
    local: &Rc<Local>,
    connection: &Rc<Connection>,
    path: &str,
    uid: &str,
) -> Result<(), Refusal> {
    let name = path.strip_prefix('/').and_then(|name| NamespaceName::new(name).ok());
    let namespace = name.and_then(|name| local.node.namespace(name.as_str()));
    let namespace = namespace.ok_or_else(|| Refusal::field("namespace", "is not there"))?;
    let user = UserId::new(uid).map_err(|why| Refusal::field("uid", why))?;
    let device = DeviceId::new(&device_id(uid))
        .map_err(|why| Refusal::field("uid", format_args!("makes a device whose id {why}")))?;
    // Who it was before it is no longer.
    if let Some(session) = find(connection, path) {
        session::close(local, connection, &session, Disconnect::NORMAL);
    }
    let (token, platform) =
        with(connection, |state| (state.query.token.clone(), state.query.platform.clone()))
            .unwrap_or_default();
    let claim = Claim {
        user: Some(user),
        device: Some(device.clone()),
        platform: platform.as_deref().and_then(Platform::parse).unwrap_or_default(),
        token: token.map(String::from),
        from: connection.address(),
        ..Claim::default()
    };
    // Nobody is sent away by somebody who may not be this user.
    local.node.permit(&namespace, claim.clone()).await?;
    let known = local.node.device(&namespace, &device).await?;
    let before = match &known {
        Some(known) => local.node.numbers_of(&namespace, known.ordinal).await,
        None => Vec::new(),
    };
    let named = match local.node.logins() {
        Some(logins) => logins.rooms(uid).await,
        None => None,
    };
    let mut rooms = Vec::new();
    if let Some(named) = named {
        rooms = named;
        rooms.sort_unstable();
        let most = namespace.settings().most_rooms();
        if rooms.len() > most {
            tracing::warn!(
                uid,
                rooms = rooms.len(),
                most,
                "a backend has more rooms for somebody than a device may be in"
            );
            rooms.truncate(most);
        }
        // Its backend has the list: who is not on it any more is not in the room any more.
        let left =
            known.iter().flat_map(|known| &known.rooms).filter(|room| rooms.binary_search(room).is_err());
        let left: Vec<_> = left.cloned().collect();
        if let (Some(known), false) = (known, left.is_empty()) {
            local.node.leave(&namespace, known.ordinal, left).await?;
        }
    }
    let opened = session::open(local, connection, &namespace.name, claim, rooms, &Since::Cursor).await;
    match opened {
        Ok(opened) => {
            with(connection, |state| state.koa.uid = uid.into());
            // Two who log in at once may both stay; it is never neither.
            local.node.replaced(&namespace, opened.session.ordinal, before).await;
            let (local, connection) = (Rc::clone(local), Rc::clone(connection));
            let (session, uid) = (opened.session.clone(), uid.to_owned());
            tokio::task::spawn_local(async move {
                session::catch_up(Rc::clone(&local), Rc::clone(&connection), opened).await;
                // Whoever hears of the login sends at once what was missed, which waits for nobody.
                if let Some(logins) = local.node.logins()
                    && connection.sessions.borrow().iter().any(|other| other.member == session.member)
                {
                    logins.logged_in(&uid).await;
                }
            });
            Ok(())
        }
        Err(Some(why)) => Err(why),
        Err(None) => Ok(()),
    }
}

/// How far a connection has come.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Whether it is in its namespace.
    entered: bool,
    /// Who is logged in, if somebody is.
    uid: Box<str>,
}

/// Whether the sessions of a connection end without it.
pub(in crate::dialect) fn stays(connection: &Connection) -> bool {
    with(connection, |state| state.application == Application::PushKoa).unwrap_or_default()
}

/// A session ends because its user has logged in elsewhere: it is told so and logged out, and the connection stays.
pub(in crate::dialect) fn repeat(local: &Local, connection: &Connection, session: &Session) {
    let path = format!("/{}", session.namespace.name);
    let uid = with(connection, |state| state.koa.uid.clone()).unwrap_or_default();
    let text = session::json_string(&format!("用户 {uid} 重复登录"));
    let event = socketio::event(&path, None, "repeat", &[r#""-1""#, &text]);
    local.send(connection, &format!("4{event}"));
    session::close(local, connection, session, Disconnect::REPLACED);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_is_a_string_or_a_number() {
        for (json, expected) in [
            (r#""ann""#, Some("ann")),
            ("7", Some("7")),
            (r#""""#, None),
            ("{}", None),
            ("null", None),
            ("-1", None),
        ] {
            let raw = RawValue::from_string(json.to_owned()).unwrap();
            assert_eq!(text(&raw).as_deref(), expected, "{json}");
        }
    }
}
