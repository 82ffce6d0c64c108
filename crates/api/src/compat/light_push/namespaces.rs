//! Namespaces: shown, set, listed, cleared.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::HeaderValue;
use serde::Serialize;
use serde_json::{Map, Value};
use tidings_model::{ClientAddress, NamespaceName};
use tidings_node::devices::Filter;
use tidings_node::forget::Purge;
use tidings_node::light_push::Kept;
use tidings_node::namespace::{AuthMode, CreateError, Settings};
use tidings_node::{Namespace, Node};
use tidings_wire::compat::light_push::client_id;

use super::answer::{Refusal, done, json};
use super::auth::Backend;
use super::fields::{Asked, Fields};
use super::online::Counts;
use crate::ApiState;
use crate::extract::InPath;

/// How a secret is shown, and what keeps it where it is set.
const MASK: &str = "***";

/// Longest name, password and header, in bytes.
const TEXT_BYTES_MAX: usize = 1_024;

/// How a namespace may reach iPhones: most settings, most bytes of a field of one.
const APNS_MAX: usize = 20;
const APNS_BYTES_MAX: usize = 16 << 10;

/// What such a setting has, and what of it is secret.
const APNS_FIELDS: [&str; 11] = [
    "name",
    "apns_env",
    "apns_expiration",
    "apns_topic",
    "apns_dev_cert",
    "apns_dev_key",
    "apns_production_cert",
    "apns_production_key",
    "token_key",
    "token_keyId",
    "token_teamId",
];
const APNS_SECRETS: [&str; 3] = ["apns_dev_key", "apns_production_key", "token_key"];

/// After how long a client that does not come is gone.
const LEGACY: Duration = Duration::from_secs(240 * 3_600);

/// How many namespaces a page has, unless that is said, and at most.
const PAGE_DEFAULT: usize = 20;
const PAGE_MAX: usize = 1_000;

/// How long the answer waits until all of a namespace is gone.
const WAIT_FOR_REMOVAL: Duration = Duration::from_secs(5);

/// A namespace. What is not set is `null`.
#[derive(Serialize)]
struct Shown {
    key: String,
    name: Option<String>,
    connect_callback: Option<String>,
    disconnect_callback: Option<String>,
    auth_passwd: Option<&'static str>,
    apns_list: Option<Vec<Map<String, Value>>>,
    update_date: Option<String>,
    client_ip: Option<String>,
    callback_auth: Option<&'static str>,
    offline: &'static str,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    counts: Option<Counts>,
}

impl Shown {
    fn of(node: &Node, namespace: &Namespace) -> Self {
        let (settings, kept) = (namespace.settings(), namespace.light_push());
        let apns_list = kept.apns_list.clone().map(|mut list| {
            for secret in APNS_SECRETS {
                list.iter_mut()
                    .filter_map(|one| one.get_mut(secret))
                    .for_each(|secret| *secret = MASK.into());
            }
            list
        });
        Self {
            key: format!("/{}", namespace.name),
            name: Some(settings.title.clone()).filter(|title| !title.is_empty()),
            connect_callback: kept.connect_callback.clone(),
            disconnect_callback: kept.disconnect_callback.clone(),
            auth_passwd: node.has_password(namespace).then_some(MASK),
            apns_list,
            update_date: (kept.update_date > 0).then(|| kept.update_date.to_string()),
            client_ip: kept.client_ip.clone(),
            callback_auth: kept.callback_auth.as_ref().map(|_| MASK),
            offline: if settings.suspended { "on" } else { "off" },
            counts: None,
        }
    }
}

/// The namespace that a call names, with or without its slash.
pub(super) fn named(state: &ApiState, key: &str) -> Result<Arc<Namespace>, Refusal> {
    let name = key.strip_prefix('/').unwrap_or(key);
    state.node.namespace(name).ok_or_else(|| Refusal::business("this namespace lose"))
}

/// The namespace of whoever asks.
pub(super) async fn own(
    State(state): State<ApiState>,
    Extension(backend): Extension<Backend>,
) -> Result<Response, Refusal> {
    Ok(json(&Shown::of(&state.node, &backend.namespace)))
}

/// What is to be set. What is not said stays.
#[derive(Debug, Default)]
struct Wanted {
    name: Option<String>,
    password: Option<String>,
    connect: Option<Option<String>>,
    disconnect: Option<Option<String>>,
    auth: Option<Option<String>>,
    private: Option<bool>,
    offline: Option<bool>,
    apns: Option<Vec<Map<String, Value>>>,
}

