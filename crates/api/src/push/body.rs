//! The body of a push as it is on the wire: borrowed from the bytes that came, unchecked.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::shape::{Object, Shape};

/// What a push looks like, for those that do not.
pub(crate) const SHAPE: Shape = Shape::Object(&[
    (
        "to",
        Shape::Object(&[
            ("all", Shape::Flag),
            ("users", Shape::Texts),
            ("devices", Shape::Texts),
            ("rooms", Shape::Texts),
            ("platforms", Shape::Texts),
        ]),
    ),
    (
        "except",
        Shape::Object(&[
            ("users", Shape::Texts),
            ("devices", Shape::Texts),
            ("rooms", Shape::Texts),
            ("connections", Shape::Texts),
        ]),
    ),
    ("event", Shape::Text),
    ("data", Shape::Any),
    ("id", Shape::Text),
    ("ttl", Shape::Text),
    ("collapse_key", Shape::Text),
    ("priority", Shape::Text),
    ("durability", Shape::Text),
    ("deliver_at", Shape::Text),
    ("ack", Shape::Object(&[("wait", Shape::Text)])),
    (
        "offline",
        Shape::Object(&[
            ("keep", Shape::Flag),
            ("escalate_after", Shape::Text),
            (
                "notification",
                Shape::Object(&[
                    ("title", Shape::Text),
                    ("body", Shape::Text),
                    ("badge", Shape::Count),
                    ("sound", Shape::Text),
                    ("url", Shape::Text),
                    ("image", Shape::Text),
                ]),
            ),
            ("apns", Shape::Free),
            ("fcm", Shape::Free),
            ("webpush", Shape::Free),
        ]),
    ),
    ("dry_run", Shape::Flag),
]);

/// A string; copied only when it has escapes.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl AsRef<str> for Text<'_> {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Text<'_> {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Body<'a> {
    #[serde(borrow)]
    pub(super) to: Option<Object<ToBody<'a>>>,
    #[serde(borrow)]
    pub(super) except: Option<Object<ExceptBody<'a>>>,
    #[serde(borrow)]
    pub(super) event: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) data: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) ttl: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) collapse_key: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) priority: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) durability: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) deliver_at: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) ack: Option<Object<AckBody<'a>>>,
    #[serde(borrow)]
    pub(super) offline: Option<Object<OfflineBody<'a>>>,
    pub(super) dry_run: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ToBody<'a> {
    pub(super) all: Option<bool>,
    #[serde(borrow)]
    pub(super) users: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    pub(super) devices: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    pub(super) rooms: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    pub(super) platforms: Option<Vec<Text<'a>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExceptBody<'a> {
    #[serde(borrow)]
    pub(super) users: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    pub(super) devices: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    pub(super) rooms: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    pub(super) connections: Option<Vec<Text<'a>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AckBody<'a> {
    #[serde(borrow)]
    pub(super) wait: Option<Text<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfflineBody<'a> {
    pub(super) keep: Option<bool>,
    #[serde(borrow)]
    pub(super) escalate_after: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) notification: Option<Object<Notification<'a>>>,
    #[serde(borrow)]
    pub(super) apns: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) fcm: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) webpush: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Notification<'a> {
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) title: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) body: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) badge: Option<u64>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) sound: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) url: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) image: Option<Text<'a>>,
}
