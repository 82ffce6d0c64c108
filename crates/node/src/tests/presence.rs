//! Who comes and goes: what hooks are told, once each, whatever crashes; and what members of a room are.

use tidings_store::{HookKey, MemoryStore as Memory, Pile};

use super::*;
use crate::notify::{Hook, HookUrl, NoticeKind, Secret};

/// Longer than any grace here.
const LONG: u64 = 60_000;

/// A hook that is never there: what it was to be told waits for it.
fn hook(events: &[NoticeKind]) -> Hook {
    Hook {
        name: "crm".parse().unwrap(),
        url: HookUrl::parse("http://127.0.0.1:1/").unwrap(),
        events: events.to_vec(),
        questions: Vec::new(),
        batch: 1,
        timeout_ms: 3_000,
        secret: Secret("0123456789abcdef".to_owned()),
        allow_private: true,
    }
}

const STAYS: [NoticeKind; 2] = [NoticeKind::Online, NoticeKind::Offline];

/// A node with a hook, on a store that outlives it.
struct Watched {
    world: World,
    store: Arc<Memory>,
    connections: u64,
}

impl Watched {
    async fn new(events: &[NoticeKind]) -> Self {
        let store = Arc::new(Memory::new(Epoch(7)));
        let hooks = vec![hook(events)];
        let world = World::start(Arc::clone(&store) as _, Vec::new(), |rules| rules.hooks = hooks).await;
        Self { world, store, connections: 0 }
    }

    /// The process ends without a word, and another one begins `after` milliseconds later.
    async fn crash(self, after: u64) -> Self {
        let now = self.world.time.load(Ordering::Relaxed) + after;
        let Self { world, store, connections } = self;
        drop(world);
        let world = World::start(Arc::clone(&store) as _, Vec::new(), |_| ()).await;
        world.time.store(now, Ordering::Relaxed);
        Self { world, store, connections }
    }

    async fn came(&mut self, device: &str, user: &str) -> (Identity, u64) {
        let who = self.world.device(device, user).await;
        self.connections += 1;
        self.world.node.came(&who, self.connections, 0).await.unwrap();
        (who, self.connections)
    }

    fn went(&self, (who, connection): (Identity, u64)) {
        self.world.went(&who, connection, 0, self.world.node.counted(&who));
    }

    fn later(&self, ms: u64) {
        self.world.time.fetch_add(ms, Ordering::Relaxed);
    }

