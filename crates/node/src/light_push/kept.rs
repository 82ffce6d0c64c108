//! What a namespace has set with light-push's calls: one setting, which goes with the namespace.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tidings_model::NamespaceName;
use tidings_store::{Store, StoreError};

use crate::namespace::{Changing, whole};
use crate::{Namespace, Node};

/// How each begins in the settings; the name of its namespace follows.
pub(crate) const PREFIX: &str = "light-push/";

/// What is set. Not to be seen in logs: some of it is secret.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    /// Who is asked whether a client may connect.
    pub connect_callback: Option<String>,
    /// Who is told that one has gone.
    pub disconnect_callback: Option<String>,
    /// What both find in the header `authorization`.
    pub callback_auth: Option<String>,
    /// Whether both may have private addresses. The administrator says so.
    pub callback_private: bool,
    /// How iPhones are reached, by name.
    pub apns_list: Option<Vec<Map<String, Value>>>,
    /// When it was set, in milliseconds since the Unix epoch.
    pub update_date: u64,
    /// From where.
    pub client_ip: Option<String>,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("update_date", &self.update_date).finish_non_exhaustive()
    }
}

/// What all namespaces have set.
pub(crate) async fn load(store: &dyn Store) -> Result<HashMap<NamespaceName, Kept>, StoreError> {
    let mut all = HashMap::new();
    for (setting, value) in store.list(PREFIX).await? {
        let damaged = |why: &dyn fmt::Display| StoreError::Damaged(format!("setting {setting}: {why}"));
        let name = NamespaceName::new(&setting[PREFIX.len()..]).map_err(|why| damaged(&why))?;
        all.insert(name, serde_json::from_slice(&value).map_err(|why| damaged(&why))?);
    }
    Ok(all)
}

impl Namespace {
    /// What is set with light-push's calls.
    #[must_use]
    pub fn light_push(&self) -> Arc<Kept> {
        self.light_push.kept.load_full()
    }
}

impl Node {
    /// Sets what light-push's calls set. The turn is given back, for what else is to be changed.
    ///
    /// # Errors
    /// When it cannot be written down; nothing has changed then.
    pub async fn keep_light_push(
        self: &Arc<Self>,
        changing: Changing,
        kept: Kept,
    ) -> Result<Changing, StoreError> {
        let node = Arc::clone(self);
        whole(async move {
            let namespace = changing.namespace();
            if namespace.is_gone() {
                // It was to be set first, and then it went.
                return Ok(changing);
            }
            let setting = format!("{PREFIX}{}", namespace.name);
            let value = serde_json::to_vec(&kept).map_err(|why| StoreError::Io(why.to_string()))?;
            node.store.put(&setting, Some(Bytes::from(value))).await?;
            namespace.light_push.kept.store(Arc::new(kept));
            Ok(changing)
        })
        .await
    }

    /// From now on all callbacks of light-push may have private addresses, or only those of which the administrator says so.
    pub fn allow_private_callbacks(&self, allow: bool) {
        self.private_callbacks.store(allow, Ordering::Relaxed);
    }

    /// Whether the callbacks of a namespace may have private addresses.
    pub(super) fn may_call_private(&self, kept: &Kept) -> bool {
        kept.callback_private || self.private_callbacks.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again_and_old_bytes_still_are() {
        let kept = Kept {
            connect_callback: Some("https://example.com/in".to_owned()),
            callback_auth: Some("s3cret".to_owned()),
            callback_private: true,
            apns_list: Some(vec![Map::from_iter([("name".to_owned(), Value::from("a"))])]),
            update_date: 5,
            ..Kept::default()
        };
        let bytes = serde_json::to_vec(&kept).unwrap();
        assert_eq!(serde_json::from_slice::<Kept>(&bytes).unwrap(), kept);
        assert_eq!(serde_json::from_slice::<Kept>(b"{}").unwrap(), Kept::default());
        assert!(!format!("{kept:?}").contains("s3cret"));
    }
}
