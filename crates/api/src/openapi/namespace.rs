//! What a namespace looks like in a request, for the document only.

use serde::Serialize;
use utoipa::ToSchema;

use super::body::*;

/// A namespace to be created.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "demo", "title": "A demonstration", "auth": {"mode": "open"}}))]
pub(crate) struct NewNamespace {
    name: NamespaceName,
    #[schema(max_length = 255)]
    title: Option<String>,
    /// As `:suspend` and `:resume` have it; to change it needs the admin key.
    state: Option<NamespaceStateWord>,
    auth: NewNamespaceAuth,
    limits: Option<NewNamespaceLimits>,
    outbox: Option<NewNamespaceOutbox>,
    mailbox: Option<NewNamespaceMailbox>,
    history: Option<NewNamespaceHistory>,
    offline: Option<NewNamespaceOffline>,
    presence: Option<NewNamespacePresence>,
    #[schema(max_items = 10)]
    hooks: Option<Vec<NewHook>>,
    /// The pages whose scripts may connect to it, and read what is answered of it: `https://app.example.com`, `https://*.example.com`,
    /// `null`, or `*`; with none every page may.
    #[schema(max_items = 100)]
    origins: Option<Vec<String>>,
}

/// What to change of a namespace.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"title": "A demonstration", "mailbox": {"messages": 1000}}))]
pub(crate) struct NamespacePatch {
    /// Only the name that it has.
    name: Option<NamespaceName>,
    #[schema(max_length = 255)]
    title: Option<String>,
    /// As `:suspend` and `:resume` have it; to change it needs the admin key.
    state: Option<NamespaceStateWord>,
    auth: Option<NewNamespaceAuth>,
    limits: Option<NewNamespaceLimits>,
    outbox: Option<NewNamespaceOutbox>,
    mailbox: Option<NewNamespaceMailbox>,
    history: Option<NewNamespaceHistory>,
    offline: Option<NewNamespaceOffline>,
    presence: Option<NewNamespacePresence>,
    #[schema(max_items = 10)]
    hooks: Option<Vec<NewHook>>,
    /// The pages whose scripts may connect to it, and read what is answered of it: `https://app.example.com`, `https://*.example.com`,
    /// `null`, or `*`; with none every page may.
    #[schema(max_items = 100)]
    origins: Option<Vec<String>>,
}

/// How much of what there may be; 0 for no limit. What is lowered holds for who comes from then on.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewNamespaceLimits {
    /// Most connections; more are refused with 3504.
    #[schema(minimum = 0, maximum = 10_000_000, default = 0)]
    connections: Option<u64>,
    /// Most connections of a user; the server's `limits.connections_per_user` holds besides.
    #[schema(minimum = 0, maximum = 10_000_000, default = 0)]
    connections_per_user: Option<u64>,
    /// Most rooms of a device; with 0 as many as there can be: 10,000.
    #[schema(minimum = 0, maximum = 10_000, default = 1_000)]
    rooms_per_device: Option<u64>,
    /// Largest `data` of a push, at most 256KiB; with `0B` as much as fits into a call.
    #[schema(default = "64KiB", example = "64KiB")]
    message_size: Option<String>,
    /// Most pushes in a second, and as many at once; more are refused as `rate_limited`.
    #[schema(minimum = 0, maximum = 10_000_000, default = 0)]
    pushes_per_second: Option<u64>,
    /// Most that a user, or a device without one, may publish in a second, and 5 at once.
    #[schema(minimum = 0, maximum = 10_000_000, default = 1)]
    publish_per_second: Option<u64>,
    /// Most that a device may ask for in a second, and 1,000 at once: joins, leaves, queries and what else a client sends but
    /// receipts; each room of a join counts.
    #[schema(minimum = 0, maximum = 10_000_000, default = 100)]
    requests_per_second: Option<u64>,
}

/// How long messages are kept, and how much of them.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewNamespaceHistory {
    /// For how long after they were accepted, and at least until they have expired; from 1m on, or `0s` for ever.
    #[schema(default = "30d")]
    keep: Option<Duration>,
    /// Most bytes, from 64MiB on, or `0B` for no limit.
    #[schema(default = "0B", example = "10GiB")]
    size: Option<String>,
}

/// How much may wait for a device, and for how long.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewNamespaceMailbox {
    /// Most messages; the oldest ones are dropped when the device comes back.
    #[schema(minimum = 1, maximum = 100_000, default = 10_000)]
    messages: Option<u64>,
    /// No message lives longer, whatever its `ttl`; at most 30 days.
    #[schema(default = "30d")]
    keep: Option<Duration>,
}

/// What happens to what a device does not get in time, and when a user is taken for gone.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewNamespaceOffline {
    /// How long a device may be without a receipt before another way is tried; at most 7 days.
    #[schema(default = "5s")]
    escalate_after: Option<Duration>,
    /// How long a user may be without a connection before hooks are told `offline`; at most 24 hours.
    #[schema(default = "10s")]
    grace: Option<Duration>,
}

/// What the members of a room are told of each other.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewNamespacePresence {
    /// Whether they are told who joins and leaves, and who comes online and goes.
    #[schema(default = false)]
    notify: Option<bool>,
}