    /// All that the hook of a namespace was to be told so far.
    async fn told_in(&self, namespace: &str) -> Vec<String> {
        self.world.node.flush_presence().await;
        let key = HookKey { namespace: namespace.parse().unwrap(), hook: "crm".parse().unwrap() };
        let found = tidings_store::Notices::notices(&*self.store, &key, Pile::Waiting, 10_000).await.unwrap();
        let show = |notice: tidings_store::WaitingNotice| {
            let body: serde_json::Value = serde_json::from_slice(&notice.body).unwrap();
            let data = &body["data"];
            let text = |field: &str| data[field].as_str().unwrap_or("-").to_owned();
            match body["type"].as_str().unwrap() {
                kind @ ("online" | "offline") => {
                    let devices: Vec<_> =
                        data["devices"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
                    let since = text("since").replace("1970-01-01T00:", "");
                    format!("{kind} {} {} {since} {}", text("user"), data["session"], devices.join("+"))
                }
                "disconnected" => {
                    format!(
                        "disconnected {} {} {} {}",
                        text("user"),
                        text("device"),
                        data["code"],
                        text("reason")
                    )
                }
                "acked" => format!("acked {} {} {}", text("event"), text("user"), text("device")),
                kind @ ("joined" | "left") => {
                    format!("{kind} {} {} {}", text("room"), text("user"), text("device"))
                }
                kind => format!("{kind} {}", text("room")),
            }
        };
        found.into_iter().map(show).collect()
    }

    async fn told(&self) -> Vec<String> {
        self.told_in("demo").await
    }

    async fn records(&self) -> usize {
        tidings_store::port::Settings::list(&*self.store, "stay/").await.unwrap().len()
    }
}

#[tokio::test]
async fn a_user_comes_and_goes() {
    let mut watched = Watched::new(&STAYS).await;
    let phone = watched.came("d1", "ann").await;
    let online = "online ann 1000 00:01.000Z d1";
    assert_eq!(watched.told().await, [online]);
    assert_eq!(watched.records().await, 1);
    watched.later(5_000);
    watched.went(phone);
    watched.later(9_999);
    assert_eq!(watched.told().await, [online]);
    watched.later(1);
    let offline = "offline ann 1000 00:06.000Z d1";
    assert_eq!(watched.told().await, [online, offline]);
    assert_eq!(watched.records().await, 0);
    watched.later(LONG);
    watched.came("d1", "ann").await;
    assert_eq!(watched.told().await[2..], ["online ann 1001 01:16.000Z d1"]);
}

#[tokio::test]
async fn whoever_comes_back_in_time_was_never_away() {
    let mut watched = Watched::new(&STAYS).await;
    let mut phone = watched.came("d1", "ann").await;
    for _ in 0..200 {
        watched.went(phone);
        watched.later(9_999);
        assert_eq!(watched.told().await.len(), 1);
        phone = watched.came("d1", "ann").await;
    }
    watched.later(LONG);
    assert_eq!(watched.told().await, ["online ann 1000 00:01.000Z d1"]);
}

#[tokio::test]
async fn a_visit_of_a_moment_is_a_visit() {
    let mut watched = Watched::new(&STAYS).await;
    let phone = watched.came("d1", "ann").await;
    watched.went(phone);
    let online = "online ann 1000 00:01.000Z d1";
    assert_eq!(watched.told().await, [online]);
    watched.later(LONG);
    assert_eq!(watched.told().await, [online, "offline ann 1000 00:01.000Z d1"]);
}

#[tokio::test]
async fn a_user_goes_with_the_last_device() {
    let mut watched = Watched::new(&STAYS).await;
    let phone = watched.came("phone", "ann").await;
    let web = watched.came("web", "ann").await;
    let bob = watched.came("tv", "bob").await;
    watched.came("nobody", "carl").await;
    watched.went(phone);
    watched.later(LONG);
    let online = ["online ann 1000 00:01.000Z phone", "online bob 1001 00:01.000Z tv"];
    assert_eq!(watched.told().await[..2], online);
    watched.went(web);
    watched.went(bob);
    watched.later(LONG);
    let mut told = watched.told().await.split_off(3);
    told.sort_unstable();
    assert_eq!(told, ["offline ann 1000 01:01.000Z phone+web", "offline bob 1001 01:01.000Z tv"]);
}

#[tokio::test]
async fn who_was_online_when_the_process_ended_is_told_to_have_gone_once() {
    let mut watched = Watched::new(&STAYS).await;
    watched.came("a", "ann").await;
    watched.came("b", "bob").await;
    let carl = watched.came("c", "carl").await;
    assert_eq!(watched.told().await.len(), 3);
    // Carl is in the middle of his grace.
    watched.went(carl);
    watched.later(5_000);
    assert_eq!(watched.told().await.len(), 3);
    let mut watched = watched.crash(LONG).await;
    assert_eq!(watched.told().await.len(), 3);
    watched.later(9_999);
    watched.came("b2", "bob").await;
    assert_eq!(watched.told().await.len(), 3);
    watched.later(1);
    let told = watched.told().await;
    let mut gone = told[3..].to_vec();
    gone.sort_unstable();
    assert_eq!(gone, ["offline ann 1000 00:01.000Z a", "offline carl 1002 00:01.000Z c"]);
    assert_eq!(watched.records().await, 1);
    // Once: not again after the next end, and with another number when they come again.
    let mut watched = watched.crash(0).await;
    watched.came("b2", "bob").await;
    watched.later(LONG);
    assert_eq!(watched.told().await, told);
    watched.came("a", "ann").await;
    let again = watched.told().await;
    let number: u64 = again[5].split(' ').nth(2).unwrap().parse().unwrap();
    assert!(again[5].starts_with("online ann ") && number > 1_002, "{again:?}");
}

#[tokio::test]
async fn a_crash_forgets_who_was_not_told_to_be_here() {
    let mut watched = Watched::new(&STAYS).await;
    // The actor has had no turn yet.
    watched.came("a", "ann").await;
    let mut watched = watched.crash(LONG).await;
    watched.later(LONG);
    let told = watched.told().await;
    assert!(told.is_empty() || told.len() == 2, "both or neither: {told:?}");
    watched.came("a", "ann").await;
    assert_eq!(watched.told().await.len(), told.len() + 1);
}

#[tokio::test]
async fn namespaces_are_apart() {
    let mut watched = Watched::new(&STAYS).await;
    let mut settings = Settings::new("", AuthMode::Open, Timestamp(0));
    settings.hooks = vec![hook(&STAYS)];
    settings.offline.grace_ms = 0;
    let other: NamespaceName = "other".parse().unwrap();
    watched.world.node.create_namespace(other.clone(), settings).await.unwrap();
    let claim =
        Claim { device: Some("a".parse().unwrap()), user: Some("ann".parse().unwrap()), ..Claim::default() };
    let there = watched.world.node.identify(&other, claim).await.unwrap();
    watched.world.node.came(&there, 99, 0).await.unwrap();
    assert_eq!(watched.told_in("other").await.len(), 1);
    assert_eq!(watched.told().await, [""; 0]);
    watched.came("a", "ann").await;
    watched.went((there, 99));
    assert_eq!(watched.told_in("other").await[1..], ["offline ann 1000 00:01.000Z a"]);
    watched.later(LONG);
    assert_eq!(watched.told().await.len(), 1);
}

#[tokio::test]
async fn who_wants_to_know_later_is_told_who_is_here() {
    let mut watched = Watched::new(&[NoticeKind::Undelivered]).await;
    let phone = watched.came("d1", "ann").await;
    assert_eq!((watched.told().await.len(), watched.records().await), (0, 0));
    let namespace = watched.world.node.namespace("demo").unwrap();
    let node = Arc::clone(&watched.world.node);
    let change = async |events: &[NoticeKind]| {
        let changing = namespace.changing().await;
        let hooks = vec![hook(events)];
        let settings = Settings { hooks, ..Settings::clone(&namespace.settings()) };
        node.change_namespace(changing, settings).await.unwrap();
    };
    change(&STAYS).await;
    assert_eq!(watched.told().await, ["online ann 1000 00:01.000Z d1"]);
    change(&[NoticeKind::Joined]).await;
    watched.told().await;
    assert_eq!(watched.records().await, 0);
    change(&STAYS).await;
    assert_eq!(watched.told().await.len(), 2);
    watched.went(phone);
    watched.later(LONG);
    assert_eq!(watched.told().await.len(), 3);
}

#[tokio::test]
async fn rooms_and_connections_are_told() {
    use NoticeKind::{Disconnected, Joined, Left, Occupied, Vacated};
    let mut watched = Watched::new(&[Disconnected, Joined, Left, Occupied, Vacated]).await;
    let node = Arc::clone(&watched.world.node);
    let (ann, first) = watched.came("d1", "ann").await;
    let of = Arc::clone(&ann.namespace);
    node.join(&of, ann.device.ordinal, rooms(&["a", "b", "a"])).await.unwrap();
    node.join(&of, ann.device.ordinal, rooms(&["b"])).await.unwrap();
    assert_eq!(watched.told().await, ["joined a ann d1", "joined b ann d1", "occupied a", "occupied b"]);
    let bob = watched.world.device("d2", "bob").await;
    node.join(&of, bob.device.ordinal, rooms(&["a"])).await.unwrap();
    node.leave(&of, ann.device.ordinal, rooms(&["a", "c"])).await.unwrap();
    assert_eq!(watched.told().await[4..], ["joined a bob d2", "left a ann d1", "vacated a"]);
    watched.went((ann.clone(), first));
    assert_eq!(watched.told().await[7..], ["disconnected ann d1 1001 going_away", "vacated b"]);
    let (bob, second) = watched.came("d2", "bob").await;
    assert_eq!(watched.told().await[9..], ["occupied a"]);
    // A device that is forgotten, or becomes another user's, has left.
    node.forget(&of, ann.device.ordinal).await.unwrap();
    watched.world.device("d2", "carl").await;
    assert_eq!(watched.told().await[10..], ["left b ann d1", "left a bob d2", "vacated a"]);
    watched.went((bob, second));
    assert_eq!(watched.told().await[13..], ["disconnected bob d2 1001 going_away"]);
}

#[tokio::test]
async fn a_receipt_is_told_once() {
    let mut watched = Watched::new(&[NoticeKind::Acked]).await;
    let (ann, _) = watched.came("d1", "ann").await;
    let accepted = watched.world.push(push(users(&["ann"]))).await;
    let ack = || Ack {
        namespace: demo(),
        seq: accepted.message.seq,
        device: ann.device.ordinal,
        at: watched.world.node.now(),
    };
    for _ in 0..2 {
        assert!(watched.world.node.acks(vec![ack()]).is_empty());
    }
    watched.world.node.flush().await;
    assert_eq!(watched.told().await, ["acked push ann d1"]);
}

#[tokio::test]
async fn a_hook_for_something_else_escalates_nothing() {
    let watched = Watched::new(&STAYS).await;
    let accepted = watched.world.push(push(users(&["ann"]))).await;
    assert_eq!(accepted.message.escalate_after, None);
}

/// What members are told, as `kind data`.
fn signals(world: &mut World) -> Vec<String> {
    let mut signals = Vec::new();
    while let Ok(told) = world.inboxes[0].try_recv() {
        if let ToShard::Signal(signal) = told {
            signals.push(format!("{} {} {}", signal.kind.as_str(), signal.about.0, signal.data));
        }
    }
    signals
}

#[tokio::test]
async fn members_are_told_of_each_other() {
    let mut watched = Watched::new(&[]).await;
    let namespace = watched.world.node.namespace("demo").unwrap();
    let changing = namespace.changing().await;
    let mut settings = Settings::clone(&namespace.settings());
    settings.presence.notify = true;
    watched.world.node.change_namespace(changing, settings).await.unwrap();
    let node = Arc::clone(&watched.world.node);
    let (ann, _) = watched.came("d1", "ann").await;
    let bob = watched.came("d2", "bob").await;
    node.join(&namespace, ann.device.ordinal, rooms(&["a"])).await.unwrap();
    node.join(&namespace, bob.0.device.ordinal, rooms(&["a"])).await.unwrap();
    watched.went(bob.clone());
    watched.told().await;
    let again = watched.came("d2", "bob").await;
    node.leave(&namespace, again.0.device.ordinal, rooms(&["a"])).await.unwrap();
    watched.told().await;
    assert_eq!(
        signals(&mut watched.world),
        [
            r#"joined 0 {"device":"d1","room":"a","user":"ann"}"#,
            r#"joined 1 {"device":"d2","room":"a","user":"bob"}"#,
            r#"presence 1 {"device":"d2","online":false,"room":"a","user":"bob"}"#,
            r#"presence 1 {"device":"d2","online":true,"room":"a","user":"bob"}"#,
            r#"left 1 {"device":"d2","room":"a","user":"bob"}"#,
        ]
    );
    // In a big room nobody is told of anybody.
    for number in 0..1_001 {
        let (who, _) = watched.came(&format!("x{number}"), &format!("u{number}")).await;
        node.join(&namespace, who.device.ordinal, rooms(&["big"])).await.unwrap();
        watched.told().await;
        watched.later(20);
    }
    let count = signals(&mut watched.world).len();
    assert_eq!(count, 1_000);
}

/// A shard that answers what it is asked about connections: each device that is named has these.
async fn answering(
    mut inbox: mpsc::Receiver<ToShard>,
    connections: Vec<(u32, u64)>,
    ended: mpsc::Sender<u64>,
) {
    while let Some(told) = inbox.recv().await {
        match told {
            ToShard::Connections { devices, reply, .. } => {
                let live = connections.iter().filter(|(device, _)| devices.contains(device));
                let live = live.map(|(device, connection)| crate::connections::Live {
                    device: tidings_model::Ordinal(*device),
                    connection: *connection,
                    protocol: "json",
                    transport: "websocket",
                    address: tidings_model::ClientAddress::LOCAL,
                    since: Timestamp(0),
                    frames: 0,
                    bytes: 0,
                });
                reply.try_send(live.collect()).unwrap();
            }
            ToShard::End { connection, .. } => ended.send(connection).await.unwrap(),
            _ => {}
        }
    }
}

#[tokio::test]
async fn connections_are_asked_for_page_by_page() {
    use crate::connections::Whose;
    let mut watched = Watched::new(&[]).await;
    let mut connections = Vec::new();
    for (device, user) in
        [("a", "ann"), ("a", "ann"), ("a", "ann"), ("b", "bob"), ("c", "ann"), ("d", "dora")]
    {
        let (who, number) = watched.came(device, user).await;
        connections.push((who.device.ordinal.0, number));
    }
    let (gone, number) = watched.came("e", "eve").await;
    watched.went((gone, number));
    let inbox = watched.world.inboxes.remove(0);
    let (tell, mut ended) = mpsc::channel(8);
    let shard = tokio::spawn(answering(inbox, connections, tell));
    let node = Arc::clone(&watched.world.node);
    let namespace = node.namespace("demo").unwrap();
    let all = async |user: Option<&str>, device: Option<&str>, limit| {
        let whose = Whose {
            user: user.map(|name| name.parse().unwrap()),
            device: device.map(|name| name.parse().unwrap()),
        };
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let (page, next) = node.connections(&namespace, &whose, after, limit).await.unwrap();
            assert!(page.len() <= limit);
            seen.extend(page.iter().map(|(live, device)| format!("{}{}", device.id, live.connection)));
            match next {
                Some(next) => after = Some(next),
                None => return seen.join(" "),
            }
        }
    };
    for limit in 1..=7 {
        assert_eq!(all(None, None, limit).await, "a1 a2 a3 b4 c5 d6", "{limit}");
        assert_eq!(all(Some("ann"), None, limit).await, "a1 a2 a3 c5", "{limit}");
        assert_eq!(all(Some("ann"), Some("c"), limit).await, "c5", "{limit}");
        assert_eq!(all(Some("bob"), Some("c"), limit).await, "", "{limit}");
        assert_eq!(all(Some("nobody"), None, limit).await, "", "{limit}");
    }
    assert!(node.disconnect(&namespace, 4).await);
    assert!(!node.disconnect(&namespace, 7).await, "it has gone");
    assert_eq!(ended.recv().await, Some(4));
    shard.abort();
}
