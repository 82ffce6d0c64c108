//! Values by key, the later source over the earlier, each with where it comes from.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::PathBuf;

use super::error::{ConfigError, ConfigErrors};
use super::namespaces::{self, Table};
use super::{Key, SECTIONS, file};

/// The file that is read when none is named.
const DEFAULT_FILE: &str = "tidings.toml";

/// What the names of environment variables begin with.
const PREFIX: &str = "TIDINGS_";

/// A kind of source; a later one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layer {
    File,
    Environment,
    Flags,
}

/// A value as it was written.
#[derive(Clone, Debug)]
struct Given {
    text: String,
    origin: String,
    layer: Layer,
}

/// Values by key, and what is wrong so far.
#[derive(Debug, Default)]
pub(super) struct Layers {
    given: BTreeMap<&'static str, Given>,
    /// Files that secrets are read from, by the key of the secret.
    files: BTreeMap<&'static str, Given>,
    /// The namespaces that the file declares, as they stand there.
    pub(super) tables: Vec<Table>,
    pub(super) errors: Vec<ConfigError>,
}

/// A key by its name; and whether it is the file of a secret that was named.
fn find(name: &str) -> Option<(&'static Key, bool)> {
    let keys = || SECTIONS.iter().flat_map(|section| section.keys);
    if let Some(key) = keys().find(|key| key.name == name) {
        return Some((key, false));
    }
    let secret = name.strip_suffix("_file")?;
    keys().find(|key| key.secret && key.name == secret).map(|key| (key, true))
}

impl Layers {
    pub(super) fn add_file(
        &mut self,
        named: Option<PathBuf>,
        environment: &[(String, String)],
    ) -> Option<PathBuf> {
        let must_exist = named.is_some();
        let path = named.unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
        let name = path.display().to_string();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(why) if why.kind() == std::io::ErrorKind::NotFound && !must_exist => return None,
            Err(why) => {
                let problem = format!("cannot be read: {why}");
                self.errors.push(ConfigError { key: String::new(), value: None, origin: name, problem });
                return None;
            }
        };
        let variables = environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect::<HashMap<_, _>>();
        let (entries, tables, errors) = file::read(&name, &text, &variables);
        self.errors.extend(errors);
        self.tables = tables;
        for entry in entries {
            self.add(Layer::File, &entry.key, entry.value, entry.origin);
        }
        Some(path)
    }

    /// Takes `TIDINGS_SECTION__KEY` and `TIDINGS_KEY`. A variable with a section must be a known key; one
    /// without may belong to somebody else (Kubernetes makes up `TIDINGS_PORT` for a service `tidings`).
    pub(super) fn add_environment(&mut self, environment: &[(String, String)]) {
        for (name, value) in environment {
            let Some(rest) = name.strip_prefix(PREFIX) else { continue };
            let key = rest.to_ascii_lowercase().replace("__", ".");
            if find(&key).is_some() || key.contains('.') {
                self.add(Layer::Environment, &key, value.clone(), format!("environment variable {name}"));
            }
        }
    }

    pub(super) fn add_flag(&mut self, key: &'static str, value: String) {
        let flag = find(key).map_or(key, |(key, _)| key.flag);
        self.add(Layer::Flags, key, value, format!("flag {flag}"));
    }

    fn add(&mut self, layer: Layer, name: &str, text: String, origin: String) {
        let Some((key, of_file)) = find(name) else {
            let problem = unknown(name);
            self.errors.push(ConfigError { key: name.to_owned(), value: Some(text), origin, problem });
            return;
        };
        // A secret may be given, or the file that it is in, and a later source gives it in either way.
        let (these, others, other) = if of_file {
            (&mut self.files, &mut self.given, key.name.to_owned())
        } else {
            (&mut self.given, &mut self.files, format!("{}_file", key.name))
        };
        if let Some(beside) = others.get(key.name).filter(|beside| beside.layer == layer) {
            let problem = format!("stands beside {other} ({}); one of them is enough", beside.origin);
            self.errors.push(ConfigError { key: name.to_owned(), value: None, origin, problem });
            return;
        }
        others.remove(key.name);
        these.insert(key.name, Given { text, origin, layer });
    }

    pub(super) fn read_secret_files(&mut self) {
        for (key, Given { text: path, origin, layer }) in std::mem::take(&mut self.files) {
            match fs::read_to_string(&path) {
                Ok(text) => {
                    let text = text.trim_end_matches(['\n', '\r']).to_owned();
                    let origin = format!("{path}, named by {origin}");
                    self.given.insert(key, Given { text, origin, layer });
                }
                Err(why) => self.errors.push(ConfigError {
                    key: format!("{key}_file"),
                    value: Some(path),
                    origin,
                    problem: format!("cannot be read: {why}"),
                }),
            }
        }
    }

    /// The value of a key; its default when nobody gave one, or a wrong one (which is an error then).
    /// `parse` is shown the empty text only where the default is one.
    ///
    /// # Panics
    /// When a default is not a valid value, or there is no such key; a test reads all of them.
    pub(super) fn take<T>(&mut self, name: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> T {
        let Some((key, _)) = find(name) else { unreachable!("{name} is in a table") };
        if let Some(given) = self.given.get(name) {
            match parse(&given.text) {
                Ok(value) => return value,
                Err(problem) => self.errors.push(ConfigError {
                    key: name.to_owned(),
                    value: (!key.secret).then(|| given.text.clone()),
                    origin: given.origin.clone(),
                    problem,
                }),
            }
        }
        parse(key.default).unwrap_or_else(|why| unreachable!("the default of {name}: {why}"))
    }

    /// A value that is good by itself and does not go with others.
    pub(super) fn refuse(&mut self, name: &'static str, problem: &str) {
        let given = self.given.get(name);
        self.errors.push(ConfigError {
            key: name.to_owned(),
            value: given.map(|given| given.text.clone()),
            origin: given.map_or("default".to_owned(), |given| given.origin.clone()),
            problem: problem.to_owned(),
        });
    }

    /// Every key as it was given, or its default.
    pub(super) fn values(&self) -> BTreeMap<&'static str, String> {
        let keys = SECTIONS.iter().flat_map(|section| section.keys);
        let text = |key: &Key| self.given.get(key.name).map_or(key.default, |given| &given.text).to_owned();
        keys.map(|key| (key.name, text(key))).collect()
    }

    /// Where a value was given, for telling it to people; `None` when it is the default.
    pub(super) fn origin(&self, name: &str) -> Option<&str> {
        self.given.get(name).map(|given| given.origin.as_str())
    }

    pub(super) fn into_errors(self) -> Option<ConfigErrors> {
        (!self.errors.is_empty()).then_some(ConfigErrors(self.errors))
    }
}

/// What there is instead of an unknown key.
fn unknown(name: &str) -> String {
    if name.strip_prefix(namespaces::SECTION).is_some_and(|rest| rest.starts_with('.')) {
        return "is no key: namespaces are declared in the file; its strings may name environment variables"
            .to_owned();
    }
    let mut sections = std::iter::successors(name.rsplit_once('.'), |(rest, _)| rest.rsplit_once('.'));
    let known = sections.find_map(|(section, _)| SECTIONS.iter().find(|known| known.name == section));
    let keys: Vec<_> = match known {
        Some(known) => known.keys.iter().map(|key| key.name).collect(),
        None => SECTIONS
            .iter()
            .flat_map(|section| match section.name {
                "" => section.keys.iter().map(|key| key.name).collect(),
                name => vec![name],
            })
            .chain([namespaces::SECTION])
            .collect(),
    };
    format!("is not a known key; there are {}", keys.join(", "))
}
