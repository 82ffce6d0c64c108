//! The changes, one file each: what a change reads, what it writes, what it answers. A verb knows the
//! transaction that it happens in, and neither threads nor files.

mod append;
mod attempt;
mod change_pile;
mod change_rooms;
mod deal;
mod enqueue;
mod erased;
mod forget;
mod index;
mod put;
mod record;
mod register;
mod remove;
mod settle;
mod tally;
mod trim;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::transaction::Transaction;
use crate::StoreError;
pub(super) use append::Append;
pub(super) use attempt::Attempt;
pub(super) use change_pile::ChangePile;
pub(super) use change_rooms::ChangeRooms;
pub(super) use deal::Deal;
pub(super) use enqueue::Enqueue;
pub(super) use erased::Erased;
pub(super) use forget::Forget;
pub(super) use index::Index;
pub(super) use put::Put;
pub(super) use record::Record;
pub(super) use register::{Describe, Register};
pub(super) use remove::Remove;
pub(super) use settle::Settle;
pub(super) use tally::Tally;
pub(super) use trim::Trim;

/// A change.
pub(super) trait Verb: Send + 'static {
    /// What it answers.
    type Outcome: Send + 'static;

    /// About how much memory it takes while it waits, in bytes.
    fn bytes(&self) -> usize;

    /// How many messages it appends.
    fn messages(&self) -> usize {
        0
    }

    /// Makes the change. It may be made again in another transaction when this one comes to nothing.
    fn apply(&mut self, transaction: &mut Transaction<'_>) -> Result<Self::Outcome, StoreError>;
}

/// A change that somebody waits for, whatever it is.
pub(super) trait Work: Send {
    /// See [`Verb::bytes`].
    fn bytes(&self) -> usize;

    /// See [`Verb::messages`].
    fn messages(&self) -> usize;

    /// Makes the change. When it cannot be made, that is its answer, and the transaction is to be dropped.
    fn apply(&mut self, transaction: &mut Transaction<'_>) -> Result<(), ()>;

    /// Answers: with what the change came to, or with why its batch failed.
    fn answer(self: Box<Self>, failure: Option<StoreError>);
}

/// A verb and who waits for it.
pub(super) struct Task<V: Verb> {
    verb: V,
    outcome: Option<Result<V::Outcome, StoreError>>,
    reply: oneshot::Sender<Result<V::Outcome, StoreError>>,
    /// Its room in the queue, free again when it is answered.
    _room: OwnedSemaphorePermit,
}

/// Where the answer to a verb arrives.
pub(super) type Reply<V> = oneshot::Receiver<Result<<V as Verb>::Outcome, StoreError>>;

impl<V: Verb> Task<V> {
    /// A verb on its way to the writer, and where its answer arrives.
    pub(super) fn post(verb: V, room: OwnedSemaphorePermit) -> (Box<dyn Work>, Reply<V>) {
        let (reply, answer) = oneshot::channel();
        (Box::new(Self { verb, outcome: None, reply, _room: room }), answer)
    }
}

impl<V: Verb> Work for Task<V> {
    fn bytes(&self) -> usize {
        self.verb.bytes()
    }

    fn messages(&self) -> usize {
        self.verb.messages()
    }

    fn apply(&mut self, transaction: &mut Transaction<'_>) -> Result<(), ()> {
        // What an earlier attempt came to must not keep its messages from being numbered anew.
        self.outcome = None;
        let outcome = self.verb.apply(transaction);
        let result = outcome.as_ref().map(|_| ()).map_err(|_| ());
        self.outcome = Some(outcome);
        result
    }

    fn answer(self: Box<Self>, failure: Option<StoreError>) {
        let outcome = match (self.outcome, failure) {
            // A change that failed by itself says why, whatever became of the others.
            (Some(Err(error)), _) | (_, Some(error)) => Err(error),
            (Some(Ok(outcome)), None) => Ok(outcome),
            (None, None) => Err(StoreError::Damaged("the storage engine gave up on a change".to_owned())),
        };
        // Whoever asked may have stopped waiting.
        let _ = self.reply.send(outcome);
    }
}
