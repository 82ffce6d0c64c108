//! Configurations that are read, and those that are refused.

use std::fs;
use std::path::Path;

use expect_test::{Expect, expect};

use super::*;

fn load(
    toml: &str,
    environment: &[(&str, &str)],
    flags: &[(&'static str, &str)],
) -> Result<Config, ConfigErrors> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("t.toml");
    fs::write(&file, toml).unwrap();
    Config::load(Sources {
        file: Some(file),
        environment: environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        flags: flags.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
    })
    .map_err(|errors| {
        let prefix = format!("{}/", directory.path().display());
        let strip = |ConfigError { key, value, origin, problem }: ConfigError| {
            let [origin, problem] = [origin, problem].map(|text| text.replace(&prefix, ""));
            ConfigError { key, value, origin, problem }
        };
        ConfigErrors(errors.0.into_iter().map(strip).collect())
    })
}

fn refused(toml: &str, environment: &[(&str, &str)], flags: &[(&'static str, &str)], expect: Expect) {
    expect.assert_eq(&load(toml, environment, flags).unwrap_err().to_string());
}

#[test]
fn every_default_is_valid() {
    let config = load("", &[], &[]).unwrap();
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.clients.max_message, 1_000_000);
    assert_eq!(config.store.path, Path::new("./tidings-data"));
    assert!(config.process.shards >= 1);
    assert!(config.process.admin_key.is_none());
    let names: Vec<_> = SECTIONS.iter().flat_map(|section| section.keys).map(|key| key.name).collect();
    assert!(names.iter().all(|name| names.iter().filter(|other| other == &name).count() == 1));
    assert!(RELOADED.iter().all(|name| names.contains(name)));
}

#[test]
fn the_later_source_wins() {
    let toml =
        "[server]\nlisten = \"127.0.0.1:1\"\n[clients]\nping_interval = \"1s\"\n[outbox]\nframes = 100\n";
    let environment = [("TIDINGS_SERVER__LISTEN", "127.0.0.1:2"), ("TIDINGS_CLIENTS__PING_INTERVAL", "2s")];
    let config = load(toml, &environment, &[("server.listen", "127.0.0.1:3")]).unwrap();
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:3");
    assert_eq!(config.clients.ping_interval.as_secs(), 2);
    assert_eq!(config.outbox.frames, 100);
}

#[test]
fn what_is_otherwise_is_named() {
    let one = load("[log]\nlevel = \"info\"\n[store]\ncache = \"1MiB\"\n", &[], &[]).unwrap();
    let two = load("[server]\nlisten = \"127.0.0.1:1\"\n[store]\ncache = \"2MiB\"\n", &[], &[]).unwrap();
    assert_eq!(one.differences(&two).collect::<Vec<_>>(), ["server.listen", "store.cache"]);
    assert_eq!(one.differences(&one).count(), 0);
}

#[test]
fn the_default_file_is_the_default() {
    let text = document::default_file();
    load(&text, &[], &[]).unwrap();
    // With every comment of a setting removed, too (a secret's file and its empty default aside).
    let settings: String = text
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.contains("admin_key") || rest.contains("redis_file") => format!("{line}\n"),
            Some(rest) if rest.contains(" = ") || rest.starts_with('[') => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    assert_eq!(settings.matches("\nframes = 1024\n").count(), 1);
    let settings = settings.replace(
        "secret_file = \"/run/secrets/shop-jwt",
        &format!("secret = \"{}", "0123456789abcdef".repeat(2)),
    );
    assert_eq!(load(&settings, &[], &[]).unwrap().namespaces.len(), 1);
}

#[test]
fn what_is_wrong_is_named() {
    refused(
        "shard = 1\n[server]\nlisten = 8080\nlisten_on = \"x\"\nbacklog = 0\n\n[store]\npath = [1]\ncache = \"big\"\n[sever]\nx = 1\n",
        &[
            ("TIDINGS_CLIENTS__PING_INTERVAL", "5"),
            ("TIDINGS_OUTBOX__FRAME", "5"),
            ("TIDINGS_PORT", "tcp://x"),
            ("TIDINGS_SHARDS", "65"),
        ],
        &[("log.level", "loud")],
        expect![[r#"
            configuration: store.path (t.toml:8): must be a string, a whole number, true, false or a list of strings; an entry is of type integer
            configuration: server.listen_on = "x" (t.toml:4): is not a known key; there are server.listen, server.unix_mode, server.reuse_port, server.backlog, server.shutdown_timeout, server.drain_pause, server.drain_window, server.proxy_protocol, server.proxy_protocol_from, server.trusted_proxies, server.forwarded_header
            configuration: sever.x = "1" (t.toml:11): is not a known key; there are shards, admin_key, server, server.tls, store, clients, limits, outbox, overload, escalation, statistics, simulations, compat.light_push, compat.push_koa, compat.gopusher, compat.go_redis, compat.message_push, log, namespaces
            configuration: shard = "1" (t.toml:1): is not a known key; there are shards, admin_key, server, server.tls, store, clients, limits, outbox, overload, escalation, statistics, simulations, compat.light_push, compat.push_koa, compat.gopusher, compat.go_redis, compat.message_push, log, namespaces
            configuration: outbox.frame = "5" (environment variable TIDINGS_OUTBOX__FRAME): is not a known key; there are outbox.frames, outbox.size, outbox.unsent
            configuration: shards = "65" (environment variable TIDINGS_SHARDS): must be a whole number from 0 to 64
            configuration: server.listen = "8080" (t.toml:3): must be an IP address and a port, as in "127.0.0.1:8080", "0.0.0.0:8080" or "[::]:8080", or a Unix socket, as in "unix:/run/tidings.sock"
            configuration: server.backlog = "0" (t.toml:5): must be a whole number from 1 to 65535
            configuration: store.cache = "big" (t.toml:9): must be a whole number with a unit (B, KB, MB, GB, KiB, MiB or GiB), as in "64MiB"
            configuration: clients.ping_interval = "5" (environment variable TIDINGS_CLIENTS__PING_INTERVAL): must be a whole number with a unit (ms, s, m, h or d), as in "90s"
            configuration: log.level = "loud" (flag --log): must be error, warn, info, debug or trace, or directives such as "info,tidings_gateway=debug""#]],
    );
    refused(
        "[server\nlisten = 1\n",
        &[],
        &[],
        expect!["configuration: (t.toml:1): unclosed table, expected `]`"],
    );
    refused(
        "[server]\nlisten = \"${ADDRESS}\"\n",
        &[],
        &[],
        expect![
            "configuration: server.listen (t.toml:2): names the environment variable ADDRESS, which is not set"
        ],
    );
}

#[test]
fn a_list_is_a_list_or_a_text() {
    let listed =
        load("[server]\ntrusted_proxies = [\"10.0.0.0/8\", \"${NET}\"]\n", &[("NET", "::1")], &[]).unwrap();
    let text = load("", &[("TIDINGS_SERVER__TRUSTED_PROXIES", "10.0.0.0/8,::1")], &[]).unwrap();
    assert_eq!(listed.server.sources.trusted, text.server.sources.trusted);
    refused(
        "[server]\nproxy_protocol = \"required\"\ntrusted_proxies = \"10.0.0.0/8, here\"\n",
        &[],
        &[],
        expect![[r#"
            configuration: server.trusted_proxies = "10.0.0.0/8, here" (t.toml:3): must list addresses and networks, as in "10.0.0.0/8, 192.0.2.7, fd00::/8", or the word unix; "here" is none of these
            configuration: server.proxy_protocol = "required" (t.toml:2): needs server.proxy_protocol_from: without it nobody may write the header that everybody must"#]],
    );
}

#[test]
fn a_secret_may_come_from_a_file_and_is_not_shown() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key");
    fs::write(&file, "tk_0123456789abcdef\n").unwrap();
    let path = file.display().to_string();
    let config = load("", &[("TIDINGS_ADMIN_KEY_FILE", &path)], &[]).unwrap();
    assert_eq!(config.process.admin_key.unwrap().0, "tk_0123456789abcdef");
    let config = load("admin_key = \"${KEY}\"\n", &[("KEY", "tk_fedcba9876543210")], &[]).unwrap();
    assert_eq!(config.process.admin_key.unwrap().0, "tk_fedcba9876543210");
    refused(
        "admin_key = \"short\"\n",
        &[],
        &[],
        expect!["configuration: admin_key (t.toml:1): must be 16 to 256 printable characters without spaces"],
    );
    let errors = load("admin_key_file = \"/nowhere/at/all\"\n", &[], &[]).unwrap_err().to_string();
    assert!(errors.contains("admin_key_file = \"/nowhere/at/all\" (t.toml:1): cannot be read"), "{errors}");
}

#[test]
fn a_secret_and_its_file_do_not_stand_side_by_side() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key");
    fs::write(&file, "tk_of_the_file_0000\n").unwrap();
    let path = file.display().to_string();
    refused(
        "admin_key = \"tk_0123456789abcdef\"\nadmin_key_file = \"/nowhere\"\n",
        &[],
        &[],
        expect![
            "configuration: admin_key_file (t.toml:2): stands beside admin_key (t.toml:1); one of them is enough"
        ],
    );
    refused(
        "",
        &[("TIDINGS_ADMIN_KEY_FILE", &path), ("TIDINGS_ADMIN_KEY", "tk_0123456789abcdef")],
        &[],
        expect![
            "configuration: admin_key (environment variable TIDINGS_ADMIN_KEY): stands beside admin_key_file (environment variable TIDINGS_ADMIN_KEY_FILE); one of them is enough"
        ],
    );
    // Of two sources the later one wins, whichever of the two it gives.
    let key = |toml: &str, environment: &[(&str, &str)]| {
        load(toml, environment, &[]).unwrap().process.admin_key.unwrap().0
    };
    let named = format!("admin_key_file = {path:?}\n");
    assert_eq!(key(&named, &[("TIDINGS_ADMIN_KEY", "tk_0123456789abcdef")]), "tk_0123456789abcdef");
    let given = "admin_key = \"tk_0123456789abcdef\"\n";
    assert_eq!(key(given, &[("TIDINGS_ADMIN_KEY_FILE", &path)]), "tk_of_the_file_0000");
}

#[test]
fn numbers_may_be_written_as_toml_has_them() {
    let config = load("[server]\nunix_mode = 0o640\nbacklog = 0x1_000\n", &[], &[]).unwrap();
    assert_eq!((config.server.manner.unix_mode, config.server.backlog), (0o640, 4_096));
    assert_eq!(load("[server]\nunix_mode = \"0640\"\n", &[], &[]).unwrap().server.manner.unix_mode, 0o640);
    refused(
        "[server]\nunix_mode = 0x1b0\nbacklog = 0x10_000\ndrain_pause = 1.5\n[compat.go_redis]\nchannels = [\"news\", 1]\n",
        &[],
        &[],
        expect![[r#"
            configuration: compat.go_redis.channels (t.toml:6): must be a string, a whole number, true, false or a list of strings; an entry is of type integer
            configuration: server.drain_pause (t.toml:4): must be a string, a whole number, true, false or a list of strings; this is of type float
            configuration: server.unix_mode = "0x1b0" (t.toml:2): must be an octal mode from 0000 to 0777, as in "0660"
            configuration: server.backlog = "0x10000" (t.toml:3): must be a whole number from 1 to 65535"#]],
    );
}

#[test]
fn an_older_system_has_an_address_of_its_own() {
    let two = "[server]\nlisten = \"127.0.0.1:9001\"\n[compat.gopusher]\nenabled = true\nlisten = \"127.0.0.1:9001\"\n\
        [compat.go_redis]\nenabled = true\nlisten = \"127.0.0.1:9001\"\n";
    refused(
        two,
        &[],
        &[],
        expect![[r#"
        configuration: compat.gopusher.listen = "127.0.0.1:9001" (t.toml:5): is the address of server.listen
        configuration: compat.go_redis.listen = "127.0.0.1:9001" (t.toml:8): is the address of server.listen"#]],
    );
    let any = "[compat.gopusher]\nenabled = true\nlisten = \"0.0.0.0:8080\"\n[compat.go_redis]\nenabled = true\nlisten = \"[::]:8080\"\n";
    refused(
        any,
        &[],
        &[],
        expect![[r#"
        configuration: compat.gopusher.listen = "0.0.0.0:8080" (t.toml:3): collides with server.listen, which is 127.0.0.1:8080; set another port
        configuration: compat.go_redis.listen = "[::]:8080" (t.toml:6): collides with server.listen, which is 127.0.0.1:8080; set another port"#]],
    );
    assert!(load(&any.replace("8080", "0"), &[], &[]).is_ok(), "each takes a free port");
    assert!(load(&two.replace("9001", "0"), &[], &[]).is_ok(), "each takes a free port");
    assert!(
        load(&two.replace("enabled = true", "enabled = false"), &[], &[]).is_ok(),
        "nobody listens there"
    );
}

#[test]
fn a_namespace_is_declared_as_the_api_has_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("jwt");
    fs::write(&file, "0123456789abcdef0123456789abcdef\n").unwrap();
    let toml = format!(
        r#"
            [namespaces.shop]
            title = "Shop of ${{WHO}}"
            auth.mode = "token"
            auth.jwt = {{ algorithms = ["HS256"], secret_file = {file:?} }}
            limits.connections = 1_000
            limits.message_size = "32KiB"
            presence.notify = true
            [[namespaces.shop.hooks]]
            name = "crm"
            url = "https://${{WHO}}.example.com/"
            events = ["undelivered"]
            secret = "${{SECRET}}"
            [namespaces.open]
            auth = {{ mode = "open" }}
        "#
    );
    let environment = [("WHO", "ann"), ("SECRET", "0123456789abcdef")];
    let declared = |name: &str, body: serde_json::Value| {
        Declared::check(name, body.as_object().unwrap().clone()).unwrap()
    };
    let shop = serde_json::json!({
        "title": "Shop of ann",
        "auth": {
            "mode": "token",
            "jwt": {"algorithms": ["HS256"], "secret": "0123456789abcdef0123456789abcdef"},
        },
        "limits": {"connections": 1_000, "message_size": "32KiB"},
        "presence": {"notify": true},
        "hooks": [{
            "name": "crm",
            "url": "https://ann.example.com/",
            "events": ["undelivered"],
            "secret": "0123456789abcdef",
        }],
    });
    let open = declared("open", serde_json::json!({"auth": {"mode": "open"}}));
    assert_eq!(load(&toml, &environment, &[]).unwrap().namespaces, [open, declared("shop", shop)]);
    assert!(load("", &[], &[]).unwrap().namespaces.is_empty());
}

#[test]
fn what_is_wrong_with_a_declared_namespace_is_named() {
    refused(
        r#"
[namespaces.shop]
name = "shop"
[namespaces.Shop]
auth.mode = "open"
[namespaces.a]
auth.mode = "closed"
colour = "red"
[namespaces.b]
title = 5
limits = { connections = -1, message_size = "1TB" }
[namespaces.c]
title = "${NOBODY}"
auth = { mode = "token", jwt = { algorithms = ["HS256"], secret = "x", secret_file = "/y" } }
history.keep = 1979-05-27
[namespaces.d]
auth.mode = "open"
[[namespaces.d.hooks]]
name = "one"
url = "https://one.example.com/"
events = ["acked"]
secret_file = "/nowhere/at/all"
[[namespaces.d.hooks]]
name = "two"
url = "ftp://two.example.com/"
events = ["acked",
  "never"]
secret = "short"
[namespaces]
e = 5
[namespaces.f]
limits.connections = 20_000_000
"#,
        &[("TIDINGS_NAMESPACES__G__TITLE", "G")],
        &[],
        expect![[r#"
            configuration: namespaces.c.auth.jwt.secret_file (t.toml:14): stands beside `secret`; one of them is enough
            configuration: namespaces.c.history.keep (t.toml:15): must not be a date; write it as a string
            configuration: namespaces.c.title (t.toml:13): names the environment variable NOBODY, which is not set
            configuration: namespaces.d.hooks[0].secret_file = "/nowhere/at/all" (t.toml:22): cannot be read: No such file or directory (os error 2)
            configuration: namespaces.e (t.toml:30): must be a table, as in [namespaces.shop]; this is of type integer
            configuration: namespaces.g.title = "G" (environment variable TIDINGS_NAMESPACES__G__TITLE): is no key: namespaces are declared in the file; its strings may name environment variables
            configuration: namespaces."Shop" (t.toml:4): "Shop" must match [a-z0-9][a-z0-9_-]{0,49}, but does not at byte 0
            configuration: namespaces.a.colour (t.toml:8): is not a known field; there are name, title, state, auth, hooks, limits, outbox, mailbox, history, offline, presence, origins
            configuration: namespaces.b.limits.connections (t.toml:11): must be a whole number from 0 on, not the number -1
            configuration: namespaces.b.title (t.toml:10): must be a string, not the number 5
            configuration: namespaces.d.hooks[1].url (t.toml:25): "ftp://two.example.com/" must begin with https:// or http://
            configuration: namespaces.d.hooks[1].events[1] (t.toml:27): is "never", must be one of undelivered, escalated, online, offline, disconnected, joined, left, occupied, vacated, acked, publish, rpc
            configuration: namespaces.d.hooks[1].secret (t.toml:28): has 5 bytes, must have 16 to 256
            configuration: namespaces.f.auth.mode (t.toml:31): is required: who may connect, one of open, token, hook, token+hook
            configuration: namespaces.f.limits.connections (t.toml:32): is 20000000, must be from 1 to 10000000, or 0 for no limit
            configuration: namespaces.shop.name (t.toml:3): stands in the name of the table already; leave it out"#]],
    );
    refused(
        "namespaces = true\n",
        &[],
        &[],
        expect![
            "configuration: namespaces (t.toml:1): must be tables, as in [namespaces.shop]; this is of type boolean"
        ],
    );
}

#[test]
fn the_manual_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let manual = manual::manual();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, manual).unwrap();
        return;
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == manual,
        "docs/configuration.md is not what the code says: UPDATE_DOCS=1 cargo test -p tidings"
    );
}
