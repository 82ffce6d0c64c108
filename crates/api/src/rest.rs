//! The paths, each with what answers it. One file for each noun; none of them decides anything.

pub(crate) mod acks;
pub(crate) mod alerts;
pub(crate) mod batch;
pub(crate) mod blocks;
pub(crate) mod connections;
pub(crate) mod devices;
pub(crate) mod events;
pub(crate) mod history;
pub(crate) mod hooks;
pub(crate) mod keys;
pub(crate) mod messages;
pub(crate) mod namespaces;
pub(crate) mod nodes;
pub(crate) mod receipts;
pub mod reload;
pub(crate) mod report;
pub(crate) mod rooms;
pub(crate) mod simulations;
pub(crate) mod stats;
pub(crate) mod tokens;
pub(crate) mod trace;
pub(crate) mod users;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, delete, get, patch, post, put};

use tidings_node::keys::Scope;

use crate::auth::Need;
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

    fn route(mut self, method: &'static str, path: &'static str, answer: MethodRouter<ApiState>) -> Self {
        self.list.push((method, path));
        Self { router: self.router.route(path, answer), list: self.list }
    }

    /// A path that is several to callers: each is described by itself.
    fn hidden(self, path: &'static str, answer: MethodRouter<ApiState>) -> Self {
        Self { router: self.router.route(path, answer), list: self.list }
    }

    fn described(mut self, method: &'static str, path: &'static str) -> Self {
        self.list.push((method, path));
        self
    }

    fn merge(mut self, other: Self) -> Self {
        self.list.extend(other.list);
        Self { router: self.router.merge(other.router), list: self.list }
    }
}

/// Every path.
pub(crate) fn routes(state: &ApiState) -> Routes {
    open().merge(keyed(state))
}

