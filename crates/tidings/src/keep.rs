//! Backups, exports and imports from the command line: of a store that nobody has open, or through the control socket of
//! the server that has it. And that the server goes.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal as _, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};
use tidings_model::Epoch;
use tidings_node::{Clock, StoreError, ids};
use tidings_store::archive::{self, ExportError, ImportError};
use tidings_store::{CopyError, EmbeddedStore, Moment, Options, Progress};

use crate::config::Config;
use crate::control::{self, Ask, Told};

/// How often progress is told where there is no terminal.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Why it came to nothing: one line that says what to do.
#[derive(Debug)]
pub(crate) enum KeepError {
    /// There is no store.
    NoStore(PathBuf),
    /// Another process has the store, and does not answer.
    NoAnswer(PathBuf, io::Error),
    /// The server said no.
    Refused(String),
    /// The server stopped in the middle.
    BrokenOff,
    /// The store cannot be opened.
    Store(PathBuf, StoreError),
    /// The copy came to nothing.
    Copy(CopyError),
    /// The export came to nothing.
    Export(ExportError),
    /// The import came to nothing.
    Import(ImportError),
    /// A file cannot be read or written.
    File(PathBuf, io::Error),
    /// The operating system refused something else.
    System(io::Error),
}

impl fmt::Display for KeepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoStore(path) => {
                write!(f, "there is no store in {}; say where it is with --store", path.display())
            }
            Self::NoAnswer(path, why) => write!(
                f,
                "no server answers for the data directory {} ({why}): none runs with it, it is only just starting, or it is another user's",
                path.display()
            ),
            Self::Refused(why) => write!(f, "{why}"),
            Self::BrokenOff => write!(f, "the server has stopped before it was done; try again"),
            Self::Store(path, why) => write!(f, "the store in {} cannot be opened: {why}", path.display()),
            Self::Copy(CopyError::NotEmpty(path)) => {
                write!(f, "{} is not empty; a backup needs a directory of its own", path.display())
            }
            Self::Copy(why) => write!(f, "{why}"),
            Self::Export(why) => write!(f, "{why}"),
            Self::Import(why) => write!(f, "{why}"),
            Self::File(path, why) => write!(f, "{}: {why}", path.display()),
            Self::System(why) => write!(f, "{why}"),
        }
    }
}

/// A store: ours, or that of a server that runs.
enum Found {
    Ours(Moment, EmbeddedStore),
    Served,
}

