//! What is wrong now, and what was lately.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use tidings_node::alerts::Alert;
use tidings_wire::time;
use utoipa::ToSchema;

use crate::ApiState;

/// Alerts.
#[derive(Serialize, ToSchema)]
pub(crate) struct AlertsListed {
    /// Those that are on, the worst first; behind them up to 100 that are over, the newest first.
    items: Vec<AlertBody>,
    /// Where the next page begins; null on the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// Something that is wrong, or was.
#[derive(Serialize, ToSchema)]
#[schema(as = Alert)]
pub(crate) struct AlertBody {
    /// What: a stable word.
    #[schema(value_type = String)]
    kind: &'static str,
    /// `critical`: something is refused or lost now. `warning`: something is not as it should be.
    #[schema(value_type = String)]
    severity: &'static str,
    #[schema(format = DateTime)]
    since: String,
    /// Until when; null while it is on.
    #[schema(required, format = DateTime)]
    until: Option<String>,
    /// Whose matter it is; null when it is the server's.
    #[schema(required)]
    namespace: Option<String>,
    /// Which hook it is about.
    #[schema(required)]
    hook: Option<String>,
    /// What it means.
    #[schema(value_type = String)]
    meaning: &'static str,
    /// What to do about it.
    #[schema(value_type = String)]
    action: &'static str,
    /// What else is to be said of it.
    #[schema(required)]
    detail: Option<String>,
}

impl AlertBody {
    fn of(alert: Alert) -> Self {
        let Alert { kind, namespace, hook, since, until, detail } = alert;
        Self {
            kind: kind.as_str(),
            severity: kind.severity().as_str(),
            since: time::rfc3339(since.0),
            until: until.map(|until| time::rfc3339(until.0)),
            namespace: namespace.map(|name| name.to_string()),
            hook: hook.map(|name| name.to_string()),
            meaning: kind.meaning(),
            action: kind.action(),
            detail,
        }
    }
}

/// What is wrong now, and what was lately.
#[utoipa::path(get, path = "/v1/alerts", tag = "nodes", operation_id = "alerts",
    description = "Looked at every second, and kept in memory: after a start there is what is wrong then.",
    responses((status = 200, description = "The alerts", body = AlertsListed)))]
pub(crate) async fn list(State(state): State<ApiState>) -> Json<AlertsListed> {
    let items = state.node.alerts().into_iter().map(AlertBody::of).collect();
    Json(AlertsListed { items, next_cursor: None })
}
