//! The business system is asked: who may connect, what may be published, and what it calls.

use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};
use tidings_model::{ClientAddress, Disconnect};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::ask::rpc::Called;
use crate::ask::{AskError, ConnectHook, Question};
use crate::connect::ConnectError;
use crate::notify::{Hook, HookUrl, Secret};
use crate::permit::Permit;
use crate::relay::{RelayError, Said, Speaker};
use crate::token::TokenError;

/// A business system that answers every question with the status and the body that it has now; 0 is never.
struct Business {
    port: u16,
    answer: Arc<Mutex<(u16, String)>>,
    asked: Arc<Mutex<Vec<Value>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Business {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Business {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer = Arc::new(Mutex::new((200, String::new())));
        let asked: Arc<Mutex<Vec<Value>>> = Arc::default();
        let (answers, seen) = (Arc::clone(&answer), Arc::clone(&asked));
        let task = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(socket, Arc::clone(&answers), Arc::clone(&seen)));
            }
        });
        Self { port, answer, asked, task }
    }

    fn answers(&self, status: u16, body: &Value) {
        *self.answer.lock().unwrap() = (status, body.to_string());
    }

    /// What it was asked since the last time, without what is different each time.
    fn asked(&self) -> Vec<Value> {
        let mut asked = std::mem::take(&mut *self.asked.lock().unwrap());
        asked.iter_mut().for_each(|asked| {
            let asked = asked.as_object_mut().unwrap();
            assert_eq!(asked.remove("namespace"), Some(json!("demo")));
            assert!(asked.remove("id").is_some() && asked.remove("time").is_some());
        });
        asked
    }

    fn url(&self) -> HookUrl {
        HookUrl::parse(&format!("http://127.0.0.1:{}/", self.port)).unwrap()
    }

    async fn world(&self, auth: AuthMode) -> World {
        let url = self.url();
        World::with(|settings| {
            settings.auth = auth;
            settings.connect_hook =
                Some(ConnectHook { url: url.clone(), timeout_ms: 300, secret: None, allow_private: true });
            settings.hooks = vec![Hook {
                name: "crm".parse().unwrap(),
                url,
                events: Vec::new(),
                questions: Question::OF_HOOKS.to_vec(),
                batch: 1,
                timeout_ms: 300,
                secret: Secret("a secret of the hook".to_owned()),
                allow_private: true,
            }];
        })
        .await
    }
}

