//! push (koa): six calls by POST, JSON or a form, whose answers wait for receipts.
//!
//! Its backends may keep what was not received themselves, and send it again when its user logs in. What comes that way waits for
//! nobody here, or it would come twice; whether everything else does is set (`ttl`). `msgId` is the caller's name for a message and may be used again; it
//! is shown to clients and is not the id of the message.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use futures_util::future::try_join_all;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use tidings_model::{
    DeviceId, Durability, ErrorCode, EventName, NameError, NamespaceName, Priority, Push, RoomName, Target,
    UserId, limit,
};
use tidings_node::Namespace;
use tidings_node::keys::Scope;
use tidings_node::members::{Moved, Whom};
use tidings_node::publish::Accepted;
use tidings_wire::compat::Aside;
use tidings_wire::compat::push_koa::{CHANGE_ROOM, CHANGE_ROOM_ID, device_id};
use tidings_wire::nesting;

use self::said::Said;
use super::around::{around, route};
use super::door::{Caller, Door};
use crate::request_id::Patience;
use crate::{ApiState, Problem, extract};

mod said;

/// What is set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespace that it pushes to.
    pub namespace: NamespaceName,
    /// Whether it takes calls without a key.
    pub open: bool,
    /// How long an answer waits for receipts.
    pub ack_wait: Duration,
    /// How long a message waits for who is away; not at all, where that is zero.
    pub ttl: Duration,
}

/// Most devices whose receipts an answer looks at.
const DEVICES_MAX: usize = 10_000;

/// Most messages in one `pushOffLineMsg`.
const OFFLINE_MAX: usize = 1_000;

/// A call.
#[derive(Clone, Copy, Debug)]
enum Call {
    ToUser,
    ToUsers,
    ToRooms,
    ToAll,
    Offline,
    ChangeRoom,
}

/// Its paths.
const CALLS: [(&str, Call); 6] = [
    ("/pushMsgToSingleDevice", Call::ToUser),
    ("/pushBatchUniMsg", Call::ToUsers),
    ("/pushMsgToRoom", Call::ToRooms),
    ("/pushMsgToAll", Call::ToAll),
    ("/pushOffLineMsg", Call::Offline),
    ("/changeRoom", Call::ChangeRoom),
];

/// Its paths.
pub fn router(state: ApiState, settings: Settings) -> Router {
    let door = Door { state: state.clone(), namespace: settings.namespace, open: settings.open };
    let pusher = Arc::new(Pusher { door, ack_wait: settings.ack_wait, ttl: settings.ttl });
    let mut router = Router::new();
    for (path, call) in CALLS {
        let pusher = Arc::clone(&pusher);
        let answer = move |request: Request| async move { pusher.answer(call, request).await };
        router = route(router, path, post(answer));
    }
    around(router, &state)
}

/// Why nothing was pushed.
enum Failed {
    /// Something that is needed was not said.
    Incomplete,
    /// What was said is not what it must be.
    Wrong(String),
    /// Something else.
    Problem(Problem),
}

impl<T: Into<Problem>> From<T> for Failed {
    fn from(why: T) -> Self {
        Self::Problem(why.into())
    }
}

fn wrong(field: &str, why: impl fmt::Display) -> Failed {
    Failed::Wrong(format!("{field} {why}"))
}

/// A message as it is asked for, for anybody.
struct Draft {
    msg_id: String,
    ack: bool,
    data: String,
}

/// What answers.
struct Pusher {
    door: Door,
    ack_wait: Duration,
    ttl: Duration,
}

