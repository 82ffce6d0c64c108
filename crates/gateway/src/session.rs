//! A device on a connection: what every dialect does the same way. A dialect reads a packet into a
//! [`Request`] and writes what comes back; the use cases are the node's.

use std::rc::Rc;
use std::sync::Arc;

use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tidings_hub::{Attach, CatchUp, MemberKey};
use tidings_model::{
    ClientAddress, DeviceId, Disconnect, ErrorCode, Message, MessageId, NamespaceName, Ordinal, Platform,
    Position, RoomName, Seq, Timestamp, Topic, UserId,
};
use tidings_node::Namespace;
use tidings_node::StoreError;
use tidings_node::block::Visitor;
use tidings_node::connect::{Claim, Identity, UserKey, connection_id};
use tidings_node::ids;
use tidings_node::namespace::AuthMode;
use tidings_node::permit::Permit;
use tidings_node::relay::Said;
use tidings_node::resume::{Missed, Since};

use crate::connection::Connection;
use crate::dialect;
use crate::local::Local;
use crate::presence::{self, Presence};
pub(crate) use crate::refusal::{Refusal, json_string};
use crate::speak;

mod own;

// Whoever goes on from the positions that it was given can name all of them.
const _: () = assert!(tidings_wire::json::POSITIONS_MAX >= tidings_model::limit::ROOMS_PER_DEVICE_MAX + 3);

/// Messages of a mailbox that are read at once.
const REPLAY_MESSAGES: usize = 64;

/// A device on a connection.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) namespace: Arc<Namespace>,
    pub(crate) ordinal: Ordinal,
    /// Whether it does not want to be told of others.
    pub(crate) hushed: bool,
    /// Whether the device is there for this connection only.
    pub(crate) passing: bool,
    pub(crate) connection: u64,
    pub(crate) member: MemberKey,
    /// What its user is counted by.
    pub(crate) user: Option<UserKey>,
    /// What it may do; everything, where that is `None`.
    pub(crate) permit: Option<Arc<Permit>>,
}

/// A session that was just opened, and all that its client is told.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) session: Session,
    pub(crate) identity: Identity,
    pub(crate) recovered: bool,
    positions: Vec<(Topic, Position)>,
    missed: Missed,
    node: String,
}

/// What a client asks, in any dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Join(Vec<RoomName>),
    Leave(Vec<RoomName>),
    Ack(Vec<MessageId>),
    /// Its own record: shown, or changed by a merge patch and then shown.
    Device(Option<Map<String, Value>>),
    /// A newer token.
    Refresh(String),
    /// Who else is here.
    Presence(Presence),
    /// Say something to the others in a room.
    Publish(Box<Said>),
    /// Ask the business system.
    Rpc(speak::Call),
}

impl Request {
    /// How much work it is, in small requests. A receipt is none: there is one for each message, and nobody is to keep
    /// them back.
    fn cost(&self) -> u32 {
        match self {
            Self::Ack(_) => 0,
            Self::Join(rooms) | Self::Leave(rooms) => u32::try_from(rooms.len()).unwrap_or(u32::MAX),
            Self::Device(_) | Self::Refresh(_) | Self::Presence(_) | Self::Publish(_) | Self::Rpc(_) => 1,
        }
    }
}

/// Reads what a client says of itself, wherever it said it.
///
/// # Errors
/// Names the field that is not a name.
pub(crate) fn claim(
    device: Option<&str>,
    user: Option<&str>,
    platform: Option<&str>,
    token: Option<&str>,
) -> Result<Claim, Refusal> {
    let platform = match platform {
        None => Platform::Other,
        Some(text) => Platform::parse(text)
            .ok_or_else(|| Refusal::field("platform", "must be one of web, android, ios, desktop, other"))?,
    };
    Ok(Claim {
        device: device.map(DeviceId::new).transpose().map_err(|why| Refusal::field("device", why))?,
        user: user.map(UserId::new).transpose().map_err(|why| Refusal::field("user", why))?,
        platform,
        token: token.map(str::to_owned),
        from: ClientAddress::LOCAL,
        vouched: None,
    })
}

/// Reads a list of names.
///
/// # Errors
/// Names the entry that is not one.
pub(crate) fn names<T: std::str::FromStr<Err = tidings_model::NameError>>(
    field: &str,
    texts: impl IntoIterator<Item = impl AsRef<str>>,
) -> Result<Vec<T>, Refusal> {
    let read = |(index, text): (usize, _)| {
        T::from_str(AsRef::<str>::as_ref(&text))
            .map_err(|why| Refusal::field(&format!("{field}[{index}]"), why))
    };
    texts.into_iter().enumerate().map(read).collect()
}

