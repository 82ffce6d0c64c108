//! What an operator may set: built-in defaults < `tidings.toml` < environment < flags.
//!
//! Every key stands in a table beside the section that it fills ([`SECTIONS`]); reading, complaining,
//! `default-config` and `docs/configuration.md` all work from these tables. Namespaces, which the file may declare, have no
//! table here: what they may say is the API's to know. Nothing here starts anything.

pub(crate) mod clients;
pub(crate) mod compat;
pub(crate) mod document;
mod error;
pub(crate) mod escalation;
mod file;
mod layers;
pub(crate) mod limits;
pub(crate) mod log;
#[cfg(test)]
mod manual;
mod namespaces;
pub(crate) mod outbox;
pub(crate) mod overload;
pub(crate) mod process;
pub(crate) mod server;
pub(crate) mod simulations;
pub(crate) mod statistics;
pub(crate) mod store;
mod value;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub(crate) use error::{ConfigError, ConfigErrors};
use layers::Layers;
use tidings_api::declared::Declared;

/// A key that an operator may set.
#[derive(Debug)]
pub(crate) struct Key {
    /// Its name: `section.key`, or `key` for those before the first section.
    pub(crate) name: &'static str,
    /// Its default as it would be written; empty for none.
    pub(crate) default: &'static str,
    /// What may be written.
    pub(crate) allowed: &'static str,
    /// What it does.
    pub(crate) doc: &'static str,
    /// The flag of `serve` that sets it; empty for none.
    pub(crate) flag: &'static str,
    /// Whether its value must not be shown. It may also come from a file, by the key with `_file` after it.
    pub(crate) secret: bool,
}

/// A group of keys.
#[derive(Debug)]
pub(crate) struct Section {
    /// Its name in the file; empty for the keys before the first section.
    pub(crate) name: &'static str,
    /// What it is about.
    pub(crate) doc: &'static str,
    /// Its keys.
    pub(crate) keys: &'static [Key],
}

/// Every section, in the order of the file.
pub(crate) const SECTIONS: &[Section] = &[
    process::SECTION,
    server::SECTION,
    server::TLS,
    store::SECTION,
    clients::SECTION,
    limits::SECTION,
    outbox::SECTION,
    overload::SECTION,
    escalation::SECTION,
    statistics::SECTION,
    simulations::SECTION,
    compat::LIGHT_PUSH,
    compat::PUSH_KOA,
    compat::GOPUSHER,
    compat::GO_REDIS,
    compat::MESSAGE_PUSH,
    log::SECTION,
];

/// The keys whose changes a reload brings about, beside what is declared; all others are read by the start only.
pub(crate) const RELOADED: &[&str] = &[
    "admin_key",
    "server.shutdown_timeout",
    "server.drain_pause",
    "server.drain_window",
    "server.tls.cert",
    "server.tls.key",
    "server.tls.check_interval",
    "clients.allowed_origins",
    "log.level",
];

/// Everything, checked.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) process: process::Process,
    pub(crate) server: server::Server,
    pub(crate) store: store::Store,
    pub(crate) clients: clients::Clients,
    pub(crate) limits: limits::Limits,
    pub(crate) outbox: outbox::Outbox,
    pub(crate) overload: overload::Overload,
    pub(crate) escalation: escalation::Escalation,
    pub(crate) statistics: statistics::Statistics,
    pub(crate) simulations: simulations::Simulations,
    pub(crate) compat: compat::Compat,
    pub(crate) log: log::Log,
    /// The namespaces that the file declares.
    pub(crate) namespaces: Vec<Declared>,
    /// Every key as it was written, or its default.
    pub(crate) values: BTreeMap<&'static str, String>,
    /// The file that was read, if there was one.
    pub(crate) file: Option<PathBuf>,
}

/// Where values come from besides the defaults.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    /// The file to read, which must exist then; else `tidings.toml` is read if it is there.
    pub(crate) file: Option<PathBuf>,
    /// The environment.
    pub(crate) environment: Vec<(String, String)>,
    /// Keys and values of flags.
    pub(crate) flags: Vec<(&'static str, String)>,
}

impl Config {
    /// Reads and checks everything.
    pub(crate) fn load(sources: Sources) -> Result<Self, ConfigErrors> {
        let mut layers = Layers::default();
        let file = layers.add_file(sources.file, &sources.environment);
        layers.add_environment(&sources.environment);
        for (key, value) in sources.flags {
            layers.add_flag(key, value);
        }
        layers.read_secret_files();
        let config = Self::resolve(&mut layers, file);
        layers.into_errors().map_or(Ok(config), Err)
    }

    /// What holds when nobody says anything.
    pub(crate) fn defaults() -> Self {
        Self::resolve(&mut Layers::default(), None)
    }

    /// The keys that have other values here than there.
    pub(crate) fn differences<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'static str> {
        self.values.iter().filter(|(key, value)| other.values.get(*key) != Some(*value)).map(|(key, _)| *key)
    }

    fn resolve(layers: &mut Layers, file: Option<PathBuf>) -> Self {
        let process = process::Process::resolve(layers);
        let server = server::Server::resolve(layers);
        let listen = server.listen.clone();
        Self {
            process,
            server,
            store: store::Store::resolve(layers),
            clients: clients::Clients::resolve(layers),
            limits: limits::Limits::resolve(layers),
            outbox: outbox::Outbox::resolve(layers),
            overload: overload::Overload::resolve(layers),
            escalation: escalation::Escalation::resolve(layers),
            statistics: statistics::Statistics::resolve(layers),
            simulations: simulations::Simulations::resolve(layers),
            compat: compat::Compat::resolve(layers, &listen),
            log: log::Log::resolve(layers),
            namespaces: namespaces::resolve(layers),
            values: layers.values(),
            file,
        }
    }
}

#[cfg(test)]
mod tests;
