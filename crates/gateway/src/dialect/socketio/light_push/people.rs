//! Who comes and goes, told to the others in a room by the clients that want it known.

use tidings_model::RoomName;
use tidings_node::presence::signal::{Signal, SignalKind};
use tidings_wire::compat::light_push::client_id;

use super::Client;
use crate::local::Local;
use crate::session::{self, Session};

/// Rooms in which it is told that somebody has come or gone, at most.
const PEOPLE_ROOMS_MAX: usize = 64;

/// Tells the others in some rooms that a client has come, or, with `gone`, that it has gone; and whether that is because it is
/// offline.
pub(super) fn tell_people(
    local: &Local,
    session: &Session,
    client: &Client,
    rooms: &[RoomName],
    gone: Option<bool>,
) {
    let path = format!("/{}", session.namespace.name);
    let id = client_id(&path, &client.device());
    for room in rooms.iter().take(PEOPLE_ROOMS_MAX) {
        let [sid, uuid, userid, name] =
            [&id, &client.uuid, &client.userid, room.as_str()].map(session::json_string);
        let offline = gone.map_or_else(String::new, |offline| format!(r#","clientOffline":{offline}"#));
        let data = format!(r#"{{"sid":{sid},"uuid":{uuid},"userid":{userid},"room":{name}{offline}}}"#);
        let signal = Signal {
            namespace: session.namespace.name.clone(),
            room: room.clone(),
            kind: if gone.is_some() { SignalKind::PeopleLeave } else { SignalKind::PeopleJoin },
            about: session.ordinal,
            data,
        };
        local.node.tell_people(&session.namespace, signal);
    }
}
