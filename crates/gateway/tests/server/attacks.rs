//! What has once gone wrong under attack, or under clients that are merely slow, each as it was found.

use std::sync::Arc;

use crate::harness::{Server, demo, push, room, until, user};
use serde_json::json;
use tidings_gateway::Settings;
use tidings_hub::Bounds;
use tidings_model::Epoch;
use tidings_node::metrics::{Protocol, Reason};
use tidings_store::embedded::{EmbeddedStore, Options};
use tidings_wire::websocket::Opcode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn small_outbox() -> Settings {
    Settings { outbox: Bounds { frames: 64, bytes: 1 << 20 }, ..Settings::default() }
}

#[tokio::test]
async fn a_burst_is_not_the_readers_fault() {
    // Fewer than a shard takes in before it writes.
    let outbox = Bounds { frames: 16, bytes: 1 << 20 };
    let server = Server::start(Settings { outbox, ..Settings::default() }).await;
    let mut client = server.connect("ann", "d1").await;
    let pushes: Vec<_> = (0..500).map(|n| push(user("ann"), json!(n))).collect();
    server.node.publish_batch(&demo(), pushes).await;
    for n in 0..500 {
        assert_eq!(client.next().await["push"]["data"], json!(n));
    }
}

#[tokio::test]
async fn a_room_joined_while_catching_up_loses_nothing() {
    let server = Server::start(small_outbox()).await;
    drop(server.connect("ann", "d1").await);
    let namespace = server.node.namespace("demo").unwrap();
    until(|| namespace.directory().online().is_empty()).await;
    let large = "x".repeat(60_000);
    for n in 0..150 {
        server.push(user("ann"), json!({"n": n, "x": large})).await;
    }
    let mut client = server.connect("ann", "d1").await;
    // It reads nothing yet, so its mailbox is stuck half way when it joins and the room gets busy.
    client.send(json!({"id": 2, "cmd": "join", "rooms": ["lobby"]})).await;
    let lobby = tidings_model::RoomName::new("lobby").unwrap();
    until(|| namespace.directory().room(&lobby).is_some()).await;
    for n in 0..400 {
        server.push(room("lobby"), json!(n)).await;
    }
    let (mut mailbox, mut in_room) = (0, 0);
    while in_room < 400 {
        let frame = client.next().await;
        let Some(push) = frame.get("push") else { continue };
        if push["topic"] == "room:lobby" {
            assert_eq!(push["data"], json!(in_room));
            in_room += 1;
        } else {
            assert_eq!((&push["data"]["n"], in_room), (&json!(mailbox), 0));
            mailbox += 1;
        }
    }
    assert_eq!(mailbox, 150);
}

#[tokio::test]
async fn a_stream_that_is_full_and_then_left_is_gone() {
    // Room enough here that the outbox is not what ends it.
    let outbox = Bounds { frames: 10_000, bytes: 64 << 20 };
    let server = Server::start(Settings { outbox, ..Settings::default() }).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = "GET /v1/namespaces/demo/sse?user=ann&device=d1 HTTP/1.1\r\nHost: x\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut first = [0; 64];
    stream.read_exact(&mut first).await.unwrap();
    let large = "x".repeat(60_000);
    let open = server.node.metrics().connections.get_or_create(&Protocol { protocol: "sse" }).clone();
    // More than the kernel's buffers and those of the HTTP side take: some waits here.
    for n in 0..400 {
        server.push(user("ann"), json!({"n": n, "x": large})).await;
    }
    drop(stream);
    until(|| open.get() == 0).await;
    assert_eq!(server.gateway.connections(), 0);
}

#[tokio::test]
async fn join_and_leave_at_once_leave_no_ghosts() {
    // A store on disk: in memory every change is over before the next one begins.
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(directory.path(), Options::new(Epoch(7))).unwrap();
    let server = Server::start_on(Arc::new(store), Settings::default()).await;
    let (mut one, mut other) = (server.connect("ann", "d1").await, server.connect("ann", "d1").await);
    let namespace = server.node.namespace("demo").unwrap();
    for n in 0..100 {
        let name = format!("r{n}");
        let join = one.call(json!({"id": 2, "cmd": "join", "rooms": [name]}));
        let leave = other.call(json!({"id": 3, "cmd": "leave", "rooms": [name]}));
        let _ = tokio::join!(join, leave);
        let device = tidings_model::DeviceId::new("d1").unwrap();
        let stored = server.node.device(&namespace, &device).await.unwrap().unwrap().rooms;
        let room = tidings_model::RoomName::new(&name).unwrap();
        assert_eq!(namespace.directory().room(&room).is_some(), stored.contains(&room), "{name}");
    }
}

#[tokio::test]
async fn who_takes_over_a_device_ends_what_was_before() {
    let server = Server::start(Settings::default()).await;
    let mut ann = server.connect("ann", "d1").await;
    let _bob = server.connect("bob", "d1").await;
    assert_eq!(ann.next().await["goaway"]["code"], json!(3505));
    assert_eq!(ann.closed().await, 3505);
}

#[tokio::test]
async fn sockets_that_break_while_they_are_closed_cost_nothing() {
    let server = Server::start(small_outbox()).await;
    let slow = server.connect("ann", "d1").await;
    let large = "x".repeat(60_000);
    let cut = Reason { code: 3008, reason: "slow" };
    let closed = Arc::clone(server.node.metrics());
    while closed.connections_closed.get_or_create(&cut).get() == 0 {
        server.push(user("ann"), json!({"x": large})).await;
    }
    // Reset while the goodbye still waits to be written.
    let tokio_tungstenite::MaybeTlsStream::Plain(socket) = slow.socket.into_inner() else { panic!("plain") };
    socket.set_zero_linger().unwrap();
    drop(socket);
    until(|| server.gateway.connections() == 0).await;
}

#[tokio::test]
async fn who_talks_without_end_keeps_nobody_waiting() {
    let server = Server::start(Settings::default()).await;
    let mut bystander = server.connect("ann", "d1").await;
    // More of them than a shard serves between two turns, on either shard.
    let mut flooders = Vec::new();
    for _ in 0..60 {
        let mut socket = server.raw().await;
        flooders.push(tokio::spawn(async move {
            let (mut from, mut to) = socket.split();
            let pings =
                tidings_wire::websocket::client::masked_frame(Opcode::Ping, [1, 2, 3, 4], b"").repeat(4_000);
            let flood = async { while to.write_all(&pings).await.is_ok() {} };
            let drain = async {
                let mut buffer = vec![0; 64 * 1024];
                while from.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
            };
            tokio::join!(flood, drain);
        }));
    }
    for n in 0..5 {
        server.push(user("ann"), json!(n)).await;
        assert_eq!(bystander.next().await["push"]["data"], json!(n));
    }
    flooders.iter().for_each(|flooder| flooder.abort());
}
