//! The business system is asked whether a client may connect, and told that one has gone, as light-push asked and told: a GET with
//! what the client said, and a POST. Each namespace has its own turns, so that a callback that hangs costs nobody else.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};
use tidings_model::{RoomName, UserId};
use tidings_outbound::hook::{ANSWER_BYTES_MAX, Failure, HookUrl, Host, Plain};
use tokio::sync::Semaphore;

use super::{Kept, room_name};
use crate::metrics::HookQuestion;
use crate::{Namespace, Node};

/// Most calls of one namespace at once.
const AT_ONCE_MAX: usize = 64;

/// Most calls that wait for their turn. Whoever would ask then is refused; what would be told is not.
const WAITING_MAX: usize = 2_048;

/// How long a client waits for the business system, its turn included.
const ASKING: Duration = Duration::from_secs(3);

/// How long it may take until the business system is told something, its turn included. Nobody waits for it.
const TELLING: Duration = Duration::from_secs(30);

/// Most rooms that a client is put into by an answer.
const ROOMS_MAX: usize = 1_000;

/// A client of light-push, as it came.
#[derive(Clone, Debug)]
pub struct Caller {
    /// What it said in its handshake: the query, as it was written. Of several `uuid`s the first one is its own.
    pub query: String,
    /// Its cookies.
    pub cookie: Option<String>,
    /// Whose it says that it is, or its `uuid`.
    pub userid: String,
    /// What it says that it is, or `web`.
    pub platform: String,
}

/// What the business system says of a client that it lets in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vouched {
    /// Whose it is, if not whose it says.
    pub user: Option<UserId>,
    /// Where it is to be.
    pub rooms: Vec<RoomName>,
}

/// Who may call now.
#[derive(Debug)]
pub(super) struct Turns {
    turns: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
}

impl Default for Turns {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(AT_ONCE_MAX)), waiting: Arc::default() }
    }
}

/// One of those that wait for their turn, or have it.
struct Turn {
    turns: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
}

