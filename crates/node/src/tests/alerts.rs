//! What is wrong: each kind is on while it is so, and over when it is not.

use tidings_store::StoreError;

use super::*;
use crate::alerts::{AlertKind, ENDED_MAX};
use crate::ask::ConnectHook;
use crate::metrics::Sign;
use crate::notify::{Hook, HookUrl, Notice, NoticeKind, Secret};
use crate::token::Jwt;

impl World {
    /// All alerts, as `kind namespace/hook since-until (detail)`.
    fn wrong(&self, files: Option<(u64, u64)>) -> Vec<String> {
        self.node.look_for_alerts(files);
        let alerts = self.node.alerts().into_iter().map(|alert| {
            let about = alert.namespace.map(|namespace| {
                format!(" {namespace}{}", alert.hook.map(|hook| format!("/{hook}")).unwrap_or_default())
            });
            let until = alert.until.map(|until| until.0.to_string()).unwrap_or_default();
            let detail = alert.detail.map(|detail| format!(" ({detail})")).unwrap_or_default();
            format!("{}{} {}-{until}{detail}", alert.kind.as_str(), about.unwrap_or_default(), alert.since.0)
        });
        alerts.collect()
    }

    fn later(&self, ms: u64) {
        self.time.fetch_add(ms, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn the_store_refuses_and_takes_again() {
    let world = World::new().await;
    assert!(world.wrong(None).is_empty());
    let alerts = &world.node.alerts;
    alerts.stored(Err(&StoreError::Full("no space left".to_owned())));
    assert_eq!(world.wrong(None), ["store_full 1000-"]);
    world.later(5_000);
    alerts.stored(Err(&StoreError::Io("broken".to_owned())));
    let wrong = world.wrong(None);
    assert!(wrong[0].starts_with("store_failing 6000- (") && wrong[0].contains("broken"), "{wrong:?}");
    assert_eq!(wrong[1], "store_full 1000-6000");
    world.later(1_000);
    // A push that is accepted says that all is well.
    world.push(push(users(&["ann"]))).await;
    let wrong = world.wrong(None);
    assert!(wrong[0].starts_with("store_failing 6000-7000"), "{wrong:?}");
    assert_eq!(wrong.len(), 2);
}

#[tokio::test]
async fn the_store_is_asked_whether_it_takes_something_again() {
    let world = World::new().await;
    world.node.alerts.stored(Err(&StoreError::Full("no space left".to_owned())));
    assert_eq!(world.wrong(None), ["store_full 1000-"]);
    // Nobody pushes meanwhile.
    for _ in 0..10 {
        world.later(1_000);
        world.node.try_store_again().await;
        assert_eq!(world.wrong(None), ["store_full 1000-"]);
    }
    world.later(1_000);
    world.node.try_store_again().await;
    assert_eq!(world.wrong(None), ["store_full 1000-12000"]);
}

#[tokio::test]
async fn a_store_that_hangs_is_told() {
    let world = World::new().await;
    let waits = world.node.backlog.enter(1).unwrap();
    for _ in 0..10 {
        assert!(world.wrong(None).is_empty());
        world.later(1_000);
    }
    let hangs = "store_failing 11000- (pushes have waited for it for 11 s, and it has not answered)";
    assert_eq!(world.wrong(None), [hangs]);
    drop(waits);
    world.later(1_000);
    assert!(world.wrong(None)[0].starts_with("store_failing 11000-12000"));
}

#[tokio::test]
async fn what_happened_counts_for_a_minute() {
    let world = World::new().await;
    world.wrong(None);
    world.node.metrics.pushes_refused.inc_by(3);
    world.node.metrics.ledger_lost.inc();
    world.node.metrics.history_lost.inc();
    let on = [
        "pushes_refused 1000- (3 in a second)",
        "receipts_lost 1000- (1 in a second)",
        "history_lost 1000- (1 in a second)",
    ];
    assert_eq!(world.wrong(None), on);
    world.later(59_999);
    assert_eq!(world.wrong(None), on);
    world.node.metrics.ledger_lost.inc();
    world.later(1);
    assert_eq!(
        world.wrong(None),
        [
            "receipts_lost 1000- (1 in a second)",
            "history_lost 1000-61000 (1 in a second)",
            "pushes_refused 1000-61000 (3 in a second)",
        ]
    );
}

#[tokio::test]
async fn signs_of_overload_and_open_files() {
    let world = World::new().await;
    for (sign, kind) in [("memory", "memory"), ("lag", "lag"), ("commands", "handshakes")] {
        let gauge = world.node.metrics.overloaded.get_or_create_owned(&Sign { sign });
        gauge.inc();
        assert_eq!(world.wrong(None)[0], format!("{kind} 1000-"));
        gauge.dec();
        assert_eq!(world.wrong(None)[0], format!("{kind} 1000-1000"));
    }
    assert_eq!(world.wrong(Some((899, 1_000))).len(), 3);
    assert_eq!(world.wrong(Some((900, 1_000)))[0], "files 1000- (900 of 1000)");
    assert_eq!(world.wrong(Some((10, 1_000)))[0], "files 1000-1000 (900 of 1000)");
}

#[tokio::test]
async fn a_certificate_ends() {
    let world = World::new().await;
    let fourteen_days = 14 * 24 * 3_600_000;
    for (ends, on) in
        [(None, false), (Some(fourteen_days + 1_001), false), (Some(fourteen_days + 1_000), true)]
    {
        world.node.certificate_ends(ends.map(Timestamp));
        assert_eq!(!world.wrong(None).is_empty(), on, "{ends:?}");
    }
    assert_eq!(world.wrong(None), ["certificate 1000- (at 1970-01-15T00:00:01.000Z)"]);
    world.node.certificate_ends(Some(Timestamp(0)));
    assert!(world.wrong(None)[0].starts_with("certificate 1000- "), "it has ended");
}

#[tokio::test]
async fn a_redis_is_away() {
    let world = World::new().await;
    for (away, shown) in [(true, "redis_away 1000-"), (false, "redis_away 1000-1000")] {
        world.node.redis_is_away(away);
        assert_eq!(world.wrong(None), [shown]);
    }
}

/// Where nobody listens.
fn nowhere() -> HookUrl {
    HookUrl::parse("http://127.0.0.1:1/").unwrap()
}

fn crm() -> Hook {
    Hook {
        name: "crm".parse().unwrap(),
        url: nowhere(),
        events: vec![NoticeKind::Acked],
        questions: Vec::new(),
        batch: 1,
        timeout_ms: 3_000,
        secret: Secret("0123456789abcdef".to_owned()),
        allow_private: true,
    }
}

#[tokio::test(start_paused = true)]
async fn a_hook_fails_and_leaves_dead_letters() {
    let world = World::with(|settings| settings.hooks = vec![crm()]).await;
    let namespace = world.node.namespace("demo").unwrap();
    let notice = Notice { id: None, kind: NoticeKind::Acked, at: Timestamp(1_000), data: "{}".to_owned() };
    world.node.notify(&namespace, vec![notice]).await.unwrap();
    let mut wrong = Vec::new();
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        wrong = world.wrong(None);
        if !wrong.is_empty() {
            break;
        }
        world.later(2_000);
    }
    let attempts = world.node.hook_log(&namespace, &"crm".parse().unwrap()).unwrap().len();
    assert_eq!(attempts, 3);
    assert!(wrong[0].starts_with("hook_failing demo/crm "), "{wrong:?}");
    assert!(wrong[0].ends_with(" 3 times in a row; 1 wait)"), "{wrong:?}");
    // A day later it is given up and kept, and nothing waits for the hook any more.
    for _ in 0..100 {
        world.later(24 * 3_600_000);
        tokio::time::sleep(Duration::from_secs(1)).await;
        wrong = world.wrong(None);
        if wrong[0].starts_with("dead_letters") {
            break;
        }
    }
    assert!(
        wrong[0].starts_with("dead_letters demo/crm ") && wrong[0].ends_with("(1 are kept)"),
        "{wrong:?}"
    );
    assert!(wrong[1].starts_with("hook_failing demo/crm "), "{wrong:?}");
    // A hook that is none any more is no matter.
    let settings = Settings { hooks: Vec::new(), ..Settings::clone(&namespace.settings()) };
    world.node.change_namespace(namespace.changing().await, settings).await.unwrap();
    world.node.look_for_alerts(None);
    assert!(world.node.alerts().iter().all(|alert| alert.until.is_some()));
}

#[tokio::test]
async fn a_hook_that_is_asked_is_left_alone() {
    let world = World::with(|settings| {
        settings.auth = AuthMode::Hook;
        settings.connect_hook =
            Some(ConnectHook { url: nowhere(), timeout_ms: 300, secret: None, allow_private: true });
    })
    .await;
    for _ in 0..5 {
        assert!(world.wrong(None).is_empty());
        let claim = Claim { user: Some(UserId::new("ann").unwrap()), ..Claim::default() };
        assert!(world.node.identify(&demo(), claim).await.is_err());
    }
    assert_eq!(world.wrong(None), ["hook_resting demo 1000- (connect)"]);
}

#[tokio::test]
async fn keys_that_cannot_be_fetched() {
    let world = World::with(|settings| {
        settings.auth = AuthMode::Token;
        let jwt = serde_json::json!({
            "algorithms": ["ES256"], "jwks_url": nowhere().to_string(), "allow_private": true,
        });
        settings.jwt = Some(serde_json::from_value::<Jwt>(jwt).unwrap());
    })
    .await;
    world.node.look_for_keys(&world.node.namespace("demo").unwrap()).await;
    assert_eq!(world.wrong(None), ["keys_not_fetched demo 1000-"]);
    world.node.delete_namespace(&demo()).await.unwrap();
    assert_eq!(world.wrong(None), ["keys_not_fetched demo 1000-1000"]);
}

#[tokio::test]
async fn what_is_over_is_forgotten_some_time() {
    let world = World::new().await;
    for number in 0..ENDED_MAX as u64 + 10 {
        world.time.store(number, Ordering::Relaxed);
        world.wrong(Some((1, 1)));
        world.wrong(None);
    }
    let wrong = world.wrong(None);
    assert_eq!((wrong.len(), &*wrong[0]), (ENDED_MAX, "files 109-109 (1 of 1)"));
    assert_eq!(wrong[99], "files 10-10 (1 of 1)");
    // Each is a number in /metrics.
    let label = crate::metrics::AlertLabel { kind: "files" };
    assert_eq!(world.node.metrics.alerts.get_or_create(&label).get(), 0);
    world.wrong(Some((1, 1)));
    assert_eq!(world.node.metrics.alerts.get_or_create(&label).get(), 1);
}

/// The table in the manual.
fn table() -> String {
    let mut table = "| kind | how bad | what it means | what to do |\n|---|---|---|---|\n".to_owned();
    for kind in AlertKind::ALL {
        let (slug, severity) = (kind.as_str(), kind.severity().as_str());
        table += &format!("| `{slug}` | {severity} | {} | {} |\n", kind.meaning(), kind.action());
    }
    table
}

#[test]
fn the_manual_has_the_table() {
    const BEGIN: &str = "<!-- alerts: UPDATE_DOCS=1 cargo test -p tidings-node writes this table -->\n";
    const END: &str = "<!-- /alerts -->";
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operation.md");
    let manual = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = manual.split_once(BEGIN).expect("the table begins");
    let (found, after) = rest.split_once(END).expect("the table ends");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{}{END}{after}", table())).unwrap();
        return;
    }
    assert!(
        found == table(),
        "docs/operation.md is not what the code says: UPDATE_DOCS=1 cargo test -p tidings-node"
    );
}
