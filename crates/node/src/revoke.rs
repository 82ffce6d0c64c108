//! Tokens that are worth nothing any more: one by its id, those of a user, or those of everybody, as far as they were issued before a
//! time.
//!
//! What is revoked is looked at whenever a token is verified. It is kept for as long as the tokens could still be good, which is
//! for whoever revokes them to say, and then forgotten.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidings_model::{NamespaceName, Timestamp, UserId};
use tidings_store::{Store, StoreError};

use crate::namespace::whole;
use crate::permit::Permit;
use crate::{Namespace, Node, ToShard};

/// How each begins in the settings; the name of its namespace, its kind and its name follow.
pub(crate) const PREFIX: &str = "revoked/";

/// Most tokens and users of a namespace whose tokens are revoked.
pub const REVOCATIONS_MAX: usize = 10_000;

/// For how long it is kept unless it is said, and at most.
pub const LASTS_DEFAULT: Duration = Duration::from_secs(30 * 24 * 3_600);
/// See [`LASTS_DEFAULT`].
pub const LASTS_MAX: Duration = Duration::from_secs(366 * 24 * 3_600);

/// Longest id of a token, in bytes.
pub const JTI_BYTES_MAX: usize = 255;

/// Which tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// The one with this id (`jti`).
    Token(Box<str>),
    /// Those of a user that were issued before this.
    User(UserId, Timestamp),
    /// All that were issued before this.
    All(Timestamp),
}

impl Revoked {
    /// Whether a permit comes of one of them. A token that does not say when it was issued was issued before any time.
    #[must_use]
    pub fn takes(&self, permit: &Permit) -> bool {
        match self {
            Self::Token(jti) => permit.jti.as_ref() == Some(jti),
            Self::User(user, before) => permit.user == *user && permit.issued_at < *before,
            Self::All(before) => permit.issued_at < *before,
        }
    }

    fn setting(&self, namespace: &NamespaceName) -> String {
        match self {
            Self::Token(jti) => format!("{PREFIX}{namespace}/t/{jti}"),
            Self::User(user, _) => format!("{PREFIX}{namespace}/u/{user}"),
            Self::All(_) => format!("{PREFIX}{namespace}/a"),
        }
    }
}

/// Why tokens were not revoked.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// As many are as may be.
    #[error(
        "the tokens of {REVOCATIONS_MAX} users, or as many tokens, are revoked, which is the limit; revoke all that were issued before a time instead"
    )]
    TooMany,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is kept of one: before which time, and until when it is kept.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Cut {
    #[serde(default)]
    before: u64,
    until: u64,
}

/// What is revoked in a namespace.
#[derive(Clone, Debug, Default)]
pub(crate) struct Revocations {
    tokens: HashMap<Box<str>, Cut>,
    users: HashMap<UserId, Cut>,
    all: Option<Cut>,
}

impl Revocations {
    /// Whether a permit comes of a token that is revoked.
    pub(crate) fn take(&self, permit: &Permit, now: Timestamp) -> bool {
        let holds = |cut: &&Cut| now.0 < cut.until;
        let before = |cut: &Cut| permit.issued_at.0 < cut.before;
        self.all.as_ref().filter(holds).is_some_and(before)
            || self.users.get(&permit.user).filter(holds).is_some_and(before)
            || permit.jti.as_ref().and_then(|jti| self.tokens.get(jti)).filter(holds).is_some()
    }

    fn add(&mut self, revoked: &Revoked, cut: Cut) {
        match revoked {
            Revoked::Token(jti) => drop(self.tokens.insert(jti.clone(), cut)),
            Revoked::User(user, _) => drop(self.users.insert(user.clone(), cut)),
            Revoked::All(_) => self.all = Some(cut),
        }
    }

    /// What there is of one already.
    fn of(&self, revoked: &Revoked) -> Option<Cut> {
        match revoked {
            Revoked::Token(jti) => self.tokens.get(jti).copied(),
            Revoked::User(user, _) => self.users.get(user).copied(),
            Revoked::All(_) => self.all,
        }
    }