/// Attaches a device to a connection and finds out what it missed. It gets nothing yet: see [`catch_up`].
///
/// # Errors
/// `Err(None)` when the connection ended meanwhile.
pub(crate) async fn open(
    local: &Local,
    connection: &Rc<Connection>,
    namespace: &NamespaceName,
    claim: Claim,
    join: Vec<RoomName>,
    since: &Since,
) -> Result<Opened, Option<Refusal>> {
    let from = connection.address();
    let identity = local.node.identify(namespace, Claim { from, ..claim }).await.map_err(Refusal::from)?;
    // The namespace may have said which device it is, and that one stays.
    let passing = connection.dialect.borrow().is_passing() && ids::is_passing(&identity.device.id);
    if !connection.is_open() {
        if passing {
            local.node.forget_soon(&identity.namespace, identity.device.ordinal);
        }
        return Err(None);
    }
    let mut join = join;
    if let Some(permit) = &identity.permit {
        may_join(permit, &join)?;
        // A room that is suspended is no reason to stay outside.
        let open = permit.rooms.iter().filter(|room| !identity.namespace.is_suspended(room));
        join.extend(open.cloned());
    }
    let attach = Attach {
        peer: connection.key,
        format: connection.format(),
        namespace,
        ordinal: identity.device.ordinal,
        rooms: &[],
        policy: identity.namespace.settings().outbox.policy(local.settings.outbox),
    };
    let member = local.hub.borrow_mut().attach(attach).ok_or(None)?;
    let session = Session {
        namespace: Arc::clone(&identity.namespace),
        ordinal: identity.device.ordinal,
        hushed: false,
        passing,
        connection: local.next_connection(),
        member,
        user: local.node.counted(&identity),
        permit: identity.permit.clone(),
    };
    local.ends_with(connection.key, session.member, session.permit.as_deref());
    // From here on the end of the connection takes the session with it.
    {
        connection.sessions.borrow_mut().push(session.clone());
    }
    let prepared = prepare(local, &identity, &session, from, join, since).await;
    if !connection.is_open() {
        return Err(None);
    }
    match prepared {
        Ok((positions, missed)) => Ok(Opened {
            recovered: missed.complete,
            node: local.node.name().to_owned(),
            session,
            identity,
            positions,
            missed,
        }),
        Err(why) => {
            close(local, connection, &session, why.disconnect());
            Err(Some(why))
        }
    }
}

async fn prepare(
    local: &Local,
    identity: &Identity,
    session: &Session,
    from: ClientAddress,
    join: Vec<RoomName>,
    since: &Since,
) -> Result<(Vec<(Topic, Position)>, Missed), Refusal> {
    let node = &local.node;
    // Whoever is sent away from here on finds it.
    let device = &identity.device;
    let who = Visitor { user: device.user.as_ref(), device: Some(&device.id), from };
    node.may_be_here(&session.namespace, who, session.permit.as_deref())?;
    let mut rooms = node.came(identity, session.connection, local.index).await?;
    if !join.is_empty() {
        rooms = node.join(&session.namespace, session.ordinal, join).await?;
    }
    {
        let mut hub = local.hub.borrow_mut();
        rooms.iter().for_each(|room| hub.join(session.member, room));
    }
    let (work, who, since) = (Arc::clone(node), identity.clone(), since.clone());
    let read = async move {
        let missed = work.missed(&who, &rooms, &since).await?;
        let positions = work.positions(&who.namespace, &who.device, &rooms).await?;
        Ok((positions, missed))
    };
    Ok(node.elsewhere(read).await?)
}

/// Takes a session off a connection that stays.
pub(crate) fn close(local: &Local, connection: &Connection, session: &Session, why: Disconnect) {
    let mut sessions = connection.sessions.borrow_mut();
    let before = sessions.len();
    sessions.retain(|other| other.member != session.member);
    if sessions.len() < before {
        drop(sessions);
        local.leave(session, why);
        dialect::has_left(local, connection, session);
    }
}

/// Ends what a connection has in a namespace: the connection, or, where it is in others as well, its part in this one. What
/// one tenant does is no matter of the others.
pub(crate) fn send_away(
    local: &Local,
    connection: &Rc<Connection>,
    namespace: &NamespaceName,
    why: Disconnect,
) {
    let (here, elsewhere): (Vec<_>, Vec<_>) = connection
        .sessions
        .borrow()
        .iter()
        .cloned()
        .partition(|session| session.namespace.name == *namespace);
    if here.is_empty() {
        return;
    }
    if why == Disconnect::REPLACED && dialect::logs_out(local, connection, &here) {
        return local.settle();
    }
    if elsewhere.is_empty() {
        return local.close(connection, why);
    }
    for session in here {
        dialect::engineio::goodbye_of(local, connection, &session, why, true);
        close(local, connection, &session, why);
    }
    local.settle();
}

