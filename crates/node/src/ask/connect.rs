//! Whether a client may connect, and as whom.
//!
//! Fail closed: whoever is not let in by an answer that is understood stays outside.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use tidings_model::{DeviceId, Platform, RoomName, Timestamp, UserId, duration};
use tidings_outbound::hook::Failure;

use super::{AskError, Question};
use crate::connect::{Claim, ConnectError};
use crate::permit::{META_BYTES_MAX, Pattern, Permit};
use crate::token::{LIST_MAX, TokenError};
use crate::{Namespace, Node};

/// Longest reason that a client is told, in characters.
const REASON_CHARS_MAX: usize = 200;

/// What is asked. What is not known is left out.
#[derive(Serialize)]
struct Asked<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<&'a str>,
    platform: &'static str,
    /// Where it is, as far as trusted proxies say.
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    /// Whether the user is the one of a token that was verified here.
    verified: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
}

/// What is answered, as it comes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    allow: bool,
    reason: Option<String>,
    user: Option<String>,
    device: Option<String>,
    platform: Option<String>,
    rooms: Option<Vec<String>>,
    join: Option<Vec<String>>,
    publish: Option<Vec<String>>,
    presence: Option<Vec<String>>,
    meta: Option<Box<RawValue>>,
    expires_in: Option<String>,
    cache_for: Option<String>,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may not connect, because of this.
    Denied(String),
    /// It may.
    Allowed(Box<Allowed>),
}

/// What a client that may connect is, and may. What was not said is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Allowed {
    user: Option<UserId>,
    device: Option<DeviceId>,
    platform: Option<Platform>,
    rooms: Option<Vec<RoomName>>,
    join: Option<Vec<Pattern>>,
    publish: Option<Vec<Pattern>>,
    presence: Option<Vec<Pattern>>,
    meta: Option<String>,
    issued_at: Timestamp,
    expires_at: Timestamp,
}

/// Reads an answer that came now. With it, for how long it may be kept.
///
/// # Errors
/// What is wrong with it, for the log.
fn read(body: &[u8], now: Timestamp) -> Result<(Verdict, Duration), String> {
    let said: Said = serde_json::from_slice(body).map_err(|why| why.to_string())?;
    let time = |field: &str, text: Option<&str>| {
        text.map(|text| duration::parse(text).map_err(|why| format!("{field} {why}"))).transpose()
    };
    let holds = time("cache_for", said.cache_for.as_deref())?.unwrap_or_default();
    if !said.allow {
        let reason =
            said.reason.unwrap_or_else(|| "the business system does not let this client in".to_owned());
        let reason = reason.chars().filter(|char| !char.is_control()).take(REASON_CHARS_MAX).collect();
        return Ok((Verdict::Denied(reason), holds));
    }
    let expires_at = match time("expires_in", said.expires_in.as_deref())? {
        Some(Duration::ZERO) => return Err("expires_in must be more than 0s".to_owned()),
        Some(left) => now.after(left),
        None => Timestamp::NEVER,
    };
    let meta = said.meta.map(|meta| String::from(<Box<str>>::from(meta)));
    if meta.as_ref().is_some_and(|meta| meta.len() > META_BYTES_MAX) {
        return Err(format!("meta has more than {META_BYTES_MAX} bytes"));
    }
    let allowed = Allowed {
        user: name("user", said.user, UserId::new)?,
        device: name("device", said.device, DeviceId::new)?,
        platform: match said.platform {
            Some(text) => Some(Platform::parse(&text).ok_or("platform is none")?),
            None => None,
        },
        rooms: names("rooms", said.rooms, RoomName::new)?,
        join: names("join", said.join, Pattern::new)?,
        publish: names("publish", said.publish, Pattern::new)?,
        presence: names("presence", said.presence, Pattern::new)?,
        meta,
        issued_at: now,
        expires_at,
    };
    Ok((Verdict::Allowed(Box::new(allowed)), holds))
}