/// What needs a key, and for what.
fn keyed(state: &ApiState) -> Routes {
    const PUSH: Need = Need::Scope(Scope::Push);
    const READ: Need = Need::Scope(Scope::Read);
    const MANAGE: Need = Need::Scope(Scope::Manage);
    let needs = |need, answer: MethodRouter<ApiState>| {
        answer.route_layer(from_fn_with_state((state.clone(), need), auth::need_key))
    };
    Routes::new()
        .route("get", "/v1/namespaces", needs(Need::Admin, get(namespaces::list)))
        .route("post", "/v1/namespaces", needs(Need::Admin, post(namespaces::create)))
        .route("get", "/v1/namespaces/{ns}", needs(READ, get(namespaces::show)))
        .route("patch", "/v1/namespaces/{ns}", needs(MANAGE, patch(namespaces::change)))
        .route("delete", "/v1/namespaces/{ns}", needs(Need::Admin, delete(namespaces::delete)))
        .hidden("/v1/namespaces/{ns}", needs(Need::Admin, post(namespaces::act)))
        .described("post", "/v1/namespaces/{ns}:clear")
        .described("post", "/v1/namespaces/{ns}:suspend")
        .described("post", "/v1/namespaces/{ns}:resume")
        .route("post", "/v1/reload", needs(Need::Admin, post(reload::reload)))
        .route("get", "/v1/alerts", needs(Need::Admin, get(alerts::list)))
        .route("get", "/v1/nodes", needs(Need::Admin, get(nodes::list)))
        .hidden("/v1/nodes/{node}", needs(Need::Admin, post(nodes::act)))
        .described("post", "/v1/nodes/{node}:drain")
        .route("get", "/v1/namespaces/{ns}/keys", needs(MANAGE, get(keys::list)))
        .route("post", "/v1/namespaces/{ns}/keys", needs(MANAGE, post(keys::make)))
        .route("delete", "/v1/namespaces/{ns}/keys/{id}", needs(MANAGE, delete(keys::revoke)))
        .route("get", "/v1/namespaces/{ns}/messages", needs(READ, get(history::list)))
        .route("post", "/v1/namespaces/{ns}/messages", needs(PUSH, post(messages::push)))
        .route("post", "/v1/namespaces/{ns}/messages:batch", needs(PUSH, post(batch::push)))
        .route("get", "/v1/namespaces/{ns}/messages/{id}", needs(READ, get(messages::show)))
        .route("delete", "/v1/namespaces/{ns}/messages/{id}", needs(PUSH, delete(messages::recall)))
        .route("get", "/v1/namespaces/{ns}/messages/{id}/report", needs(READ, get(report::show)))
        .route("get", "/v1/namespaces/{ns}/messages/{id}/receipts", needs(READ, get(receipts::list)))
        .route("get", "/v1/namespaces/{ns}/messages/{id}/trace", needs(READ, get(trace::show)))
        .route("get", "/v1/namespaces/{ns}/devices", needs(READ, get(devices::list)))
        .route("post", "/v1/namespaces/{ns}/devices:purge", needs(MANAGE, post(devices::purge)))
        .route("get", "/v1/namespaces/{ns}/devices/{device}", needs(READ, get(devices::show)))
        .route("put", "/v1/namespaces/{ns}/devices/{device}", needs(MANAGE, put(devices::put)))
        .route("patch", "/v1/namespaces/{ns}/devices/{device}", needs(MANAGE, patch(devices::change)))
        .route("delete", "/v1/namespaces/{ns}/devices/{device}", needs(MANAGE, delete(devices::forget)))
        .route("get", "/v1/namespaces/{ns}/connections", needs(READ, get(connections::list)))
        .route("delete", "/v1/namespaces/{ns}/connections/{id}", needs(MANAGE, delete(connections::end)))
        .route("get", "/v1/namespaces/{ns}/events", needs(READ, get(events::stream)))
        .route("get", "/v1/namespaces/{ns}/hooks", needs(READ, get(hooks::list)))
        .route("get", "/v1/namespaces/{ns}/hooks/{hook}/dead", needs(READ, get(hooks::dead)))
        .route("get", "/v1/namespaces/{ns}/hooks/{hook}/log", needs(READ, get(hooks::log)))
        .route("post", "/v1/namespaces/{ns}/hooks/{hook}/test", needs(MANAGE, post(hooks::test)))
        .route("get", "/v1/namespaces/{ns}/hooks/{hook}", needs(READ, get(hooks::show)))
        .route("post", "/v1/namespaces/{ns}/hooks/{hook}/replay", needs(MANAGE, post(hooks::replay)))
        .route("get", "/v1/namespaces/{ns}/rooms", needs(READ, get(rooms::list)))
        .route("get", "/v1/namespaces/{ns}/rooms/{room}", needs(READ, get(rooms::show)))
        .route("patch", "/v1/namespaces/{ns}/rooms/{room}", needs(MANAGE, patch(rooms::change)))
        .route("get", "/v1/namespaces/{ns}/rooms/{room}/members", needs(READ, get(rooms::members)))
        .route("post", "/v1/namespaces/{ns}/rooms/{room}/members", needs(MANAGE, post(rooms::add)))
        .route("delete", "/v1/namespaces/{ns}/rooms/{room}/members", needs(MANAGE, delete(rooms::remove)))
        .route("get", "/v1/namespaces/{ns}/blocks", needs(READ, get(blocks::list)))
        .route("post", "/v1/namespaces/{ns}/blocks", needs(MANAGE, post(blocks::set)))
        .route("delete", "/v1/namespaces/{ns}/blocks/{id}", needs(MANAGE, delete(blocks::lift)))
        .route("get", "/v1/namespaces/{ns}/simulations", needs(READ, get(simulations::list)))
        .route("post", "/v1/namespaces/{ns}/simulations", needs(MANAGE, post(simulations::begin)))
        .route("delete", "/v1/namespaces/{ns}/simulations/{id}", needs(MANAGE, delete(simulations::end)))
        .route("get", "/v1/namespaces/{ns}/stats", needs(READ, get(stats::list)))
        .route("get", "/v1/namespaces/{ns}/stats/current", needs(READ, get(stats::current)))
        .route("post", "/v1/namespaces/{ns}/tokens", needs(MANAGE, post(tokens::mint)))
        .route("post", "/v1/namespaces/{ns}/tokens:revoke", needs(MANAGE, post(tokens::revoke)))
        .route("post", "/v1/namespaces/{ns}/users:status", needs(READ, post(users::status)))
        .route("get", "/v1/namespaces/{ns}/users/{user}", needs(READ, get(users::show)))
        .route(
            "delete",
            "/v1/namespaces/{ns}/users/{user}/connections",
            needs(MANAGE, delete(users::disconnect)),
        )
}

/// What needs none: probes, and what clients call.
fn open() -> Routes {
    Routes::new()
        .route("post", "/v1/namespaces/{ns}/acks", post(acks::take))
        .route("get", "/healthz", get(health::healthz))
        .route("get", "/readyz", get(health::readyz))
        .route("get", "/version", get(health::version))
        .route("get", "/metrics", get(metrics::metrics))
        .route("get", "/openapi.json", get(openapi::document))
}
