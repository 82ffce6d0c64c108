//! What a client calls, and the business system answers.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{AskError, Question};
use crate::Node;
use crate::relay::Speaker;

/// Longest name of what is called, in bytes.
pub const METHOD_BYTES_MAX: usize = 255;

/// Longest code of an error that the business system answers with, in bytes.
const CODE_BYTES_MAX: usize = 64;

/// Longest text of one, in characters.
const MESSAGE_CHARS_MAX: usize = 1_000;

/// What is asked.
#[derive(Serialize)]
struct Asked<'a> {
    #[serde(flatten)]
    who: super::publish::Who<'a>,
    method: &'a str,
    data: &'a RawValue,
}

/// What is answered: one of the two.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    data: Option<Box<RawValue>>,
    error: Option<SaidError>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SaidError {
    code: String,
    #[serde(default)]
    message: String,
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Called {
    /// What the business system answered: JSON.
    Data(String),
    /// It says what is wrong, in its own words.
    Error {
        /// A word for it.
        code: String,
        /// What it is.
        message: String,
    },
}

fn read(body: &[u8]) -> Result<Called, String> {
    let said: Said = serde_json::from_slice(body).map_err(|why| why.to_string())?;
    match (said.data, said.error) {
        (_, Some(SaidError { code, message })) => {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
            if code.is_empty() || code.len() > CODE_BYTES_MAX || !code.bytes().all(plain) {
                return Err(format!("error.code must have 1 to {CODE_BYTES_MAX} letters, digits, _, - or ."));
            }
            Ok(Called::Error { code, message: message.chars().take(MESSAGE_CHARS_MAX).collect() })
        }
        (Some(data), None) => Ok(Called::Data(String::from(<Box<str>>::from(data)))),
        (None, None) => Ok(Called::Data("null".to_owned())),
    }
}

impl Node {
    /// Asks the business system what a client wants to know. `data` is JSON.
    ///
    /// # Errors
    /// [`AskError`] when there is no answer.
    pub async fn call(
        self: &Arc<Self>,
        speaker: &Speaker,
        method: &str,
        data: &str,
    ) -> Result<Called, AskError> {
        let namespace = &speaker.namespace;
        let askers = namespace.askers();
        let asker = askers.of(Question::Rpc).ok_or(AskError::Nobody(Question::Rpc))?;
        let data: &RawValue = serde_json::from_str(data).map_err(|_| AskError::NotUnderstood)?;
        let asked = Asked { who: speaker.who(), method, data };
        let asked = serde_json::to_string(&asked).map_err(|_| AskError::NotUnderstood)?;
        let body = self.question(asker, &namespace.name, Question::Rpc, asked).await?;
        read(&body).map_err(|why| {
            tracing::error!(namespace = %namespace.name, error = %why, "the rpc hook answered what is not understood");
            AskError::NotUnderstood
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_data_or_an_error() {
        let error =
            |code: &str, message: &str| Called::Error { code: code.to_owned(), message: message.to_owned() };
        for (answer, expected) in [
            (r#"{"data":{"n": 1.50}}"#, Some(Called::Data(r#"{"n": 1.50}"#.to_owned()))),
            (r#"{"data":null}"#, Some(Called::Data("null".to_owned()))),
            ("{}", Some(Called::Data("null".to_owned()))),
            (r#"{"error":{"code":"no_such_order"}}"#, Some(error("no_such_order", ""))),
            (r#"{"error":{"code":"x","message":"m"},"data":1}"#, Some(error("x", "m"))),
            (r#"{"error":{"code":""}}"#, None),
            (r#"{"error":{"code":"a b"}}"#, None),
            (r#"{"error":"x"}"#, None),
            (r#"{"result":1}"#, None),
            ("", None),
            ("[]", None),
        ] {
            assert_eq!(read(answer.as_bytes()).ok(), expected, "{answer}");
        }
    }
}
