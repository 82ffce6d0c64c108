//! Who has a message and who has not, device by device, page by page.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tidings_model::ErrorCode;
use tidings_node::ledger::report::{Line, State as Became};
use utoipa::ToSchema;

use super::messages::find;
use crate::extract::{self, InPath, InQuery, namespace};
use crate::shape::shown;
use crate::{ApiState, Problem, openapi};

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1_000;

/// What is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    state: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

/// A page of receipts.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReceiptsBody {
    #[schema(max_items = 1000)]
    items: Vec<ReceiptBody>,
    /// Where the next page begins; null on the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// What became of a message for a device.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReceiptBody {
    /// The device; null when it is registered no longer.
    #[schema(required)]
    device: Option<String>,
    /// Its user, if it has one.
    #[schema(required)]
    user: Option<String>,
    /// What it is.
    #[schema(required, value_type = Option<String>)]
    platform: Option<&'static str>,
    #[schema(value_type = openapi::ReceiptStateWord)]
    state: &'static str,
    /// Whether the message was written to it.
    written: bool,
}

impl ReceiptBody {
    fn of(line: Line) -> Self {
        let device = line.device;
        Self {
            platform: device.as_ref().map(|device| device.platform.as_str()),
            user: device.as_ref().and_then(|device| device.user.as_ref().map(ToString::to_string)),
            device: device.map(|device| device.id.to_string()),
            state: line.state.as_str(),
            written: line.written,
        }
    }
}

/// Who has a message and who has not, device by device.
#[utoipa::path(get, path = "/v1/namespaces/{ns}/messages/{id}/receipts", tag = "messages", operation_id = "receipts",
    params(
        ("ns" = openapi::NamespaceParam, Path, description = "The namespace"),
        ("id" = openapi::Name, Path, description = "The message"),
        ("state" = Option<openapi::ReceiptStateWord>, Query, description = "Only devices of this state"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "How many at once; 100 unless said"),
        ("cursor" = Option<String>, Query, description = "Where to go on: `next_cursor` of the page before"),
    ),
    responses((status = 200, description = "A page", body = ReceiptsBody)))]
pub(crate) async fn list(
    State(state): State<ApiState>,
    InPath((ns, id)): InPath<(String, String)>,
    InQuery(asked): InQuery<Asked>,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    let limit = extract::limit(asked.limit.as_deref(), LIMIT_DEFAULT, LIMIT_MAX)?;
    let after = asked.cursor.as_deref().map(extract::after_ordinal).transpose()?;
    let only = asked.state.as_deref().map(only).transpose()?;
    let message = find(&state.node, &namespace, &id).await?;
    let (lines, next) = state.node.receipts(&namespace, &message, only, after, limit).await?;
    let items = lines.into_iter().map(ReceiptBody::of).collect();
    Ok(Json(ReceiptsBody { items, next_cursor: next.map(extract::ordinal_cursor) }).into_response())
}

fn only(text: &str) -> Result<Became, Problem> {
    Became::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| {
        let known = Became::ALL.map(Became::as_str).join(", ");
        let message = format!("is {}, must be one of {known}", shown(text));
        Problem::field(ErrorCode::INVALID_REQUEST, "state", message)
    })
}
