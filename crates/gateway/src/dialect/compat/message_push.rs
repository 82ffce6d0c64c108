//! message-push: a bearer token in the handshake, then `LOGIN` within ten seconds and `HEARTBEAT`, on a plain WebSocket. Whose the
//! token is was found out before there was a connection.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tidings_model::{Disconnect, ErrorCode, Platform};
use tidings_node::connect::Claim;
use tidings_node::ids;
use tidings_node::resume::Since;
use tidings_wire::compat::message_push::{self as wire, Login, Said};
use tidings_wire::websocket;

use super::receipts::{self, Owed};
use super::{State as Compat, farewell};
use crate::compat::MessagePush;
use crate::connection::Connection;
use crate::dialect::Dialect;
use crate::local::Local;
use crate::session::{self, Opened, Refusal, json_string};

/// The code of answers to what worked, and to what did not.
const OK: u8 = 1;
const FAILED: u8 = 0;

const LOGIN: &str = "LOGIN";
const ERROR: &str = "ERROR";
const INCOMPLETE: &str = "登录接口参数错误,请检查输入参数,必填参数项不能为空";
const TWICE: &str = "当前连接已登录,请勿多次登录";
const TIMEOUT: &str = "login timeout!";

/// Service restart (1012): clients come back after that, and log in again.
const COME_BACK: (u16, &str) = (1012, "新服务上线,服务重平衡!");
/// Policy violation.
const POLICY: u16 = 1008;

/// How far a connection has come.
#[derive(Debug)]
pub(crate) struct State {
    settings: Arc<MessagePush>,
    /// Who it is; taken by its `LOGIN`.
    claim: Option<Box<Claim>>,
    passing: bool,
    pub(super) owed: Owed,
    /// What it is told as it is sent away.
    farewell: Option<(u16, String)>,
}

impl State {
    pub(crate) fn new(settings: Arc<MessagePush>, claim: Claim) -> Self {
        let (claim, owed) = (Some(Box::new(claim)), Owed::default());
        Self { settings, claim, passing: true, owed, farewell: None }
    }

    pub(super) fn introduces_itself_within(&self) -> Option<Duration> {
        self.claim.is_some().then_some(self.settings.login_timeout)
    }

    pub(super) fn is_passing(&self) -> bool {
        self.passing
    }
}

fn state<T>(connection: &Connection, act: impl FnOnce(&mut State) -> T) -> Option<T> {
    match &mut *connection.dialect.borrow_mut() {
        Dialect::Compat(compat) => match &mut **compat {
            Compat::MessagePush(state) => Some(act(state)),
            Compat::GoRedis(_) | Compat::Gopusher(_) | Compat::Monitor(_) => None,
        },
        Dialect::Json(_) | Dialect::EngineIo(_) | Dialect::Sse | Dialect::Echo => None,
    }
}

/// `{"code":…,"msg":…}` over several lines.
fn outcome(kind: &str, code: u8, message: &str) -> String {
    wire::response(kind, &[("code", code.to_string()), ("msg", json_string(message))])
}

/// A text message came.
pub(super) fn text(local: &Rc<Local>, connection: &Rc<Connection>, text: &str) {
    receipts::ask(local, connection);
    let said = match wire::decode(text) {
        Ok(Said::Heartbeat) => {
            let now = local.node.now().0.to_string();
            return local.send(connection, &wire::response("HEARTBEAT", &[("t", now)]));
        }
        Ok(Said::LoginIncomplete) => outcome(LOGIN, FAILED, INCOMPLETE),
        Ok(Said::Login(login)) => match state(connection, |state| state.claim.clone()).flatten() {
            Some(claim) => {
                connection.busy.set(true);
                let (local, connection) = (Rc::clone(local), Rc::clone(connection));
                tokio::task::spawn_local(answer(local, connection, login, *claim));
                return;
            }
            None => outcome(LOGIN, FAILED, TWICE),
        },
        Err(why) => outcome(ERROR, FAILED, why.message()),
    };
    local.send(connection, &said);
}

