//! What backups, exports and trimming cost, and what durable appends notice of them.
//!
//! `cargo run --release -p tidings-store --example keep_rate [directory] [messages]`
//!
//! A store is filled with messages of 1 KB. Then single durable appends are made one after the other, at first alone and
//! then while something else goes on, and the time that they take is shown beside what that something takes itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tidings_model::{Durability, Epoch, Except, NamespaceName, Priority, Seq, Target, Timestamp, Topic};
use tidings_store::{EmbeddedStore, Messages, Moment, NewId, NewMessage, Options, Retention, archive};

const BATCH: u64 = 1_000;
const ALONE: Duration = Duration::from_secs(3);

fn main() {
    let mut arguments = std::env::args().skip(1);
    let place = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let messages = arguments.next().map_or(300_000, |text| text.parse().expect("a number of messages"));
    let directory = tempfile::tempdir_in(place).expect("a directory to write to");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(measure(directory.path(), messages));
}

async fn measure(place: &Path, messages: u64) {
    let path = place.join("store");
    let store = Arc::new(EmbeddedStore::open(&path, Options::new(Epoch(1))).expect("a store"));
    let began = Instant::now();
    for first in (0..messages).step_by(BATCH as usize) {
        let batch = (first..first + BATCH).map(message).collect();
        store.append(batch, Durability::Memory).await.expect("appending");
    }
    println!("filled with {messages} messages in {:.1?}: {} MiB", began.elapsed(), mib(&path));

    appends(&store, "alone", || std::thread::sleep(ALONE)).await;
    let moment = Arc::new(store.moment().await.expect("a moment"));
    appends(&store, "beside a backup", copying(&moment, place.join("copy"))).await;
    appends(&store, "beside an export", exporting(&moment)).await;
    drop(moment);

    let half = Seq(messages / 2);
    let began = Instant::now();
    store.trim(&name(), half).await.expect("trimming");
    println!("trimmed half of it in {:.1?}", began.elapsed());
    appends(&store, "after that", || std::thread::sleep(ALONE)).await;
    println!("left on disk: {} MiB", mib(&path));
    store.trim(&name(), Seq(messages / 10 * 9)).await.expect("trimming");
    appends(&store, "after trimming 9 of 10", || std::thread::sleep(ALONE)).await;
    println!("left on disk: {} MiB", mib(&path));
}

fn copying(moment: &Arc<Moment>, to: PathBuf) -> impl FnOnce() + Send + 'static {
    let moment = Arc::clone(moment);
    move || {
        let began = Instant::now();
        let copied = moment.copy(&to, Options::new(Epoch(2)), |_| ()).expect("a copy");
        let (seconds, mib) = (began.elapsed().as_secs_f64(), copied.bytes >> 20);
        println!("backup: {} entries, {mib} MiB in {seconds:.1} s", copied.entries);
    }
}

fn exporting(moment: &Arc<Moment>) -> impl FnOnce() + Send + 'static {
    let moment = Arc::clone(moment);
    move || {
        let began = Instant::now();
        let mut out = std::io::BufWriter::new(std::io::sink());
        let lines = archive::export(&moment, Timestamp(1), &mut out, &mut |_| ()).expect("an export");
        println!("export: {lines} lines in {:.1} s", began.elapsed().as_secs_f64());
    }
}

/// Appends one message after the other until `work` is done.
async fn appends(store: &EmbeddedStore, what: &str, work: impl FnOnce() + Send + 'static) {
    let done = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&done);
    let working = tokio::task::spawn_blocking(move || {
        work();
        told.store(true, Ordering::Release);
    });
    let mut times = Vec::new();
    while !done.load(Ordering::Acquire) {
        let began = Instant::now();
        store.append(vec![message(0)], Durability::Durable).await.expect("appending");
        times.push(began.elapsed());
    }
    working.await.expect("the work");
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1_000.0;
    let [p50, p99, most] = [at(0.5), at(0.99), at(1.0)];
    println!("{what:<24} append p50 {p50:.2} ms, p99 {p99:.2} ms, longest {most:.1} ms");
}

fn name() -> NamespaceName {
    "demo".parse().expect("a name")
}

fn message(index: u64) -> NewMessage {
    let at = Timestamp(1_000 + index);
    NewMessage {
        namespace: name(),
        id: NewId::Made { salt: 0 },
        fingerprint: [0; 16],
        event: "push".parse().expect("an event"),
        // Not the same throughout: tables are compressed.
        data: Bytes::from(format!("\"{:x}\"", Digits(index)).into_bytes()),
        to: Target::default(),
        except: Except::default(),
        topics: vec![Topic::User(format!("u{}", index % 10_000).parse().expect("a user"))],
        meant: Arc::default(),
        accepted_at: at,
        expires_at: at,
        priority: Priority::Normal,
        keep: true,
        collapse_key: None,
        deliver_at: None,
        sent_at: at,
        escalate_after: None,
        offline: Bytes::new(),
        recalls: None,
        from: None,
        aside: Bytes::new(),
        replaces: None,
    }
}

/// About a kilobyte of digits that do not repeat.
struct Digits(u64);

impl std::fmt::LowerHex for Digits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut state = self.0;
        for _ in 0..62 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            write!(f, "{state:016x}")?;
        }
        Ok(())
    }
}

fn mib(path: &Path) -> u64 {
    fn bytes(path: &Path) -> u64 {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        let of = |entry: std::fs::DirEntry| match entry.metadata() {
            Ok(there) if there.is_dir() => bytes(&entry.path()),
            Ok(there) => there.len(),
            // Gone meanwhile.
            Err(_) => 0,
        };
        entries.map(of).sum()
    }
    bytes(path) >> 20
}