fn name<T, E: std::fmt::Display>(
    field: &str,
    text: Option<String>,
    read: impl Fn(&str) -> Result<T, E>,
) -> Result<Option<T>, String> {
    text.map(|text| read(&text).map_err(|why| format!("{field} {why}"))).transpose()
}

fn names<T, E: std::fmt::Display>(
    field: &str,
    texts: Option<Vec<String>>,
    read: impl Fn(&str) -> Result<T, E>,
) -> Result<Option<Vec<T>>, String> {
    let Some(texts) = texts else { return Ok(None) };
    if texts.len() > LIST_MAX {
        return Err(format!("{field} has {} entries, at most {LIST_MAX} are allowed", texts.len()));
    }
    let read = |(index, text): (usize, &String)| read(text).map_err(|why| format!("{field}[{index}] {why}"));
    texts.iter().enumerate().map(read).collect::<Result<_, _>>().map(Some)
}

impl Allowed {
    /// The permit of a client that claims to be this, and whose token, if it was verified here, says that. What the hook
    /// says holds, then what the token says, then what the client says.
    fn permit(&self, claim: &Claim, token: Option<&Permit>) -> Result<Permit, ConnectError> {
        let user = self.user.clone().or_else(|| token.map(|token| token.user.clone()));
        let user = user.or_else(|| claim.user.clone()).ok_or(ConnectError::NoUser)?;
        if token.is_some_and(|token| token.user != user) {
            return Err(ConnectError::NotTheTokens("user"));
        }
        let of_token = |list: fn(&Permit) -> &Vec<Pattern>| token.map(list).cloned().unwrap_or_default();
        Ok(Permit {
            user,
            device: self.device.clone().or_else(|| token.and_then(|token| token.device.clone())),
            platform: self.platform.or_else(|| token.and_then(|token| token.platform)),
            rooms: match &self.rooms {
                Some(rooms) => rooms.clone(),
                None => token.map(|token| token.rooms.clone()).unwrap_or_default(),
            },
            join: self.join.clone().unwrap_or_else(|| of_token(|token| &token.join)),
            publish: self.publish.clone().unwrap_or_else(|| of_token(|token| &token.publish)),
            presence: self.presence.clone().or_else(|| token.and_then(|token| token.presence.clone())),
            meta: self.meta.clone().or_else(|| token.and_then(|token| token.meta.clone())),
            jti: token.and_then(|token| token.jti.clone()),
            issued_at: token.map_or(self.issued_at, |token| token.issued_at),
            expires_at: token.map_or(self.expires_at, |token| token.expires_at.min(self.expires_at)),
        })
    }
}

