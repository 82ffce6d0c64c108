//! Append messages: give each its number and its offset in every topic.

use std::sync::Arc;

use tidings_model::{CollapseKey, Durability, Epoch, Message, MessageId, NamespaceName, Seq};

use super::{Verb, index};
use crate::StoreError;
use crate::embedded::transaction::Transaction;
use crate::kv::message_id::{self, KnownId};
use crate::kv::{Keyspace, collapse, message, receipt};
use crate::port::{Appended, NewId, NewMessage, Term};
use crate::rules::{self, Verdict};

/// Appends messages.
pub(crate) struct Append {
    drafts: Vec<Draft>,
    durability: Durability,
}

/// A message without a number, as far encoded as it can be.
struct Draft {
    message: Arc<Message>,
    tail: Vec<u8>,
    naming: Naming,
    fingerprint: [u8; 16],
    replaces: Option<Seq>,
}

/// What is to be done about the id of a message.
#[derive(Clone, Copy)]
enum Naming {
    /// Look whether it came before.
    Chosen,
    /// Nothing.
    Kept,
    /// Make it.
    Made { salt: u32 },
}

impl From<&NewId> for Naming {
    fn from(id: &NewId) -> Self {
        match id {
            NewId::Chosen(_) => Self::Chosen,
            NewId::Kept(_) => Self::Kept,
            NewId::Made { salt } => Self::Made { salt: *salt },
        }
    }
}

impl Append {
    /// Encodes the messages. This is the work that need not wait for the writer.
    pub(crate) fn new(messages: Vec<NewMessage>, durability: Durability, epoch: Epoch) -> Self {
        let draft = |new: NewMessage| {
            let (naming, fingerprint) = (Naming::from(&new.id), new.fingerprint);
            let replaces = new.replaces;
            let message = Arc::new(rules::draft(new, epoch));
            let tail = message::tail(&message);
            Draft { message, tail, naming, fingerprint, replaces }
        };
        Self { drafts: messages.into_iter().map(draft).collect(), durability }
    }
}

impl Verb for Append {
    type Outcome = Vec<Appended>;

    fn bytes(&self) -> usize {
        self.drafts.iter().map(|draft| draft.tail.len() * 2 + 512).sum()
    }

    fn messages(&self) -> usize {
        self.drafts.len()
    }

    fn apply(&mut self, transaction: &mut Transaction<'_>) -> Result<Vec<Appended>, StoreError> {
        if self.durability == Durability::Durable && !self.drafts.is_empty() {
            // Duplicates too: the message that they repeat may not have reached the disk yet.
            transaction.ask_sync();
        }
        self.drafts.iter_mut().map(|draft| draft.append(transaction)).collect()
    }
}

