//! What happened in a namespace, in numbers: interval by interval, and now.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use tidings_model::{ErrorCode, Granularity, Timestamp};
use tidings_node::statistics::Row;
use tidings_wire::time;
use utoipa::ToSchema;

use super::report::{AckTimes, rounded};
use crate::extract::{self, InPath, InQuery, namespace};
use crate::shape::shown;
use crate::{ApiState, Problem, openapi};

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1_000;

/// What is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    granularity: Option<String>,
    since: Option<String>,
    until: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

/// A page of statistics.
#[derive(Serialize, ToSchema)]
pub(crate) struct StatsBody {
    /// Oldest first. Intervals in which nothing happened and nobody was connected are left out.
    #[schema(max_items = 1000)]
    items: Vec<StatsRow>,
    /// Where the next page begins; null on the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// The intervals that are not over.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CurrentStatsBody {
    minute: StatsRow,
    hour: StatsRow,
    day: StatsRow,
}

/// What happened in an interval. Every number counts where it happened: a receipt in the interval in which it came,
/// whenever its message was pushed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StatsRow {
    /// When the interval begins, in UTC.
    #[schema(format = DateTime)]
    at: String,
    /// Pushes that were accepted. One that is scheduled counts when it is accepted, and not again when it is sent.
    pushes: u64,
    /// Messages written to a device: for each message, its devices.
    deliveries: u64,
    /// Receipts.
    acked: u64,
    /// acked / deliveries of the interval, to four digits, at most 1; null without deliveries.
    #[schema(required, minimum = 0, maximum = 1)]
    delivery_rate: Option<f64>,
    /// Devices for which another way was tried, for each message.
    escalated: u64,
    /// Devices that a message no longer reaches because its time was over, for each message.
    expired: u64,
    /// Devices that do not get a message, for each message.
    dropped: u64,
    /// How long receipts took; null without receipts.
    #[schema(required)]
    ack_ms: Option<AckTimes>,
    /// Most connections at once, looked at every second.
    connections: u64,
    /// Most users that were connected at once.
    users: u64,
    /// Most rooms with members at once, whether these were online or not.
    rooms: u64,
}

impl CurrentStatsBody {
    pub(super) fn of(rows: &[Row; 3]) -> Self {
        let [minute, hour, day] = rows.each_ref().map(StatsRow::of);
        Self { minute, hour, day }
    }
}

impl StatsRow {
    fn of(row: &Row) -> Self {
        let numbers = &row.numbers;
        Self {
            at: time::rfc3339(row.at.0),
            pushes: numbers.pushes,
            deliveries: numbers.deliveries,
            acked: numbers.acked,
            delivery_rate: row.delivery_rate().map(|rate| rounded(rate, 10_000.0)),
            escalated: numbers.escalated,
            expired: numbers.expired,
            dropped: numbers.dropped,
            ack_ms: row.ack_ms().map(AckTimes::of),
            connections: numbers.connections,
            users: numbers.users,
            rooms: numbers.rooms,
        }
    }
}

/// What happened, interval by interval.
#[utoipa::path(get, path = "/v1/namespaces/{ns}/stats", tag = "namespaces", operation_id = "stats",
    params(
        ("ns" = openapi::NamespaceParam, Path, description = "The namespace"),
        ("granularity" = Option<openapi::GranularityWord>, Query, description = "How long the intervals are; `hour` unless said"),
        ("since" = Option<String>, Query, format = DateTime, description = "Only intervals that begin then or later"),
        ("until" = Option<String>, Query, format = DateTime, description = "Only intervals that begin before"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "How many at once; 100 unless said"),
        ("cursor" = Option<String>, Query, description = "Where to go on: `next_cursor` of the page before"),
    ),
    responses((status = 200, description = "A page", body = StatsBody)))]
pub(crate) async fn list(
    State(state): State<ApiState>,
    InPath(ns): InPath<String>,
    InQuery(asked): InQuery<Asked>,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    let granularity = asked.granularity.as_deref().map_or(Ok(Granularity::Hour), granularity)?;
    let since = extract::time("since", asked.since.as_deref())?.unwrap_or(Timestamp(0));
    let until = extract::time("until", asked.until.as_deref())?.unwrap_or(Timestamp::NEVER);
    let limit = extract::limit(asked.limit.as_deref(), LIMIT_DEFAULT, LIMIT_MAX)?;
    let from = asked.cursor.as_deref().map(after).transpose()?.unwrap_or(since).max(since);
    let mut rows = state.node.statistics(&namespace, granularity, from, until, limit + 1).await?;
    let next_cursor = rows.get(limit).map(|next| URL_SAFE_NO_PAD.encode(next.at.0.to_be_bytes()));
    rows.truncate(limit);
    let items = rows.iter().map(StatsRow::of).collect();
    Ok(Json(StatsBody { items, next_cursor }).into_response())
}

/// What has happened so far in this minute, this hour and on this day.
#[utoipa::path(get, path = "/v1/namespaces/{ns}/stats/current", tag = "namespaces", operation_id = "currentStats",
    params(("ns" = openapi::NamespaceParam, Path, description = "The namespace")),
    responses((status = 200, description = "The intervals that are not over", body = CurrentStatsBody)))]
pub(crate) async fn current(
    State(state): State<ApiState>,
    InPath(ns): InPath<String>,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    let rows = state.node.current_statistics(&namespace).await?;
    Ok(Json(CurrentStatsBody::of(&rows)).into_response())
}

fn granularity(text: &str) -> Result<Granularity, Problem> {
    Granularity::parse(text).ok_or_else(|| {
        let known = Granularity::ALL.map(Granularity::as_str).join(", ");
        let message = format!("is {}, must be one of {known}", shown(text));
        Problem::field(ErrorCode::INVALID_REQUEST, "granularity", message)
    })
}

fn after(text: &str) -> Result<Timestamp, Problem> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| <[u8; 8]>::try_from(bytes).ok());
    bytes.map(|bytes| Timestamp(u64::from_be_bytes(bytes))).ok_or_else(|| {
        let message = format!("is {}, must be the next_cursor of an answer", shown(text));
        Problem::field(ErrorCode::INVALID_REQUEST, "cursor", message)
    })
}
