//! What became of a message, in numbers.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tidings_node::ledger::report::{Counts, Report};
use utoipa::ToSchema;

use super::messages::find;
use crate::extract::{InPath, namespace};
use crate::{ApiState, Problem, openapi};

/// Devices by what became of a message for them. Always: meant = acked + waiting + escalated + expired +
/// dropped + recalled.
#[derive(Serialize, ToSchema)]
pub(crate) struct CountsBody {
    /// Devices that it is for.
    meant: u64,
    /// Devices to which it was written, acknowledged or not.
    written: u64,
    /// Devices that have it.
    acked: u64,
    /// Devices that will get it, or have not acknowledged yet.
    waiting: u64,
    /// Devices that have not acknowledged it, and were tried another way.
    escalated: u64,
    /// Devices that it no longer reaches, because its time is over.
    expired: u64,
    /// Devices that it will not reach, by reason.
    #[schema(value_type = BTreeMap<String, u64>)]
    dropped: BTreeMap<&'static str, u64>,
    /// Devices from which it was withdrawn before they acknowledged it.
    recalled: u64,
}

/// What became of a message.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReportBody {
    #[serde(flatten)]
    total: CountsBody,
    /// The same by platform; only those that it was meant for. Devices that were forgotten are among the others.
    #[schema(value_type = BTreeMap<String, CountsBody>)]
    platforms: BTreeMap<&'static str, CountsBody>,
    /// acked / meant, to four digits; null when nobody was meant.
    #[schema(required, minimum = 0, maximum = 1)]
    delivery_rate: Option<f64>,
    /// Time from acceptance to acknowledgement; null before the first one.
    #[schema(required)]
    ack_ms: Option<AckTimes>,
}

/// Within how many milliseconds a share of the acknowledgements came.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AckTimes {
    /// Half of them.
    p50: f64,
    /// 95 %.
    p95: f64,
    /// 99 %.
    p99: f64,
}

impl AckTimes {
    pub(super) fn of([p50, p95, p99]: [f64; 3]) -> Self {
        Self { p50: rounded(p50, 10.0), p95: rounded(p95, 10.0), p99: rounded(p99, 10.0) }
    }
}

/// A number to as many parts of 1 as there are in `parts`.
pub(super) fn rounded(number: f64, parts: f64) -> f64 {
    (number * parts).round() / parts
}

impl CountsBody {
    fn of(counts: &Counts) -> Self {
        Self {
            meant: counts.meant,
            written: counts.written,
            acked: counts.acked,
            waiting: counts.waiting,
            escalated: counts.escalated,
            expired: counts.expired,
            dropped: counts.dropped.clone(),
            recalled: counts.recalled,
        }
    }
}

impl ReportBody {
    pub(super) fn of(report: &Report) -> Self {
        Self {
            total: CountsBody::of(&report.total),
            platforms: report
                .platforms
                .iter()
                .map(|(platform, counts)| (platform.as_str(), CountsBody::of(counts)))
                .collect(),
            delivery_rate: report.delivery_rate.map(|rate| rounded(rate, 10_000.0)),
            ack_ms: report.ack_ms.map(AckTimes::of),
        }
    }
}

/// The report of a message alone.
#[utoipa::path(get, path = "/v1/namespaces/{ns}/messages/{id}/report", tag = "messages", operation_id = "report",
    params(
        ("ns" = openapi::NamespaceParam, Path, description = "The namespace"),
        ("id" = openapi::Name, Path, description = "The message"),
    ),
    responses((status = 200, description = "The report", body = ReportBody)))]
pub(crate) async fn show(
    State(state): State<ApiState>,
    InPath((ns, id)): InPath<(String, String)>,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    let message = find(&state.node, &namespace, &id).await?;
    Ok(Json(ReportBody::of(&state.node.report(&namespace, &message).await)).into_response())
}