async fn serve(
    mut socket: TcpStream,
    answer: Arc<Mutex<(u16, String)>>,
    seen: Arc<Mutex<Vec<Value>>>,
) -> Option<()> {
    let mut bytes = Vec::new();
    loop {
        let mut block = [0; 4_096];
        let read = socket.read(&mut block).await.ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&block[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?.parse::<usize>();
        if body.len() < length.ok()? {
            continue;
        }
        seen.lock().unwrap().push(serde_json::from_str(body).ok()?);
        bytes.clear();
        let (status, body) = answer.lock().unwrap().clone();
        if status == 0 {
            std::future::pending::<()>().await;
        }
        let answer = format!("HTTP/1.1 {status} So\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        socket.write_all(answer.as_bytes()).await.ok()?;
    }
}

fn claims(user: Option<&str>, token: Option<&str>) -> Claim {
    Claim {
        vouched: None,
        device: Some(DeviceId::new("d1").unwrap()),
        user: user.map(|user| UserId::new(user).unwrap()),
        platform: Platform::Web,
        token: token.map(str::to_owned),
        from: ClientAddress::new([192, 0, 2, 7].into()),
    }
}

#[tokio::test]
async fn a_client_is_who_the_business_system_says() {
    let business = Business::start().await;
    let world = business.world(AuthMode::Hook).await;
    let identify = async |claim| world.node.identify(&demo(), claim).await;

    business.answers(
        200,
        &json!({"allow": true, "user": "ann", "rooms": ["news"], "publish": ["chat"], "expires_in": "1m"}),
    );
    let ann = identify(claims(None, Some("cookie"))).await.unwrap();
    let permit = ann.permit.clone().unwrap();
    assert_eq!(ann.device.user.as_ref().map(UserId::as_str), Some("ann"));
    assert_eq!((&permit.rooms, permit.expires_at), (&rooms(&["news"]), Timestamp(61_000)));
    assert!(permit.may_publish(&rooms(&["chat"])[0]) && !permit.may_join(&rooms(&["chat"])[0]));
    let asked = json!({"type": "connect", "data": {"device": "d1", "platform": "web", "address": "192.0.2.7", "verified": false, "token": "cookie"}});
    assert_eq!(business.asked(), [asked]);

    for (status, answer, expected) in [
        (200, json!({"allow": false, "reason": "no money"}), "no money"),
        (403, json!({}), "the business system does not let this client in"),
        (401, json!({}), "the business system does not accept the token"),
        (500, json!({}), "the business system does not answer; retry later"),
        (302, json!({}), "the business system does not answer; retry later"),
        (404, json!({"allow": true}), "the business system does not answer; retry later"),
        (200, json!({}), "the business system answered what is not understood; retry later"),
        (200, json!({"allow": true}), "nobody says which user this is"),
        (0, json!({}), "the business system does not answer; retry later"),
    ] {
        business.answers(status, &answer);
        let refused = identify(claims(None, Some("cookie"))).await.unwrap_err();
        assert_eq!(refused.to_string(), expected, "{status} {answer}");
    }
}

#[tokio::test]
async fn a_token_comes_before_the_question() {
    let business = Business::start().await;
    let world = business.world(AuthMode::TokenAndHook).await;
    let namespace = world.node.namespace("demo").unwrap();
    let permit = Permit {
        user: UserId::new("ann").unwrap(),
        device: None,
        platform: None,
        rooms: rooms(&["news"]),
        join: Vec::new(),
        publish: Vec::new(),
        presence: None,
        meta: None,
        jti: None,
        issued_at: Timestamp(0),
        expires_at: Timestamp(600_000),
    };
    let token = namespace.mint(&permit).unwrap();
    business.answers(200, &json!({"allow": true}));
    let identify = async |token| world.node.identify(&demo(), claims(None, token)).await;
    assert!(matches!(identify(None).await, Err(ConnectError::Token(TokenError::Missing))));
    assert!(matches!(identify(Some("x")).await, Err(ConnectError::Token(TokenError::Malformed))));
    assert_eq!(business.asked(), [] as [Value; 0], "nobody is asked about who has no token");

    let ann = identify(Some(&token)).await.unwrap();
    assert_eq!(ann.permit.unwrap().rooms, rooms(&["news"]), "what the hook does not say, the token does");
    assert_eq!(business.asked()[0]["data"]["user"], "ann");
    business.answers(200, &json!({"allow": true, "rooms": []}));
    assert!(identify(Some(&token)).await.unwrap().permit.unwrap().rooms.is_empty());
    business.answers(200, &json!({"allow": true, "user": "bob"}));
    assert!(matches!(identify(Some(&token)).await, Err(ConnectError::NotTheTokens("user"))));
}

#[tokio::test]
async fn an_answer_holds_for_as_long_as_it_says() {
    let business = Business::start().await;
    let world = business.world(AuthMode::Hook).await;
    let identify = async |token| world.node.identify(&demo(), claims(Some("ann"), Some(token))).await;
    business.answers(200, &json!({"allow": true, "cache_for": "10s", "expires_in": "1m"}));
    for (at, token, questions) in [(1_000, "a", 1), (10_999, "a", 0), (10_999, "b", 1), (11_000, "a", 1)] {
        world.time.store(at, Ordering::Relaxed);
        let ann = identify(token).await.unwrap();
        assert_eq!(business.asked().len(), questions, "{token} at {at}");
        assert!(ann.permit.unwrap().expires_at <= Timestamp(at + 60_000));
    }
}

#[tokio::test]
async fn who_fails_is_left_alone_and_tried_again() {
    let business = Business::start().await;
    let world = business.world(AuthMode::Hook).await;
    let identify = async || world.node.identify(&demo(), claims(Some("ann"), None)).await;
    business.answers(500, &json!({}));
    for _ in 0..5 {
        assert!(matches!(identify().await, Err(ConnectError::Ask(AskError::Failed(_)))));
    }
    for _ in 0..20 {
        assert!(matches!(identify().await, Err(ConnectError::Ask(AskError::Resting(_)))));
    }
    assert_eq!(business.asked().len(), 5);
    business.answers(200, &json!({"allow": true}));
    assert!(identify().await.is_err());
    world.time.fetch_add(1_000, Ordering::Relaxed);
    assert!(identify().await.is_ok() && identify().await.is_ok());
}

#[tokio::test]
async fn who_stops_being_let_in_is_refused_when_it_refreshes() {
    let business = Business::start().await;
    let world = business.world(AuthMode::Hook).await;
    let namespace = world.node.namespace("demo").unwrap();
    let who = || claims(Some("ann"), Some("cookie"));
    business.answers(200, &json!({"allow": true, "join": ["*"]}));
    let permit = world.node.renew(&namespace, who()).await.unwrap().unwrap();
    assert!(permit.may_join(&rooms(&["any"])[0]));
    business.answers(200, &json!({"allow": true, "user": "bob"}));
    let renewed = world.node.renew(&namespace, who()).await;
    assert!(matches!(renewed, Err(ConnectError::NotTheTokens("user"))));
    business.answers(200, &json!({"allow": false}));
    assert!(matches!(world.node.renew(&namespace, who()).await, Err(ConnectError::Denied(_))));
}

fn said(room: &str, data: &'static str) -> Said {
    Said {
        room: RoomName::new(room).unwrap(),
        event: EventName::new("typing").unwrap(),
        data: Bytes::from_static(data.as_bytes()),
        ttl: Duration::ZERO,
        echo: false,
        user: None,
        offline: Bytes::new(),
        aside: Bytes::new(),
    }
}

async fn speaker(world: &World, who: &Identity) -> Speaker {
    world.node.speaker(&who.namespace, who.device.ordinal, 26, who.permit.clone()).await.unwrap().unwrap()
}

#[tokio::test]
async fn what_a_client_publishes_says_who_it_is() {
    let world = World::new().await;
    let (ann, bob) = (world.device("d1", "ann").await, world.device("d2", "bob").await);
    for who in [&ann, &bob] {
        world.node.join(&who.namespace, who.device.ordinal, rooms(&["chat"])).await.unwrap();
    }
    let speaker = speaker(&world, &ann).await;
    let namespace = &ann.namespace;
    for (echo, ttl, meant) in [(false, 0, vec![1]), (true, 0, vec![0, 1]), (false, 60, vec![1])] {
        let said = Said { echo, ttl: Duration::from_secs(ttl), ..said("chat", "1") };
        let accepted = world.node.relay(&speaker, said).await.unwrap();
        let message = world.node.message(namespace, &accepted.id).await.unwrap().unwrap();
        let from = message.from.as_ref().unwrap();
        assert_eq!((from.user.as_ref().unwrap().as_str(), from.device.as_str()), ("ann", "d1"));
        assert_eq!(message.meant.iter().collect::<Vec<_>>(), meant);
        assert_eq!(message.keep, ttl > 0, "typing is for those who are here");
    }
    let large = Said { data: Bytes::from(vec![b'1'; 70_000]), ..said("chat", "1") };
    assert!(matches!(world.node.relay(&speaker, large).await, Err(RelayError::Publish(_))));
}

#[tokio::test]
async fn the_business_system_may_change_or_refuse_what_is_published() {
    let business = Business::start().await;
    let world = business.world(AuthMode::Hook).await;
    business.answers(200, &json!({"allow": true, "publish": ["chat*"], "meta": {"plan": "free"}}));
    let ann = world.node.identify(&demo(), claims(Some("ann"), None)).await.unwrap();
    let speaker = speaker(&world, &ann).await;
    business.asked();
    let relay = async |said| world.node.relay(&speaker, said).await;
    assert!(matches!(relay(said("news", "1")).await, Err(RelayError::NotAllowed)));
    assert_eq!(business.asked(), [] as [Value; 0], "who may not is not asked about");

    business.answers(200, &json!({"allow": true, "data": {"text": "***"}}));
    let accepted = relay(said("chat", r#"{"text":"damn"}"#)).await.unwrap();
    let message = world.node.message(&ann.namespace, &accepted.id).await.unwrap().unwrap();
    assert_eq!(&message.data[..], br#"{"text":"***"}"#);
    let data = json!({"user": "ann", "device": "d1", "connection": "c1a", "meta": {"plan": "free"},
        "room": "chat", "event": "typing", "data": {"text": "damn"}});
    assert_eq!(business.asked(), [json!({"type": "publish", "data": data})]);

    business.answers(200, &json!({"allow": false, "reason": "be nice"}));
    assert_eq!(relay(said("chat", "1")).await.unwrap_err().to_string(), "be nice");
    business.answers(500, &json!({}));
    assert!(matches!(relay(said("chat", "1")).await, Err(RelayError::Ask(_))), "fail closed");
}

#[tokio::test]
async fn a_call_is_answered_by_the_business_system() {
    let business = Business::start().await;
    let world = business.world(AuthMode::Hook).await;
    business.answers(200, &json!({"allow": true}));
    let ann = world.node.identify(&demo(), claims(Some("ann"), None)).await.unwrap();
    let speaker = speaker(&world, &ann).await;
    business.asked();
    business.answers(200, &json!({"data": {"price": 3}}));
    let called = world.node.call(&speaker, "order", r#"{"n": 1}"#).await;
    assert_eq!(called, Ok(Called::Data(r#"{"price":3}"#.to_owned())));
    let data =
        json!({"user": "ann", "device": "d1", "connection": "c1a", "method": "order", "data": {"n": 1}});
    assert_eq!(business.asked(), [json!({"type": "rpc", "data": data})]);
    business.answers(200, &json!({"result": 1}));
    assert_eq!(world.node.call(&speaker, "order", "1").await, Err(AskError::NotUnderstood));

    // Without a hook for it there is nobody to ask.
    let changing = ann.namespace.changing().await;
    let settings = Settings { hooks: Vec::new(), ..Settings::clone(&ann.namespace.settings()) };
    world.node.change_namespace(changing, settings).await.unwrap();
    assert_eq!(world.node.call(&speaker, "order", "1").await, Err(AskError::Nobody(Question::Rpc)));
}

/// Everybody who was believed comes back, and is asked about.
#[tokio::test]
async fn who_was_believed_is_sent_away_when_the_business_system_decides() {
    let business = Business::start().await;
    let mut world = business.world(AuthMode::Open).await;
    let namespace = world.node.namespace("demo").unwrap();
    let settings = Settings { auth: AuthMode::Hook, ..Settings::clone(&namespace.settings()) };
    world.node.change_namespace(namespace.changing().await, settings).await.unwrap();
    let told = world.inboxes[0].try_recv().unwrap();
    assert!(matches!(told, ToShard::SendAway { why: Disconnect::RECONNECT, devices: None, .. }), "{told:?}");
}
