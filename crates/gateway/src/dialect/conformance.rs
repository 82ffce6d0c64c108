//! What the public protocol suites expect behind a server: echoes, and a Socket.IO application with two
//! namespaces. Only `tidings conformance` has it; framing, sessions, polling, upgrade, heartbeats and
//! limits are those that serve everybody.

use std::rc::Rc;
use std::time::Duration;

use tidings_model::Disconnect;
use tidings_wire::engineio::{self, Version};
use tidings_wire::socketio::{self, Args, Kind, Packet};

use super::engineio::{version, with};
use super::socketio::is_v3;
use crate::connection::{Connection, Transport};
use crate::local::Local;

/// Largest message that a plain echo takes, in bytes: the suites send 16 MiB.
pub(super) const ECHO_BYTES_MAX: usize = 64 << 20;

/// The namespaces that there are.
const NAMESPACES: [&str; 2] = ["/", "/custom"];

/// How long after its admission a client is shown its `auth`: the suites look at one message after the other,
/// and what their client library reads together with the one that they wait for is lost to them.
const AUTH_DELAY: Duration = Duration::from_millis(20);

/// Which of them a session has joined.
pub(super) type Joined = [bool; NAMESPACES.len()];

/// The end of a plain echo.
pub(super) fn goodbye(local: &Local, connection: &Connection, why: Disconnect) {
    local.send_close(connection, why);
}

/// Sends bytes as the message that they are in a version of Engine.IO.
pub(super) fn send_binary(local: &Local, connection: &Connection, version: Version, bytes: &[u8]) {
    // In a poll the payload's own encoding says what it is.
    if matches!(&*connection.transport.borrow(), Transport::Poll(_)) {
        local.send_binary(connection, bytes);
    } else {
        local.send_binary(connection, &engineio::encode_binary(version, bytes));
    }
}

/// A Socket.IO packet came, with its attachments if it has any.
pub(super) fn take(
    local: &Rc<Local>,
    connection: &Rc<Connection>,
    packet: &Packet<'_>,
    attachments: &[Vec<u8>],
) {
    let joined = is_joined(connection, packet.namespace);
    match packet.kind {
        Kind::Connect if joined && !is_v3(connection) => local.close(connection, Disconnect::PROTOCOL_ERROR),
        Kind::Connect if joined => {}
        Kind::Connect => connect(local, connection, packet.namespace, packet.data),
        Kind::Disconnect => set_joined(connection, packet.namespace, false),
        Kind::ConnectError => local.close(connection, Disconnect::PROTOCOL_ERROR),
        Kind::Ack | Kind::BinaryAck => {}
        Kind::Event | Kind::BinaryEvent => match packet.data.map(Args::event) {
            Some(Ok(event)) if joined => answer(local, connection, packet, &event, attachments),
            Some(_) | None => local.close(connection, Disconnect::PROTOCOL_ERROR),
        },
    }
}

/// Lets a client into a namespace and shows it the `auth` that it came with.
pub(super) fn connect(local: &Rc<Local>, connection: &Rc<Connection>, namespace: &str, auth: Option<&str>) {
    if !NAMESPACES.contains(&namespace) {
        let refusal = if is_v3(connection) {
            socketio::error_v4(namespace, r#""Invalid namespace""#)
        } else {
            socketio::connect_error_v5(namespace, "Invalid namespace", None)
        };
        return local.send(connection, &format!("4{refusal}"));
    }
    set_joined(connection, namespace, true);
    with(connection, |state| state.has_connected = true);
    let granted = if is_v3(connection) {
        socketio::connect_v4(namespace)
    } else {
        socketio::connect_v5(namespace, &tidings_node::ids::token(), None)
    };
    local.send(connection, &format!("4{granted}"));
    let shown = socketio::event(namespace, None, "auth", &[auth.unwrap_or("{}")]);
    let (local, connection, namespace) = (Rc::clone(local), Rc::clone(connection), namespace.to_owned());
    tokio::task::spawn_local(async move {
        tokio::time::sleep(AUTH_DELAY).await;
        if connection.is_open() && is_joined(&connection, &namespace) {
            local.send(&connection, &format!("4{shown}"));
            local.settle();
        }
    });
}

fn answer(
    local: &Local,
    connection: &Connection,
    packet: &Packet<'_>,
    event: &Args<'_>,
    attachments: &[Vec<u8>],
) {
    let args: Vec<&str> = event.args.iter().map(|arg| arg.get()).collect();
    let (namespace, count) = (packet.namespace, attachments.len());
    let text = match (&*event.name, packet.id, count) {
        ("message", _, 0) => socketio::event(namespace, None, "message-back", &args),
        ("message", _, _) => socketio::binary_event(namespace, count, "message-back", &args),
        ("message-with-ack", Some(id), 0) => socketio::ack(namespace, id, &args),
        ("message-with-ack", Some(id), _) => socketio::binary_ack(namespace, count, id, &args),
        _ => return,
    };
    local.send(connection, &format!("4{text}"));
    for bytes in attachments {
        send_binary(local, connection, version(connection), bytes);
    }
}

fn is_joined(connection: &Connection, namespace: &str) -> bool {
    let index = NAMESPACES.iter().position(|known| *known == namespace);
    index.is_some_and(|index| with(connection, |state| state.joined[index]).unwrap_or_default())
}

fn set_joined(connection: &Connection, namespace: &str, joined: bool) {
    if let Some(index) = NAMESPACES.iter().position(|known| *known == namespace) {
        with(connection, |state| state.joined[index] = joined);
    }
}
