//! The books that are in memory.

use rustc_hash::FxHashMap;
use tidings_model::{Message, NamespaceName, Seq, Timestamp};
use tidings_store::port::ReceiptRecord;

use super::Entry;

/// The books that are in memory, by namespace and number. They are large: each stays where it is while others come and go.
#[derive(Default)]
pub(super) struct Shelf {
    namespaces: FxHashMap<NamespaceName, FxHashMap<Seq, Box<Entry>>>,
    len: usize,
}

impl Shelf {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn has(&self, namespace: &NamespaceName, seq: Seq) -> bool {
        self.get(namespace, seq).is_some()
    }

    pub(super) fn get(&self, namespace: &NamespaceName, seq: Seq) -> Option<&Entry> {
        self.namespaces.get(namespace)?.get(&seq).map(|entry| &**entry)
    }

    pub(super) fn get_mut(&mut self, namespace: &NamespaceName, seq: Seq) -> Option<&mut Entry> {
        self.namespaces.get_mut(namespace)?.get_mut(&seq).map(|entry| &mut **entry)
    }

    /// Opens the books of a message, unless they are open.
    pub(super) fn open(&mut self, message: &Message, record: Option<ReceiptRecord>, now: Timestamp) {
        let entries = match self.namespaces.get_mut(&message.namespace) {
            Some(entries) => entries,
            None => self.namespaces.entry(message.namespace.clone()).or_default(),
        };
        entries.entry(message.seq).or_insert_with(|| {
            self.len += 1;
            Box::new(Entry::new(message, record, now))
        });
    }

    /// Puts away all books but those that `stay`.
    pub(super) fn retain(&mut self, stay: impl Fn(&Entry) -> bool) {
        for entries in self.namespaces.values_mut() {
            entries.retain(|_, entry| stay(entry));
            if entries.capacity() > 4 * entries.len() + 1024 {
                entries.shrink_to_fit();
            }
        }
        self.namespaces.retain(|_, entries| !entries.is_empty());
        self.len = self.namespaces.values().map(FxHashMap::len).sum();
    }
}
