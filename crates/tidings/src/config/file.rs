//! `tidings.toml` as keys and texts, each with its line, and with `${VAR}` replaced. It knows no key, only that what is
//! below `namespaces` is no setting.

use std::collections::HashMap;

use toml::Spanned;
use toml::de::{DeArray, DeInteger, DeTable, DeValue};

use super::error::ConfigError;
use super::namespaces::{self, Table};

/// A key of the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) value: String,
    /// `file:line`.
    pub(super) origin: String,
}

/// The keys of a file, the namespaces that it declares, and what is wrong with it.
pub(super) fn read(
    name: &str,
    text: &str,
    environment: &HashMap<&str, &str>,
) -> (Vec<Entry>, Vec<Table>, Vec<ConfigError>) {
    let (entries, tables, errors) = (Vec::new(), Vec::new(), Vec::new());
    let mut reader = Reader { name, text, environment, entries, tables, errors };
    match DeTable::parse(text) {
        Ok(table) => reader.table("", table.get_ref()),
        Err(why) => {
            let origin = reader.origin(why.span().map_or(0, |span| span.start));
            let problem = why.message().trim().replace('\n', ", ");
            reader.errors.push(ConfigError { key: String::new(), value: None, origin, problem });
        }
    }
    (reader.entries, reader.tables, reader.errors)
}

/// A file while it is read.
pub(super) struct Reader<'a> {
    name: &'a str,
    text: &'a str,
    environment: &'a HashMap<&'a str, &'a str>,
    entries: Vec<Entry>,
    tables: Vec<Table>,
    pub(super) errors: Vec<ConfigError>,
}

impl Reader<'_> {
    /// Where something stands, as people are told.
    pub(super) fn origin(&self, at: usize) -> String {
        let line = 1 + self.text.bytes().take(at).filter(|byte| *byte == b'\n').count();
        format!("{}:{line}", self.name)
    }

    /// A string with its variables replaced.
    pub(super) fn expand(&self, text: &str) -> Result<String, String> {
        expand(text, self.environment)
    }

    fn table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            if prefix.is_empty() && name.get_ref() == namespaces::SECTION {
                let tables = namespaces::read(self, value);
                self.tables.extend(tables);
                continue;
            }
            let key = if prefix.is_empty() {
                name.get_ref().to_string()
            } else {
                format!("{prefix}.{}", name.get_ref())
            };
            match value.get_ref() {
                DeValue::Table(inner) => self.table(&key, inner),
                _ => self.scalar(key, value),
            }
        }
    }

    fn scalar(&mut self, key: String, value: &Spanned<DeValue<'_>>) {
        let origin = self.origin(value.span().start);
        let value = match value.get_ref() {
            DeValue::String(text) => expand(text, self.environment),
            DeValue::Integer(number) => Ok(integer(number)),
            DeValue::Boolean(flag) => Ok(flag.to_string()),
            // A list may be written as one; elsewhere it is a text with commas.
            DeValue::Array(entries) if entries.iter().all(|entry| entry.get_ref().is_str()) => {
                let texts = entries.iter().filter_map(|entry| entry.get_ref().as_str());
                let texts: Result<Vec<_>, _> = texts.map(|text| expand(text, self.environment)).collect();
                texts.map(|texts| texts.join(", "))
            }
            other => Err(unfit(other)),
        };
        match value {
            Ok(value) => self.entries.push(Entry { key, value, origin }),
            Err(problem) => self.errors.push(ConfigError { key, value: None, origin, problem }),
        }
    }
}

/// A number as it is written, so that a mode may be octal in either way.
fn integer(number: &DeInteger<'_>) -> String {
    let prefix = match number.radix() {
        2 => "0b",
        8 => "0o",
        16 => "0x",
        _ => "",
    };
    format!("{prefix}{}", number.as_str().replace('_', ""))
}

/// What is wrong with a value that no key can have.
fn unfit(value: &DeValue<'_>) -> String {
    let odd = |entries: &DeArray<'_>| {
        entries.iter().find(|entry| !entry.get_ref().is_str()).map(|entry| entry.get_ref().type_str())
    };
    let found = match value {
        DeValue::Array(entries) => format!("an entry is of type {}", odd(entries).unwrap_or("string")),
        other => format!("this is of type {}", other.type_str()),
    };
    format!("must be a string, a whole number, true, false or a list of strings; {found}")
}

/// Replaces each `${VAR}` by the environment variable; `$${` stands for `${` itself.
fn expand(text: &str, environment: &HashMap<&str, &str>) -> Result<String, String> {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = after;
            continue;
        }
        out.push_str(before);
        let (name, after) = after.split_once('}').ok_or("has a ${ without a }")?;
        if name.is_empty() {
            return Err("has a ${}, which names no variable; $${} is a plain ${}".to_owned());
        }
        let value = environment
            .get(name)
            .ok_or(format!("names the environment variable {name}, which is not set"))?;
        out.push_str(value);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced() {
        let environment = HashMap::from([("A", "1"), ("B", "${A}")]);
        for (text, expected) in [
            ("plain $A", Ok("plain $A")),
            ("x${A}y${A}", Ok("x1y1")),
            ("${B}", Ok("${A}")),
            ("$${A}", Ok("${A}")),
            ("${C}", Err("names the environment variable C, which is not set")),
            ("${A", Err("has a ${ without a }")),
            ("a${}", Err("has a ${}, which names no variable; $${} is a plain ${}")),
            ("$${}", Ok("${}")),
        ] {
            let expanded = expand(text, &environment);
            assert_eq!(expanded.as_deref().map_err(String::as_str), expected, "{text}");
        }
    }
}
