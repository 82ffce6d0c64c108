//! Client tokens: JSON Web Tokens (RFC 7519), minted here or by the business system, verified when a client comes.
//!
//! What verifies a token is chosen by the namespace, never by the token: the algorithms are those of the settings, a key is
//! never fetched from where a token says, and a token that wants something understood which is not (`crit`) is refused.
//! Whether it is too old or too new is told by the clock of the node.

use std::fmt;
use std::sync::Arc;

pub use jsonwebtoken::Algorithm;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{AlgorithmFamily, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};
use tidings_model::{DeviceId, Platform, RoomName, Timestamp, UserId};
use tidings_outbound::hook::HookUrl;

use crate::jwks::Jwks;
use crate::permit::{META_BYTES_MAX, Pattern, Permit};

/// Longest token, in bytes.
pub const TOKEN_BYTES_MAX: usize = 8 << 10;

/// Most rooms, and most patterns of a kind, in a token.
pub const LIST_MAX: usize = 1_000;

/// How far the clocks of two machines may be apart, in milliseconds.
const LEEWAY_MS: u64 = 5_000;

/// The `kid` of tokens that were minted here.
const OWN: &str = "tidings";

/// How tokens of the business system are verified, as it is kept.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwt {
    /// Which algorithms they may have: the names of RFC 7518.
    pub algorithms: Vec<Algorithm>,
    /// The secret of HS256, HS384 or HS512.
    #[serde(default)]
    pub secret: Option<String>,
    /// The public key of all others, in PEM.
    #[serde(default)]
    pub public_key: Option<String>,
    /// Where the public keys of all others are, if there is a set of them.
    #[serde(default)]
    pub jwks_url: Option<String>,
    /// Whether that may have a private address.
    #[serde(default)]
    pub allow_private: bool,
    /// What `iss` must be.
    #[serde(default)]
    pub issuer: Option<String>,
    /// What `aud` must be, or have among others.
    #[serde(default)]
    pub audience: Option<String>,
}

impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the secret: it may be logged.
        f.debug_struct("Jwt").field("algorithms", &self.algorithms).finish_non_exhaustive()
    }
}

/// Secrets that are in every tutorial.
const WELL_KNOWN: [&str; 8] = [
    "your-256-bit-secret",
    "your-384-bit-secret",
    "your-512-bit-secret",
    "a-string-secret-at-least-256-bits-long",
    "a-valid-string-secret-that-is-at-least-512-bits-long-which-is-very-long",
    "your_jwt_secret",
    "changeme",
    "secret",
];

impl Jwt {
    /// What is wrong with it, by field.
    ///
    /// # Errors
    /// The name of the field, and what is wrong with it.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let Some(first) = self.algorithms.first() else {
            return Err(("algorithms", "must name at least one".to_owned()));
        };
        let family = first.family();
        if self.algorithms.iter().any(|algorithm| algorithm.family() != family) {
            return Err(("algorithms", "must be of one kind: one key verifies all of them".to_owned()));
        }
        if let Some(url) = &self.jwks_url {
            return self.check_set(url, family == AlgorithmFamily::Hmac);
        }
        match (family, &self.secret, &self.public_key) {
            (AlgorithmFamily::Hmac, Some(secret), None) => self.check_secret(secret),
            (AlgorithmFamily::Hmac, None, _) => {
                Err(("secret", "is required for HS256, HS384 and HS512".to_owned()))
            }
            (AlgorithmFamily::Hmac, Some(_), Some(_)) => {
                Err(("public_key", "does not go with HS256, HS384 and HS512".to_owned()))
            }
            (_, Some(_), _) => Err(("secret", format!("does not go with {first:?}"))),
            (_, None, None) => Err(("public_key", format!("or jwks_url is required for {first:?}"))),
            // It would be shown to whoever may read the rules.
            (_, None, Some(pem)) if pem.contains("PRIVATE KEY") => Err((
                "public_key",
                "is a private key: keep it to yourself, and send the public one".to_owned(),
            )),
            (_, None, Some(pem)) => match key_from_pem(family, pem) {
                Some(_) => Ok(()),
                None => Err(("public_key", format!("is not a public key for {first:?} in PEM"))),
            },
        }
    }

    fn check_set(&self, url: &str, hmac: bool) -> Result<(), (&'static str, String)> {
        if hmac {
            return Err((
                "jwks_url",
                "does not go with HS256, HS384 and HS512: a secret is in no set".to_owned(),
            ));
        }
        if self.secret.is_some() || self.public_key.is_some() {
            return Err(("jwks_url", "does not go with secret and public_key".to_owned()));
        }
        let url = HookUrl::parse(url).map_err(|why| ("jwks_url", why.to_string()))?;
        if !url.tls() && !self.allow_private {
            return Err((
                "jwks_url",
                "must begin with https://: whoever sits in between would choose the keys".to_owned(),
            ));
        }
        url.check_address(self.allow_private).map_err(|why| ("jwks_url", format!("must not be asked: {why}")))
    }

    /// Where its keys are, if they are elsewhere.
    pub(crate) fn set_url(&self) -> Option<HookUrl> {
        HookUrl::parse(self.jwks_url.as_deref()?).ok()
    }

    fn check_secret(&self, secret: &str) -> Result<(), (&'static str, String)> {
        // RFC 7518, section 3.2: as long as the hash, at least.
        let needed = self.algorithms.iter().map(|algorithm| match algorithm {
            Algorithm::HS512 => 64,
            Algorithm::HS384 => 48,
            _ => 32,
        });
        let needed = needed.max().unwrap_or(32);
        if WELL_KNOWN.iter().any(|known| secret.eq_ignore_ascii_case(known)) {
            return Err(("secret", "is one that everybody knows".to_owned()));
        }
        if secret.len() < needed {
            return Err(("secret", format!("has {} bytes, needs {needed} at least", secret.len())));
        }
        let first = secret.bytes().next();
        if secret.bytes().all(|byte| Some(byte) == first) {
            return Err(("secret", "is one character over and over".to_owned()));
        }
        Ok(())
    }
}

