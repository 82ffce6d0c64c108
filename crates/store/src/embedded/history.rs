//! The index of history in the tree: how it is searched, and how it grows.
//!
//! It grows beside the writer, which only writes what has been put together here, a little at a time: a push does
//! not wait for it. It does not know what a word is.

use std::collections::BTreeMap;
use std::sync::Arc;

use roaring::RoaringBitmap;
use tidings_model::{Message, NamespaceName, Seq};

use super::disk::{Disk, View};
use super::transaction::Entry;
use super::verb::Index;
use super::{EmbeddedStore, INLINE_READS};
use crate::StoreError;
use crate::kv::{Keyspace, message, term};
use crate::port::{Answer, Found, History, Order, Span, Term};

/// Entries of the index that are written together. What is pushed meanwhile gets its turn between two of these.
const WRITTEN_TOGETHER: usize = 2_048;

/// Entries that one search looks up at most, unless a single block needs more.
const LOOKUPS_MAX: usize = 4_096;

impl History for EmbeddedStore {
    fn browse(
        &self,
        namespace: &NamespaceName,
        span: Span,
        order: Order,
        limit: usize,
    ) -> Answer<'_, Vec<Arc<Message>>> {
        let (namespace, span) = (namespace.clone(), self.kept(namespace, span));
        Box::pin(
            self.read(limit <= INLINE_READS, move |disk| {
                browse(&disk.view(), &namespace, span, order, limit)
            }),
        )
    }

    fn indexed(&self, namespace: &NamespaceName) -> Answer<'_, Seq> {
        let key = term::indexed_key(namespace);
        Box::pin(self.read(true, move |disk| indexed(disk, &key)))
    }

    fn index(
        &self,
        namespace: &NamespaceName,
        postings: Vec<(Term, Vec<Seq>)>,
        through: Seq,
    ) -> Answer<'_, ()> {
        let namespace = namespace.clone();
        Box::pin(async move {
            // What is read for this must not change before it is written.
            let _alone = self.indexing.lock().await;
            let name = namespace.clone();
            let entries = self.read(false, move |disk| grown(disk, &name, postings)).await?;
            let mut entries = entries.into_iter().peekable();
            while entries.peek().is_some() {
                let some = entries.by_ref().take(WRITTEN_TOGETHER).collect();
                self.submit(Index(some)).await?;
            }
            let key = term::indexed_key(&namespace);
            if History::indexed(self, &namespace).await? >= through {
                return Ok(());
            }
            let value = term::indexed_value(&key, through);
            self.submit(Index(vec![(key, value)])).await
        })
    }

    fn search(
        &self,
        namespace: &NamespaceName,
        wanted: Vec<Vec<Term>>,
        span: Span,
        order: Order,
        limit: usize,
    ) -> Answer<'_, Found> {
        let (namespace, span) = (namespace.clone(), self.kept(namespace, span));
        Box::pin(self.read(false, move |disk| search(&disk.view(), &namespace, &wanted, span, order, limit)))
    }
}

impl EmbeddedStore {
    /// What has not been trimmed of a stretch.
    fn kept(&self, namespace: &NamespaceName, span: Span) -> Span {
        Span { first: span.first.max(self.shared.trimmed(namespace).next()), ..span }
    }
}

fn indexed(disk: &Disk, key: &[u8]) -> Result<Seq, StoreError> {
    let Some(value) = disk.get(Keyspace::Term, key)? else { return Ok(Seq(0)) };
    term::decode_indexed(key, &value).map_err(|broken| Keyspace::Term.damaged(key, broken))
}

fn browse(
    view: &View<'_>,
    namespace: &NamespaceName,
    span: Span,
    order: Order,
    limit: usize,
) -> Result<Vec<Arc<Message>>, StoreError> {
    if span.is_empty() {
        return Ok(Vec::new());
    }
    let from = message::key(namespace, span.first);
    // Behind the last one of the stretch, and before everything that follows.
    let mut to = message::key(namespace, span.last);
    to.push(0);
    let entries = view.range(Keyspace::Message, &from, &to);
    let read = |entry: Result<(fjall::Slice, fjall::Slice), StoreError>| {
        let (key, value) = entry?;
        let message = message::decode(&key, &value);
        message.map(Arc::new).map_err(|broken| Keyspace::Message.damaged(&key, broken))
    };
    match order {
        Order::OldestFirst => entries.take(limit).map(read).collect(),
        Order::NewestFirst => entries.rev().take(limit).map(read).collect(),
    }
}

