//! The JSON protocol on a plain WebSocket (public contract, section 5.2).

use std::rc::Rc;

use serde_json::value::RawValue;
use tidings_model::{Disconnect, Epoch, ErrorCode, NamespaceName, Position, Topic};
use tidings_node::connect::Claim;
use tidings_node::resume::Since;
use tidings_wire::json::{self, Body, Command, Id};

use super::{Dialect, goaway};
use crate::connection::Connection;
use crate::local::Local;
use crate::presence;
use crate::session::{self, Refusal, Request};
use crate::speak::{Calling, Publication};

/// Most commands in one frame.
const COMMANDS_MAX: usize = 100;

/// How far a connection has come.
#[derive(Debug)]
pub(crate) struct State {
    namespace: NamespaceName,
    /// What the request said of the client; taken by its `connect`.
    claim: Option<Box<Claim>>,
}

impl State {
    pub(crate) fn new(namespace: NamespaceName, claim: Claim) -> Self {
        Self { namespace, claim: Some(Box::new(claim)) }
    }

    pub(crate) fn is_connecting(&self) -> bool {
        self.claim.is_some()
    }
}

/// What is left to do of a command once its text is gone.
enum Step {
    Connect(Box<Claim>, Since),
    Request(Request),
    /// Nothing but the answer.
    Answer(Result<String, Refusal>),
    /// The answer to a `connect` that is refused.
    Refuse(Refusal),
}

struct Task {
    id: Option<String>,
    step: Step,
}

/// A text frame came: carries out its commands one after the other.
pub(super) fn text(local: &Rc<Local>, connection: &Rc<Connection>, text: &str) {
    let commands = match json::decode(text, COMMANDS_MAX) {
        Ok(commands) => commands,
        Err(why) => {
            local.send(connection, &json::error(None, ErrorCode::INVALID_REQUEST.slug, &why.to_string()));
            return local.close(connection, Disconnect::BAD_REQUEST);
        }
    };
    let mut tasks = Vec::new();
    for command in commands {
        let (id, step) = match command {
            Ok(command) => {
                let connects = matches!(command.body, Body::Connect { .. });
                let refused = |why| if connects { Step::Refuse(why) } else { Step::Answer(Err(why)) };
                (command.id, step(connection, &command).unwrap_or_else(refused))
            }
            Err(refusal) => {
                let why = Refusal::new(ErrorCode::INVALID_REQUEST, refusal.error.to_string());
                (refusal.id, Step::Answer(Err(why)))
            }
        };
        match step {
            // Answers come in the order of the commands.
            Step::Answer(answer) if tasks.is_empty() => reply(local, connection, id, &answer),
            step => tasks.push(Task { id: id.map(|id| id.as_json().to_owned()), step }),
        }
    }
    if !tasks.is_empty() {
        connection.busy.set(true);
        let (local, connection) = (Rc::clone(local), Rc::clone(connection));
        tokio::task::spawn_local(async move {
            for task in tasks {
                if !connection.is_open() {
                    break;
                }
                if matches!(task.step, Step::Request(Request::Rpc(_))) {
                    // What the business system takes its time for holds up nothing else.
                    let (local, connection) = (Rc::clone(&local), Rc::clone(&connection));
                    tokio::task::spawn_local(async move { carry_out(&local, &connection, task).await });
                } else {
                    carry_out(&local, &connection, task).await;
                }
            }
            local.unbusy(&connection);
        });
    }
}

/// What a command needs done.
fn step(connection: &Connection, command: &Command<'_>) -> Result<Step, Refusal> {
    let request = match &command.body {
        Body::Connect { token, device, user, platform, positions } => {
            let mut claim = match &mut *connection.dialect.borrow_mut() {
                Dialect::Json(state) => state.claim.clone(),
                Dialect::EngineIo(_) | Dialect::Sse | Dialect::Echo | Dialect::Compat(_) => None,
            }
            .ok_or_else(|| Refusal::new(ErrorCode::CONFLICT, "this connection is connected already"))?;
            let given =
                session::claim(device.as_deref(), user.as_deref(), platform.as_deref(), token.as_deref())?;
            claim.device = given.device.or(claim.device);
            claim.user = given.user.or(claim.user);
            claim.token = given.token.or(claim.token);
            if platform.is_some() {
                claim.platform = given.platform;
            }
            let since = if positions.is_empty() { Since::Cursor } else { read_positions(positions)? };
            return Ok(Step::Connect(claim, since));
        }
        Body::Join { rooms } => Request::Join(session::names("rooms", rooms)?),
        Body::Leave { rooms } => Request::Leave(session::names("rooms", rooms)?),
        Body::Ack { ids } => Request::Ack(session::names("ids", ids)?),
        Body::Refresh { token } => Request::Refresh(token.to_string()),
        Body::Presence { room, limit, cursor, notify } => {
            presence::read(room.as_deref(), *limit, cursor.as_deref(), *notify)?
        }
        Body::Publish { room, event, data, ttl, echo } => {
            let (room, event, data, ttl, echo) = (*room, *event, *data, *ttl, *echo);
            Request::Publish(Box::new(Publication { room, event, data, ttl, echo }.read()?))
        }
        Body::Device { set } => {
            let read = |set: &RawValue| serde_json::from_str(set.get());
            let set = set.map(read).transpose();
            Request::Device(set.map_err(|_| Refusal::field("set", "must be an object"))?)
        }
        Body::Rpc { method, data } => Request::Rpc(Calling { method: *method, data: *data }.read()?),
        Body::Ping => return Ok(Step::Answer(Ok("{}".to_owned()))),
    };
    Ok(Step::Request(request))
}

