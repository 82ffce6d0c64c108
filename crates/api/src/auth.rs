//! Who calls: the key in a request. Runs before a body is read and before anything is looked up, so
//! that nobody without a key learns what exists.

use std::sync::Arc;

use axum::extract::Request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use http::header::AUTHORIZATION;
use tidings_model::{ClientAddress, ErrorCode};
use tidings_node::Node;
use tidings_node::keys::{Access, Denied, Holder, Scope};

use crate::{Problem, extract};

/// What a call needs a key for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// The admin key.
    Admin,
    /// A key of the namespace in the path, for this.
    Scope(Scope),
}

/// Lets only those through whose key opens what is needed; who it is goes along with the request.
pub(crate) async fn admit(node: &Arc<Node>, need: Need, request: &mut Request) -> Result<(), Problem> {
    let from = request.extensions().get::<ClientAddress>().copied().unwrap_or(ClientAddress::LOCAL);
    let holder = access(node, request.headers().get(AUTHORIZATION), from).await?;
    // A path that cannot be read names no namespace.
    let namespace = extract::namespace_in(request.uri().path());
    match refusal(&holder.access, need, namespace.as_deref()) {
        None => {
            request.extensions_mut().insert(holder);
            Ok(())
        }
        Some(why) => Err(Problem::new(ErrorCode::FORBIDDEN, why)),
    }
}

/// Whoever has the key in a header.
pub(crate) async fn access(
    node: &Arc<Node>,
    authorization: Option<&HeaderValue>,
    from: ClientAddress,
) -> Result<Holder, Problem> {
    let key = key_in(authorization).map_err(|why| Problem::new(ErrorCode::UNAUTHORIZED, why))?;
    node.access(&key, from).await.map_err(|why| match why {
        Denied::Unknown => Problem::new(ErrorCode::UNAUTHORIZED, "the key is not valid"),
        Denied::TooOften => {
            let why = "too many keys that are not valid came from this address; retry later";
            Problem::new(ErrorCode::RATE_LIMITED, why)
        }
    })
}

/// Whether a key still opens what a stream of a namespace needs.
pub(crate) async fn holds(
    node: &Arc<Node>,
    authorization: Option<&HeaderValue>,
    from: ClientAddress,
    need: Need,
    namespace: &str,
) -> bool {
    holder(node, authorization, from, need, namespace).await.is_ok()
}

/// Whoever has the key in a header, if it opens what is needed of a namespace that no path names.
pub(crate) async fn holder(
    node: &Arc<Node>,
    authorization: Option<&HeaderValue>,
    from: ClientAddress,
    need: Need,
    namespace: &str,
) -> Result<Holder, Problem> {
    let holder = access(node, authorization, from).await?;
    match refusal(&holder.access, need, Some(namespace)) {
        None => Ok(holder),
        Some(why) => Err(Problem::new(ErrorCode::FORBIDDEN, why)),
    }
}

pub(crate) fn refusal(access: &Access, need: Need, namespace: Option<&str>) -> Option<String> {
    let Access::Namespace(own, scopes) = access else { return None };
    match need {
        Need::Scope(_) if namespace != Some(own.as_str()) => {
            Some("the key is for another namespace only".to_owned())
        }
        Need::Scope(scope) if !scopes.has(scope) => {
            Some(format!("the key has not the scope {:?} that this needs", scope.as_str()))
        }
        Need::Scope(_) => None,
        Need::Admin => Some("this needs the admin key".to_owned()),
    }
}

/// The key: a bearer token, or the password of basic authentication (whose user says nothing that the
/// key does not).
fn key_in(authorization: Option<&HeaderValue>) -> Result<String, &'static str> {
    let Some(value) = authorization else {
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
            let value = header.map(HeaderValue::from_static);
            assert_eq!(key_in(value.as_ref()).ok().as_deref(), expected, "{header:?}");
        }
    }
}
