//! light-push on Socket.IO: who a client is, the words in which it is refused, its events and their answers.
//!
//! Source: the contract of light-push, section 1.1. A client is the device `<userid>#<platform>-<uuid>`; the room
//! `user_<id>` is the user.

use std::rc::Rc;

use tidings_model::{DeviceId, Disconnect, NamespaceName, Platform, Timestamp, UserId};
use tidings_node::connect::Claim;
use tidings_node::light_push::{Caller, Vouched};
use tidings_node::permit::{Pattern, Permit};
use tidings_node::resume::Since;
use tidings_wire::compat::light_push::{self as names, client_id};
use tidings_wire::socketio::{self, Packet};

use super::{NAMESPACES_MAX, find, is_known, is_v3, may_be_in, with};
use crate::command::Verbatim;
use crate::connection::Connection;
use crate::door::Closed;
use crate::http::query;
use crate::local::Local;
use crate::session::{self, Opened, Refusal, Session};

mod events;
mod missed;
mod people;

pub(super) use events::emitted;
pub(in crate::dialect) use missed::together;
use people::tell_people;

/// Longest `uuid` and `userid`, in bytes.
const NAME_BYTES_MAX: usize = 100;

/// Longest query of a packet that says who a client is, in bytes: it is kept for as long as the connection.
const QUERY_BYTES_MAX: usize = 8 << 10;

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
        Ok(Self {
            // Any text is true to its server, `false` as well.
            announces: text("activityBroadcast").is_some(),
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
    if find(connection, &path).is_some() {
        return refuse(local, connection, &path, &conflict());
    }
    if connection.sessions.borrow().len() >= NAMESPACES_MAX {
        return local.close(connection, Disconnect::PROTOCOL_ERROR);
    }
    // The handshake's query wins; a client that said nothing there may have said it here, once and in so many words.
    let own =
        packet.query.filter(|own| own.len() <= QUERY_BYTES_MAX && query::find(own, &["uuid"]).is_some());
    with(connection, |state| {
        if let Some(said) = &mut state.query.verbatim
            && query::find(&said.query, &["uuid"]).is_none()
            && let Some(own) = own
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
            ("uuid=d1&activityBroadcast=0", client("d1", Platform::Web, true)),
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
