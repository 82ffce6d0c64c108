//! What is answered: JSON, or plain words where something is wrong.

use std::any::Any;

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::json;
use tidings_node::StoreError;
use tidings_node::light_push::SetError;
use tidings_node::members::MoveError;
use tidings_node::publish::PublishError;

/// Why a call is refused.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    text: String,
}

impl Refusal {
    /// Plain words.
    pub(super) fn plain(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    /// What the caller can do something about.
    pub(super) fn business(why: impl AsRef<str>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, text: coded(why.as_ref()) }
    }

    /// What the caller can do nothing about.
    pub(super) fn failed(why: impl AsRef<str>) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, text: coded(why.as_ref()) }
    }
}

/// An error as light-push writes it: not quite JSON as anybody else would write it.
fn coded(why: &str) -> String {
    let why = serde_json::to_string(why).unwrap_or_default();
    format!("{{\"code\": 9999,\"msg\": {why}}}")
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        plain(self.status, self.text)
    }
}

impl From<StoreError> for Refusal {
    fn from(why: StoreError) -> Self {
        tracing::error!(error = %why, "the store failed");
        Self::failed("the store failed")
    }
}

impl From<PublishError> for Refusal {
    fn from(why: PublishError) -> Self {
        match why {
            PublishError::NoNamespace => Self::business("this namespace lose"),
            PublishError::Suspended => Self::business("this namespace offline"),
            PublishError::TooOften(_) => Self::business("limited access in 1s"),
            PublishError::TooLarge { limit, .. } => too_large(limit),
            PublishError::RoomSuspended { .. }
            | PublishError::Conflict
            | PublishError::Gone
            | PublishError::TooLate(_) => Self::business(why.to_string()),
            PublishError::Overloaded => Self::failed(why.to_string()),
            PublishError::Store(why) => why.into(),
        }
    }
}

impl From<MoveError> for Refusal {
    fn from(why: MoveError) -> Self {
        match why {
            MoveError::TooMany(_) => Self::business(why.to_string()),
            MoveError::Store(why) => why.into(),
        }
    }
}

impl From<SetError> for Refusal {
    fn from(why: SetError) -> Self {
        match why {
            SetError::Wrong(_) | SetError::Busy => Self::business(why.to_string()),
            SetError::Unknown => Self::business("this id not exists"),
            SetError::Store(why) => why.into(),
        }
    }
}

/// A push has too much to say.
pub(super) fn too_large(limit: usize) -> Refusal {
    Refusal::business(format!("pushData size must be less then {limit} bytes"))
}

/// Plain words.
pub(super) fn plain(status: StatusCode, text: impl Into<String>) -> Response {
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    (status, [(CONTENT_TYPE, kind)], text.into()).into_response()
}

/// JSON.
pub(super) fn json(value: &impl Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(text) => {
            let kind = HeaderValue::from_static("application/json; charset=utf-8");
            ([(CONTENT_TYPE, kind)], text).into_response()
        }
        Err(why) => Refusal::failed(why.to_string()).into_response(),
    }
}

/// It is done.
pub(super) fn done() -> Response {
    json(&json!({}))
}

/// It is done: nothing was to be.
pub(super) async fn nothing() -> Response {
    done()
}

/// A call that did not end as it should.
pub(super) fn panicked(_: Box<dyn Any + Send>) -> Response {
    Refusal::failed("the call failed").into_response()
}
