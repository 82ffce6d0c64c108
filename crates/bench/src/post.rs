//! The backend's side: pushes, without blocking, on the epoll of the clients.
//!
//! A handful of connections that are kept; a call takes a free one or opens another. Accepted pushes are counted
//! here, from the answers, apart from what arrives at the clients. What a call looks like is a publisher's to know.

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
};

use hdrhistogram::Histogram;
use mio::{Interest, Registry, Token, net::TcpStream};

use crate::{
    clock,
    error::{BenchError, Doing},
    fleet::FOREIGN,
    publisher::{Backend, Publish, Publisher, Push},
    tally::new_histogram,
};

/// Calls under way at once, where nothing else is said.
pub(crate) const LINES_MAX: usize = 64;

/// How pushes are called in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Call {
    /// All that may be sent now in one call.
    Batch,
    /// One call for each, side by side.
    Single,
}

/// Sends pushes and counts those accepted.
pub(crate) struct Poster {
    address: SocketAddr,
    batches: bool,
    publish: Box<dyn Publish>,
    lines: Vec<Line>,
    lines_max: usize,
    accepted: u64,
    /// From the moment when a push was meant to be sent to the answer, in microseconds.
    answers: Histogram<u64>,
}

struct Line {
    stream: TcpStream,
    unsent: Vec<u8>,
    answer: Vec<u8>,
    /// Whether the server has answered what a fresh connection says.
    greeted: bool,
    /// Pushes in the call that is under way.
    pushes: usize,
    /// When they were meant to be sent, where that is known.
    intended: Vec<u64>,
    closed: bool,
}

impl Poster {
    /// Publishes to the server at `address`.
    pub(crate) fn new(address: SocketAddr, publisher: &Publisher, backend: &Backend<'_>) -> Self {
        let publish = (publisher.open)(backend);
        Self {
            address,
            batches: publisher.batches,
            publish,
            lines: Vec::new(),
            lines_max: LINES_MAX,
            accepted: 0,
            answers: new_histogram(),
        }
    }

    /// Opens `lines` connections ahead, which are then the most that there are.
    pub(crate) fn open_lines(&mut self, registry: &Registry, lines: usize) -> Result<(), BenchError> {
        self.lines_max = lines;
        while self.lines.len() < lines {
            self.open(registry)?;
        }
        Ok(())
    }

    /// The latencies of the answers since the last call.
    pub(crate) fn take_answers(&mut self) -> Histogram<u64> {
        std::mem::replace(&mut self.answers, new_histogram())
    }

    /// Whether several pushes can go in one call.
    pub(crate) fn batches(&self) -> bool {
        self.batches
    }

    /// Calls that wait for their answers.
    pub(crate) fn under_way(&self) -> usize {
        self.lines.iter().filter(|line| line.pushes > 0).count()
    }

    /// Pushes that the server has accepted so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted
    }

    /// True while a call waits for its answer.
    pub(crate) fn is_waiting(&self) -> bool {
        self.lines.iter().any(|line| line.pushes > 0)
    }

    /// Starts the calls for `pushes`.
    pub(crate) fn post(
        &mut self,
        registry: &Registry,
        pushes: &[Push],
        call: Call,
    ) -> Result<(), BenchError> {
        let size = if call == Call::Batch && self.batches { pushes.len() } else { 1 };
        for pushes in pushes.chunks(size.max(1)) {
            self.call(registry, pushes, Vec::new())?;
        }
        Ok(())
    }

    /// Starts one call for `pushes`, which were meant to be sent at the moments `intended`.
    pub(crate) fn call(
        &mut self,
        registry: &Registry,
        pushes: &[Push],
        intended: Vec<u64>,
    ) -> Result<(), BenchError> {
        let index = match self.lines.iter().position(Line::is_free) {
            Some(free) => free,
            None => self.open(registry)?,
        };
        let line = &mut self.lines[index];
        line.pushes = pushes.len();
        line.intended = intended;
        self.publish.write(pushes, &mut line.unsent);
        line.flush().map_err(|error| broken(&error))
    }

    fn open(&mut self, registry: &Registry) -> Result<usize, BenchError> {
        let doing = "opening a connection for pushes";
        let index = self.lines.iter().position(|line| line.closed).unwrap_or(self.lines.len());
        if index >= self.lines_max {
            return Err(refused(format!("{} calls are unanswered", self.lines_max)));
        }
        let stream = std::net::TcpStream::connect(self.address).doing(doing)?;
        stream.set_nodelay(true).doing(doing)?;
        stream.set_nonblocking(true).doing(doing)?;
        let mut stream = TcpStream::from_std(stream);
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut stream, Token(FOREIGN + index), interest).doing(doing)?;
        let mut unsent = Vec::new();
        self.publish.begin(&mut unsent);
        let line = Line {
            stream,
            unsent,
            answer: Vec::new(),
            greeted: false,
            pushes: 0,
            intended: Vec::new(),
            closed: false,
        };
        match self.lines.get_mut(index) {
            Some(old) => *old = line,
            None => self.lines.push(line),
        }
        Ok(index)
    }

    /// Something happened to the socket with this token.
    pub(crate) fn ready(&mut self, token: usize, readable: bool) -> Result<(), BenchError> {
        let Some(line) = token.checked_sub(FOREIGN).and_then(|index| self.lines.get_mut(index)) else {
            return Ok(());
        };
        line.flush().map_err(|error| broken(&error))?;
        if !readable || line.closed {
            return Ok(());
        }
        line.read().map_err(|error| broken(&error))?;
        if !line.greeted
            && let Some(length) = self.publish.greeted(&line.answer).map_err(refused)?
        {
            line.greeted = true;
            line.answer.drain(..length);
        }
        if line.greeted
            && line.pushes > 0
            && let Some(length) = self.publish.read(&line.answer, line.pushes).map_err(refused)?
        {
            line.answer.drain(..length);
            self.accepted += std::mem::take(&mut line.pushes) as u64;
            let now = clock::now();
            for intended in line.intended.drain(..) {
                self.answers.saturating_record(now.saturating_sub(intended) / 1000);
            }
        }
        if line.closed && line.pushes > 0 {
            return Err(broken(&io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(())
    }
}

fn broken(error: &io::Error) -> BenchError {
    refused(format!("the connection broke: {error}"))
}

fn refused(what: String) -> BenchError {
    BenchError::Protocol { who: "push".to_owned(), what }
}

impl Line {
    fn is_free(&self) -> bool {
        self.pushes == 0 && !self.closed
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(len) => drop(self.unsent.drain(..len)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn read(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    self.closed = true;
                    return Ok(());
                }
                Ok(len) => self.answer.extend_from_slice(&buffer[..len]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}
