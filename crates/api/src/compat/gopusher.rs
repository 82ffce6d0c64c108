//! gopusher: `/push`, `/system`, `/isOnline`, `/group`, and the same as gRPC `proto.Rpc`.
//!
//! Reading order: `calls` (what they do), this file (their JSON, which had the habits of a gateway before gRPC: what is zero is left
//! out, and large numbers are text), `crate::grpc::gopusher` (their messages).

pub(crate) mod calls;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use tidings_model::{ErrorCode, NamespaceName};

use self::calls::{Calls, Pushed};
use super::around::{Caller, around};
use super::plain::quoted;
use crate::extract::{BODY_MAX, body};
use crate::{ApiState, Problem, grpc};

/// What is set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespace that it pushes to.
    pub namespace: NamespaceName,
    /// Whether it takes calls without a key.
    pub open: bool,
    /// Whether it has a listener of its own, where it also answers `/`.
    pub alone: bool,
}

/// Its paths.
pub fn router(state: ApiState, settings: Settings) -> Router {
    let alone = settings.alone;
    let calls = Calls { state: state.clone(), settings: Arc::new(settings) };
    let mut router = Router::new()
        .route("/push", post(push))
        .route("/system", get(system))
        .route("/isOnline", get(is_online))
        .route("/group", get(group));
    if alone {
        router = router.route("/", get(welcome));
    }
    let router = router.method_not_allowed_fallback(no_such_method).with_state(calls.clone());
    around(router, &state).merge(grpc::gopusher::routes(calls))
}

/// A JSON object of fields that are not zero; their values are JSON.
fn answer(fields: &[(&str, Option<String>)]) -> Response {
    let fields: Vec<_> =
        fields.iter().filter_map(|(name, value)| Some(format!(r#""{name}":{}"#, value.as_ref()?))).collect();
    json(StatusCode::OK, format!("{{{}}}", fields.join(",")))
}

fn json(status: StatusCode, body: String) -> Response {
    let headers = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (status, headers, body).into_response()
}

fn text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| quoted(text))
}

fn number(number: i64) -> Option<String> {
    (number != 0).then(|| format!(r#""{number}""#))
}

/// `{"error":…,"code":…,"message":…}`, the code being that of gRPC.
fn refused(why: &Problem) -> Response {
    let (detail, code) = (quoted(why.detail()), why.code());
    let status = StatusCode::from_u16(code.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = format!(r#"{{"error":{detail},"code":{},"message":{detail}}}"#, code.grpc as i32);
    json(status, body)
}

async fn welcome() -> Response {
    json(StatusCode::OK, r#"{"msg":"welcome to socket server"}"#.to_owned())
}

async fn no_such_method() -> Response {
    refused(&Problem::new(ErrorCode::METHOD_NOT_ALLOWED, "Method Not Allowed"))
}

/// A push as it comes. What else is there is passed over, as it always was.
#[derive(Default, Deserialize)]
#[serde(default)]
struct PushBody {
    from: Option<String>,
    to: Option<Vec<String>>,
    #[serde(rename = "appID")]
    app: Option<String>,
    content: Option<String>,
}

/// Reads a push; nothing at all is one to nobody.
fn read(bytes: &[u8]) -> Result<Pushed, Problem> {
    let bytes = bytes.trim_ascii();
    let body: PushBody = match bytes.first() {
        None => PushBody::default(),
        Some(b'{') => serde_json::from_slice(bytes)
            .map_err(|why| Problem::new(ErrorCode::INVALID_REQUEST, why.to_string()))?,
        Some(_) => return Err(Problem::new(ErrorCode::INVALID_REQUEST, "the body must be a JSON object")),
    };
    Ok(Pushed {
        from: body.from.unwrap_or_default(),
        to: body.to.unwrap_or_default(),
        app: body.app.unwrap_or_default(),
        content: body.content.unwrap_or_default(),
    })
}

async fn push(State(calls): State<Calls>, request: Request) -> Response {
    let caller = Caller::of(&request);
    let pushed = async {
        let by = calls.may_push(&caller).await?;
        let push = read(&body(request, BODY_MAX).await?)?;
        calls.push(by, push).await
    };
    match pushed.await {
        Ok(()) => answer(&[("message", text(calls::OK))]),
        Err(why) => refused(&why),
    }
}

async fn system(State(calls): State<Calls>, request: Request) -> Response {
    match calls.system(&Caller::of(&request)).await {
        Ok(found) => answer(&[
            ("cpuNum", number(found.processors)),
            ("goroutineNum", number(found.tasks)),
            ("clientNum", number(found.connections)),
            ("groupNum", number(found.groups)),
        ]),
        Err(why) => refused(&why),
    }
}

async fn is_online(State(calls): State<Calls>, request: Request) -> Response {
    match calls.is_online(&Caller::of(&request), &card(&request)).await {
        Ok(word) => answer(&[("result", text(word))]),
        Err(why) => refused(&why),
    }
}

async fn group(State(calls): State<Calls>, request: Request) -> Response {
    match calls.group(&Caller::of(&request), &card(&request)).await {
        Ok(found) => answer(&[("clientNum", number(found))]),
        Err(why) => refused(&why),
    }
}

/// The group that a query names.
fn card(request: &Request) -> String {
    let query = request.uri().query().unwrap_or_default();
    let found = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "cardID");
    found.map(|(_, card)| card.into_owned()).unwrap_or_default()
}
