//! The server under test: one that the bench starts and ends, or one that runs already.
//!
//! It is seen from outside only: two lines of its standard output, its sockets, `/proc`.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read},
    net::{SocketAddr, TcpStream},
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

use crate::{
    args::{Durability, Plan, Running, parse_url},
    error::{BenchError, Doing},
    interrupt,
    post::Poster,
    process,
    publisher::Backend,
};

/// How long a started server may take until it listens.
const START_MAX: Duration = Duration::from_secs(30);
/// How long it may take to end before it is killed.
const STOP_MAX: Duration = Duration::from_secs(10);
/// How long after its connections broke a server that dies may take to have died.
const END_MAX: Duration = Duration::from_millis(300);
/// Time between two looks at whether it has ended.
const LOOK: Duration = Duration::from_millis(20);
/// Lines of its standard error that are kept.
const STDERR_LINES: usize = 40;

/// The server under test.
pub(crate) struct Server {
    running: Running,
    own: Option<Own>,
}

/// What belongs to a server that the bench started.
pub(crate) struct Own {
    process: Child,
    stderr: Arc<Mutex<VecDeque<String>>>,
    /// Ends when the server has closed its standard error.
    stderr_reader: Option<JoinHandle<()>>,
    /// Removed when dropped, after the server has ended.
    _store: TempDir,
    /// Whether the server may have processes of its own, which are a group with it.
    has_group: bool,
}

impl Server {
    /// The one that runs already, or a new one.
    pub(crate) fn of(running: Option<&Running>) -> Result<Self, BenchError> {
        match running {
            Some(running) => Ok(Self { running: running.clone(), own: None }),
            None => Self::start(),
        }
    }

    /// One that `own` is, and that is as `running` says.
    pub(crate) fn over(own: Own, running: Running) -> Self {
        Self { running, own: Some(own) }
    }

    fn start() -> Result<Self, BenchError> {
        let doing = "starting the server";
        let store = TempDir::with_prefix("tidings-bench-").doing(doing)?;
        let mut command = Command::new(std::env::current_exe().doing(doing)?);
        command.args(["serve", "--dev", "--listen", "127.0.0.1:0", "--store"]).arg(store.path());
        let mut own = Own::start(command.stdout(Stdio::piped()), store, false)?;
        let lines = own.process.stdout.take().map(read_lines);
        let (url, key) = match lines.map(|lines| own.wait_until_listening(&lines)) {
            Some(Ok(found)) => found,
            Some(Err(what)) => return Err(own.failure(what)),
            None => return Err(own.failure("the server has no standard output".to_owned())),
        };
        let (authority, address) = parse_url(&url).map_err(|error| own.failure(error.to_string()))?;
        let pids = vec![own.process.id()];
        let running = Running { address, authority, publish_to: address, key, pids };
        Ok(Self { running, own: Some(own) })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.running.address
    }

    /// The value of the `Host` header for it.
    pub(crate) fn authority(&self) -> &str {
        &self.running.authority
    }

    /// Somebody who pushes to it as `plan` says, with this `durability`.
    pub(crate) fn poster(&self, plan: &Plan, durability: Durability) -> Poster {
        let backend = Backend {
            authority: &self.running.authority,
            namespace: &plan.namespace,
            key: &self.running.key,
            durability: durability.word(),
            ttl: plan.ttl.as_deref(),
        };
        Poster::new(self.running.publish_to, plan.publisher, &backend)
    }

    /// CPU time that it has used so far, in seconds; nothing when its processes are not known.
    pub(crate) fn cpu_seconds(&self) -> Result<Option<f64>, BenchError> {
        let all: Result<Vec<f64>, _> =
            self.running.pids.iter().map(|pid| process::cpu_seconds(*pid)).collect();
        Ok(Some(all?.iter().sum()).filter(|_| !self.running.pids.is_empty()))
    }

    /// Memory that it has allocated, in bytes; nothing when its processes are not known.
    pub(crate) fn anonymous_bytes(&self) -> Result<Option<u64>, BenchError> {
        let all: Result<Vec<u64>, _> =
            self.running.pids.iter().map(|pid| process::anonymous_bytes(*pid)).collect();
        Ok(Some(all?.iter().sum()).filter(|_| !self.running.pids.is_empty()))
    }

    /// `error`, or, when the server has ended, that it has and what it said last.
    pub(crate) fn explain(&mut self, error: BenchError) -> BenchError {
        let Some(own) = &mut self.own else { return error };
        match own.ended_within(END_MAX) {
            Some(status) => own.failure(format!("{error}\nthe server has ended ({status})")),
            None => error,
        }
    }
}

