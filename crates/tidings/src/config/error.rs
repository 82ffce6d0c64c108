//! What is wrong with a configuration: which key, which value, where it stands, what is allowed.

use std::fmt;

/// What is wrong with one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigError {
    /// The key, or empty when it is about a whole file.
    pub(crate) key: String,
    /// The value, unless it is secret or there is none.
    pub(crate) value: Option<String>,
    /// Where it stands.
    pub(crate) origin: String,
    /// What is wrong, and what is allowed.
    pub(crate) problem: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            f.write_str(&self.key)?;
            if let Some(value) = &self.value {
                write!(f, " = {value:?}")?;
            }
            f.write_str(" ")?;
        }
        write!(f, "({}): {}", self.origin, self.problem)
    }
}

/// Everything that is wrong, one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigErrors(pub(crate) Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let end = if index == 0 { "" } else { "\n" };
            write!(f, "{end}configuration: {error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
