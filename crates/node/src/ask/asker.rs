//! One hook, and all that is asked of it: how much at once, for how long, and whether it is asked at all.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tidings_model::NamespaceName;
use tidings_outbound::hook::{Client, Destination, Exchange, Failure, Told};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::breaker::Breaker;
use super::connect::Verdict;
use super::known::Known;
use super::{AskError, Question};
use crate::metrics::HookQuestion;
use crate::{Node, notify};

/// Most questions that one hook is asked at once.
const AT_ONCE_MAX: usize = 64;

/// Most questions that wait for their turn; with more, whoever asks is told that it is too much.
const WAITING_MAX: usize = 2_048;

/// One hook that is asked.
pub(crate) struct Asker {
    destination: Destination,
    timeout: Duration,
    exchange: Exchange,
    turns: Semaphore,
    waiting: AtomicUsize,
    breaker: Mutex<Breaker>,
    /// What it has answered to clients that connect, for as long as that holds.
    verdicts: Mutex<Known<Arc<Verdict>>>,
}

impl Asker {
    pub(super) fn new(client: Client, destination: Destination, timeout: Duration) -> Self {
        Self {
            exchange: Exchange::new(client, destination.clone(), timeout),
            destination,
            timeout,
            turns: Semaphore::new(AT_ONCE_MAX),
            waiting: AtomicUsize::new(0),
            breaker: Mutex::default(),
            verdicts: Mutex::default(),
        }
    }

    /// Whether it asks there, and for so long.
    pub(super) fn asks(&self, destination: &Destination, timeout: Duration) -> bool {
        self.destination == *destination && self.timeout == timeout
    }

    pub(super) fn verdicts(&self) -> MutexGuard<'_, Known<Arc<Verdict>>> {
        self.verdicts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is left alone because it has failed.
    pub(super) fn rests(&self) -> bool {
        self.breaker().rests()
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks. `data` is a JSON object.
    async fn ask(
        &self,
        node: &Node,
        namespace: &NamespaceName,
        question: Question,
        data: &str,
    ) -> Result<Bytes, AskError> {
        let admitted = self.breaker().admit(node.now()).map_err(AskError::Resting)?;
        let now = node.now();
        let id = node.ids.next(now).to_string();
        let body = notify::body(&id, question.as_str(), namespace, now, data);
        let answered = self.exchange.ask(&Told { id, body }, now).await;
        let failure = match answered {
            Ok(answered) => {
                if self.breaker().succeeded() {
                    tracing::info!(%namespace, question = question.as_str(), url = %self.destination.url, "a hook answers again");
                }
                return Ok(answered.body);
            }
            Err(failure) => failure,
        };
        // Whoever says no, or that there is no such thing, is well.
        let rests = match failure {
            Failure::Refused(400..=499) => {
                self.breaker().succeeded();
                None
            }
            Failure::Refused(_)
            | Failure::Forbidden(_)
            | Failure::Unresolved(_)
            | Failure::Unreachable(_)
            | Failure::Tls(_)
            | Failure::Timeout
            | Failure::Broken(_)
            | Failure::TooLarge => self.breaker().failed(admitted, node.now()),
        };
        if let Some(rests) = rests {
            tracing::warn!(%namespace, question = question.as_str(), url = %self.destination.url, error = %failure, left_alone_ms = rests.as_millis() as u64, "a hook does not answer; it is left alone for a while, and what needs it is refused");
        }
        Err(AskError::Failed(failure))
    }

    /// Waits for its turn, and asks.
    async fn ask_in_turn(
        &self,
        node: &Node,
        namespace: &NamespaceName,
        question: Question,
        data: &str,
    ) -> Result<Bytes, AskError> {
        let waits = Waits::new(&self.waiting).ok_or(AskError::Busy)?;
        let turn = timeout(self.timeout, self.turns.acquire()).await;
        drop(waits);
        match turn {
            Ok(Ok(_turn)) => self.ask(node, namespace, question, data).await,
            Ok(Err(_)) | Err(_) => Err(AskError::Busy),
        }
    }
}

/// One of those that wait for their turn.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn new(waiting: &'a AtomicUsize) -> Option<Self> {
        let waits = Self(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < WAITING_MAX).then_some(waits)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A word for what came of a question, for metrics.
fn outcome(answer: &Result<Bytes, AskError>) -> &'static str {
    match answer {
        Ok(_) => "answered",
        Err(AskError::Nobody(_)) => "nobody",
        Err(AskError::Busy) => "busy",
        Err(AskError::Resting(_)) => "resting",
        Err(AskError::Failed(why)) => why.word(),
        Err(AskError::NotUnderstood) => "not_understood",
    }
}

impl Node {
    /// Asks on the node's own runtime: whoever asks may go away meanwhile, and the answer is still counted.
    pub(super) async fn question(
        self: &Arc<Self>,
        asker: &Arc<Asker>,
        namespace: &NamespaceName,
        question: Question,
        data: String,
    ) -> Result<Bytes, AskError> {
        let (node, asker, namespace) = (Arc::clone(self), Arc::clone(asker), namespace.clone());
        let asking = self.runtime.spawn(async move {
            let answer = asker.ask_in_turn(&node, &namespace, question, &data).await;
            let label = HookQuestion { question: question.as_str(), outcome: outcome(&answer) };
            node.metrics.hook_questions.get_or_create(&label).inc();
            answer
        });
        // The runtime is going away, and the process with it.
        asking.await.unwrap_or(Err(AskError::Busy))
    }
}
