//! `origins` of a namespace: which pages may connect, and read what is answered of it.

use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, VARY};
use http::{HeaderMap, HeaderValue};
use tidings_model::limit::ORIGINS_MAX;
use tidings_model::{Origin, Origins};

use crate::shape::shown;

/// Reads a list; what is wrong is told to `wrong`, by field.
pub(super) fn check(texts: &[String], mut wrong: impl FnMut(&str, String)) -> Origins {
    if texts.len() > ORIGINS_MAX {
        wrong("origins", format!("has {} entries, at most {ORIGINS_MAX} are allowed", texts.len()));
        return Origins::default();
    }
    let mut origins = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        match Origin::parse(text) {
            Some(origin) => origins.push(origin),
            None => wrong(
                &format!("origins[{index}]"),
                format!(
                    "is {}, must be an origin, as in \"https://app.example.com\", \"https://*.example.com\" or \
                     \"http://localhost:3000\", or be * or null",
                    shown(text)
                ),
            ),
        }
    }
    Origins::new(origins)
}

/// The list as it is answered.
pub(super) fn show(origins: &Origins) -> Vec<String> {
    origins.list().iter().map(Origin::to_string).collect()
}

/// Tells a browser whether the page that asked may read an answer that is about a namespace with this list.
pub(crate) fn answer(origins: &Origins, asked: Option<&HeaderValue>, headers: &mut HeaderMap) {
    if origins.is_any() {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        return;
    }
    if let Some(asked) = asked.filter(|asked| asked.to_str().is_ok_and(|page| origins.allow(page))) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, asked.clone());
    }
    headers.append(VARY, HeaderValue::from_static("Origin"));
}
