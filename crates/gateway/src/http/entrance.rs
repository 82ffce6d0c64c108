//! What every request of a client passes on its way in: the [`crate::door`]. It knows which requests begin
//! a connection, and in which words each family of clients is refused.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{Extensions, HeaderValue, Method, StatusCode, header};
use tidings_model::origin::EVERY_PAGE;
use tidings_model::{ClientAddress, NamespaceName, Origins};
use tidings_node::metrics::Refused;
use tracing::{Instrument as _, Span};

use super::{engineio, problem, query};
use crate::Front;
use crate::door::{Closed, Place, origins};

/// After how many seconds somebody may come again for whom there was no room.
const RETRY_AFTER_SECS: u16 = 2;

/// The place of a client, on its way through a request.
#[derive(Clone, Debug)]
struct Held(Arc<Mutex<Option<Place>>>);

/// The place that a request was given, for whatever becomes its connection.
pub(super) fn take_place(extensions: &mut Extensions) -> Option<Place> {
    let Held(place) = extensions.remove()?;
    place.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Lets a request in, or not. `fixed` is the namespace of paths that name none.
pub(super) async fn enter(
    State((front, fixed)): State<(Arc<Front>, Option<NamespaceName>)>,
    parameters: Result<RawPathParams, RawPathParamsRejection>,
    mut request: Request,
    next: Next,
) -> Response {
    // On Socket.IO the namespace is known later.
    let named = parameters.iter().flatten().find(|(name, _)| *name == "namespace");
    let name = named.map(|(_, name)| name).or_else(|| fixed.as_ref().map(NamespaceName::as_str));
    let own = name.and_then(|name| front.node.namespace(name)).map(|found| found.settings());
    let own = own.as_ref().map_or(&EVERY_PAGE, |settings| &settings.origins);
    let client = request.extensions().get::<ClientAddress>().copied().unwrap_or(ClientAddress::LOCAL);
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut response = match judge(&front, own, client, &mut request) {
        Ok(begins) => {
            let span = if begins { tracing::info_span!("client", %client) } else { Span::none() };
            let response = next.run(request).instrument(span).await;
            // Whatever is refused for another reason is counted where that is found.
            if let Some(reason) = senseless(response.status()) {
                front.node.metrics().clients_refused.get_or_create(&Refused { reason }).inc();
            }
            response
        }
        Err(why) => {
            front.door.note(front.node.metrics(), client, why);
            refused(&request, why)
        }
    };
    front.door.allow_origin(own, origin.as_ref(), response.headers_mut());
    response
}

/// The label in metrics of an answer to what makes no sense.
fn senseless(status: StatusCode) -> Option<&'static str> {
    match status.as_u16() {
        400 | 405 | 413 | 426 => Some("bad_request"),
        404 => Some("not_found"),
        408 => Some("too_slow"),
        _ => None,
    }
}

/// Whether a request begins a connection; if so, it has a place from now on.
fn judge(front: &Front, own: &Origins, client: ClientAddress, request: &mut Request) -> Result<bool, Closed> {
    let text = request.uri().query().unwrap_or_default();
    let page = origins::page(request.headers(), is_engineio(request) && query::is_script(text));
    front.door.check_page(page.as_deref())?;
    if !origins::allow(own, page.as_deref()) {
        return Err(Closed::Origin);
    }
    let begins = match is_engineio(request) {
        true => *request.method() != Method::OPTIONS && query::find(text, &["sid"]).is_none(),
        false => *request.method() != Method::OPTIONS,
    };
    if begins {
        if front.is_draining() {
            return Err(Closed::Draining);
        }
        if let Some(sign) = front.overload() {
            return Err(Closed::Overloaded(sign));
        }
        let place = front.door.enter(client)?;
        request.extensions_mut().insert(Held(Arc::new(Mutex::new(Some(place)))));
    }
    Ok(begins)
}

fn is_engineio(request: &Request) -> bool {
    request.uri().path().contains("/socket.io")
}

fn refused(request: &Request, why: Closed) -> Response {
    let refusal = why.refusal();
    let mut response = if is_engineio(request) {
        // 4 is "forbidden" in the table of Engine.IO, the nearest that it has.
        let mut response =
            Response::new(Body::from(format!(r#"{{"code":4,"message":"{}"}}"#, refusal.message)));
        *response.status_mut() =
            StatusCode::from_u16(refusal.code.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    } else {
        problem(request.headers(), &refusal)
    };
    if why != Closed::Origin {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECS));
    }
    if is_engineio(request) {
        engineio::allow_origin(response.headers_mut(), request.headers().get(header::ORIGIN).cloned());
    }
    response
}
