//! The demo page of `--dev`: connect, join, push, and watch the acknowledgements come in.
//!
//! It is a plain page on the public contract, with nothing of its own on the server.

use axum::Router;
use axum::response::{Html, Redirect};
use axum::routing::get;

const PAGE: &str = include_str!("demo/page.html");

/// `/demo`, and `/` leading there. `key` is what the page pushes with: it must be worth nothing outside
/// of the demo namespace, because everybody who can open the page has it.
pub fn router(key: &str) -> Router {
    let page = PAGE.replace("__KEY__", key);
    Router::new()
        .route("/demo", get(move || async move { Html(page) }))
        .route("/", get(|| async { Redirect::temporary("/demo") }))
}
