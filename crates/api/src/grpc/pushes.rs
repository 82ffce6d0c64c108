//! Many pushes: in one message, or on a stream as they come. All of them go the way of a batch of REST.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use prost::Message as _;
use tidings_model::ErrorCode;
use tonic::{Request, Response, Status, Streaming};

use super::pb;
use super::pb::push_result::Outcome;
use super::pb::push_stream_answer::Outcome as Answered;
use super::transcode::{self, Caller};
use super::{Calls, json, status};
use crate::extract::BODY_MAX;
use crate::{Problem, auth};

/// Most pushes of a stream that are taken before those before them are answered.
const IN_FLIGHT_MAX: usize = 256;

/// How many bytes these have at most, before one more is taken.
const IN_FLIGHT_BYTES_MAX: usize = 1024 * 1024;

/// Largest message on a stream, in bytes. A push may have less than that, and one that has more is answered; what is
/// larger than this ends the stream.
pub(super) const STREAM_MESSAGE_MAX: usize = 4 * BODY_MAX;

/// Longest correlation id, in bytes.
const CORRELATION_MAX: usize = 255;

/// Most bytes of JSON that one batch of a stream has before it is full; what is left has the next one.
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// The answers on a stream.
pub(crate) type Answers = Pin<Box<dyn Stream<Item = Result<pb::PushStreamAnswer, Status>> + Send>>;

impl Calls {
    /// Pushes all of a message, each on its own.
    pub(super) async fn batch(
        &self,
        request: Request<pb::PushBatchRequest>,
    ) -> Result<Response<pb::PushBatchAnswer>, Status> {
        let caller = self.caller(request.extensions());
        let pb::PushBatchRequest { namespace, messages } = request.into_inner();
        let entries = messages.iter().map(json::of).collect();
        match self.push_all(&namespace, entries, &caller).await {
            Ok(results) => {
                let results = results.into_iter().map(|outcome| pb::PushResult { outcome: Some(outcome) });
                Ok(Response::new(pb::PushBatchAnswer { results: results.collect() }))
            }
            Err(problem) => Err(status::of(&problem, &caller.request_id)),
        }
    }

    /// Pushes what comes, and answers it.
    pub(super) async fn stream(
        &self,
        request: Request<Streaming<pb::PushStreamRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let caller = self.caller(request.extensions());
        let key = auth::access(&self.state.node, caller.authorization.as_ref(), caller.from).await;
        key.map_err(|problem| status::of(&problem, &caller.request_id))?;
        let pushing = Pushing {
            calls: self.clone(),
            caller,
            incoming: request.into_inner(),
            answers: VecDeque::new(),
            end: None,
        };
        Ok(Response::new(Box::pin(futures_util::stream::unfold(pushing, Pushing::next))))
    }

    /// Pushes entries of one namespace, those that are none aside, and says of each what became of it.
    async fn push_all(
        &self,
        namespace: &str,
        entries: Vec<Result<String, Problem>>,
        caller: &Caller,
    ) -> Result<Vec<Outcome>, Problem> {
        if namespace.is_empty() {
            let unfit = Problem::field(ErrorCode::INVALID_REQUEST, "namespace", "is required");
            return Err(self.unfit(unfit, caller).await);
        }
        let mut body = String::from("{\"messages\":[");
        for (index, entry) in entries.iter().enumerate() {
            if index > 0 {
                body.push(',');
            }
            // What is no entry keeps its place.
            body.push_str(entry.as_deref().unwrap_or("{}"));
        }
        body.push_str("]}");
        let namespace = utf8_percent_encode(namespace, NON_ALPHANUMERIC);
        let uri = transcode::uri(format!("/v1/namespaces/{namespace}/messages:batch"))?;
        let answer: pb::PushBatchAnswer =
            transcode::answer(&self.rest, Method::POST, uri, body, caller).await?;
        let results = answer.results.into_iter().filter_map(|result| result.outcome);
        let outcome = |(entry, outcome): (Result<String, Problem>, Outcome)| match entry {
            Ok(_) => outcome,
            Err(problem) => Outcome::Error(status::refusal(&problem)),
        };
        Ok(entries.into_iter().zip(results).map(outcome).collect())
    }
}

