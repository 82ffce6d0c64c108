//! How long messages are kept: by age and by size, in whole buckets, the oldest first.
//!
//! A message is never trimmed while it lives, unless the limit of size leaves no other way; who still waited for it then
//! is counted. A scheduled message does not hold up what was accepted after it: it is carried over, under a new number.
//! This file knows which buckets may go, and not what becomes of them on disk.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tidings_model::{Durability, Message, Seq, Timestamp};
use tidings_store::{Appended, Bucket, NewId, NewMessage, StoreError};

use crate::metrics::Why;
use crate::namespace::History;
use crate::{Namespace, Node};

/// How often it is looked whether anything may go.
const EVERY: Duration = Duration::from_secs(60);

/// Messages that are looked at together.
const LOOK_MESSAGES: u64 = 512;

/// Looks whether anything may go, at once and then again and again, until the node is gone.
pub(crate) async fn run(node: Weak<Node>) {
    loop {
        let Some(here) = node.upgrade() else { return };
        match here.retain().await {
            // A store that is closed ends all of this in a moment.
            Ok(()) | Err(StoreError::Closed) => {}
            Err(why) => tracing::error!(error = %why, "the history cannot be trimmed; trying again"),
        }
        drop(here);
        tokio::time::sleep(EVERY).await;
    }
}

/// Which buckets may go: how many of the oldest, and how many of those only because there is too much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Overdue {
    buckets: usize,
    for_size: usize,
}

/// Which buckets may go. The newest one may go for its age only: there is always something being written to it.
fn overdue(buckets: &[Bucket], history: &History, now: Timestamp) -> Overdue {
    let mut oldest_from_here = Vec::with_capacity(buckets.len());
    let mut until = Timestamp::NEVER;
    for bucket in buckets.iter().rev() {
        // What was accepted before something else is at least as old, whatever the clock said then.
        until = until.min(bucket.until);
        oldest_from_here.push(until);
    }
    let keep = Duration::from_millis(history.keep_ms);
    let aged = buckets
        .iter()
        .zip(oldest_from_here.iter().rev())
        .take_while(|(bucket, until)| {
            history.keep_ms > 0 && until.after(keep) <= now && bucket.expires_at <= now
        })
        .count();
    let mut rest: u64 = buckets[aged..].iter().map(|bucket| bucket.bytes).sum();
    let mut for_size = 0;
    while history.bytes > 0 && rest > history.bytes && aged + for_size + 1 < buckets.len() {
        rest -= buckets[aged + for_size].bytes;
        for_size += 1;
    }
    Overdue { buckets: aged + for_size, for_size }
}

impl Node {
    /// Trims what may go from every namespace.
    ///
    /// # Errors
    /// When the store cannot be read or written; the other namespaces come next time.
    pub async fn retain(&self) -> Result<(), StoreError> {
        let (mut messages, mut bytes) = (0, 0);
        for namespace in self.namespaces() {
            let left = self.retain_of(&namespace).await?;
            messages += left.iter().map(|bucket| bucket.messages).sum::<u64>();
            bytes += left.iter().map(|bucket| bucket.bytes).sum::<u64>();
        }
        self.metrics.history_messages.set(i64::try_from(messages).unwrap_or(i64::MAX));
        self.metrics.history_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        Ok(())
    }

    /// Trims what may go from a namespace. Answers what is left.
    async fn retain_of(&self, namespace: &Arc<Namespace>) -> Result<Vec<Bucket>, StoreError> {
        let mut buckets = self.store.buckets(&namespace.name).await?;
        let now = self.now();
        let overdue = overdue(&buckets, &namespace.settings().history, now);
        let left = buckets.split_off(overdue.buckets);
        let Some(last) = buckets.last() else { return Ok(left) };
        for bucket in buckets.iter().filter(|bucket| bucket.scheduled > 0) {
            self.carry_over(namespace, bucket, now).await?;
        }
        let (aged, for_size) = buckets.split_at(overdue.buckets - overdue.for_size);
        let mut lost = 0;
        if for_size.iter().any(|bucket| bucket.expires_at > now) {
            self.ledger.flush().await;
        }
        for bucket in for_size.iter().filter(|bucket| bucket.expires_at > now) {
            lost += self.waiting_for(namespace, bucket, now).await?;
        }
        self.store.trim(&namespace.name, last.last).await?;
        for (why, gone) in [(Why::AGE, aged), (Why::SIZE, for_size)] {
            let messages = gone.iter().map(|bucket| bucket.messages).sum();
            self.metrics.history_trimmed.get_or_create(&why).inc_by(messages);
        }
        self.metrics.history_lost.inc_by(lost);
        let (name, messages) = (&namespace.name, buckets.iter().map(|bucket| bucket.messages).sum::<u64>());
        if lost > 0 {
            tracing::warn!(
                namespace = %name, messages, lost,
                "the history was larger than it may be; deliveries that still waited are lost with it"
            );
        } else {
            tracing::info!(namespace = %name, messages, buckets = buckets.len(), "the history was trimmed");
        }
        Ok(left)
    }

    /// Gives the messages of a bucket that are still scheduled new numbers, so that the bucket can go without them.
    async fn carry_over(
        &self,
        namespace: &Namespace,
        bucket: &Bucket,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        for seqs in chunks(bucket) {
            let found = self.store.messages(&namespace.name, seqs).await?;
            for message in found.into_iter().flatten().filter(|message| message.is_scheduled()) {
                if self.is_recalled(&message).await {
                    continue;
                }
                let again = vec![scheduled_again(&message, now)];
                let appended = self.store.append(again, Durability::Durable).await?;
                let [Appended::New(carried, _)] = &appended[..] else { continue };
                self.due.expect(carried);
                // Whoever recalls it at this moment means the number that it had.
                if self.is_recalled(&message).await {
                    let recall = |entry: &mut crate::ledger::Entry, now| entry.recalled(now);
                    let name = &namespace.name;
                    let _ = self.ledger.change(name, carried.seq, Durability::Durable, recall).await;
                }
            }
        }
        Ok(())
    }

