//! The lines of an export behind its header. Whatever they are, a store comes of it that opens, or an error and an
//! empty directory.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings_model::Epoch;
use tidings_store::{EmbeddedStore, Options, archive};

const HEADER: &[u8] =
    b"{\"type\":\"header\",\"format\":\"tidings-export\",\"version\":1,\"exported_at\":1,\"messages\":0}\n";

fuzz_target!(|lines: &[u8]| {
    let directory = tempfile::tempdir().expect("a directory to write to");
    let text = [HEADER, lines].concat();
    let imported = archive::import(directory.path(), Options::new(Epoch(1)), &mut &text[..], &mut |_| ());
    match imported {
        Ok(_) => drop(EmbeddedStore::open(directory.path(), Options::new(Epoch(2))).expect("a store that opens")),
        Err(_) => assert_eq!(std::fs::read_dir(directory.path()).expect("its directory").count(), 0),
    }
});
