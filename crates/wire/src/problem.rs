//! Errors in HTTP answers: `application/problem+json` (RFC 9457). It knows no status table and no HTTP
//! library; both shells write their errors with it.

use serde::Serialize;

/// The media type.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// What is wrong with one field of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// The field, as a path: `to.users[3]`.
    pub field: String,
    /// What is wrong with it, with the value and the limit where there is one.
    pub message: String,
}

/// The body of an error answer.
#[derive(Clone, Debug, Serialize)]
pub struct Problem<'a> {
    /// A URI for the kind of error.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of error in words.
    pub title: &'a str,
    /// The HTTP status.
    pub status: u16,
    /// The stable slug.
    pub code: &'a str,
    /// What happened this time.
    pub detail: &'a str,
    /// The id that the log knows this request by.
    pub request_id: &'a str,
    /// What is wrong with which field.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub errors: &'a [FieldError],
}

impl Problem<'_> {
    /// The body as JSON text.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}
