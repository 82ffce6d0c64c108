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
use axum::handler::Handler;
use axum::routing::{MethodFilter, on};

use tidings_node::keys::Scope;

use crate::auth::Need;
use crate::call::{Answering, Call, Reads};
use crate::{ApiState, health, metrics, openapi, problem};

/// A router, and what it answers.
pub(crate) struct Routes {
    pub(crate) router: Router<ApiState>,
    /// Method and path, in the order in which they were added.
    pub(crate) list: Vec<(&'static str, &'static str)>,
}

/// The calls that are asked something in their query. All others that need a key refuse one: who says `?dry_run=true` where that
/// belongs into the body would have done what was only to be tried.
pub(crate) const ASKED: [(&str, &str); 14] = [
    ("get", "/v1/namespaces"),
    ("get", "/v1/namespaces/{ns}/blocks"),
    ("get", "/v1/namespaces/{ns}/connections"),
    ("get", "/v1/namespaces/{ns}/devices"),
    ("get", "/v1/namespaces/{ns}/events"),
    ("get", "/v1/namespaces/{ns}/hooks/{hook}/dead"),
    ("get", "/v1/namespaces/{ns}/messages"),
    ("get", "/v1/namespaces/{ns}/messages/{id}/receipts"),
    ("get", "/v1/namespaces/{ns}/messages/{id}/trace"),
    ("get", "/v1/namespaces/{ns}/rooms"),
    ("get", "/v1/namespaces/{ns}/rooms/{room}/members"),
    ("get", "/v1/namespaces/{ns}/stats"),
    ("post", "/v1/namespaces/{ns}/acks"),
    ("delete", "/v1/namespaces/{ns}/users/{user}/connections"),
];

/// The calls that are given something in their body. All others that need a key refuse one, for the same reason.
pub(crate) const GIVEN: [(&str, &str); 17] = [
    ("delete", "/v1/namespaces/{ns}/rooms/{room}/members"),
    ("patch", "/v1/namespaces/{ns}"),
    ("patch", "/v1/namespaces/{ns}/devices/{device}"),
    ("patch", "/v1/namespaces/{ns}/rooms/{room}"),
    ("post", "/v1/namespaces"),
    ("post", "/v1/namespaces/{ns}/acks"),
    ("post", "/v1/namespaces/{ns}/blocks"),
    ("post", "/v1/namespaces/{ns}/devices:purge"),
    ("post", "/v1/namespaces/{ns}/keys"),
    ("post", "/v1/namespaces/{ns}/messages"),
    ("post", "/v1/namespaces/{ns}/messages:batch"),
    ("post", "/v1/namespaces/{ns}/rooms/{room}/members"),
    ("post", "/v1/namespaces/{ns}/simulations"),
    ("post", "/v1/namespaces/{ns}/tokens"),
    ("post", "/v1/namespaces/{ns}/tokens:revoke"),
    ("post", "/v1/namespaces/{ns}/users:status"),
    ("put", "/v1/namespaces/{ns}/devices/{device}"),
];

macro_rules! methods {
    ($($name:ident $filter:ident $word:literal;)*) => {
        $(fn $name<T: 'static>(
            self,
            path: &'static str,
            need: Option<Need>,
            handler: impl Handler<T, ApiState, Future = Answering>,
        ) -> Self {
            let reads = Reads { query: ASKED.contains(&($word, path)), body: GIVEN.contains(&($word, path)) };
            self.described($word, path).answered(MethodFilter::$filter, path, Call::new(need, reads, handler))
        })*
    };
}

impl Routes {
    fn new() -> Self {
        Self { router: Router::new(), list: Vec::new() }
    }

    methods! {
        get GET "get";
        post POST "post";
        put PUT "put";
        patch PATCH "patch";
        delete DELETE "delete";
    }