fn read_positions(positions: &[(std::borrow::Cow<'_, str>, u32, u64)]) -> Result<Since, Refusal> {
    let read = |(topic, epoch, offset): &(std::borrow::Cow<'_, str>, u32, u64)| {
        let topic = Topic::parse(topic).map_err(|why| match why {
            Some(why) => Refusal::field("positions", why),
            None => Refusal::field("positions", "has a key that is none of all, user:…, device:…, room:…"),
        })?;
        Ok((topic, Position { epoch: Epoch(*epoch), offset: *offset }))
    };
    positions.iter().map(read).collect::<Result<_, _>>().map(Since::Positions)
}

async fn carry_out(local: &Rc<Local>, connection: &Rc<Connection>, task: Task) {
    let connects = matches!(task.step, Step::Connect(..) | Step::Refuse(_));
    let answer = match task.step {
        Step::Connect(claim, since) => match connect(local, connection, *claim, since).await {
            Some(answer) => answer,
            None => return,
        },
        Step::Refuse(why) => Err(why),
        Step::Answer(answer) => answer.map(Answer::Fields),
        Step::Request(request) => {
            let session = connection.sessions.borrow().first().cloned();
            match session {
                Some(session) => {
                    session::perform(local, connection, &session, request).await.map(Answer::Fields)
                }
                None => Err(Refusal::new(ErrorCode::FORBIDDEN, "the first command must be `connect`")),
            }
        }
    };
    let text = match &answer {
        Ok(Answer::Fields(fields)) => answer_text(task.id.as_deref(), &Ok(fields.as_str())),
        Ok(Answer::Opened(opened)) => {
            let (interval, _) = super::heartbeat(local, connection);
            let extra = format!(r#""ping_ms":{},"#, interval.as_millis());
            answer_text(task.id.as_deref(), &Ok(&opened.to_json(&extra)))
        }
        Err(why) => answer_text(task.id.as_deref(), &Err(why)),
    };
    if !connection.is_open() {
        return;
    }
    local.send(connection, &text);
    match answer {
        Ok(Answer::Opened(opened)) => {
            tokio::task::spawn_local(session::catch_up(Rc::clone(local), Rc::clone(connection), *opened));
        }
        // Who may not connect has nothing else to do here; who is connected already has.
        Err(why) if connects && why.code != ErrorCode::CONFLICT => {
            local.close(connection, why.disconnect());
        }
        Ok(Answer::Fields(_)) | Err(_) => {}
    }
    local.settle();
}

enum Answer {
    Fields(String),
    Opened(Box<session::Opened>),
}

/// `None` when the connection ended meanwhile.
async fn connect(
    local: &Rc<Local>,
    connection: &Rc<Connection>,
    claim: Claim,
    since: Since,
) -> Option<Result<Answer, Refusal>> {
    let namespace = match &*connection.dialect.borrow() {
        Dialect::Json(state) if state.is_connecting() => state.namespace.clone(),
        Dialect::Json(_) | Dialect::EngineIo(_) | Dialect::Sse | Dialect::Echo | Dialect::Compat(_) => {
            return Some(Err(Refusal::new(ErrorCode::CONFLICT, "this connection is connected already")));
        }
    };
    match session::open(local, connection, &namespace, claim, Vec::new(), &since).await {
        Ok(opened) => {
            if let Dialect::Json(state) = &mut *connection.dialect.borrow_mut() {
                state.claim = None;
            }
            connection.platform.set(Some(opened.identity.device.platform));
            Some(Ok(Answer::Opened(Box::new(opened))))
        }
        Err(Some(why)) => Some(Err(why)),
        Err(None) => None,
    }
}

fn reply(local: &Local, connection: &Connection, id: Option<Id<'_>>, answer: &Result<String, Refusal>) {
    let text = answer_text(id.map(Id::as_json), &answer.as_deref());
    local.send(connection, &text);
}

/// `{"id":1,"ok":{…}}` or `{"id":1,"error":{…}}`; the id is JSON already.
fn answer_text(id: Option<&str>, answer: &Result<&str, &Refusal>) -> String {
    let id = id.map_or(String::new(), |id| format!(r#""id":{id},"#));
    match answer {
        Ok(fields) => format!(r#"{{{id}"ok":{fields}}}"#),
        Err(why) => format!(r#"{{{id}"error":{}}}"#, why.to_json()),
    }
}

/// `{"goaway":…}`, then the close frame.
pub(super) fn goodbye(local: &Local, connection: &Connection, why: Disconnect) {
    if why.code >= 3000 {
        local.send(connection, &format!(r#"{{"goaway":{}}}"#, goaway(local, why)));
    }
    local.send_close(connection, why);
}
