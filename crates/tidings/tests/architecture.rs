//! The shape of the workspace, checked: which crate may see which, what the pure crates do without, and
//! that every file says what it is and stays readable.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// What each crate may depend on within the workspace. The binary puts everything together, so it may
/// see everything; no other crate may see it.
const EDGES: &[(&str, &[&str])] = &[
    ("tidings-model", &[]),
    ("tidings-wire", &[]),
    ("tidings-hub", &["tidings-model", "tidings-wire"]),
    ("tidings-engine", &["tidings-model"]),
    ("tidings-store", &["tidings-model"]),
    ("tidings-outbound", &["tidings-model"]),
    (
        "tidings-node",
        &["tidings-hub", "tidings-engine", "tidings-store", "tidings-outbound", "tidings-model"],
    ),
    ("tidings-gateway", &["tidings-node", "tidings-hub", "tidings-wire", "tidings-model"]),
    ("tidings-api", &["tidings-node", "tidings-wire", "tidings-model"]),
    ("tidings-bench", &[]),
    ("tidings-bridge", &["tidings-model"]),
    ("tidings-sim", &["tidings-node", "tidings-hub", "tidings-store", "tidings-wire", "tidings-model"]),
];

const BINARY: &str = "tidings";

/// Crates without I/O, clocks and randomness.
const PURE: &[&str] = &["tidings-model", "tidings-wire", "tidings-hub"];

/// What a pure crate does without.
const IMPURE: &[&str] = &[
    "axum",
    "fjall",
    "getrandom",
    "hyper",
    "hyper-util",
    "mio",
    "rand",
    "reqwest",
    "rustix",
    "socket2",
    "tempfile",
    "tokio",
    "tokio-util",
    "tower",
];

/// Who may use a vendor's crate; all others must not.
const VENDORS: &[(&str, &[&str])] = &[
    ("fjall", &["tidings-store"]),
    ("redis", &["tidings-bridge"]),
    ("utoipa", &["tidings-api"]),
    ("tonic", &["tidings-api"]),
    ("clap", &["tidings", "tidings-bench"]),
];

/// Longest file, in lines.
const LINES_MAX: usize = 700;

/// The crates of the workspace, each with its normal dependencies.
fn crates() -> BTreeMap<String, BTreeSet<String>> {
    let manifest = root().join("Cargo.toml");
    let metadata =
        MetadataCommand::new().manifest_path(manifest).no_deps().exec().expect("cargo metadata runs");
    metadata
        .packages
        .iter()
        .map(|package| {
            let normal =
                package.dependencies.iter().filter(|dependency| dependency.kind == DependencyKind::Normal);
            (package.name.to_string(), normal.map(|dependency| dependency.name.clone()).collect())
        })
        .collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn crates_see_only_what_they_may() {
    let crates = crates();
    for (name, dependencies) in &crates {
        if name == BINARY {
            continue;
        }
        let Some((_, allowed)) = EDGES.iter().find(|(known, _)| known == name) else {
            panic!("{name} is new: say in EDGES what it may see");
        };
        for dependency in dependencies.iter().filter(|dependency| crates.contains_key(*dependency)) {
            assert!(allowed.contains(&dependency.as_str()), "{name} must not see {dependency}");
        }
    }
}

#[test]
fn pure_crates_do_without_the_world() {
    let crates = crates();
    for name in PURE {
        for dependency in &crates[*name] {
            assert!(!IMPURE.contains(&dependency.as_str()), "{name} must not use {dependency}");
            assert!(
                !crates.contains_key(dependency) || PURE.contains(&dependency.as_str()),
                "{name} sees {dependency}"
            );
        }
    }
}

#[test]
fn vendors_stay_where_they_are() {
    for (name, dependencies) in &crates() {
        for (vendor, users) in VENDORS {
            assert!(
                !dependencies.contains(*vendor) || users.contains(&name.as_str()),
                "{name} must not use {vendor}"
            );
        }
    }
}

#[test]
fn every_file_says_what_it_is_and_stays_readable() {
    let mut files = Vec::new();
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        collect(&entry.unwrap().path(), &mut files);
    }
    assert!(files.len() > 50, "{files:?}");
    let mut wrong = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let lines = text.lines().count();
        if !text.starts_with("//! ") {
            wrong.push(format!("{} does not begin with //!", file.display()));
        }
        if lines > LINES_MAX {
            wrong.push(format!("{} has {lines} lines, at most {LINES_MAX} are readable", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every Rust file below a directory, build output aside.
fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    if !directory.is_dir() {
        return;
    }
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
