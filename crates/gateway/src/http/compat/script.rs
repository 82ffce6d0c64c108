//! `socket.io.js`: the client that pages of light-push and push load from their server, as the servers of Socket.IO 1 and 2 handed
//! it out.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::get;
use http::{HeaderMap, HeaderValue, StatusCode, header};

/// `socket.io-client` 2.5.0 as it was published, without the line that names a map; its licence is beside it.
const SCRIPT: &[u8] = include_bytes!("../../../assets/socket.io-client-2.5.0.js");

/// Its version, which its servers took for the tag.
const TAG: &str = "\"2.5.0\"";

/// The script below a path, which ends with a slash.
pub(super) fn below(path: &str) -> Router {
    Router::new().route(&format!("{path}socket.io.js"), get(answer))
}

async fn answer(request: Request) -> Response {
    let same = is_known(request.headers());
    let mut response = Response::new(if same { Body::empty() } else { Body::from(SCRIPT) });
    if same {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "application/javascript"),
        (header::ETAG, TAG),
        (header::CACHE_CONTROL, "public, max-age=0"),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Whether the caller has it already.
fn is_known(headers: &HeaderMap) -> bool {
    let tags = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()).unwrap_or_default();
    tags.split(',').any(|tag| tag.trim().trim_start_matches("W/") == TAG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_it_is_known_by_the_tag() {
        for (tags, known) in
            [("\"2.5.0\"", true), ("\"1\", W/\"2.5.0\"", true), ("\"2.3.0\"", false), ("", false)]
        {
            let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::from_static(tags))]);
            assert_eq!(is_known(&headers), known, "{tags}");
        }
    }
}
