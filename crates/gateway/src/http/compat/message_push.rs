//! The handshake of message-push: its token is judged before there is a WebSocket, and refusals are said in HTTP as its gateway said
//! them. What it took without a token (`x-mock-uid`) is not looked at.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::any;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tidings_model::{ClientAddress, UserId};
use tidings_node::connect::{Claim, ConnectError};
use tidings_node::passport::{Asked, PassportError};
use tidings_wire::compat::message_push::shown;

use super::super::upgrade::{Handshake, NoHandshake};
use super::super::websocket::no_handshake;
use super::super::{entrance, query};
use crate::Front;
use crate::command::Command;
use crate::compat::MessagePush;
use crate::dialect::Dialect;
use crate::dialect::compat;
use crate::dialect::compat::message_push as dialect;
use crate::session::{Refusal, json_string};

/// Where clients came in through the gateway, and where its service was.
const PATH: &str = "/message-push/v1/message";
const PATH_ALONE: &str = "/v1/message";

pub(crate) fn message_push(front: Arc<Front>, settings: MessagePush) -> Router {
    let (of, alone) = (settings.namespace.clone(), settings.alone);
    let settings = Arc::new(settings);
    let serve = any(move |State(front): State<Arc<Front>>, request: Request| {
        let settings = Arc::clone(&settings);
        async move { serve(front, settings, request).await }
    });
    let mut router = Router::new().route(PATH, serve.clone());
    if alone {
        router = router.route(PATH_ALONE, serve);
    }
    router.route_layer(from_fn_with_state((Arc::clone(&front), Some(of)), entrance::enter)).with_state(front)
}

async fn serve(front: Arc<Front>, settings: Arc<MessagePush>, mut request: Request) -> Response {
    let headers = request.headers().clone();
    let handshake = match Handshake::read(&mut request, &front.settings) {
        Ok(handshake) => handshake,
        Err(NoHandshake::NotAsked) => return refused(Refused::NO_SOCKET),
        Err(why) => return no_handshake(&headers, why),
    };
    let from = request.extensions().get::<ClientAddress>().copied().unwrap_or(ClientAddress::LOCAL);
    let shown = pair(&headers, request.uri().query().unwrap_or_default());
    let claim = match judge(&front, &settings, shown, from).await {
        Ok(claim) => claim,
        Err(why) => return refused(why),
    };
    handshake.accept(None, move |socket| async move {
        if let Some(socket) = socket {
            let state = compat::State::MessagePush(dialect::State::new(settings, claim));
            let dialect = Box::new(Dialect::Compat(Box::new(state)));
            let _ = front.least_loaded().open(Command::Plain { socket, dialect }).await;
        }
    })
}

/// Why there is no connection: a status, which is also the code in its body, and words.
#[derive(Debug, PartialEq, Eq)]
struct Refused(StatusCode, Cow<'static, str>);

impl Refused {
    const NO_SOCKET: Self =
        Self(StatusCode::BAD_REQUEST, Cow::Borrowed("错误的请求协议,要求协议为:[ws, wss],实际为:http"));
    const NO_PAIR: Self = Self(
        StatusCode::BAD_REQUEST,
        Cow::Borrowed("错误的请求参数,要求为:Authorization Bearer, auth-app-id,实际为:null"),
    );

    fn malformed(authorization: &str) -> Self {
        let said: String = authorization.chars().filter(|char| !char.is_control()).take(64).collect();
        let text = format!("token格式错误,应该为[platform:accessToken]格式,token:{said}");
        Self(StatusCode::BAD_REQUEST, text.into())
    }

    fn nobody(why: &str) -> Self {
        Self(StatusCode::UNAUTHORIZED, format!("获取PassportSession信息不存在,{why}").into())
    }

    fn failed(why: &str) -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, format!("获取PassportSession信息请求失败,{why}").into())
    }
}

