//! One client: what is kept of it.

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde_json::Value;
use tidings_model::DeviceId;
use tidings_node::keys::Scope;
use tidings_node::light_push::FIELDS;
use tidings_wire::compat::light_push::device_of;

use super::answer::{Refusal, json};
use super::auth::Backend;
use super::fields::Fields;
use crate::ApiState;

/// What may be said as well, and is known already: it changes nothing.
const KNOWN: [&str; 2] = ["userId", "nspName"];

/// Shows a client, or sets what is kept of it.
pub(super) async fn client(
    State(state): State<ApiState>,
    Extension(backend): Extension<Backend>,
    fields: Fields,
) -> Result<Response, Refusal> {
    let id = fields.text("id").ok_or_else(|| Refusal::business("id can not be empty"))?;
    let sets = FIELDS.into_iter().chain(KNOWN).any(|field| fields.has(field));
    backend.need(if sets { Scope::Manage } else { Scope::Read })?;
    let unknown = || Refusal::business("this id not exists");
    let namespace = &backend.namespace;
    // A client of another namespace is nobody here.
    let device = device_of(&format!("/{}", namespace.name), &id).and_then(|id| DeviceId::new(id).ok());
    let device = state.node.device(namespace, &device.ok_or_else(unknown)?).await?.ok_or_else(unknown)?;
    if sets {
        let set = FIELDS.into_iter().filter(|field| fields.has(field));
        let set = set.map(|field| (field.to_owned(), fields.value(field).unwrap_or_default())).collect();
        state.node.light_push_set(namespace, device.ordinal, set).await?;
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let mut record = state.node.light_push_record(namespace, &device);
    // With it, its vendor reaches the device: that is for who may change it.
    if let Some(token) = record.get_mut("device_token").filter(|_| !backend.may(Scope::Manage)) {
        *token = Value::from("***");
    }
    Ok(json(&record))
}
