//! The paths of the older systems' clients.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{any, get};
use http::{StatusCode, header};
use tidings_model::{ClientAddress, ErrorCode, NamespaceName};
use tidings_node::keys::{Access, Denied, Scope};

use super::upgrade::Handshake;
use super::websocket::no_handshake;
use super::{engineio, entrance, problem, query};
use crate::Front;
use crate::command::{Application, Command};
use crate::compat::{GoRedis, Gopusher, LightPush, PushKoa};
use crate::dialect::Dialect;
use crate::dialect::compat::{self, go_redis, gopusher, monitor};
use crate::session::Refusal;

mod message_push;
mod script;

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
        .merge(script::below(path))
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
    // They answered what browsers ask before calls on every path.
    let serve =
        serve.options(|| async { (StatusCode::NO_CONTENT, [(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*")]) });
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
        let token = told(request, "token");
        compat::State::Gopusher(gopusher::State::new(Arc::clone(&settings), token.as_deref()))
    })
}

pub(crate) fn go_redis(front: Arc<Front>, settings: GoRedis) -> Router {
    let settings = Arc::new(settings);
    let board = Arc::new(monitor::Board::new(settings.namespace.clone()));
    let (looks, of) = (Arc::clone(&settings), settings.namespace.clone());
    let notify = get(move |State(front): State<Arc<Front>>, request: Request| {
        let (settings, board) = (Arc::clone(&looks), Arc::clone(&board));
        let key = told(&request, "key");
        let from = request.extensions().get::<ClientAddress>().copied().unwrap_or(ClientAddress::LOCAL);
        async move {
            match may_look(&front, &settings, key, from).await {
                Ok(()) => upgrade(front, request, compat::State::Monitor(board)),
                Err(why) => problem(request.headers(), &why),
            }
        }
    });
    let notify = Router::new()
        .route("/notify", notify)
        .route_layer(from_fn_with_state((Arc::clone(&front), Some(of.clone())), entrance::enter))
        .with_state(Arc::clone(&front));
    let clients = plain(front, "/ws", of, move |request| {
        let token = told(request, "token").map(String::into_boxed_str);
        let user = query::find(request.uri().query().unwrap_or_default(), &["user"]);
        let user = user.filter(|user| !user.is_empty()).map(|user| user.into_owned().into_boxed_str());
        compat::State::GoRedis(go_redis::State::new(Arc::clone(&settings), user, token))
    });
    clients.merge(notify)
}

/// A secret of a request: from its query, where a page of a browser can put one, or as a bearer token.
fn told(request: &Request, name: &str) -> Option<String> {
    let query = request.uri().query().unwrap_or_default();
    let found = query::find(query, &[name]).filter(|text| !text.is_empty()).map(|text| text.into_owned());
    found.or_else(|| {
        let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
    })
}

/// Whether somebody may see how many are on which channel: with a key of the namespace that may read, where one is needed.
async fn may_look(
    front: &Front,
    settings: &GoRedis,
    key: Option<String>,
    from: ClientAddress,
) -> Result<(), Refusal> {
    if settings.open {
        return Ok(());
    }
    let why = "send a key that may read: ?key=<key> or Authorization: Bearer <key>";
    let key = key.ok_or_else(|| Refusal::new(ErrorCode::UNAUTHORIZED, why))?;
    let holder = front.node.access(&key, from).await.map_err(|why| match why {
        Denied::Unknown => Refusal::new(ErrorCode::UNAUTHORIZED, "the key is not valid"),
        Denied::TooOften => {
            let why = "too many keys that are not valid came from this address; retry later";
            Refusal::new(ErrorCode::RATE_LIMITED, why)
        }
    })?;
    match holder.access {
        Access::Admin => Ok(()),
        Access::Namespace(name, scopes) if name == settings.namespace && scopes.has(Scope::Read) => Ok(()),
        Access::Namespace(..) => {
            Err(Refusal::new(ErrorCode::FORBIDDEN, "the key may not read in this namespace"))
        }
    }
}