impl Wanted {
    fn of(fields: &Fields) -> Result<Self, Refusal> {
        let invalid = |name: &str| Refusal::business(format!("{name} invalid"));
        let text = |name: &'static str| match fields.text(name) {
            Some(text) if text.len() > TEXT_BYTES_MAX => Err(invalid(name)),
            text => Ok(fields.has(name).then_some(text)),
        };
        let url = |name: &'static str| {
            let url = text(name)?;
            match url.iter().flatten().find(|url| !tidings_node::light_push::is_callback(url)) {
                Some(_) => Err(invalid(name)),
                None => Ok(url),
            }
        };
        let auth = text("callback_auth")?.filter(|auth| auth.as_deref() != Some(MASK));
        if auth.iter().flatten().any(|auth| HeaderValue::from_str(auth).is_err()) {
            return Err(invalid("callback_auth"));
        }
        let offline = match fields.text("offline").as_deref() {
            None => None,
            Some("on") => Some(true),
            Some("off") => Some(false),
            Some(_) => return Err(invalid("offline")),
        };
        let apns = match fields.value("apns_list") {
            None => None,
            Some(list) => Some(apns(list).ok_or_else(|| invalid("apns_list"))?),
        };
        Ok(Self {
            name: text("name")?.map(Option::unwrap_or_default),
            password: text("auth_passwd")?.flatten().filter(|password| password != MASK),
            connect: url("connect_callback")?,
            disconnect: url("disconnect_callback")?,
            auth,
            private: fields.flag("callback_private"),
            offline,
            apns,
        })
    }

    /// What is kept then.
    fn kept(&self, before: &Kept, by_admin: bool) -> Kept {
        let mut kept = before.clone();
        if let Some(url) = &self.connect {
            kept.connect_callback.clone_from(url);
        }
        if let Some(url) = &self.disconnect {
            kept.disconnect_callback.clone_from(url);
        }
        if let Some(auth) = &self.auth {
            kept.callback_auth.clone_from(auth);
        }
        if by_admin {
            kept.callback_private = self.private.unwrap_or(kept.callback_private);
        } else if kept.connect_callback != before.connect_callback
            || kept.disconnect_callback != before.disconnect_callback
        {
            // What the administrator has allowed was allowed for where they led then.
            kept.callback_private = false;
        }
        if let Some(list) = &self.apns {
            kept.apns_list = Some(merged(before.apns_list.clone().unwrap_or_default(), list));
        }
        kept
    }
}

/// Settings for iPhones, as they are sent; `None` when something is wrong with them.
fn apns(list: Value) -> Option<Vec<Map<String, Value>>> {
    // A form has it as text.
    let list = match list {
        Value::String(text) => serde_json::from_str(&text).ok()?,
        list => list,
    };
    let Value::Array(list) = list else { return None };
    if list.len() > APNS_MAX {
        return None;
    }
    let one = |one: Value| {
        let Value::Object(one) = one else { return None };
        let name = one.get("name")?.as_str()?;
        let small = one.values().all(|value| value.to_string().len() <= APNS_BYTES_MAX);
        (!name.is_empty() && small).then_some(one)
    };
    list.into_iter().map(one).collect()
}

/// Settings for iPhones after others were sent: those of the same name change.
fn merged(mut before: Vec<Map<String, Value>>, sent: &[Map<String, Value>]) -> Vec<Map<String, Value>> {
    for one in sent {
        let at = before.iter().position(|other| other.get("name") == one.get("name"));
        if one.get("del").is_some_and(|del| *del != Value::Bool(false) && !del.is_null()) {
            at.map(|at| before.remove(at));
            continue;
        }
        let at = at.unwrap_or_else(|| {
            before.push(Map::new());
            before.len() - 1
        });
        for field in APNS_FIELDS {
            let value = one.get(field).filter(|value| !(APNS_SECRETS.contains(&field) && *value == MASK));
            before[at].extend(value.map(|value| (field.to_owned(), value.clone())));
        }
    }
    before.truncate(APNS_MAX);
    before
}

