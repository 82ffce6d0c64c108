//! [`Origins`] as they are kept: a list of texts.

use serde::{Deserialize, Deserializer, Serializer, de::Error};
use tidings_model::{Origin, Origins};

pub(super) fn serialize<S: Serializer>(origins: &Origins, to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(origins.list().iter().map(Origin::to_string))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Origins, D::Error> {
    let texts = Vec::<String>::deserialize(from)?;
    let read = |text: &String| {
        Origin::parse(text).ok_or_else(|| D::Error::custom(format!("there is no origin {text:?}")))
    };
    texts.iter().map(read).collect::<Result<_, _>>().map(Origins::new)
}
