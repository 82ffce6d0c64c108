//! The journals of the tree, counted through before it is opened.
//!
//! fjall replays its journals and, at the first entry that it cannot read, cuts the file there and goes
//! on. For a batch that was being written when the power went that is right; for a flipped bit in the
//! middle it silently drops everything behind, and for some torn batches it refuses to open at all. So we
//! look first. Every batch begins with its number ([`meta::BATCH_KEY`]): numbers must follow each other
//! through all files, and the last one must not be older than what is known to have reached the disk.
//! Then what is behind the last whole batch is a torn tail, nobody was told that it is kept, and it is cut
//! off here. Anything else is damage; the files are left as they are.
//!
//! This file knows the layout of fjall's journal, format 3: batches of a start (tag 1, item count, sequence
//! number), items (tag 2, value type, compression, keyspace, lengths, key, value) and an end (tag 3,
//! xxh3 of the items, `FJL\x03`), all numbers little endian.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use super::disk::io_error;
use crate::StoreError;
use crate::kv::meta;

const TAG_START: u8 = 1;
const TAG_ITEM: u8 = 2;
const TAG_END: u8 = 3;
const MAGIC: [u8; 4] = *b"FJL\x03";

/// Which batches the journals hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Audit {
    /// The number of the newest batch; `None` when the journals hold none.
    pub(super) newest: Option<u64>,
    /// A journal that holds something, but no batch. It may be a torn first batch, or all that there was:
    /// that is known only when the tables have been read, and by then fjall has emptied it.
    pub(super) unreadable: Option<PathBuf>,
}

/// Counts the journals in `directory` through, and cuts off a torn tail.
///
/// `synced` is a batch that has reached the disk. `through` is the newest batch that was answered as
/// committed, when that is known: whatever follows it is cut off too.
///
/// # Errors
/// [`StoreError::Damaged`] when batches are missing; nothing has been changed then.
pub(super) fn audit(directory: &Path, synced: u64, through: Option<u64>) -> Result<Audit, StoreError> {
    let files = journals(directory).map_err(|error| io_error(directory.display(), &error))?;
    let mut newest: Option<u64> = None;
    let mut tail: Option<(&Path, Stretch)> = None;
    for path in &files {
        let stretch = read(path, through).map_err(|error| io_error(path.display(), &error))?;
        if let (Some((before, earlier)), Some((first, _))) = (&tail, stretch.numbers)
            && newest.is_some_and(|newest| first != newest + 1)
        {
            return Err(missing(before, earlier, first));
        }
        newest = stretch.numbers.map(|(_, last)| last).or(newest);
        tail = Some((path, stretch));
    }
    let Some((path, stretch)) = tail else { return Ok(Audit { newest, unreadable: None }) };
    if newest.is_some_and(|newest| newest < synced) {
        return Err(missing(path, &stretch, synced));
    }
    let error = |error| io_error(path.display(), &error);
    if newest.is_none() {
        let holds_something = holds_something(path).map_err(error)?;
        return Ok(Audit { newest, unreadable: holds_something.then(|| path.to_owned()) });
    }
    if stretch.length > stretch.whole {
        let file = OpenOptions::new().write(true).open(path).map_err(error)?;
        file.set_len(stretch.whole).and_then(|()| file.sync_all()).map_err(error)?;
    }
    Ok(Audit { newest, unreadable: None })
}

/// Whether a file has anything but the zeros of space taken in advance.
fn holds_something(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let mut chunk = vec![0; 1 << 20];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(false),
            read if chunk[..read].iter().any(|byte| *byte != 0) => return Ok(true),
            _ => {}
        }
    }
}

fn missing(path: &Path, stretch: &Stretch, known: u64) -> StoreError {
    let last = stretch.numbers.map_or_else(|| "none".to_owned(), |(_, last)| last.to_string());
    StoreError::Damaged(format!(
        "{} can be read up to byte {} (batch {last}), but batch {known} had been written",
        path.display(),
        stretch.whole
    ))
}

