//! The numbers of the API, and `/metrics`. Labels are bounded: the path is the route, not what was asked
//! for, and a method that HTTP does not define is `other`.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::Method;
use http::header::CONTENT_TYPE;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tidings_model::ErrorCode;

use crate::{ApiState, Problem};

const CONTENT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of the buckets of call times, in seconds.
const CALL_SECONDS: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.0, 10.0];

/// The numbers of the API.
#[derive(Debug)]
pub struct Metrics {
    calls: Family<Call, Counter>,
    grpc: Family<GrpcCall, Counter>,
    seconds: Family<Route, Histogram, fn() -> Histogram>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GrpcCall {
    method: String,
    code: i32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

impl Metrics {
    /// Registers everything under `tidings_api_…`.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(CALL_SECONDS);
        let metrics = Self {
            calls: Family::default(),
            grpc: Family::default(),
            seconds: Family::new_with_constructor(histogram),
        };
        let registry = registry.sub_registry_with_prefix("tidings").sub_registry_with_prefix("api");
        registry.register("calls", "Calls of the API", metrics.calls.clone());
        registry.register("grpc_calls", "Calls of gRPC, streams when they begin", metrics.grpc.clone());
        registry.register_with_unit(
            "call",
            "How long calls of the API took",
            Unit::Seconds,
            metrics.seconds.clone(),
        );
        metrics
    }

    /// A call was answered, or its caller is gone.
    pub(crate) fn called(&self, method: &Method, route: &str, status: u16, took: Duration) {
        let call = Call { method: label(method), route: route.to_owned(), status };
        self.calls.get_or_create(&call).inc();
        self.seconds.get_or_create(&Route { route: route.to_owned() }).observe(took.as_secs_f64());
    }

    /// A call of gRPC was answered; a stream, which takes as long as its client wants, has begun.
    pub(crate) fn called_by_grpc(&self, method: &str, code: i32, took: Option<Duration>) {
        self.grpc.get_or_create(&GrpcCall { method: method.to_owned(), code }).inc();
        if let Some(took) = took {
            let route = format!("gRPC {method}");
            self.seconds.get_or_create(&Route { route }).observe(took.as_secs_f64());
        }
    }
}

fn label(method: &Method) -> &'static str {
    [
        ("GET", Method::GET),
        ("HEAD", Method::HEAD),
        ("POST", Method::POST),
        ("PUT", Method::PUT),
        ("PATCH", Method::PATCH),
        ("DELETE", Method::DELETE),
        ("OPTIONS", Method::OPTIONS),
    ]
    .into_iter()
    .find_map(|(label, known)| (known == *method).then_some(label))
    .unwrap_or("other")
}

/// Every number of this process.
#[utoipa::path(get, path = "/metrics", tag = "process", operation_id = "metrics",
    responses((status = 200, description = "The numbers, in the OpenMetrics text format",
        content_type = "application/openmetrics-text", body = String)))]
pub(crate) async fn metrics(State(state): State<ApiState>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &state.registry) {
        Ok(()) => ([(CONTENT_TYPE, CONTENT)], text).into_response(),
        Err(_) => Problem::new(ErrorCode::INTERNAL, "the numbers cannot be written").into_response(),
    }
}
