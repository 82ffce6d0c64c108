//! `mailbox` of a namespace: how much may wait for a device, and for how long.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings_model::limit::{MAILBOX_MESSAGES, TTL_SECS_MAX};
use tidings_node::namespace::Mailbox;
use utoipa::ToSchema;

use crate::shape::{Shape, shown};
use crate::{duration, openapi};

/// What it looks like in a request.
pub(super) const SHAPE: Shape = Shape::Object(&[("messages", Shape::Count), ("keep", Shape::Text)]);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MailboxBody {
    messages: Option<u64>,
    keep: Option<String>,
}

impl MailboxBody {
    /// Checks it; what is wrong is told to `wrong`, by field.
    pub(super) fn check(&self, mut wrong: impl FnMut(&str, String)) -> Mailbox {
        let mut mailbox = Mailbox::default();
        if let Some(messages) = self.messages {
            let (least, most) = (*MAILBOX_MESSAGES.start(), *MAILBOX_MESSAGES.end());
            match usize::try_from(messages).ok().filter(|messages| MAILBOX_MESSAGES.contains(messages)) {
                Some(messages) => mailbox.messages = messages,
                None => wrong("mailbox.messages", format!("is {messages}, must be from {least} to {most}")),
            }
        }
        let most = Duration::from_secs(TTL_SECS_MAX);
        match self.keep.as_deref().map(|text| (text, duration::parse(text))) {
            None => {}
            Some((_, Ok(keep))) if keep > Duration::ZERO && keep <= most => {
                mailbox.keep_ms = keep.as_millis() as u64;
            }
            Some((text, Ok(_))) => {
                wrong(
                    "mailbox.keep",
                    format!("is {}, must be from 1ms to {}", shown(text), duration::show(most)),
                );
            }
            Some((text, Err(why))) => wrong("mailbox.keep", format!("is {}, {why}", shown(text))),
        }
        mailbox
    }
}

/// How much may wait for a device, and for how long.
#[derive(Serialize, ToSchema)]
#[schema(as = NamespaceMailbox)]
pub(super) struct MailboxShown {
    /// Most messages; when more wait, the device gets the newest ones, and the report counts the others as dropped
    /// (`trimmed`).
    messages: usize,
    /// No message lives longer, whatever its `ttl`.
    #[schema(value_type = openapi::Duration)]
    keep: String,
}

impl MailboxShown {
    pub(super) fn of(mailbox: &Mailbox) -> Self {
        Self { messages: mailbox.messages, keep: duration::show(Duration::from_millis(mailbox.keep_ms)) }
    }
}
