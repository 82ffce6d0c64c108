//! The array of an event or an acknowledgement, taken apart. Each argument stays the JSON that it was.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::Error;
use crate::elements::{ElementsError, elements, string};

/// Most arguments of an event or an acknowledgement.
pub const ARGS_MAX: usize = 64;

/// An event's name and its arguments.
#[derive(Clone, Debug)]
pub struct Args<'a> {
    /// The name; a number reads as it was written.
    pub name: Cow<'a, str>,
    /// What follows the name, each as raw JSON.
    pub args: Vec<&'a RawValue>,
}

impl<'a> Args<'a> {
    /// Splits the data of an EVENT or BINARY_EVENT.
    ///
    /// # Errors
    /// When it is not an array that begins with a name, or is longer than [`ARGS_MAX`].
    pub fn event(data: &'a str) -> Result<Self, Error> {
        let mut args = elements(data, ARGS_MAX + 1)?;
        let first = if args.is_empty() { return Err(Error::BadPayload) } else { args.remove(0).get() };
        let name = match first.bytes().next() {
            Some(b'"') => string(first).ok_or(Error::BadJson)?,
            Some(b'-' | b'0'..=b'9') => Cow::Borrowed(first),
            _ => return Err(Error::BadPayload),
        };
        Ok(Self { name, args })
    }

    /// Splits the data of an ACK or BINARY_ACK, which has no name.
    ///
    /// # Errors
    /// When it is not an array, or is longer than [`ARGS_MAX`].
    pub fn ack(data: &'a str) -> Result<Vec<&'a RawValue>, Error> {
        Ok(elements(data, ARGS_MAX)?)
    }
}

impl From<ElementsError> for Error {
    fn from(error: ElementsError) -> Self {
        match error {
            ElementsError::NotAnArray => Self::BadPayload,
            ElementsError::TooMany => Self::TooManyArguments,
        }
    }
}
