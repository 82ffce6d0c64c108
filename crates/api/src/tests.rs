//! The API against a node on the in-memory store: no ports, no sleeps. One call, one answer.

mod away;
mod blocks;
mod bodies;
mod calls;
mod declared;
mod devices;
mod document;
mod events;
mod gopusher;
mod grpc;
mod history;
mod hooks;
mod isolation;
mod keys;
mod light_push;
mod limits;
mod message_push;
mod nodes;
mod origins;
mod reload;
mod removal;
mod revocation;
mod rooms;
mod simulations;
mod stats;
mod tokens;
mod waiting;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use expect_test::Expect;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use prometheus_client::registry::Registry;
use tidings_model::{DeviceId, Epoch, ErrorCode, NamespaceName, Platform, RoomName, Timestamp, UserId};
use tidings_node::connect::{Claim, Identity};
use tidings_node::namespace::{AuthMode, Settings};
use tidings_node::{Clock, Node, Parts, ToShard};
use tidings_store::memory::MemoryStore;
use tokio::sync::mpsc;
use tower::ServiceExt as _;

use crate::{ApiParts, ApiState, Metrics, Readiness, Reloads, router};

const KEY: &str = "tk_test";

/// 2026-11-20T00:00:00Z.
const NOW: u64 = 1_795_132_800_000;

/// A node with a namespace `demo`, an admin key, and a clock that stands still until it is moved.
struct World {
    state: ApiState,
    router: Router,
    time: Arc<AtomicU64>,
    /// Held open, so that the shards seem to be there.
    inboxes: Vec<mpsc::Receiver<ToShard>>,
}

/// An answer.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl World {
    async fn new() -> Self {
        Self::with(true).await
    }

    async fn with(simulations: bool) -> Self {
        let mut registry = Registry::default();
        let time = Arc::new(AtomicU64::new(NOW));
        let node_metrics = Arc::new(tidings_node::Metrics::register(&mut registry));
        let metrics = Arc::new(Metrics::register(&mut registry));
        let (node, inboxes) = Node::start(Parts {
            providers: Vec::new(),
            store: Arc::new(MemoryStore::new(Epoch(7))),
            clock: Clock::Manual(Arc::clone(&time)),
            shards: 1,
            name: "n1".to_owned(),
            limits: tidings_node::connect::ConnectionLimits::default(),
            keep_statistics: tidings_node::statistics::Keep::default(),
            simulations,
            metrics: node_metrics,
        })
        .await
        .unwrap();
        node.set_admin_key(KEY).await.unwrap();
        let demo = NamespaceName::new("demo").unwrap();
        node.create_namespace(demo, Settings::new("Demo", AuthMode::Open, Timestamp(NOW))).await.unwrap();
        let ready = Readiness::default();
        ready.ready();
        let state = ApiState::from(ApiParts {
            node,
            registry: Arc::new(registry),
            metrics,
            ready,
            // Nobody there, unless a test is.
            reloads: Reloads::new().0,
            version: "0.0.0",
            commit: None,
            started_at: Timestamp(NOW),
            request_timeout: Duration::from_secs(5),
        });
        Self { router: router(state.clone()), state, time, inboxes }
    }

    fn set_time(&self, ms: u64) {
        self.time.store(ms, Ordering::Relaxed);
    }

    async fn device(&self, device: &str, user: &str, platform: Platform, rooms: &[&str]) -> Identity {
        let claim = Claim {
            device: Some(DeviceId::new(device).unwrap()),
            user: Some(UserId::new(user).unwrap()),
            platform,
            ..Claim::default()
        };
        let who = self.state.node.identify(&NamespaceName::new("demo").unwrap(), claim).await.unwrap();
        let rooms = rooms.iter().map(|room| RoomName::new(room).unwrap()).collect();
        self.state.node.join(&who.namespace, who.device.ordinal, rooms).await.unwrap();
        who
    }

    /// Calls with the admin key and a fixed request id. `call` is method, path and headers by line.
    async fn call(&self, call: &str, body: impl Into<Body>) -> Answer {
        self.bare(&format!("{call}\nauthorization: Bearer {KEY}\nx-request-id: r1"), body).await
    }

    /// Calls with the headers in `call` and no others.
    async fn bare(&self, call: &str, body: impl Into<Body>) -> Answer {
        let mut lines = call.lines();
        let (method, path) = lines.next().unwrap().split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(path);
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            request = request.header(name, value);
        }
        self.send(request.body(body.into()).unwrap()).await
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn check(&self, call: &str, body: impl Into<Body>, expect: Expect) {
        expect.assert_eq(&self.call(call, body).await.show());
    }
}

impl Answer {
    /// Status and body.
    fn show(&self) -> String {
        format!("{}\n{}\n", self.status.as_u16(), self.body)
    }

    /// The status and what is wrong, in short.
    fn wrong(&self) -> String {
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        let mut out = format!("{} {}", self.status.as_u16(), body["code"].as_str().unwrap());
        match body["errors"].as_array() {
            Some(errors) => {
                for error in errors {
                    out += &format!(
                        "\n  {}: {}",
                        error["field"].as_str().unwrap(),
                        error["message"].as_str().unwrap()
                    );
                }
            }
            None => out += &format!("\n  {}", body["detail"].as_str().unwrap()),
        }
        out + "\n"
    }
}
