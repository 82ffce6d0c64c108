//! What the operator asks of a server that runs, from the same machine: a socket in the data directory, for the account
//! of the server and root. One JSON object says what is asked for; the answer is JSON too, line by line. It knows who
//! may ask, and not what a backup is made of.

use std::fs::{self, Permissions};
use std::io::{self, BufRead, BufReader, BufWriter, Read as _, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tidings_api::Readiness;
use tidings_model::{Epoch, Timestamp};
use tidings_node::{Node, StoreError, ids};
use tidings_store::{EmbeddedStore, Moment, Options, Progress, archive};

/// The name of the socket in the data directory.
const SOCKET: &str = "control.sock";

/// Longest question, in bytes.
const ASK_BYTES_MAX: u64 = 64 << 10;

/// How long who has connected may take to ask.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// How long who reads an answer may stop reading.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// What is asked for.
#[derive(Debug, Deserialize, Serialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Ask {
    /// A copy of the store, in this directory of the server's.
    Backup {
        /// An absolute path.
        to: PathBuf,
    },
    /// The store as text.
    Export,
    /// That the server goes, as SIGTERM has it.
    Drain,
}

/// A line of an answer that is not itself a line of an export.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Told {
    /// It goes on.
    Progress {
        /// Entries done.
        done: u64,
        /// About how many there are.
        of: u64,
    },
    /// The copy is there.
    Copied {
        /// How many entries.
        entries: u64,
        /// How many bytes it takes.
        bytes: u64,
    },
    /// The server goes.
    Draining {
        /// After how many seconds it has gone at the latest.
        within: u64,
    },
    /// It came to nothing.
    Error(String),
}

/// The socket, removed when this is dropped.
pub(crate) struct Control {
    path: PathBuf,
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// What questions are about.
pub(crate) struct Asked {
    pub(crate) node: Arc<Node>,
    pub(crate) store: Arc<EmbeddedStore>,
    /// How many bytes of the store's cache a copy may have.
    pub(crate) cache: u64,
    pub(crate) ready: Readiness,
    /// How long a drain takes at most.
    pub(crate) within: Duration,
}

/// Listens in the data directory, which is ours alone. Questions are answered one after the other, on a thread of their
/// own; who asks meanwhile waits.
pub(crate) fn listen(directory: &Path, asked: Asked) -> io::Result<Control> {
    let path = directory.join(SOCKET);
    match fs::remove_file(&path) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&path)?;
    fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    let answerer = Answerer { asked, runtime: tokio::runtime::Handle::current() };
    std::thread::Builder::new().name("control".to_owned()).spawn(move || {
        for stream in listener.incoming() {
            let answered = stream.and_then(|stream| answerer.answer(&stream));
            if let Err(why) = answered {
                tracing::warn!(error = %why, "a question on the control socket was not answered");
            }
        }
    })?;
    Ok(Control { path })
}

/// Asks the server that has this data directory.
pub(crate) fn ask(directory: &Path, ask: &Ask) -> io::Result<BufReader<UnixStream>> {
    let mut stream = UnixStream::connect(directory.join(SOCKET))?;
    let mut line = serde_json::to_vec(ask)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    Ok(BufReader::new(stream))
}

struct Answerer {
    asked: Asked,
    runtime: tokio::runtime::Handle,
}

impl Answerer {
    fn answer(&self, stream: &UnixStream) -> io::Result<()> {
        stream.set_read_timeout(Some(ASK_TIMEOUT))?;
        stream.set_write_timeout(Some(READ_TIMEOUT))?;
        let who = rustix::net::sockopt::socket_peercred(stream)?.uid;
        if who != rustix::process::geteuid() && !who.is_root() {
            let why = format!("user {} may not ask; become the user of the server", who.as_raw());
            return tell(&mut &*stream, &Told::Error(why));
        }
        let mut line = String::new();
        BufReader::new(stream).take(ASK_BYTES_MAX).read_line(&mut line)?;
        let asked = match serde_json::from_str(&line) {
            Ok(asked) => asked,
            Err(why) => return tell(&mut &*stream, &Told::Error(format!("the question is none: {why}"))),
        };
        tracing::info!(?asked, "asked on the control socket");
        let outcome = match asked {
            Ask::Backup { to } => self.back_up(&to, stream),
            Ask::Export => self.export(stream),
            Ask::Drain => self.drain(stream),
        };
        match outcome {
            Ok(()) => Ok(()),
            Err(why) => {
                tracing::error!(error = %why, "what was asked on the control socket failed");
                tell(&mut &*stream, &Told::Error(why))
            }
        }
    }

    /// Everything as it is now, what is only in memory included.
    fn moment(&self) -> Result<Moment, StoreError> {
        self.runtime.block_on(async {
            self.asked.node.flush().await;
            self.asked.store.moment().await
        })
    }

    fn back_up(&self, to: &Path, mut stream: &UnixStream) -> Result<(), String> {
        let began = Instant::now();
        let moment = self.moment().map_err(|why| why.to_string())?;
        let mut told = Instant::now();
        let options = Options {
            cache_bytes: self.asked.cache,
            ..Options::new(Epoch(u32::from_le_bytes(ids::random())))
        };
        let copied = moment.copy(to, options, |Progress { done, of }| {
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                // Who asked may have gone; the copy is made all the same.
                let _ = tell(&mut stream, &Told::Progress { done, of });
            }
        });
        let copied = copied.map_err(|why| why.to_string())?;
        tracing::info!(to = %to.display(), entries = copied.entries, took = ?began.elapsed(), "backed up");
        let _ = tell(&mut stream, &Told::Copied { entries: copied.entries, bytes: copied.bytes });
        Ok(())
    }

    /// Who asked is answered before anything ends.
    fn drain(&self, mut stream: &UnixStream) -> Result<(), String> {
        let told = tell(&mut stream, &Told::Draining { within: self.asked.within.as_secs() });
        self.asked.ready.drain();
        told.map_err(|why| why.to_string())
    }

    fn export(&self, stream: &UnixStream) -> Result<(), String> {
        let moment = self.moment().map_err(|why| why.to_string())?;
        let now: Timestamp = self.asked.node.now();
        let mut out = BufWriter::with_capacity(1 << 16, stream);
        let lines = archive::export(&moment, now, &mut out, &mut |_| ()).map_err(|why| why.to_string())?;
        tracing::info!(lines, "exported");
        Ok(())
    }
}

fn tell(out: &mut impl Write, told: &Told) -> io::Result<()> {
    let mut line = serde_json::to_vec(told)?;
    line.push(b'\n');
    out.write_all(&line)
}
