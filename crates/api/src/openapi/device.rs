//! What a device looks like in requests, and what is kept of it in answers, for the document only.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::body::*;

/// What devices are found by: 1 to 64 bytes of UTF-8, no control characters.
#[derive(Serialize, ToSchema)]
#[schema(
    min_length = 1,
    max_length = 64,
    pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f\\u2028\\u2029\\ufeff]+$"
)]
pub(crate) struct Tag(String);

/// A device as it is to be.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewDevice, example = json!({
    "user": "ann",
    "platform": "ios",
    "tokens": {"apns": "740f4707bebcf74f9b7c25d48e3358945f6aa01da5ddb387462c7eaf61bb78ad"},
    "tags": ["beta"],
    "metadata": {"app": "3.1", "language": "de"},
    "do_not_disturb": {"windows": [{"from": "22:00", "to": "07:00", "zone": "Europe/Berlin"}]},
    "muted_rooms": {"lobby": {}, "news": {"until": "2026-12-24T18:00:00Z"}}
}))]
pub(crate) struct DeviceBody {
    /// Whose device it is; null is nobody's. Stays as it is unless it is said; another user's device starts anew.
    user: Option<Name>,
    /// Stays as it is unless it is said; `other` at first.
    platform: Option<PlatformWord>,
    #[schema(max_items = 64)]
    tags: Option<Vec<Tag>>,
    /// Yours: at most 4 KiB of JSON, nested at most 10 levels deep.
    metadata: Option<BTreeMap<String, serde_json::Value>>,
    tokens: Option<DeviceTokens>,
    do_not_disturb: Option<NewQuiet>,
    /// By room; at most 1,000.
    muted_rooms: Option<BTreeMap<String, NewMute>>,
}

/// What to change of a device.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"tags": ["beta", "vip"], "muted_rooms": {"lobby": null}}))]
pub(crate) struct DevicePatch {
    /// Whose device it is; null is nobody's. Another user's device starts anew.
    user: Option<Name>,
    platform: Option<PlatformWord>,
    /// All of them.
    #[schema(max_items = 64)]
    tags: Option<Vec<Tag>>,
    /// What to change of it; at most 4 KiB of JSON afterwards, nested at most 10 levels deep.
    metadata: Option<BTreeMap<String, serde_json::Value>>,
    tokens: Option<DeviceTokens>,
    do_not_disturb: Option<NewQuiet>,
    /// By room: the same as in a new device, or null, which makes it heard again. At most 1,000 afterwards.
    muted_rooms: Option<BTreeMap<String, serde_json::Value>>,
}

/// What the vendors of phone push reach a device by, each at most 4 KiB of JSON. They are kept as they are and shown as `***`, which keeps
/// the one that there is.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DeviceTokens)]
pub(crate) struct DeviceTokens {
    /// A string or an object, not empty.
    apns: Option<serde_json::Value>,
    /// A string or an object, not empty.
    fcm: Option<serde_json::Value>,
    /// A subscription: an object with an `endpoint` that begins with https://.
    webpush: Option<serde_json::Value>,
}

/// When nothing is to wake the device, unless it is of high priority.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewDoNotDisturb)]
pub(crate) struct NewQuiet {
    #[schema(format = DateTime)]
    until: Option<String>,
    /// Hours of every day.
    #[schema(max_items = 8)]
    windows: Option<Vec<NewHours>>,
}

/// Hours of every day. What ends before it begins goes over midnight.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewQuietHours)]
pub(crate) struct NewHours {
    #[schema(pattern = "^([01][0-9]|2[0-3]):[0-5][0-9]$")]
    from: String,
    /// Another time than `from`.
    #[schema(pattern = "^([01][0-9]|2[0-3]):[0-5][0-9]$")]
    to: String,
    /// An offset from -14:00 to +14:00, or a name of the IANA database.
    #[schema(min_length = 1, max_length = 64, example = "Europe/Berlin")]
    zone: String,
}

/// Until when a room is muted; for ever unless it is said.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewMute)]
pub(crate) struct NewMute {
    #[schema(format = DateTime)]
    until: Option<String>,
}

/// What is kept of a device.
#[derive(Serialize, ToSchema)]
#[schema(as = DeviceKept)]
pub(crate) struct KeptShown {
    metadata: BTreeMap<String, serde_json::Value>,
    /// `***` by vendor.
    tokens: BTreeMap<String, String>,
    do_not_disturb: QuietShown,
    /// By room.
    muted_rooms: BTreeMap<String, MuteShown>,
}

/// When nothing is to wake a device.
#[derive(Serialize, ToSchema)]
#[schema(as = DoNotDisturb)]
pub(crate) struct QuietShown {
    #[schema(required, format = DateTime)]
    until: Option<String>,
    windows: Vec<HoursShown>,
}

/// Hours of every day.
#[derive(Serialize, ToSchema)]
#[schema(as = QuietHours)]
pub(crate) struct HoursShown {
    from: String,
    to: String,
    zone: String,
}

/// Until when a room is muted.
#[derive(Serialize, ToSchema)]
#[schema(as = Mute)]
pub(crate) struct MuteShown {
    #[schema(required, format = DateTime)]
    until: Option<String>,
}
