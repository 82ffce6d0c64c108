//! A message becomes a request of REST, its router answers, and the answer becomes a message. It knows no call: what
//! goes where is in the table of twins, and what is refused is refused by REST.

use std::collections::BTreeMap;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::BodyExt as _;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tidings_model::{ClientAddress, ErrorCode};
use tower::ServiceExt as _;

use super::json;
use super::twins::{Carries, Twin};
use crate::Problem;
use crate::request_id::Patience;

/// Who calls.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) authorization: Option<HeaderValue>,
    pub(super) from: ClientAddress,
    pub(super) patience: Patience,
    pub(super) request_id: String,
}

impl Default for Caller {
    /// Nobody.
    fn default() -> Self {
        Self {
            authorization: None,
            from: ClientAddress::LOCAL,
            patience: Patience::default(),
            request_id: String::new(),
        }
    }
}

/// The fields of a message, each as JSON.
type Fields<'a> = BTreeMap<&'a str, &'a RawValue>;

/// What the twin is asked.
///
/// # Errors
/// When what is to be JSON is not, or a name is missing that the path needs.
pub(super) fn request(twin: &Twin, message: &impl Serialize) -> Result<(Method, Uri, String), Problem> {
    let text = json::of(message)?;
    let fields = serde_json::from_str(&text).map_err(|_| unreadable())?;
    let (uri, body) = address(twin, fields)?;
    let method = Method::from_bytes(twin.method.to_ascii_uppercase().as_bytes()).map_err(|_| unreadable())?;
    Ok((method, uri, body))
}

/// Has REST answer a request.
pub(super) async fn answer<A: DeserializeOwned>(
    rest: &Router,
    method: Method,
    uri: Uri,
    body: String,
    caller: &Caller,
) -> Result<A, Problem> {
    let mut request = Request::new(Body::from(body));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    let response = respond(rest, request, caller).await?;
    let body = response.into_body().collect().await.map_err(|_| unreadable())?.to_bytes();
    // What has nothing to say says nothing.
    let body: &[u8] = if body.is_empty() { b"{}" } else { &body };
    serde_json::from_slice(body).map_err(|why| {
        tracing::error!(error = %why, "an answer of REST does not fit into its message");
        unreadable()
    })
}

/// Has REST respond to a request.
pub(super) async fn respond(
    rest: &Router,
    mut request: Request<Body>,
    caller: &Caller,
) -> Result<Response, Problem> {
    if let Some(key) = &caller.authorization {
        request.headers_mut().insert(AUTHORIZATION, key.clone());
    }
    request.extensions_mut().insert(caller.from);
    request.extensions_mut().insert(caller.patience.clone());
    let Ok(mut response) = rest.clone().oneshot(request).await;
    match response.extensions_mut().remove::<Problem>() {
        Some(problem) => Err(problem),
        None => Ok(response),
    }
}

pub(super) fn unreadable() -> Problem {
    Problem::new(ErrorCode::INTERNAL, "the answer cannot be written")
}

/// Where a call goes, and with what.
fn address(twin: &Twin, mut fields: Fields<'_>) -> Result<(Uri, String), Problem> {
    let mut target = String::new();
    for (index, part) in twin.path.split(['{', '}']).enumerate() {
        if index % 2 == 0 {
            target.push_str(part);
            continue;
        }
        let field = if part == "ns" { "namespace" } else { part };
        let value = fields.remove(field).map(plain).unwrap_or_default();
        if value.is_empty() {
            return Err(Problem::field(ErrorCode::INVALID_REQUEST, field, "is required"));
        }
        target.extend(utf8_percent_encode(&value, NON_ALPHANUMERIC));
    }
    fields.retain(|_, value| value.get() != "null");
    let body = match twin.carries {
        Carries::Query => {
            let mut query = form_urlencoded::Serializer::new(String::new());
            for (name, value) in &fields {
                query.append_pair(name, &plain(value));
            }
            let query = query.finish();
            if !query.is_empty() {
                target.push('?');
                target.push_str(&query);
            }
            String::new()
        }
        Carries::Body => serde_json::to_string(&fields).map_err(|_| unreadable())?,
        Carries::Only(field) => match fields.remove(field) {
            Some(body) => body.get().to_owned(),
            None => return Err(Problem::field(ErrorCode::INVALID_REQUEST, field, "is required")),
        },
    };
    Ok((uri(target)?, body))
}

/// A path, with its query. Only its length can be wrong.
pub(super) fn uri(target: String) -> Result<Uri, Problem> {
    let long = "the names in the request are longer than names may be";
    Uri::try_from(target).map_err(|_| Problem::new(ErrorCode::INVALID_REQUEST, long))
}

/// A text, number or flag without quotes.
fn plain(value: &RawValue) -> String {
    serde_json::from_str::<String>(value.get()).unwrap_or_else(|_| value.get().to_owned())
}
