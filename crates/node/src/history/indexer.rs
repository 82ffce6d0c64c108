//! The indexer: reads what was accepted, behind the pushes, and tells the store what it can be found by.
//!
//! It is never in the way of a push. What it has not come to yet is looked through one by one when somebody searches,
//! so there is no hurry: it begins when enough has come together, or when some time has passed, and lets pushes that
//! wait go first. A crash forgets how far it was only in part: it begins again there, and adding twice is adding once.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tidings_model::{Message, NamespaceName, Seq, Topic};
use tidings_store::{Order, Span, StoreError, Term};
use tokio::time::Instant;

use super::words;
use crate::{Namespace, Node};

/// How often the indexer looks whether there is something to do.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// With so many messages behind, it begins. Until then they are cheap to look through.
const BEGIN_AT: u64 = 1_024;

/// With less it begins after so long.
const BEGIN_AFTER: Duration = Duration::from_secs(30);

/// Messages that are read together.
const READ_TOGETHER: usize = 512;

/// Most messages, terms of messages, and bytes of messages that are in memory before they are written.
const MESSAGES_MAX: usize = 16_384;
const POSTINGS_MAX: usize = 1 << 19;
const BYTES_MAX: usize = 16 << 20;

/// With more pushes waiting than this, it waits too.
const BUSY_PUSHES: usize = 32;

/// How long it waits then, at most so many times in a row.
const WHILE_BUSY: Duration = Duration::from_millis(20);
const WAITS_MAX: usize = 50;

/// How long it rests at most after what it has done, and of the time that took, which part.
const REST_MAX: Duration = Duration::from_millis(250);
const REST_PART: u32 = 2;

/// How far a namespace is.
struct Progress {
    through: Seq,
    /// Since when there is something behind.
    behind_since: Option<Instant>,
}

/// Indexes, until the node or the store is gone.
pub(crate) async fn run(node: Weak<Node>) {
    let mut progress: HashMap<NamespaceName, Progress> = HashMap::new();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(node) = node.upgrade() else { return };
        let mut behind = 0;
        let namespaces = node.namespaces();
        progress.retain(|name, _| namespaces.iter().any(|namespace| namespace.name == *name));
        for namespace in &namespaces {
            match node.catch_up(namespace, &mut progress).await {
                Ok(left) => behind += left,
                Err(StoreError::Closed) => return,
                Err(why) => {
                    tracing::error!(error = %why, namespace = %namespace.name, "history cannot be indexed; trying again");
                    // What was believed to be written may not be.
                    progress.remove(&namespace.name);
                }
            }
        }
        node.metrics().history_behind.set(i64::try_from(behind).unwrap_or(i64::MAX));
    }
}

impl Node {
    /// Indexes a namespace as far as is worth it now. Answers how many messages are left.
    async fn catch_up(
        &self,
        namespace: &Namespace,
        progress: &mut HashMap<NamespaceName, Progress>,
    ) -> Result<u64, StoreError> {
        let name = &namespace.name;
        if !progress.contains_key(name) {
            let through = self.store.indexed(name).await?;
            progress.insert(name.clone(), Progress { through, behind_since: None });
        }
        let Some(progress) = progress.get_mut(name) else { return Ok(0) };
        loop {
            let behind = self.store.head(name).0.saturating_sub(progress.through.0);
            if behind == 0 {
                progress.behind_since = None;
                return Ok(0);
            }
            let since = *progress.behind_since.get_or_insert_with(Instant::now);
            if behind < BEGIN_AT && since.elapsed() < BEGIN_AFTER {
                return Ok(behind);
            }
            for _ in 0..WAITS_MAX {
                if self.backlog.len().0 <= BUSY_PUSHES {
                    break;
                }
                tokio::time::sleep(WHILE_BUSY).await;
            }
            let began = Instant::now();
            progress.through = self.index_some(name, progress.through).await?;
            progress.behind_since = None;
            tokio::time::sleep(REST_MAX.min(began.elapsed() / REST_PART)).await;
        }
    }

    /// Indexes what there is behind this number, as much as goes together. Answers up to where.
    pub(crate) async fn index_some(&self, name: &NamespaceName, after: Seq) -> Result<Seq, StoreError> {
        let head = self.store.head(name);
        let mut batch = Batch::default();
        let mut through = after;
        while through < head && !batch.is_full() {
            let span = Span { first: through.next(), last: head };
            let messages = self.store.browse(name, span, Order::OldestFirst, READ_TOGETHER).await?;
            through = match messages.last() {
                Some(last) if messages.len() == READ_TOGETHER => last.seq,
                Some(_) | None => head,
            };
            let cut = tokio::task::spawn_blocking(move || {
                messages.iter().for_each(|message| batch.add(message));
                batch
            });
            batch = cut.await.map_err(|why| StoreError::Io(why.to_string()))?;
        }
        self.store.index(name, batch.into_postings(), through).await?;
        Ok(through)
    }
}

/// What is to be written together.
#[derive(Default)]
struct Batch {
    /// Most terms are words, and most words have come before: these are looked up without a copy.
    words: HashMap<Box<str>, Vec<Seq>>,
    others: HashMap<Term, Vec<Seq>>,
    messages: usize,
    count: usize,
    bytes: usize,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.messages >= MESSAGES_MAX || self.count >= POSTINGS_MAX || self.bytes >= BYTES_MAX
    }

    fn add(&mut self, message: &Arc<Message>) {
        self.messages += 1;
        self.bytes += message.data.len() + message.offline.len();
        // The announcement of a recall is nobody's push: it is not listed.
        if message.recalls.is_some() {
            return;
        }
        let mut post = |term| {
            self.count += 1;
            self.others.entry(term).or_default().push(message.seq);
        };
        post(Term::Event(message.event.clone()));
        let to = &message.to;
        to.users.iter().for_each(|user| post(Term::To(Topic::User(user.clone()))));
        to.devices.iter().for_each(|device| post(Term::To(Topic::Device(device.clone()))));
        to.rooms.iter().for_each(|room| post(Term::To(Topic::Room(room.clone()))));
        if to.all {
            post(Term::To(Topic::All));
        }
        for word in words::terms(&words::text_of(message)) {
            self.count += 1;
            match self.words.get_mut(word) {
                Some(seqs) => seqs.push(message.seq),
                None => drop(self.words.insert(word.into(), vec![message.seq])),
            }
        }
    }

    fn into_postings(self) -> Vec<(Term, Vec<Seq>)> {
        let words = self.words.into_iter().map(|(word, seqs)| (Term::Word(word), seqs));
        words.chain(self.others).collect()
    }
}
