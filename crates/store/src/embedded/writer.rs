//! The writer: one thread that takes what waits, makes one batch of it, and answers everybody.
//!
//! The order of things in a turn matters: nothing is answered before its batch is committed, nothing is
//! remembered before it is committed, and a batch that fails has never happened. After a failure the tree
//! refuses to be written to, because nobody can say how much of the batch is on disk. Readers go on with
//! it; the next change finds out whether there is room again, and has it opened anew without that batch.

use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::Shared;
use super::disk::{CommitError, Disk, shield};
use super::moment::Moment;
use super::opening::{Directory, Opened};
use super::sweep::Sweeper;
use super::transaction::{Learned, Memory, Transaction};
use super::verb::Work;
use crate::StoreError;

/// Most messages in a batch, unless a single call brings more.
const BATCH_MESSAGES: usize = 4_096;

/// Most bytes in a batch, unless a single call brings more.
const BATCH_BYTES: usize = 8 << 20;

/// A tree that gives up within so many batches after it was opened anew may have a damaged table to merge.
const GIVES_UP_AGAIN: u64 = 1_000;

/// How often a reopening looks whether the last reader of the old tree is done.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// What the writer is asked.
pub(super) enum Command {
    /// Make this change.
    Do(Box<dyn Work>),
    /// Say what there is at this moment, everything that was asked for before included.
    Look(oneshot::Sender<Result<Moment, StoreError>>),
    /// Make everything durable, and end.
    Close(oneshot::Sender<Result<(), StoreError>>),
}

/// What comes after a round.
enum After {
    Look(oneshot::Sender<Result<Moment, StoreError>>),
    Close(oneshot::Sender<Result<(), StoreError>>),
}

/// Starts the writer, whose thread calls `prepare` first.
pub(super) fn spawn(
    shared: Arc<Shared>,
    opened: Opened,
    queue: mpsc::Receiver<Command>,
    prepare: fn(),
) -> Result<JoinHandle<()>, StoreError> {
    let sweeper = Sweeper::spawn(Arc::clone(&shared), opened.directory.swept())?;
    let writer = Writer {
        shared,
        queue,
        sweeper,
        directory: opened.directory,
        memory: Memory::new(opened.heads),
        batch: opened.batch,
        unsynced: false,
        broken: None,
        gave_up: None,
        looked: None,
        damaged: None,
    };
    std::thread::Builder::new()
        .name("store-writer".to_owned())
        .spawn(move || {
            prepare();
            writer.run();
        })
        .map_err(|error| StoreError::Io(error.to_string()))
}

struct Writer {
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Command>,
    directory: Directory,
    sweeper: Sweeper,
    memory: Memory,
    /// The newest batch that was committed.
    batch: u64,
    /// Whether something committed may not have reached the disk.
    unsynced: bool,
    /// Why the tree must be opened anew before anything is written.
    broken: Option<StoreError>,
    /// The newest batch when the tree had last given up by itself.
    gave_up: Option<u64>,
    /// The newest batch when the tables were last looked through for damage, which takes long.
    looked: Option<u64>,
    /// What was found then: nothing is written any more.
    damaged: Option<StoreError>,
}

impl Writer {
    fn run(mut self) {
        let mut closing = None;
        while closing.is_none() {
            let Some(first) = self.queue.blocking_recv() else { break };
            let mut round = Vec::new();
            let after = self.gather(first, &mut round);
            self.turn(round);
            match after {
                // Between two batches: none is half there.
                Some(After::Look(reply)) => drop(reply.send(Moment::now(&self.shared))),
                Some(After::Close(reply)) => closing = Some(reply),
                None => {}
            }
        }
        let result = self.end();
        self.queue.close();
        while let Some(command) = self.queue.blocking_recv() {
            match command {
                Command::Do(work) => work.answer(Some(StoreError::Closed)),
                Command::Look(reply) => drop(reply.send(Err(StoreError::Closed))),
                Command::Close(reply) => drop(reply.send(Ok(()))),
            }
        }
        // Whoever closed the store may open the directory again: let go of it first.
        drop(self);
        if let Some(reply) = closing {
            let _ = reply.send(result);
        }
    }

    /// Takes what waits, up to the bounds of a batch, and up to a request that is not a change.
    fn gather(&mut self, first: Command, round: &mut Vec<Box<dyn Work>>) -> Option<After> {
        let (mut messages, mut bytes) = (0, 0);
        let mut next = Some(first);
        while let Some(command) = next {
            match command {
                Command::Look(reply) => return Some(After::Look(reply)),
                Command::Close(reply) => return Some(After::Close(reply)),
                Command::Do(work) => {
                    messages += work.messages();
                    bytes += work.bytes();
                    round.push(work);
                }
            }
            let room = messages < BATCH_MESSAGES && bytes < BATCH_BYTES;
            next = if room { self.queue.try_recv().ok() } else { None };
        }
        None
    }

    fn turn(&mut self, mut round: Vec<Box<dyn Work>>) {
        let mut result = self.attempt(&mut round);
        if matches!(result, Err(CommitError::Refused)) {
            // An earlier write of the tree's own had failed; nothing of this round was written.
            self.give_up();
            result = self.attempt(&mut round);
        }
        let failure = match result {
            Ok(()) => None,
            Err(CommitError::Failed(error)) => Some(error),
            // The tree that was opened anew has given up at once; the next round opens it again.
            Err(CommitError::Refused) => Some(self.give_up()),
        };
        for work in round {
            work.answer(failure.clone());
        }
    }