impl Turns {
    /// A place among those that wait, if there is one.
    fn wait(&self) -> Option<Turn> {
        let turn = Turn { turns: Arc::clone(&self.turns), waiting: Arc::clone(&self.waiting) };
        (self.waiting.fetch_add(1, Ordering::Relaxed) < WAITING_MAX + AT_ONCE_MAX).then_some(turn)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is answered to the question.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Said {
    userid: Option<Value>,
    rooms: Option<Vec<Value>>,
}

/// Reads an answer.
///
/// # Errors
/// What the client is told.
fn read(status: u16, body: &[u8]) -> Result<Vouched, String> {
    if status != 200 {
        return Err(format!("handshake fail statusCode: {status}"));
    }
    if body.trim_ascii().is_empty() {
        return Ok(Vouched::default());
    }
    let said: Said = serde_json::from_slice(body)
        .map_err(|_| "handshake fail: the answer is not understood".to_owned())?;
    let user = said.userid.as_ref().and_then(text).filter(|user| !user.is_empty());
    let user = user.map(|user| UserId::new(&user).map_err(|_| "userid invalid".to_owned())).transpose()?;
    let rooms = said.rooms.unwrap_or_default();
    if rooms.len() > ROOMS_MAX {
        return Err("room invalid".to_owned());
    }
    let room = |room: &Value| text(room).and_then(|room| room_name(&room)).ok_or("room invalid".to_owned());
    Ok(Vouched { user, rooms: rooms.iter().map(room).collect::<Result<_, _>>()? })
}

/// What a string or a number says.
fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Why there was no answer, in the words that clients of light-push know.
fn in_words(failure: &Failure, url: &HookUrl) -> String {
    let host = match url.host() {
        Host::Name(name) => name.clone(),
        Host::Address(address) => address.to_string(),
    };
    let at = format!("{host}:{}", url.port());
    match failure {
        Failure::Unresolved(_) => format!("getaddrinfo ENOTFOUND {host}"),
        Failure::Unreachable(why) if why.contains("refused") => format!("connect ECONNREFUSED {at}"),
        Failure::Unreachable(_) => format!("connect EHOSTUNREACH {at}"),
        Failure::Timeout => format!("connect ETIMEDOUT {at}"),
        Failure::Forbidden(_) => format!("connect EACCES {at}"),
        Failure::Tls(_) => format!("connect EPROTO {at}"),
        Failure::Refused(status) => format!("handshake fail statusCode: {status}"),
        Failure::Broken(_) | Failure::TooLarge => "socket hang up".to_owned(),
    }
}

impl Caller {
    /// What it said, with what it left out. Who it is is said once, as it is taken here: whoever says it twice could be one to us and
    /// another one to the business system.
    fn said(&self) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
        let (mut said, mut uuid): (Vec<(Cow<'_, str>, Cow<'_, str>)>, _) = (Vec::new(), false);
        for (name, value) in form_urlencoded::parse(self.query.as_bytes()) {
            match &*name {
                "userid" | "platform" => {}
                "uuid" if std::mem::replace(&mut uuid, true) => {}
                _ => said.push((name, value)),
            }
        }
        said.push(("userid".into(), self.userid.as_str().into()));
        said.push(("platform".into(), self.platform.as_str().into()));
        said
    }

    fn headers(&self, namespace: &Namespace, kept: &Kept) -> Vec<(&'static str, String)> {
        let mut headers = vec![("namespace", format!("/{}", namespace.name))];
        headers.extend(self.cookie.clone().map(|cookie| ("cookie", cookie)));
        let auth = kept.callback_auth.clone().filter(|auth| !auth.is_empty());
        headers.extend(auth.map(|auth| ("authorization", auth)));
        headers
    }
}

/// Whether a callback can be at this URL.
#[must_use]
pub fn is_callback(url: &str) -> bool {
    HookUrl::parse(url).is_ok()
}

/// Where a callback is, if there is one.
fn url(text: Option<&String>) -> Option<Result<HookUrl, String>> {
    let text = text.filter(|text| !text.is_empty())?;
    Some(HookUrl::parse(text).map_err(|why| why.to_string()))
}

impl Node {
    /// Asks the business system whether a client may connect. `None` when nobody is to be asked, so that the namespace's own rules
    /// decide.
    ///
    /// # Errors
    /// What the client is told that may not.
    pub async fn light_push_asks(
        self: &Arc<Self>,
        namespace: &Namespace,
        caller: &Caller,
    ) -> Result<Option<Vouched>, String> {
        let kept = namespace.light_push();
        let Some(url) = url(kept.connect_callback.as_ref()) else { return Ok(None) };
        let url = url.map_err(|_| "handshake fail: connect_callback invalid".to_owned())?;
        let turn = namespace.light_push.asks.wait();
        let turn = turn.ok_or_else(|| "handshake fail: too many at once".to_owned())?;
        let said = caller.said();
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(said).finish();
        let headers = caller.headers(namespace, &kept);
        let (node, to, private) = (Arc::clone(self), url.clone(), self.may_call_private(&kept));
        // On the node's own runtime: whoever waits may go away meanwhile, and keeps no turn.
        let asking = self.runtime.spawn(async move {
            let plain = Plain { query: &query, allow_private: private, headers, ..Plain::new(&to) };
            node.call_back(turn, ASKING, "connect_callback", &plain).await
        });
        let answer = asking.await.unwrap_or(Err(Failure::Timeout));
        match answer {
            Ok((status, body)) => read(status, &body).map(Some),
            Err(failure) => {
                tracing::warn!(namespace = %namespace.name, %url, error = %failure, "a connect_callback does not answer: the client is refused");
                Err(in_words(&failure, &url))
            }
        }
    }

    /// Tells the business system that a client has gone, if it wants to know. Nobody waits for it.
    pub fn light_push_tells(self: &Arc<Self>, namespace: &Arc<Namespace>, caller: Caller) {
        let kept = namespace.light_push();
        let Some(Ok(url)) = url(kept.disconnect_callback.as_ref()) else { return };
        let Some(turn) = namespace.light_push.tells.wait() else {
            tracing::warn!(namespace = %namespace.name, %url, "too much waits for the callbacks: a disconnect is not told");
            return;
        };
        let (node, name, private) = (Arc::clone(self), namespace.name.clone(), self.may_call_private(&kept));
        let headers = caller.headers(namespace, &kept);
        let body = Bytes::from(serde_json::json!({"query": parsed(caller.said())}).to_string());
        self.runtime.spawn(async move {
            let method = tidings_outbound::hook::Method::POST;
            let plain = Plain { method, allow_private: private, headers, body, ..Plain::new(&url) };
            if let Err(failure) = node.call_back(turn, TELLING, "disconnect_callback", &plain).await {
                tracing::warn!(namespace = %name, %url, error = %failure, "a disconnect_callback does not answer");
            }
        });
    }

