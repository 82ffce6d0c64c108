//! `history` of a namespace: how long messages are kept, and how much of them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings_model::limit::{HISTORY_BYTES, HISTORY_KEEP_SECS};
use tidings_node::namespace::History;
use utoipa::ToSchema;

use crate::shape::{Shape, shown};
use crate::{duration, openapi, size};

/// What it looks like in a request.
pub(super) const SHAPE: Shape = Shape::Object(&[("keep", Shape::Text), ("size", Shape::Text)]);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryBody {
    keep: Option<String>,
    size: Option<String>,
}

impl HistoryBody {
    /// Checks it; what is wrong is told to `wrong`, by field.
    pub(super) fn check(&self, mut wrong: impl FnMut(&str, String)) -> History {
        let mut history = History::default();
        let (least, most) = (*HISTORY_KEEP_SECS.start(), *HISTORY_KEEP_SECS.end());
        match self.keep.as_deref().map(|text| (text, duration::parse(text))) {
            None => {}
            Some((_, Ok(keep))) if keep.is_zero() || HISTORY_KEEP_SECS.contains(&keep.as_secs()) => {
                history.keep_ms = keep.as_millis() as u64;
            }
            Some((text, Ok(_))) => {
                let [least, most] = [least, most].map(|secs| duration::show(Duration::from_secs(secs)));
                wrong(
                    "history.keep",
                    format!("is {}, must be from {least} to {most}, or 0s for ever", shown(text)),
                );
            }
            Some((text, Err(why))) => wrong("history.keep", format!("is {}, {why}", shown(text))),
        }
        match self.size.as_deref().map(|text| (text, size::parse(text))) {
            None => {}
            Some((_, Ok(bytes))) if bytes == 0 || HISTORY_BYTES.contains(&bytes) => history.bytes = bytes,
            Some((text, Ok(_))) => {
                let [least, most] = [*HISTORY_BYTES.start(), *HISTORY_BYTES.end()].map(size::show);
                wrong(
                    "history.size",
                    format!("is {}, must be from {least} to {most}, or 0B for no limit", shown(text)),
                );
            }
            Some((text, Err(why))) => wrong("history.size", format!("is {}, {why}", shown(text))),
        }
        history
    }
}

/// How long messages are kept, and how much of them.
#[derive(Serialize, ToSchema)]
#[schema(as = NamespaceHistory)]
pub(super) struct HistoryShown {
    /// For how long after they were accepted, and until they have expired; `0s` for ever.
    #[schema(value_type = openapi::Duration)]
    keep: String,
    /// How much of them, before compression; the oldest ones go first, even those that somebody waits for. `0B`: no limit.
    #[schema(example = "10GiB")]
    size: String,
}

impl HistoryShown {
    pub(super) fn of(history: &History) -> Self {
        Self { keep: duration::show(Duration::from_millis(history.keep_ms)), size: size::show(history.bytes) }
    }
}