/// Sets it.
async fn set(
    node: &Arc<Node>,
    namespace: &Arc<Namespace>,
    wanted: &Wanted,
    from: ClientAddress,
    by_admin: bool,
) -> Result<(), Refusal> {
    let changing = namespace.changing().await;
    let before = namespace.settings();
    let suspended = wanted.offline.unwrap_or(before.suspended);
    if !by_admin && suspended != before.suspended {
        return Err(Refusal::business("offline needs the admin password"));
    }
    let kept = Kept {
        update_date: node.now().0,
        client_ip: from.ip().map(|ip| ip.to_string()),
        ..wanted.kept(&namespace.light_push(), by_admin)
    };
    if before.auth == AuthMode::Open && kept.connect_callback.is_none() {
        tracing::warn!(namespace = %namespace.name, "it has no connect_callback: anybody may connect as anybody");
    }
    let changing = node.keep_light_push(changing, kept).await?;
    let title = wanted.name.clone().unwrap_or_else(|| before.title.clone());
    if title != before.title || suspended != before.suspended {
        let settings = Settings { title, suspended, ..Settings::clone(&before) };
        node.change_namespace(changing, settings).await?;
    }
    if let Some(password) = &wanted.password {
        node.set_password(namespace, password).await?;
    }
    Ok(())
}

fn address(from: Option<Extension<ClientAddress>>) -> ClientAddress {
    from.map_or(ClientAddress::LOCAL, |Extension(from)| from)
}

/// Sets the namespace of whoever asks.
pub(super) async fn save_own(
    State(state): State<ApiState>,
    Extension(backend): Extension<Backend>,
    from: Option<Extension<ClientAddress>>,
    fields: Fields,
) -> Result<Response, Refusal> {
    let wanted = Wanted::of(&fields)?;
    set(&state.node, &backend.namespace, &wanted, address(from), false).await?;
    Ok(done())
}

/// Sets a namespace, and makes it when there is none.
pub(super) async fn save(
    State(state): State<ApiState>,
    from: Option<Extension<ClientAddress>>,
    fields: Fields,
) -> Result<Response, Refusal> {
    let key = fields.text("key").ok_or_else(|| Refusal::business("key is null"))?;
    let name = key.strip_prefix('/').and_then(|name| NamespaceName::new(name).ok());
    let name = name.ok_or_else(|| Refusal::business("namespace invalid"))?;
    let wanted = Wanted::of(&fields)?;
    let namespace = match state.node.namespace(name.as_str()) {
        Some(namespace) => namespace,
        None => make(&state.node, name, &wanted).await?,
    };
    set(&state.node, &namespace, &wanted, address(from), true).await?;
    Ok(done())
}

async fn make(node: &Arc<Node>, name: NamespaceName, wanted: &Wanted) -> Result<Arc<Namespace>, Refusal> {
    let title = wanted.name.as_deref().unwrap_or_default();
    // The clients of light-push have no tokens: who they are is the connect_callback's to say.
    let settings = Settings::new(title, AuthMode::Open, node.now());
    match node.create_namespace(name.clone(), settings).await {
        Ok(namespace) => Ok(namespace),
        Err(CreateError::Exists) => {
            node.namespace(name.as_str()).ok_or_else(|| Refusal::business("this namespace lose"))
        }
        Err(why @ CreateError::Going) => Err(Refusal::business(why.to_string())),
        Err(CreateError::Store(why)) => Err(why.into()),
    }
}

/// A page of namespaces.
#[derive(Serialize)]
struct Page {
    list: Vec<Shown>,
    total: usize,
}

/// The namespaces whose key and name have these parts, and that are online or not.
pub(super) async fn list(State(state): State<ApiState>, asked: Asked) -> Result<Response, Refusal> {
    let offline = match asked.text("offline") {
        Some("on") => Some(true),
        Some("off") => Some(false),
        Some(_) | None => None,
    };
    let (key, name) = (asked.text("key").unwrap_or_default(), asked.text("name").unwrap_or_default());
    let mut found = state.node.namespaces();
    found.retain(|namespace| {
        let settings = namespace.settings();
        offline.is_none_or(|offline| settings.suspended == offline)
            && format!("/{}", namespace.name).contains(key)
            && settings.title.contains(name)
    });
    let size = asked.number("pageSize", PAGE_DEFAULT, PAGE_MAX);
    let before = (asked.number("page", 1, usize::MAX >> 1) - 1).saturating_mul(size);
    let total = found.len();
    let shown = found.iter().skip(before).take(size).map(|namespace| {
        let counts = asked.flag("online").then(|| Counts::of(namespace));
        Shown { counts, ..Shown::of(&state.node, namespace) }
    });
    Ok(json(&Page { list: shown.collect(), total }))
}

/// The namespace that a call names, if it is offline.
fn offline(state: &ApiState, key: &str) -> Result<Arc<Namespace>, Refusal> {
    let namespace = named(state, key)?;
    if namespace.settings().suspended {
        Ok(namespace)
    } else {
        Err(Refusal::business("namespace must be set offline on"))
    }
}

