//! Bodies that are not as they must be: what is wrong, field by field.
//!
//! A good body is read once, by serde, without a copy. Only when that fails, the text is read again and
//! held against the body's [`Shape`], so that an answer can name every wrong field at once. It does not
//! know what a field means.

use std::fmt::{self, Write as _};
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tidings_model::ErrorCode;
use tidings_wire::problem::FieldError;

use crate::Problem;

/// How many characters of a value an error repeats.
const SHOWN_MAX: usize = 40;

/// Most complaints that are gathered.
const COMPLAINTS_MAX: usize = 50;

/// What a value must look like. `null` counts as absent everywhere.
#[derive(Debug)]
pub(crate) enum Shape {
    /// `true` or `false`.
    Flag,
    /// A string.
    Text,
    /// A whole number, not negative.
    Count,
    /// A number.
    Number,
    /// An array of strings.
    Texts,
    /// Any JSON.
    Any,
    /// An object with any fields.
    Free,
    /// An array with any elements.
    List,
    /// An array with elements like this.
    Each(&'static Shape),
    /// An object with these fields and no others.
    Object(&'static [(&'static str, Shape)]),
}

/// An object, and only an object: serde alone would read an array as a struct too.
#[derive(Debug)]
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OnlyMap<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for OnlyMap<T> {
            type Value = T;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_map(OnlyMap(PhantomData)).map(Object)
    }
}

/// Reads a body.
pub(crate) fn decode<'a, T: Deserialize<'a>>(body: &'a [u8], shape: &Shape) -> Result<T, Problem> {
    let text = std::str::from_utf8(body).map_err(|why| {
        let at = why.valid_up_to();
        Problem::new(
            ErrorCode::INVALID_REQUEST,
            format!("the body is not UTF-8: byte {at} begins no character"),
        )
    })?;
    match serde_json::from_str::<Object<T>>(text) {
        Ok(Object(value)) => Ok(value),
        Err(why) => Err(explain(text, shape, &why)),
    }
}

fn explain(text: &str, shape: &Shape, why: &serde_json::Error) -> Problem {
    let value = match serde_json::from_str::<Value>(text) {
        Ok(value) => value,
        Err(why) => return Problem::new(ErrorCode::INVALID_REQUEST, format!("the body is not JSON: {why}")),
    };
    if !value.is_object() {
        return Problem::new(
            ErrorCode::INVALID_REQUEST,
            format!("the body must be an object, not {}", kind(&value)),
        );
    }
    let mut wrong = Vec::new();
    compare(&value, shape, &mut String::new(), &mut wrong);
    if wrong.is_empty() {
        return Problem::new(ErrorCode::INVALID_REQUEST, format!("the body cannot be read: {why}"));
    }
    Problem::fields(ErrorCode::INVALID_REQUEST, wrong)
}

fn compare(value: &Value, shape: &Shape, path: &mut String, wrong: &mut Vec<FieldError>) {
    if wrong.len() >= COMPLAINTS_MAX {
        return;
    }
    let expected = match (shape, value) {
        (_, Value::Null) | (Shape::Any, _) => return,
        (Shape::Flag, Value::Bool(_)) | (Shape::Text, Value::String(_)) => return,
        (Shape::Free, Value::Object(_)) | (Shape::List, Value::Array(_)) => return,
        (Shape::Count, Value::Number(number)) if number.is_u64() => return,
        (Shape::Number, Value::Number(_)) => return,
        (Shape::Texts, Value::Array(elements)) => {
            for (index, element) in elements.iter().enumerate() {
                if !element.is_string() {
                    let message = format!("must be a string, not {}", kind(element));
                    wrong.push(FieldError { field: format!("{path}[{index}]"), message });
                }
            }
            return;
        }
        (Shape::Each(shape), Value::Array(elements)) => {
            let length = path.len();
            for (index, element) in elements.iter().enumerate() {
                let _ = write!(path, "[{index}]");
                match element {
                    Value::Null => {
                        wrong.push(FieldError { field: path.clone(), message: "must not be null".to_owned() })
                    }
                    element => compare(element, shape, path, wrong),
                }
                path.truncate(length);
            }
            return;
        }
        (Shape::Object(fields), Value::Object(found)) => {
            let length = path.len();
            for (name, value) in found {
                let _ = write!(path, "{}{}", if length > 0 { "." } else { "" }, plain(name));
                match fields.iter().find(|(known, _)| known == name) {
                    Some((_, shape)) => compare(value, shape, path, wrong),
                    None => wrong.push(unknown(path, fields)),
                }
                path.truncate(length);
            }
            return;
        }
        (Shape::Flag, _) => "true or false",
        (Shape::Text, _) => "a string",
        (Shape::Count, _) => "a whole number from 0 on",
        (Shape::Number, _) => "a number",
        (Shape::Texts, _) => "an array of strings",
        (Shape::List | Shape::Each(_), _) => "an array",
        (Shape::Free | Shape::Object(_), _) => "an object",
    };
    wrong.push(FieldError {
        field: path.clone(),
        message: format!("must be {expected}, not {}", kind(value)),
    });
}

fn unknown(path: &str, fields: &[(&'static str, Shape)]) -> FieldError {
    let names: Vec<_> = fields.iter().map(|(name, _)| *name).collect();
    FieldError {
        field: path.to_owned(),
        message: format!("is not a known field; there are {}", names.join(", ")),
    }
}

/// What a wrong value is, and the value itself when it is short.
fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => format!("{value}"),
        Value::Number(_) => format!("the number {}", short(&value.to_string())),
        Value::String(text) => format!("the string {}", shown(text)),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// A text as an error shows it: quoted, escaped, shortened.
pub(crate) fn shown(text: &str) -> String {
    format!("{:?}", short(text))
}

fn short(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((at, _)) => format!("{}…", text.split_at(at).0),
        None => text.to_owned(),
    }
}

/// A field name in a path: as it is when it is a usual one, else shown.
fn plain(name: &str) -> String {
    let usual = !name.is_empty()
        && name.len() <= SHOWN_MAX
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if usual { name.to_owned() } else { shown(name) }
}
