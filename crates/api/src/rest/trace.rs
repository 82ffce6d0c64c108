//! Why somebody has a message or has it not, step by step.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tidings_model::{DeviceId, ErrorCode, UserId};
use tidings_node::trace::{Happened, Subject, Trace};
use tidings_wire::time;
use utoipa::ToSchema;

use super::messages::find;
use crate::extract::{self, InPath, InQuery, namespace};
use crate::{ApiState, Problem, openapi};

/// Whose trace is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    user: Option<String>,
    device: Option<String>,
}

/// Why somebody has a message or has it not.
#[derive(Serialize, ToSchema)]
#[schema(as = Trace)]
pub(crate) struct TraceBody {
    /// The id of the message.
    message: String,
    /// Whose trace it is: `user:ann` or `device:phone`.
    subject: String,
    #[schema(value_type = openapi::VerdictWord)]
    verdict: &'static str,
    /// The step that the verdict rests on.
    #[schema(value_type = openapi::StepWord)]
    because: &'static str,
    /// What happened, in order.
    steps: Vec<StepBody>,
}

/// Something that happened, or the reason why nothing did.
#[derive(Serialize, ToSchema)]
#[schema(as = TraceStep)]
struct StepBody {
    #[schema(format = DateTime)]
    at: String,
    #[schema(value_type = openapi::StepWord)]
    step: &'static str,
    /// On its way to which device; left out for what is about the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    /// What else is to be said of it, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl StepBody {
    fn of(step: Happened) -> Self {
        Self {
            at: time::rfc3339(step.at.0),
            step: step.step.as_str(),
            device: step.device.map(|device| device.to_string()),
            detail: step.detail,
        }
    }
}

/// Why a person or a device has a message or has it not.
#[utoipa::path(get, path = "/v1/namespaces/{ns}/messages/{id}/trace", tag = "messages", operation_id = "trace",
    description = "The steps in the order of time, to a few milliseconds. Of a user, all devices that they have now; of a message for one user (or one device) alone, also those that \
        it was meant for and that are not known any more, without a name.",
    params(
        ("ns" = openapi::NamespaceParam, Path, description = "The namespace"),
        ("id" = openapi::Name, Path, description = "The message"),
        ("user" = Option<openapi::Name>, Query, description = "The user; either this or `device`"),
        ("device" = Option<openapi::Name>, Query, description = "The device; either this or `user`"),
    ),
    responses((status = 200, description = "The trace", body = TraceBody)))]
pub(crate) async fn show(
    State(state): State<ApiState>,
    InPath((ns, id)): InPath<(String, String)>,
    InQuery(asked): InQuery<Asked>,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    let (subject, shown) = subject(&asked)?;
    let message = find(&state.node, &namespace, &id).await?;
    let Trace { verdict, because, steps } = state.node.trace(&namespace, &message, &subject).await?;
    let body = TraceBody {
        message: message.id.to_string(),
        subject: shown,
        verdict: verdict.as_str(),
        because: because.as_str(),
        steps: steps.into_iter().map(StepBody::of).collect(),
    };
    Ok(Json(body).into_response())
}

fn subject(asked: &Asked) -> Result<(Subject, String), Problem> {
    match (&asked.user, &asked.device) {
        (Some(user), None) => {
            let user = extract::name("user", user, UserId::new)?;
            let shown = format!("user:{user}");
            Ok((Subject::User(user), shown))
        }
        (None, Some(device)) => {
            let device = extract::name("device", device, DeviceId::new)?;
            let shown = format!("device:{device}");
            Ok((Subject::Device(device), shown))
        }
        (None, None) => {
            let message = "is required, or device: whose trace it is to be";
            Err(Problem::field(ErrorCode::INVALID_REQUEST, "user", message))
        }
        (Some(_), Some(_)) => {
            let message = "cannot be given together with user";
            Err(Problem::field(ErrorCode::INVALID_REQUEST, "device", message))
        }
    }
}
