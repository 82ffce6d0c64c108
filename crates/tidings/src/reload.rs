//! The configuration, read again while the server runs: on SIGHUP, and when the API is asked to. All of it is checked before
//! any of it changes anything. It decides nothing that a library crate decides.

use std::sync::Arc;

use tidings_api::Problem;
use tidings_api::declared::{self, BroughtAbout, Declared};
use tidings_api::rest::reload::{Reloaded, Reply};
use tidings_gateway::Gateway;
use tidings_model::ErrorCode;
use tidings_node::Node;
use tidings_wire::problem::FieldError;
use tokio::sync::{mpsc, watch};

use crate::config::{Config, ConfigError, ConfigErrors, RELOADED, Sources, log::Level};
use crate::listener::tls::{Readable, Tls};
use crate::signals::Hangups;

/// How the certificate is called in answers.
const TLS: &str = "server.tls";

/// Where a configuration comes from, and what of a running process can be changed by it.
pub(crate) struct Reload {
    pub(crate) sources: Sources,
    pub(crate) level: Level,
    pub(crate) node: Arc<Node>,
    pub(crate) gateway: Gateway,
    pub(crate) tls: Option<Arc<Tls>>,
    /// What was read by the start.
    pub(crate) started: Arc<Config>,
    /// What was read last.
    pub(crate) current: watch::Sender<Arc<Config>>,
}

impl Reload {
    /// Reads the configuration again whenever somebody asks for it, one after the other.
    pub(crate) async fn run(self, mut hangups: Hangups, mut asked: mpsc::Receiver<Reply>) {
        loop {
            tokio::select! {
                () = hangups.next() => drop(self.reload("SIGHUP").await),
                Some(reply) = asked.recv() => {
                    // Whoever asked may have gone; it was done all the same.
                    let _ = reply.send(self.reload("the API").await);
                }
            }
        }
    }

    async fn reload(&self, by: &'static str) -> Result<Reloaded, Problem> {
        let outcome = self.read_again().await;
        match &outcome {
            Ok(Reloaded { applied, needs_restart }) => {
                let (applied, needs_restart) = (applied.join(", "), needs_restart.join(", "));
                tracing::info!(by, applied, needs_restart, "the configuration was read again");
            }
            Err(why) => {
                for error in why.errors() {
                    tracing::error!(by, key = error.field, "{}", error.message);
                }
                let error = why.detail();
                tracing::error!(by, error, "the configuration was read again, and what was before holds");
            }
        }
        outcome
    }

    async fn read_again(&self) -> Result<Reloaded, Problem> {
        let sources = self.sources.clone();
        let read = tokio::task::spawn_blocking(move || Config::load(sources)).await;
        let new = read.map_err(|why| Problem::new(ErrorCode::INTERNAL, why.to_string()))?;
        let new = Arc::new(new.map_err(|errors| refused(&errors))?);
        let before = Arc::clone(&self.current.borrow());
        let certificate = self.certificate(&new)?;
        foresee(&self.node, &new.namespaces).await?;
        // Up to here nothing has changed. What can fail comes first.
        let mut reloaded = Reloaded::default();
        let changed = |key: &str| new.values.get(key) != before.values.get(key);
        if let Some((key, _)) = new.process.admin_key.as_ref().filter(|_| changed("admin_key")) {
            self.node.set_admin_key(key).await?;
            reloaded.applied.push("admin_key".to_owned());
        }
        reloaded.applied.extend(bring_about(&self.node, &new.namespaces).await?);
        let tls = certificate.is_some();
        if let (Some(tls), Some(readable)) = (&self.tls, certificate) {
            tls.show(readable);
            reloaded.applied.push(TLS.to_owned());
        }
        self.gateway.allow_origins(new.clients.allowed_origins.clone());
        if changed("log.level") {
            self.level.set(&new.log);
        }
        // Without a key in the configuration the one before stays; and TLS is not turned on or off.
        let silent = |key: &str| key == "admin_key" || tls && key.starts_with(TLS);
        let now = |key: &str| RELOADED.contains(&key) && (tls || !key.starts_with(TLS));
        let applied = new.differences(&before).filter(|key| now(key) && !silent(key));
        reloaded.applied.extend(applied.map(str::to_owned));
        let waiting = new.differences(&self.started).filter(|key| !now(key));
        reloaded.needs_restart.extend(waiting.map(str::to_owned));
        self.current.send_replace(new);
        Ok(reloaded)
    }

    /// The certificate that there would be, where there is one before and after.
    fn certificate(&self, new: &Config) -> Result<Option<Readable>, Problem> {
        let (Some(tls), Some(files)) = (&self.tls, &new.server.tls) else { return Ok(None) };
        let readable = tls.prepare(files.clone());
        readable.map(Some).map_err(|why| Problem::field(ErrorCode::INVALID_REQUEST, TLS, why.to_string()))
    }
}

/// A configuration that cannot be, as the API says so.
fn refused(errors: &ConfigErrors) -> Problem {
    let field = |error: &ConfigError| {
        let ConfigError { key, value, origin, problem } = error;
        let message = match value {
            Some(value) => format!("is {value:?} ({origin}): {problem}"),
            None => format!("({origin}): {problem}"),
        };
        let field = if key.is_empty() { "configuration" } else { key };
        FieldError { field: field.to_owned(), message }
    };
    Problem::fields(ErrorCode::INVALID_REQUEST, errors.0.iter().map(field).collect())
}

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
