//! How an error becomes an answer: one mapping for each use case, onto the table in `tidings_model`.
//!
//! A [`Problem`] is turned into bytes in one place, `request_id::around`, because only there the id of
//! the request is known. What the store says goes to the log, not to the caller: it may name files.

use std::any::Any;
use std::time::Duration;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::header::{self, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use tidings_model::{ErrorCode, limit};
use tidings_node::StoreError;
use tidings_node::ask::AskError;
use tidings_node::block::BlockError;
use tidings_node::connect::ConnectError;
use tidings_node::connections::ConnectionsError;
use tidings_node::keys::KeyError;
use tidings_node::members::MoveError;
use tidings_node::namespace::CreateError;
use tidings_node::observe::ObserveError;
use tidings_node::publish::PublishError;
use tidings_node::rates::RetryAfter;
use tidings_node::revoke::RevokeError;
use tidings_node::rooms::RoomError;
use tidings_node::simulate::SimulateError;
use tidings_wire::problem::{self as wire, FieldError};
use tidings_wire::time;

use crate::duration;

/// Most fields that one answer complains about.
const ERRORS_MAX: usize = 50;

/// How late a scheduled push may be.
const LATE_MAX: Duration = Duration::from_secs(limit::SCHEDULE_LATE_SECS_MAX);

/// After how long a refused caller may come again: whole seconds.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// An error, as the outside sees it.
#[derive(Clone, Debug)]
pub struct Problem {
    code: ErrorCode,
    detail: String,
    errors: Vec<FieldError>,
    /// When to come again, where that is known.
    retry_after: Option<RetryAfter>,
}

impl Problem {
    /// An error that is about no field.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), errors: Vec::new(), retry_after: None }
    }

    /// Something is wrong with these fields.
    #[must_use]
    pub fn fields(code: ErrorCode, mut errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [one] => format!("{} {}", one.field, one.message),
            many => format!("{} fields are not as they must be", many.len()),
        };
        errors.truncate(ERRORS_MAX);
        Self { code, detail, errors, retry_after: None }
    }

    /// Something is wrong with one field.
    pub fn field(code: ErrorCode, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::fields(code, vec![FieldError { field: field.into(), message: message.into() }])
    }

    /// It was too often, and there will be room for one more after a time.
    pub fn too_often(detail: impl Into<String>, wait: RetryAfter) -> Self {
        Self { retry_after: Some(wait), ..Self::new(ErrorCode::RATE_LIMITED, detail) }
    }

    /// There is no such namespace.
    #[must_use]
    pub fn no_namespace(name: &str) -> Self {
        Self::new(ErrorCode::NOT_FOUND, format!("there is no namespace {}", crate::shape::shown(name)))
    }

    /// What it is, from the table.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// What happened this time.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// What is wrong with which field.
    #[must_use]
    pub fn errors(&self) -> &[FieldError] {
        &self.errors
    }

    /// After how long to come again, if that is of use.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        // Whole seconds: the header has no others.
        let after = self.retry_after.map_or(RETRY_AFTER, |wait| Duration::from_secs(wait.as_secs()));
        matches!(self.code.status, 429 | 503).then_some(after)
    }

    /// The body of the answer.
    pub(crate) fn to_json(&self, request_id: &str) -> String {
        wire::Problem {
            kind: format!("urn:tidings:error:{}", self.code.slug),
            title: self.code.title,
            status: self.code.status,
            code: self.code.slug,
            detail: &self.detail,
            request_id,
            errors: &self.errors,
        }
        .to_json()
    }

    /// The error of one entry in a batch.
    pub(crate) fn to_entry(&self) -> EntryError {
        EntryError {
            code: self.code.slug,
            status: self.code.status,
            detail: self.detail.clone(),
            errors: self.errors.clone(),
            retry_after_ms: self.retry_after.map(RetryAfter::as_ms),
        }
    }
}

/// Why one entry of a batch was not accepted.
#[derive(Debug, Serialize)]
pub(crate) struct EntryError {
    code: &'static str,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(wire::CONTENT_TYPE));
        if let Some(after) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs()));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"tidings\""));
            headers.append(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"tidings\", charset=\"UTF-8\""),
            );
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<ConnectError> for Problem {
    fn from(why: ConnectError) -> Self {
        let code = match &why {
            ConnectError::NoNamespace => ErrorCode::NOT_FOUND,
            ConnectError::Suspended => ErrorCode::SUSPENDED,
            ConnectError::Token(_) => ErrorCode::UNAUTHORIZED,
            ConnectError::Blocked
            | ConnectError::Denied(_)
            | ConnectError::NoUser
            | ConnectError::NotTheTokens(_)
            | ConnectError::NotYours => ErrorCode::FORBIDDEN,
            ConnectError::Forgotten => ErrorCode::CONFLICT,
            ConnectError::TooMany(_) => ErrorCode::TOO_MANY_CONNECTIONS,
            ConnectError::Ask(AskError::Busy) => ErrorCode::OVERLOADED,
            ConnectError::Ask(
                AskError::Nobody(_) | AskError::Resting(_) | AskError::Failed(_) | AskError::NotUnderstood,
            ) => ErrorCode::DEPENDENCY_UNAVAILABLE,
            ConnectError::Store(why) => return why.clone().into(),
        };
        Self::new(code, why.to_string())
    }
}

impl From<StoreError> for Problem {
    fn from(why: StoreError) -> Self {
        let (code, detail) = match &why {
            StoreError::Full(_) => (ErrorCode::STORAGE_FULL, "the disk of the server is full"),
            StoreError::InUse(_) | StoreError::Io(_) => {
                (ErrorCode::DEPENDENCY_UNAVAILABLE, "the store cannot be read or written")
            }
            StoreError::Closed => (ErrorCode::DEPENDENCY_UNAVAILABLE, "the server is stopping"),
            StoreError::Damaged(_) | StoreError::Format { .. } => {
                (ErrorCode::INTERNAL, "the store holds something that cannot be read")
            }
        };
        tracing::error!(error = %why, code = code.slug, "the store failed");
        Self::new(code, detail)
    }
}