impl Opened {
    /// `{"device","user","connection","node",…,"recovered","positions"}`; `extra` is put in between, and
    /// ends with a comma if there is any.
    pub(crate) fn to_json(&self, extra: &str) -> String {
        let user =
            self.identity.device.user.as_ref().map_or("null".to_owned(), |user| json_string(user.as_str()));
        let positions: Vec<String> = self
            .positions
            .iter()
            .map(|(topic, position)| {
                let topic = json_string(&topic.to_string());
                format!(r#"{topic}:{{"epoch":{},"offset":{}}}"#, position.epoch.0, position.offset)
            })
            .collect();
        format!(
            r#"{{"device":{},"user":{user},"connection":"{}","node":{},{extra}"recovered":{},"positions":{{{}}}}}"#,
            json_string(self.identity.device.id.as_str()),
            connection_id(self.session.connection),
            json_string(&self.node),
            self.recovered,
            positions.join(","),
        )
    }
}

/// Gives a device what it missed, then lets it go live. Waits whenever half of the outbox is full, so
/// that a long mailbox takes as little memory as a short one.
pub(crate) async fn catch_up(local: Rc<Local>, connection: Rc<Connection>, opened: Opened) {
    let Opened { session, identity, missed, .. } = opened;
    let (mut identity, mut missed) = (Arc::new(identity), Arc::new(missed));
    if !missed.settles {
        local.hub.borrow_mut().freeze(session.member, identity.device.cursor);
    }
    let mut again = false;
    loop {
        let mut at = 0;
        // Nothing older is to be looked at again; unless there is more than was found, or was skipped.
        let mut settled = missed.floor;
        while at < missed.len() {
            let range = at..at + REPLAY_MESSAGES;
            at = range.end;
            let messages = match load(&local, &identity, &missed, range).await {
                Ok(messages) => messages,
                Err(why) => return give_up(&local, &connection, &why),
            };
            if let Some((first, _)) = messages.first() {
                settled = settled.min(Seq(first.seq.0 - 1));
            }
            local.pass_time();
            let mut others = dialect::together(&connection, &messages).map(Vec::into_iter);
            for (message, topic) in messages {
                let other = others.as_mut().and_then(Iterator::next);
                let takes_more = || dialect::takes_more(&local, &connection, &session);
                connection.until(|| !connection.is_open() || takes_more()).await;
                if !local.hub.borrow_mut().replay_as(session.member, &message, topic, other) {
                    return local.settle();
                }
                if !takes_more() {
                    local.settle();
                }
            }
            local.settle();
        }
        if missed.settles && missed.complete && !again {
            local.node.settled(&session.namespace, session.ordinal, settled);
        }
        again = true;
        let outcome = local.hub.borrow_mut().go_live(session.member, missed.floor);
        local.settle();
        match outcome {
            CatchUp::Live | CatchUp::Gone => return,
            CatchUp::Again => {
                let mut further = Identity::clone(&identity);
                further.device.cursor = missed.floor;
                further.new = false;
                identity = Arc::new(further);
                match missed_since(&local, &identity).await {
                    // More came in the meantime than a mailbox holds; it was promised to be told.
                    Ok(more) if !more.complete => return local.close(&connection, Disconnect::POSITION_LOST),
                    Ok(more) => missed = Arc::new(more),
                    Err(why) => return give_up(&local, &connection, &why),
                }
            }
        }
    }
}

fn give_up(local: &Local, connection: &Rc<Connection>, why: &StoreError) {
    tracing::error!(error = %why, "a mailbox cannot be read");
    local.close(connection, Disconnect::INTERNAL);
}

/// What came while a device caught up, in the rooms that it is in by now.
async fn missed_since(local: &Local, identity: &Arc<Identity>) -> Result<Missed, StoreError> {
    let (work, who) = (Arc::clone(&local.node), Arc::clone(identity));
    let read = async move {
        let rooms = work.rooms(&who.namespace, who.device.ordinal).await?;
        work.missed(&who, &rooms, &Since::Cursor).await
    };
    local.node.elsewhere(read).await
}

/// A stretch of the mailbox.
async fn load(
    local: &Local,
    identity: &Arc<Identity>,
    missed: &Arc<Missed>,
    range: std::ops::Range<usize>,
) -> Result<Vec<(Arc<Message>, usize)>, StoreError> {
    let (work, who, missed) = (Arc::clone(&local.node), Arc::clone(identity), Arc::clone(missed));
    let read = async move { work.load_missed(&who.namespace, &who.device, &missed, range).await };
    local.node.elsewhere(read).await
}

/// Whether a client may join these rooms.
fn may_join(permit: &Permit, rooms: &[RoomName]) -> Result<(), Refusal> {
    match rooms.iter().find(|room| !permit.may_join(room)) {
        Some(room) => {
            let why = format!("the token does not allow to join {}", json_string(room.as_str()));
            Err(Refusal { field: Some("rooms".to_owned()), ..Refusal::new(ErrorCode::FORBIDDEN, why) })
        }
        None => Ok(()),
    }
}

/// Takes a newer token: what it allows holds from now on, and until when.
async fn refresh(
    local: &Local,
    connection: &Connection,
    session: &Session,
    token: &str,
) -> Result<String, Refusal> {
    if session.permit.is_none() {
        return Err(Refusal::new(ErrorCode::CONFLICT, "this namespace has no tokens"));
    }
    let device = own::device(local, session).await?;
    let who = Claim {
        device: Some(device.id),
        user: device.user,
        token: Some(token.to_owned()),
        from: connection.address(),
        ..Claim::default()
    };
    let permit = local.node.renew(&session.namespace, who).await?;
    let none = || Refusal::new(ErrorCode::CONFLICT, "this namespace has no tokens any more");
    let permit = permit.ok_or_else(none)?;
    // When it ends is looked at within a minute, or when the one before would have ended.
    let expires_at = match permit.expires_at {
        Timestamp::NEVER => "null".to_owned(),
        Timestamp(ms) => json_string(&tidings_wire::time::rfc3339(ms)),
    };
    let mut sessions = connection.sessions.borrow_mut();
    if let Some(own) = sessions.iter_mut().find(|other| other.member == session.member) {
        own.permit = Some(permit);
    }
    Ok(format!(r#"{{"expires_at":{expires_at}}}"#))
}

/// Carries out what a client asks. Answers the fields of the reply: a JSON object.
///
/// # Errors
/// What the client is told instead.
pub(crate) async fn perform(
    local: &Local,
    connection: &Connection,
    session: &Session,
    request: Request,
) -> Result<String, Refusal> {
    local.node.may_ask(&session.namespace, session.ordinal, request.cost())?;
    match request {
        Request::Refresh(token) => refresh(local, connection, session, &token).await,
        Request::Publish(said) => speak::publish(local, session, *said).await,
        Request::Rpc(call) => speak::call(local, connection, session, &call).await,
        Request::Presence(presence) => presence::perform(local, connection, session, presence).await,
        Request::Join(rooms) => {
            still_let_in(session)?;
            if let Some(permit) = &session.permit {
                may_join(permit, &rooms)?;
            }
            let rooms = local.node.join(&session.namespace, session.ordinal, rooms).await?;
            Ok(rooms_json(&rooms))
        }
        Request::Device(patch) => own::record(local, session, patch).await,
        Request::Leave(rooms) => {
            let rooms = local.node.leave(&session.namespace, session.ordinal, rooms).await?;
            Ok(rooms_json(&rooms))
        }
        Request::Ack(ids) => {
            let outcome = local.node.ack_ids(&session.namespace, session.ordinal, ids).await?;
            let mut hub = local.hub.borrow_mut();
            let done = outcome.acked.iter().chain(&outcome.heard);
            done.for_each(|seq| hub.acknowledge(session.member, *seq));
            let unknown: Vec<_> = outcome.unknown.iter().map(|id| json_string(id.as_str())).collect();
            Ok(format!(r#"{{"acked":{},"unknown":[{}]}}"#, outcome.acked.len(), unknown.join(",")))
        }
    }
}

/// Whether what let a client in would let it in today.
fn still_let_in(session: &Session) -> Result<(), Refusal> {
    if session.permit.is_none() && session.namespace.settings().auth != AuthMode::Open {
        let why = "this namespace wants to know who you are by now; connect again";
        return Err(Refusal::new(ErrorCode::FORBIDDEN, why));
    }
    Ok(())
}

fn rooms_json(rooms: &[RoomName]) -> String {
    let rooms: Vec<_> = rooms.iter().map(|room| json_string(room.as_str())).collect();
    format!(r#"{{"rooms":[{}]}}"#, rooms.join(","))
}

/// Reads one name or a list of them from an event's argument.
///
/// # Errors
/// Says that it is neither.
pub(crate) fn one_or_many(field: &str, raw: &RawValue) -> Result<Vec<String>, Refusal> {
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    match serde_json::from_str(raw.get()) {
        Ok(OneOrMany::One(one)) => Ok(vec![one]),
        Ok(OneOrMany::Many(many)) if many.len() <= tidings_wire::json::LIST_MAX => Ok(many),
        Ok(OneOrMany::Many(many)) => Err(Refusal::field(
            field,
            format!("has {} entries, at most {} are allowed", many.len(), tidings_wire::json::LIST_MAX),
        )),
        Err(_) => Err(Refusal::field(field, "must be a string or a list of strings")),
    }
}
