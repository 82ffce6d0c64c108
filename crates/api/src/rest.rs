//! The paths, each with what answers it. One file for each noun; none of them decides anything.

pub(crate) mod acks;
pub(crate) mod batch;
pub(crate) mod history;
pub(crate) mod hooks;
pub(crate) mod messages;
pub(crate) mod namespaces;
pub(crate) mod receipts;
pub(crate) mod report;
pub(crate) mod rooms;
pub(crate) mod simulations;
pub(crate) mod stats;
pub(crate) mod trace;
pub(crate) mod users;

use axum::Router;
use axum::handler::Handler;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, delete, get, patch, post};

use crate::{ApiState, auth, health, metrics, openapi};

/// A router, and what it answers.
pub(crate) struct Routes {
    pub(crate) router: Router<ApiState>,
    /// Method and path, in the order in which they were added.
    pub(crate) list: Vec<(&'static str, &'static str)>,
}

impl Routes {
    fn new() -> Self {
        Self { router: Router::new(), list: Vec::new() }
    }

    fn get<H: Handler<T, ApiState>, T: 'static>(self, path: &'static str, answer: H) -> Self {
        self.route("get", path, get(answer))
    }

    fn post<H: Handler<T, ApiState>, T: 'static>(self, path: &'static str, answer: H) -> Self {
        self.route("post", path, post(answer))
    }

    fn patch<H: Handler<T, ApiState>, T: 'static>(self, path: &'static str, answer: H) -> Self {
        self.route("patch", path, patch(answer))
    }

    fn delete<H: Handler<T, ApiState>, T: 'static>(self, path: &'static str, answer: H) -> Self {
        self.route("delete", path, delete(answer))
    }

    fn route(mut self, method: &'static str, path: &'static str, answer: MethodRouter<ApiState>) -> Self {
        self.list.push((method, path));
        Self { router: self.router.route(path, answer), list: self.list }
    }

    fn merge(mut self, other: Self) -> Self {
        self.list.extend(other.list);
        Self { router: self.router.merge(other.router), list: self.list }
    }
}

/// Every path.
pub(crate) fn routes(state: &ApiState) -> Routes {
    let mut keyed = keyed();
    keyed.router = keyed.router.layer(from_fn_with_state(state.clone(), auth::need_key));
    open().merge(keyed)
}

/// What needs a key.
fn keyed() -> Routes {
    Routes::new()
        .get("/v1/namespaces", namespaces::list)
        .post("/v1/namespaces", namespaces::create)
        .get("/v1/namespaces/{ns}", namespaces::show)
        .patch("/v1/namespaces/{ns}", namespaces::change)
        .get("/v1/namespaces/{ns}/messages", history::list)
        .post("/v1/namespaces/{ns}/messages", messages::push)
        .post("/v1/namespaces/{ns}/messages:batch", batch::push)
        .get("/v1/namespaces/{ns}/messages/{id}", messages::show)
        .delete("/v1/namespaces/{ns}/messages/{id}", messages::recall)
        .get("/v1/namespaces/{ns}/messages/{id}/report", report::show)
        .get("/v1/namespaces/{ns}/messages/{id}/receipts", receipts::list)
        .get("/v1/namespaces/{ns}/messages/{id}/trace", trace::show)
        .get("/v1/namespaces/{ns}/hooks/{hook}", hooks::show)
        .post("/v1/namespaces/{ns}/hooks/{hook}/replay", hooks::replay)
        .get("/v1/namespaces/{ns}/rooms/{room}", rooms::show)
        .get("/v1/namespaces/{ns}/simulations", simulations::list)
        .post("/v1/namespaces/{ns}/simulations", simulations::begin)
        .delete("/v1/namespaces/{ns}/simulations/{id}", simulations::end)
        .get("/v1/namespaces/{ns}/stats", stats::list)
        .get("/v1/namespaces/{ns}/stats/current", stats::current)
        .get("/v1/namespaces/{ns}/users/{user}", users::show)
}

/// What needs none: probes, and what clients call.
fn open() -> Routes {
    Routes::new()
        .post("/v1/namespaces/{ns}/acks", acks::take)
        .get("/healthz", health::healthz)
        .get("/readyz", health::readyz)
        .get("/version", health::version)
        .get("/metrics", metrics::metrics)
        .get("/openapi.json", openapi::document)
}