impl From<PublishError> for Problem {
    fn from(why: PublishError) -> Self {
        match why {
            PublishError::NoNamespace => Self::new(ErrorCode::NOT_FOUND, why.to_string()),
            PublishError::Suspended => Self::new(ErrorCode::SUSPENDED, why.to_string()),
            PublishError::RoomSuspended { index, room } => Self::field(
                ErrorCode::SUSPENDED,
                format!("to.rooms[{index}]"),
                format!("{} is suspended", crate::shape::shown(room.as_str())),
            ),
            PublishError::Conflict => Self::field(
                ErrorCode::CONFLICT,
                "id",
                "was used for another push less than 24 h ago; a retry must be the same push",
            ),
            PublishError::Gone => Self::new(ErrorCode::NOT_FOUND, why.to_string()),
            PublishError::TooOften(wait) => Self::too_often(why.to_string(), wait),
            PublishError::Overloaded => Self::new(ErrorCode::OVERLOADED, why.to_string()),
            PublishError::TooLarge { bytes, limit } => Self::field(
                ErrorCode::PAYLOAD_TOO_LARGE,
                "data",
                format!("has {bytes} bytes, at most {limit} are allowed"),
            ),
            PublishError::TooLate(at) => Self::field(
                ErrorCode::INVALID_REQUEST,
                "deliver_at",
                format!("is {}, more than {} in the past", time::rfc3339(at.0), duration::show(LATE_MAX)),
            ),
            PublishError::Store(why) => why.into(),
        }
    }
}

impl From<CreateError> for Problem {
    fn from(why: CreateError) -> Self {
        match why {
            CreateError::Exists => {
                Self::field(ErrorCode::CONFLICT, "name", "is the name of a namespace already")
            }
            CreateError::Going => Self::field(
                ErrorCode::CONFLICT,
                "name",
                "was the name of a namespace that is still being removed; retry in a moment",
            ),
            CreateError::Store(why) => why.into(),
        }
    }
}

impl From<ObserveError> for Problem {
    fn from(why: ObserveError) -> Self {
        match why {
            ObserveError::InNamespace => Self::new(ErrorCode::TOO_MANY_CONNECTIONS, why.to_string()),
            ObserveError::Altogether => Self::new(ErrorCode::OVERLOADED, why.to_string()),
            ObserveError::Store(why) => why.into(),
        }
    }
}

impl From<KeyError> for Problem {
    fn from(why: KeyError) -> Self {
        match why {
            KeyError::TooMany => Self::new(ErrorCode::CONFLICT, why.to_string()),
            KeyError::Store(why) => why.into(),
        }
    }
}

impl From<RevokeError> for Problem {
    fn from(why: RevokeError) -> Self {
        match why {
            RevokeError::TooMany => Self::new(ErrorCode::CONFLICT, why.to_string()),
            RevokeError::Store(why) => why.into(),
        }
    }
}

impl From<MoveError> for Problem {
    fn from(why: MoveError) -> Self {
        match why {
            MoveError::TooMany(_) => Self::new(ErrorCode::INVALID_REQUEST, why.to_string()),
            MoveError::Store(why) => why.into(),
        }
    }
}

impl From<ConnectionsError> for Problem {
    fn from(why: ConnectionsError) -> Self {
        match why {
            ConnectionsError::Busy => Self::new(ErrorCode::OVERLOADED, why.to_string()),
            ConnectionsError::Store(why) => why.into(),
        }
    }
}

impl From<RoomError> for Problem {
    fn from(why: RoomError) -> Self {
        match why {
            RoomError::TooMany => Self::new(ErrorCode::CONFLICT, why.to_string()),
            RoomError::Store(why) => why.into(),
        }
    }
}

impl From<BlockError> for Problem {
    fn from(why: BlockError) -> Self {
        match why {
            BlockError::TooMany => Self::new(ErrorCode::CONFLICT, why.to_string()),
            BlockError::Store(why) => why.into(),
        }
    }
}

impl From<SimulateError> for Problem {
    fn from(why: SimulateError) -> Self {
        match why {
            SimulateError::Off => Self::new(ErrorCode::FORBIDDEN, why.to_string()),
            SimulateError::TooMany => Self::new(ErrorCode::CONFLICT, why.to_string()),
            SimulateError::Store(why) => why.into(),
        }
    }
}

/// The answer for a path that nothing answers.
pub(crate) async fn no_such_path(request: Request) -> Problem {
    let path = crate::shape::shown(request.uri().path());
    Problem::new(ErrorCode::NOT_FOUND, format!("there is no path {path}; /openapi.json lists what there is"))
}

/// The answer for a method that a path does not have.
pub(crate) async fn method_not_allowed(request: Request) -> Problem {
    let method = crate::shape::shown(request.method().as_str());
    Problem::new(
        ErrorCode::METHOD_NOT_ALLOWED,
        format!("this path has no method {method}; the header Allow lists those it has"),
    )
}

/// The answer when the code that was to answer gave up.
pub(crate) fn panicked(why: Box<dyn Any + Send + 'static>) -> Response {
    let text =
        why.downcast_ref::<String>().map(String::as_str).or_else(|| why.downcast_ref::<&str>().copied());
    tracing::error!(panic = text.unwrap_or("without a text"), "a call panicked");
    Problem::new(ErrorCode::INTERNAL, "the call failed because of an error in the server").into_response()
}
