//! `[namespaces.<name>]`: namespaces that the file declares. Each is a body of the API, written in TOML; this file makes
//! JSON of it, remembers where everything stands, and has the API check it. It knows no field, except which may be read
//! from a file of their own.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Map, Number, Value};
use tidings_api::declared::Declared;
use tidings_wire::problem::FieldError;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::ConfigError;
use super::file::Reader;
use super::layers::Layers;

/// What namespaces are declared below.
pub(super) const SECTION: &str = "namespaces";

/// What is put behind a field that is read from a file.
const FROM_FILE: &str = "_file";

/// The fields that may be read from a file: what is secret, and what is long.
const FROM_FILES: [&str; 2] = ["secret", "public_key"];

/// What `default-config` and the manual show.
pub(super) const EXAMPLE: &str = r#"# [namespaces.shop]
# title = "The shop"
# auth = { mode = "token", jwt = { algorithms = ["HS256"], secret_file = "/run/secrets/shop-jwt" } }
# limits = { connections = 100000, pushes_per_second = 500 }
# mailbox = { messages = 1000, keep = "7d" }
"#;

/// A declaration as it stands in the file.
#[derive(Debug)]
pub(super) struct Table {
    name: String,
    body: Map<String, Value>,
    /// `file:line` of every field, by the name that the API has for it; of the whole under the empty name.
    places: BTreeMap<String, String>,
}

/// Reads what is below `namespaces`.
pub(super) fn read(reader: &mut Reader<'_>, value: &Spanned<DeValue<'_>>) -> Vec<Table> {
    let Some(all) = value.get_ref().as_table() else {
        return refuse(reader, SECTION, value, "must be tables, as in [namespaces.shop]");
    };
    let mut tables = Vec::new();
    for (name, value) in all {
        let key = key_of(name.get_ref(), "");
        let Some(declared) = value.get_ref().as_table() else {
            let _: Vec<Table> = refuse(reader, &key, value, "must be a table, as in [namespaces.shop]");
            continue;
        };
        let places = BTreeMap::from([(String::new(), reader.origin(value.span().start))]);
        let mut table = Table { name: name.get_ref().to_string(), body: Map::new(), places };
        table.body = table.object("", declared, reader);
        tables.push(table);
    }
    tables
}

fn refuse<T>(reader: &mut Reader<'_>, key: &str, value: &Spanned<DeValue<'_>>, problem: &str) -> Vec<T> {
    let origin = reader.origin(value.span().start);
    let problem = format!("{problem}; this is of type {}", value.get_ref().type_str());
    reader.errors.push(ConfigError { key: key.to_owned(), value: None, origin, problem });
    Vec::new()
}

/// The key of a field of a namespace.
fn key_of(namespace: &str, field: &str) -> String {
    let usual = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    let shown = if !namespace.is_empty() && namespace.bytes().all(usual) {
        namespace.to_owned()
    } else {
        format!("{namespace:?}")
    };
    let dot = if field.is_empty() { "" } else { "." };
    format!("{SECTION}.{shown}{dot}{field}")
}

impl Table {
    fn object(&mut self, path: &str, table: &DeTable<'_>, reader: &mut Reader<'_>) -> Map<String, Value> {
        let mut object = Map::new();
        for (name, value) in table {
            let name: &str = name.get_ref();
            let of_file = name.strip_suffix(FROM_FILE).filter(|field| FROM_FILES.contains(field));
            let field = of_file.unwrap_or(name);
            let path = if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") };
            let read = match of_file {
                None => self.value(&path, value, reader),
                Some(field) if table.get(field).is_some() => {
                    let problem = format!("stands beside `{field}`; one of them is enough");
                    self.wrong(reader, format!("{path}{FROM_FILE}"), None, value, problem);
                    None
                }
                Some(_) => self.content(&path, value, reader),
            };
            object.insert(field.to_owned(), read.unwrap_or(Value::Null));
        }
        object
    }

