//! A node with a gateway in this process, and clients for it: tungstenite, and bare sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tidings_gateway::{Gateway, Noted, Settings, Stream};
use tidings_model::{
    Durability, Epoch, EventName, Except, MessageId, NamespaceName, Priority, Push, RoomName, Target,
    Timestamp, UserId,
};
use tidings_node::namespace::AuthMode;
use tidings_node::{Clock, Metrics, Node, Parts};
use tidings_store::memory::MemoryStore;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// Longer than anything here takes; a test that runs into it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Server {
    pub(crate) node: Arc<Node>,
    pub(crate) gateway: Gateway,
    pub(crate) address: SocketAddr,
}

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

impl Server {
    pub(crate) async fn start(settings: Settings) -> Self {
        Self::start_on(Arc::new(MemoryStore::new(Epoch(7))), settings).await
    }

    pub(crate) async fn start_on(store: Arc<dyn tidings_store::Store>, settings: Settings) -> Self {
        Self::start_with(store, settings, None).await
    }

    pub(crate) async fn start_with(
        store: Arc<dyn tidings_store::Store>,
        settings: Settings,
        tls: Option<TlsAcceptor>,
    ) -> Self {
        Self::start_ruled(store, settings, tls, |_| ()).await
    }

    pub(crate) async fn start_where(
        settings: Settings,
        rule: impl FnOnce(&mut tidings_node::namespace::Settings),
    ) -> Self {
        Self::start_ruled(Arc::new(MemoryStore::new(Epoch(7))), settings, None, rule).await
    }

    async fn start_ruled(
        store: Arc<dyn tidings_store::Store>,
        settings: Settings,
        tls: Option<TlsAcceptor>,
        rule: impl FnOnce(&mut tidings_node::namespace::Settings),
    ) -> Self {
        let parts = Parts {
            providers: Vec::new(),
            store,
            clock: Clock::System,
            shards: 2,
            name: "n1".to_owned(),
            limits: tidings_node::connect::ConnectionLimits::default(),
            keep_statistics: tidings_node::statistics::Keep::default(),
            simulations: true,
            metrics: Arc::new(Metrics::default()),
        };
        let (node, inboxes) = Node::start(parts).await.unwrap();
        let mut rules = tidings_node::namespace::Settings::new("", AuthMode::Open, Timestamp(0));
        rule(&mut rules);
        if node.namespace("demo").is_none() {
            node.create_namespace(demo(), rules).await.unwrap();
        }
        let gateway = Gateway::start(Arc::clone(&node), inboxes, settings).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = gateway.router();
        tokio::spawn(async move { axum::serve(Streams { listener, tls }, router).await });
        Self { node, gateway, address }
    }

    pub(crate) async fn open(&self) -> Client {
        let url = format!("ws://{}/v1/namespaces/demo/connect", self.address);
        let (socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        Client { socket }
    }

    pub(crate) async fn connect(&self, user: &str, device: &str) -> Client {
        let mut client = self.open().await;
        client.send(json!({"id": 1, "cmd": "connect", "user": user, "device": device})).await;
        let answer = client.next().await;
        assert_eq!(answer["ok"]["device"], device, "{answer}");
        client
    }

    pub(crate) async fn push(&self, to: Target, data: Value) -> MessageId {
        self.node.publish(&demo(), push(to, data)).await.unwrap().message.id.clone()
    }

    /// A handshake without a library: the socket behind it, all of the answer read.
    pub(crate) async fn raw(&self) -> TcpStream {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        let request = format!(
            "GET /v1/namespaces/demo/connect HTTP/1.1\r\nHost: {}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            self.address
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(socket.read_u8().await.unwrap());
        }
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answer}");
        socket
    }
}

/// Accepts as the binary does: streams that an upgrade can take the socket out of.
struct Streams {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
}

impl Listener for Streams {
    type Io = Noted;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Noted, SocketAddr) {
        let (socket, peer) = self.listener.accept().await.unwrap();
        let stream = match &self.tls {
            None => Stream::Tcp(socket),
            Some(acceptor) => Stream::Tls(Box::new(acceptor.accept(socket).await.unwrap())),
        };
        (Noted::new(stream, Arc::default()), peer)
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

pub(crate) struct Client {
    pub(crate) socket: Socket,
}

impl Client {
    pub(crate) async fn send(&mut self, value: Value) {
        self.socket.send(Message::text(value.to_string())).await.unwrap();
    }

    pub(crate) async fn frame(&mut self) -> Message {
        let frame = tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("a frame comes");
        frame.expect("the socket is open").unwrap()
    }

    /// The next text frame.
    pub(crate) async fn next(&mut self) -> Value {
        loop {
            match self.frame().await {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("expected text, got {other:?}"),
            }
        }
    }

    pub(crate) async fn closed(&mut self) -> u16 {
        loop {
            match self.frame().await {
                Message::Close(Some(close)) => return close.code.into(),
                Message::Close(None) => return 1005,
                _ => {}
            }
        }
    }

    pub(crate) async fn call(&mut self, command: Value) -> Value {
        self.send(command).await;
        self.next().await
    }
}

/// Waits for a condition that another thread brings about.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    let looks = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, looks).await.expect("the condition comes true");
}

pub(crate) fn push(to: Target, data: Value) -> Push {
    Push {
        to,
        except: Except::default(),
        event: EventName::new("push").unwrap(),
        data: Bytes::from(data.to_string()),
        id: None,
        fingerprint: [0; 16],
        ttl: Duration::from_secs(600),
        priority: Priority::Normal,
        durability: Durability::Durable,
        keep: true,
        collapse_key: None,
        deliver_at: None,
        escalate_after: None,
        offline: Bytes::new(),
        from: None,
        aside: Bytes::new(),
    }
}

pub(crate) fn demo() -> NamespaceName {
    NamespaceName::new("demo").unwrap()
}

pub(crate) fn user(name: &str) -> Target {
    Target { users: vec![UserId::new(name).unwrap()], ..Target::default() }
}

pub(crate) fn room(name: &str) -> Target {
    Target { rooms: vec![RoomName::new(name).unwrap()], ..Target::default() }
}

/// What a bare socket is closed with.
pub(crate) async fn close_code(socket: &mut TcpStream) -> u16 {
    let mut bytes = Vec::new();
    let read =
        tokio::time::timeout(PATIENCE, socket.read_to_end(&mut bytes)).await.expect("the server closes");
    read.unwrap();
    // The close frame is the last one: 0x88, length, code.
    let at = bytes.iter().rposition(|byte| *byte == 0x88).expect("a close frame");
    u16::from_be_bytes([bytes[at + 2], bytes[at + 3]])
}