/// The entries of the index as they are with these postings.
fn grown(
    disk: &Disk,
    namespace: &NamespaceName,
    postings: Vec<(Term, Vec<Seq>)>,
) -> Result<Vec<Entry>, StoreError> {
    let mut entries = Vec::with_capacity(postings.len());
    for (what, seqs) in postings {
        if matches!(what, Term::Scheduled | Term::Recalled) {
            continue;
        }
        let mut by_block: BTreeMap<u64, RoaringBitmap> = BTreeMap::new();
        for seq in seqs {
            let (block, place) = term::place(seq);
            by_block.entry(block).or_default().insert(place);
        }
        for (block, mut places) in by_block {
            let key = term::key(namespace, block, &what);
            if let Some(before) = disk.get(Keyspace::Term, &key)? {
                places |=
                    term::decode(&key, &before).map_err(|broken| Keyspace::Term.damaged(&key, broken))?;
            }
            let value = term::value(&key, &places);
            entries.push((key, value));
        }
    }
    // In the order in which the tree keeps them.
    entries.sort_unstable();
    Ok(entries)
}

fn search(
    view: &View<'_>,
    namespace: &NamespaceName,
    wanted: &[Vec<Term>],
    span: Span,
    order: Order,
    limit: usize,
) -> Result<Found, StoreError> {
    let mut found = Found::default();
    if wanted.is_empty() || span.is_empty() {
        return Ok(found);
    }
    let ((first, _), (last, _)) = (term::place(span.first), term::place(span.last));
    let mut lookups = 0;
    for step in 0..=last - first {
        let block = match order {
            Order::OldestFirst => first + step,
            Order::NewestFirst => last - step,
        };
        let within = Span { first: Seq(block * term::BLOCK), last: Seq((block + 1) * term::BLOCK - 1) };
        let mut places = common(view, namespace, wanted, block, &mut lookups)?;
        let here = within.and(span);
        places.remove_range(..(here.first.0 - within.first.0) as u32);
        places.remove_range((here.last.0 - within.first.0) as u32 + 1..);
        let room = limit - found.seqs.len();
        let full = places.len() > room as u64;
        let seq = |place: u32| Seq(within.first.0 + u64::from(place));
        match order {
            Order::OldestFirst => found.seqs.extend(places.iter().take(room).map(seq)),
            Order::NewestFirst => found.seqs.extend(places.iter().rev().take(room).map(seq)),
        }
        if full {
            found.rest = match found.seqs.last() {
                Some(newest) => span.behind(*newest, order),
                None => Some(span),
            };
            break;
        }
        if found.seqs.len() == limit || lookups >= LOOKUPS_MAX {
            let end = match order {
                Order::OldestFirst => within.last,
                Order::NewestFirst => within.first,
            };
            found.rest = span.behind(end, order);
            break;
        }
    }
    Ok(found)
}

/// The places in a block that have, of each list, at least one term.
fn common(
    view: &View<'_>,
    namespace: &NamespaceName,
    wanted: &[Vec<Term>],
    block: u64,
    lookups: &mut usize,
) -> Result<RoaringBitmap, StoreError> {
    let mut common: Option<RoaringBitmap> = None;
    for any in wanted {
        let mut places = RoaringBitmap::new();
        for what in any {
            *lookups += 1;
            let key = term::key(namespace, block, what);
            if let Some(value) = view.get(Keyspace::Term, &key)? {
                places |=
                    term::decode(&key, &value).map_err(|broken| Keyspace::Term.damaged(&key, broken))?;
            }
        }
        let places = match common {
            None => places,
            Some(before) => before & places,
        };
        if places.is_empty() {
            return Ok(places);
        }
        common = Some(places);
    }
    Ok(common.unwrap_or_default())
}