/// The same of a body.
fn offline_in(state: &ApiState, fields: &Fields) -> Result<Arc<Namespace>, Refusal> {
    offline(state, &fields.text("namespace").unwrap_or_default())
}

/// Takes away what has happened in a namespace.
pub(super) async fn clear(
    State(state): State<ApiState>,
    InPath(key): InPath<String>,
) -> Result<Response, Refusal> {
    let changing = offline(&state, &key)?.changing().await;
    state.node.clear_namespace(changing).await?;
    Ok(done())
}

/// Deletes a namespace.
pub(super) async fn flush(
    State(state): State<ApiState>,
    InPath(key): InPath<String>,
) -> Result<Response, Refusal> {
    // Nobody may hold a namespace that is to go.
    let name = offline(&state, &key)?.name.clone();
    state.node.delete_namespace(&name).await?;
    state.node.removed(&name, WAIT_FOR_REMOVAL).await;
    Ok(done())
}

/// Nothing is to be done: who is here is known from the connections themselves, and no crash leaves anybody behind.
pub(super) async fn clear_presence(
    State(state): State<ApiState>,
    fields: Fields,
) -> Result<Response, Refusal> {
    offline_in(&state, &fields)?;
    Ok(done())
}

/// Forgets the clients of a namespace that have not been here for long.
pub(super) async fn clear_legacy(State(state): State<ApiState>, fields: Fields) -> Result<Response, Refusal> {
    let namespace = offline_in(&state, &fields)?;
    let (filter, with_tokens, dry_run) = (Filter::default(), true, false);
    let purge = Purge { inactive_for: LEGACY, filter, with_tokens, dry_run };
    let gone = state.node.purge_and_name(&namespace, &purge).await?;
    let path = format!("/{}", namespace.name);
    let gone: Vec<String> = gone.iter().map(|device| client_id(&path, device.as_str())).collect();
    Ok(json(&gone))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn list(value: Value) -> Vec<Map<String, Value>> {
        apns(value).unwrap()
    }

    #[test]
    fn settings_for_iphones_are_merged_by_name() {
        let before = list(json!([{"name": "a", "token_key": "k1", "apns_topic": "t"}, {"name": "b"}]));
        for (sent, expected) in [
            (json!([]), json!([{"name": "a", "token_key": "k1", "apns_topic": "t"}, {"name": "b"}])),
            (json!([{"name": "a", "del": true}]), json!([{"name": "b"}])),
            (
                json!([{"name": "x", "del": true}]),
                json!([{"name": "a", "token_key": "k1", "apns_topic": "t"}, {"name": "b"}]),
            ),
            (
                json!([{"name": "a", "token_key": "***", "apns_topic": "u", "odd": 1}]),
                json!([{"name": "a", "token_key": "k1", "apns_topic": "u"}, {"name": "b"}]),
            ),
            (
                json!([{"name": "c", "apns_expiration": 60, "del": false}]),
                json!([{"name": "a", "token_key": "k1", "apns_topic": "t"}, {"name": "b"}, {"name": "c", "apns_expiration": 60}]),
            ),
        ] {
            let merged = merged(before.clone(), &list(sent.clone()));
            assert_eq!(json!(merged), expected, "{sent}");
        }
        for wrong in [json!({}), json!(7), json!([7]), json!([{}]), json!([{"name": ""}]), json!("x")] {
            assert_eq!(apns(wrong.clone()), None, "{wrong}");
        }
        assert_eq!(list(json!("[{\"name\":\"a\"}]")), list(json!([{"name": "a"}])));
    }

    #[test]
    fn what_the_administrator_allowed_was_for_where_callbacks_led_then() {
        let url = |url: &str| Some(Some(url.to_owned()));
        let before = Kept {
            connect_callback: Some("http://10.0.0.1/".to_owned()),
            callback_private: true,
            ..Kept::default()
        };
        for (wanted, by_admin, private) in [
            (Wanted::default(), false, true),
            (Wanted { connect: url("http://10.0.0.1/"), ..Wanted::default() }, false, true),
            (Wanted { connect: url("http://10.0.0.2/"), ..Wanted::default() }, false, false),
            (Wanted { disconnect: url("http://10.0.0.2/"), ..Wanted::default() }, false, false),
            (Wanted { connect: url("http://10.0.0.2/"), ..Wanted::default() }, true, true),
            (Wanted { private: Some(false), ..Wanted::default() }, true, false),
            (Wanted { private: Some(false), ..Wanted::default() }, false, true),
        ] {
            assert_eq!(wanted.kept(&before, by_admin).callback_private, private, "{wanted:?} {by_admin}");
        }
    }
}
