//! `hooks` of a namespace: who is told what has happened.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tidings_model::{ErrorCode, HookName};
use tidings_node::Node;
use tidings_node::ask::Question;
use tidings_node::namespace::Settings;
use tidings_node::notify::{BATCH_MAX, Failure, Hook, HookUrl, NoticeKind, SECRET_BYTES, Secret};
use tidings_wire::problem::FieldError;
use utoipa::ToSchema;

use super::connect_hook;
use crate::shape::{Object, Shape, shown};
use crate::{Problem, duration, openapi};

/// Most hooks of a namespace.
const HOOKS_MAX: usize = 10;

/// What is shown of a secret, and what keeps it when it is sent back.
pub(super) const HIDDEN: &str = "***";

/// What one looks like in a request.
pub(crate) const SHAPE: Shape = Shape::Object(&[
    ("name", Shape::Text),
    ("url", Shape::Text),
    ("events", Shape::Texts),
    ("batch", Shape::Count),
    ("timeout", Shape::Text),
    ("secret", Shape::Text),
    ("allow_private", Shape::Flag),
]);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HookBody {
    name: Option<String>,
    url: Option<String>,
    events: Option<Vec<String>>,
    batch: Option<u64>,
    timeout: Option<String>,
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
        for question in &hook.questions {
            if let Some(other) = hooks.iter().find(|other| other.questions.contains(question)) {
                let other = shown(other.name.as_str());
                in_hook("events", format!("{} is answered by the hook {other} already", question.as_str()));
            }
        }
        hooks.push(hook);
    }
    hooks
}

impl HookBody {
    fn check(&self, before: &[Hook], mut wrong: impl FnMut(&str, String)) -> Option<Hook> {
        let allow_private = self.allow_private.unwrap_or(false);
        let name = self.name(&mut wrong);
        let url = url(self.url.as_deref(), "where to tell it", allow_private, &mut wrong);
        let timeout_ms = connect_hook::timeout(self.timeout.as_deref(), &mut wrong);
        let events = self.events(&mut wrong);
        let old = name.as_ref().and_then(|name| before.iter().find(|hook| hook.name == *name));
        let secret = self.secret(old, &mut wrong);
        let batch = self.batch(&mut wrong);
        let (events, questions) = events?;
        let (batch, timeout_ms, secret) = (batch?, timeout_ms?, secret?);
        Some(Hook { name: name?, url: url?, events, questions, batch, timeout_ms, secret, allow_private })
    }

    fn name(&self, mut wrong: impl FnMut(&str, String)) -> Option<HookName> {
        let Some(text) = self.name.as_deref() else {
            wrong("name", "is required".to_owned());
            return None;
        };
        HookName::new(text).map_err(|why| wrong("name", format!("{} {why}", shown(text)))).ok()
    }

    fn batch(&self, mut wrong: impl FnMut(&str, String)) -> Option<usize> {
        let asked = self.batch.unwrap_or(1);
        let batch = usize::try_from(asked).ok().filter(|batch| (1..=BATCH_MAX).contains(batch));
        if batch.is_none() {
            wrong("batch", format!("is {asked}, must be from 1 to {BATCH_MAX}"));
        }
        batch
    }

