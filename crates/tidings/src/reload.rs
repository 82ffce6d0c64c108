//! What of a configuration is brought about while a server runs. It decides nothing that a library crate decides.

use std::sync::Arc;

use tidings_api::Problem;
use tidings_api::declared::{self, BroughtAbout, Declared};
use tidings_model::ErrorCode;
use tidings_node::Node;
use tidings_wire::problem::FieldError;

/// Finds out whether the namespaces that the file declares can be brought about.
///
/// # Errors
/// What is wrong, key by key.
pub(crate) async fn foresee(node: &Arc<Node>, all: &[Declared]) -> Result<(), Problem> {
    let mut wrong = Vec::new();
    for one in all {
        let Err(why) = one.foresee(node).await else { continue };
        if why.errors().is_empty() {
            return Err(why);
        }
        wrong.extend(why.errors().iter().map(|error| FieldError {
            field: format!("namespaces.{}.{}", one.name(), error.field),
            message: error.message.clone(),
        }));
    }
    if wrong.is_empty() { Ok(()) } else { Err(Problem::fields(ErrorCode::INVALID_REQUEST, wrong)) }
}

/// Brings about the namespaces that the file declares, and answers the keys of those that have changed. Those that it
/// declares no more stay as they are.
///
/// # Errors
/// When something cannot be written down; what comes before it in the file has changed then.
pub(crate) async fn bring_about(node: &Arc<Node>, all: &[Declared]) -> Result<Vec<String>, Problem> {
    let mut changed = Vec::new();
    for one in all {
        let namespace = one.name();
        match one.bring_about(node).await? {
            BroughtAbout::Created => tracing::info!(%namespace, "created, as the configuration declares it"),
            BroughtAbout::Changed => tracing::info!(%namespace, "changed, as the configuration declares it"),
            BroughtAbout::Same => continue,
            BroughtAbout::Going => {
                tracing::warn!(%namespace, "not created: one of this name is still being removed; reload when it is gone");
                continue;
            }
        }
        changed.push(format!("namespaces.{namespace}"));
    }
    for namespace in declared::let_go(node, all).await? {
        tracing::info!(%namespace, "the configuration declares it no more; it stays as it is");
    }
    Ok(changed)
}
