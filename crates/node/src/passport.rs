//! Who a client of message-push is: its passport service is asked whose an access token is, in the words in which its gateway asked.
//!
//! What it answers holds for one connection, and instead of the rules of the namespace. The address that is called is the
//! configured one, no redirect leads elsewhere, and an answer has a limit and three seconds; so has the wait for a turn.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tidings_model::{Timestamp, UserId};
use tidings_outbound::hook::{Destination, Exchange, Failure, HookUrl, Told};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::Node;
use crate::ask::breaker::Breaker;
use crate::permit::Permit;

/// Most questions that are asked at once.
const AT_ONCE_MAX: usize = 64;

/// How long an answer may take, and the wait for a turn.
const PATIENCE: Duration = Duration::from_secs(3);

/// What its answers have as their code when they answer.
const OK: i64 = 1;

/// A passport service.
pub struct Passport {
    url: HookUrl,
    exchange: Exchange,
    turns: Semaphore,
    breaker: Mutex<Breaker>,
}

/// What is asked.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Asked<'a> {
    /// What the client has shown.
    pub access_token: &'a str,
    /// `pc` or `mobile`.
    #[serde(rename = "platForm")]
    pub platform: &'a str,
    /// Which application it is of.
    pub app_id: &'a str,
}

/// Why nobody is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PassportError {
    /// The token is nobody's.
    #[error("the token is nobody's")]
    Nobody,
    /// Too much is asked at once.
    #[error("too much is asked at once")]
    Busy,
    /// The service has failed and is left alone for a while.
    #[error("the service is left alone for a while, because it has failed")]
    Resting,
    /// There is no answer.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The answer is none.
    #[error("the answer is not understood")]
    NotUnderstood,
}

#[derive(Deserialize)]
struct Answer<'a> {
    code: Option<i64>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Session<'a> {
    #[serde(borrow)]
    uid: Option<&'a RawValue>,
}

/// Reads an answer: whose the token is.
fn read(body: &[u8]) -> Result<UserId, PassportError> {
    let answer: Answer<'_> = serde_json::from_slice(body).map_err(|_| PassportError::NotUnderstood)?;
    if answer.code != Some(OK) {
        return Err(PassportError::Nobody);
    }
    let data = answer.data.ok_or(PassportError::Nobody)?;
    let session: Session<'_> = serde_json::from_str(data.get()).map_err(|_| PassportError::NotUnderstood)?;
    let uid = session.uid.map_or("null", RawValue::get);
    // Some services have numbers for their users, which are text here.
    let text = match uid.as_bytes().first() {
        Some(b'"') => serde_json::from_str(uid).map_err(|_| PassportError::NotUnderstood)?,
        Some(b'0'..=b'9') => uid.to_owned(),
        Some(b'n') => return Err(PassportError::Nobody),
        Some(_) | None => return Err(PassportError::NotUnderstood),
    };
    match text.as_str() {
        "" => Err(PassportError::Nobody),
        text => UserId::new(text).map_err(|_| PassportError::NotUnderstood),
    }
}

impl fmt::Debug for Passport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passport").finish_non_exhaustive()
    }
}