fn key_from_pem(family: AlgorithmFamily, pem: &str) -> Option<DecodingKey> {
    let read = match family {
        AlgorithmFamily::Rsa => DecodingKey::from_rsa_pem,
        AlgorithmFamily::Ec => DecodingKey::from_ec_pem,
        AlgorithmFamily::Ed => DecodingKey::from_ed_pem,
        AlgorithmFamily::Hmac => return None,
    };
    read(pem.as_bytes()).ok()
}

/// What a client is not told more of than this.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is none.
    #[error("a token is needed")]
    Missing,
    /// It is longer than any token.
    #[error("the token has more than {TOKEN_BYTES_MAX} bytes")]
    TooLong,
    /// The business system does not accept it.
    #[error("the business system does not accept the token")]
    Refused,
    /// It is no token.
    #[error("the token is not a JSON Web Token that can be understood")]
    Malformed,
    /// Its algorithm is not one that the namespace has, or nothing verifies it.
    #[error("the token has an algorithm that is not accepted here")]
    Algorithm,
    /// It was not made by whom it should be.
    #[error("the signature of the token does not match")]
    Signature,
    /// It is over.
    #[error("the token has expired")]
    Expired,
    /// It is for later.
    #[error("the token is not valid yet")]
    NotYet,
    /// It is from somebody else.
    #[error("the token has another issuer than this namespace accepts")]
    Issuer,
    /// It is for somebody else.
    #[error("the token is for another audience than this namespace")]
    Audience,
    /// It is signed with a key that nobody knows.
    #[error("the token is signed with a key that is not known here")]
    UnknownKey,
    /// The keys to verify it with cannot be had.
    #[error("the keys to verify tokens with cannot be fetched now; retry later")]
    NoKeys,
    /// It was revoked.
    #[error("the token was revoked")]
    Revoked,
    /// A claim is missing or not what it must be.
    #[error("the claim {0} of the token is missing or not what it must be")]
    Claim(&'static str),
}

/// What verifies the tokens of a namespace.
pub(crate) struct Verifier {
    own: DecodingKey,
    theirs: Option<(Theirs, Validation)>,
}

/// What verifies the tokens of a business system.
enum Theirs {
    Key(Arc<DecodingKey>),
    Set(Arc<Jwks>),
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").finish_non_exhaustive()
    }
}

#[derive(Serialize, Deserialize)]
struct Claims {
    sub: String,
    exp: Number,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<Number>,
    /// Of any type: what is no text names no token, and what is no number is no time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jti: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iat: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    platform: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    rooms: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    join: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    publish: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    presence: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    meta: Option<Value>,
}

/// Nothing of time is left to the library: it would ask the clock of the machine.
fn validation(algorithms: &[Algorithm]) -> Validation {
    let mut validation = Validation::new(algorithms.first().copied().unwrap_or_default());
    validation.algorithms = algorithms.to_vec();
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation
}

impl Verifier {
    /// `own` is the key of tokens that were minted here.
    pub(crate) fn new(own: &[u8; 32], jwt: Option<&Jwt>) -> Self {
        Self::after(own, jwt, None)
    }

