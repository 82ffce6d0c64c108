//! The description of the API for others: `/openapi.json`, OpenAPI 3.1.
//!
//! Answers are described by the types that write them. Requests are described in `body`, because the
//! types that read them borrow and complain; tests hold both against the shapes that requests are
//! checked with, and the paths against the router. It knows what errors there are by rules, not path by path.

mod body;
mod device;
mod namespace;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use tidings_model::ErrorCode;
use tidings_wire::problem::CONTENT_TYPE as PROBLEM;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{ContentBuilder, HeaderBuilder, ObjectBuilder, Ref, RefOr, ResponseBuilder, Type};
use utoipa::{Modify, OpenApi};

use crate::extract::{MERGE_PATCH, TOO_SLOW};
use crate::rest::{
    acks, alerts, batch, blocks, connections, devices, events, history, hooks, keys, messages, namespaces,
    nodes, receipts, reload, report, rooms, simulations, stats, tokens, trace, users,
};
use crate::{health, metrics};

pub(crate) use body::*;
pub(crate) use device::*;
pub(crate) use namespace::*;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tidings",
        description = "A self-hosted push server: say what and to whom in one call, and know afterwards who has it.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        messages::push,
        batch::push,
        history::list,
        messages::show,
        messages::recall,
        report::show,
        receipts::list,
        trace::show,
        acks::take,
        namespaces::list,
        namespaces::create,
        namespaces::show,
        namespaces::change,
        namespaces::delete,
        namespaces::clear,
        namespaces::suspend,
        namespaces::resume,
        alerts::list,
        nodes::list,
        nodes::drain,
        keys::make,
        keys::list,
        keys::revoke,
        tokens::mint,
        tokens::revoke,
        hooks::list,
        hooks::show,
        hooks::test,
        hooks::log,
        hooks::dead,
        hooks::replay,
        connections::list,
        connections::end,
        devices::list,
        devices::show,
        devices::put,
        devices::change,
        devices::forget,
        devices::purge,
        rooms::list,
        rooms::show,
        rooms::change,
        rooms::members,
        rooms::add,
        rooms::remove,
        blocks::set,
        blocks::list,
        blocks::lift,
        simulations::begin,
        simulations::list,
        simulations::end,
        stats::list,
        stats::current,
        events::stream,
        users::show,
        users::status,
        users::disconnect,
        reload::reload,
        health::healthz,
        health::readyz,
        health::version,
        metrics::metrics,
        document,
    ),
    components(schemas(
        ProblemBody,
        PushResult,
        EntryRefused,
        GranularityWord,
        OrderWord,
        events::StatsEvent,
        events::TraceEvent,
        events::LostEvent,
        events::EndEvent
    )),
    tags(
        (name = "messages", description = "Push, and know who has it"),
        (name = "namespaces", description = "Tenants"),
        (name = "keys", description = "Who may call, and for what"),
        (name = "devices", description = "What is registered"),
        (name = "connections", description = "Who is connected"),
        (name = "rooms", description = "Named sets of devices"),
        (name = "users", description = "People, by their devices"),
        (name = "blocks", description = "Who is kept out"),
        (name = "simulations", description = "Faults on purpose, for whoever tests how a client recovers"),
        (name = "clients", description = "What clients call"),
        (name = "nodes", description = "Server processes, and what is wrong with them"),
        (name = "process", description = "Probes and numbers"),
    ),
    modifiers(&Rules)
)]
struct Document;

/// What holds for every path by rule: keys and errors.
struct Rules;

impl Modify for Rules {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_with(Default::default);
        let scheme = |scheme, words: &str| {
            let mut http = Http::new(scheme);
            http.description = Some(words.to_owned());
            SecurityScheme::Http(http)
        };
        components.add_security_scheme("bearer", scheme(HttpAuthScheme::Bearer, "A key"));
        components.add_security_scheme("basic", scheme(HttpAuthScheme::Basic, "<namespace>:<key>"));
        for (path, item) in &mut document.paths.paths {
            let body = item.patch.as_mut().and_then(|patch| patch.request_body.as_mut());
            if let Some(RefOr::T(body)) = body
                && let Some(json) = body.content.get("application/json").cloned()
            {
                body.content.insert(MERGE_PATCH.to_owned(), json);
            }
            for (writes, operation) in operations(item) {
                if path.starts_with("/v1/") {
                    let public = operation.security.is_some();
                    describe_errors(path, operation, public, writes);
                    if !public {
                        operation.security = Some(
                            ["bearer", "basic"]
                                .map(|name| utoipa::openapi::SecurityRequirement::new(name, [] as [&str; 0]))
                                .to_vec(),
                        );
                    }
                }
                for response in operation.responses.responses.values_mut() {
                    if let RefOr::T(response) = response {
                        response
                            .headers
                            .insert("X-Request-Id".to_owned(), text_header("The id of the request").into());
                    }
                }
            }
        }
    }
}

