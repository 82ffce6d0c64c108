//! Who calls: the key in a request. Runs before a body is read and before anything is looked up, so
//! that nobody without a key learns what exists.

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use tidings_model::ErrorCode;
use tidings_node::keys::Access;

use crate::{ApiState, Problem};

/// Lets only those through whose key opens the namespace in the path, or everything where there is none.
pub(crate) async fn need_key(
    State(state): State<ApiState>,
    parameters: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
    next: Next,
) -> Response {
    let refusal = match key_in(request.headers()).map(|key| state.node.access(&key)) {
        Ok(Some(access)) if opens(&access, parameters.as_ref().ok()) => return next.run(request).await,
        Ok(Some(_)) => Problem::new(ErrorCode::FORBIDDEN, "the key is for another namespace only"),
        Ok(None) => Problem::new(ErrorCode::UNAUTHORIZED, "the key is not valid"),
        Err(why) => Problem::new(ErrorCode::UNAUTHORIZED, why),
    };
    refusal.into_response()
}

/// A path that cannot be read names no namespace.
fn opens(access: &Access, parameters: Option<&RawPathParams>) -> bool {
    match parameters.and_then(|parameters| parameters.iter().find(|(name, _)| *name == "ns")) {
        Some((_, namespace)) => access.covers(namespace),
        None => *access == Access::Admin,
    }
}

/// The key: a bearer token, or the password of basic authentication (whose user says nothing that the
/// key does not).
fn key_in(headers: &HeaderMap) -> Result<String, &'static str> {
    let Some(value) = headers.get(AUTHORIZATION) else {
        return Err("send a key: Authorization: Bearer <key>, or Basic with <namespace>:<key>");
    };
    let malformed = "the header Authorization is neither Bearer <key> nor Basic base64(<namespace>:<key>)";
    let text = value.to_str().map_err(|_| malformed)?;
    let (scheme, rest) = text.split_once(' ').ok_or(malformed)?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(rest.to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(malformed);
    }
    let decoded =
        STANDARD.decode(rest).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or(malformed)?;
    let (_, key) = decoded.split_once(':').ok_or(malformed)?;
    Ok(key.to_owned())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_key_is_found_in_either_scheme() {
        for (header, expected) in [
            (Some("Bearer tk_1"), Some("tk_1")),
            (Some("bearer  tk_1 "), Some("tk_1")),
            (Some("Basic ZGVtbzp0a18x"), Some("tk_1")),
            (Some("basic OnRrOjE="), Some("tk:1")),
            (Some("Basic ZGVtbw=="), None),
            (Some("Basic !!!"), None),
            (Some("Digest x"), None),
            (Some("tk_1"), None),
            (None, None),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(header) = header {
                headers.insert(AUTHORIZATION, HeaderValue::from_static(header));
            }
            assert_eq!(key_in(&headers).ok().as_deref(), expected, "{header:?}");
        }
    }
}