fn refused(Refused(status, message): Refused) -> Response {
    tracing::info!(status = status.as_u16(), "a client was refused");
    let body = format!(r#"{{"code":{},"msg":{}}}"#, status.as_u16(), json_string(&message));
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json;charset=UTF-8");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// What a client shows, and which application it says that it is of: both from headers, or else both from the query.
fn pair(headers: &HeaderMap, text: &str) -> Option<(String, String)> {
    let header = |name: &str| {
        let text = String::from_utf8_lossy(headers.get(name)?.as_bytes()).into_owned();
        Some(text).filter(|text| !text.is_empty())
    };
    let query = |name| query::find(text, &[name]).map(Cow::into_owned).filter(|text| !text.is_empty());
    let both = |one: Option<String>, other: Option<String>| Some((one?, other?));
    both(header("authorization"), header("auth-app-id"))
        .or_else(|| both(query("Authorization"), query("auth-app-id")))
}

/// Finds out who a client is.
async fn judge(
    front: &Front,
    settings: &MessagePush,
    pair: Option<(String, String)>,
    from: ClientAddress,
) -> Result<Claim, Refused> {
    let (authorization, app) = pair.ok_or(Refused::NO_PAIR)?;
    let token = shown(&authorization).ok_or_else(|| Refused::malformed(&authorization))?;
    if let Some(passport) = &settings.passport {
        let asked = Asked { access_token: token.token, platform: token.platform, app_id: &app };
        return match front.node.ask_passport(passport, asked).await {
            Ok(permit) => Ok(Claim { vouched: Some(Box::new(permit)), ..Claim::default() }),
            Err(PassportError::Nobody) => Err(Refused::nobody("请检查token")),
            Err(
                why @ (PassportError::Busy
                | PassportError::Resting
                | PassportError::Failed(_)
                | PassportError::NotUnderstood),
            ) => {
                tracing::debug!(error = %why, "the passport service did not say who a client is");
                Err(Refused::failed("请稍后重试"))
            }
        };
    }
    let found = front.node.namespace(settings.namespace.as_str());
    let namespace = found.ok_or_else(|| Refused::failed("there is no such namespace"))?;
    let claim = Claim { token: Some(token.token.to_owned()), from, ..Claim::default() };
    match front.node.permit(&namespace, claim).await {
        Ok((_, Some(permit))) => {
            Ok(Claim { vouched: Some(Box::new(permit.as_ref().clone())), ..Claim::default() })
        }
        // An open namespace believes what it is told.
        Ok((_, None)) => match UserId::new(token.token) {
            Ok(user) => Ok(Claim { user: Some(user), ..Claim::default() }),
            Err(_) => Err(Refused::malformed(&authorization)),
        },
        Err(why) => Err(unknown(why)),
    }
}

/// Why the namespace does not know a client.
fn unknown(why: ConnectError) -> Refused {
    let why = Refusal::from(why);
    if why.code.status >= 500 { Refused::failed(&why.message) } else { Refused::nobody(&why.message) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_come_from_headers_or_both_from_the_query() {
        for (headers, query, expected) in [
            (&[("authorization", "Bearer pc:1"), ("auth-app-id", "a")][..], "", Some(("Bearer pc:1", "a"))),
            (&[], "Authorization=Bearer%20pc:1&auth-app-id=a", Some(("Bearer pc:1", "a"))),
            (&[("auth-app-id", "b")], "Authorization=pc:1&auth-app-id=a", Some(("pc:1", "a"))),
            (
                &[("authorization", "pc:2"), ("auth-app-id", "b")],
                "Authorization=pc:1&auth-app-id=a",
                Some(("pc:2", "b")),
            ),
            (&[("authorization", "pc:2")], "auth-app-id=a", None),
            (&[("authorization", ""), ("auth-app-id", "b")], "", None),
            (&[("x-mock-uid", "ann")], "auth-app-id=a", None),
            (&[], "x-mock-uid=ann", None),
            (&[], "", None),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.insert(*name, HeaderValue::from_static(value));
            }
            let found = pair(&map, query);
            let found = found.as_ref().map(|(one, other)| (one.as_str(), other.as_str()));
            assert_eq!(found, expected, "{headers:?} {query}");
        }
    }
}
