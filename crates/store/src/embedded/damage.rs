//! Which file is damaged. fjall finds out that something is, block by block, and does not say where; whoever restores a
//! file from a copy has to know. It also takes a manifest for what it says, flipped bits and all, and throws away
//! the tables that are not in it: so manifests are looked at before it sees them.
//!
//! This file knows where lsm-tree keeps its manifests and tables, format 3: in the directory of a keyspace, `current` has
//! the number of a manifest and its xxh3, `v<number>` is an archive whose section `tables` has levels (a byte says how
//! many) of runs (a byte) of tables (four): number, a zero, xxh3 and a sequence number. `tables/<number>` is a
//! table, and all numbers are little endian. It does not know what is in the tables.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::ops::Bound;
use std::path::{Path, PathBuf};

use fjall::AbstractTree;
use xxhash_rust::xxh3::Xxh3;

use super::disk::io_error;
use crate::StoreError;

const CURRENT: &str = "current";
const TABLES: &str = "tables";

/// Refuses a tree with a manifest that is not what was written. `keyspaces` is the directory that they are in.
///
/// # Errors
/// [`StoreError::Damaged`] with the name of the manifest, [`StoreError::Io`].
pub(super) fn check_manifests(keyspaces: &Path) -> Result<(), StoreError> {
    for folder in folders(keyspaces).map_err(|error| io_error(keyspaces.display(), &error))? {
        let error = |error| io_error(folder.join(CURRENT).display(), &error);
        let (manifest, expected) = current(&folder).map_err(error)?;
        match whole(&manifest, expected) {
            Ok(true) => {}
            Ok(false) => return Err(StoreError::Damaged(not_as_written(&manifest))),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(StoreError::Damaged(format!("{} is missing", manifest.display())));
            }
            Err(error) => return Err(io_error(manifest.display(), &error)),
        }
    }
    Ok(())
}

/// Looks through all tables of a tree that cannot be opened, for one that is damaged.
pub(super) fn in_tree(keyspaces: &Path) -> Option<String> {
    let folders = folders(keyspaces).ok()?;
    folders.into_iter().find_map(|folder| {
        let (manifest, _) = current(&folder).ok()?;
        let mut tables = tables(&manifest).ok()?.into_iter();
        tables.find_map(|(number, expected)| {
            let table = folder.join(TABLES).join(number.to_string());
            // One that cannot be read is named by whoever cannot read it.
            (!whole(&table, expected).ok()?).then(|| not_as_written(&table))
        })
    })
}

/// Looks through the tables of a keyspace that may hold keys between these, for one that is damaged.
pub(super) fn in_keyspace(space: &fjall::Keyspace, keys: (Bound<&[u8]>, Bound<&[u8]>)) -> Option<String> {
    let version = space.tree.current_version();
    let mut tables =
        version.iter_tables().filter(|table| table.metadata.key_range.overlaps_with_bounds(&keys));
    tables.find_map(|table| {
        let expected = table.checksum().into_u128();
        (!whole(&table.path, expected).ok()?).then(|| not_as_written(&table.path))
    })
}

fn not_as_written(file: &Path) -> String {
    format!("{} is not what was written", file.display())
}

fn folders(keyspaces: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(keyspaces)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            folders.push(entry.path());
        }
    }
    folders.sort_unstable();
    Ok(folders)
}

/// The manifest of a keyspace, and its checksum.
fn current(folder: &Path) -> io::Result<(PathBuf, u128)> {
    let bytes = fs::read(folder.join(CURRENT))?;
    let (Some(number), Some(checksum)) =
        (bytes.first_chunk(), bytes.get(8..24).and_then(<[u8]>::first_chunk))
    else {
        return Err(ErrorKind::UnexpectedEof.into());
    };
    let number = u64::from_le_bytes(*number);
    Ok((folder.join(format!("v{number}")), u128::from_le_bytes(*checksum)))
}

/// The tables in a manifest, and their checksums.
fn tables(manifest: &Path) -> io::Result<Vec<(u64, u128)>> {
    let archive = sfa::Reader::new(manifest).map_err(io::Error::other)?;
    let section = archive.toc().section(b"tables").ok_or(ErrorKind::InvalidData)?;
    let mut section = section.buf_reader(manifest).map_err(io::Error::other)?;
    let mut tables = Vec::new();
    let [levels] = take(&mut section)?;
    for _ in 0..levels {
        let [runs] = take(&mut section)?;
        for _ in 0..runs {
            for _ in 0..u32::from_le_bytes(take(&mut section)?) {
                let number = u64::from_le_bytes(take(&mut section)?);
                let [_kind] = take(&mut section)?;
                let checksum = u128::from_le_bytes(take(&mut section)?);
                let _sequence_number: [u8; 8] = take(&mut section)?;
                tables.push((number, checksum));
            }
        }
    }
    Ok(tables)
}

fn take<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut taken = [0; N];
    from.read_exact(&mut taken)?;
    Ok(taken)
}

/// Whether a file has this checksum.
fn whole(path: &Path, expected: u128) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let mut checksum = Xxh3::new();
    let mut chunk = vec![0; 1 << 20];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(checksum.digest128() == expected),
            read => checksum.update(&chunk[..read]),
        }
    }
}
