//! The JSON protocol against a client that others wrote (tungstenite), and against bare sockets that do
//! what no client library would.

use std::time::Duration;

use crate::harness::{PATIENCE, Server, close_code, room, user};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tidings_gateway::{Plan, Settings};
use tidings_hub::Bounds;
use tidings_model::{Platform, Target};
use tidings_node::metrics::Reason;
use tidings_wire::websocket::{Opcode, client::masked_frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn a_device_joins_receives_and_acknowledges() {
    let server = Server::start(Settings::default()).await;
    let mut ann = server.connect("ann", "d1").await;
    assert_eq!(
        ann.call(json!({"id": "j", "cmd": "join", "rooms": ["lobby"]})).await,
        json!({"id": "j", "ok": {"rooms": ["lobby"]}})
    );
    let id = server.push(room("lobby"), json!({"n": 1})).await;
    let push = ann.next().await["push"].clone();
    assert_eq!((&push["id"], &push["data"]), (&json!(id.as_str()), &json!({"n": 1})));
    assert_eq!(
        (&push["topic"], &push["offset"], &push["room"]),
        (&json!("room:lobby"), &json!(1), &json!("lobby"))
    );
    let answer = ann.call(json!({"id": 3, "cmd": "ack", "ids": [id.as_str(), "nobody-knows"]})).await;
    assert_eq!(answer, json!({"id": 3, "ok": {"acked": 1, "unknown": ["nobody-knows"]}}));
    let namespace = server.node.namespace("demo").unwrap();
    let message = server.node.message(&namespace, &id).await.unwrap().unwrap();
    let report = server.node.report(&namespace, &message).await;
    assert_eq!((report.total.meant, report.total.written, report.total.acked), (1, 1, 1));
}

#[tokio::test]
async fn who_comes_back_gets_what_it_missed_before_anything_newer() {
    let server = Server::start(Settings::default()).await;
    drop(server.connect("ann", "d1").await);
    let namespace = server.node.namespace("demo").unwrap();
    while !namespace.directory().online().is_empty() {
        tokio::task::yield_now().await;
    }
    for n in 1..=200 {
        server.push(user("ann"), json!(n)).await;
    }
    let mut ann = server.connect("ann", "d1").await;
    for n in 201..=210 {
        server.push(user("ann"), json!(n)).await;
    }
    for n in 1..=210 {
        assert_eq!(ann.next().await["push"]["data"], json!(n));
    }
}

#[tokio::test]
async fn many_commands_in_one_frame_are_answered_in_order() {
    let server = Server::start(Settings::default()).await;
    let mut client = server.open().await;
    let commands = json!([
        {"id": 1, "cmd": "connect", "device": "d1"},
        {"id": 2, "cmd": "join", "rooms": ["a"]},
        {"id": 3, "cmd": "leave", "rooms": ["a"]},
    ]);
    client.send(commands).await;
    let answers = [client.next().await, client.next().await, client.next().await];
    assert_eq!(answers.each_ref().map(|answer| answer["id"].as_u64().unwrap()), [1, 2, 3]);
    assert_eq!(answers[2]["ok"]["rooms"], json!([]));
}

#[tokio::test]
async fn bad_commands_are_answered_and_harm_nobody() {
    let server = Server::start(Settings::default()).await;
    let mut bystander = server.connect("bob", "d2").await;
    let mut client = server.open().await;
    for (command, code, words) in [
        (json!({"id": 1, "cmd": "join", "rooms": ["a"]}), "forbidden", "first command must be `connect`"),
        (json!({"id": 1, "cmd": "fly"}), "invalid_request", "`fly`, which is not a command"),
        (json!({"id": 1, "cmd": "connect", "devise": "d1"}), "invalid_request", "unknown field `devise`"),
        (json!({"id": 1, "cmd": "rpc"}), "invalid_request", "method is required"),
        (json!({"id": 1, "cmd": "publish", "room": "a"}), "forbidden", "first command must be `connect`"),
    ] {
        let answer = client.call(command).await;
        assert_eq!(answer["error"]["code"], code, "{answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(words), "{answer}");
    }
    let ok = client.call(json!({"id": 2, "cmd": "connect", "device": "d1"})).await;
    assert_eq!(ok["ok"]["device"], "d1");
    let nobody = client.call(json!({"id": 4, "cmd": "rpc", "method": "x"})).await;
    assert_eq!(nobody["error"]["code"], "not_supported");
    let twice = client.call(json!({"id": 3, "cmd": "connect", "device": "d1"})).await;
    assert_eq!(twice["error"]["code"], "conflict");
    client.socket.send(Message::text("not json")).await.unwrap();
    assert_eq!(client.closed().await, 3501);
    server.push(user("bob"), json!("still here")).await;
    assert_eq!(bystander.next().await["push"]["data"], "still here");
}

#[tokio::test]
async fn who_says_nonsense_of_itself_is_told_so_and_closed() {
    let server = Server::start(Settings::default()).await;
    let long = "x".repeat(10_240);
    for (claim, words) in [
        (json!({"id": 1, "cmd": "connect", "device": long}), "device has 10240 bytes, at most 255"),
        (json!({"id": 1, "cmd": "connect", "device": "a\nb"}), "control character"),
        (json!({"id": 1, "cmd": "connect", "platform": "toaster"}), "platform must be one of"),
    ] {
        let mut client = server.open().await;
        let answer = client.call(claim).await;
        assert_eq!(answer["error"]["code"], "invalid_request", "{answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(words), "{answer}");
        let goaway = client.next().await["goaway"].clone();
        assert_eq!((&goaway["code"], &goaway["reconnect"]), (&json!(3501), &json!(false)));
        assert_eq!(client.closed().await, 3501);
    }
}

#[tokio::test]
async fn violations_of_the_protocol_end_their_own_connection_with_the_right_code() {
    let server = Server::start(Settings { max_message: 10_000, ..Settings::default() }).await;
    let mut bystander = server.connect("bob", "d2").await;
    let huge = masked_frame(Opcode::Text, [1, 2, 3, 4], &vec![b'x'; 20_000]);
    for (what, bytes, code) in [
        ("text that is not UTF-8", masked_frame(Opcode::Text, [1, 2, 3, 4], b"\xff\xfe"), 1007),
        ("a message beyond the limit", huge, 1009),
        ("a frame without a mask", b"\x81\x02hi".to_vec(), 1002),
        ("a reserved opcode", b"\x83\x80\x00\x00\x00\x00".to_vec(), 1002),
        ("bytes where text is spoken", masked_frame(Opcode::Binary, [1, 2, 3, 4], b"hi"), 1003),
        ("a close of its own", masked_frame(Opcode::Close, [1, 2, 3, 4], &1000u16.to_be_bytes()), 1000),
    ] {
        let mut socket = server.raw().await;
        socket.write_all(&bytes).await.unwrap();
        assert_eq!(close_code(&mut socket).await, code, "{what}");
    }
    for (code, reason, count) in [
        (1000, "normal", 1),
        (1002, "protocol_error", 2),
        (1003, "unsupported", 1),
        (1007, "invalid_utf8", 1),
        (1009, "too_large", 1),
    ] {
        let closed = &server.node.metrics().connections_closed;
        assert_eq!(closed.get_or_create(&Reason { code, reason }).get(), count, "{code}");
    }
    server.push(user("bob"), json!("still here")).await;
    assert_eq!(bystander.next().await["push"]["data"], "still here");
}

#[tokio::test]
async fn a_frame_may_come_byte_by_byte() {
    let server = Server::start(Settings::default()).await;
    let mut socket = server.raw().await;
    socket.set_nodelay(true).unwrap();
    let command = json!({"id": 1, "cmd": "connect", "device": "d1"}).to_string();
    for byte in masked_frame(Opcode::Text, [9, 8, 7, 6], command.as_bytes()) {
        socket.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut answer = [0; 4];
    tokio::time::timeout(PATIENCE, socket.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer[0], 0x81);
}

#[tokio::test]
async fn who_says_nothing_is_cut() {
    let short = Settings {
        connect_timeout: Duration::from_millis(100),
        ping_interval: Duration::from_millis(100),
        ping_timeout: Duration::from_millis(100),
        ..Settings::default()
    };
    let server = Server::start(short).await;
    assert_eq!(server.open().await.closed().await, 3502, "no connect in time");
    let mut silent = server.raw().await;
    let connect = json!({"id": 1, "cmd": "connect", "device": "d1"}).to_string();
    silent.write_all(&masked_frame(Opcode::Text, [1, 2, 3, 4], connect.as_bytes())).await.unwrap();
    assert_eq!(close_code(&mut silent).await, 3012, "no pong");
    // A client that answers pings (tungstenite does while it reads) stays.
    let mut lively = server.connect("ann", "d2").await;
    for _ in 0..5 {
        assert!(matches!(lively.frame().await, Message::Ping(_)));
    }
}

#[tokio::test]
async fn platforms_have_their_own_heartbeats() {
    let mut settings = Settings { ping_interval: Duration::from_secs(3_000), ..Settings::default() };
    settings.heartbeats[Platform::Android as usize].interval = Some(Duration::from_millis(100));
    settings.heartbeats[Platform::Ios as usize].interval = Some(Duration::from_secs(4_000));
    let server = Server::start(settings).await;
    for (platform, ping_ms) in [("ios", 4_000_000), ("web", 3_000_000), ("android", 100)] {
        let mut client = server.open().await;
        let answer = client.call(json!({"id": 1, "cmd": "connect", "platform": platform})).await;
        assert_eq!(answer["ok"]["ping_ms"], ping_ms, "{platform}");
        if platform == "android" {
            for _ in 0..3 {
                assert!(matches!(client.frame().await, Message::Ping(_)));
            }
        }
    }
}

#[tokio::test]
async fn a_reader_that_stops_costs_its_bound_and_then_resumes() {
    let bounds = Bounds { frames: 64, bytes: 1 << 20 };
    let server = Server::start(Settings { outbox: bounds, ..Settings::default() }).await;
    let mut slow = server.connect("ann", "d1").await;
    let mut bystander = server.connect("bob", "d2").await;
    let everybody = || Target { all: true, ..Target::default() };
    let large = "x".repeat(32 * 1024);
    let mut sent = 0;
    // `slow` reads nothing while the kernel's buffers and its outbox fill.
    let cut = Reason { code: 3008, reason: "slow" };
    while server.node.metrics().connections_closed.get_or_create(&cut).get() == 0 {
        server.push(everybody(), json!({"n": sent, "x": large})).await;
        assert_eq!(bystander.next().await["push"]["data"]["n"], json!(sent));
        sent += 1;
        assert!(sent < 2_000, "the slow reader is never cut");
    }
    let mut received = 0;
    while let Some(Ok(Message::Text(text))) = slow.socket.next().await {
        let frame: Value = serde_json::from_str(&text).unwrap();
        if frame["push"].is_object() {
            assert_eq!(frame["push"]["data"]["n"], json!(received));
            received += 1;
        }
    }
    assert!(received < sent, "{received} of {sent}");
    let mut back = server.connect("ann", "d1").await;
    for n in 0..sent {
        assert_eq!(back.next().await["push"]["data"]["n"], json!(n), "nothing is missing");
    }
}

#[tokio::test]
async fn a_stopping_server_says_so() {
    let server = Server::start(Settings::default()).await;
    let mut client = server.connect("ann", "d1").await;
    let gateway = server.gateway.clone();
    let drained =
        tokio::spawn(async move { gateway.drain(Plan { window: Duration::ZERO, timeout: PATIENCE }).await });
    let goaway = client.next().await["goaway"].clone();
    assert_eq!(
        (&goaway["code"], &goaway["reason"], &goaway["reconnect"]),
        (&json!(3001), &json!("shutdown"), &json!(true))
    );
    assert_eq!(client.closed().await, 3001);
    drop(client);
    assert_eq!(drained.await.unwrap(), 0);
    let url = format!("ws://{}/v1/namespaces/demo/connect", server.address);
    let refused = tokio_tungstenite::connect_async(url).await.unwrap_err().to_string();
    assert!(refused.contains("503"), "{refused}");
}
