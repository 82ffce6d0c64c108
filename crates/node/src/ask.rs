//! The business system is asked, and what it answers holds: whether a client may connect, whether it may publish, and
//! whatever it calls with an `rpc`.
//!
//! A question waits for its answer and for nothing else: it has a time, a place among those that are asked at once, and a breaker
//! before it, so that a hook that hangs or is away costs those who need it, and no others. What a question looks like on
//! the wire is said in the public contract, section 6.
//!
//! Reading order: [`hook`] (what is configured), `asker` (one hook, and all that is asked of it), `breaker` (when it is left
//! alone), `known` (answers that hold for a while), [`connect`], [`publish`] and [`rpc`] (the questions).

mod asker;
pub(crate) mod breaker;
pub mod connect;
pub mod hook;
mod known;
pub mod publish;
pub mod rpc;

use std::sync::Arc;
use std::time::Duration;

use tidings_outbound::hook::{Client, Failure};

use crate::namespace::Settings;
pub(crate) use asker::Asker;
pub use hook::{ConnectHook, TIMEOUT_DEFAULT, TIMEOUT_MS};
pub(crate) use publish::Who;

/// What the business system is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Whether a client may connect, and what it may do.
    Connect,
    /// Whether a client may publish something.
    Publish,
    /// Whatever a client asks.
    Rpc,
}

impl Question {
    /// Those that a hook of the list is asked; who may connect has a hook of its own.
    pub const OF_HOOKS: [Self; 2] = [Self::Publish, Self::Rpc];

    /// The one of those that a word of the contract means.
    #[must_use]
    pub fn of_hook(word: &str) -> Option<Self> {
        Self::OF_HOOKS.into_iter().find(|question| question.as_str() == word)
    }

    /// Its type in the contract.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Publish => "publish",
            Self::Rpc => "rpc",
        }
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// No hook is configured for it.
    #[error("this namespace has no hook for {}", .0.as_str())]
    Nobody(Question),
    /// Too much is asked at once.
    #[error("too much is asked of the business system at once; retry in a moment")]
    Busy,
    /// The hook has failed and is left alone for so long.
    #[error("the business system does not answer at present; retry later")]
    Resting(Duration),
    /// It failed now.
    #[error("the business system does not answer; retry later")]
    Failed(Failure),
    /// It answered something else than the contract says.
    #[error("the business system answered what is not understood; retry later")]
    NotUnderstood,
}

/// Whom a namespace asks.
#[derive(Default)]
pub(crate) struct Askers {
    connect: Option<Arc<Asker>>,
    publish: Option<Arc<Asker>>,
    rpc: Option<Arc<Asker>>,
}

impl Askers {
    /// Those of these rules. A hook that stays as it is keeps its connections, its answers, and how it goes with it.
    pub(crate) fn new(settings: &Settings, client: &Client, before: &Self) -> Self {
        let keep = |question: Question| {
            let (destination, timeout) = match question {
                Question::Connect => {
                    let hook = settings.connect_hook.as_ref().filter(|_| settings.auth.asks())?;
                    (hook.destination(), hook.timeout())
                }
                Question::Publish | Question::Rpc => {
                    let hook = settings.hooks.iter().find(|hook| hook.answers(question))?;
                    (hook.destination(), hook.timeout())
                }
            };
            let old = before.of(question).filter(|old| old.asks(&destination, timeout));
            Some(old.cloned().unwrap_or_else(|| Arc::new(Asker::new(client.clone(), destination, timeout))))
        };
        Self { connect: keep(Question::Connect), publish: keep(Question::Publish), rpc: keep(Question::Rpc) }
    }

    /// What is not asked at present, because who would answer has failed.
    pub(crate) fn resting(&self) -> Vec<&'static str> {
        let rests = |question: &Question| self.of(*question).is_some_and(|asker| asker.rests());
        let questions = [Question::Connect, Question::Publish, Question::Rpc];
        questions.iter().filter(|question| rests(question)).map(|question| question.as_str()).collect()
    }

    /// Who answers this.
    pub(crate) fn of(&self, question: Question) -> Option<&Arc<Asker>> {
        match question {
            Question::Connect => self.connect.as_ref(),
            Question::Publish => self.publish.as_ref(),
            Question::Rpc => self.rpc.as_ref(),
        }
    }
}

impl std::fmt::Debug for Askers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Askers").finish_non_exhaustive()
    }
}