    fn attempt(&mut self, round: &mut [Box<dyn Work>]) -> Result<(), CommitError> {
        if self.broken.is_some() {
            self.mend().map_err(CommitError::Failed)?;
        }
        let disk = self.shared.disk().map_err(CommitError::Failed)?;
        let prepared = prepare(&disk, &self.memory, self.batch + 1, round);
        let Some((changes, learned, sync)) = prepared else { return Ok(()) };
        let sync = sync && (self.unsynced || !changes.is_empty());
        if changes.is_empty() && !sync {
            return Ok(());
        }
        self.directory.is_there().map_err(CommitError::Failed)?;
        let began = Instant::now();
        let number = self.batch + 1;
        let commit = || Ok(disk.commit(number, changes.into_iter(), sync));
        let result = shield(commit).unwrap_or_else(|panic| Err(CommitError::Failed(panic)));
        if let Err(error) = result {
            self.shared.stats.failed();
            if let CommitError::Failed(error) = &error {
                self.broken = Some(error.clone());
            }
            return Err(error);
        }
        self.committed(learned, sync, began.elapsed());
        let messages = round.iter().map(|work| work.messages()).sum();
        self.shared.stats.committed(round.len(), messages);
        Ok(())
    }

    /// Remembers what a batch has changed, now that it is there.
    fn committed(&mut self, learned: Learned, sync: bool, took: Duration) {
        self.batch += 1;
        self.unsynced = !sync;
        if sync {
            self.shared.stats.synced(took);
            // The note only lags behind when it cannot be written: damage may be taken for a torn tail.
            let _ = self.directory.note_synced(self.batch);
        }
        for (namespace, heads) in &learned.heads {
            self.shared.set_ends(namespace, heads);
        }
        if !learned.trimmed.is_empty() {
            // A trim asks for the disk: what it takes away may be thrown away from now on.
            self.directory.ground.trimmed(&learned.trimmed, &learned.heads);
            self.sweeper.sweep();
        }
        self.memory.absorb(learned);
    }

    /// The tree has given up by itself. When it does so again although it was opened anew, it may be that it tries to
    /// merge a damaged table, and would do so for ever.
    fn give_up(&mut self) -> StoreError {
        self.broken = Some(gave_up());
        let soon = |since: Option<u64>| since.is_some_and(|since| self.batch - since < GIVES_UP_AGAIN);
        if soon(self.gave_up) && !soon(self.looked) {
            self.looked = Some(self.batch);
            self.damaged = self.directory.damage().map(StoreError::Damaged);
        }
        self.gave_up = Some(self.batch);
        self.damaged.clone().unwrap_or_else(gave_up)
    }

    /// Opens the tree anew, as it was after the last batch that was committed, if there is room for it.
    fn mend(&mut self) -> Result<(), StoreError> {
        if let Some(damaged) = &self.damaged {
            return Err(damaged.clone());
        }
        self.directory.probe()?;
        let away = self.broken.clone().unwrap_or(StoreError::Closed);
        self.let_go(away);
        let tree = self.directory.reopen(self.batch)?;
        self.memory = Memory::new(tree.heads);
        self.batch = tree.batch;
        // What was committed without reaching the disk has been read back from the journal, not from disk.
        self.unsynced = true;
        *self.shared.disk.write().unwrap_or_else(PoisonError::into_inner) = Ok(tree.disk);
        self.broken = None;
        self.shared.stats.reopened();
        Ok(())
    }

    /// Takes the tree away from the readers, and waits until the last of them is done with it.
    fn let_go(&self, why: StoreError) {
        self.directory.ground.hurry();
        let mut slot = self.shared.disk.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *slot, Err(why));
        drop(slot);
        if let Ok(mut disk) = old {
            while let Err(shared) = Arc::try_unwrap(disk).map(drop) {
                disk = shared;
                std::thread::sleep(LOOK_AGAIN);
            }
        }
    }

    /// Makes everything durable, and takes the tree away for good.
    fn end(&mut self) -> Result<(), StoreError> {
        let mut result = self.sync();
        if matches!(result, Err(CommitError::Refused)) {
            self.give_up();
            result = self.sync();
        }
        self.let_go(StoreError::Closed);
        result.map_err(|error| match error {
            CommitError::Failed(error) => error,
            CommitError::Refused => gave_up(),
        })
    }

    fn sync(&mut self) -> Result<(), CommitError> {
        if self.broken.is_some() {
            self.mend().map_err(CommitError::Failed)?;
        }
        self.shared.disk().map_err(CommitError::Failed)?.sync()?;
        // See `committed`.
        let _ = self.directory.note_synced(self.batch);
        Ok(())
    }
}

fn gave_up() -> StoreError {
    StoreError::Io("the storage engine had to give up writing".to_owned())
}

/// What a batch writes, what is remembered once it is written, and whether it must reach the disk.
type Prepared = (Vec<(crate::kv::Keyspace, fjall::Slice, Option<fjall::Slice>)>, Learned, bool);

/// Applies a round to one transaction. A change that cannot be made is left out, and the others are made
/// anew without it; `None` when none is left.
fn prepare(disk: &Disk, memory: &Memory, number: u64, round: &mut [Box<dyn Work>]) -> Option<Prepared> {
    let mut failed = vec![false; round.len()];
    loop {
        let mut transaction = Transaction::new(disk, memory, number);
        let mut sound = true;
        for (work, failed) in round.iter_mut().zip(&mut failed).filter(|(_, failed)| !**failed) {
            // What it reads may be damaged beyond what the tree can say in an error.
            let applied = shield(|| Ok(work.apply(&mut transaction)));
            if !matches!(applied, Ok(Ok(()))) {
                *failed = true;
                sound = false;
                break;
            }
        }
        if failed.iter().all(|failed| *failed) {
            return None;
        }
        if sound {
            let sync = transaction.wants_sync();
            let (changes, learned) = transaction.finish();
            return Some((changes, learned, sync));
        }
    }
}