fn find(config: &Config) -> Result<Found, KeepError> {
    let path = &config.store.path;
    // Opening would begin one.
    if !path.join("LOCK").exists() {
        return Err(KeepError::NoStore(path.clone()));
    }
    let store = match EmbeddedStore::open(path, options(config)) {
        Ok(store) => store,
        Err(StoreError::InUse(_)) => return Ok(Found::Served),
        Err(why) => return Err(KeepError::Store(path.clone(), why)),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(KeepError::System)?;
    let moment = runtime.block_on(store.moment()).map_err(|why| KeepError::Store(path.clone(), why))?;
    Ok(Found::Ours(moment, store))
}

fn options(config: &Config) -> Options {
    Options { cache_bytes: config.store.cache, ..Options::new(Epoch(u32::from_le_bytes(ids::random()))) }
}

fn ask(config: &Config, asked: &Ask) -> Result<impl BufRead + use<>, KeepError> {
    let path = &config.store.path;
    control::ask(path, asked).map_err(|why| KeepError::NoAnswer(path.clone(), why))
}

/// Has the server that has the store go, as SIGTERM does.
pub(crate) fn drain(config: &Config) -> Result<(), KeepError> {
    if !config.store.path.join("LOCK").exists() {
        return Err(KeepError::NoStore(config.store.path.clone()));
    }
    let mut line = String::new();
    ask(config, &Ask::Drain)?.read_line(&mut line).map_err(KeepError::System)?;
    match serde_json::from_str(&line) {
        Ok(Told::Draining { within }) => {
            println!("the server sends its clients away, and ends within {within} s");
            Ok(())
        }
        Ok(Told::Error(why)) => Err(KeepError::Refused(why)),
        Ok(Told::Progress { .. } | Told::Copied { .. }) | Err(_) => Err(KeepError::BrokenOff),
    }
}

/// Copies the store into a directory.
pub(crate) fn back_up(config: &Config, to: &Path) -> Result<(), KeepError> {
    let to = std::path::absolute(to).map_err(KeepError::System)?;
    let mut progress = Telling::new("backup", "entries");
    let (entries, bytes) = match find(config)? {
        Found::Ours(moment, store) => {
            let copied = moment.copy(&to, options(config), |told| progress.tell(told));
            drop(moment);
            drop(store);
            let copied = copied.map_err(KeepError::Copy)?;
            (copied.entries, copied.bytes)
        }
        Found::Served => served_backup(config, &to, &mut progress)?,
    };
    progress.done(&format!("{} entries, {} in {}", HumanCount(entries), HumanBytes(bytes), to.display()));
    Ok(())
}

fn served_backup(config: &Config, to: &Path, progress: &mut Telling) -> Result<(u64, u64), KeepError> {
    for line in ask(config, &Ask::Backup { to: to.to_owned() })?.lines() {
        let line = line.map_err(|_| KeepError::BrokenOff)?;
        match serde_json::from_str(&line).map_err(|_| KeepError::BrokenOff)? {
            Told::Progress { done, of } => progress.tell(Progress { done, of }),
            Told::Copied { entries, bytes } => return Ok((entries, bytes)),
            Told::Draining { .. } => return Err(KeepError::BrokenOff),
            Told::Error(why) => return Err(KeepError::Refused(why)),
        }
    }
    Err(KeepError::BrokenOff)
}

/// Writes the store as text.
pub(crate) fn export(config: &Config, out: &Path) -> Result<(), KeepError> {
    let found = find(config)?;
    let mut progress = Telling::new("export", "lines");
    let target = Target::open(out).map_err(|why| KeepError::File(out.to_owned(), why))?;
    let mut file =
        BufWriter::with_capacity(1 << 16, target.file().map_err(|why| KeepError::File(out.to_owned(), why))?);
    let lines = match found {
        Found::Ours(moment, store) => {
            let now = Clock::System.now();
            let exported = archive::export(&moment, now, &mut file, &mut |told| progress.tell(told));
            drop(moment);
            drop(store);
            exported.map_err(KeepError::Export)?
        }
        Found::Served => served_export(config, &mut file, &mut progress)?,
    };
    let written = file.flush();
    drop(file);
    written.and_then(|()| target.finish()).map_err(|why| KeepError::File(out.to_owned(), why))?;
    progress.done(&format!("{} lines", HumanCount(lines)));
    Ok(())
}

fn served_export(config: &Config, out: &mut dyn Write, progress: &mut Telling) -> Result<u64, KeepError> {
    let mut answer = ask(config, &Ask::Export)?;
    let (mut line, mut lines, mut ended) = (Vec::new(), 0, false);
    loop {
        line.clear();
        let read = answer.read_until(b'\n', &mut line).map_err(|_| KeepError::BrokenOff)?;
        if read == 0 {
            return if ended { Ok(lines) } else { Err(KeepError::BrokenOff) };
        }
        if line.starts_with(b"{\"error\"") {
            let Ok(Told::Error(why)) = serde_json::from_slice(&line) else {
                return Err(KeepError::BrokenOff);
            };
            return Err(KeepError::Refused(why));
        }
        ended = line.starts_with(b"{\"type\":\"end\"") && line.ends_with(b"\n");
        out.write_all(&line).map_err(|why| KeepError::Export(why.into()))?;
        lines += 1;
        progress.tell(Progress { done: lines, of: 0 });
    }
}

/// Makes a store of text.
pub(crate) fn import(config: &Config, from: &Path) -> Result<(), KeepError> {
    let path = &config.store.path;
    let mut progress = Telling::new("import", "bytes");
    let failed = |why| KeepError::File(from.to_owned(), why);
    let (input, of): (Box<dyn Read>, u64) = if is_standard(from) {
        (Box::new(io::stdin().lock()), 0)
    } else {
        let file = File::open(from).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        (Box::new(file), bytes)
    };
    let mut text = BufReader::with_capacity(1 << 16, input);
    let imported =
        archive::import(path, options(config), &mut text, &mut |done| progress.tell(Progress { done, of }));
    let imported = imported.map_err(|why| match why {
        ImportError::Store(why) => KeepError::Store(path.clone(), why),
        other => KeepError::Import(other),
    })?;
    let (lines, bytes) = (HumanCount(imported.lines), HumanBytes(imported.bytes));
    progress.done(&format!("{lines} lines, {bytes} in {}", path.display()));
    Ok(())
}

fn is_standard(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Where an export goes. A regular file gets its name when it is whole.
enum Target {
    Standard,
    /// A pipe, or something else that is not replaced.
    There(PathBuf),
    File {
        path: PathBuf,
        partial: PathBuf,
    },
}

impl Target {
    fn open(path: &Path) -> io::Result<Self> {
        if is_standard(path) {
            return Ok(Self::Standard);
        }
        match fs::metadata(path) {
            Ok(there) if there.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
            Ok(there) if !there.is_file() => Ok(Self::There(path.to_owned())),
            Ok(_) | Err(_) => {
                let mut partial = path.as_os_str().to_owned();
                partial.push(format!(".{}.partial", std::process::id()));
                Ok(Self::File { path: path.to_owned(), partial: partial.into() })
            }
        }
    }

    fn file(&self) -> io::Result<Box<dyn Write>> {
        Ok(match self {
            Self::Standard => Box::new(io::stdout().lock()),
            Self::There(path) => Box::new(OpenOptions::new().write(true).open(path)?),
            // What is in it is not for everybody.
            Self::File { partial, .. } => {
                Box::new(OpenOptions::new().create_new(true).write(true).mode(0o600).open(partial)?)
            }
        })
    }

    fn finish(&self) -> io::Result<()> {
        match self {
            Self::Standard | Self::There(_) => Ok(()),
            Self::File { path, partial } => {
                File::open(partial)?.sync_all()?;
                fs::rename(partial, path)
            }
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Self::File { partial, .. } = self {
            // Gone already, when it has got its name.
            let _ = fs::remove_file(partial);
        }
    }
}

/// Progress on standard error: a bar where that is a terminal, else a line now and then.
struct Telling {
    what: &'static str,
    unit: &'static str,
    bar: Option<ProgressBar>,
    began: Instant,
    told: Instant,
}

impl Telling {
    fn new(what: &'static str, unit: &'static str) -> Self {
        let bar = io::stderr().is_terminal().then(|| ProgressBar::new(0).with_message(what));
        Self { what, unit, bar, began: Instant::now(), told: Instant::now() }
    }

    fn tell(&mut self, Progress { done, of }: Progress) {
        if let Some(bar) = &self.bar {
            if bar.length() != Some(of) {
                let template = if of > 0 {
                    "{msg:8} {wide_bar} {human_pos}/{human_len} {elapsed}"
                } else {
                    "{msg:8} {spinner} {human_pos} {elapsed}"
                };
                if let Ok(style) = ProgressStyle::with_template(template) {
                    bar.set_style(style);
                }
                bar.set_length(of);
            }
            // How many there are is not known to the last one.
            bar.set_position(if of > 0 { done.min(of) } else { done });
        } else if self.told.elapsed() >= TELL_EVERY {
            self.told = Instant::now();
            let (what, unit, done) = (self.what, self.unit, HumanCount(done));
            if of > 0 {
                eprintln!("{what}: {done} of about {} {unit}", HumanCount(of));
            } else {
                eprintln!("{what}: {done} {unit}");
            }
        }
    }

    fn done(self, result: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        eprintln!("{}: done in {:.1?}: {result}", self.what, self.began.elapsed());
    }
}