impl Passport {
    async fn ask(&self, node: &Node, told: &Told) -> Result<Bytes, PassportError> {
        let turn = timeout(PATIENCE, self.turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(PassportError::Busy) };
        let admitted = self.breaker().admit(node.now()).map_err(|_| PassportError::Resting)?;
        match self.exchange.ask(told, node.now()).await {
            Ok(answered) => {
                self.breaker().succeeded();
                Ok(answered.body)
            }
            // Whoever says no is well. Some services say by their status that a token is nobody's.
            Err(Failure::Refused(status @ 400..=499)) => {
                self.breaker().succeeded();
                match status {
                    401 | 403 | 404 => Err(PassportError::Nobody),
                    status => Err(Failure::Refused(status).into()),
                }
            }
            Err(why) => {
                if let Some(rests) = self.breaker().failed(admitted, node.now()) {
                    tracing::warn!(url = %self.url, error = %why, left_alone_ms = rests.as_millis() as u64, "the passport service does not answer; it is left alone for a while, and clients are refused");
                }
                Err(why.into())
            }
        }
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    /// A passport service at a URL, which may be a private address or not.
    #[must_use]
    pub fn passport(&self, url: HookUrl, allow_private: bool) -> Passport {
        let destination = Destination { url: url.clone(), secret: None, allow_private };
        Passport {
            url,
            exchange: Exchange::new(self.outbound.clone(), destination, PATIENCE),
            turns: Semaphore::new(AT_ONCE_MAX),
            breaker: Mutex::default(),
        }
    }

    /// Asks whose a token is. What comes of it is a permit to be that user, and to join nothing by itself.
    ///
    /// # Errors
    /// [`PassportError`] says why nobody is let in.
    pub async fn ask_passport(
        self: &Arc<Self>,
        passport: &Arc<Passport>,
        asked: Asked<'_>,
    ) -> Result<Permit, PassportError> {
        let now = self.clock.now();
        let body = serde_json::to_vec(&asked).map_err(|_| PassportError::NotUnderstood)?;
        let told = Told { id: self.ids.next(now).to_string(), body: Bytes::from(body) };
        let (node, passport) = (Arc::clone(self), Arc::clone(passport));
        // The client may go away meanwhile, and how it went still counts.
        let asking = self.runtime.spawn(async move { passport.ask(&node, &told).await });
        let user = read(&asking.await.unwrap_or(Err(PassportError::Busy))?)?;
        Ok(Permit {
            user,
            device: None,
            platform: None,
            rooms: Vec::new(),
            join: Vec::new(),
            publish: Vec::new(),
            presence: None,
            meta: None,
            expires_at: Timestamp::NEVER,
            jti: None,
            issued_at: now,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_understood_names_anybody() {
        let user = |name| Ok(UserId::new(name).unwrap());
        for (answer, expected) in [
            (r#"{"code":1,"msg":"OK","data":{"uid":"42","nickname":"n"}}"#, user("42")),
            (r#"{"code":1,"data":{"uid":42}}"#, user("42")),
            (r#"{"code":0,"msg":"no","data":{"uid":"42"}}"#, Err(PassportError::Nobody)),
            (r#"{"data":{"uid":"42"}}"#, Err(PassportError::Nobody)),
            (r#"{"code":1}"#, Err(PassportError::Nobody)),
            (r#"{"code":1,"data":null}"#, Err(PassportError::Nobody)),
            (r#"{"code":1,"data":{}}"#, Err(PassportError::Nobody)),
            (r#"{"code":1,"data":{"uid":null}}"#, Err(PassportError::Nobody)),
            (r#"{"code":1,"data":{"uid":""}}"#, Err(PassportError::Nobody)),
            (r#"{"code":1,"data":{"uid":true}}"#, Err(PassportError::NotUnderstood)),
            (r#"{"code":1,"data":{"uid":["42"]}}"#, Err(PassportError::NotUnderstood)),
            (r#"{"code":1,"data":{"uid":"a\n"}}"#, Err(PassportError::NotUnderstood)),
            (r#"{"code":"1","data":{"uid":"42"}}"#, Err(PassportError::NotUnderstood)),
            (r#"{"code":1,"data":"42"}"#, Err(PassportError::NotUnderstood)),
            ("<html>", Err(PassportError::NotUnderstood)),
            ("", Err(PassportError::NotUnderstood)),
        ] {
            assert_eq!(read(answer.as_bytes()), expected, "{answer}");
        }
    }

    #[test]
    fn it_is_asked_in_the_words_of_the_old_gateway() {
        let asked = Asked { access_token: "t\"1", platform: "mobile", app_id: "DIY48" };
        let json = serde_json::to_string(&asked).unwrap();
        assert_eq!(json, r#"{"accessToken":"t\"1","platForm":"mobile","appId":"DIY48"}"#);
    }
}
