//! What the business system is told by itself: notices, to the hooks of a namespace that want them.

use tidings_model::Timestamp;
use tidings_store::StoreError;

use crate::{Namespace, Node};

/// What a notice is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    /// A device gave no receipt in time, and there is no other way to reach it (any more).
    Undelivered,
    /// A device gave no receipt in time, and was tried another way.
    Escalated,
}

impl NoticeKind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Undelivered, Self::Escalated];

    /// The type of the notice in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Undelivered => "undelivered",
            Self::Escalated => "escalated",
        }
    }
}

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What it is about.
    pub kind: NoticeKind,
    /// When it happened.
    pub at: Timestamp,
    /// What happened: a JSON object.
    pub data: String,
}

impl Namespace {
    /// Whether any hook wants to hear of this.
    #[must_use]
    pub fn wants(&self, _kind: NoticeKind) -> bool {
        false
    }
}

impl Node {
    /// Tells the hooks that want to hear of it. Answers when that is on disk; delivery goes on by itself.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub async fn notify(&self, _namespace: &Namespace, _notices: Vec<Notice>) -> Result<(), StoreError> {
        Ok(())
    }
}