    /// The keys that it has fetched.
    pub(crate) fn jwks(&self) -> Option<&Arc<Jwks>> {
        match &self.theirs {
            Some((Theirs::Set(jwks), _)) => Some(jwks),
            Some((Theirs::Key(_), _)) | None => None,
        }
    }

    /// The same in the place of another one, whose keys hold on where they come from the same place.
    pub(crate) fn after(own: &[u8; 32], jwt: Option<&Jwt>, before: Option<&Self>) -> Self {
        let theirs = jwt.and_then(|jwt| {
            let family = jwt.algorithms.first()?.family();
            let key = |key| Theirs::Key(Arc::new(key));
            let key = match (&jwt.secret, &jwt.public_key, jwt.set_url()) {
                (_, _, Some(url)) => {
                    let same = |jwks: &&Arc<Jwks>| jwks.is_of(&url, jwt.allow_private, &jwt.algorithms);
                    let known = before.and_then(Self::jwks).filter(same).cloned();
                    let new = || Jwks::new(url.clone(), jwt.allow_private, jwt.algorithms.clone());
                    Theirs::Set(known.unwrap_or_else(new))
                }
                (Some(secret), None, None) => key(DecodingKey::from_secret(secret.as_bytes()).ok()?),
                (_, Some(pem), None) => key(key_from_pem(family, pem)?),
                (None, None, None) => return None,
            };
            let mut validation = validation(&jwt.algorithms);
            if let Some(issuer) = &jwt.issuer {
                validation.set_issuer(&[issuer]);
                validation.required_spec_claims.insert("iss".to_owned());
            }
            if let Some(audience) = &jwt.audience {
                validation.set_audience(&[audience]);
                validation.validate_aud = true;
                validation.required_spec_claims.insert("aud".to_owned());
            }
            Some((key, validation))
        });
        let own = DecodingKey::from_secret(own).unwrap_or_else(|_| unreachable!("32 bytes are a secret"));
        Self { own, theirs }
    }

    /// Reads a token.
    pub(crate) fn verify(&self, token: &str, now: Timestamp) -> Result<Permit, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|why| of_library(&why))?;
        if header.crit.is_some() {
            return Err(TokenError::Malformed);
        }
        let claims = if header.kid.as_deref() == Some(OWN) {
            claims(token, &self.own, &validation(&[Algorithm::HS256]))
        } else {
            let (theirs, validation) = self.theirs.as_ref().ok_or(TokenError::Algorithm)?;
            if !validation.algorithms.contains(&header.alg) {
                return Err(TokenError::Algorithm);
            }
            let key = match theirs {
                Theirs::Key(key) => Arc::clone(key),
                Theirs::Set(jwks) => jwks.key(header.kid.as_deref(), header.alg)?,
            };
            claims(token, &key, validation)
        };
        permit(claims?, now)
    }
}

/// What a token says, if its signature is right.
fn claims(token: &str, key: &DecodingKey, validation: &Validation) -> Result<Claims, TokenError> {
    jsonwebtoken::decode(token, key, validation).map(|decoded| decoded.claims).map_err(|why| {
        let named = match why.kind() {
            ErrorKind::Json(_) => {
                let read = jsonwebtoken::decode(token, key, validation);
                read.ok().and_then(|decoded| unfit(&decoded.claims)).map(TokenError::Claim)
            }
            _ => None,
        };
        named.unwrap_or_else(|| of_library(&why))
    })
}

/// The first claim that is missing or of another type than it must be.
fn unfit(claims: &Map<String, Value>) -> Option<&'static str> {
    type Fits = fn(&Value) -> bool;
    let texts: Fits = |value| value.as_array().is_some_and(|list| list.iter().all(Value::is_string));
    let required: [(_, Fits); 2] = [("exp", Value::is_number), ("sub", Value::is_string)];
    let others: [(_, Fits); 7] = [
        ("nbf", |value| value.is_number() || value.is_null()),
        ("device", |value| value.is_string() || value.is_null()),
        ("platform", |value| value.is_string() || value.is_null()),
        ("rooms", texts),
        ("join", texts),
        ("publish", texts),
        ("presence", texts),
    ];
    let missing = required.into_iter().find(|(name, fits)| !claims.get(*name).is_some_and(fits));
    let wrong =
        || others.into_iter().find(|(name, fits)| claims.get(*name).is_some_and(|value| !fits(value)));
    missing.or_else(wrong).map(|(name, _)| name)
}

