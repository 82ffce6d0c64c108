//! `hooks` of a namespace: who is told what has happened.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use tidings_model::{ErrorCode, HookName};
use tidings_node::Node;
use tidings_node::notify::{Failure, Hook, HookUrl, NoticeKind, SECRET_BYTES, Secret};
use tidings_wire::problem::FieldError;
use utoipa::ToSchema;

use crate::shape::{Object, Shape, shown};
use crate::{Problem, openapi};

/// Most hooks of a namespace.
const HOOKS_MAX: usize = 10;

/// What is shown of a secret, and what keeps it when it is sent back.
const HIDDEN: &str = "***";

/// What one looks like in a request.
pub(crate) const SHAPE: Shape = Shape::Object(&[
    ("name", Shape::Text),
    ("url", Shape::Text),
    ("events", Shape::Texts),
    ("secret", Shape::Text),
    ("allow_private", Shape::Flag),
]);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HookBody {
    name: Option<String>,
    url: Option<String>,
    events: Option<Vec<String>>,
    secret: Option<String>,
    allow_private: Option<bool>,
}

/// Checks the hooks of a namespace that had others before; what is wrong is told to `wrong`, by field.
pub(super) fn check(
    bodies: &[Object<HookBody>],
    before: &[Hook],
    mut wrong: impl FnMut(&str, String),
) -> Vec<Hook> {
    if bodies.len() > HOOKS_MAX {
        wrong("hooks", format!("has {} entries, at most {HOOKS_MAX} are allowed", bodies.len()));
        return Vec::new();
    }
    let mut hooks: Vec<Hook> = Vec::new();
    for (index, Object(body)) in bodies.iter().enumerate() {
        let mut in_hook = |field: &str, message| wrong(&format!("hooks[{index}].{field}"), message);
        let Some(hook) = body.check(before, &mut in_hook) else { continue };
        if hooks.iter().any(|other| other.name == hook.name) {
            in_hook("name", format!("{} is the name of another hook", shown(hook.name.as_str())));
        }
        hooks.push(hook);
    }
    hooks
}

impl HookBody {
    fn check(&self, before: &[Hook], mut wrong: impl FnMut(&str, String)) -> Option<Hook> {
        let allow_private = self.allow_private.unwrap_or(false);
        let name = self.name(&mut wrong);
        let url = self.url(allow_private, &mut wrong);
        let events = self.events(&mut wrong);
        let old = name.as_ref().and_then(|name| before.iter().find(|hook| hook.name == *name));
        let secret = self.secret(old, &mut wrong);
        Some(Hook { name: name?, url: url?, events: events?, secret: secret?, allow_private })
    }

    fn name(&self, mut wrong: impl FnMut(&str, String)) -> Option<HookName> {
        let Some(text) = self.name.as_deref() else {
            wrong("name", "is required".to_owned());
            return None;
        };
        HookName::new(text).map_err(|why| wrong("name", format!("{} {why}", shown(text)))).ok()
    }

    fn url(&self, allow_private: bool, mut wrong: impl FnMut(&str, String)) -> Option<HookUrl> {
        let Some(text) = self.url.as_deref() else {
            wrong("url", "is required: where to tell it".to_owned());
            return None;
        };
        let url = HookUrl::parse(text).map_err(|why| wrong("url", format!("{} {why}", shown(text)))).ok()?;
        url.check_address(allow_private)
            .map_err(|why| wrong("url", not_to_be_called(&why.to_string())))
            .ok()?;
        Some(url)
    }