impl Pusher {
    async fn answer(&self, call: Call, request: Request) -> Response {
        let (status, body) = match self.call(call, request).await {
            // In the order in which it always was.
            Ok(body) => (StatusCode::OK, format!(r#"{{"code":0,"msg":"推送成功","body":{body}}}"#)),
            Err(Failed::Incomplete) => (StatusCode::OK, failed("参数不完整,推送失败")),
            Err(Failed::Wrong(why)) => (StatusCode::OK, failed(&why)),
            Err(Failed::Problem(why)) => {
                let status = StatusCode::from_u16(why.code().status);
                (
                    status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
                    json!({"message": why.detail()}).to_string(),
                )
            }
        };
        let json = HeaderValue::from_static("application/json; charset=utf-8");
        (status, [(header::CONTENT_TYPE, json)], body).into_response()
    }

    async fn call(&self, call: Call, request: Request) -> Result<Value, Failed> {
        let (caller, headers) = (Caller::of(&request), request.headers().clone());
        let patience = request.extensions().get::<Patience>().cloned().unwrap_or_default();
        let scope = if matches!(call, Call::ChangeRoom) { Scope::Manage } else { Scope::Push };
        let holder = self.door.enter(&caller, scope).await?;
        let node = &self.door.state.node;
        if let Some(holder) = &holder
            && scope == Scope::Push
        {
            holder
                .may_push(node.now())
                .map_err(|wait| Problem::too_often(format!("this key has pushed too often; {wait}"), wait))?;
        }
        let said = Said::read(&headers, &extract::body(request, extract::BODY_MAX).await?)?;
        let namespace = extract::namespace(node, self.door.namespace.as_str())?;
        let everybody = |to: Vec<Target>| -> Result<(Vec<Push>, bool), Failed> {
            let message = self.message(&said)?;
            Ok((to.into_iter().map(|to| self.push(to, &message)).collect(), message.ack))
        };
        let (pushes, ack) = match call {
            Call::ToUser => {
                let user = said.name("useraccount", UserId::new)?;
                everybody(vec![Target { users: vec![user], ..Target::default() }])?
            }
            Call::ToUsers => {
                let users: Vec<UserId> = said.names("useraccounts", UserId::new)?;
                let some = users.chunks(limit::TARGETS_MAX);
                everybody(some.map(|users| Target { users: users.to_vec(), ..Target::default() }).collect())?
            }
            Call::ToRooms => {
                let rooms: Vec<RoomName> = said.names("tags", RoomName::new)?;
                if rooms.len() > limit::TARGETS_MAX {
                    // In two pushes, who is in two of them would get it twice.
                    let why =
                        format!("has {} rooms, at most {} are allowed", rooms.len(), limit::TARGETS_MAX);
                    return Err(wrong("tags", why));
                }
                everybody(vec![Target { rooms, ..Target::default() }])?
            }
            Call::ToAll => everybody(vec![Target { all: true, ..Target::default() }])?,
            Call::Offline => return self.offline(&namespace, &said, &patience).await,
            Call::ChangeRoom => return self.change_room(&namespace, &said).await,
        };
        let accepted = self.publish(pushes).await?;
        if !ack {
            return Ok(Value::Bool(true));
        }
        let received = self.received(&namespace, &accepted, &patience).await?;
        let users: BTreeSet<&String> = received.iter().flatten().collect();
        Ok(json!(users))
    }

    /// A user's messages that waited at the backend. Answers which were received.
    async fn offline(
        &self,
        namespace: &Namespace,
        said: &Said,
        patience: &Patience,
    ) -> Result<Value, Failed> {
        let user = said.name("useraccount", UserId::new)?;
        let messages = said.offline("msglist")?;
        if messages.len() > OFFLINE_MAX {
            let why = format!("has {} messages, at most {OFFLINE_MAX} are allowed", messages.len());
            return Err(wrong("msglist", why));
        }
        let to = Target { users: vec![user], ..Target::default() };
        let pushes = messages.iter().map(|(msg_id, text)| {
            let message = Draft { msg_id: msg_id.clone(), ack: true, data: json_string(text) };
            Push { ttl: Duration::ZERO, keep: false, ..self.push(to.clone(), &message) }
        });
        let accepted = self.publish(pushes.collect()).await?;
        let received = self.received(namespace, &accepted, patience).await?;
        let ids = messages.iter().zip(received).filter(|(_, users)| !users.is_empty());
        Ok(ids.map(|((msg_id, _), _)| msg_id.clone()).collect())
    }

    /// Moves users, and tells those who are here.
    async fn change_room(&self, namespace: &Arc<Namespace>, said: &Said) -> Result<Value, Failed> {
        let node = &self.door.state.node;
        let users: Vec<UserId> = said.names("useraccounts", UserId::new)?;
        let joins: Vec<RoomName> = said.names_if_any("joins", RoomName::new)?;
        let leaves: Vec<RoomName> = said.names_if_any("leaves", RoomName::new)?;
        let whom = Whom { users: users.clone(), ..Whom::default() };
        for room in &joins {
            let Moved { full, .. } = node.add_members(namespace, room, &whom).await?;
            if let Some(device) = full.first() {
                let why = format!("has more rooms than the device {device} may be in");
                return Err(wrong("joins", why));
            }
        }
        for room in &leaves {
            node.remove_members(namespace, room, &whom).await?;
        }
        let csv = |rooms: &[RoomName]| rooms.iter().map(RoomName::as_str).collect::<Vec<_>>().join(",");
        let data = json!({"joins": csv(&joins), "leaves": csv(&leaves)}).to_string();
        let device = |user: &UserId| DeviceId::new(&device_id(user.as_str()));
        let devices: Vec<DeviceId> =
            users.iter().map(device).collect::<Result<_, _>>().map_err(|why| wrong("useraccounts", why))?;
        let message = Draft { msg_id: CHANGE_ROOM_ID.to_owned(), ack: false, data };
        let told = devices.chunks(limit::TARGETS_MAX).map(|devices| {
            let to = Target { devices: devices.to_vec(), ..Target::default() };
            Push { event: event(CHANGE_ROOM), ttl: Duration::ZERO, keep: false, ..self.push(to, &message) }
        });
        self.publish(told.collect()).await?;
        Ok(Value::Bool(true))
    }

    fn message(&self, said: &Said) -> Result<Draft, Failed> {
        let (msg_id, data) = (said.text("msgId")?, said.json("message")?);
        if !nesting::is_within(&data, limit::DATA_DEPTH_MAX) {
            return Err(wrong("message", format!("is nested deeper than {} levels", limit::DATA_DEPTH_MAX)));
        }
        Ok(Draft { msg_id, ack: said.ack(), data })
    }

    /// A push. Of one that is not to be acknowledged a client cannot say that it has it: if it waited, it would come with
    /// every login.
    fn push(&self, to: Target, message: &Draft) -> Push {
        let Draft { msg_id, ack, data } = message;
        let ttl = if *ack { self.ttl } else { Duration::ZERO };
        let aside = Aside { msg_id: Some(msg_id.into()), ack: Some(*ack), ..Aside::default() };
        Push {
            to,
            except: Default::default(),
            event: event("push"),
            data: Bytes::copy_from_slice(data.as_bytes()),
            id: None,
            fingerprint: [0; 16],
            ttl,
            priority: Priority::Normal,
            durability: Durability::Durable,
            keep: ttl > Duration::ZERO,
            collapse_key: None,
            deliver_at: None,
            escalate_after: None,
            offline: Bytes::new(),
            from: None,
            aside: Bytes::from(aside.to_json()),
        }
    }

    async fn publish(&self, pushes: Vec<Push>) -> Result<Vec<Accepted>, Failed> {
        let accepted = self.door.state.node.publish_batch(&self.door.namespace, pushes).await;
        accepted.into_iter().map(|one| one.map_err(Failed::from)).collect()
    }

    /// Waits until everybody who is meant and here has received these messages, or the time is over. Answers who has, for each.
    async fn received(
        &self,
        namespace: &Namespace,
        accepted: &[Accepted],
        patience: &Patience,
    ) -> Result<Vec<BTreeSet<String>>, Failed> {
        patience.wait(self.ack_wait);
        let (node, ready) = (&self.door.state.node, &self.door.state.ready);
        let wait = |one| node.await_acks(namespace, one, false, self.ack_wait, ready.draining(), DEVICES_MAX);
        let awaited = try_join_all(accepted.iter().map(|one| wait(&one.message))).await?;
        let users = |awaited: tidings_node::ack::Awaited| {
            let acked = awaited.devices.into_iter().filter(|(_, acked)| *acked);
            acked.filter_map(|(device, _)| device.user.map(|user| user.to_string())).collect()
        };
        Ok(awaited.into_iter().map(users).collect())
    }
}

fn event(name: &str) -> EventName {
    EventName::new(name).unwrap_or_else(|_| unreachable!("{name} is the name of an event"))
}

fn failed(why: &str) -> String {
    format!(r#"{{"code":-1,"msg":{}}}"#, json_string(why))
}

fn json_string(text: &str) -> String {
    Value::from(text).to_string()
}

/// Something that cannot be read at all.
fn unreadable(why: impl fmt::Display) -> Failed {
    Failed::Problem(Problem::new(ErrorCode::INVALID_REQUEST, format!("the body cannot be read: {why}")))
}

/// Makes a name of a text.
type Named<T> = fn(&str) -> Result<T, NameError>;
