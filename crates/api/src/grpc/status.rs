//! A problem as a status: the code from the table, and what REST says in a body as `google.rpc` details.
//!
//! `tonic` refuses by itself what is no call (framing, sizes, methods that there are not). That gets the same details
//! here, so that every refusal looks alike.

use http::HeaderMap;
use tidings_model::ErrorCode;
use tidings_wire::problem::FieldError;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use super::pb;
use crate::Problem;

/// Whose reasons these are.
const DOMAIN: &str = "tidings";

/// How many bytes about fields a status has at most. It travels in headers, and some clients take 8 KiB of those.
const VIOLATIONS_BYTES_MAX: usize = 3 * 1024;

/// A problem as a status.
pub(super) fn of(problem: &Problem, request_id: &str) -> Status {
    let code = problem.code();
    let about = [("http_status".to_owned(), code.status.to_string())];
    let mut details = ErrorDetails::with_error_info(code.slug, DOMAIN, about);
    details.set_request_info(request_id, "");
    let violations = violations(problem.errors());
    if !violations.is_empty() {
        details.set_bad_request(violations);
    }
    if let Some(after) = problem.retry_after() {
        details.set_retry_info(Some(after));
    }
    Status::with_error_details(Code::from_i32(code.grpc as i32), problem.detail(), details)
}

/// What is wrong with which field, as far as there is room.
fn violations(errors: &[FieldError]) -> Vec<FieldViolation> {
    let mut bytes = 0;
    let fits = |error: &&FieldError| {
        bytes += error.field.len() + error.message.len();
        bytes <= VIOLATIONS_BYTES_MAX
    };
    errors
        .iter()
        .take_while(fits)
        .map(|error| FieldViolation::new(error.field.clone(), error.message.clone()))
        .collect()
}

/// A problem as the answer to one entry of many.
pub(super) fn refusal(problem: &Problem) -> pb::Refusal {
    let field =
        |error: &FieldError| pb::FieldError { field: error.field.clone(), message: error.message.clone() };
    pb::Refusal {
        code: problem.code().slug.to_owned(),
        status: problem.code().status.into(),
        detail: problem.detail().to_owned(),
        errors: problem.errors().iter().map(field).collect(),
    }
}

/// What `tonic` found wrong with a call, if it was `tonic`. Everything that is refused here has details.
pub(super) fn of_framing(status: &Status) -> Option<Problem> {
    if !status.details().is_empty() {
        return None;
    }
    let code = match status.code() {
        // A message that is longer than it may be.
        Code::OutOfRange => ErrorCode::PAYLOAD_TOO_LARGE,
        // Bytes that are no message, and frames that hold none.
        Code::InvalidArgument | Code::Internal => ErrorCode::INVALID_REQUEST,
        // A method or a compression that there is not.
        Code::Unimplemented => ErrorCode::NOT_SUPPORTED,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated => return None,
    };
    let what = match status.message() {
        "" => "there is no such method; reflection lists those that there are",
        what => what,
    };
    Some(Problem::new(code, what))
}

/// Gives a refusal of `tonic` the details that others have.
pub(super) fn complete(headers: &mut HeaderMap, request_id: &str) {
    let problem = Status::from_header_map(headers).and_then(|status| of_framing(&status));
    if let Some(problem) = problem {
        // Only details that are no header could fail, and these are base64.
        let _ = of(&problem, request_id).add_header(headers);
    }
}
