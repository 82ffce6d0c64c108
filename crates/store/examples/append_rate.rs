//! How many durable appends a second: the embedded store beside a bare file that gets the same bytes.
//!
//! `cargo run --release -p tidings-store --example append_rate [directory]`
//!
//! Every row is one group commit after the other: so many messages of 1 KB, one `fdatasync`. "batch" gives
//! them in one call, "single" in as many calls at once. "bare" appends the same bytes to one file and syncs
//! it: what the disk allows. The rows of a round are taken in turns, and the median of the rounds is shown.

use std::fs::OpenOptions;
use std::future::Future;
use std::io::Write;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tidings_model::{Durability, Epoch, Except, Priority, Target, Timestamp, Topic};
use tidings_store::{Devices, EmbeddedStore, Messages, NewId, NewMessage, Options, Registration, Settings};

const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(1);
const PAYLOAD_BYTES: usize = 1_024;

fn main() {
    let place = std::env::args().nth(1);
    let directory = match &place {
        Some(path) => tempfile::tempdir_in(path),
        None => tempfile::tempdir(),
    };
    let directory = directory.expect("a directory to write to");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let began = Instant::now();
    let store = EmbeddedStore::open(directory.path().join("store"), Options::new(Epoch(1))).expect("a store");
    println!("opened a new store in {:.0?}", began.elapsed());

    println!("{:<36} {:>12} {:>12}", "", "64 per sync", "512 per sync");
    let mut serial = 0;
    type Row<'a> = (&'a str, Box<dyn FnMut(usize) -> f64 + 'a>);
    let bare = directory.path().join("bare");
    let mut ids = || {
        serial += 1_000_000;
        serial
    };
    let (first, second, third) = (ids(), ids() * 1_000, ids() * 1_000_000);
    let (store_ref, runtime_ref) = (&store, &runtime);
    let mut rows: Vec<Row<'_>> = vec![
        ("bare append + fdatasync", Box::new(|size| append_bare(&bare, size))),
        ("batch, made-up id", Box::new(batches(runtime_ref, store_ref, first, false))),
        ("batch, chosen id (looked up)", Box::new(batches(runtime_ref, store_ref, second, true))),
        ("single calls at once, made-up id", Box::new(singles(runtime_ref, store_ref, third))),
    ];
    let mut figures = vec![[Vec::new(), Vec::new()]; rows.len()];
    for _ in 0..ROUNDS {
        for (row, figures) in rows.iter_mut().zip(&mut figures) {
            for (size, figures) in [64, 512].into_iter().zip(figures) {
                figures.push((row.1)(size));
            }
        }
    }
    for ((name, _), mut figures) in rows.iter().zip(figures) {
        let [small, large] = &mut figures;
        println!("{name:<36} {:>12.0} {:>12.0}", median(small), median(large));
    }
    drop(rows);
    settle(&runtime, &store);
    println!("{:?}", store.stats());
    let began = Instant::now();
    runtime.block_on(store.close()).expect("closing");
    println!("closed in {:.0?}", began.elapsed());
    drop(store);
    let began = Instant::now();
    let store = EmbeddedStore::open(directory.path().join("store"), Options::new(Epoch(1))).expect("a store");
    println!("opened it again in {:.0?}", began.elapsed());
    drop(store);
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Repeats `commit`, which writes `size` messages, and answers the messages per second.
fn rate(size: usize, mut commit: impl FnMut()) -> f64 {
    let began = Instant::now();
    let mut commits = 0;
    while began.elapsed() < ROUND {
        commit();
        commits += 1;
    }
    (commits * size) as f64 / began.elapsed().as_secs_f64()
}

fn append_bare(path: &Path, size: usize) -> f64 {
    let mut file = OpenOptions::new().create(true).append(true).open(path).expect("a file");
    let bytes = vec![0xa5; PAYLOAD_BYTES * size];
    let rate = rate(size, || {
        file.write_all(&bytes).expect("writing");
        file.sync_data().expect("syncing");
    });
    drop(file);
    std::fs::remove_file(path).expect("removing");
    rate
}

