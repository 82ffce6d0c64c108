//! What light-push had besides: callbacks, what is kept of a device in its words, and who is near.

use std::sync::Mutex;

use serde_json::{Map, Value, json};
use tidings_model::ClientAddress;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::keys::{Access, Denied};
use crate::light_push::{Caller, Kept, SetError, Vouched};

/// A business system that answers every call with the bytes that it has now; none at all is never.
struct Business {
    port: u16,
    answer: Arc<Mutex<String>>,
    called: mpsc::Receiver<String>,
    _task: tokio::task::JoinHandle<()>,
}

impl Business {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer: Arc<Mutex<String>> = Arc::default();
        let (calls, called) = mpsc::channel(1_000);
        let answers = Arc::clone(&answer);
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, Arc::clone(&answers), calls.clone()));
            }
        });
        Self { port, answer, called, _task: task }
    }

    fn answers(&self, status: &str, body: &str) {
        let length = body.len();
        *self.answer.lock().unwrap() =
            format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nlocation: /elsewhere\r\n\r\n{body}");
    }

    fn url(&self, path: &str) -> Option<String> {
        Some(format!("http://127.0.0.1:{}{path}", self.port))
    }
}

async fn serve(
    mut socket: tokio::net::TcpStream,
    answer: Arc<Mutex<String>>,
    calls: mpsc::Sender<String>,
) -> Option<()> {
    let mut bytes = Vec::new();
    loop {
        let mut block = [0; 4_096];
        let read = socket.read(&mut block).await.ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&block[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() < length.map_or(0, |length| length.parse().unwrap()) {
            continue;
        }
        calls.send(text).await.ok()?;
        let answer = answer.lock().unwrap().clone();
        if answer.is_empty() {
            std::future::pending::<()>().await;
        }
        return socket.write_all(answer.as_bytes()).await.ok();
    }
}

async fn keep(world: &World, kept: Kept) {
    let namespace = world.node.namespace("demo").unwrap();
    let changing = namespace.changing().await;
    world.node.keep_light_push(changing, kept).await.unwrap();
}

fn caller() -> Caller {
    Caller {
        query: "uuid=d1&EIO=3&room=a%20b".to_owned(),
        cookie: Some("sid=1".to_owned()),
        userid: "u1".to_owned(),
        platform: "ios".to_owned(),
    }
}

fn fields(fields: Value) -> Map<String, Value> {
    let Value::Object(fields) = fields else { panic!("{fields} is no object") };
    fields
}

#[tokio::test]
async fn the_business_system_lets_clients_in_and_says_who_they_are() {
    let world = World::new().await;
    let mut business = Business::start().await;
    let namespace = world.node.namespace("demo").unwrap();
    let asks = async || world.node.light_push_asks(&namespace, &caller()).await;
    assert_eq!(asks().await, Ok(None), "nobody is to be asked");
    let kept = Kept {
        connect_callback: business.url("/in?key=k"),
        callback_auth: Some("Token t".to_owned()),
        callback_private: true,
        ..Kept::default()
    };
    keep(&world, kept.clone()).await;
    business.answers("200 OK", r#"{"userid":"ann","rooms":["room_r1"]}"#);
    let ann = Vouched { user: Some(UserId::new("ann").unwrap()), rooms: rooms(&["r1"]) };
    assert_eq!(asks().await, Ok(Some(ann)));
    let call = business.called.recv().await.unwrap();
    let mut lines = call.lines();
    let first = "GET /in?key=k&uuid=d1&EIO=3&room=a+b&userid=u1&platform=ios HTTP/1.1";
    assert_eq!(lines.next(), Some(first));
    let headers: Vec<&str> = lines.collect();
    for header in ["cookie: sid=1", "authorization: Token t", "namespace: /demo", "accept: application/json"]
    {
        assert!(headers.contains(&header), "{header} in {headers:?}");
    }
    let large = format!("\"{}\"", "x".repeat(70_000));
    for (status, body, expected) in [
        ("200 OK", "", Ok(Some(Vouched::default()))),
        ("403 Forbidden", "", Err("handshake fail statusCode: 403")),
        ("302 Found", "", Err("handshake fail statusCode: 302")),
        ("200 OK", "<html>", Err("handshake fail: the answer is not understood")),
        ("200 OK", &large, Err("socket hang up")),
    ] {
        business.answers(status, body);
        assert_eq!(asks().await, expected.map_err(str::to_owned), "{status} {body:.20}");
        business.called.recv().await.unwrap();
    }
    assert!(business.called.try_recv().is_err(), "redirects are not followed");

    // Private addresses are for the administrator to allow, for one namespace or for all.
    keep(&world, Kept { callback_private: false, ..kept.clone() }).await;
    business.answers("200 OK", "");
    let at = format!("127.0.0.1:{}", business.port);
    assert_eq!(asks().await, Err(format!("connect EACCES {at}")));
    world.node.allow_private_callbacks(true);
    assert_eq!(asks().await, Ok(Some(Vouched::default())));
    business._task.abort();
    let _ = business._task.await;
    assert_eq!(
        world.node.light_push_asks(&namespace, &caller()).await,
        Err(format!("connect ECONNREFUSED {at}"))
    );
}

#[tokio::test]
async fn a_callback_that_hangs_costs_its_own_namespace_and_no_other() {
    let world = World::new().await;
    let other = NamespaceName::new("other").unwrap();
    let settings = Settings::new("", AuthMode::Open, Timestamp(0));
    let other = world.node.create_namespace(other, settings).await.unwrap();
    let (hangs, well) = (Business::start().await, Business::start().await);
    well.answers("200 OK", "");
    world.node.allow_private_callbacks(true);
    keep(&world, Kept { connect_callback: hangs.url("/"), ..Kept::default() }).await;
    let changing = other.changing().await;
    let kept = Kept { connect_callback: well.url("/"), ..Kept::default() };
    world.node.keep_light_push(changing, kept).await.unwrap();
    let demo = world.node.namespace("demo").unwrap();
    let many = (0..200).map(|_| {
        let (node, demo) = (Arc::clone(&world.node), Arc::clone(&demo));
        tokio::spawn(async move { node.light_push_asks(&demo, &caller()).await })
    });
    let many: Vec<_> = many.collect();
    assert_eq!(world.node.light_push_asks(&other, &caller()).await, Ok(Some(Vouched::default())));
    for one in many {
        let refused = one.await.unwrap().unwrap_err();
        assert!(refused.starts_with("connect ETIMEDOUT 127.0.0.1:"), "{refused}");
    }
}

#[tokio::test]
async fn the_business_system_is_told_who_has_gone() {
    let world = World::new().await;
    let mut business = Business::start().await;
    business.answers("200 OK", "");
    let namespace = world.node.namespace("demo").unwrap();
    // Nobody wants to know.
    world.node.light_push_tells(&namespace, caller());
    let disconnect_callback = business.url("/out");
    keep(&world, Kept { disconnect_callback, callback_private: true, ..Kept::default() }).await;
    world.node.light_push_tells(&namespace, caller());
    let call = business.called.recv().await.unwrap();
    let (head, body) = call.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /out HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("content-type: application/json") && head.contains("cookie: sid=1"), "{head}");
    let body: Value = serde_json::from_str(body).unwrap();
    let query = json!({"uuid": "d1", "EIO": "3", "room": "a b", "userid": "u1", "platform": "ios"});
    assert_eq!(body, json!({"query": query}));
    assert!(business.called.try_recv().is_err());
}

#[tokio::test]
async fn what_is_kept_of_a_device_is_said_as_light_push_did() {
    let world = World::new().await;
    let namespace = world.node.namespace("demo").unwrap();
    let ann = world.device("ann#web-d1", "ann").await;
    let node = &world.node;
    let device = ann.device.ordinal;
    let set = async |set: Value| node.light_push_set(&namespace, device, fields(set)).await;
    set(json!({"mobile": "m", "leaveMessage": false, "device_token": "t", "userId": "bob"})).await.unwrap();
    let known = async || node.known(&namespace, device).await.unwrap().unwrap();
    assert_eq!(known().await.user, ann.device.user, "whose it is is not said like that");
    assert!(known().await.profile.quiet.until.is_some(), "nothing wakes it");
    set(json!({"leaveMessage": true})).await.unwrap();
    assert!(known().await.profile.quiet.until.is_none());
    let more = node.light_push_muted(&namespace, device, &rooms(&["r2", "r1"]), &[]).await.unwrap();
    assert_eq!(more, rooms(&["r1", "r2"]));
    let fewer = node.light_push_muted(&namespace, device, &[], &rooms(&["r1", "r3"])).await.unwrap();
    assert_eq!(fewer, rooms(&["r2"]));
    let same = node.light_push_muted(&namespace, device, &[], &[]).await.unwrap();
    assert_eq!(same, rooms(&["r2"]));
    world.node.came(&ann, 1, 0).await.unwrap();
    let online = node.light_push_record(&namespace, &known().await);
    world.went(&ann, 1, 0, None);
    let expected = json!({
        "userid": "ann", "userId": "ann", "nspName": "/demo", "device_token": "t", "mobile": "m", "leaveMessage": "true",
        "first_connect_time": "1000", "last_connect_time": "1000", "update_date": "1000", "no_send_apns": "r2",
    });
    assert_eq!(Value::Object(online), expected);
    let away = node.light_push_record(&namespace, &known().await);
    assert_eq!(
        (&away["disconnect_reason"], &away["last_disconnect_time"]),
        (&json!("network"), &json!("1000"))
    );
    let gone = node.light_push_set(&namespace, tidings_model::Ordinal(99), fields(json!({"mobile": "m"})));
    assert!(matches!(gone.await, Err(SetError::Unknown)));
}

#[tokio::test]
async fn who_is_near_is_known_whenever_that_changes() {
    let world = World::new().await;
    let (namespace, node) = (world.node.namespace("demo").unwrap(), &world.node);
    let mut people = Vec::new();
    for (name, longitude) in [("ann", 0.0), ("bob", 0.02), ("cid", 0.01), ("dan", 5.0)] {
        let who = world.device(&format!("{name}#web-1"), name).await.device.ordinal;
        let place = fields(json!({"longitude": longitude, "latitude": 0}));
        node.light_push_set(&namespace, who, place).await.unwrap();
        people.push(who);
    }
    let eve = world.device("eve#web-1", "eve").await.device.ordinal;
    let near = async |km| {
        let near = node.light_push_near(&namespace, people[0], km, 2).await.unwrap().unwrap();
        near.into_iter().map(|(device, km)| format!("{} {km:.1}", device.user.unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(near(10.0).await, ["cid 1.1", "bob 2.2"]);
    assert_eq!(near(1.5).await, ["cid 1.1"]);
    assert_eq!(node.light_push_near(&namespace, eve, 10.0, 9).await.unwrap(), None);
    // One moves, one comes, one is forgotten, one says no longer where it is.
    let place = |longitude| fields(json!({"longitude": longitude, "latitude": "0"}));
    node.light_push_set(&namespace, people[3], place(0.005)).await.unwrap();
    node.light_push_set(&namespace, eve, place(-0.001)).await.unwrap();
    assert_eq!(near(10.0).await, ["eve 0.1", "dan 0.6"]);
    node.forget(&namespace, eve).await.unwrap();
    let nowhere = fields(json!({"longitude": null, "latitude": ""}));
    node.light_push_set(&namespace, people[3], nowhere).await.unwrap();
    assert_eq!(near(10.0).await, ["cid 1.1", "bob 2.2"]);
}

#[tokio::test]
async fn what_is_set_and_the_password_outlive_the_process_and_go_with_the_namespace() {
    let store = Arc::new(MemoryStore::new(Epoch(7)));
    let from = ClientAddress::LOCAL;
    let opens = async |world: &World, password: &str| {
        world.node.access_by_password(&demo(), password, from).await.map(|holder| holder.access)
    };
    let kept = Kept { callback_auth: Some("x".to_owned()), update_date: 7, ..Kept::default() };
    let world = World::start(Arc::clone(&store) as _, Vec::new(), |_| ()).await;
    keep(&world, kept.clone()).await;
    let namespace = world.node.namespace("demo").unwrap();
    world.node.set_password(&namespace, "first").await.unwrap();
    world.node.set_password(&namespace, "123456").await.unwrap();
    assert_eq!(opens(&world, "first").await, Err(Denied::Unknown));
    drop((world, namespace));

    let world = World::bare(Arc::clone(&store) as _, Vec::new()).await;
    let namespace = world.node.namespace("demo").unwrap();
    assert_eq!(*namespace.light_push(), kept);
    assert!(matches!(opens(&world, "123456").await, Ok(Access::Namespace(of, _)) if of == demo()));
    // The password of one namespace opens no other, and nothing by itself.
    let other = NamespaceName::new("other").unwrap();
    let elsewhere = world.node.access_by_password(&other, "123456", from).await;
    assert_eq!(elsewhere.map(|holder| holder.access), Err(Denied::Unknown));
    for key in ["123456", "demo\x00123456"] {
        let alone = world.node.access(key, from).await;
        assert_eq!(alone.map(|holder| holder.access), Err(Denied::Unknown), "{key:?}");
    }
    drop(namespace);
    world.node.delete_namespace(&demo()).await.unwrap();
    assert!(world.node.removed(&demo(), Duration::from_secs(60)).await);
    let settings = Settings::new("", AuthMode::Open, Timestamp(0));
    let again = world.node.create_namespace(demo(), settings).await.unwrap();
    assert_eq!(*again.light_push(), Kept::default());
    assert_eq!(opens(&world, "123456").await, Err(Denied::Unknown));
}