impl Draft {
    fn append(&mut self, transaction: &mut Transaction<'_>) -> Result<Appended, StoreError> {
        let namespace = self.message.namespace.clone();
        let mut known =
            KnownId { seq: Seq(0), accepted_at: self.message.accepted_at, fingerprint: self.fingerprint };
        if let Some(scheduled) = self.replaces {
            if transaction.message(&namespace, scheduled)?.is_none() {
                return Ok(Appended::Gone);
            }
            // The id stays what its caller made it, and for as long.
            if let Some(stored) = known_id(transaction, &namespace, &self.message.id)? {
                known = KnownId { seq: Seq(0), ..stored };
            }
            transaction.remove(Keyspace::Message, message::key(&namespace, scheduled));
            transaction.remove(Keyspace::Receipt, receipt::key(&namespace, scheduled));
            index::mark(transaction, &namespace, scheduled, &Term::Scheduled, false)?;
        } else if matches!(self.naming, Naming::Chosen) {
            // The id of a message that has been trimmed is free.
            let stored = known_id(transaction, &namespace, &self.message.id)?
                .filter(|stored| stored.seq > transaction.heads(&namespace).trimmed);
            match rules::verdict(stored.as_ref(), &known) {
                Verdict::New => {}
                Verdict::Duplicate(seq) => {
                    if let Some(message) = transaction.message(&namespace, seq)? {
                        return Ok(Appended::Duplicate(message));
                    }
                    // It was scheduled, and is not there any more: its id is free.
                }
                Verdict::Conflict => return Ok(Appended::Conflict),
            }
        }

        let mut heads = transaction.heads(&namespace);
        heads.seq = Seq(heads.seq.0 + 1);
        known.seq = heads.seq;
        // Nobody else has the message yet, so nothing is copied.
        let message = Arc::make_mut(&mut self.message);
        message.seq = heads.seq;
        if let Naming::Made { salt } = self.naming {
            message.id = MessageId::made(message.accepted_at, heads.seq, salt);
        }
        let mut entries = Vec::with_capacity(message.topics.len());
        for (topic, offset) in &mut message.topics {
            let (at, entry) = transaction.next_entry(&namespace, topic, heads.seq)?;
            *offset = at;
            entries.push(entry);
        }
        let key = message::key(&namespace, heads.seq);
        let value = message::value(&key, message, &self.tail);
        let mut bytes = key.len() + value.len();
        // The message first: whoever sees an entry must find what it leads to.
        transaction.write(Keyspace::Message, key, value);
        for (key, value) in entries {
            bytes += key.len() + value.len();
            transaction.write(Keyspace::TopicEntry, key, value);
        }
        if self.message.is_scheduled() {
            index::mark(transaction, &namespace, heads.seq, &Term::Scheduled, true)?;
        }
        // An id that was made leads to its message by itself.
        if !matches!(self.naming, Naming::Made { .. }) {
            let key = message_id::key(&namespace, &self.message.id);
            let value = message_id::value(&key, &known);
            bytes += key.len() + value.len();
            transaction.put(Keyspace::MessageId, key, value);
        }
        transaction.count(&self.message, bytes)?;
        transaction.remember(&self.message);
        transaction.set_heads(&namespace, heads);
        for (at, what) in rules::deadlines(&self.message) {
            transaction.leave(at, what, &self.message);
        }
        let superseded = match &self.message.collapse_key {
            Some(key) if rules::collapses(&self.message) => self.supersede(transaction, key)?,
            Some(_) | None => Vec::new(),
        };
        Ok(Appended::New(Arc::clone(&self.message), superseded))
    }

    /// Takes the place of older messages with the same collapse key.
    fn supersede(
        &self,
        transaction: &mut Transaction<'_>,
        key: &CollapseKey,
    ) -> Result<Vec<Arc<Message>>, StoreError> {
        let namespace = &self.message.namespace;
        let key = collapse::key(namespace, key);
        let known = match transaction.get(Keyspace::Collapse, &key)? {
            Some(value) => {
                collapse::decode(&key, &value).map_err(|broken| Keyspace::Collapse.damaged(&key, broken))?
            }
            None => Vec::new(),
        };
        let mut older = Vec::with_capacity(known.len());
        for seq in known {
            older.extend(transaction.message(namespace, seq)?);
        }
        let (superseded, mut left) = rules::collapse(older, &self.message);
        left.push(self.message.seq);
        let value = collapse::value(&key, &left);
        transaction.put(Keyspace::Collapse, key, value);
        Ok(superseded)
    }
}

/// What is known under an id.
fn known_id(
    transaction: &Transaction<'_>,
    namespace: &NamespaceName,
    id: &MessageId,
) -> Result<Option<KnownId>, StoreError> {
    let key = message_id::key(namespace, id);
    if let Some(value) = transaction.get(Keyspace::MessageId, &key)? {
        let stored = message_id::decode(&key, &value);
        return stored.map(Some).map_err(|broken| Keyspace::MessageId.damaged(&key, broken));
    }
    // Callers make ULIDs too: most of those lead far beyond what there is.
    let Some(seq) = id.number().filter(|seq| *seq <= transaction.heads(namespace).seq) else {
        return Ok(None);
    };
    let made = transaction.message(namespace, seq)?.filter(|message| message.id == *id);
    Ok(made.map(|message| KnownId { seq, accepted_at: message.accepted_at, fingerprint: [0; 16] }))
}
