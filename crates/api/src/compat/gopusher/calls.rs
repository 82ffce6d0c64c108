//! What the calls of gopusher do, however they come.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use tidings_model::{ErrorCode, NameError, RoomName, Target, UserId, limit};
use tidings_node::Namespace;
use tidings_node::keys::{Holder, Scope};
use tidings_wire::compat::{Aside, gopusher};

use super::Settings;
use crate::compat::around::Caller;
use crate::compat::plain::{self, quoted};
use crate::rest::messages::may_push;
use crate::shape::shown;
use crate::{ApiState, Problem};

/// What is said when something worked.
pub(crate) const OK: &str = "ok";

/// The calls.
#[derive(Clone)]
pub(crate) struct Calls {
    pub(crate) state: ApiState,
    pub(crate) settings: Arc<Settings>,
}

/// A push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pushed {
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    pub(crate) app: String,
    pub(crate) content: String,
}

/// How the server is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) processors: i64,
    pub(crate) tasks: i64,
    pub(crate) connections: i64,
    pub(crate) groups: i64,
}

/// Who may do something: whoever has a key, or everybody.
pub(crate) type By = Option<Holder>;

impl Calls {
    async fn may(&self, caller: &Caller, scope: Scope) -> Result<By, Problem> {
        if self.settings.open {
            return Ok(None);
        }
        caller.needs(&self.state, &self.settings.namespace, scope).await.map(Some)
    }

    /// Whether a caller may push: known before a body is read.
    pub(crate) async fn may_push(&self, caller: &Caller) -> Result<By, Problem> {
        self.may(caller, Scope::Push).await
    }

    fn namespace(&self) -> Result<Arc<Namespace>, Problem> {
        let name = self.settings.namespace.as_str();
        self.state.node.namespace(name).ok_or_else(|| Problem::no_namespace(name))
    }

    /// Says something to groups. Everybody is named before anything is said.
    pub(crate) async fn push(&self, by: By, push: Pushed) -> Result<(), Problem> {
        let targets = targets(&push)?;
        if push.from.len() > limit::NAME_BYTES_MAX {
            let most = limit::NAME_BYTES_MAX;
            let why = format!("has {} bytes, at most {most} are allowed", push.from.len());
            return Err(Problem::field(ErrorCode::INVALID_REQUEST, "from", why));
        }
        let aside = match push.from.as_str() {
            "" => Bytes::new(),
            from => Aside { from: Some(from.into()), ..Aside::default() }.to_json().into(),
        };
        let data = Bytes::from(quoted(&push.content));
        for to in targets {
            may_push(by.as_ref(), self.state.node.now())?;
            let push = plain::push(to, data.clone(), aside.clone());
            self.state.node.publish(&self.settings.namespace, push).await?;
        }
        Ok(())
    }

    /// How the server is, as far as it is the namespace's matter.
    pub(crate) async fn system(&self, caller: &Caller) -> Result<Found, Problem> {
        self.may(caller, Scope::Read).await?;
        let namespace = self.namespace()?;
        let (connections, groups) = {
            let directory = namespace.directory();
            (directory.connection_count(), directory.user_count())
        };
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        Ok(Found {
            processors: signed(processors as u64),
            tasks: signed(tasks as u64),
            connections: signed(connections as u64),
            groups: signed(groups as u64),
        })
    }

    /// Whether anybody of a group is here: `yes` or `no`.
    pub(crate) async fn is_online(&self, caller: &Caller, card: &str) -> Result<&'static str, Problem> {
        self.may(caller, Scope::Read).await?;
        Ok(if self.connections(card).await? > 0 { "yes" } else { "no" })
    }

    /// How many of a group are here; -1 when nobody is.
    pub(crate) async fn group(&self, caller: &Caller, card: &str) -> Result<i64, Problem> {
        self.may(caller, Scope::Read).await?;
        match self.connections(card).await? {
            0 => Ok(-1),
            some => Ok(signed(some)),
        }
    }

    async fn connections(&self, card: &str) -> Result<u64, Problem> {
        let namespace = self.namespace()?;
        // What is no name is nobody's.
        let Ok(user) = UserId::new(card) else { return Ok(0) };
        let devices = self.state.node.devices_of_user(&namespace, &user).await?;
        let ordinals = devices.iter().map(|device| device.ordinal.0).collect();
        Ok(namespace.directory().connections_of(&ordinals))
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn wrong(field: &str, text: &str, why: &NameError) -> Problem {
    Problem::field(ErrorCode::INVALID_REQUEST, field, format!("{} {why}", shown(text)))
}

/// Who is meant, as many at once as a push may name.
fn targets(push: &Pushed) -> Result<Vec<Target>, Problem> {
    let (mut users, mut rooms, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
    for (index, card) in push.to.iter().enumerate().filter(|(_, card)| seen.insert(card.as_str())) {
        let field = || format!("to[{index}]");
        let user = UserId::new(card).map_err(|why| wrong(&field(), card, &why))?;
        if push.app.is_empty() {
            users.push(user);
        } else {
            let room = RoomName::new(&gopusher::room(&push.app, card)).map_err(|why| {
                let message = format!("{} and appID make a room whose name {why}", shown(card));
                Problem::field(ErrorCode::INVALID_REQUEST, field(), message)
            })?;
            rooms.push(room);
        }
    }
    let users = users.chunks(limit::TARGETS_MAX);
    let users = users.map(|users| Target { users: users.to_vec(), ..Target::default() });
    let rooms = rooms.chunks(limit::TARGETS_MAX);
    let rooms = rooms.map(|rooms| Target { rooms: rooms.to_vec(), ..Target::default() });
    Ok(users.chain(rooms).collect())
}