fn of_library(why: &jsonwebtoken::errors::Error) -> TokenError {
    match why.kind() {
        ErrorKind::InvalidAlgorithm
        | ErrorKind::InvalidAlgorithmName
        | ErrorKind::MissingAlgorithm
        | ErrorKind::UnsupportedAlgorithm => TokenError::Algorithm,
        ErrorKind::InvalidSignature => TokenError::Signature,
        ErrorKind::InvalidIssuer => TokenError::Issuer,
        ErrorKind::InvalidAudience => TokenError::Audience,
        ErrorKind::MissingRequiredClaim(claim) if claim == "iss" => TokenError::Issuer,
        ErrorKind::MissingRequiredClaim(claim) if claim == "aud" => TokenError::Audience,
        _ => TokenError::Malformed,
    }
}

fn permit(claims: Claims, now: Timestamp) -> Result<Permit, TokenError> {
    let ms = |date: &Number, claim| {
        let seconds = date.as_f64().filter(|seconds| (0.0..=1e14).contains(seconds));
        seconds.map(|seconds| (seconds * 1_000.0) as u64).ok_or(TokenError::Claim(claim))
    };
    let expires_at = Timestamp(ms(&claims.exp, "exp")?);
    if now.0 >= expires_at.0.saturating_add(LEEWAY_MS) {
        return Err(TokenError::Expired);
    }
    if let Some(begins) = &claims.nbf
        && ms(begins, "nbf")? > now.0.saturating_add(LEEWAY_MS)
    {
        return Err(TokenError::NotYet);
    }
    fn each<T>(
        list: &[String],
        claim: &'static str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, TokenError> {
        let read =
            || (list.len() <= LIST_MAX).then(|| list.iter().map(|text| read(text)).collect()).flatten();
        read().ok_or(TokenError::Claim(claim))
    }
    Ok(Permit {
        user: UserId::new(&claims.sub).map_err(|_| TokenError::Claim("sub"))?,
        device: claims
            .device
            .map(|device| DeviceId::new(&device).map_err(|_| TokenError::Claim("device")))
            .transpose()?,
        platform: claims
            .platform
            .map(|platform| Platform::parse(&platform).ok_or(TokenError::Claim("platform")))
            .transpose()?,
        rooms: each(&claims.rooms, "rooms", |text| RoomName::new(text).ok())?,
        join: each(&claims.join, "join", |text| Pattern::new(text).ok())?,
        publish: each(&claims.publish, "publish", |text| Pattern::new(text).ok())?,
        presence: claims
            .presence
            .map(|patterns| each(&patterns, "presence", |text| Pattern::new(text).ok()))
            .transpose()?,
        meta: match claims.meta.map(|meta| meta.to_string()) {
            Some(meta) if meta.len() > META_BYTES_MAX => return Err(TokenError::Claim("meta")),
            meta => meta,
        },
        // The leeway is for clocks, and not for whoever was let in by one: it ends a little later, all in all.
        expires_at: Timestamp(expires_at.0.saturating_add(LEEWAY_MS)),
        jti: claims.jti.as_ref().and_then(|jti| jti.as_str()).map(Into::into),
        issued_at: Timestamp(
            claims.iat.as_ref().and_then(Value::as_f64).map_or(0, |iat| (iat.max(0.0) * 1_000.0) as u64),
        ),
    })
}

/// Makes a token that a namespace verifies without further set-up. What the permit says of time is its end.
pub(crate) fn mint(own: &[u8; 32], permit: &Permit) -> Option<String> {
    let strings = |patterns: &[Pattern]| patterns.iter().cloned().map(String::from).collect();
    let claims = Claims {
        sub: permit.user.to_string(),
        exp: (permit.expires_at.0 / 1_000).into(),
        nbf: None,
        jti: permit.jti.as_deref().map(Into::into),
        // With its milliseconds: what was issued before a time is told apart from what was not.
        iat: Some((permit.issued_at.0 as f64 / 1_000.0).into()),
        device: permit.device.as_ref().map(ToString::to_string),
        platform: permit.platform.map(|platform| platform.as_str().to_owned()),
        rooms: permit.rooms.iter().map(ToString::to_string).collect(),
        join: strings(&permit.join),
        publish: strings(&permit.publish),
        presence: permit.presence.as_deref().map(strings),
        meta: permit.meta.as_deref().and_then(|meta| serde_json::from_str(meta).ok()),
    };
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some(OWN.to_owned());
    let key = EncodingKey::from_secret(own).ok()?;
    jsonwebtoken::encode(&header, &claims, &key).ok()
}