impl Own {
    /// Starts `command`, keeps what it says on standard error, and keeps `store` until it has ended.
    ///
    /// With `has_group` it leads a process group of its own: interrupting the bench from a terminal does not reach
    /// it, and whatever it leaves behind can be ended.
    pub(crate) fn start(command: &mut Command, store: TempDir, has_group: bool) -> Result<Self, BenchError> {
        if has_group {
            command.process_group(0);
        }
        let mut process =
            command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().doing("starting the server")?;
        let stderr = Arc::new(Mutex::new(VecDeque::new()));
        let stderr_reader = process.stderr.take().map(|pipe| keep_tail(pipe, Arc::clone(&stderr)));
        Ok(Self { process, stderr, stderr_reader, _store: store, has_group })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Waits until something listens at all of `addresses`.
    pub(crate) fn wait_for(&mut self, addresses: &[SocketAddr]) -> Result<(), BenchError> {
        let deadline = Instant::now() + START_MAX;
        for address in addresses {
            while TcpStream::connect(address).is_err() {
                interrupt::check()?;
                if let Some(status) = self.ended_within(LOOK) {
                    return Err(self.failure(format!("the server ended before it listened ({status})")));
                }
                if Instant::now() >= deadline {
                    return Err(self.failure(format!("the server does not listen after {START_MAX:?}")));
                }
            }
        }
        Ok(())
    }

    /// The URL and the admin key from the server's standard output.
    fn wait_until_listening(&mut self, lines: &mpsc::Receiver<String>) -> Result<(String, String), String> {
        let deadline = Instant::now() + START_MAX;
        let (mut url, mut key) = (None, None);
        loop {
            match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    url = url.or_else(|| url_in(&line));
                    key = key.or_else(|| key_in(&line));
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    return Err(format!("the server did not say where it listens within {START_MAX:?}"));
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    let status = self.process.wait().map_err(|error| error.to_string())?;
                    return Err(format!("the server ended before it listened ({status})"));
                }
            }
            if let (Some(url), Some(key)) = (&url, &key) {
                return Ok((url.clone(), key.clone()));
            }
        }
    }

    fn failure(&mut self, what: String) -> BenchError {
        self.stop();
        if let Some(reader) = self.stderr_reader.take() {
            let _ = reader.join();
        }
        let said: String = locked(&self.stderr).iter().map(|line| format!("\n  {line}")).collect();
        let stderr = if said.is_empty() { said } else { format!("; it said:{said}") };
        BenchError::Server { what, stderr }
    }

    /// How it ended, if it does within `patience`.
    fn ended_within(&mut self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Ok(Some(status)) = self.process.try_wait() {
                return Some(status);
            }
            if Instant::now() >= deadline {
                return None;
            }
            thread::sleep(LOOK);
        }
    }

    fn stop(&mut self) {
        if self.ended_within(Duration::ZERO).is_some() {
            return;
        }
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        let asked = pid.is_some_and(|pid| kill_process(pid, Signal::TERM).is_ok());
        if asked && self.ended_within(STOP_MAX).is_some() {
            return;
        }
        if let Some(pid) = pid.filter(|_| self.has_group) {
            let _ = kill_process_group(pid, Signal::KILL);
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.stop();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads lines for as long as there are any, so that the server never waits for a full pipe; what nobody takes is
/// dropped.
fn read_lines(pipe: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::sync_channel(256);
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let _ = sender.try_send(line);
        }
    });
    receiver
}

fn keep_tail(pipe: impl Read + Send + 'static, tail: Arc<Mutex<VecDeque<String>>>) -> JoinHandle<()> {
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let mut tail = locked(&tail);
            if tail.len() == STDERR_LINES {
                tail.pop_front();
            }
            tail.push_back(line);
        }
    })
}

fn url_in(line: &str) -> Option<String> {
    let (_, after) = line.split_once("listening on ")?;
    let word = after.split_ascii_whitespace().next()?;
    word.starts_with("http://").then(|| word.trim_end_matches([',', '.', '/']).to_owned())
}

fn key_in(line: &str) -> Option<String> {
    let (_, after) = line.split_once("admin key: ")?;
    after.split_ascii_whitespace().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_lines_are_read_loosely() {
        let check = |line: &str, url: Option<&str>, key: Option<&str>| {
            assert_eq!((url_in(line).as_deref(), key_in(line).as_deref()), (url, key), "{line}");
        };
        check("listening on http://127.0.0.1:4000", Some("http://127.0.0.1:4000"), None);
        check("tidings 0.1 listening on http://127.0.0.1:4000/, dev", Some("http://127.0.0.1:4000"), None);
        check("admin key: abc (printed once)", None, Some("abc"));
        check("listening on unix:/x", None, None);
        check("hello", None, None);
    }
}
