//! Lists in pages: how much of one is asked for, and from where on.

use serde::Deserialize;

use crate::{Problem, extract};

/// How many entries a page has unless it is said, and at most.
const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1_000;

/// Which page is asked for, where nothing else can be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    limit: Option<String>,
    cursor: Option<String>,
}

impl Asked {
    /// How many entries at most, and behind what.
    pub(crate) fn page<T>(
        &self,
        read: fn(&str) -> Result<T, Problem>,
    ) -> Result<(usize, Option<T>), Problem> {
        page(self.limit.as_deref(), self.cursor.as_deref(), read)
    }
}

/// How many entries at most, and behind what.
pub(crate) fn page<T>(
    limit: Option<&str>,
    cursor: Option<&str>,
    read: fn(&str) -> Result<T, Problem>,
) -> Result<(usize, Option<T>), Problem> {
    let limit = extract::limit(limit, LIMIT_DEFAULT, LIMIT_MAX)?;
    Ok((limit, cursor.map(read).transpose()?))
}
