//! Who calls: `Authorization: Basic base64(key:passwd)`, or without the word in front. A namespace comes as `/demo` with its password or
//! one of its keys; the administrator as `admin` with the admin key. Runs before a body is read.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use http::header::AUTHORIZATION;
use http::{HeaderValue, StatusCode};
use tidings_model::{ClientAddress, NamespaceName};
use tidings_node::Namespace;
use tidings_node::keys::{Access, Denied, Holder, Scope};

use super::answer::Refusal;
use crate::ApiState;
use crate::compat::CREDENTIALS;

/// The name of the administrator.
const ADMIN: &str = "admin";

/// What a call needs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Need {
    /// The administrator.
    Admin,
    /// A namespace, with a key for this.
    Namespace(Option<Scope>),
}

/// The backend that calls.
#[derive(Clone, Debug)]
pub(super) struct Backend {
    /// Whose it is, by what it has shown: nothing that it says changes that.
    pub(super) namespace: Arc<Namespace>,
    pub(super) holder: Holder,
}

impl Backend {
    /// Whether it has shown a key for this.
    pub(super) fn may(&self, scope: Scope) -> bool {
        may(&self.holder.access, scope)
    }

    /// Refuses it unless it has.
    pub(super) fn need(&self, scope: Scope) -> Result<(), Refusal> {
        if self.may(scope) { Ok(()) } else { Err(no_scope(scope)) }
    }
}

fn may(access: &Access, scope: Scope) -> bool {
    match access {
        Access::Admin => true,
        Access::Namespace(_, scopes) => scopes.has(scope),
    }
}

fn no_scope(scope: Scope) -> Refusal {
    let text = format!("the key has not the scope {:?} that this needs", scope.as_str());
    Refusal::plain(StatusCode::FORBIDDEN, text)
}

/// Lets only those through who have shown what is needed.
pub(super) async fn need(
    State((state, need)): State<(ApiState, Need)>,
    mut request: Request,
    next: Next,
) -> Response {
    let from = request.extensions().get::<ClientAddress>().copied().unwrap_or(ClientAddress::LOCAL);
    match admit(&state, need, request.headers().get(AUTHORIZATION), from).await {
        Ok(backend) => {
            if let Some(backend) = backend {
                request.extensions_mut().insert(backend);
            }
            next.run(request).await
        }
        Err(refusal) => refusal.into_response(),
    }
}

async fn admit(
    state: &ApiState,
    need: Need,
    authorization: Option<&HeaderValue>,
    from: ClientAddress,
) -> Result<Option<Backend>, Refusal> {
    let missing = || Refusal::plain(StatusCode::BAD_REQUEST, "need authorization");
    let (key, password) = authorization.and_then(said).ok_or_else(missing)?;
    let scope = match need {
        Need::Admin => {
            let access = state.node.access(&password, from).await;
            let access = access.map(|holder| holder.access);
            let error = || Refusal::plain(StatusCode::UNAUTHORIZED, "auth error");
            return match access {
                Ok(Access::Admin) if key == ADMIN => Ok(None),
                Ok(_) | Err(Denied::Unknown) => Err(error()),
                Err(Denied::TooOften) => Err(too_often()),
            };
        }
        Need::Namespace(scope) => scope,
    };
    let name = key.strip_prefix('/').and_then(|name| NamespaceName::new(name).ok());
    let namespace = name.and_then(|name| state.node.namespace(name.as_str()));
    let Some(namespace) = namespace else {
        // Whoever guesses names has as many guesses as whoever guesses keys.
        return match state.node.access("", from).await {
            Err(Denied::TooOften) => Err(too_often()),
            Ok(_) | Err(Denied::Unknown) => {
                Err(Refusal::plain(StatusCode::BAD_REQUEST, "namespace not found"))
            }
        };
    };
    let wrong = || Refusal::plain(StatusCode::UNAUTHORIZED, "passwd error");
    let holder = match state.node.access_by_password(&namespace.name, &password, from).await {
        Ok(holder) => holder,
        Err(Denied::Unknown) => return Err(wrong()),
        Err(Denied::TooOften) => return Err(too_often()),
    };
    let is_its = match &holder.access {
        Access::Admin => true,
        Access::Namespace(own, _) => *own == namespace.name,
    };
    match scope {
        _ if !is_its => Err(wrong()),
        Some(scope) if !may(&holder.access, scope) => Err(no_scope(scope)),
        Some(_) | None => Ok(Some(Backend { namespace, holder })),
    }
}

fn too_often() -> Refusal {
    let text = "too many passwords that are not valid came from this address; retry later";
    Refusal::plain(StatusCode::TOO_MANY_REQUESTS, text)
}

/// The name and the password in a header.
fn said(authorization: &HeaderValue) -> Option<(String, String)> {
    let text = authorization.to_str().ok()?.trim();
    let encoded = match text.split_once(' ') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("basic") => rest.trim(),
        Some(_) => return None,
        None => text,
    };
    let decoded = String::from_utf8(CREDENTIALS.decode(encoded).ok()?).ok()?;
    let (key, password) = decoded.split_once(':')?;
    Some((key.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_passwords_are_found_with_and_without_the_word() {
        for (header, expected) in [
            ("Basic L2RlbW86MTIzNDU2", Some(("/demo", "123456"))),
            ("basic  L2RlbW86MTIzNDU2 ", Some(("/demo", "123456"))),
            ("L2RlbW86MTIzNDU2", Some(("/demo", "123456"))),
            ("L2RlbW86YTpi", Some(("/demo", "a:b"))),
            ("YWRtaW46eA==", Some(("admin", "x"))),
            ("YWRtaW46eA", Some(("admin", "x"))),
            ("L2RlbW8=", None),
            ("Bearer L2RlbW86MTIzNDU2", None),
            ("!!!", None),
            ("", None),
        ] {
            let said = said(&HeaderValue::from_static(header));
            let expected = expected.map(|(key, password)| (key.to_owned(), password.to_owned()));
            assert_eq!(said, expected, "{header}");
        }
    }
}