    /// Makes a call when it has its turn, if that is over within this time.
    async fn call_back(
        &self,
        turn: Turn,
        within: Duration,
        question: &'static str,
        plain: &Plain<'_>,
    ) -> Result<(u16, Bytes), Failure> {
        let called = tokio::time::timeout(within, async {
            // Nobody ends the turns.
            let _turn = turn.turns.acquire().await.map_err(|_| Failure::Timeout)?;
            self.outbound.plain(plain, ANSWER_BYTES_MAX).await
        });
        let answer = called.await.unwrap_or(Err(Failure::Timeout));
        let outcome = match &answer {
            Ok(_) => "answered",
            Err(failure) => failure.word(),
        };
        self.metrics.hook_questions.get_or_create(&HookQuestion { question, outcome }).inc();
        answer
    }
}

/// A query as its server parsed it (Node's `querystring`): what is said several times is a list.
fn parsed(said: Vec<(Cow<'_, str>, Cow<'_, str>)>) -> Map<String, Value> {
    let mut query = Map::new();
    for (name, value) in said {
        let value = Value::from(value.into_owned());
        match query.get_mut(&*name) {
            None => drop(query.insert(name.into_owned(), value)),
            Some(Value::Array(list)) => list.push(value),
            Some(one) => *one = Value::Array(vec![one.take(), value]),
        }
    }
    query
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let vouched = |user: Option<&str>, rooms: &[&str]| {
            let rooms = rooms.iter().map(|room| RoomName::new(room).unwrap()).collect();
            Ok(Vouched { user: user.map(|user| UserId::new(user).unwrap()), rooms })
        };
        let refused = |words: &str| Err(words.to_owned());
        for (status, body, expected) in [
            (200, "", vouched(None, &[])),
            (200, " \n", vouched(None, &[])),
            (200, "{}", vouched(None, &[])),
            (200, r#"{"userid":"","rooms":null}"#, vouched(None, &[])),
            (
                200,
                r#"{"userid":"ann","rooms":["r1","room_r2"],"more":1}"#,
                vouched(Some("ann"), &["r1", "r2"]),
            ),
            (200, r#"{"userid":7,"rooms":[8]}"#, vouched(Some("7"), &["8"])),
            (200, "OK", refused("handshake fail: the answer is not understood")),
            (200, r#"{"rooms":[""]}"#, refused("room invalid")),
            (200, r#"{"userid":"a\n"}"#, refused("userid invalid")),
            (204, "", refused("handshake fail statusCode: 204")),
            (403, "no", refused("handshake fail statusCode: 403")),
            (302, "", refused("handshake fail statusCode: 302")),
        ] {
            assert_eq!(read(status, body.as_bytes()), expected, "{status} {body}");
        }
    }

    #[test]
    fn why_there_was_no_answer_is_said_as_clients_know_it() {
        let url = HookUrl::parse("http://127.0.0.1:1/in").unwrap();
        for (failure, expected) in [
            (
                Failure::Unreachable("Connection refused (os error 111)".to_owned()),
                "connect ECONNREFUSED 127.0.0.1:1",
            ),
            (Failure::Timeout, "connect ETIMEDOUT 127.0.0.1:1"),
            (Failure::Unresolved("x".to_owned()), "getaddrinfo ENOTFOUND 127.0.0.1"),
            (Failure::TooLarge, "socket hang up"),
        ] {
            assert_eq!(in_words(&failure, &url), expected);
        }
    }

    #[test]
    fn who_a_client_is_is_said_once() {
        for (query, expected) in [
            ("uuid=d1&EIO=3", "uuid=d1&EIO=3&userid=u1&platform=web"),
            ("userid=u1&platform=web&uuid=d%201", "uuid=d+1&userid=u1&platform=web"),
            ("userid=&x=1&x=2", "x=1&x=2&userid=u1&platform=web"),
            ("uuid=d1&userid=u1&userid=root&uuid=d2&platform=ios", "uuid=d1&userid=u1&platform=web"),
        ] {
            let caller = Caller {
                query: query.to_owned(),
                cookie: None,
                userid: "u1".to_owned(),
                platform: "web".to_owned(),
            };
            let said = form_urlencoded::Serializer::new(String::new()).extend_pairs(caller.said()).finish();
            assert_eq!(said, expected);
        }
    }

    #[test]
    fn what_is_said_several_times_is_a_list() {
        let caller = |query: &str| Caller {
            query: query.to_owned(),
            cookie: None,
            userid: "u".to_owned(),
            platform: "web".to_owned(),
        };
        for (query, expected) in [
            ("uuid=d&a=1", r#"{"a":"1","platform":"web","userid":"u","uuid":"d"}"#),
            ("uuid=d&a=1&a=2&a=3", r#"{"a":["1","2","3"],"platform":"web","userid":"u","uuid":"d"}"#),
            ("uuid=d&uuid=e&userid=x&userid=y", r#"{"platform":"web","userid":"u","uuid":"d"}"#),
        ] {
            assert_eq!(Value::Object(parsed(caller(query).said())).to_string(), expected);
        }
    }
}
