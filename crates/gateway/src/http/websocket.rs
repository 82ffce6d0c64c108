//! `GET /v1/namespaces/{namespace}/connect`: a plain WebSocket for the JSON protocol.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::{HeaderMap, HeaderValue, header};
use tidings_model::{ErrorCode, NamespaceName};

use super::problem;
use super::upgrade::{Handshake, NoHandshake, offers};
use crate::Front;
use crate::command::{Command, Query};
use crate::dialect::Dialect;
use crate::session::{self, Refusal};

/// The subprotocol that a client may ask for.
const SUBPROTOCOL: &str = "tidings.v1";

pub(super) async fn endpoint(
    State(front): State<Arc<Front>>,
    Path(namespace): Path<String>,
    mut request: Request,
) -> Response {
    let headers = request.headers().clone();
    let judged = judge(&front, &namespace, &request);
    let (namespace, claim) = match judged {
        Ok(judged) => judged,
        Err(why) => return problem(&headers, &why),
    };
    let handshake = match Handshake::read(&mut request, &front.settings) {
        Ok(handshake) => handshake,
        Err(why) => return no_handshake(&headers, why),
    };
    let protocol = offers(&headers, SUBPROTOCOL).then_some(SUBPROTOCOL);
    handshake.accept(protocol, move |socket| async move {
        if let Some(socket) = socket {
            let dialect = Box::new(Dialect::json(namespace, claim));
            let command = Command::Plain { socket, dialect };
            let _ = front.least_loaded().open(command).await;
        }
    })
}

/// A plain WebSocket whose messages come back.
pub(super) async fn echo(State(front): State<Arc<Front>>, mut request: Request) -> Response {
    let headers = request.headers().clone();
    let handshake = match Handshake::read(&mut request, &front.settings) {
        Ok(handshake) => handshake,
        Err(why) => return no_handshake(&headers, why),
    };
    handshake.accept(None, move |socket| async move {
        if let Some(socket) = socket {
            let command = Command::Plain { socket, dialect: Box::new(Dialect::Echo) };
            let _ = front.least_loaded().open(command).await;
        }
    })
}

/// Says what is wrong with a handshake.
pub(super) fn no_handshake(headers: &HeaderMap, why: NoHandshake) -> Response {
    match why {
        NoHandshake::Version => {
            let code = ErrorCode { status: 426, ..ErrorCode::INVALID_REQUEST };
            let why = Refusal { code, ..Refusal::field("Sec-WebSocket-Version", "must be 13") };
            let mut response = problem(headers, &why);
            response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            response
        }
        NoHandshake::Key => {
            problem(headers, &Refusal::field("Sec-WebSocket-Key", "must be 16 bytes in base64"))
        }
        NoHandshake::Body => {
            let why = "a WebSocket handshake has no body";
            problem(headers, &Refusal::new(ErrorCode::INVALID_REQUEST, why))
        }
        NoHandshake::NotAsked => {
            let why = "this path is for WebSocket handshakes: GET with `Upgrade: websocket` over HTTP/1.1";
            problem(headers, &Refusal::new(ErrorCode::INVALID_REQUEST, why))
        }
    }
}

fn judge(
    front: &Front,
    namespace: &str,
    request: &Request,
) -> Result<(NamespaceName, tidings_node::connect::Claim), Refusal> {
    let found = front.node.namespace(namespace);
    let found = found
        .ok_or_else(|| Refusal::new(ErrorCode::NOT_FOUND, format!("there is no namespace `{namespace}`")))?;
    let query = Query::parse(request.uri().query().unwrap_or_default())?;
    let bearer = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = bearer.and_then(|value| value.strip_prefix("Bearer "));
    let claim = session::claim(
        query.device.as_deref(),
        query.user.as_deref(),
        query.platform.as_deref(),
        query.token.as_deref().or(bearer),
    )?;
    Ok((found.name.clone(), claim))
}
