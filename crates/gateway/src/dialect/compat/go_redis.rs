//! The push server of Go and Redis: `subscribe` on a plain WebSocket; channels are rooms.
//!
//! Its clients were never answered. So whoever may not be here at all is closed, and a subscription that cannot be is counted
//! (`tidings_subscriptions_refused`), not told: any text would look like a message.

use std::rc::Rc;
use std::sync::Arc;

use serde::Deserialize;
use tidings_model::{ErrorCode, RoomName, UserId};
use tidings_node::connect::Claim;
use tidings_node::metrics::Refused;
use tidings_node::resume::Since;
use tidings_node::{Namespace, ids};

use crate::compat::GoRedis;
use crate::connection::Connection;
use crate::dialect::Dialect;
use crate::dialect::compat::receipts::Owed;
use crate::dialect::compat::{State as Compat, names_a_device};
use crate::local::Local;
use crate::session::{self, Opened, Refusal, Request, Session};

/// How far a connection has come.
#[derive(Debug)]
pub(crate) struct State {
    settings: Arc<GoRedis>,
    /// What the handshake said, until it is used.
    user: Option<Box<str>>,
    token: Option<Box<str>>,
    pub(super) owed: Owed,
}

impl State {
    pub(crate) fn new(settings: Arc<GoRedis>, user: Option<Box<str>>, token: Option<Box<str>>) -> Self {
        Self { settings, user, token, owed: Owed::default() }
    }
}

/// What a client says.
#[derive(Deserialize)]
struct Command {
    channel: String,
    #[serde(rename = "type")]
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Subscribe,
    /// The original had none.
    Unsubscribe,
}

/// The connection has come: it is a device of its own from now on. What the client says waits until it is.
pub(super) fn welcome(local: &Rc<Local>, connection: &Rc<Connection>) {
    connection.busy.set(true);
    let (local, connection) = (Rc::clone(local), Rc::clone(connection));
    tokio::task::spawn_local(async move {
        match open(&local, &connection).await {
            Ok(opened) => {
                tokio::task::spawn_local(session::catch_up(
                    Rc::clone(&local),
                    Rc::clone(&connection),
                    opened,
                ));
            }
            Err(Some(why)) => local.close(&connection, why.disconnect()),
            Err(None) => {}
        }
        local.unbusy(&connection);
    });
}

async fn open(local: &Local, connection: &Rc<Connection>) -> Result<Opened, Option<Refusal>> {
    let (name, user, token) = match &mut *connection.dialect.borrow_mut() {
        Dialect::Compat(state) => match &mut **state {
            Compat::GoRedis(state) => {
                (state.settings.namespace.clone(), state.user.take(), state.token.take())
            }
            Compat::Gopusher(_) | Compat::Monitor(_) | Compat::MessagePush(_) => return Err(None),
        },
        Dialect::Json(_) | Dialect::EngineIo(_) | Dialect::Sse | Dialect::Echo => return Err(None),
    };
    let names_a_device = names_a_device(local, &name, token.as_deref()).await;
    // Its clients were nobody. One that says who it is gets what is pushed to that user, too.
    let user = user.map(|user| UserId::new(&user)).transpose();
    let claim = Claim {
        user: user.map_err(|why| Refusal::field("user", why))?,
        device: (!names_a_device).then(ids::passing_device_id),
        token: token.map(String::from),
        ..Claim::default()
    };
    session::open(local, connection, &name, claim, Vec::new(), &Since::Cursor).await
}

/// A text message came.
pub(super) fn text(local: &Rc<Local>, connection: &Rc<Connection>, text: &str) {
    not_silent(local, connection);
    let session = connection.sessions.borrow().first().cloned();
    let Some(session) = session else { return };
    let command = serde_json::from_str::<Command>(text).ok();
    let command = command.and_then(|command| Some((command.kind, RoomName::new(&command.channel).ok()?)));
    let Some((kind, channel)) = command else { return refused(local, "not_understood") };
    connection.busy.set(true);
    let (local, connection) = (Rc::clone(local), Rc::clone(connection));
    tokio::task::spawn_local(async move {
        let outcome = match kind {
            Kind::Subscribe => subscribe(&local, &connection, &session, channel).await,
            Kind::Unsubscribe => perform(&local, &connection, &session, Request::Leave(vec![channel])).await,
        };
        match outcome {
            Ok(()) => {}
            // Nobody would find out otherwise; who comes again subscribes again.
            Err(why) if why.code.status >= 500 => local.close(&connection, why.disconnect()),
            Err(why) => refused(&local, why.code.slug),
        }
        local.unbusy(&connection);
    });
}

async fn subscribe(
    local: &Local,
    connection: &Connection,
    session: &Session,
    channel: RoomName,
) -> Result<(), Refusal> {
    let none = |namespace: &Namespace, channel: &RoomName| {
        let why = || Refusal::new(ErrorCode::NOT_FOUND, "there is no such channel");
        if namespace.is_channel(channel) { Ok(()) } else { Err(why()) }
    };
    none(&session.namespace, &channel)?;
    perform(local, connection, session, Request::Join(vec![channel.clone()])).await?;
    // It was removed meanwhile, and whoever takes everybody off it may not have seen this one.
    if let Err(why) = none(&session.namespace, &channel) {
        perform(local, connection, session, Request::Leave(vec![channel])).await?;
        return Err(why);
    }
    Ok(())
}

/// Carries it out. Who asks for much at once is not refused, as nobody would be told: it takes its time.
async fn perform(
    local: &Local,
    connection: &Connection,
    session: &Session,
    request: Request,
) -> Result<(), Refusal> {
    loop {
        match session::perform(local, connection, session, request.clone()).await {
            Err(Refusal { code: ErrorCode::RATE_LIMITED, retry_after: Some(after), .. })
                if connection.is_open() =>
            {
                tokio::time::sleep(after).await;
                not_silent(local, connection);
            }
            outcome => return outcome.map(drop),
        }
    }
}

/// Whoever says much at once is read when it has its turn: a sign of life may wait behind that.
fn not_silent(local: &Local, connection: &Connection) {
    connection.heard_at.set(local.now_ms());
    connection.pinged_at.set(0);
}

fn refused(local: &Local, reason: &'static str) {
    local.metrics().subscriptions_refused.get_or_create(&Refused { reason }).inc();
}
