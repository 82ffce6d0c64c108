//! A server that stops, or has too much to do: everybody hears the goodbye, nothing that was accepted is
//! lost, nobody can hold it up, and whoever is new is asked to come later.

use std::sync::Arc;
use std::time::Duration;

use crate::harness::{PATIENCE, Server, until, user};
use serde_json::json;
use tidings_gateway::{Plan, Settings};
use tidings_hub::Bounds;
use tidings_model::Epoch;
use tidings_node::metrics::{Refused, Sign};
use tidings_store::memory::MemoryStore;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

/// No window, so that everybody is asked to go at once; and time enough.
const AT_LEISURE: Plan = Plan { window: Duration::ZERO, timeout: PATIENCE };

fn large_outbox() -> Settings {
    Settings { outbox: Bounds { frames: 10_000, bytes: 64 << 20 }, ..Settings::default() }
}

#[tokio::test]
async fn what_waits_is_written_before_the_goodbye() {
    let server = Server::start(large_outbox()).await;
    let mut slow = server.connect("ann", "d1").await;
    let large = "x".repeat(60_000);
    // More than the kernel takes.
    for n in 0..300 {
        server.push(user("ann"), json!({"n": n, "x": large})).await;
    }
    let gateway = server.gateway.clone();
    let drained = tokio::spawn(async move { gateway.drain(AT_LEISURE).await });
    for n in 0..300 {
        assert_eq!(slow.next().await["push"]["data"]["n"], json!(n));
    }
    assert_eq!(slow.next().await["goaway"]["code"], json!(3001));
    assert_eq!(slow.closed().await, 3001);
    drop(slow);
    assert_eq!(drained.await.unwrap(), 0);
}

#[tokio::test]
async fn who_does_not_read_holds_up_nobody() {
    let server = Server::start(large_outbox()).await;
    let mut stuck = server.connect("ann", "d1").await;
    let large = "x".repeat(60_000);
    for n in 0..300 {
        server.push(user("ann"), json!({"n": n, "x": large})).await;
    }
    let mut others = Vec::new();
    for n in 0..50 {
        others.push(server.connect("bob", &format!("b{n}")).await);
    }
    // Shorter than a goodbye may take: nobody is waited for.
    let plan = Plan { window: Duration::ZERO, timeout: Duration::from_millis(500) };
    let gateway = server.gateway.clone();
    let drained = tokio::spawn(async move { gateway.drain(plan).await });
    for other in &mut others {
        assert_eq!(other.closed().await, 3001);
    }
    drop(others);
    assert!(drained.await.unwrap() <= 51, "it ends when its time is over, not when everybody has gone");
    // What it was sent before it ends, and then the end; the rest is in its mailbox.
    let mut read = 0;
    while let Some(Ok(Message::Text(_))) = futures_util::StreamExt::next(&mut stuck.socket).await {
        read += 1;
    }
    assert!(read < 301, "{read}");
}

#[tokio::test]
async fn what_is_accepted_meanwhile_is_delivered_or_waits() {
    const DEVICES: usize = 40;
    let store = Arc::new(MemoryStore::new(Epoch(7)));
    let server = Server::start_on(Arc::clone(&store) as _, Settings::default()).await;
    let mut clients = Vec::new();
    for n in 0..DEVICES {
        clients.push(server.connect("ann", &format!("d{n}")).await);
    }
    let gateway = server.gateway.clone();
    let drained = tokio::spawn(async move { gateway.drain(AT_LEISURE).await });
    // As they go, one after the other, pushes keep coming.
    let mut sent = 0;
    for client in &mut clients {
        for _ in 0..5 {
            server.push(user("ann"), json!(sent)).await;
            sent += 1;
        }
        assert_eq!(client.closed().await, 3001);
    }
    drop(clients);
    assert_eq!(drained.await.unwrap(), 0);
    let url = format!("ws://{}/v1/namespaces/demo/connect", server.address);
    let refused = tokio_tungstenite::connect_async(url).await.unwrap_err().to_string();
    assert!(refused.contains("503"), "{refused}");

    let next = Server::start_on(store as _, Settings::default()).await;
    for n in 0..DEVICES {
        // Nobody has acknowledged anything, so everybody is given everything.
        let mut client = next.connect("ann", &format!("d{n}")).await;
        for message in 0..sent {
            assert_eq!(client.next().await["push"]["data"], json!(message));
        }
    }
}

#[tokio::test]
async fn a_server_that_is_late_asks_new_clients_to_wait() {
    // Any shard is later than this.
    let server = Server::start(Settings { lag: Duration::ZERO, ..Settings::default() }).await;
    let metrics = Arc::clone(server.node.metrics());
    until(|| metrics.overloaded.get_or_create(&Sign { sign: "lag" }).get() == 2).await;
    for path in ["/v1/namespaces/demo/sse", "/socket.io/?EIO=4&transport=polling"] {
        let answer = get(&server, path).await;
        let head = answer.to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 503") && head.contains("\r\nretry-after: "), "{answer}");
    }
    let url = format!("ws://{}/v1/namespaces/demo/connect", server.address);
    let refused = tokio_tungstenite::connect_async(url).await.unwrap_err().to_string();
    assert!(refused.contains("503"), "{refused}");
    assert_eq!(metrics.clients_refused.get_or_create(&Refused { reason: "lag" }).get(), 3);
    // What is published is accepted as ever.
    server.push(user("ann"), json!(1)).await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_counted() {
    let server = Server::start(Settings::default()).await;
    for (path, status, reason, count) in [
        ("/socket.io/?EIO=9&transport=polling", "400", "bad_request", 1),
        ("/socket.io/?EIO=4&transport=pigeon", "400", "bad_request", 2),
        ("/socket.io/?EIO=4&transport=polling&sid=00nobody", "400", "bad_request", 3),
        ("/v1/namespaces/demo/connect", "400", "bad_request", 4),
        ("/v1/namespaces/demo/sse?platform=toaster", "400", "bad_request", 5),
        ("/v1/namespaces/nowhere/sse", "404", "not_found", 1),
    ] {
        let answer = get(&server, path).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path} {answer}");
        let refused = &server.node.metrics().clients_refused;
        assert_eq!(refused.get_or_create(&Refused { reason }).get(), count, "{path}");
    }
}

#[tokio::test]
async fn nobody_is_named_by_what_is_no_text() {
    let server = Server::start(Settings::default()).await;
    for (path, expected) in [
        ("/v1/namespaces/demo/sse?user=%ff", r#""code":"invalid_request","detail":"user is not UTF-8""#),
        ("/v1/namespaces/demo/sse?user=ann&rooms=a,%fe", r#""detail":"rooms is not UTF-8""#),
        ("/v1/namespaces/demo/connect?device=%ff", r#""errors":[{"field":"device","message":"device is"#),
        ("/socket.io/?EIO=4&transport=polling&device=%ff", r#"{"code":3,"message":"device is not UTF-8"}"#),
        ("/socket.io/?EIO=4&transport=websocket&uuid=%fe", r#"{"code":3,"message":"uuid is not UTF-8"}"#),
    ] {
        let answer = get(&server, path).await;
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains(expected), "{path} {answer}");
    }
    let answer = get(&server, "/socket.io/?EIO=4&transport=polling&device=%c3%bc").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// The answer to a request of its own connection.
async fn get(server: &Server, path: &str) -> String {
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = tokio::time::timeout(PATIENCE, socket.read_to_string(&mut answer)).await;
    read.expect("the server answers and closes").unwrap();
    answer
}
