//! What tests do to an open store behind its back.

use super::EmbeddedStore;
use super::disk::Disk;
use crate::kv::{Keyspace, meta};

/// Writes everything out to tables.
pub(crate) fn write_out(store: &EmbeddedStore) {
    store.shared.disk().unwrap().write_out();
}

/// Writes everything out, and merges all tables: what is dead is gone then.
pub(crate) fn rewrite(store: &EmbeddedStore) {
    let disk = store.shared.disk().unwrap();
    disk.write_out();
    for keyspace in Keyspace::ALL {
        disk.rewrite(keyspace).unwrap();
    }
}

/// How many entries there are on disk, seen by readers or not.
pub(crate) fn entries(store: &EmbeddedStore, keyspace: Keyspace) -> usize {
    store.shared.disk().unwrap().view().scan(keyspace, &[]).count()
}

/// Makes the store look as if it had another format. The writer must be idle, and stay so.
pub(crate) fn set_format(store: &EmbeddedStore, format: u32) {
    let disk = store.shared.disk().unwrap();
    let value = disk.get(Keyspace::Meta, meta::BATCH_KEY).unwrap().unwrap();
    let batch = meta::decode_batch(&value).unwrap() + 1;
    write_format(&disk, batch, meta::value(meta::FORMAT_KEY, format));
}

/// The format that the directory says it has.
pub(crate) fn format(store: &EmbeddedStore) -> u32 {
    let value = store.shared.disk().unwrap().get(Keyspace::Meta, meta::FORMAT_KEY).unwrap().unwrap();
    meta::decode(meta::FORMAT_KEY, &value).unwrap()
}

fn write_format(disk: &Disk, batch: u64, value: Vec<u8>) {
    let change = (Keyspace::Meta, meta::FORMAT_KEY.into(), Some(value.into()));
    disk.commit(batch, [change].into_iter(), true).unwrap();
}

/// Closes the store without its newest keyspaces, as a version wrote it that did not know them.
pub(crate) fn forget_keyspaces(store: EmbeddedStore, from: usize) {
    let disk = store.shared.disk().unwrap();
    disk.write_out();
    disk.forget_keyspaces(from);
    // A store that never had them has no removals either, and these must not be newer than all that follows.
    let batch = disk.get(Keyspace::Meta, meta::BATCH_KEY).unwrap().unwrap();
    let format = disk.get(Keyspace::Meta, meta::FORMAT_KEY).unwrap().unwrap();
    write_format(&disk, meta::decode_batch(&batch).unwrap() + 1, format.to_vec());
    drop(disk);
    drop(store);
}
