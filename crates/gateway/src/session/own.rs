//! What a client sees and changes of its own device.

use serde_json::{Map, Value};
use tidings_model::ErrorCode;
use tidings_node::Device;
use tidings_node::profile::{DescribeError, record as shape};

use super::{Refusal, Session, still_let_in};
use crate::local::Local;

/// Most fields that a client is told to be wrong at once.
const COMPLAINTS_TOLD: usize = 5;

impl From<DescribeError> for Refusal {
    fn from(why: DescribeError) -> Self {
        match why {
            DescribeError::Wrong(complaints) => {
                let field = complaints.first().map(|first| first.field.clone());
                let told = complaints.iter().take(COMPLAINTS_TOLD);
                let told: Vec<_> = told.map(|one| format!("{} {}", one.field, one.message)).collect();
                Self { field, ..Self::new(ErrorCode::INVALID_REQUEST, told.join("; ")) }
            }
            DescribeError::NotItsOwn(ref fields) => {
                Self { field: fields.first().cloned(), ..Self::new(ErrorCode::FORBIDDEN, why.to_string()) }
            }
            DescribeError::Unknown | DescribeError::Busy => Self::new(ErrorCode::CONFLICT, why.to_string()),
            DescribeError::Store(why) => why.into(),
        }
    }
}

/// The device of a session as it is registered.
pub(super) async fn device(local: &Local, session: &Session) -> Result<Device, Refusal> {
    let device = local.node.known(&session.namespace, session.ordinal).await?;
    device.ok_or_else(|| Refusal::new(ErrorCode::CONFLICT, "this device is not registered any more"))
}

/// What a device is shown of itself, after it was changed by a patch if there is one.
pub(super) async fn record(
    local: &Local,
    session: &Session,
    patch: Option<Map<String, Value>>,
) -> Result<String, Refusal> {
    let device = match patch {
        None => device(local, session).await?,
        Some(patch) => {
            still_let_in(session)?;
            local.node.amend_own(&session.namespace, session.ordinal, &patch).await?
        }
    };
    let mut shown = Map::new();
    shown.insert("device".to_owned(), device.id.as_str().into());
    shown.append(&mut shape::show(device.user.as_ref(), device.platform, &device.profile, local.node.now()));
    Ok(Value::Object(shown).to_string())
}
