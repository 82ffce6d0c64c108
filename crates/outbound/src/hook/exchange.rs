//! A hook that is asked: many questions at once, each with an answer that counts.
//!
//! A question has a connection to itself while it waits, and leaves it to the next one. How many are asked at once is decided
//! by whoever asks.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tidings_model::Timestamp;
use tokio::time::{Instant, timeout_at};

use super::connect::Kept;
use super::{Client, Destination, Failure, Told, read_to_end};

/// Most connections that are kept while nobody asks anything.
const IDLE_MAX: usize = 16;

/// The way to a hook that is asked.
pub struct Exchange {
    client: Client,
    hook: Destination,
    timeout: Duration,
    idle: Mutex<Vec<Kept>>,
}

/// What a hook answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The HTTP status, 200 to 299.
    pub status: u16,
    /// At most [`super::ANSWER_BYTES_MAX`].
    pub body: Bytes,
}

impl Exchange {
    /// Asks this hook, which has `timeout` for each of its answers.
    #[must_use]
    pub fn new(client: Client, hook: Destination, timeout: Duration) -> Self {
        Self { client, hook, timeout, idle: Mutex::default() }
    }

    /// Asks once. The hook may have heard the question even when this fails.
    ///
    /// # Errors
    /// [`Failure`] says why there is no answer; any status but 2xx is none.
    pub async fn ask(&self, question: &Told, now: Timestamp) -> Result<Answered, Failure> {
        let deadline = Instant::now() + self.timeout;
        let asked = timeout_at(deadline, async {
            let kept = self.idle().pop();
            let (response, kept) = self.hook.send(&self.client, kept, question, now).await?;
            let status = response.status();
            let body = read_to_end(response).await?;
            Ok((status, body, kept))
        });
        let (status, body, kept) = asked.await.unwrap_or(Err(Failure::Timeout))?;
        {
            let mut idle = self.idle();
            if idle.len() < IDLE_MAX && kept.fresh() {
                idle.push(kept);
            }
        }
        if status.is_success() {
            Ok(Answered { status: status.as_u16(), body })
        } else {
            Err(Failure::Refused(status.as_u16()))
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Kept>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
