//! The HTTP side of a WebSocket handshake (RFC 6455 section 4.2), and the way of the socket to its shard.

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use tidings_wire::websocket::deflate::{self, Agreement};
use tidings_wire::websocket::{self, Window};

use super::entrance::take_place;
use crate::command::Upgraded;
use crate::door::Place;
use crate::settings::Settings;
use crate::socket::Detached;
use crate::stream::Noted;

/// A handshake that may go on.
pub(super) struct Handshake {
    accept: HeaderValue,
    socket: OnUpgrade,
    deflate: Option<Agreement>,
    place: Option<Place>,
}

/// Why a request is no WebSocket handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoHandshake {
    /// It does not ask for one.
    NotAsked,
    /// It asks for another version of the protocol.
    Version,
    /// Its key is not 16 bytes in base64.
    Key,
    /// It has a body, behind which the other protocol would begin.
    Body,
}

/// Whether any of the comma-separated tokens of a header is `token`.
fn has_token(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case(token))
}

impl Handshake {
    /// Judges a request.
    ///
    /// # Errors
    /// [`NoHandshake`] says what is missing.
    pub(super) fn read(request: &mut Request, settings: &Settings) -> Result<Self, NoHandshake> {
        let headers = request.headers();
        let asked = request.method() == Method::GET
            && request.version() == Version::HTTP_11
            && has_token(headers, header::CONNECTION, "upgrade")
            && has_token(headers, header::UPGRADE, "websocket");
        if !asked {
            return Err(NoHandshake::NotAsked);
        }
        if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
            return Err(NoHandshake::Version);
        }
        let length = headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0");
        if length || headers.contains_key(header::TRANSFER_ENCODING) {
            return Err(NoHandshake::Body);
        }
        let key = headers.get(header::SEC_WEBSOCKET_KEY).and_then(|key| key.to_str().ok());
        let key = key.filter(|key| websocket::is_valid_key(key)).ok_or(NoHandshake::Key)?;
        let accept = HeaderValue::from_str(&websocket::accept_key(key)).map_err(|_| NoHandshake::Key)?;
        let offers = headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS).iter();
        let offers = offers.filter_map(|value| value.to_str().ok());
        let deflate = settings.compression.and_then(|_| deflate::negotiate(offers));
        let place = take_place(request.extensions_mut());
        Ok(Self { accept, deflate, socket: hyper::upgrade::on(request), place })
    }

    /// Answers 101 and hands the socket on once the answer is out; `None` when that did not come to pass.
    pub(super) fn accept<F>(
        self,
        protocol: Option<&'static str>,
        hand_on: impl FnOnce(Option<Upgraded>) -> F + Send + 'static,
    ) -> Response
    where
        F: Future<Output = ()> + Send,
    {
        let Self { accept, socket, deflate, place } = self;
        let window = deflate.as_ref().map(|agreed| agreed.window);
        tokio::spawn(async move {
            let upgraded = socket.await.ok().and_then(|upgraded| take_socket(upgraded, window, place));
            hand_on(upgraded).await;
        });
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        if let Some(agreed) = deflate
            && let Ok(answer) = HeaderValue::from_str(&agreed.answer)
        {
            headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, answer);
        }
        if let Some(protocol) = protocol {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
        }
        response
    }
}

/// Whether a client offers a subprotocol.
pub(super) fn offers(headers: &HeaderMap, protocol: &str) -> bool {
    let values =
        headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    // Names of protocols are compared as they are (RFC 6455 section 4.1).
    values.flat_map(|value| value.split(',')).any(|one| one.trim() == protocol)
}

fn take_socket(
    upgraded: hyper::upgrade::Upgraded,
    deflate: Option<Window>,
    place: Option<Place>,
) -> Option<Upgraded> {
    let parts = auto::upgrade::downcast::<TokioIo<Noted>>(upgraded).ok()?;
    let (socket, leftover) = Detached::new(parts.io.into_inner().into_inner(), parts.read_buf).ok()?;
    Some(Upgraded { socket, leftover, deflate, place })
}