/// A stream of pushes. It takes what is there, up to a bound, answers all of that, and only then takes more: a client
/// that does not read its answers is not read from.
struct Pushing {
    calls: Calls,
    caller: Caller,
    incoming: Streaming<pb::PushStreamRequest>,
    answers: VecDeque<pb::PushStreamAnswer>,
    /// Why nothing more is taken: what is said behind the last answer, if anything is.
    end: Option<Option<Status>>,
}

impl Pushing {
    /// The next answer, or the end.
    async fn next(mut self) -> Option<(Result<pb::PushStreamAnswer, Status>, Self)> {
        loop {
            if let Some(answer) = self.answers.pop_front() {
                return Some((Ok(answer), self));
            }
            if let Some(end) = &mut self.end {
                let status = end.take()?;
                return Some((Err(status), self));
            }
            let leaving = self.calls.state.ready.clone();
            let taken = tokio::select! {
                taken = std::future::poll_fn(|context| self.take(context)) => taken,
                () = leaving.draining() => {
                    let why = "the server is stopping; push again what has no answer, with the same id";
                    self.stop(&Problem::new(ErrorCode::OVERLOADED, why));
                    continue;
                }
            };
            self.push(taken).await;
        }
    }

    /// Takes what is there.
    fn take(&mut self, context: &mut Context<'_>) -> Poll<Vec<pb::PushStreamRequest>> {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while taken.len() < IN_FLIGHT_MAX && bytes < IN_FLIGHT_BYTES_MAX {
            match Pin::new(&mut self.incoming).poll_next(context) {
                Poll::Ready(Some(Ok(push))) => {
                    bytes += push.encoded_len();
                    taken.push(push);
                }
                Poll::Ready(Some(Err(why))) => {
                    match status::of_framing(&why) {
                        Some(problem) => self.stop(&problem),
                        None => self.end = Some(Some(why)),
                    }
                    break;
                }
                Poll::Ready(None) => {
                    self.end = Some(None);
                    break;
                }
                Poll::Pending if taken.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready(taken)
    }

    fn stop(&mut self, problem: &Problem) {
        self.end = Some(Some(status::of(problem, &self.caller.request_id)));
    }

    /// Pushes what was taken, in order.
    async fn push(&mut self, taken: Vec<pb::PushStreamRequest>) {
        let mut taken = taken.into_iter().peekable();
        while let Some(first) = taken.next() {
            let namespace = first.namespace.clone();
            let (mut entries, mut correlations) = (vec![entry(&first)], vec![first.correlation]);
            let mut bytes = length(&entries[0]);
            while let Some(next) = taken.next_if(|next| bytes < BATCH_BYTES && next.namespace == namespace) {
                let entry = entry(&next);
                bytes += length(&entry);
                entries.push(entry);
                correlations.push(next.correlation);
            }
            match self.calls.push_all(&namespace, entries, &self.caller).await {
                Ok(outcomes) => self.answer(correlations, outcomes),
                // Whose key opens nothing any more is not listened to.
                Err(problem) if problem.code() == ErrorCode::UNAUTHORIZED => return self.stop(&problem),
                Err(problem) => {
                    let refused = Outcome::Error(status::refusal(&problem));
                    let outcomes = vec![refused; correlations.len()];
                    self.answer(correlations, outcomes);
                }
            }
        }
    }

    fn answer(&mut self, correlations: Vec<String>, outcomes: Vec<Outcome>) {
        self.answers.extend(correlations.into_iter().zip(outcomes).map(|(correlation, outcome)| {
            let outcome = match outcome {
                Outcome::Accepted(answer) => Answered::Accepted(answer),
                Outcome::Error(refusal) => Answered::Error(refusal),
            };
            pb::PushStreamAnswer { correlation, outcome: Some(outcome) }
        }));
    }
}

/// What is to be pushed, as an entry of a batch.
fn entry(request: &pb::PushStreamRequest) -> Result<String, Problem> {
    let invalid = |field, message: String| Err(Problem::field(ErrorCode::INVALID_REQUEST, field, message));
    let bytes = request.correlation.len();
    if bytes > CORRELATION_MAX {
        let message = format!("has {bytes} bytes, at most {CORRELATION_MAX} are allowed");
        return invalid("correlation", message);
    }
    match &request.push {
        Some(push) => json::of(push),
        None => invalid("push", "is required".to_owned()),
    }
}

fn length(entry: &Result<String, Problem>) -> usize {
    entry.as_ref().map_or(0, String::len)
}
