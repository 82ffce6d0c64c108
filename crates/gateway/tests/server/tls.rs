//! TLS inside the shard: the same protocol in ciphertext, with the same economy of writes.

use std::sync::Arc;

use crate::harness::{Client, PATIENCE, Server, demo, user};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde_json::json;
use tidings_gateway::Settings;
use tidings_hub::Bounds;
use tidings_model::Epoch;
use tidings_store::memory::MemoryStore;
use tidings_wire::websocket::{Opcode, client::masked_frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_tungstenite::{Connector, client_async_tls_with_config};

/// A server with a certificate of its own, and what a client needs to trust it.
async fn start() -> (Server, Arc<ClientConfig>) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let mut trusted = RootCertStore::empty();
    trusted.add(cert.der().clone()).unwrap();
    let client = ClientConfig::builder().with_root_certificates(trusted).with_no_client_auth();
    let roomy = Bounds { frames: 1_024, bytes: 64 << 20 };
    let settings = Settings { outbox: roomy, ..Settings::default() };
    let store = Arc::new(MemoryStore::new(Epoch(7)));
    let acceptor = TlsAcceptor::from(Arc::new(server));
    (Server::start_with(store, settings, Some(acceptor)).await, Arc::new(client))
}

async fn bare(server: &Server, config: &Arc<ClientConfig>) -> TlsStream<TcpStream> {
    let socket = TcpStream::connect(server.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::clone(config)).connect(name, socket).await.unwrap()
}

#[tokio::test]
async fn a_large_burst_reaches_a_reader_that_was_late() {
    let (server, config) = start().await;
    let socket = TcpStream::connect(server.address).await.unwrap();
    let url = "wss://localhost/v1/namespaces/demo/connect";
    let connector = Some(Connector::Rustls(config));
    let (socket, _) = client_async_tls_with_config(url, socket, None, connector).await.unwrap();
    let mut ann = Client { socket };
    ann.call(json!({"id": 1, "cmd": "connect", "user": "ann", "device": "d1"})).await;
    // More than the kernel's buffers take: the socket blocks in the middle of records.
    let large = "x".repeat(60_000);
    for n in 0..400 {
        server.push(user("ann"), json!({"n": n, "x": large})).await;
        if n % 8 == 0 {
            server.push(user("ann"), json!({"n": "small"})).await;
        }
    }
    let mut next = 0;
    while next < 400 {
        let push = ann.next().await["push"].clone();
        match push["data"]["n"].as_u64() {
            Some(n) => {
                assert_eq!(n, next);
                assert_eq!(push["data"]["x"].as_str().unwrap().len(), large.len());
                next += 1;
            }
            None => assert_eq!(push["data"]["n"], "small"),
        }
    }
}

#[tokio::test]
async fn what_comes_right_behind_the_handshake_is_not_lost() {
    let (server, config) = start().await;
    let mut socket = bare(&server, &config).await;
    let request = "GET /v1/namespaces/demo/connect HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let connect = json!({"id": 1, "cmd": "connect", "device": "d1"}).to_string();
    // Larger than what HTTP reads at once, so that some of it is still inside TLS at the handover.
    let padding = masked_frame(Opcode::Ping, [1, 2, 3, 4], &[b'p'; 125]).repeat(300);
    let mut all = request.as_bytes().to_vec();
    all.extend(padding);
    all.extend(masked_frame(Opcode::Text, [1, 2, 3, 4], connect.as_bytes()));
    socket.write_all(&all).await.unwrap();
    let mut answer = Vec::new();
    while !answer.windows(7).any(|bytes| bytes == b"\"ok\":{\"") {
        let mut chunk = [0; 4_096];
        let count = tokio::time::timeout(PATIENCE, socket.read(&mut chunk)).await.unwrap().unwrap();
        assert_ne!(count, 0, "the server hung up");
        answer.extend_from_slice(&chunk[..count]);
    }
    let pongs = answer.windows(2).filter(|bytes| bytes == b"\x8a\x7d").count();
    assert_eq!(pongs, 300);
}

#[tokio::test]
async fn a_client_that_hangs_up_without_a_word_is_gone() {
    let (server, config) = start().await;
    let (mut socket, _) = {
        let socket = TcpStream::connect(server.address).await.unwrap();
        let url = "wss://localhost/v1/namespaces/demo/connect";
        client_async_tls_with_config(url, socket, None, Some(Connector::Rustls(config))).await.unwrap()
    };
    let tcp = socket.get_mut().get_mut_tcp();
    tcp.shutdown().await.unwrap();
    while server.gateway.connections() > 0 {
        tokio::task::yield_now().await;
    }
    assert!(server.node.namespace(demo().as_str()).unwrap().directory().online().is_empty());
}

/// The TCP socket under a TLS stream.
trait Under {
    fn get_mut_tcp(&mut self) -> &mut TcpStream;
}

impl Under for tokio_tungstenite::MaybeTlsStream<TcpStream> {
    fn get_mut_tcp(&mut self) -> &mut TcpStream {
        match self {
            Self::Rustls(stream) => stream.get_mut().0,
            _ => panic!("TLS was asked for"),
        }
    }
}