    /// What it is told, and what it is asked.
    fn events(&self, mut wrong: impl FnMut(&str, String)) -> Option<(Vec<NoticeKind>, Vec<Question>)> {
        let asked = Question::OF_HOOKS.into_iter().map(Question::as_str);
        let known: Vec<_> = NoticeKind::ALL.into_iter().map(NoticeKind::as_str).chain(asked).collect();
        let known = known.join(", ");
        let Some(names) = self.events.as_deref().filter(|names| !names.is_empty()) else {
            wrong("events", format!("is required: at least one of {known}"));
            return None;
        };
        let (mut events, mut questions, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
        for (index, name) in names.iter().enumerate() {
            let field = format!("events[{index}]");
            if !seen.insert(name) {
                wrong(&field, format!("{} is there already", shown(name)));
                continue;
            }
            match (NoticeKind::parse(name), Question::of_hook(name)) {
                (Some(kind), _) => events.push(kind),
                (None, Some(question)) => questions.push(question),
                (None, None) if name == Question::Connect.as_str() => {
                    wrong(&field, "is \"connect\", which is what `auth.hook` is for".to_owned());
                }
                (None, None) => wrong(&field, format!("is {}, must be one of {known}", shown(name))),
            }
        }
        (events.len() + questions.len() == names.len()).then_some((events, questions))
    }

    fn secret(&self, old: Option<&Hook>, mut wrong: impl FnMut(&str, String)) -> Option<Secret> {
        let (least, most) = (SECRET_BYTES.start(), SECRET_BYTES.end());
        match (self.secret.as_deref(), old) {
            (Some(HIDDEN), Some(old)) => Some(old.secret.clone()),
            (Some(HIDDEN), None) => {
                wrong(
                    "secret",
                    "is \"***\", but there is no hook with this name whose secret could stay".to_owned(),
                );
                None
            }
            (Some(text), _) => secret(text, wrong),
            (None, _) => {
                wrong("secret", format!("is required: {least} to {most} bytes, to sign with"));
                None
            }
        }
    }
}

/// Reads where a hook is.
pub(super) fn url(
    text: Option<&str>,
    what_for: &str,
    allow_private: bool,
    mut wrong: impl FnMut(&str, String),
) -> Option<HookUrl> {
    let Some(text) = text else {
        wrong("url", format!("is required: {what_for}"));
        return None;
    };
    let url = HookUrl::parse(text).map_err(|why| wrong("url", format!("{} {why}", shown(text)))).ok()?;
    let judged = url.check_address(allow_private);
    judged.map_err(|why| wrong("url", not_to_be_called(&why.to_string()))).ok()?;
    Some(url)
}

/// Reads what a hook's calls are signed with.
pub(super) fn secret(text: &str, mut wrong: impl FnMut(&str, String)) -> Option<Secret> {
    if SECRET_BYTES.contains(&text.len()) {
        return Some(Secret(text.to_owned()));
    }
    let (least, most) = (SECRET_BYTES.start(), SECRET_BYTES.end());
    wrong("secret", format!("has {} bytes, must have {least} to {most}", text.len()));
    None
}

fn not_to_be_called(why: &str) -> String {
    format!("must not be called: {why}")
}

/// The hooks of these rules, each by its field.
fn all(settings: &Settings) -> Vec<(String, &HookUrl, bool)> {
    let told = settings.hooks.iter().enumerate();
    let told = told.map(|(index, hook)| (format!("hooks[{index}]"), &hook.url, hook.allow_private));
    let asked = settings.connect_hook.iter();
    told.chain(asked.map(|hook| ("auth.hook".to_owned(), &hook.url, hook.allow_private))).collect()
}

/// Has the addresses of new hooks judged. A name that cannot be resolved now may be one day; what it leads to is
/// judged again whenever it is called.
pub(super) async fn look(node: &Node, settings: &Settings, before: Option<&Settings>) -> Result<(), Problem> {
    let known = before.map(all).unwrap_or_default();
    let new: Vec<_> = all(settings)
        .into_iter()
        .filter(|(_, url, private)| !known.iter().any(|(_, old, might)| old == url && might == private))
        .collect();
    let looked =
        new.iter().map(async |(field, url, private)| (field, url, node.look_at(url, *private).await));
    let mut wrong = Vec::new();
    for (field, url, outcome) in join_all(looked).await {
        match outcome {
            Ok(()) => {}
            Err(Failure::Forbidden(why)) => wrong.push(FieldError {
                field: format!("{field}.url"),
                message: not_to_be_called(&why.to_string()),
            }),
            Err(
                why @ (Failure::Unresolved(_)
                | Failure::Timeout
                | Failure::Refused(_)
                | Failure::Unreachable(_)
                | Failure::Tls(_)
                | Failure::Broken(_)
                | Failure::TooLarge),
            ) => {
                tracing::warn!(hook = field, %url, error = %why, "a hook is configured that has no address now");
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(Problem::fields(ErrorCode::INVALID_REQUEST, wrong)) }
}

/// Refuses hooks that may have a private address, but for those that might before: what is inside is the operator's to
/// open, not the tenant's.
pub(super) fn need_public(settings: &Settings, before: &Settings) -> Result<(), Problem> {
    let known = all(before);
    let might = |url: &HookUrl| known.iter().any(|(_, old, private)| *private && *old == url);
    let opened = all(settings).into_iter().find(|(_, url, private)| *private && !might(url));
    match opened {
        Some((field, ..)) => {
            Err(Problem::field(ErrorCode::FORBIDDEN, format!("{field}.allow_private"), "needs the admin key"))
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
    /// What it is told, and what it is asked.
    #[schema(value_type = Vec<openapi::HookEventWord>)]
    events: Vec<&'static str>,
    /// How many notices a call has at most.
    batch: usize,
    /// How long it has to answer what it is asked.
    #[schema(value_type = openapi::Duration)]
    timeout: String,
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
            events: hook.words().collect(),
            batch: hook.batch,
            timeout: duration::show(Duration::from_millis(hook.timeout_ms)),
            secret: HIDDEN,
            allow_private: hook.allow_private,
        }
    }
}
