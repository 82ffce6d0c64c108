//! What a damaged directory comes to: an error, or everything that was accepted. Never a panic, never a
//! store that has silently forgotten something.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use tidings_model::{Durability, Seq};

use super::{Everything, directory, everything, fill, image, open, try_open};
use crate::conformance::given::{append, demo, message};
use crate::conformance::run;
use crate::embedded::testing;
use crate::{Messages, StoreError};

/// All files of a directory, below it too.
fn files(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// The journal, and where its bytes end: fjall takes space in advance, and fills it with zeros.
fn journal(directory: &Path) -> (PathBuf, u64) {
    let path = directory.join("db/0.jnl");
    let bytes = fs::read(&path).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    (path, end as u64)
}

fn flip(path: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

fn cut(path: &Path, at: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(at).unwrap();
}

/// Opens a damaged directory and reads everything in it.
fn look(path: &Path) -> Result<Everything, StoreError> {
    let store = try_open(path)?;
    let mut seen = None;
    run(async { seen = Some(everything(&store).await) });
    seen.unwrap()
}

/// Takes back most of the space that fjall took in advance, so that it need not be copied many times.
fn shrink(directory: &Path) {
    let (path, end) = journal(directory);
    cut(&path, end + 4_096);
}

/// A store with something of every kind, in tables and in the journal, and what can be read from it.
fn filled() -> (tempfile::TempDir, Everything) {
    let directory = directory();
    let store = open(directory.path());
    let mut expected = None;
    run(async {
        fill(&store).await;
        testing::write_out(&store);
        append(&store, vec![message("last", &["all"])]).await;
        expected = Some(everything(&store).await.unwrap());
    });
    drop(store);
    shrink(directory.path());
    (directory, expected.unwrap())
}

/// A store with something durable, and after it three batches that are not: the image of its crash, what
/// was durable, and where that ends in the journal.
fn crashed() -> (tempfile::TempDir, Seq, u64) {
    let directory = directory();
    let store = open(directory.path());
    let mut durable = (Seq(0), 0);
    run(async {
        fill(&store).await;
        append(&store, vec![message("durable", &["all"])]).await;
        durable = (store.head(&demo()), journal(directory.path()).1);
        for index in 0..3 {
            let messages = vec![message(&format!("memory-{index}"), &["all", "room:a"])];
            store.append(messages, Durability::Memory).await.unwrap();
        }
    });
    let crashed = image(directory.path());
    shrink(crashed.path());
    (crashed, durable.0, durable.1)
}

#[test]
fn a_torn_tail_is_cut_off() {
    let (crashed, durable, from) = crashed();
    let (_, to) = journal(crashed.path());
    let mut heads = std::collections::BTreeSet::new();
    for at in (from..to).step_by(29) {
        let torn = image(crashed.path());
        cut(&journal(torn.path()).0, at);
        let seen = look(torn.path()).unwrap();
        assert!(seen.head >= durable && seen.head <= Seq(durable.0 + 3), "cut at {at}: {:?}", seen.head);
        heads.insert(seen.head);
        // What is left can be written to and opened again.
        run(async {
            let store = open(torn.path());
            append(&store, vec![message("after", &["all"])]).await;
        });
        assert_eq!(look(torn.path()).unwrap().head, Seq(seen.head.0 + 1));
    }
    assert_eq!(heads.len(), 3, "{heads:?}");
}

#[test]
fn a_page_that_never_arrived_is_a_torn_tail_too() {
    let (crashed, durable, from) = crashed();
    let (_, to) = journal(crashed.path());
    for at in (from..to).step_by(167) {
        let torn = image(crashed.path());
        flip(&journal(torn.path()).0, at);
        let seen = look(torn.path()).unwrap();
        assert!(seen.head >= durable && seen.head <= Seq(durable.0 + 3), "flipped at {at}: {:?}", seen.head);
    }
}

#[test]
fn a_journal_that_lost_what_was_durable_is_damaged() {
    let (crashed, _, end) = crashed();
    for at in (0..end).step_by(end as usize / 20) {
        for damage in [flip as fn(&Path, u64), cut] {
            let damaged = image(crashed.path());
            let path = journal(damaged.path()).0;
            damage(&path, at);
            let before = fs::read(&path).unwrap();
            match look(damaged.path()) {
                // Nothing protects the sequence number of a batch. When it hides newer batches the journal can
                // be read, and is left alone, but the tree misses them; so it does when the journal ends early
                // where a batch does.
                Err(StoreError::Damaged(text)) if text.contains("/db holds ") => {
                    let whole = &before[..before.len().min(end as usize)];
                    assert!(fs::read(&path).unwrap().starts_with(whole), "no evidence is left");
                }
                Err(StoreError::Damaged(text)) => {
                    let kept = if at == 0 { damaged.path().join("unreadable.jnl") } else { path };
                    assert!(before.is_empty() || text.contains(kept.to_str().unwrap()), "{text}");
                    assert!(before.is_empty() || fs::read(&kept).unwrap() == before, "no evidence is left");
                }
                // The start of a batch has a number that nothing protects and nothing here depends on.
                Ok(seen) => assert_eq!(seen, look(image(crashed.path()).path()).unwrap(), "{at}"),
                Err(other) => panic!("{at} of {end}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_sealed_journal_is_counted_through_too() {
    let directory = directory();
    let store = open(directory.path());
    run(async {
        for index in 0..90 {
            let mut large = message(&format!("m{index}"), &["all"]);
            large.data = vec![b'x'; 1 << 20].into();
            append(&store, vec![large]).await;
        }
    });
    drop(store);
    let sealed = directory.path().join("db/0.jnl");
    assert!(directory.path().join("db/1.jnl").exists(), "the journal has not been rotated");
    let end = fs::metadata(&sealed).unwrap().len();
    for at in [1_000, end / 2, end * 9 / 10] {
        flip(&sealed, at);
        match try_open(directory.path()) {
            Err(StoreError::Damaged(text)) => assert!(text.contains("0.jnl"), "{text}"),
            other => panic!("{at}: {other:?}"),
        }
        flip(&sealed, at);
    }
    assert_eq!(open(directory.path()).head(&demo()), Seq(90));
}

#[test]
fn a_flipped_bit_in_any_file_is_an_error_that_names_it_or_nothing() {
    let (whole, expected) = filled();
    let (mut errors, mut nothing) = (0, 0);
    for file in files(whole.path()) {
        let bytes = fs::metadata(&file).unwrap().len().min(8_192);
        let relative = file.strip_prefix(whole.path()).unwrap();
        for at in (0..5).map(|fifth| bytes * fifth / 5).chain([bytes.saturating_sub(30)]) {
            if at >= bytes {
                continue;
            }
            let damaged = image(whole.path());
            let file = damaged.path().join(relative);
            flip(&file, at);
            match look(damaged.path()) {
                Ok(seen) => {
                    assert_eq!(seen, expected, "{} at {at} has changed what is read", relative.display());
                    nothing += 1;
                }
                Err(StoreError::Damaged(text)) => {
                    // `current` and what it points to have each other's checksum: either may be wrong.
                    let named = if file.ends_with("current") { file.parent().unwrap() } else { &file };
                    let in_keyspace = relative.starts_with("db/keyspaces");
                    assert!(!in_keyspace || text.contains(named.to_str().unwrap()), "{at}: {text}");
                    errors += 1;
                }
                Err(StoreError::Io(_) | StoreError::Format { .. }) => errors += 1,
                Err(other) => panic!("{} at {at}: {other:?}", relative.display()),
            }
        }
    }
    eprintln!("{errors} errors, {nothing} without effect");
    assert!(errors > 150);
}

#[test]
fn a_missing_file_is_an_error_or_nothing() {
    let (whole, expected) = filled();
    for file in files(whole.path()) {
        let relative = file.strip_prefix(whole.path()).unwrap();
        let damaged = image(whole.path());
        fs::remove_file(damaged.path().join(relative)).unwrap();
        match look(damaged.path()) {
            Ok(seen) => assert_eq!(seen, expected, "{} is not needed", relative.display()),
            Err(StoreError::Damaged(_) | StoreError::Io(_)) => {}
            Err(other) => panic!("{}: {other:?}", relative.display()),
        }
    }
    let gone = image(whole.path());
    fs::remove_dir_all(gone.path().join("db")).unwrap();
    assert!(matches!(look(gone.path()), Err(StoreError::Damaged(_))));
}

#[test]
fn a_table_that_cannot_be_merged_is_named_and_ends_writing() {
    let directory = directory();
    // The first and the last id of each table are such that the tables of ids overlap, and are merged in time. There
    // are so many that a tree that is opened anew has tried, and given up again, before they are written.
    let ids =
        |index: u32| (0..200).map(move |at| format!("{}{at}-{index}", if at < 100 { 'a' } else { 'z' }));
    let pile = |index: u32| ids(index).map(|id| message(&id, &["all"])).collect::<Vec<_>>();
    let store = open(directory.path());
    run(async {
        append(&store, pile(0)).await;
        testing::write_out(&store);
    });
    drop(store);
    let tables = files(&directory.path().join("db/keyspaces/2/tables"));
    let [table] = &tables[..] else { panic!("{tables:?}") };
    flip(table, 20);
    let store = open(directory.path());
    run(async {
        let mut kept = 0;
        let refusal = loop {
            match store.append(pile(kept + 1), Durability::Durable).await {
                Ok(_) => kept += 1,
                Err(error) => break error,
            }
            assert!(kept < 1_000, "nothing is noticed");
            testing::write_out(&store);
        };
        let text = refusal.to_string();
        assert!(
            matches!(refusal, StoreError::Damaged(_)) && text.contains(table.to_str().unwrap()),
            "{text}"
        );
        let again = store.append(pile(5_000), Durability::Durable).await.unwrap_err();
        assert_eq!(again.to_string(), text);
        // Readers go on, and nothing is missing.
        let seqs = (1..=u64::from(kept + 1) * 200).map(Seq).collect();
        assert!(store.messages(&demo(), seqs).await.unwrap().iter().all(Option::is_some));
    });
}