fn message(serial: u64, chosen: bool) -> NewMessage {
    NewMessage {
        namespace: "demo".parse().expect("a namespace"),
        id: if chosen {
            NewId::Chosen(format!("message-{serial:016}").parse().expect("an id"))
        } else {
            NewId::Made { salt: serial as u32 }
        },
        fingerprint: [7; 16],
        event: "push".parse().expect("an event"),
        data: Bytes::from(vec![b'x'; PAYLOAD_BYTES]),
        to: Target::default(),
        except: Except::default(),
        topics: vec![Topic::User(format!("user-{}", serial % 10_000).parse().expect("a user"))],
        meant: Arc::new([serial as u32 % 10_000].into_iter().collect()),
        accepted_at: Timestamp(1_000),
        expires_at: Timestamp(2_000),
        priority: Priority::Normal,
        keep: true,
        collapse_key: None,
        deliver_at: None,
        sent_at: Timestamp(1_000),
        escalate_after: None,
        offline: Bytes::new(),
        recalls: None,
        from: None,
        aside: Bytes::new(),
        replaces: None,
    }
}

fn batches<'a>(
    runtime: &'a tokio::runtime::Runtime,
    store: &'a EmbeddedStore,
    mut serial: u64,
    chosen: bool,
) -> impl FnMut(usize) -> f64 + 'a {
    move |size| {
        rate(size, || {
            let messages = (0..size as u64).map(|index| message(serial + index, chosen)).collect();
            serial += size as u64;
            let appended = runtime.block_on(store.append(messages, Durability::Durable));
            assert_eq!(appended.expect("appending").len(), size);
        })
    }
}

fn singles<'a>(
    runtime: &'a tokio::runtime::Runtime,
    store: &'a EmbeddedStore,
    mut serial: u64,
) -> impl FnMut(usize) -> f64 + 'a {
    move |size| {
        rate(size, || {
            let calls: Vec<_> = (0..size as u64)
                .map(|index| store.append(vec![message(serial + index, false)], Durability::Durable))
                .collect();
            serial += size as u64;
            runtime.block_on(all(calls));
        })
    }
}

type Call<'a, T> = Pin<Box<dyn Future<Output = Result<T, tidings_store::StoreError>> + Send + 'a>>;

/// Drives all calls to their end.
async fn all<T>(mut calls: Vec<Call<'_, T>>) {
    std::future::poll_fn(|context| {
        calls.retain_mut(|call| match call.as_mut().poll(context) {
            Poll::Ready(result) => {
                assert!(result.is_ok());
                false
            }
            Poll::Pending => true,
        });
        if calls.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Cursors of 10,000 devices moved on, 1,000 to a call.
fn settle(runtime: &tokio::runtime::Runtime, store: &EmbeddedStore) {
    let namespace = "demo".parse().expect("a namespace");
    let register = |index: u32| {
        store.register(Registration {
            namespace: "demo".parse().expect("a namespace"),
            device: format!("device-{index}").parse().expect("a device"),
            user: Some(format!("user-{index}").parse().expect("a user")),
            platform: tidings_model::Platform::Web,
            now: Timestamp(1),
        })
    };
    let began = Instant::now();
    runtime.block_on(all((0..10_000).map(register).collect()));
    println!("{:<36} {:>12.0}", "register, 10,000 at once, /s", 10_000.0 / began.elapsed().as_secs_f64());
    let mut cursor = 0;
    let settled = rate(10_000, || {
        cursor += 1;
        for from in (0..10_000).step_by(1_000) {
            let devices = (from..from + 1_000).map(|ordinal| {
                (tidings_model::Ordinal(ordinal), tidings_model::Seq(cursor), Timestamp(cursor))
            });
            runtime.block_on(store.settle(&namespace, devices.collect())).expect("settling");
        }
    });
    println!("{:<36} {settled:>12.0}", "settle, 1,000 per call, devices/s");
}
