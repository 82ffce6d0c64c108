//! What requests look like, and the words and errors that answers use, for the document only.
//!
//! Lengths are in bytes of UTF-8 where the API counts them; a schema counts characters, so its limits
//! are the outer ones.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::device::Tag;

/// 1 to 255 bytes of UTF-8, no control characters.
#[derive(Serialize, ToSchema)]
#[schema(
    min_length = 1,
    max_length = 255,
    pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f\\u2028\\u2029\\ufeff]+$"
)]
pub(crate) struct Name(String);

/// The name of a namespace.
#[derive(Serialize, ToSchema)]
#[schema(min_length = 1, max_length = 50, pattern = "^[a-z0-9][a-z0-9_-]{0,49}$")]
pub(crate) struct NamespaceName(String);

/// The name of a namespace, in a path.
pub(crate) type NamespaceParam = NamespaceName;

/// A whole number with a unit: `ms`, `s`, `m`, `h` or `d`.
#[derive(Serialize, ToSchema)]
#[schema(pattern = "^[0-9]+(ms|s|m|h|d)$", example = "1h")]
pub(crate) struct Duration(String);

/// 1 to 64 bytes of UTF-8, no control characters.
#[derive(Serialize, ToSchema)]
#[schema(
    min_length = 1,
    max_length = 64,
    pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f\\u2028\\u2029\\ufeff]+$"
)]
pub(crate) struct CollapseKey(String);

/// What kind of client a device is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Platform)]
#[expect(dead_code, reason = "for the document")]
pub(crate) enum PlatformWord {
    Web,
    Android,
    Ios,
    Desktop,
    Other,
}

/// `high` leaves before everything `normal`.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Priority)]
#[expect(dead_code, reason = "for the document")]
pub(crate) enum PriorityWord {
    Normal,
    High,
}

/// `durable`: answered when it is on disk. `memory`: answered when it has its order; a crash may lose it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Durability)]
#[expect(dead_code, reason = "for the document")]
pub(crate) enum DurabilityWord {
    Durable,
    Memory,
}

/// `scheduled`: its time has not come. `live`: it is delivered. `recalled`: it was withdrawn.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = MessageState)]
#[expect(dead_code, reason = "for the document")]
pub(crate) enum StateWord {
    Scheduled,
    Live,
    Expired,
    Recalled,
}

/// `desc`: the newest ones first. `asc`: the oldest ones.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Order)]
#[expect(dead_code, reason = "for the document")]
pub(crate) enum OrderWord {
    Desc,
    Asc,
}

/// What became of a message for a device.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ReceiptState)]
#[expect(dead_code, reason = "for the document")]
pub(crate) enum ReceiptStateWord {
    Acked,
    Waiting,
    Expired,
    Dropped,
    Escalated,
    Recalled,
}

/// Whether somebody has a message, in a word.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = TraceVerdict)]
#[expect(dead_code, reason = "for the document")]
pub(crate) enum VerdictWord {
    NotMeant,
    Scheduled,
    Dropped,
    Recalled,
    Expired,
    Escalated,
    Waiting,
    Delivered,
}

/// What can happen to a message on its way.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = TraceStepName)]
#[expect(dead_code, reason = "for the document")]
pub(crate) enum StepWord {
    Accepted,
    Scheduled,
    NotMeant,
    Excluded,
    PlatformFiltered,
    Muted,
    Queued,
    Written,
    ConnectionLost,
    SlowReaderDropped,
    Collapsed,
    Acked,
    Expired,
    Recalled,
    Trimmed,
    Escalated,
    ProviderAccepted,
    ProviderRefused,
    Undelivered,
    SimulatedLoss,
    SimulatedDelay,
    SimulatedDuplicate,
    SimulatedReorder,
    SimulatedDisconnect,
    NotConnected,
}

/// How long an interval of statistics is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Granularity)]
#[expect(dead_code, reason = "for the document")]
pub(crate) enum GranularityWord {
    Minute,
    Hour,
    Day,
}

/// What a simulation does to a message on its way to a connection.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Effect)]
#[expect(dead_code, reason = "for the document")]
pub(crate) enum EffectWord {
    /// The server takes it for written, and it never leaves.
    Lose,
    /// It leaves later, behind what came meanwhile.
    Delay,
    /// It leaves twice.
    Duplicate,
    /// The next message leaves before it; when none comes within a second, it leaves as it is.
    Reorder,
    /// It leaves, and then the connection ends with 3011.
    Disconnect,
}

