//! Who waits for receipts: a caller that wants to know now, and not to ask again and again.

use std::collections::HashMap;

use roaring::RoaringBitmap;
use tidings_model::NamespaceName;
use tokio::sync::oneshot;

use super::Key;

/// Who waits for which devices' receipts of which messages.
#[derive(Debug, Default)]
pub(super) struct Watchers(HashMap<Key, Vec<Watcher>>);

#[derive(Debug)]
struct Watcher {
    left: RoaringBitmap,
    done: oneshot::Sender<()>,
}

impl Watchers {
    /// Tells `done` when all of these have given a receipt; at once, when none is left.
    pub(super) fn watch(&mut self, key: Key, left: RoaringBitmap, done: oneshot::Sender<()>) {
        if left.is_empty() {
            let _ = done.send(());
        } else {
            self.0.entry(key).or_default().push(Watcher { left, done });
        }
    }

    /// A device has given its receipt.
    pub(super) fn acked(&mut self, key: &Key, device: u32) {
        let Some(watchers) = self.0.get_mut(key) else { return };
        for mut watcher in std::mem::take(watchers) {
            watcher.left.remove(device);
            if watcher.left.is_empty() {
                let _ = watcher.done.send(());
            } else {
                watchers.push(watcher);
            }
        }
        if watchers.is_empty() {
            self.0.remove(key);
        }
    }

    /// No receipt is worth waiting for any more.
    pub(super) fn over(&mut self, key: &Key) {
        for watcher in self.0.remove(key).into_iter().flatten() {
            let _ = watcher.done.send(());
        }
    }

    /// Nothing of a namespace is worth waiting for any more.
    pub(super) fn cleared(&mut self, namespace: &NamespaceName) {
        for (_, watchers) in self.0.extract_if(|(of, _), _| of == namespace) {
            for watcher in watchers {
                let _ = watcher.done.send(());
            }
        }
    }

    /// Forgets those who wait no more.
    pub(super) fn let_go(&mut self) {
        self.0.retain(|_, watchers| {
            watchers.retain(|watcher| !watcher.done.is_closed());
            !watchers.is_empty()
        });
    }
}
