//! `outbox` of a namespace: how much may wait for one connection, and what happens beyond.

use serde::{Deserialize, Serialize};
use tidings_model::limit::{OUTBOX_BYTES, OUTBOX_FRAMES};
use tidings_node::namespace::{Outbox, WhenFull};
use utoipa::ToSchema;

use crate::shape::{Shape, shown};
use crate::{openapi, size};

/// What it looks like in a request.
pub(super) const SHAPE: Shape =
    Shape::Object(&[("frames", Shape::Count), ("size", Shape::Text), ("when_full", Shape::Text)]);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OutboxBody {
    frames: Option<u64>,
    size: Option<String>,
    when_full: Option<String>,
}

impl OutboxBody {
    /// Checks it; what is wrong is told to `wrong`, by field.
    pub(super) fn check(&self, mut wrong: impl FnMut(&str, String)) -> Outbox {
        let mut outbox = Outbox::default();
        if let Some(frames) = self.frames {
            let (least, most) = (*OUTBOX_FRAMES.start(), *OUTBOX_FRAMES.end());
            match usize::try_from(frames).ok().filter(|frames| OUTBOX_FRAMES.contains(frames)) {
                Some(frames) => outbox.frames = Some(frames),
                None => wrong("outbox.frames", format!("is {frames}, must be from {least} to {most}")),
            }
        }
        match self.size.as_deref().map(|text| (text, size::parse(text))) {
            None => {}
            Some((_, Ok(bytes))) if OUTBOX_BYTES.contains(&bytes) => outbox.bytes = Some(bytes as usize),
            Some((text, Ok(_))) => {
                let (least, most) = (size::show(*OUTBOX_BYTES.start()), size::show(*OUTBOX_BYTES.end()));
                wrong("outbox.size", format!("is {}, must be from {least} to {most}", shown(text)));
            }
            Some((text, Err(why))) => wrong("outbox.size", format!("is {}, {why}", shown(text))),
        }
        match self.when_full.as_deref().map(|text| (text, WhenFull::parse(text))) {
            None => {}
            Some((_, Some(when_full))) => outbox.when_full = when_full,
            Some((text, None)) => {
                let known = WhenFull::ALL.map(WhenFull::as_str).join(", ");
                wrong("outbox.when_full", format!("is {}, must be one of {known}", shown(text)));
            }
        }
        outbox
    }
}

/// How much may wait for one connection, and what happens beyond.
#[derive(Serialize, ToSchema)]
#[schema(as = NamespaceOutbox)]
pub(super) struct OutboxShown {
    /// Most messages. Left out when the server's own bound holds (`outbox.frames`).
    #[serde(skip_serializing_if = "Option::is_none")]
    frames: Option<usize>,
    /// Most bytes. Left out when the server's own bound holds (`outbox.size`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "1MiB")]
    size: Option<String>,
    /// What happens beyond.
    #[schema(value_type = openapi::WhenFullWord)]
    when_full: &'static str,
}

impl OutboxShown {
    pub(super) fn of(outbox: &Outbox) -> Self {
        Self {
            frames: outbox.frames,
            size: outbox.bytes.map(|bytes| size::show(bytes as u64)),
            when_full: outbox.when_full.as_str(),
        }
    }
}
