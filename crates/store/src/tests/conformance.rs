//! Both stores, held to the port.

use tidings_model::Epoch;

use crate::{MemoryStore, store_conformance};

store_conformance!(memory, || (MemoryStore::new(Epoch(7)), ()));

store_conformance!(embedded, || {
    let directory = crate::tests::directory();
    (crate::tests::open(directory.path()), directory)
});
