//! Both stores, held to the port.

use tidings_model::Epoch;

use crate::{EmbeddedStore, MemoryStore, Options, store_conformance};

store_conformance!(memory, || (MemoryStore::new(Epoch(7)), ()));

store_conformance!(embedded, || {
    let directory = tempfile::tempdir().unwrap();
    (EmbeddedStore::open(directory.path(), Options::new(Epoch(7))).unwrap(), directory)
});
