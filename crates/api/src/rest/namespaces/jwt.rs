//! How the tokens of a namespace's business system are verified.

use serde::{Deserialize, Serialize};
use tidings_model::ErrorCode;
use tidings_node::token::{Algorithm, Jwt};
use utoipa::ToSchema;

use crate::shape::{Shape, shown};
use crate::{Problem, openapi};

/// What a secret is shown as; written, it stands for the one that there was.
const HIDDEN: &str = "***";

/// Longest key, in bytes.
const KEY_BYTES_MAX: usize = 8_192;

pub(super) const SHAPE: Shape = Shape::Object(&[
    ("algorithms", Shape::Texts),
    ("secret", Shape::Text),
    ("public_key", Shape::Text),
    ("jwks_url", Shape::Text),
    ("allow_private", Shape::Flag),
    ("issuer", Shape::Text),
    ("audience", Shape::Text),
]);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JwtBody {
    algorithms: Option<Vec<String>>,
    secret: Option<String>,
    public_key: Option<String>,
    jwks_url: Option<String>,
    allow_private: Option<bool>,
    issuer: Option<String>,
    audience: Option<String>,
}

/// How tokens are verified.
#[derive(Serialize, ToSchema)]
#[schema(as = NamespaceJwt)]
pub(super) struct JwtShown {
    #[schema(value_type = Vec<openapi::AlgorithmWord>)]
    algorithms: Vec<String>,
    /// Always `***`.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<String>,
    /// Where the keys are fetched from.
    #[serde(skip_serializing_if = "Option::is_none")]
    jwks_url: Option<String>,
    /// Whether that may have a private address.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    allow_private: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audience: Option<String>,
}

impl JwtShown {
    pub(super) fn of(jwt: &Jwt) -> Self {
        Self {
            algorithms: jwt.algorithms.iter().map(|algorithm| format!("{algorithm:?}")).collect(),
            secret: jwt.secret.as_ref().map(|_| HIDDEN),
            public_key: jwt.public_key.clone(),
            jwks_url: jwt.jwks_url.clone(),
            allow_private: jwt.allow_private,
            issuer: jwt.issuer.clone(),
            audience: jwt.audience.clone(),
        }
    }
}

impl JwtBody {
    pub(super) fn check(&self, before: Option<&Jwt>, wrong: &mut impl FnMut(&str, String)) -> Option<Jwt> {
        let words = self.algorithms.as_deref().unwrap_or_default();
        let mut algorithms = Vec::new();
        for (index, word) in words.iter().enumerate() {
            match word.parse::<Algorithm>() {
                Ok(algorithm) => algorithms.push(algorithm),
                Err(_) => {
                    let known = "HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 or EdDSA";
                    let message = format!("is {}, must be {known}", shown(word));
                    wrong(&format!("auth.jwt.algorithms[{index}]"), message);
                }
            }
        }
        if algorithms.len() < words.len() {
            return None;
        }
        for (field, text) in [
            ("secret", &self.secret),
            ("public_key", &self.public_key),
            ("jwks_url", &self.jwks_url),
            ("issuer", &self.issuer),
            ("audience", &self.audience),
        ] {
            let bytes = text.as_ref().map_or(1, String::len);
            if !(1..=KEY_BYTES_MAX).contains(&bytes) {
                let message = format!("has {bytes} bytes, must have 1 to {KEY_BYTES_MAX}");
                wrong(&format!("auth.jwt.{field}"), message);
                return None;
            }
        }
        let secret = match self.secret.as_deref() {
            Some(HIDDEN) => before.and_then(|before| before.secret.clone()).or_else(|| self.secret.clone()),
            _ => self.secret.clone(),
        };
        let jwt = Jwt {
            algorithms,
            secret,
            public_key: self.public_key.clone(),
            jwks_url: self.jwks_url.clone(),
            allow_private: self.allow_private.unwrap_or(false),
            issuer: self.issuer.clone(),
            audience: self.audience.clone(),
        };
        if let Err((field, message)) = jwt.check() {
            wrong(&format!("auth.jwt.{field}"), message);
            return None;
        }
        Some(jwt)
    }
}

/// Refuses keys from a private address, unless they came from there before: what is inside is the operator's to open.
pub(super) fn need_public(jwt: Option<&Jwt>, before: Option<&Jwt>) -> Result<(), Problem> {
    let same =
        |jwt: &Jwt| before.is_some_and(|before| before.allow_private && before.jwks_url == jwt.jwks_url);
    if jwt.is_some_and(|jwt| jwt.allow_private && !same(jwt)) {
        return Err(Problem::field(ErrorCode::FORBIDDEN, "auth.jwt.allow_private", "needs the admin key"));
    }
    Ok(())
}