/// A hook: a URL that is told what has happened, by a signed POST.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "crm", "url": "https://crm.example.com/tidings", "events": ["undelivered"], "secret": "0123456789abcdef"}))]
pub(crate) struct NewHook {
    /// Once in a namespace. What waits for a hook goes by its name.
    name: HookName,
    /// `http` or `https`, without user, password and fragment; an address is written in the usual way. Public addresses
    /// only, unless `allow_private`; a name is refused when one of its addresses is.
    #[schema(max_length = 2048, pattern = "^[hH][tT][tT][pP][sS]?://")]
    url: String,
    /// What it is told and asked, each once. What is asked is asked of one hook of a namespace.
    #[schema(min_items = 1)]
    events: Vec<HookEventWord>,
    /// How many notices a call has at most. With 1 the body is the notice; with more it is always a list of what waits, of as
    /// many as that and no more than 256 KiB. Nothing waits for a call to be full.
    #[schema(minimum = 1, maximum = 100, default = 1)]
    batch: Option<u64>,
    /// How long it has to answer what it is asked, from 100ms to 10s.
    #[schema(default = "3s")]
    timeout: Option<Duration>,
    /// What its calls are signed with: 16 to 256 bytes. In a change, `***` keeps the secret of the hook with this name.
    #[schema(min_length = 3, max_length = 256)]
    secret: String,
    /// Whether it may have a private address.
    #[schema(default = false)]
    allow_private: Option<bool>,
}

/// The name of a hook.
#[derive(Serialize, ToSchema)]
#[schema(min_length = 1, max_length = 50, pattern = "^[a-z0-9][a-z0-9_-]{0,49}$")]
pub(crate) struct HookName(String);

/// What a hook can be told.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = HookEvent)]
#[expect(dead_code, reason = "for the document")]
pub(crate) enum HookEventWord {
    /// A device gave no receipt in time, and there is no other way to reach it.
    Undelivered,
    /// A device gave no receipt in time, and was tried another way.
    Escalated,
    /// A user has a connection, who had none.
    Online,
    /// A user has had no connection for `offline.grace`.
    Offline,
    /// A connection has ended.
    Disconnected,
    /// A device is in a room from now on.
    Joined,
    /// A device is in a room no longer.
    Left,
    /// A room has a member who is online, and had none.
    Occupied,
    /// A room has no member any more who is online.
    Vacated,
    /// A device has given a receipt.
    Acked,
    /// Asked: whether a client may publish something.
    Publish,
    /// Asked: what a client calls.
    Rpc,
}

/// How much may wait for one connection, and what happens beyond.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewNamespaceOutbox {
    /// Most messages; the server's `outbox.frames` when it is not said.
    #[schema(minimum = 16, maximum = 1_000_000)]
    frames: Option<u64>,
    /// Most bytes, from 64KiB to 1GiB; the server's `outbox.size` when it is not said.
    #[schema(example = "1MiB")]
    size: Option<String>,
    when_full: Option<WhenFullWord>,
}

/// Who may connect.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewNamespaceAuth {
    mode: AuthModeWord,
    /// How the tokens of the business system are verified. Without it only tokens that were minted here are good.
    jwt: Option<NewNamespaceJwt>,
    /// Who is asked whether a client may connect; required with mode `hook` and `token+hook`.
    hook: Option<NewConnectHook>,
}

/// Who is asked whether a client may connect.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"url": "https://crm.example.com/may-connect", "timeout": "3s"}))]
pub(crate) struct NewConnectHook {
    /// As that of a hook.
    #[schema(max_length = 2048, pattern = "^[hH][tT][tT][pP][sS]?://")]
    url: String,
    /// How long it has to answer, from 100ms to 10s. A client that connects waits for it.
    #[schema(default = "3s")]
    timeout: Option<Duration>,
    /// What questions are signed with: 16 to 256 bytes. Without one they are not signed. In a change, `***` keeps the one that
    /// there is.
    #[schema(min_length = 3, max_length = 256)]
    secret: Option<String>,
    /// Whether it may have a private address.
    #[schema(default = false)]
    allow_private: Option<bool>,
}

/// How tokens are verified: by a secret, by a public key, or by a set of public keys. An algorithm is what is said here, whatever a token says.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewNamespaceJwt {
    /// Of one kind: one key verifies all of them.
    #[schema(min_items = 1)]
    algorithms: Vec<AlgorithmWord>,
    /// For HS256, HS384, HS512: 32, 48, 64 bytes at least. In a change, `***` keeps the one that there is.
    #[schema(min_length = 1, max_length = 8192)]
    secret: Option<String>,
    /// For all others: PEM.
    #[schema(min_length = 1, max_length = 8192)]
    public_key: Option<String>,
    /// Or where a set of them is (JWK set): an `https` URL, `http` only with `allow_private`. It is fetched from there and nowhere else, redirects are
    /// not followed, and at most 64 KiB are read.
    #[schema(min_length = 1, max_length = 2048, pattern = "^[hH][tT][tT][pP][sS]?://")]
    jwks_url: Option<String>,
    /// Whether that may have a private address; needs the admin key.
    #[schema(default = false)]
    allow_private: Option<bool>,
    /// What `iss` must be.
    #[schema(min_length = 1, max_length = 8192)]
    issuer: Option<String>,
    /// What `aud` must be, or have among others.
    #[schema(min_length = 1, max_length = 8192)]
    audience: Option<String>,
}
