//! `auth.hook` of a namespace: who is asked whether a client may connect.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings_node::ask::{ConnectHook, TIMEOUT_DEFAULT, TIMEOUT_MS};
use utoipa::ToSchema;

use super::hooks::{self, HIDDEN};
use crate::shape::{Shape, shown};
use crate::{duration, openapi};

/// What it looks like in a request.
pub(super) const SHAPE: Shape = Shape::Object(&[
    ("url", Shape::Text),
    ("timeout", Shape::Text),
    ("secret", Shape::Text),
    ("allow_private", Shape::Flag),
]);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConnectHookBody {
    url: Option<String>,
    timeout: Option<String>,
    secret: Option<String>,
    allow_private: Option<bool>,
}

impl ConnectHookBody {
    /// Checks it; what is wrong is told to `wrong`, by field.
    pub(super) fn check(
        &self,
        before: Option<&ConnectHook>,
        wrong: &mut impl FnMut(&str, String),
    ) -> Option<ConnectHook> {
        let mut in_hook = |field: &str, message| wrong(&format!("auth.hook.{field}"), message);
        let allow_private = self.allow_private.unwrap_or(false);
        let url = hooks::url(self.url.as_deref(), "whom to ask", allow_private, &mut in_hook);
        let timeout_ms = timeout(self.timeout.as_deref(), &mut in_hook);
        let old = before.map(|before| before.secret.as_ref());
        let secret = match (self.secret.as_deref(), old) {
            (None, _) => None,
            (Some(HIDDEN), Some(old)) => old.cloned(),
            (Some(text), _) => Some(hooks::secret(text, &mut in_hook)?),
        };
        Some(ConnectHook { url: url?, timeout_ms: timeout_ms?, secret, allow_private })
    }
}

/// How long a hook has to answer, in milliseconds.
pub(super) fn timeout(text: Option<&str>, mut wrong: impl FnMut(&str, String)) -> Option<u64> {
    let Some(text) = text else { return Some(TIMEOUT_DEFAULT.as_millis() as u64) };
    match duration::parse(text) {
        Ok(time) if TIMEOUT_MS.contains(&(time.as_millis() as u64)) => Some(time.as_millis() as u64),
        Ok(_) => {
            let show = |ms: &u64| duration::show(Duration::from_millis(*ms));
            let (least, most) = (show(TIMEOUT_MS.start()), show(TIMEOUT_MS.end()));
            wrong("timeout", format!("is {}, must be from {least} to {most}", shown(text)));
            None
        }
        Err(why) => {
            wrong("timeout", format!("is {}, {why}", shown(text)));
            None
        }
    }
}

/// Who is asked whether a client may connect.
#[derive(Serialize, ToSchema)]
#[schema(as = ConnectHook)]
pub(super) struct ConnectHookShown {
    url: String,
    /// How long it has to answer.
    #[schema(value_type = openapi::Duration)]
    timeout: String,
    /// Always `***`; left out when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<&'static str>,
    /// Whether it may have a private address.
    allow_private: bool,
}

impl ConnectHookShown {
    pub(super) fn of(hook: &ConnectHook) -> Self {
        Self {
            url: hook.url.as_str().to_owned(),
            timeout: duration::show(Duration::from_millis(hook.timeout_ms)),
            secret: hook.secret.as_ref().map(|_| HIDDEN),
            allow_private: hook.allow_private,
        }
    }
}
