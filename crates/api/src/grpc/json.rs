//! Messages as the JSON that REST speaks. Most of it is derived for the generated types; here is what their fields and
//! names do not say.

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use tidings_model::ErrorCode;

use super::pb;
use super::pb::push_result::Outcome;
use crate::Problem;

/// What stands between a field and what is wrong with it.
const NOT_JSON: &str = " is not JSON: ";

/// A message as JSON.
///
/// # Errors
/// When a field that is to be JSON is not.
pub(super) fn of(message: &impl Serialize) -> Result<String, Problem> {
    serde_json::to_string(message).map_err(|why| {
        let why = why.to_string();
        let (field, why) = why.split_once(NOT_JSON).unwrap_or(("", &why));
        Problem::field(ErrorCode::INVALID_REQUEST, field, format!("is not JSON: {why}"))
    })
}

macro_rules! raw_fields {
    ($($name:ident = $field:literal;)*) => {
        /// JSON text that goes in as it stands, for each field that is that.
        pub(crate) mod raw {
            $(pub(crate) fn $name<S: serde::Serializer>(text: &Option<String>, to: S) -> Result<S::Ok, S::Error> {
                super::raw_field($field, text.as_deref(), to)
            })*
        }
    };
}

// As `build.rs` names them, and as errors do.
raw_fields! {
    data = "data";
    apns = "offline.apns";
    fcm = "offline.fcm";
    webpush = "offline.webpush";
    meta = "meta";
    json = "json";
}

fn raw_field<S: Serializer>(field: &str, text: Option<&str>, serializer: S) -> Result<S::Ok, S::Error> {
    let json = text.map(serde_json::from_str::<&RawValue>).transpose();
    json.map_err(|why| S::Error::custom(format_args!("{field}{NOT_JSON}{why}")))?.serialize(serializer)
}

/// A list that may be missing.
pub(crate) fn patterns<S: Serializer>(said: &Option<pb::Patterns>, to: S) -> Result<S::Ok, S::Error> {
    said.as_ref().map(|said| &said.patterns).serialize(to)
}

/// JSON comes out as the text that it is.
pub(crate) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Box::<RawValue>::deserialize(deserializer)?.get().to_owned())
}

/// A namespace: what everybody asks for by itself, and all of it.
pub(crate) struct Whole(pb::Namespace);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Asked {
            name: String,
            title: String,
            state: String,
        }
        let json = text(deserializer)?;
        let Asked { name, title, state } = serde_json::from_str(&json).map_err(D::Error::custom)?;
        Ok(Self(pb::Namespace { name, title, state, json }))
    }
}

impl From<Whole> for pb::Namespace {
    fn from(Whole(namespace): Whole) -> Self {
        namespace
    }
}

/// What became of an entry of a batch.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Became {
    Refused { error: pb::Refusal },
    Accepted(pb::PushAnswer),
}

impl From<Became> for pb::PushResult {
    fn from(became: Became) -> Self {
        let outcome = match became {
            Became::Refused { error } => Outcome::Error(error),
            Became::Accepted(answer) => Outcome::Accepted(answer),
        };
        Self { outcome: Some(outcome) }
    }
}
