//! What handlers take from a request: path, query and body, with errors that are problems.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::{FromRequestParts, Path, Query, Request};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use tidings_model::{ErrorCode, Ordinal, Timestamp};
use tidings_node::{Namespace, Node};
use tidings_wire::time::parse_rfc3339;
use tokio::time::Instant;

use crate::{Problem, duration, shape};

/// What comes before the name of a namespace in a path.
const NAMESPACES: &str = "/v1/namespaces/";

/// Largest body of a call that is not a batch, in bytes.
pub(crate) const BODY_MAX: usize = 256 * 1024;

/// How much of a body that is too large is read and thrown away, in bytes: a caller that is still
/// sending would not read the answer, and only see that the connection breaks. One that is announced to be larger still is
/// refused before it comes.
const DISCARDED_MAX: usize = 24 * 1024 * 1024;

/// A body that does not arrive in time: a request that is not valid, with the status that says why.
pub(crate) const TOO_SLOW: ErrorCode = ErrorCode { status: 408, ..ErrorCode::INVALID_REQUEST };

/// By when the body of a request has to be there. Whoever takes the request from its connection puts this into it.
#[derive(Clone, Copy, Debug)]
pub struct BodyDeadline {
    at: Instant,
    /// How long that is from when the request came.
    within: Duration,
}

impl BodyDeadline {
    /// So long from now.
    #[must_use]
    pub fn new(within: Duration) -> Self {
        Self { at: Instant::now() + within, within }
    }
}

/// The parameters in a path.
pub(crate) struct InPath<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for InPath<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        if let Some(escape) = broken_escape(parts.uri.path()) {
            let detail =
                format!("the path is not valid: {} is no percent-encoded byte", shape::shown(escape));
            return Err(Problem::new(ErrorCode::INVALID_REQUEST, detail));
        }
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(value)) => Ok(Self(value)),
            Err(why) if why.status() == StatusCode::INTERNAL_SERVER_ERROR => {
                Err(Problem::new(ErrorCode::INTERNAL, "the path cannot be read"))
            }
            Err(why) => Err(Problem::new(
                ErrorCode::INVALID_REQUEST,
                format!("the path is not valid: {}", why.body_text()),
            )),
        }
    }
}

/// The first percent sign of a path that no two hexadecimal digits come behind, with what comes there.
fn broken_escape(path: &str) -> Option<&str> {
    path.match_indices('%').map(|(at, _)| &path[at..]).find_map(|rest| {
        let digits = rest.bytes().skip(1).take(2).take_while(u8::is_ascii_hexdigit).count();
        let end = rest.char_indices().map(|(at, _)| at).nth(3).unwrap_or(rest.len());
        (digits < 2).then(|| &rest[..end])
    })
}

/// The parameters in a query.
pub(crate) struct InQuery<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for InQuery<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Query::<T>::from_request_parts(parts, state).await.map(|Query(value)| Self(value)).map_err(|why| {
            let text = why.body_text();
            not_understood(&text).unwrap_or_else(|| {
                Problem::new(ErrorCode::INVALID_REQUEST, format!("the query is not valid: {text}"))
            })
        })
    }
}

/// What is wrong with a query, by name, where the words of what reads it say which name that is.
fn not_understood(text: &str) -> Option<Problem> {
    let (about, name) = ["unknown field `", "duplicate field `"].into_iter().find_map(|about| {
        let (_, rest) = text.split_once(about)?;
        Some((about, rest.split_once('`')?))
    })?;
    let (name, rest) = name;
    let message = match rest.split_once("expected ") {
        Some((_, known)) if about.starts_with("unknown") => {
            format!(
                "is not a known parameter; there are {}",
                known.replace('`', "").replace("one of ", "").replace(" or ", ", ")
            )
        }
        _ if about.starts_with("unknown") => "is not a known parameter".to_owned(),
        _ => "is there twice".to_owned(),
    };
    let name: String = name.chars().take(64).collect();
    Some(Problem::field(ErrorCode::INVALID_REQUEST, name, message))
}

/// The namespace that a path names.
pub(crate) fn namespace(node: &Node, name: &str) -> Result<Arc<Namespace>, Problem> {
    node.namespace(name).ok_or_else(|| Problem::no_namespace(name))
}

/// The name of the namespace that a path is about, if it is about one and can be read.
pub(crate) fn namespace_in(path: &str) -> Option<Cow<'_, str>> {
    let name = path.strip_prefix(NAMESPACES)?.split('/').next()?;
    percent_decode_str(name).decode_utf8().ok()
}

/// A name in a path or query.
pub(crate) fn name<T>(
    field: &str,
    text: &str,
    new: fn(&str) -> Result<T, tidings_model::NameError>,
) -> Result<T, Problem> {
    new(text).map_err(|why| {
        Problem::field(ErrorCode::INVALID_REQUEST, field, format!("{} {why}", shape::shown(text)))
    })
}

/// How many entries of a list are asked for: 1 to `max`.
pub(crate) fn limit(asked: Option<&str>, default: usize, max: usize) -> Result<usize, Problem> {
    let Some(asked) = asked else { return Ok(default) };
    asked.parse().ok().filter(|limit| (1..=max).contains(limit)).ok_or_else(|| {
        let message = format!("is {}, must be a number from 1 to {max}", shape::shown(asked));
        Problem::field(ErrorCode::INVALID_REQUEST, "limit", message)
    })
}