/// The journals, oldest first.
fn journals(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut numbered = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let is_journal = path.extension().is_some_and(|extension| extension == "jnl");
        let number =
            path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<u64>().ok());
        if let (true, Some(number)) = (is_journal, number) {
            numbered.push((number, path));
        }
    }
    numbered.sort_unstable();
    Ok(numbered.into_iter().map(|(_, path)| path).collect())
}

/// The whole batches at the beginning of one journal.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    /// The first and the last of them.
    numbers: Option<(u64, u64)>,
    /// Where the last one ends.
    whole: u64,
    /// Where the file ends.
    length: u64,
}

fn read(path: &Path, through: Option<u64>) -> io::Result<Stretch> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut journal =
        Journal { file: BufReader::with_capacity(1 << 20, file), at: 0, length, item: Vec::new() };
    let mut stretch = Stretch { numbers: None, whole: 0, length };
    while let Some(number) = journal.batch()? {
        let follows = stretch.numbers.is_none_or(|(_, last)| number == last + 1);
        if !follows || through.is_some_and(|through| number > through) {
            break;
        }
        stretch.numbers = Some((stretch.numbers.map_or(number, |(first, _)| first), number));
        stretch.whole = journal.at;
    }
    Ok(stretch)
}

struct Journal {
    file: BufReader<File>,
    at: u64,
    length: u64,
    /// The bytes of the current item.
    item: Vec<u8>,
}

impl Journal {
    /// The number of the next batch; `None` when what follows is not a whole batch of ours.
    fn batch(&mut self) -> io::Result<Option<u64>> {
        let Some([TAG_START, rest @ ..]) = self.take::<13>()? else { return Ok(None) };
        let [a, b, c, d, ..] = rest;
        let items = u32::from_le_bytes([a, b, c, d]);
        let mut number = None;
        let mut checksum = Xxh3::new();
        for index in 0..items {
            let Some(key_bytes) = self.item()? else { return Ok(None) };
            checksum.update(&self.item);
            if index == 0 {
                let (key, value) = self.item[ITEM_HEAD..].split_at(key_bytes);
                number = if key == meta::BATCH_KEY { meta::decode_batch(value).ok() } else { None };
            }
        }
        let Some([TAG_END, rest @ ..]) = self.take::<13>()? else { return Ok(None) };
        let [a, b, c, d, e, f, g, h, magic @ ..] = rest;
        let expected = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        Ok(number.filter(|_| magic == MAGIC && checksum.digest() == expected))
    }

    /// Reads an item into `self.item`: the length of its key, or `None` when it is none.
    fn item(&mut self) -> io::Result<Option<usize>> {
        let Some(head) = self.take::<ITEM_HEAD>()? else { return Ok(None) };
        // Tag, value type, no compression (we switch it off), keyspace, key length, value length twice.
        let [tag, _, compression, _, _, _, _, _, _, _, _, k0, k1, _, _, _, _, v0, v1, v2, v3] = head;
        if tag != TAG_ITEM || compression != 0 {
            return Ok(None);
        }
        let key_bytes = usize::from(u16::from_le_bytes([k0, k1]));
        let bytes = key_bytes as u64 + u64::from(u32::from_le_bytes([v0, v1, v2, v3]));
        if bytes > self.length - self.at {
            return Ok(None);
        }
        self.item.clear();
        self.item.extend_from_slice(&head);
        self.item.resize(ITEM_HEAD + bytes as usize, 0);
        self.file.read_exact(&mut self.item[ITEM_HEAD..])?;
        self.at += bytes;
        Ok(Some(key_bytes))
    }

    fn take<const N: usize>(&mut self) -> io::Result<Option<[u8; N]>> {
        if self.length - self.at < N as u64 {
            return Ok(None);
        }
        let mut taken = [0; N];
        self.file.read_exact(&mut taken)?;
        self.at += N as u64;
        Ok(Some(taken))
    }
}

/// Bytes of an item in front of its key.
const ITEM_HEAD: usize = 21;
