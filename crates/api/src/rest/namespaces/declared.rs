//! Namespaces that the operator declares outside of the API. What a body of `POST /v1/namespaces` may say, a declaration
//! may, by the same check; what it says is brought about, and what it does not say is left alone. It does not know where
//! a declaration comes from, and takes nothing away.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};
use tidings_model::NamespaceName;
use tidings_node::merge_patch::merge;
use tidings_node::namespace::{CreateError, Settings};
use tidings_node::{Namespace, Node, StoreError};
use tidings_wire::problem::FieldError;

use super::{Body, SHAPE, WAIT_FOR_REMOVAL, check, hooks, writable};
use crate::{Problem, shape};

/// A namespace as it is declared, checked.
#[derive(Clone, PartialEq)]
pub struct Declared {
    name: NamespaceName,
    /// What a body of `POST /v1/namespaces` has, with the name.
    body: Value,
}

impl fmt::Debug for Declared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // There are secrets in it.
        f.debug_struct("Declared").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What came of a declaration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BroughtAbout {
    /// The namespace was not there, and is.
    Created,
    /// It has other rules now.
    Changed,
    /// It was so already.
    Same,
    /// One of this name is still being removed; there can be a new one when it is gone.
    Going,
}

impl Declared {
    /// Checks a declaration as `POST /v1/namespaces` checks its body: whatever there is, it could be created so.
    ///
    /// # Errors
    /// What is wrong, field by field, at most 50 of them; the field is `name` where it is the name.
    pub fn check(name: &str, mut body: Map<String, Value>) -> Result<Self, Vec<FieldError>> {
        if body.insert("name".to_owned(), name.into()).is_some() {
            let message = "stands in the name of the table already; leave it out".to_owned();
            return Err(vec![FieldError { field: "name".to_owned(), message }]);
        }
        let body = Value::Object(body);
        let text = body.to_string();
        let checked = shape::decode::<Body>(text.as_bytes(), &SHAPE)
            .and_then(|read| check(&read, None, tidings_model::Timestamp(0)));
        match checked {
            Ok((name, _)) => Ok(Self { name, body }),
            Err(why) => Err(why.errors().to_vec()),
        }
    }

    /// The name of the namespace.
    #[must_use]
    pub fn name(&self) -> &NamespaceName {
        &self.name
    }

    /// The rules that there would be, beside those that there are.
    fn rules(&self, node: &Node, now: Option<&Arc<Namespace>>) -> Result<Settings, Problem> {
        let before = now.map(|namespace| namespace.settings());
        let mut whole = match now {
            Some(namespace) => writable(namespace),
            None => Value::Object(Map::new()),
        };
        if let Some(fields) = whole.as_object_mut() {
            // Who may connect is said whole: half of it from elsewhere might let somebody in, or go with nothing.
            fields.remove("auth");
        }
        merge(&mut whole, self.body.clone());
        let whole = whole.to_string();
        let body: Body = shape::decode(whole.as_bytes(), &SHAPE)?;
        let (_, settings) = check(&body, before.as_deref(), node.now())?;
        Ok(match before {
            Some(before) => Settings { declared: true, ..super::kept(settings, &before) },
            None => Settings { declared: true, ..settings },
        })
    }

    /// Finds out whether it can be brought about: what the check cannot know without a node, above all where its hooks lead.
    ///
    /// # Errors
    /// What is wrong, field by field.
    pub async fn foresee(&self, node: &Arc<Node>) -> Result<(), Problem> {
        let there = node.namespace(self.name.as_str());
        let settings = self.rules(node, there.as_ref())?;
        let before = there.map(|namespace| namespace.settings());
        hooks::look(node, &settings, before.as_deref()).await
    }

    /// Creates the namespace, or gives it the rules that are declared; what is not declared stays as it is. Waits for some
    /// seconds while one of the same name is being removed. To be [foreseen](Self::foresee) before.
    ///
    /// # Errors
    /// When it cannot be written down; nothing of this namespace has changed then.
    pub async fn bring_about(&self, node: &Arc<Node>) -> Result<BroughtAbout, Problem> {
        if let Some(namespace) = node.namespace(self.name.as_str()) {
            let changing = namespace.changing().await;
            let settings = self.rules(node, Some(&namespace))?;
            if settings == *namespace.settings() {
                return Ok(BroughtAbout::Same);
            }
            node.change_namespace(changing, settings).await?;
            return Ok(BroughtAbout::Changed);
        }
        node.removed(&self.name, WAIT_FOR_REMOVAL).await;
        match node.create_namespace(self.name.clone(), self.rules(node, None)?).await {
            Ok(_) => Ok(BroughtAbout::Created),
            // Somebody was faster; the next time finds it there.
            Err(CreateError::Exists) => Ok(BroughtAbout::Same),
            Err(CreateError::Going) => Ok(BroughtAbout::Going),
            Err(CreateError::Store(why)) => Err(why.into()),
        }
    }
}

/// Lets go of the namespaces that were declared once and are no longer: they stay as they are, and are like any other from
/// now on. Answers which.
///
/// # Errors
/// When that cannot be written down.
pub async fn let_go(node: &Arc<Node>, declared: &[Declared]) -> Result<Vec<NamespaceName>, StoreError> {
    let mut gone = Vec::new();
    for namespace in node.namespaces() {
        if declared.iter().any(|one| one.name == namespace.name) || !namespace.settings().declared {
            continue;
        }
        let changing = namespace.changing().await;
        let settings = Settings { declared: false, ..Settings::clone(&namespace.settings()) };
        node.change_namespace(changing, settings).await?;
        gone.push(namespace.name.clone());
    }
    Ok(gone)
}
