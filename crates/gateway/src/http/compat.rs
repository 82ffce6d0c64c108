//! The paths of the older systems' clients.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{any, get};
use http::header;
use tidings_model::NamespaceName;

use super::upgrade::Handshake;
use super::websocket::no_handshake;
use super::{engineio, entrance, query};
use crate::Front;
use crate::command::{Application, Command};
use crate::compat::{GoRedis, Gopusher, LightPush, PushKoa};
use crate::dialect::Dialect;
use crate::dialect::compat::{self, go_redis, gopusher};

mod message_push;

pub(crate) use message_push::message_push;

/// Socket.IO on a path, which ends with a slash, and on the same without it.
fn socket_io(front: Arc<Front>, path: &str, application: Application, of: Option<NamespaceName>) -> Router {
    let only = of.clone();
    let serve = any(move |State(front): State<Arc<Front>>, request: Request| {
        engineio::serve(front, request, application, only.clone())
    });
    Router::new()
        .route(path, serve.clone())
        .route(path.trim_end_matches('/'), serve)
        .route_layer(from_fn_with_state((Arc::clone(&front), of), entrance::enter))
        .with_state(front)
}

pub(crate) fn light_push(front: Arc<Front>, settings: &LightPush) -> Router {
    socket_io(front, &settings.socket_path, Application::LightPush, None)
}

pub(crate) fn push_koa(front: Arc<Front>, settings: &PushKoa) -> Router {
    socket_io(front, "/socket.io/", Application::PushKoa, Some(settings.namespace.clone()))
}

/// A plain WebSocket on a path, for one namespace.
fn plain(
    front: Arc<Front>,
    path: &str,
    of: NamespaceName,
    state: impl Fn(&Request) -> compat::State + Clone + Send + Sync + 'static,
) -> Router {
    let serve = get(move |State(front): State<Arc<Front>>, request: Request| {
        let state = state(&request);
        async move { upgrade(front, request, state) }
    });
    Router::new()
        .route(path, serve)
        .route_layer(from_fn_with_state((Arc::clone(&front), Some(of)), entrance::enter))
        .with_state(front)
}

/// Makes a WebSocket of a request.
pub(super) fn upgrade(front: Arc<Front>, mut request: Request, state: compat::State) -> Response {
    let headers = request.headers().clone();
    let handshake = match Handshake::read(&mut request, &front.settings) {
        Ok(handshake) => handshake,
        Err(why) => return no_handshake(&headers, why),
    };
    handshake.accept(None, move |socket| async move {
        if let Some(socket) = socket {
            let dialect = Box::new(Dialect::Compat(Box::new(state)));
            let _ = front.least_loaded().open(Command::Plain { socket, dialect }).await;
        }
    })
}

pub(crate) fn gopusher(front: Arc<Front>, settings: Gopusher) -> Router {
    let settings = Arc::new(settings);
    plain(front, "/ws", settings.namespace.clone(), move |request| {
        let token = token(request);
        compat::State::Gopusher(gopusher::State::new(Arc::clone(&settings), token.as_deref()))
    })
}

pub(crate) fn go_redis(front: Arc<Front>, settings: GoRedis) -> Router {
    let settings = Arc::new(settings);
    plain(front, "/ws", settings.namespace.clone(), move |_| {
        compat::State::GoRedis(go_redis::State::new(Arc::clone(&settings)))
    })
}

/// The token in a handshake: in the query, or as a bearer.
fn token(request: &Request) -> Option<String> {
    let query = query::find(request.uri().query().unwrap_or_default(), &["token"]);
    let query = query.filter(|token| !token.is_empty()).map(Cow::into_owned);
    query.or_else(|| {
        let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
    })
}
