//! Why something was not done, as a client is told in any dialect, and what each error of a use case is to a client.

use std::time::Duration;

use tidings_model::{Disconnect, ErrorCode};
use tidings_node::StoreError;
use tidings_node::ask::AskError;
use tidings_node::connect::ConnectError;
use tidings_node::join::JoinError;
use tidings_node::publish::PublishError;
use tidings_node::rates::RetryAfter;
use tidings_node::relay::RelayError;
use tidings_node::token::TokenError;

/// Why something was not done, as a client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
    /// The field that is wrong, if one is.
    pub(crate) field: Option<String>,
    /// A word of the business system's own, instead of the code's.
    pub(crate) word: Option<Box<str>>,
    /// When it may be tried again, if that is known.
    pub(crate) retry_after: Option<Duration>,
}

impl Refusal {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), field: None, word: None, retry_after: None }
    }

    /// A field that is not what it must be.
    pub(crate) fn field(field: &str, why: impl std::fmt::Display) -> Self {
        let field = Some(field.to_owned()).filter(|field| !field.is_empty());
        let message = match &field {
            Some(field) => format!("{field} {why}"),
            None => why.to_string(),
        };
        Self { field, ..Self::new(ErrorCode::INVALID_REQUEST, message) }
    }

    /// What a client is told that is not let in at all, in the shape of a `goaway`: whether it should come
    /// back, and what was wrong.
    pub(crate) fn disconnect(&self) -> Disconnect {
        match self.code {
            ErrorCode::TOO_MANY_CONNECTIONS => Disconnect::TOO_MANY,
            ErrorCode::UNAUTHORIZED => Disconnect::INVALID_TOKEN,
            ErrorCode::FORBIDDEN => Disconnect::NOT_ALLOWED,
            ErrorCode::SUSPENDED => Disconnect::OPERATOR,
            code if code.status >= 500 => Disconnect::OVERLOADED,
            _ => Disconnect::BAD_REQUEST,
        }
    }

    /// `{"code":…,"message":…,"retry_after_ms":…}`, without the last where nothing is known of it.
    pub(crate) fn to_json(&self) -> String {
        let word = json_string(self.word.as_deref().unwrap_or(self.code.slug));
        let later = self.retry_after.map(|after| format!(r#","retry_after_ms":{}"#, after.as_millis()));
        let later = later.unwrap_or_default();
        format!(r#"{{"code":{word},"message":{}{later}}}"#, json_string(&self.message))
    }
}

impl From<StoreError> for Refusal {
    fn from(why: StoreError) -> Self {
        tracing::error!(error = %why, "a client could not be served");
        let code = match why {
            StoreError::Full(_) => ErrorCode::STORAGE_FULL,
            StoreError::Closed => ErrorCode::OVERLOADED,
            StoreError::InUse(_) | StoreError::Damaged(_) | StoreError::Format { .. } | StoreError::Io(_) => {
                ErrorCode::DEPENDENCY_UNAVAILABLE
            }
        };
        Self::new(code, "the store cannot be used now; retry later")
    }
}

impl From<ConnectError> for Refusal {
    fn from(why: ConnectError) -> Self {
        match why {
            ConnectError::NoNamespace => Self::new(ErrorCode::NOT_FOUND, why.to_string()),
            ConnectError::Token(TokenError::NoKeys) => {
                Self::new(ErrorCode::DEPENDENCY_UNAVAILABLE, TokenError::NoKeys.to_string())
            }
            ConnectError::Token(why) => Self::new(ErrorCode::UNAUTHORIZED, why.to_string()),
            ConnectError::Forgotten => Self::new(ErrorCode::OVERLOADED, why.to_string()),
            ConnectError::Suspended => Self::new(ErrorCode::SUSPENDED, why.to_string()),
            ConnectError::Blocked
            | ConnectError::Denied(_)
            | ConnectError::NoUser
            | ConnectError::NotYours
            | ConnectError::NotTheTokens(_) => Self::new(ErrorCode::FORBIDDEN, why.to_string()),
            ConnectError::Ask(why) => why.into(),
            ConnectError::TooMany(_) => Self::new(ErrorCode::TOO_MANY_CONNECTIONS, why.to_string()),
            ConnectError::Store(why) => why.into(),
        }
    }
}

impl From<JoinError> for Refusal {
    fn from(why: JoinError) -> Self {
        match why {
            JoinError::TooManyRooms { .. } => {
                Self { field: Some("rooms".to_owned()), ..Self::field("", why) }
            }
            JoinError::Suspended(_) => {
                Self { field: Some("rooms".to_owned()), ..Self::new(ErrorCode::SUSPENDED, why.to_string()) }
            }
            JoinError::Gone => Self::new(ErrorCode::CONFLICT, why.to_string()),
            JoinError::Store(why) => why.into(),
        }
    }
}

impl From<AskError> for Refusal {
    fn from(why: AskError) -> Self {
        let (code, retry_after) = match &why {
            AskError::Nobody(_) => (ErrorCode::NOT_SUPPORTED, None),
            AskError::Busy => (ErrorCode::OVERLOADED, None),
            AskError::Resting(left) => (ErrorCode::DEPENDENCY_UNAVAILABLE, Some(*left)),
            AskError::Failed(_) | AskError::NotUnderstood => (ErrorCode::DEPENDENCY_UNAVAILABLE, None),
        };
        Self { retry_after, ..Self::new(code, why.to_string()) }
    }
}

impl From<RetryAfter> for Refusal {
    fn from(wait: RetryAfter) -> Self {
        let why = format!("this device asks for too much at once; {wait}");
        Self { retry_after: Some(wait.0), ..Self::new(ErrorCode::RATE_LIMITED, why) }
    }
}

impl From<RelayError> for Refusal {
    fn from(why: RelayError) -> Self {
        let field = |name: &str| Some(name.to_owned());
        match why {
            RelayError::NotAllowed => {
                Self { field: field("room"), ..Self::new(ErrorCode::FORBIDDEN, why.to_string()) }
            }
            RelayError::TooOften(wait) => {
                Self { retry_after: Some(wait.0), ..Self::new(ErrorCode::RATE_LIMITED, why.to_string()) }
            }
            RelayError::Denied(_) => Self::new(ErrorCode::FORBIDDEN, why.to_string()),
            RelayError::Gone => Self::new(ErrorCode::CONFLICT, why.to_string()),
            RelayError::Ask(why) => why.into(),
            RelayError::Store(why) => why.into(),
            RelayError::Publish(why) => match why {
                PublishError::NoNamespace => Self::new(ErrorCode::NOT_FOUND, why.to_string()),
                PublishError::RoomSuspended { .. } => {
                    Self { field: field("room"), ..Self::new(ErrorCode::SUSPENDED, why.to_string()) }
                }
                PublishError::TooOften(wait) => {
                    Self { retry_after: Some(wait.0), ..Self::new(ErrorCode::RATE_LIMITED, why.to_string()) }
                }
                PublishError::Suspended => Self::new(ErrorCode::SUSPENDED, why.to_string()),
                PublishError::Conflict | PublishError::Gone => {
                    Self::new(ErrorCode::CONFLICT, why.to_string())
                }
                PublishError::TooLate(_) => Self::new(ErrorCode::INVALID_REQUEST, why.to_string()),
                PublishError::Overloaded => Self::new(ErrorCode::OVERLOADED, why.to_string()),
                PublishError::TooLarge { .. } => {
                    Self { field: field("data"), ..Self::new(ErrorCode::PAYLOAD_TOO_LARGE, why.to_string()) }
                }
                PublishError::Store(why) => why.into(),
            },
        }
    }
}

/// JSON text of a string.
pub(crate) fn json_string(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned())
}