/// A fault on purpose.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewSimulation, example = json!({"on": {"device": "d1"}, "effect": "delay", "delay": "200ms", "probability": 0.5, "for": "10m"}))]
pub(crate) struct SimulationBody {
    on: SimulationOn,
    effect: EffectWord,
    /// How likely it does so, for each message and connection.
    #[schema(minimum = 0, maximum = 1, default = 1.0)]
    probability: Option<f64>,
    /// How long a message is held back: with `delay`, and only then; at most 60 s.
    delay: Option<Duration>,
    /// How long the simulation lasts; at most 1 h.
    #[serde(rename = "for")]
    #[schema(default = "10m")]
    lasts: Option<Duration>,
}

/// What a simulation is about: exactly one of these.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SimulationOn {
    /// Whatever goes to the devices of this user.
    user: Option<Name>,
    /// Whatever goes to this device.
    device: Option<Name>,
    /// What is pushed to this room, to whomever it goes.
    room: Option<Name>,
    /// The message with this id. It may not have been pushed yet.
    message: Option<Name>,
}

/// A key.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewKey, example = json!({"name": "the shop", "scopes": ["push", "read"]}))]
pub(crate) struct KeyBody {
    /// What people call it.
    name: Name,
    #[schema(min_items = 1)]
    scopes: Vec<ScopeWord>,
    /// When it ends by itself.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// Most pushes in a second, and as many at once, beside what the namespace allows; 0 for no limit. More are refused as
    /// `rate_limited`.
    #[schema(minimum = 0, maximum = 10_000_000, default = 0)]
    pushes_per_second: Option<u64>,
}

/// A block.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewBlock, example = json!({"on": {"address": "203.0.113.0/24"}, "for": "24h", "reason": "joins 1,000 rooms a second"}))]
pub(crate) struct BlockBody {
    on: BlockOn,
    /// How long it lasts; at most 366 d. Until it is lifted, when it is not said.
    #[serde(rename = "for")]
    lasts: Option<Duration>,
    /// Why, for whoever looks later.
    #[schema(max_length = 255)]
    reason: Option<String>,
}

/// Who is kept out: exactly one of these.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BlockOn {
    /// This user, on every device.
    user: Option<Name>,
    /// This device, whoever uses it.
    device: Option<Name>,
    /// Whoever comes from this address or network (CIDR).
    #[schema(example = "203.0.113.0/24")]
    address: Option<String>,
}

/// What a key may be used for. `push`: to push and to recall. `read`: to ask about messages, people and rooms. `manage`:
/// to change what there is in the namespace, its keys included.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Scope)]
#[expect(dead_code, reason = "for the document")]
pub(crate) enum ScopeWord {
    Push,
    Read,
    Manage,
}

/// Who may connect. `open`: what a client says of itself is believed. `token`: a client is who its token says. `hook`: a client is
/// who the business system says, which is asked. `token+hook`: the token first, and then the hook.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = AuthMode)]
#[expect(dead_code, reason = "for the document")]
pub(crate) enum AuthModeWord {
    Open,
    Token,
    Hook,
    #[serde(rename = "token+hook")]
    TokenAndHook,
}

/// How a token is signed (RFC 7518).
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schema(as = Algorithm)]
#[expect(dead_code, reason = "for the document")]
pub(crate) enum AlgorithmWord {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    #[serde(rename = "EdDSA")]
    EdDsa,
}

/// A token for a client.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewToken, example = json!({"user": "ann", "rooms": ["lobby"], "join": ["score.*"], "expires_in": "1h"}))]
pub(crate) struct TokenBody {
    user: Name,
    /// The device that it is for; any of the user's, when it is not said.
    device: Option<Name>,
    platform: Option<PlatformWord>,
    /// The rooms that the client joins when it connects.
    #[schema(max_items = 1000)]
    rooms: Option<Vec<Name>>,
    /// The rooms that it may join: `*` in a pattern stands for any characters, or none.
    #[schema(max_items = 1000)]
    join: Option<Vec<Name>>,
    /// The rooms that it may publish to.
    #[schema(max_items = 1000)]
    publish: Option<Vec<Name>>,
    /// The rooms whose members it may see; those that it is in, when it is not said.
    #[schema(max_items = 1000)]
    presence: Option<Vec<Name>>,
    /// Whatever the business system wants to be in it.
    meta: Option<BTreeMap<String, serde_json::Value>>,
    /// From 1s to 30d.
    #[schema(default = "1h")]
    expires_in: Option<Duration>,
}

