//! Something is said on a Redis, or asked: `PUBLISH` and `GET`, over one connection that is made when it is needed. Nobody waits
//! long for it: a Redis that is away is not asked again for a moment.

use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, FromRedisValue, RedisError, cmd, from_redis_value};
use tokio::sync::{Mutex, Semaphore};

use crate::{BadUrl, client, place};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(1);

/// For how long a Redis that failed is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// Most questions under way; with more, the next ones are not asked.
const UNDER_WAY: usize = 1_024;

/// Why something was not said.
#[derive(Debug, thiserror::Error)]
pub enum NotSaid {
    /// It failed.
    #[error("{0}")]
    Redis(#[from] RedisError),
    /// It failed a moment ago, and is left alone.
    #[error("the Redis is away")]
    Away,
    /// Too much is said at once.
    #[error("too much is under way")]
    TooMuch,
}

/// What speaks to a Redis.
#[derive(Debug)]
pub struct Speaker {
    client: redis::Client,
    place: String,
    line: Mutex<Line>,
    turns: Semaphore,
}

#[derive(Default)]
struct Line {
    connection: Option<MultiplexedConnection>,
    /// Which connection this is.
    number: u64,
    /// Until when it is left alone.
    paused_until: Option<Instant>,
    /// Whether it was said that it is away.
    told: bool,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Speaker {
    /// Speaks to the Redis there, when there is something to say.
    ///
    /// # Errors
    /// When the URL is none.
    pub fn new(url: &str) -> Result<Self, BadUrl> {
        let client = client(url)?;
        Ok(Self { place: place(&client), client, line: Mutex::default(), turns: Semaphore::new(UNDER_WAY) })
    }

    /// Publishes. Answers how many heard it.
    ///
    /// # Errors
    /// [`NotSaid`]; somebody may have heard it nevertheless.
    pub async fn publish(&self, channel: &str, payload: &str) -> Result<u64, NotSaid> {
        self.ask(cmd("PUBLISH").arg(channel).arg(payload)).await
    }

    /// What is kept under a key; `None` when nothing is.
    ///
    /// # Errors
    /// [`NotSaid`].
    pub async fn get(&self, key: &str) -> Result<Option<String>, NotSaid> {
        self.ask(cmd("GET").arg(key)).await
    }

    async fn ask<T: FromRedisValue>(&self, question: &Cmd) -> Result<T, NotSaid> {
        let _turn = self.turns.try_acquire().map_err(|_| NotSaid::TooMuch)?;
        // A connection that ended unnoticed is found out by using it; the second one is new.
        let (mut connection, number) = self.connection().await?;
        let first = connection.send_packed_command(question).await;
        let answer = match first {
            Err(why) if why.is_io_error() && !why.is_timeout() => {
                self.lost(number, None).await;
                let (mut connection, number) = self.connection().await?;
                match connection.send_packed_command(question).await {
                    Ok(answer) => answer,
                    Err(why) => {
                        self.lost(number, Some(&why)).await;
                        return Err(why.into());
                    }
                }
            }
            Err(why) => {
                if why.is_io_error() {
                    self.lost(number, Some(&why)).await;
                }
                return Err(why.into());
            }
            Ok(answer) => answer,
        };
        Ok(from_redis_value(answer).map_err(RedisError::from)?)
    }

    /// The connection, made now if there is none.
    async fn connection(&self) -> Result<(MultiplexedConnection, u64), NotSaid> {
        let mut line = self.line.lock().await;
        if let Some(connection) = &line.connection {
            return Ok((connection.clone(), line.number));
        }
        if line.paused_until.is_some_and(|until| Instant::now() < until) {
            return Err(NotSaid::Away);
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ANSWER))
            .set_response_timeout(Some(ANSWER));
        match self.client.get_multiplexed_async_connection_with_config(&config).await {
            Ok(connection) => {
                if std::mem::take(&mut line.told) {
                    tracing::info!(redis = self.place, "a Redis that is spoken to is back");
                }
                line.connection = Some(connection.clone());
                line.number += 1;
                Ok((connection, line.number))
            }
            Err(why) => {
                self.pause(&mut line, &why);
                Err(why.into())
            }
        }
    }

    /// A connection is not used any more, unless it is another one by now. With a reason, the Redis is left alone.
    async fn lost(&self, number: u64, why: Option<&RedisError>) {
        let mut line = self.line.lock().await;
        if line.number == number {
            line.connection = None;
            if let Some(why) = why {
                self.pause(&mut line, why);
            }
        }
    }

    fn pause(&self, line: &mut Line, why: &RedisError) {
        line.paused_until = Some(Instant::now() + PAUSE);
        if !std::mem::replace(&mut line.told, true) {
            tracing::warn!(redis = self.place, %why, "a Redis that is spoken to is away");
        }
    }
}