impl Node {
    /// Asks who a client is, whose token, if there is one that was verified here, says that.
    ///
    /// # Errors
    /// [`ConnectError`] when it is not let in, or there is no answer.
    pub(crate) async fn ask_who(
        self: &Arc<Self>,
        namespace: &Namespace,
        claim: &Claim,
        token: Option<&Permit>,
    ) -> Result<Permit, ConnectError> {
        let askers = namespace.askers();
        let asker = askers.of(Question::Connect).ok_or(AskError::Nobody(Question::Connect))?;
        let asked = Asked {
            user: token.map_or(claim.user.as_ref(), |token| Some(&token.user)).map(UserId::as_str),
            device: token
                .and_then(|token| token.device.as_ref())
                .or(claim.device.as_ref())
                .map(DeviceId::as_str),
            platform: token.and_then(|token| token.platform).unwrap_or(claim.platform).as_str(),
            address: claim.from.ip(),
            verified: token.is_some(),
            token: claim.token.as_deref(),
        };
        let data = serde_json::to_string(&asked).map_err(|_| AskError::NotUnderstood)?;
        let digest: [u8; 32] = Sha256::digest(&data).into();
        let known = asker.verdicts().get(&digest, self.now());
        let verdict = match known {
            Some(verdict) => verdict,
            None => {
                let body = match self.question(asker, &namespace.name, Question::Connect, data).await {
                    Err(AskError::Failed(Failure::Refused(401))) => return Err(TokenError::Refused.into()),
                    Err(AskError::Failed(Failure::Refused(403))) => {
                        let why = "the business system does not let this client in";
                        return Err(ConnectError::Denied(why.to_owned()));
                    }
                    body => body?,
                };
                let (verdict, holds) = read(&body, self.now()).map_err(|why| {
                    tracing::error!(namespace = %namespace.name, error = %why, "the connect hook answered what is not understood; a client was refused");
                    AskError::NotUnderstood
                })?;
                let verdict = Arc::new(verdict);
                asker.verdicts().learn(digest, Arc::clone(&verdict), holds, self.now());
                verdict
            }
        };
        match &*verdict {
            Verdict::Denied(why) => Err(ConnectError::Denied(why.clone())),
            Verdict::Allowed(allowed) => {
                let permit = allowed.permit(claim, token)?;
                if permit.is_over(self.now()) { Err(TokenError::Expired.into()) } else { Ok(permit) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    #[test]
    fn only_what_is_understood_lets_anybody_in() {
        let allowed = Allowed {
            user: None,
            device: None,
            platform: None,
            rooms: None,
            join: None,
            publish: None,
            presence: None,
            meta: None,
            issued_at: NOW,
            expires_at: Timestamp::NEVER,
        };
        let ok =
            |allowed: Allowed, holds| Ok((Verdict::Allowed(Box::new(allowed)), Duration::from_secs(holds)));
        let full = Allowed {
            user: UserId::new("ann").ok(),
            device: DeviceId::new("d1").ok(),
            platform: Some(Platform::Ios),
            rooms: Some(vec![RoomName::new("news").unwrap()]),
            join: Some(vec![Pattern::new("score.*").unwrap()]),
            publish: Some(Vec::new()),
            presence: None,
            meta: Some(r#"{"n": 1.50}"#.to_owned()),
            issued_at: NOW,
            expires_at: NOW.after(Duration::from_secs(3_600)),
        };
        for (answer, expected) in [
            (r#"{"allow":true}"#, ok(allowed.clone(), 0)),
            (r#"{"allow":true,"cache_for":"30s"}"#, ok(allowed, 30)),
            (
                r#"{"allow":true,"user":"ann","device":"d1","platform":"ios","rooms":["news"],"join":["score.*"],
                    "publish":[],"meta":{"n": 1.50},"expires_in":"1h"}"#,
                ok(full, 0),
            ),
            (
                r#"{"allow":false,"reason":"paid\nnothing"}"#,
                Ok((Verdict::Denied("paidnothing".to_owned()), Duration::ZERO)),
            ),
            ("{}", Err("missing field `allow`")),
            ("", Err("EOF")),
            ("<html>", Err("expected value")),
            (r#"{"allow":"yes"}"#, Err("invalid type")),
            (r#"{"allow":true,"expire_in":"1h"}"#, Err("unknown field `expire_in`")),
            (r#"{"allow":true,"expires_in":"soon"}"#, Err("expires_in must be")),
            (r#"{"allow":true,"expires_in":"0s"}"#, Err("expires_in must be more")),
            (r#"{"allow":true,"user":""}"#, Err("user ")),
            (r#"{"allow":true,"rooms":["a","b\n"]}"#, Err("rooms[1] ")),
            (r#"{"allow":true,"platform":"fridge"}"#, Err("platform is none")),
        ] {
            match (read(answer.as_bytes(), NOW), expected) {
                (Ok(read), Ok(expected)) => assert_eq!(read, expected, "{answer}"),
                (Err(why), Err(expected)) => assert!(why.contains(expected), "{answer}: {why}"),
                (read, expected) => panic!("{answer}: {read:?}, not {expected:?}"),
            }
        }
        let long = format!(r#"{{"allow":true,"meta":"{}"}}"#, "x".repeat(META_BYTES_MAX));
        assert!(read(long.as_bytes(), NOW).unwrap_err().starts_with("meta has more than"));
        let many = format!(r#"{{"allow":true,"rooms":[{}"r"]}}"#, r#""r","#.repeat(LIST_MAX));
        assert!(read(many.as_bytes(), NOW).unwrap_err().starts_with("rooms has 1001 entries"));
    }
}