/// Logs in, and says so.
async fn answer(local: Rc<Local>, connection: Rc<Connection>, login: Login, claim: Claim) {
    match enter(&local, &connection, &login, claim).await {
        Ok(opened) => {
            local.send(&connection, &outcome(LOGIN, OK, "SUCCESS"));
            let (local, connection) = (Rc::clone(&local), Rc::clone(&connection));
            tokio::task::spawn_local(async move {
                session::catch_up(Rc::clone(&local), Rc::clone(&connection), opened).await;
                receipts::ask(&local, &connection);
                local.settle();
            });
        }
        // It may say it better.
        Err(Some(why)) if why.code == ErrorCode::INVALID_REQUEST => {
            local.send(&connection, &outcome(LOGIN, FAILED, &why.message));
        }
        Err(Some(why)) => {
            let said = farewell(&why);
            state(&connection, |state| state.farewell = Some(said));
            local.send(&connection, &outcome(LOGIN, FAILED, &why.message));
            local.close(&connection, why.disconnect());
        }
        Err(None) => {}
    }
    local.settle();
    local.unbusy(&connection);
}

/// # Errors
/// `Err(None)` when the connection ended meanwhile.
async fn enter(
    local: &Local,
    connection: &Rc<Connection>,
    login: &Login,
    claim: Claim,
) -> Result<Opened, Option<Refusal>> {
    let namespace = state(connection, |state| state.settings.namespace.clone()).ok_or(None)?;
    let device = super::device("deviceId", login.device.as_deref())?;
    state(connection, |state| state.passing = device.is_none());
    let device = Some(device.unwrap_or_else(ids::passing_device_id));
    let claim = Claim { device, platform: platform(&login.platform), ..claim };
    let opened = session::open(local, connection, &namespace, claim, Vec::new(), &Since::Cursor).await?;
    state(connection, |state| state.claim = None);
    connection.platform.set(Some(opened.identity.device.platform));
    Ok(opened)
}

/// What its word means. Others were let in as well, and were in nobody's filter.
fn platform(word: &str) -> Platform {
    [("h5", Platform::Web), ("android", Platform::Android), ("ios", Platform::Ios)]
        .into_iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(word))
        .map_or(Platform::Other, |(_, platform)| platform)
}

/// Queues what the server said before it ended a connection.
pub(super) fn goodbye(local: &Local, connection: &Connection, why: Disconnect) {
    if connection.close_code.get() != 0 {
        return local.send_close(connection, why);
    }
    if why == Disconnect::NO_CONNECT {
        local.send(connection, &outcome(ERROR, FAILED, TIMEOUT));
    }
    let said = state(connection, |state| state.farewell.take()).flatten();
    let (code, reason) = match &said {
        Some((code, reason)) => (*code, reason.as_str()),
        None => last_words(why),
    };
    local.send_frame(connection, websocket::close_frame(code, reason));
}

/// The code and the words that its clients know for this, if there are any.
fn last_words(why: Disconnect) -> (u16, &'static str) {
    match why {
        Disconnect::NO_CONNECT => (POLICY, TIMEOUT),
        Disconnect::SHUTDOWN
        | Disconnect::RECONNECT
        | Disconnect::OVERLOADED
        | Disconnect::SLOW
        | Disconnect::POSITION_LOST
        | Disconnect::NO_PONG => COME_BACK,
        why if why.code < 3000 => (why.code, why.reason),
        why => (POLICY, why.reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_mean_platforms_however_they_are_written() {
        for (word, expected) in [
            ("H5", Platform::Web),
            ("h5", Platform::Web),
            ("Android", Platform::Android),
            ("iOS", Platform::Ios),
            ("web", Platform::Other),
            ("", Platform::Other),
        ] {
            assert_eq!(platform(word), expected, "{word}");
        }
    }

    #[test]
    fn who_is_to_come_back_is_told_so() {
        for (why, code) in [
            (Disconnect::SHUTDOWN, 1012),
            (Disconnect::RECONNECT, 1012),
            (Disconnect::NO_CONNECT, 1008),
            (Disconnect::OPERATOR, 1008),
            (Disconnect::INVALID_TOKEN, 1008),
            (Disconnect::EXPIRED, 1008),
            (Disconnect::TOO_LARGE, 1009),
            (Disconnect::NORMAL, 1000),
        ] {
            assert_eq!(last_words(why).0, code, "{why:?}");
        }
        assert_eq!(
            outcome(ERROR, FAILED, TIMEOUT),
            "{\n  \"cmd\" : \"RESPONSE\",\n  \"data\" : {\n    \"code\" : 0,\n    \"msg\" : \"login timeout!\"\n  },\n  \"type\" : \"ERROR\"\n}"
        );
    }
}