    /// Forgets what is over; which settings that were.
    fn forget_over(&mut self, namespace: &NamespaceName, now: Timestamp) -> Vec<String> {
        let mut over = Vec::new();
        self.tokens.retain(|jti, cut| {
            let holds = now.0 < cut.until;
            if !holds {
                over.push(Revoked::Token(jti.clone()).setting(namespace));
            }
            holds
        });
        self.users.retain(|user, cut| {
            let holds = now.0 < cut.until;
            if !holds {
                over.push(Revoked::User(user.clone(), now).setting(namespace));
            }
            holds
        });
        over
    }
}

/// What is revoked in all namespaces. What is over goes.
pub(crate) async fn load(
    store: &dyn Store,
    now: Timestamp,
) -> Result<HashMap<NamespaceName, Revocations>, StoreError> {
    let mut all: HashMap<NamespaceName, Revocations> = HashMap::new();
    for (setting, value) in store.list(PREFIX).await? {
        let read = || {
            let (name, rest) = setting[PREFIX.len()..].split_once('/')?;
            let cut: Cut = serde_json::from_slice(&value).ok()?;
            let before = Timestamp(cut.before);
            let revoked = match rest.split_once('/') {
                Some(("t", jti)) => Revoked::Token(jti.into()),
                Some(("u", user)) => Revoked::User(UserId::new(user).ok()?, before),
                None if rest == "a" => Revoked::All(before),
                _ => return None,
            };
            Some((NamespaceName::new(name).ok()?, revoked, cut))
        };
        match read() {
            Some((name, revoked, cut)) if now.0 < cut.until => {
                all.entry(name).or_default().add(&revoked, cut)
            }
            Some(_) => store.put(&setting, None).await?,
            // Better nobody than somebody who is to be kept out.
            None => return Err(StoreError::Damaged(format!("setting {setting}"))),
        }
    }
    Ok(all)
}

impl Node {
    /// Revokes tokens: they open nothing from now on, and whoever is here by one of them is sent away. Answers until when that is kept.
    ///
    /// # Errors
    /// [`RevokeError`]; they are as good as before then.
    pub async fn revoke_tokens(
        self: &Arc<Self>,
        namespace: &Arc<Namespace>,
        revoked: Revoked,
        lasts: Duration,
    ) -> Result<Timestamp, RevokeError> {
        let turn = namespace.changing().await;
        let now = self.clock.now();
        let mut all = Revocations::clone(&namespace.revoked.load());
        let over = all.forget_over(&namespace.name, now);
        let known = all.of(&revoked);
        let full = match &revoked {
            Revoked::Token(_) => all.tokens.len() >= REVOCATIONS_MAX,
            Revoked::User(..) => all.users.len() >= REVOCATIONS_MAX,
            Revoked::All(_) => false,
        };
        if full && known.is_none() {
            return Err(RevokeError::TooMany);
        }
        let before = match &revoked {
            Revoked::Token(_) => Timestamp(0),
            Revoked::User(_, before) | Revoked::All(before) => *before,
        };
        // What was revoked stays so.
        let (earlier, until) = (known.map_or(0, |cut| cut.before), known.map_or(0, |cut| cut.until));
        let until = now.after(lasts.min(LASTS_MAX)).0.max(until);
        let cut = Cut { before: before.0.max(earlier), until };
        all.add(&revoked, cut);
        let (node, namespace) = (Arc::clone(self), Arc::clone(namespace));
        let done = whole(async move {
            let _turn = turn;
            for setting in over {
                node.store.put(&setting, None).await?;
            }
            let setting = revoked.setting(&namespace.name);
            let value = serde_json::to_vec(&cut).map_err(|why| StoreError::Io(why.to_string()))?;
            node.store.put(&setting, Some(Bytes::from(value))).await?;
            namespace.revoked.store(Arc::new(all));
            tracing::info!(namespace = %namespace.name, ?revoked, "tokens were revoked");
            let told = ToShard::Revoked { namespace: namespace.name.clone(), which: Arc::new(revoked) };
            node.shards.tell(u64::MAX, told).await;
            Ok::<_, StoreError>(())
        });
        done.await?;
        Ok(Timestamp(until))
    }
}