    /// What answers a path; that it does is described by itself.
    fn on<T: 'static>(
        self,
        method: MethodFilter,
        path: &'static str,
        need: Option<Need>,
        handler: impl Handler<T, ApiState, Future = Answering>,
    ) -> Self {
        self.answered(method, path, Call::new(need, Reads::NOTHING, handler))
    }

    fn answered<T: 'static>(
        self,
        method: MethodFilter,
        path: &'static str,
        call: Call<impl Handler<T, ApiState, Future = Answering>>,
    ) -> Self {
        Self { router: self.router.route(path, on(method, call)), list: self.list }
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

/// Every path, and an answer for every other one.
pub(crate) fn routes() -> Routes {
    let Routes { router, list } = open().merge(keyed());
    let router = router
        .method_not_allowed_fallback(Call::new(None, Reads::NOTHING, problem::method_not_allowed))
        .fallback(Call::new(None, Reads::NOTHING, problem::no_such_path));
    Routes { router, list }
}

/// What needs a key, and for what.
fn keyed() -> Routes {
    const ADMIN: Option<Need> = Some(Need::Admin);
    const PUSH: Option<Need> = Some(Need::Scope(Scope::Push));
    const READ: Option<Need> = Some(Need::Scope(Scope::Read));
    const MANAGE: Option<Need> = Some(Need::Scope(Scope::Manage));
    Routes::new()
        .get("/v1/namespaces", ADMIN, namespaces::list)
        .post("/v1/namespaces", ADMIN, namespaces::create)
        .get("/v1/namespaces/{ns}", READ, namespaces::show)
        .patch("/v1/namespaces/{ns}", MANAGE, namespaces::change)
        .delete("/v1/namespaces/{ns}", ADMIN, namespaces::delete)
        .on(MethodFilter::POST, "/v1/namespaces/{ns}", ADMIN, namespaces::act)
        .described("post", "/v1/namespaces/{ns}:clear")
        .described("post", "/v1/namespaces/{ns}:suspend")
        .described("post", "/v1/namespaces/{ns}:resume")
        .post("/v1/reload", ADMIN, reload::reload)
        .get("/v1/alerts", ADMIN, alerts::list)
        .get("/v1/nodes", ADMIN, nodes::list)
        .on(MethodFilter::POST, "/v1/nodes/{node}", ADMIN, nodes::act)
        .described("post", "/v1/nodes/{node}:drain")
        .get("/v1/namespaces/{ns}/keys", MANAGE, keys::list)
        .post("/v1/namespaces/{ns}/keys", MANAGE, keys::make)
        .delete("/v1/namespaces/{ns}/keys/{id}", MANAGE, keys::revoke)
        .get("/v1/namespaces/{ns}/messages", READ, history::list)
        .post("/v1/namespaces/{ns}/messages", PUSH, messages::push)
        .post("/v1/namespaces/{ns}/messages:batch", PUSH, batch::push)
        .get("/v1/namespaces/{ns}/messages/{id}", READ, messages::show)
        .delete("/v1/namespaces/{ns}/messages/{id}", PUSH, messages::recall)
        .get("/v1/namespaces/{ns}/messages/{id}/report", READ, report::show)
        .get("/v1/namespaces/{ns}/messages/{id}/receipts", READ, receipts::list)
        .get("/v1/namespaces/{ns}/messages/{id}/trace", READ, trace::show)
        .get("/v1/namespaces/{ns}/devices", READ, devices::list)
        .post("/v1/namespaces/{ns}/devices:purge", MANAGE, devices::purge)
        .get("/v1/namespaces/{ns}/devices/{device}", READ, devices::show)
        .put("/v1/namespaces/{ns}/devices/{device}", MANAGE, devices::put)
        .patch("/v1/namespaces/{ns}/devices/{device}", MANAGE, devices::change)
        .delete("/v1/namespaces/{ns}/devices/{device}", MANAGE, devices::forget)
        .get("/v1/namespaces/{ns}/connections", READ, connections::list)
        .delete("/v1/namespaces/{ns}/connections/{id}", MANAGE, connections::end)
        .get("/v1/namespaces/{ns}/events", READ, events::stream)
        .get("/v1/namespaces/{ns}/hooks", READ, hooks::list)
        .get("/v1/namespaces/{ns}/hooks/{hook}/dead", READ, hooks::dead)
        .get("/v1/namespaces/{ns}/hooks/{hook}/log", READ, hooks::log)
        .post("/v1/namespaces/{ns}/hooks/{hook}/test", MANAGE, hooks::test)
        .get("/v1/namespaces/{ns}/hooks/{hook}", READ, hooks::show)
        .post("/v1/namespaces/{ns}/hooks/{hook}/replay", MANAGE, hooks::replay)
        .get("/v1/namespaces/{ns}/rooms", READ, rooms::list)
        .get("/v1/namespaces/{ns}/rooms/{room}", READ, rooms::show)
        .patch("/v1/namespaces/{ns}/rooms/{room}", MANAGE, rooms::change)
        .get("/v1/namespaces/{ns}/rooms/{room}/members", READ, rooms::members)
        .post("/v1/namespaces/{ns}/rooms/{room}/members", MANAGE, rooms::add)
        .delete("/v1/namespaces/{ns}/rooms/{room}/members", MANAGE, rooms::remove)
        .get("/v1/namespaces/{ns}/blocks", READ, blocks::list)
        .post("/v1/namespaces/{ns}/blocks", MANAGE, blocks::set)
        .delete("/v1/namespaces/{ns}/blocks/{id}", MANAGE, blocks::lift)
        .get("/v1/namespaces/{ns}/simulations", READ, simulations::list)
        .post("/v1/namespaces/{ns}/simulations", MANAGE, simulations::begin)
        .delete("/v1/namespaces/{ns}/simulations/{id}", MANAGE, simulations::end)
        .get("/v1/namespaces/{ns}/stats", READ, stats::list)
        .get("/v1/namespaces/{ns}/stats/current", READ, stats::current)
        .post("/v1/namespaces/{ns}/tokens", MANAGE, tokens::mint)
        .post("/v1/namespaces/{ns}/tokens:revoke", MANAGE, tokens::revoke)
        .post("/v1/namespaces/{ns}/users:status", READ, users::status)
        .get("/v1/namespaces/{ns}/users/{user}", READ, users::show)
        .delete("/v1/namespaces/{ns}/users/{user}/connections", MANAGE, users::disconnect)
}

/// What needs none: probes, and what clients call.
fn open() -> Routes {
    Routes::new()
        .post("/v1/namespaces/{ns}/acks", None, acks::take)
        .get("/healthz", None, health::healthz)
        .get("/readyz", None, health::readyz)
        .get("/version", None, health::version)
        .get("/metrics", None, metrics::metrics)
        .get("/openapi.json", None, openapi::document)
}
