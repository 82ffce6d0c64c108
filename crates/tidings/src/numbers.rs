//! Every number of `/metrics` as `docs/metrics.md`. Only a test writes it and holds it against the file: names, texts and units are
//! those that are registered; what no registry tells of a number that nothing was counted for yet stands here.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

use crate::{bridge, listener};

/// A number: its name as it is registered, its type, and its labels.
type Row = (&'static str, &'static str, &'static str);

const REFUSED: &str = "`reason`: at the door `origin`, `too_fast`, `address`, `full`, `lag`, `commands`, `memory`, `draining`; limits of a \
    namespace `namespace`, `device`, `user`; what makes no sense `bad_request`, `not_found`, `too_slow`; `login` (of push (koa))";
const PROTOCOL: &str = "`protocol`: `json`, `engineio3`, `engineio4`, `sse`; of older systems `light_push`, `push_koa`, `gopusher`, \
    `go_redis`, `message_push`";
const ATTEMPT: &str = "`outcome`: `accepted`, `refused`, `redirect`, `timeout`, `unreachable`, `unresolved`, `forbidden`, `tls`, `broken`";
const QUESTION: &str = "`question`: `connect`, `publish`, `rpc`, `connect_callback`, `disconnect_callback`; `outcome`: `answered`, \
    `nobody`, `busy`, `resting`, `not_understood`, `too_large`, or as above";

/// The sections of the page: a title, what names begin with, and the numbers in the order of the page.
const SECTIONS: [(&str, &str, &[Row]); 5] = [
    (
        "Pushes, messages and what becomes of them",
        "tidings_",
        &[
            ("pushes", "counter", ""),
            ("pushes_refused", "counter", ""),
            ("deliveries", "counter", ""),
            ("acks", "counter", ""),
            ("acks_refused", "counter", ""),
            ("expired", "counter", ""),
            ("recalls", "counter", ""),
            ("trimmed", "counter", ""),
            (
                "unwritten",
                "counter",
                "`reason`: `connection_lost`, `expired`, `recalled`, `slow_reader`, `collapsed`, `trimmed`",
            ),
            ("escalations", "counter", "`provider`; `outcome`: `accepted`, `refused`, `unknown`"),
            ("history_messages", "gauge", ""),
            ("history", "gauge", ""),
            ("history_trimmed", "counter", "`reason`: `age`, `size`"),
            ("history_lost", "counter", ""),
            ("history_behind", "gauge", ""),
            ("ledger_messages", "gauge", ""),
            ("ledger_lost", "counter", ""),
            ("presence_lost", "counter", ""),
            ("signals", "counter", ""),
            (
                "signals_dropped",
                "counter",
                "`reason`: `big_room`, `many_rooms`, `too_fast`, `busy`, `slow_reader`",
            ),
            ("hook_attempts", "counter", ATTEMPT),
            ("hook_questions", "counter", QUESTION),
            ("hook_dead_letters", "counter", ""),
            ("hook_dead_letters_lost", "counter", ""),
        ],
    ),
    (
        "Clients and the work that they make",
        "tidings_",
        &[
            ("connections", "gauge", PROTOCOL),
            ("connections_opened", "counter", "`protocol`, as above"),
            ("connections_closed", "counter", "`code`, `reason`: [the close codes](protocol.md#close-codes)"),
            ("connections_blocked", "gauge", ""),
            ("clients_refused", "counter", REFUSED),
            (
                "subscriptions_refused",
                "counter",
                "`reason`: `not_understood`, or a code of errors, as `not_found` and `forbidden`",
            ),
            ("keys_refused", "counter", "`reason`: `unknown`, `too_often`"),
            ("socket_writes", "counter", ""),
            ("socket_written_bytes", "counter", ""),
            ("socket_read_bytes", "counter", ""),
            ("shard_lag", "histogram", "`shard`"),
            ("shard_late", "gauge", "`shard`"),
            (
                "queued",
                "gauge",
                "`queue`: `pushes`, `push_bytes`, `ledger`, `notices`, `dead_letters`; with `shard`: `inbox`, `commands`, `rooms`",
            ),
            ("overloaded", "gauge", "`sign`: `lag`, `commands`, `memory`"),
            ("alerts", "gauge", "`kind`: [the alerts](operation.md#what-is-wrong)"),
        ],
    ),
    (
        "Calls of the API",
        "tidings_api_",
        &[
            (
                "calls",
                "counter",
                "`method`; `route`: the path with names in braces instead of what was asked for; `status`: of the answer, 499 where the caller hung up before it",
            ),
            ("call", "histogram", "`route`"),
            ("grpc_calls", "counter", "`method`; `code`: the number of the status"),
        ],
    ),
    (
        "Listeners",
        "tidings_listener_",
        &[
            ("accepted", "counter", ""),
            ("open", "gauge", ""),
            (
                "cut",
                "counter",
                "`reason`: `silent`, `crowded`, `proxy_header`, `proxy_source`, `tls`, `no_tls`, `head`, `idle`",
            ),
        ],
    ),
    (
        "What is heard on a Redis (`compat.go_redis`)",
        "tidings_bridge_",
        &[
            ("connected", "gauge", ""),
            ("received", "counter", ""),
            ("gaps", "counter", ""),
            ("away_seconds", "counter", ""),
            (
                "dropped",
                "counter",
                "`reason`: `queue_full`, `too_large`, `not_a_channel`, `overloaded`, `refused`",
            ),
            ("channels", "gauge", ""),
            ("waiting", "gauge", ""),
            ("waiting_bytes", "gauge", ""),
        ],
    ),
];

/// Everything that is registered: by the name without its unit, the name with it, and the text.
fn registered() -> BTreeMap<String, (String, String)> {
    let mut found = BTreeMap::new();
    let (mut node, mut api, mut listeners) = (Registry::default(), Registry::default(), Registry::default());
    drop(tidings_node::Metrics::register(&mut node));
    drop(tidings_api::Metrics::register(&mut api));
    drop(listener::Metrics::register(&mut listeners));
    for (prefix, registry) in [("tidings_", node), ("tidings_api_", api), ("tidings_listener_", listeners)] {
        // A number that is counted by labels is not encoded before there is something; this tells of all.
        let debug = format!("{registry:?}");
        for descriptor in debug.split("Descriptor { name: \"").skip(1) {
            let (name, rest) = descriptor.split_once("\", help: \"").unwrap();
            let (help, rest) = rest.split_once("\", unit: ").unwrap();
            let unit = rest
                .strip_prefix("Some(")
                .map_or(String::new(), |unit| format!("_{}", unit.split(')').next().unwrap().to_lowercase()));
            found.insert(format!("{prefix}{name}"), (format!("{prefix}{name}{unit}"), help.to_owned()));
        }
    }
    let (mut registry, mut encoded) = (Registry::default(), String::new());
    let counters = bridge::show(&mut registry);
    text::encode(&mut encoded, &registry).unwrap();
    drop(counters);
    for line in encoded.lines().filter_map(|line| line.strip_prefix("# HELP ")) {
        let (name, help) = line.split_once(' ').unwrap();
        found.insert(name.to_owned(), (name.to_owned(), format!("{}.", help.trim_end_matches('.'))));
    }
    found
}

/// `docs/metrics.md`.
fn page() -> String {
    let mut out = String::from(
        "<!-- Written by a test from what is registered and crates/tidings/src/numbers.rs. Change those, then run\n\
         `UPDATE_DOCS=1 cargo test -p tidings`. -->\n\n\
         # Metrics\n\n\
         `GET /metrics` answers every number of the process in the OpenMetrics text format. It needs no key. A number with labels is there once\n\
         something was counted for it. Counters are served with `_total` behind the name, as here, and begin with 0 at each start; histograms with\n\
         `_bucket`, `_sum` and `_count`. No label has a name of a user, a device, a room or a namespace: `GET /v1/namespaces/{ns}/stats` has numbers by\n\
         [namespace](operation.md#numbers-by-namespace), and [operation](operation.md#bounds) tells which number says that a bound was reached.\n",
    );
    let mut registered = registered();
    for (title, prefix, rows) in SECTIONS {
        let _ = write!(out, "\n## {title}\n\n| name | type | labels | |\n|---|---|---|---|\n");
        for (name, kind, labels) in rows {
            let (name, help) = registered
                .remove(&format!("{prefix}{name}"))
                .unwrap_or_else(|| panic!("{name} is no number"));
            let total = if *kind == "counter" { "_total" } else { "" };
            let _ = writeln!(out, "| `{name}{total}` | {kind} | {labels} | {help} |");
        }
    }
    assert!(registered.is_empty(), "SECTIONS does not have {:?}", registered.keys());
    out
}

#[test]
fn the_page_of_metrics_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let page = page();
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, page).unwrap();
        return;
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == page, "docs/metrics.md is not what the code says: UPDATE_DOCS=1 cargo test -p tidings");
}