/// The operations of a path, each with whether it may write something down.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (bool, &mut Operation)> {
    [
        (false, &mut item.get),
        (true, &mut item.post),
        (true, &mut item.put),
        (true, &mut item.patch),
        (true, &mut item.delete),
    ]
    .into_iter()
    .filter_map(|(writes, operation)| Some((writes, operation.as_mut()?)))
}

fn text_header(description: &str) -> utoipa::openapi::Header {
    HeaderBuilder::new()
        .schema(Some(ObjectBuilder::new().schema_type(Type::String).build()))
        .description(Some(description))
        .build()
}

/// The errors of an operation, grouped by status.
fn describe_errors(path: &str, operation: &mut Operation, public: bool, writes: bool) {
    let has_body = operation.request_body.is_some();
    let has_input = has_body || operation.parameters.is_some();
    let pushes = path.ends_with("/messages") && has_body;
    let creates = path.starts_with("/v1/namespaces") && has_body && !path.contains("}/");
    let mut codes = vec![ErrorCode::INTERNAL, ErrorCode::DEPENDENCY_UNAVAILABLE];
    let mut add = |when: bool, more: &[ErrorCode]| {
        if when {
            codes.extend_from_slice(more);
        }
    };
    add(!public, &[ErrorCode::UNAUTHORIZED, ErrorCode::FORBIDDEN, ErrorCode::RATE_LIMITED]);
    add(has_input || !public, &[ErrorCode::INVALID_REQUEST]);
    add(path.contains("{ns}") || path.contains("{node}"), &[ErrorCode::NOT_FOUND]);
    // Also a call that is asked nothing in its body reads one, to see that there is nothing in it.
    add(has_body || !public, &[TOO_SLOW, ErrorCode::PAYLOAD_TOO_LARGE]);
    add(has_body, &[ErrorCode::UNSUPPORTED_MEDIA_TYPE]);
    add(pushes || creates, &[ErrorCode::CONFLICT]);
    add(writes, &[ErrorCode::STORAGE_FULL]);
    let asks_shards = path.ends_with("/connections") && !writes;
    let streams = path.ends_with("/events");
    add(streams, &[ErrorCode::TOO_MANY_CONNECTIONS]);
    add(pushes || asks_shards || streams || path.ends_with("/test"), &[ErrorCode::OVERLOADED]);
    let bounded = ["/simulations", "/keys", "/blocks"].iter().any(|end| path.ends_with(end));
    add(bounded && has_body || path.ends_with("/connections") && writes, &[ErrorCode::CONFLICT]);
    add(pushes, &[ErrorCode::SUSPENDED]);
    let named = path.ends_with("/devices/{device}") || path.ends_with("/rooms/{room}");
    add(named && has_body, &[ErrorCode::CONFLICT]);
    let mut by_status: BTreeMap<u16, Vec<ErrorCode>> = BTreeMap::new();
    for code in codes {
        by_status.entry(code.status).or_default().push(code);
    }
    for (status, codes) in by_status {
        let words: Vec<_> = codes.iter().map(|code| format!("`{}`: {}", code.slug, code.title)).collect();
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let mut response = ResponseBuilder::new().description(words.join("; ")).content(PROBLEM, content);
        if status == 429 || status == 503 {
            response = response.header("Retry-After", text_header("After how many seconds to try again"));
        }
        if status == 401 {
            response = response.header("WWW-Authenticate", text_header("How to send a key"));
        }
        operation.responses.responses.insert(status.to_string(), response.build().into());
    }
}

/// The document as a value, for whoever wants to look into it.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    document.info.version = env!("CARGO_PKG_VERSION").to_owned();
    document
}

static TEXT: LazyLock<String> = LazyLock::new(|| openapi().to_pretty_json().unwrap_or_default());

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "process", operation_id = "openapi",
    responses((status = 200, description = "This document", content_type = "application/json", body = Object)))]
pub(crate) async fn document() -> Response {
    ([(CONTENT_TYPE, "application/json")], TEXT.as_str()).into_response()
}