    /// A value as JSON.
    fn value(&mut self, path: &str, value: &Spanned<DeValue<'_>>, reader: &mut Reader<'_>) -> Option<Value> {
        self.places.insert(path.to_owned(), reader.origin(value.span().start));
        let read = match value.get_ref() {
            DeValue::String(text) => reader.expand(text).map(Value::String),
            DeValue::Boolean(flag) => Ok(Value::Bool(*flag)),
            DeValue::Integer(number) => {
                let digits = number.as_str().replace('_', "");
                let read = i64::from_str_radix(&digits, number.radix());
                read.map(Value::from).map_err(|_| format!("is {}, which is too large", number.as_str()))
            }
            DeValue::Float(number) => {
                let read = number.as_str().replace('_', "").parse().ok().and_then(Number::from_f64);
                read.map(Value::Number).ok_or_else(|| format!("is {}, which is no number", number.as_str()))
            }
            DeValue::Array(entries) => {
                let entries = entries.iter().enumerate();
                let entries = entries.map(|(index, entry)| {
                    self.value(&format!("{path}[{index}]"), entry, reader).unwrap_or(Value::Null)
                });
                Ok(Value::Array(entries.collect()))
            }
            DeValue::Table(table) => Ok(Value::Object(self.object(path, table, reader))),
            DeValue::Datetime(_) => Err("must not be a date; write it as a string".to_owned()),
        };
        read.map_err(|problem| self.wrong(reader, path.to_owned(), None, value, problem)).ok()
    }

    /// What is in the file that a value names.
    fn content(
        &mut self,
        path: &str,
        value: &Spanned<DeValue<'_>>,
        reader: &mut Reader<'_>,
    ) -> Option<Value> {
        let key = format!("{path}{FROM_FILE}");
        let Some(Value::String(file)) = self.value(&key, value, reader) else {
            if !value.get_ref().is_str() {
                self.wrong(reader, key, None, value, "must be the path of a file".to_owned());
            }
            return None;
        };
        match fs::read_to_string(&file) {
            Ok(text) => {
                let origin = reader.origin(value.span().start);
                self.places.insert(path.to_owned(), format!("{file}, named by {origin}"));
                Some(Value::String(text.trim_end_matches(['\n', '\r']).to_owned()))
            }
            Err(why) => {
                self.wrong(reader, key, Some(file), value, format!("cannot be read: {why}"));
                None
            }
        }
    }

    fn wrong(
        &self,
        reader: &mut Reader<'_>,
        field: String,
        shown: Option<String>,
        at: &Spanned<DeValue<'_>>,
        problem: String,
    ) {
        let (key, origin) = (key_of(&self.name, &field), reader.origin(at.span().start));
        reader.errors.push(ConfigError { key, value: shown, origin, problem });
    }

    /// Where a field stands; if it does not, where what it would be in does.
    fn place(&self, field: &str) -> String {
        let mut field = field;
        loop {
            if let Some(place) = self.places.get(field) {
                return place.clone();
            }
            field = field.rfind(['.', '[']).map_or("", |end| &field[..end]);
        }
    }
}

/// Has everything that is declared checked.
pub(super) fn resolve(layers: &mut Layers) -> Vec<Declared> {
    let mut declared = Vec::new();
    for table in std::mem::take(&mut layers.tables) {
        match Declared::check(&table.name, table.body.clone()) {
            Ok(one) => declared.push(one),
            Err(wrong) => {
                for FieldError { field, message: problem } in wrong {
                    // A name is no field, unless somebody has made it one.
                    let named = field == "name" && !table.places.contains_key("name");
                    let key = key_of(&table.name, if named { "" } else { &field });
                    // What could not be read is missing now, which is no news.
                    let of_file = format!("{key}{FROM_FILE}");
                    if !layers.errors.iter().any(|error| error.key == key || error.key == of_file) {
                        let origin = table.place(&field);
                        layers.errors.push(ConfigError { key, value: None, origin, problem });
                    }
                }
            }
        }
    }
    declared
}