    fn events(&self, mut wrong: impl FnMut(&str, String)) -> Option<Vec<NoticeKind>> {
        let known = || NoticeKind::ALL.map(NoticeKind::as_str).join(", ");
        let Some(names) = self.events.as_deref().filter(|names| !names.is_empty()) else {
            wrong("events", format!("is required: at least one of {}", known()));
            return None;
        };
        let (mut events, mut seen) = (Vec::new(), HashSet::new());
        for (index, name) in names.iter().enumerate() {
            let field = format!("events[{index}]");
            match NoticeKind::parse(name) {
                None => wrong(&field, format!("is {}, must be one of {}", shown(name), known())),
                Some(_) if !seen.insert(name) => wrong(&field, format!("{} is there already", shown(name))),
                Some(kind) => events.push(kind),
            }
        }
        (events.len() == names.len()).then_some(events)
    }

    fn secret(&self, old: Option<&Hook>, mut wrong: impl FnMut(&str, String)) -> Option<Secret> {
        let (least, most) = (SECRET_BYTES.start(), SECRET_BYTES.end());
        match (self.secret.as_deref(), old) {
            (Some(HIDDEN), Some(old)) => Some(old.secret.clone()),
            (Some(text), _) if SECRET_BYTES.contains(&text.len()) => Some(Secret(text.to_owned())),
            (Some(HIDDEN), None) => {
                wrong(
                    "secret",
                    "is \"***\", but there is no hook with this name whose secret could stay".to_owned(),
                );
                None
            }
            (Some(text), _) => {
                wrong("secret", format!("has {} bytes, must have {least} to {most}", text.len()));
                None
            }
            (None, _) => {
                wrong("secret", format!("is required: {least} to {most} bytes, to sign with"));
                None
            }
        }
    }
}

fn not_to_be_called(why: &str) -> String {
    format!("must not be called: {why}")
}

/// Has the addresses of new hooks judged. A name that cannot be resolved now may be one day; what it leads to is
/// judged again whenever it is called.
pub(super) async fn look(node: &Node, hooks: &[Hook], before: &[Hook]) -> Result<(), Problem> {
    let mut wrong = Vec::new();
    for (index, why) in node.look_at_hooks(hooks, before).await {
        match why {
            Failure::Forbidden(why) => wrong.push(FieldError {
                field: format!("hooks[{index}].url"),
                message: not_to_be_called(&why.to_string()),
            }),
            Failure::Unresolved(_)
            | Failure::Timeout
            | Failure::Refused(_)
            | Failure::Unreachable(_)
            | Failure::Tls(_)
            | Failure::Broken(_) => {
                tracing::warn!(hook = %hooks[index].name, url = %hooks[index].url, error = %why, "a hook is configured that has no address now");
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(Problem::fields(ErrorCode::INVALID_REQUEST, wrong)) }
}

/// Refuses hooks that may have a private address, but for those that might before: what is inside is the operator's to
/// open, not the tenant's.
pub(super) fn need_public(hooks: &[Hook], before: &[Hook]) -> Result<(), Problem> {
    let might = |hook: &Hook| before.iter().any(|before| before.allow_private && before.url == hook.url);
    let opened = hooks.iter().position(|hook| hook.allow_private && !might(hook));
    match opened {
        Some(index) => {
            let field = format!("hooks[{index}].allow_private");
            Err(Problem::field(ErrorCode::FORBIDDEN, field, "needs the admin key"))
        }
        None => Ok(()),
    }
}

/// A hook: a URL that is told what has happened.
#[derive(Serialize, ToSchema)]
#[schema(as = Hook)]
pub(super) struct HookShown {
    #[schema(value_type = openapi::HookName)]
    name: String,
    url: String,
    /// What it is told.
    #[schema(value_type = Vec<openapi::HookEventWord>)]
    events: Vec<&'static str>,
    /// Always `***`.
    secret: &'static str,
    /// Whether it may have a private address.
    allow_private: bool,
}

impl HookShown {
    pub(super) fn of(hook: &Hook) -> Self {
        Self {
            name: hook.name.to_string(),
            url: hook.url.as_str().to_owned(),
            events: hook.events.iter().map(|kind| kind.as_str()).collect(),
            secret: HIDDEN,
            allow_private: hook.allow_private,
        }
    }
}
