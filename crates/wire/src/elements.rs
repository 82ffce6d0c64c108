//! A JSON array or string taken apart without a copy: the pieces stay the JSON that they were.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Why there are no elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ElementsError {
    NotAnArray,
    TooMany,
}

/// The elements of an array, at most `max`.
pub(crate) fn elements(array: &str, max: usize) -> Result<Vec<&RawValue>, ElementsError> {
    let mut json = serde_json::Deserializer::from_str(array);
    let elements = json.deserialize_seq(Elements { max }).map_err(|_| ElementsError::NotAnArray)?;
    json.end().map_err(|_| ElementsError::NotAnArray)?;
    elements.ok_or(ElementsError::TooMany)
}

/// The text of a JSON string; a copy only when it has escapes. `None` for any other JSON.
pub(crate) fn string(json: &str) -> Option<Cow<'_, str>> {
    let inside = json.strip_prefix('"')?.strip_suffix('"')?;
    if inside.contains('\\') {
        serde_json::from_str(json).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inside))
    }
}

struct Elements {
    max: usize,
}

impl<'de> Visitor<'de> for Elements {
    type Value = Option<Vec<&'de RawValue>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        let mut within = true;
        // Read to the end even beyond the limit, so that the answer does not hide a syntax error.
        while let Some(element) = seq.next_element()? {
            within = elements.len() < self.max;
            if within {
                elements.push(element);
            }
        }
        Ok(within.then_some(elements))
    }
}
