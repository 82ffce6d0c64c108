//! The push server of Go and Redis: the bare text that was published.

use super::{framed, nothing, text};
use crate::push::{Encoded, PushView};

/// Encodes a message. Data that is no string is said as JSON.
#[must_use]
pub fn encode(view: &PushView<'_>) -> Encoded {
    if view.recalls.is_some() { nothing() } else { framed(&text(view)) }
}
