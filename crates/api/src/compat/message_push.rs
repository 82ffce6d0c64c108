//! message-push: `POST /message-push/v1/push`, Basic auth with a key of the namespace.
//!
//! Reading order: `body` (what is pushed, and what is said of what is wrong with it), `secret` (who may), this file.

mod body;
mod secret;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, StatusCode};
use tidings_model::{ErrorCode, NamespaceName};
use tidings_node::keys::{Holder, Scope};

use super::around::{Caller, around, route};
use super::plain::{self, quoted};
use crate::extract::{self, BODY_MAX};
use crate::rest::messages::may_push;
use crate::{ApiState, Problem};

/// Where it was behind its gateway, and where its service was.
const PATH: &str = "/message-push/v1/push";
const PATH_ALONE: &str = "/v1/push";

/// What is set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespace that it pushes to.
    pub namespace: NamespaceName,
    /// Whether the secret that anybody can compute from a name opens it.
    pub derived_secrets: bool,
    /// Whether it has a listener of its own, where its path is also there without a prefix.
    pub alone: bool,
}

#[derive(Clone)]
struct Calls {
    state: ApiState,
    settings: Arc<Settings>,
}

/// Its paths.
pub fn router(state: ApiState, settings: Settings) -> Router {
    let alone = settings.alone;
    let mut router = route(Router::new(), PATH, post(push));
    if alone {
        router = route(router, PATH_ALONE, post(push));
    }
    let calls = Calls { state: state.clone(), settings: Arc::new(settings) };
    around(router.method_not_allowed_fallback(no_such_method).with_state(calls), &state)
}

/// An answer that is none: its HTTP status, the code in its body, and words.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refused(StatusCode, u16, String);

impl Refused {
    /// The status is the code as well.
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self(status, status.as_u16(), message.into())
    }

    fn key() -> Self {
        Self::new(StatusCode::FORBIDDEN, "invalid Authorization")
    }
}

impl From<Problem> for Refused {
    fn from(why: Problem) -> Self {
        match StatusCode::from_u16(why.code().status) {
            Ok(status) if status.is_client_error() => Self::new(status, why.detail()),
            Ok(_) | Err(_) => Self(StatusCode::INTERNAL_SERVER_ERROR, 0, "Internal Server Error".to_owned()),
        }
    }
}

fn json(status: StatusCode, body: String) -> Response {
    let headers = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (status, headers, body).into_response()
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Self(status, code, message) = self;
        json(status, format!(r#"{{"code":{code},"msg":{}}}"#, quoted(&message)))
    }
}

async fn no_such_method(method: Method) -> Refused {
    let method: String = method.as_str().chars().take(20).collect();
    Refused(StatusCode::BAD_REQUEST, 405, format!("Request method '{method}' not supported"))
}

async fn push(State(calls): State<Calls>, request: Request) -> Result<Response, Refused> {
    let by = calls.let_in(&Caller::of(&request)).await?;
    let bytes = extract::body(request, BODY_MAX).await?;
    let body::Pushed { to, data } = body::read(&bytes)?;
    may_push(by.as_ref(), calls.state.node.now())?;
    let push = plain::push(to, Bytes::from(data), Bytes::new());
    let namespace = &calls.settings.namespace;
    calls.state.node.publish(namespace, push).await.map_err(Problem::from)?;
    Ok(json(StatusCode::OK, r#"{"code":1,"msg":"OK","data":null}"#.to_owned()))
}

impl Calls {
    /// Whoever shows a pair of an `appKey` and an `appSecret` that opens the namespace; `None` where anybody can compute it.
    async fn let_in(&self, caller: &Caller) -> Result<Option<Holder>, Refused> {
        let pair = caller.authorization.as_ref().and_then(|value| secret::pair(value.to_str().ok()?));
        let (key, shown) = pair.ok_or_else(Refused::key)?;
        if self.settings.derived_secrets && secret::is_derived(&key, &shown) {
            return Ok(None);
        }
        match caller.needs(&self.state, &self.settings.namespace, Scope::Push).await {
            Ok(holder) => Ok(Some(holder)),
            Err(why) if why.code() == ErrorCode::RATE_LIMITED => Err(why.into()),
            Err(_) => Err(Refused::key()),
        }
    }
}