    async fn is_recalled(&self, message: &Message) -> bool {
        let books = self.ledger.look(&message.namespace, vec![message.seq]).await;
        books.into_iter().flatten().any(|books| books.record.recalled_at.is_some())
    }

    /// How many devices still wait for messages of a bucket.
    async fn waiting_for(
        &self,
        namespace: &Namespace,
        bucket: &Bucket,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut waiting = 0;
        for seqs in chunks(bucket) {
            let messages = self.store.messages(&namespace.name, seqs.clone()).await?;
            let receipts = self.store.receipts(&namespace.name, seqs).await?;
            let alive = |message: &Message| message.keep && message.is_live(now);
            for (message, record) in messages.into_iter().zip(receipts) {
                let Some(message) = message.filter(|message| alive(message)) else { continue };
                let record = record.unwrap_or_default();
                if record.recalled_at.is_none() {
                    let done = record.dropped.iter().fold(&record.acked | &record.escalated, |a, b| a | b);
                    waiting += message.meant.len() - message.meant.intersection_len(&done);
                }
            }
        }
        Ok(waiting)
    }
}

/// The numbers of a bucket, a few at a time.
fn chunks(bucket: &Bucket) -> impl Iterator<Item = Vec<Seq>> + use<> {
    let last = bucket.last.0;
    let starts = (bucket.first.0..=last).step_by(LOOK_MESSAGES as usize);
    starts.map(move |start| (start..=last.min(start + LOOK_MESSAGES - 1)).map(Seq).collect())
}

/// A scheduled message as it is to be stored again, in the place of what it is now.
pub(crate) fn scheduled_again(message: &Message, now: Timestamp) -> NewMessage {
    NewMessage {
        namespace: message.namespace.clone(),
        id: NewId::Kept(message.id.clone()),
        fingerprint: [0; 16],
        event: message.event.clone(),
        data: message.data.clone(),
        to: message.to.clone(),
        except: message.except.clone(),
        topics: Vec::new(),
        meant: Arc::clone(&message.meant),
        accepted_at: message.accepted_at,
        expires_at: message.expires_at,
        priority: message.priority,
        keep: message.keep,
        collapse_key: message.collapse_key.clone(),
        deliver_at: message.deliver_at,
        sent_at: now,
        escalate_after: message.escalate_after,
        offline: message.offline.clone(),
        recalls: message.recalls.clone(),
        from: message.from.clone(),
        aside: message.aside.clone(),
        replaces: Some(message.seq),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(first: u64, until: u64, expires_at: u64, bytes: u64) -> Bucket {
        Bucket {
            first: Seq(first),
            last: Seq(first),
            messages: 1,
            bytes,
            since: Timestamp(until),
            until: Timestamp(until),
            expires_at: Timestamp(expires_at),
            scheduled: 0,
        }
    }

    #[test]
    fn whole_buckets_go_the_oldest_first() {
        // Accepted at 100, 200, 300; the second lives until 900.
        let plain = [bucket(1, 100, 150, 10), bucket(2, 200, 900, 10), bucket(3, 300, 350, 10)];
        // The clock said 5,000 for a while.
        let jumped = [bucket(1, 100, 100, 10), bucket(2, 5_000, 100, 10), bucket(3, 300, 300, 10)];
        for (buckets, keep_ms, bytes, now, expected) in [
            (&plain[..0], 1, 1, 9_999, (0, 0)),
            (&plain[..], 1_000, 0, 1_099, (0, 0)),
            (&plain[..], 1_000, 0, 1_100, (1, 0)),
            (&plain[..], 1_000, 0, 1_200, (2, 0)),
            (&plain[..], 1_000, 0, 1_300, (3, 0)),
            // Not while a message lives, nor what was accepted after it.
            (&plain[..], 10, 0, 899, (1, 0)),
            (&plain[..], 10, 0, 900, (3, 0)),
            (&plain[..], 0, 0, 1 << 50, (0, 0)),
            // Too much: the oldest, alive or not, but never the newest.
            (&plain[..], 0, 30, 400, (0, 0)),
            (&plain[..], 0, 29, 400, (1, 1)),
            (&plain[..], 0, 19, 400, (2, 2)),
            (&plain[..], 0, 1, 400, (2, 2)),
            (&plain[..], 10, 15, 400, (2, 1)),
            (&jumped[..], 1_000, 0, 1_299, (1, 0)),
            (&jumped[..], 1_000, 0, 1_300, (3, 0)),
        ] {
            let found = overdue(buckets, &History { keep_ms, bytes }, Timestamp(now));
            assert_eq!((found.buckets, found.for_size), expected, "{keep_ms} {bytes} {now}");
        }
    }

    #[test]
    fn a_bucket_is_looked_at_in_stretches() {
        let mut whole = bucket(3, 0, 0, 0);
        whole.last = Seq(3 + 2 * LOOK_MESSAGES);
        let all: Vec<Seq> = chunks(&whole).flatten().collect();
        assert_eq!(all, (3..=3 + 2 * LOOK_MESSAGES).map(Seq).collect::<Vec<_>>());
        assert_eq!(chunks(&whole).count(), 3);
    }
}