/// Which tokens are revoked: `jti`; or `user`, perhaps with `before`; or `before`.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"user": "ann"}))]
pub(crate) struct Revocation {
    /// The id of one token.
    #[schema(min_length = 1, max_length = 255)]
    jti: Option<String>,
    /// Those of a user.
    user: Option<Name>,
    /// Those that were issued before this, which is not later than now; now, when only a user is named.
    #[schema(format = DateTime)]
    before: Option<String>,
    /// For how long it is kept: as long as the tokens would have been good; from 1s to 366d.
    #[serde(rename = "for")]
    #[schema(default = "30d")]
    lasts: Option<Duration>,
}

/// `suspended`: pushes and clients are refused for now.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = NamespaceState)]
#[expect(dead_code, reason = "for the document")]
pub(crate) enum NamespaceStateWord {
    Active,
    Suspended,
}

/// What to change of a room.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RoomPatch, example = json!({"suspended": true}))]
pub(crate) struct RoomPatchBody {
    /// Whether clients cannot join it and nothing can be pushed to it.
    suspended: bool,
}

/// Whom a call is about: at least one of these.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Whom, example = json!({"users": ["ann"], "from_rooms": ["old lobby"]}))]
pub(crate) struct WhomBody {
    /// All of their devices.
    #[schema(max_items = 1000)]
    users: Option<Vec<Name>>,
    #[schema(max_items = 1000)]
    devices: Option<Vec<Name>>,
    /// All devices that are in these rooms now.
    #[schema(max_items = 1000)]
    from_rooms: Option<Vec<Name>>,
}

/// Which devices are to be forgotten.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Purge, example = json!({"inactive_for": "240h", "dry_run": true}))]
pub(crate) struct PurgeBody {
    /// From 1m to 3660d.
    inactive_for: Duration,
    /// Only devices of this platform.
    platform: Option<PlatformWord>,
    /// Only devices with this tag.
    tag: Option<Tag>,
    /// Devices with a token for phone push, too: their vendors reach them, whether they connect or not.
    #[schema(default = false)]
    with_tokens: Option<bool>,
    #[schema(default = false)]
    dry_run: Option<bool>,
}

/// Users whose status is asked for.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = StatusOf, example = json!({"users": ["ann", "bob"]}))]
pub(crate) struct StatusOfBody {
    #[schema(min_items = 1, max_items = 1000)]
    users: Vec<Name>,
}

/// What happens when as much waits for a connection as may.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = WhenFull)]
#[expect(dead_code, reason = "for the document")]
pub(crate) enum WhenFullWord {
    /// It is closed with 3008, comes back, and gets what it missed.
    Disconnect,
    /// The oldest messages make room. The device does not get them; the report counts them as dropped.
    DropOldest,
    /// Of messages with the same topic and event only the newest stays; of the others, the same is true.
    KeepLatest,
}

/// What, to whom. `null` is the same as leaving a field out.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Push, example = json!({"to": {"users": ["ann"], "rooms": ["lobby"]}, "event": "push", "data": {"text": "hello"}, "id": "order-7781-shipped", "ttl": "1h"}))]
pub(crate) struct PushBody {
    to: PushTo,
    except: Option<PushExcept>,
    /// The event that clients see. Names that client libraries keep for themselves are refused.
    #[schema(default = "push")]
    event: Option<Name>,
    /// Any JSON, at most 64 KiB unless the namespace says otherwise, nested at most 100 levels; passed
    /// through as written.
    data: Option<serde_json::Value>,
    /// Makes a retry safe for 24 h. The header `Idempotency-Key` says the same.
    id: Option<Name>,
    /// How long it is delivered; at most 30 days. `0s` reaches only who is connected now.
    #[schema(default = "24h")]
    ttl: Option<Duration>,
    /// Takes the place of older messages with this key, for devices that have not got those yet.
    collapse_key: Option<CollapseKey>,
    #[schema(default = "normal")]
    priority: Option<PriorityWord>,
    #[schema(default = "durable")]
    durability: Option<DurabilityWord>,
    /// When it is to be delivered, to whom it is for by then, at most 366 days ahead; its `ttl` begins then. Up to a
    /// minute ago means now.
    #[schema(format = DateTime, example = "2026-11-20T14:29:07Z")]
    deliver_at: Option<String>,
    ack: Option<PushAck>,
    offline: Option<PushOffline>,
    /// Only say who would be meant.
    #[schema(default = false)]
    dry_run: Option<bool>,
}

