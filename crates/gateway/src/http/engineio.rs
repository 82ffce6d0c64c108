//! `/socket.io/`: handshakes, polls and posts of Engine.IO, and WebSockets that speak it.
//!
//! Errors are what the clients of this family know: `{"code":1,"message":"Session ID unknown"}`.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tidings_model::NamespaceName;
use tidings_wire::engineio::{Version, jsonp};
use tokio::sync::oneshot;

use super::entrance::take_place;
use super::query::{find, is_script};
use super::upgrade::Handshake;
use crate::Front;
use crate::command::{Application, Command, MayUpgrade, PollError, PollReply, Query, ShardHandle, Verbatim};
use crate::door::origins;
use crate::refusal::json_string;

/// A refusal in the words of Engine.IO.
struct Refused(StatusCode, u8, Cow<'static, str>);

const TRANSPORT_UNKNOWN: Refused = Refused(StatusCode::BAD_REQUEST, 0, Cow::Borrowed("Transport unknown"));
const SESSION_UNKNOWN: Refused = Refused(StatusCode::BAD_REQUEST, 1, Cow::Borrowed("Session ID unknown"));
const BAD_METHOD: Refused = Refused(StatusCode::BAD_REQUEST, 2, Cow::Borrowed("Bad handshake method"));
const BAD_REQUEST: Refused = Refused(StatusCode::BAD_REQUEST, 3, Cow::Borrowed("Bad request"));
const STOPPING: Refused = Refused(StatusCode::SERVICE_UNAVAILABLE, 4, Cow::Borrowed("Forbidden"));
const VERSION_UNKNOWN: Refused =
    Refused(StatusCode::BAD_REQUEST, 5, Cow::Borrowed("Unsupported protocol version"));
const TOO_SLOW: Refused = Refused(StatusCode::REQUEST_TIMEOUT, 3, Cow::Borrowed("Request timeout"));
const TOO_LARGE: Refused = Refused(StatusCode::PAYLOAD_TOO_LARGE, 3, Cow::Borrowed("Payload too large"));

pub(super) async fn endpoint(State(front): State<Arc<Front>>, request: Request) -> Response {
    serve(front, request, Application::Push, None).await
}

/// The same for another application on top, and perhaps for one namespace only.
pub(super) async fn serve(
    front: Arc<Front>,
    request: Request,
    application: Application,
    only: Option<NamespaceName>,
) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let answered = answer(Arc::clone(&front), request, application, only).await;
    let mut response = match answered {
        Ok(response) => response,
        Err(Refused(status, code, message)) => {
            // light-push said which of its nodes does not know a session.
            let host = match (application, code) {
                (Application::LightPush, 1) => format!(" [hostname:{}]", front.node.name()),
                _ => String::new(),
            };
            let message = json_string(&format!("{message}{host}"));
            let body = format!(r#"{{"code":{code},"message":{message}}}"#);
            let mut response = Response::new(Body::from(body));
            *response.status_mut() = status;
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
            if status == StatusCode::SERVICE_UNAVAILABLE {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
            }
            response
        }
    };
    allow_origin(response.headers_mut(), origin);
    response
}

/// Lets the page that asked read an answer, and when to come again.
pub(super) fn allow_origin(headers: &mut HeaderMap, origin: Option<HeaderValue>) {
    if headers.contains_key(header::RETRY_AFTER) {
        let exposed = HeaderValue::from_static("retry-after");
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
    match origin {
        Some(origin) => {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
        }
        None => {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        }
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

async fn answer(
    front: Arc<Front>,
    request: Request,
    application: Application,
    only: Option<NamespaceName>,
) -> Result<Response, Refused> {
    if request.method() == Method::OPTIONS {
        return Ok(preflight());
    }
    let query = request.uri().query().unwrap_or_default().to_owned();
    let sid = find(&query, &["sid"]).map(|sid| sid.into_owned());
    // The older systems spoke version 3 and nothing else, and never asked.
    let is_old = is_old(application);
    let version = match find(&query, &["EIO"]).as_deref() {
        Some("4") => Version::V4,
        Some("3") if is_old || front.settings.engineio3 => Version::V3,
        None if is_old => Version::V3,
        _ => return Err(VERSION_UNKNOWN),
    };
    match (find(&query, &["transport"]).as_deref(), sid) {
        (Some("websocket"), None) => {
            let claim = said(&request, &query, application, only)?;
            open_socket(front, request, version, application, claim)
        }
        (Some("websocket"), Some(sid)) => upgrade(front, request, version, sid).await,
        (Some("polling"), None) => {
            let claim = said(&request, &query, application, only)?;
            open_polling(&front, request, version, application, (claim, &query)).await
        }
        (Some("polling"), Some(sid)) => match *request.method() {
            Method::GET => poll(&front, sid, jsonp_index(&query)).await,
            Method::POST => post(&front, request, sid, jsonp_index(&query).is_some()).await,
            _ => Err(BAD_REQUEST),
        },
        _ => Err(TRANSPORT_UNKNOWN),
    }
}

fn preflight() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("Content-Type, Authorization"),
    );
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    response
}

fn is_old(application: Application) -> bool {
    matches!(application, Application::LightPush | Application::PushKoa)
}

/// What a handshake says.
fn said(
    request: &Request,
    query: &str,
    application: Application,
    only: Option<NamespaceName>,
) -> Result<Box<Query>, Refused> {
    let headers = request.headers();
    let page = origins::page(headers, is_script(query));
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let verbatim = || {
        let port = text(header::HOST).and_then(|host| host.rsplit_once(':')?.1.parse().ok());
        let cookie = text(header::COOKIE).map(Box::from);
        Box::new(Verbatim { query: query.into(), cookie, port: port.unwrap_or(80) })
    };
    let verbatim = (application == Application::LightPush).then(verbatim);
    let read = match is_old(application) {
        true => Query::parse_lossy(query),
        false => {
            Query::parse(query).map_err(|why| Refused(BAD_REQUEST.0, BAD_REQUEST.1, why.message.into()))?
        }
    };
    Ok(Box::new(Query { only, page, verbatim, ..read }))
}

fn open_socket(
    front: Arc<Front>,
    mut request: Request,
    version: Version,
    application: Application,
    claim: Box<Query>,
) -> Result<Response, Refused> {
    let handshake = Handshake::read(&mut request, &front.settings).map_err(|_| BAD_REQUEST)?;
    Ok(handshake.accept(None, move |socket| async move {
        if let Some(socket) = socket {
            let command = Command::EngineIo { socket, version, claim, application };
            let _ = front.least_loaded().open(command).await;
        }
    }))
}

/// A WebSocket for a session that polls.
async fn upgrade(
    front: Arc<Front>,
    mut request: Request,
    version: Version,
    sid: String,
) -> Result<Response, Refused> {
    let shard = front.shard_of(&sid).ok_or(SESSION_UNKNOWN)?.clone();
    let handshake = Handshake::read(&mut request, &front.settings).map_err(|_| BAD_REQUEST)?;
    let (reply, may) = oneshot::channel();
    tell(&shard, Command::MayUpgrade { sid: sid.clone(), reply }).await?;
    let taken = match may.await.map_err(|_| STOPPING)? {
        MayUpgrade::Yes => false,
        // A socket that is accepted and closed: the clients and suites of this family know no other answer.
        MayUpgrade::Taken => true,
        MayUpgrade::UnknownSession => return Err(SESSION_UNKNOWN),
    };
    Ok(handshake.accept(None, move |socket| async move {
        let command = match socket {
            Some(socket) if taken => Command::Surplus { socket, version },
            None if taken => return,
            socket => Command::Upgrade { sid, socket },
        };
        let _ = shard.commands.send(command).await;
    }))
}

async fn open_polling(
    front: &Front,
    mut request: Request,
    version: Version,
    application: Application,
    (claim, query): (Box<Query>, &str),
) -> Result<Response, Refused> {
    if *request.method() != Method::GET {
        return Err(BAD_METHOD);
    }
    let (reply, opened) = oneshot::channel();
    let place = take_place(request.extensions_mut());
    let command = Command::OpenPolling { version, claim, application, place, reply };
    front.least_loaded().open(command).await.map_err(|_| STOPPING)?;
    let (sid, mut response) = body(opened.await.map_err(|_| STOPPING)?, jsonp_index(query))?;
    if version == Version::V3
        && let Ok(cookie) = HeaderValue::from_str(&format!("io={sid}; Path=/; HttpOnly; SameSite=Strict"))
    {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// The number of the callback that a client without cross-origin requests wants its polls wrapped in.
fn jsonp_index(query: &str) -> Option<u32> {
    find(query, &["j"])?.parse().ok()
}

async fn poll(front: &Front, sid: String, jsonp: Option<u32>) -> Result<Response, Refused> {
    let shard = front.shard_of(&sid).ok_or(SESSION_UNKNOWN)?;
    let (reply, answered) = oneshot::channel();
    tell(shard, Command::Poll { sid: sid.clone(), reply }).await?;
    // The client may go away while it waits; this future is dropped then.
    let mut gone = Gone { shard, sid: Some(sid) };
    let answered = answered.await;
    gone.sid = None;
    // Without an answer the shard has dropped the poll: it was one too many.
    Ok(body(answered.map_err(|_| BAD_REQUEST)?, jsonp)?.1)
}

/// Tells the shard when the client of a poll goes away.
struct Gone<'a> {
    shard: &'a ShardHandle,
    sid: Option<String>,
}

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        if let Some(sid) = self.sid.take() {
            // When there is no room, the session's next heartbeat finds out.
            let _ = self.shard.commands.try_send(Command::PollGone { sid });
        }
    }
}

async fn post(front: &Front, request: Request, sid: String, jsonp: bool) -> Result<Response, Refused> {
    let shard = front.shard_of(&sid).ok_or(SESSION_UNKNOWN)?;
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let binary = content_type.is_some_and(|value| value.starts_with("application/octet-stream"));
    let (reply, may) = oneshot::channel();
    // The client may go away while it sends; this future is dropped then.
    let mut posting = Posting { shard, sid: Some(sid.clone()) };
    tell(shard, Command::MayPost { sid: sid.clone(), reply }).await?;
    may.await.map_err(|_| STOPPING)?.map_err(refused)?;
    let body = axum::body::to_bytes(request.into_body(), front.settings.max_message);
    let body = tokio::time::timeout(front.settings.body_timeout, body)
        .await
        .map_err(|_| TOO_SLOW)?
        .map_err(|_| TOO_LARGE)?;
    let body = if jsonp { jsonp::unwrap(&body).map_err(|_| BAD_REQUEST)?.into() } else { body };
    let (reply, taken) = oneshot::channel();
    tell(shard, Command::Post { sid, body, binary, reply }).await?;
    posting.sid = None;
    match taken.await.map_err(|_| STOPPING)? {
        Ok(()) => {
            let mut response = Response::new(Body::from("ok"));
            // Not text/plain: old browsers would guess.
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
            Ok(response)
        }
        Err(why) => Err(refused(why)),
    }
}

fn refused(why: PollError) -> Refused {
    match why {
        PollError::UnknownSession => SESSION_UNKNOWN,
        PollError::BadRequest => BAD_REQUEST,
    }
}

/// Tells the shard when a POST that it waits for does not come.
struct Posting<'a> {
    shard: &'a ShardHandle,
    sid: Option<String>,
}

impl Drop for Posting<'_> {
    fn drop(&mut self) {
        if let Some(sid) = self.sid.take() {
            // When there is no room, the session takes no POST any more and ends with its next one.
            let _ = self.shard.commands.try_send(Command::PostGone { sid });
        }
    }
}

async fn tell(shard: &ShardHandle, command: Command) -> Result<(), Refused> {
    shard.commands.send(command).await.map_err(|_| STOPPING)
}

fn body(reply: PollReply, jsonp: Option<u32>) -> Result<(String, Response), Refused> {
    match reply {
        PollReply::Body { sid, content_type, body } => {
            let (content_type, body) = match (jsonp, std::str::from_utf8(&body)) {
                (Some(index), Ok(text)) => (jsonp::CONTENT_TYPE, jsonp::wrap(index, text).into_bytes()),
                (Some(_), Err(_)) | (None, _) => (content_type, body),
            };
            let mut response = Response::new(Body::from(body));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
            Ok((sid, response))
        }
        PollReply::Error(why) => Err(refused(why)),
    }
}