/// Where a list of devices goes on behind this one.
pub(crate) fn ordinal_cursor(after: Ordinal) -> String {
    URL_SAFE_NO_PAD.encode(after.0.to_be_bytes())
}

/// The device behind which a list goes on.
pub(crate) fn after_ordinal(text: &str) -> Result<Ordinal, Problem> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
    bytes.map(|bytes| Ordinal(u32::from_be_bytes(bytes))).ok_or_else(|| no_cursor(text))
}

/// Where a list goes on behind this name.
pub(crate) fn name_cursor(after: &str) -> String {
    URL_SAFE_NO_PAD.encode(after)
}

/// The name behind which a list goes on.
pub(crate) fn after_name(text: &str) -> Result<String, Problem> {
    let decoded = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    decoded.ok_or_else(|| no_cursor(text))
}

pub(crate) fn no_cursor(text: &str) -> Problem {
    let message = format!("is {}, must be the next_cursor of an answer", shape::shown(text));
    Problem::field(ErrorCode::INVALID_REQUEST, "cursor", message)
}

/// A time in a query.
pub(crate) fn time(field: &str, asked: Option<&str>) -> Result<Option<Timestamp>, Problem> {
    let Some(asked) = asked else { return Ok(None) };
    match parse_rfc3339(asked) {
        Some(ms) => Ok(Some(Timestamp(ms))),
        None => {
            let message =
                format!("is {}, must be a time like 2026-11-20T14:29:07Z (RFC 3339)", shape::shown(asked));
            Err(Problem::field(ErrorCode::INVALID_REQUEST, field, message))
        }
    }
}

/// What RFC 7396 calls its patches; everybody else calls them JSON, and so it is taken for JSON anywhere.
pub(crate) const MERGE_PATCH: &str = "application/merge-patch+json";

/// What a body is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// One JSON text.
    Json,
    /// One JSON text on each line.
    Lines,
}

/// What the body is written in, by its content type. Without one, or with the one that `curl -d` puts
/// there by itself, it is taken for JSON.
pub(crate) fn format(headers: &HeaderMap) -> Result<Format, Problem> {
    if let Some(encoding) = headers.get(CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
        let encoding = shape::shown(encoding.to_str().unwrap_or_default());
        let detail = format!("the body is encoded as {encoding}, must be sent as it is");
        return Err(Problem::new(ErrorCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(Format::Json) };
    let text = value.to_str().unwrap_or_default();
    let (media, parameters) = text.split_once(';').unwrap_or((text, ""));
    let media = media.trim().to_ascii_lowercase();
    let parameters = parameters.to_ascii_lowercase();
    let utf8 = parameters
        .split_once("charset=")
        .is_none_or(|(_, charset)| charset.trim_matches([' ', '"']) == "utf-8");
    match media.as_str() {
        "application/json" | MERGE_PATCH | "application/x-www-form-urlencoded" if utf8 => Ok(Format::Json),
        "application/x-ndjson" | "application/jsonl" if utf8 => Ok(Format::Lines),
        _ => Err(unsupported(text)),
    }
}

fn unsupported(text: &str) -> Problem {
    Problem::new(
        ErrorCode::UNSUPPORTED_MEDIA_TYPE,
        format!("the body is {}, must be application/json in UTF-8", shape::shown(text)),
    )
}

/// The body of a call that takes JSON and nothing else.
pub(crate) async fn json_body(request: Request) -> Result<Bytes, Problem> {
    match format(request.headers())? {
        Format::Json => body(request, BODY_MAX).await,
        Format::Lines => Err(unsupported("application/x-ndjson")),
    }
}

/// The body, at most `max` bytes of it, by its deadline.
pub(crate) async fn body(request: Request, max: usize) -> Result<Bytes, Problem> {
    let deadline = request.extensions().get::<BodyDeadline>().copied();
    let body = request.into_body();
    let announced = body.size_hint().lower();
    if announced > DISCARDED_MAX as u64 {
        return Err(too_large(max));
    }
    let Some(BodyDeadline { at, within }) = deadline else { return read(body, max).await };
    match tokio::time::timeout_at(at, read(body, max)).await {
        Ok(outcome) => outcome,
        Err(_) if announced > max as u64 => Err(too_large(max)),
        Err(_) => {
            let within = duration::show(within);
            let detail = format!("the body did not arrive within {within} (limits.body_timeout)");
            Err(Problem::new(TOO_SLOW, detail))
        }
    }
}

fn too_large(max: usize) -> Problem {
    let detail = format!("the body has more than {max} bytes, which is the limit");
    Problem::new(ErrorCode::PAYLOAD_TOO_LARGE, detail)
}

async fn read(mut body: Body, max: usize) -> Result<Bytes, Problem> {
    let announced = body.size_hint().lower();
    let mut taken = BytesMut::new();
    let mut seen = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return Err(Problem::new(ErrorCode::INVALID_REQUEST, "the body did not arrive whole"));
        };
        let Ok(data) = frame.into_data() else { continue };
        seen += data.len();
        if seen <= max && announced <= max as u64 {
            // The usual body is one piece, taken as it is.
            if taken.is_empty() && body.is_end_stream() {
                return Ok(data);
            }
            taken.extend_from_slice(&data);
        } else if seen > DISCARDED_MAX {
            break;
        }
    }
    if seen > max || announced > max as u64 {
        return Err(too_large(max));
    }
    Ok(taken.freeze())
}