/// Who is meant: the sets are united, then filtered by platform. It must name someone.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PushTo {
    /// Everybody in the namespace.
    #[schema(default = false)]
    all: Option<bool>,
    /// Users, each with all of their devices.
    #[schema(max_items = 1000)]
    users: Option<Vec<Name>>,
    /// Devices.
    #[schema(max_items = 1000)]
    devices: Option<Vec<Name>>,
    /// Rooms, each with the devices that are in it.
    #[schema(max_items = 1000)]
    rooms: Option<Vec<Name>>,
    /// Only devices on these platforms; empty means every platform.
    platforms: Option<Vec<PlatformWord>>,
}

/// Who is not meant although `to` names them.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PushExcept {
    /// Users, with all of their devices.
    #[schema(max_items = 1000)]
    users: Option<Vec<Name>>,
    /// Devices.
    #[schema(max_items = 1000)]
    devices: Option<Vec<Name>>,
    /// The devices that are in these rooms.
    #[schema(max_items = 1000)]
    rooms: Option<Vec<Name>>,
    /// The devices behind these connections.
    #[schema(max_items = 1000)]
    connections: Option<Vec<ConnectionId>>,
}

/// The id of a connection, as clients are told it.
#[derive(Serialize, ToSchema)]
#[schema(pattern = "^c[0-9a-fA-F]{1,16}$", example = "c1f")]
pub(crate) struct ConnectionId(String);

/// How long the answer waits for acknowledgements.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PushAck {
    /// The answer comes when everybody who is online has given a receipt, or after so long: at most 30s. Not in a batch.
    wait: Option<Duration>,
}

/// What happens for devices that are away. This version wakes no phones: everything but `keep` is
/// checked and has no effect.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PushOffline {
    /// Whether the message waits for devices that are away.
    #[schema(default = true)]
    keep: Option<bool>,
    /// After how long without an acknowledgement a phone is woken.
    escalate_after: Option<Duration>,
    notification: Option<PushNotification>,
    #[schema(value_type = Option<BTreeMap<String, serde_json::Value>>)]
    apns: Option<BTreeMap<String, serde_json::Value>>,
    #[schema(value_type = Option<BTreeMap<String, serde_json::Value>>)]
    fcm: Option<BTreeMap<String, serde_json::Value>>,
    #[schema(value_type = Option<BTreeMap<String, serde_json::Value>>)]
    webpush: Option<BTreeMap<String, serde_json::Value>>,
}

/// What a phone shows.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PushNotification {
    title: Option<String>,
    body: Option<String>,
    badge: Option<u64>,
    sound: Option<String>,
    url: Option<String>,
    image: Option<String>,
}

/// Up to 1,000 pushes.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Batch, example = json!({"messages": [{"to": {"users": ["ann"]}, "data": 1}, {"to": {"all": true}, "data": 2}]}))]
pub(crate) struct BatchBody {
    #[schema(max_items = 1000)]
    messages: Vec<PushBody>,
}

/// What became of the entries, in their order.
#[derive(Serialize, ToSchema)]
pub(crate) struct BatchResults {
    #[schema(max_items = 1000)]
    results: Vec<PushResult>,
}

/// What became of an entry.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "for the document")]
pub(crate) enum PushResult {
    Accepted(crate::rest::messages::AcceptedBody),
    DryRun(crate::rest::messages::DryRunBody),
    Refused(EntryRefused),
}

/// An entry that was not accepted.
#[derive(Serialize, ToSchema)]
pub(crate) struct EntryRefused {
    error: EntryProblem,
}

/// Why an entry was not accepted.
#[derive(Serialize, ToSchema)]
pub(crate) struct EntryProblem {
    /// The stable slug.
    code: String,
    /// The HTTP status that the push would have had alone.
    status: u16,
    detail: String,
    errors: Option<Vec<FieldProblem>>,
    /// With `rate_limited`: after how many milliseconds it may be tried again.
    retry_after_ms: Option<u64>,
}

/// An error (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody {
    /// A URI for the kind of error.
    #[serde(rename = "type")]
    kind: String,
    /// The kind of error in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// The stable slug.
    #[schema(example = "invalid_request")]
    code: String,
    /// What happened this time.
    detail: String,
    /// The id that the log knows this request by; also in `X-Request-Id`.
    request_id: String,
    /// What is wrong with which field.
    errors: Option<Vec<FieldProblem>>,
}

/// What is wrong with one field.
#[derive(Serialize, ToSchema)]
pub(crate) struct FieldProblem {
    /// The field, as a path: `to.users[3]`.
    field: String,
    /// What is wrong with it.
    message: String,
}

/// The messages that a client has.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Acks, example = json!({"ids": ["order-7781-shipped"]}))]
pub(crate) struct AckBody {
    #[schema(min_items = 1, max_items = 1000)]
    ids: Vec<Name>,
}
