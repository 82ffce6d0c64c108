//! The backend's side: pushes, without blocking, on the epoll of the clients.
//!
//! A handful of connections that are kept; a call takes a free one or opens another. Accepted pushes are counted
//! here, from the answers, apart from what arrives at the clients. What a call looks like is a publisher's to know.

use std::{
    collections::VecDeque,
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
    pipelines: bool,
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
    /// The calls that are under way, several only where they may follow each other.
    calls: VecDeque<Waiting>,
    closed: bool,
}

/// A call without its answer yet.
struct Waiting {
    pushes: usize,
    /// When they were meant to be sent, where that is known.
    intended: Vec<u64>,
}

impl Poster {
    /// Publishes to the server at `address`.
    pub(crate) fn new(address: SocketAddr, publisher: &Publisher, backend: &Backend<'_>) -> Self {
        let publish = (publisher.open)(backend);
        Self {
            address,
            batches: publisher.batches,
            pipelines: publisher.pipelines,
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
        self.lines.iter().map(|line| line.calls.len()).sum()
    }

    /// Pushes that the server has accepted so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted
    }

    /// True while a call waits for its answer.
    pub(crate) fn is_waiting(&self) -> bool {
        self.lines.iter().any(|line| !line.calls.is_empty())
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
        let pipelines = self.pipelines;
        let index = match self.lines.iter().position(|line| line.takes_a_call(pipelines)) {
            Some(free) => free,
            None => self.open(registry)?,
        };
        let line = &mut self.lines[index];
        line.calls.push_back(Waiting { pushes: pushes.len(), intended });
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
            calls: VecDeque::new(),
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
        while line.greeted
            && let Some(call) = line.calls.front()
            && let Some(length) = self.publish.read(&line.answer, call.pushes).map_err(refused)?
        {
            line.answer.drain(..length);
            let now = clock::now();
            if let Some(Waiting { pushes, intended }) = line.calls.pop_front() {
                self.accepted += pushes as u64;
                for intended in intended {
                    self.answers.saturating_record(now.saturating_sub(intended) / 1000);
                }
            }
        }
        if line.closed && !line.calls.is_empty() {
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
    fn takes_a_call(&self, pipelines: bool) -> bool {
        !self.closed && (pipelines || self.calls.is_empty())
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

#[cfg(test)]
mod tests {
    use std::{io::Write as _, net::TcpListener};

    use mio::{Events, Poll};

    use super::*;
    use crate::publisher::{
        nats::NATS,
        node::NODE,
        tests::{BACKEND, pushes},
    };

    /// Two calls at once need `lines` connections; both are accepted when `answers` come on the first of them.
    #[track_caller]
    fn check(publisher: &Publisher, lines: usize, answers: &[u8]) {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut poll = Poll::new().unwrap();
        let mut poster = Poster::new(server.local_addr().unwrap(), publisher, &BACKEND);
        for _ in 0..2 {
            poster.post(poll.registry(), &pushes(2), Call::Batch).unwrap();
        }
        assert_eq!((poster.lines.len(), poster.under_way()), (lines, 2), "{}", publisher.name);
        let mut streams: Vec<_> = (0..lines).map(|_| server.accept().unwrap().0).collect();
        for stream in &mut streams {
            stream.write_all(answers).unwrap();
        }
        let mut events = Events::with_capacity(8);
        while poster.is_waiting() {
            poll.poll(&mut events, None).unwrap();
            for event in &events {
                poster.ready(event.token().0, event.is_readable()).unwrap();
            }
        }
        assert_eq!(poster.accepted(), 4, "{}", publisher.name);
    }

    #[test]
    fn calls_share_a_connection_only_where_they_may_follow_each_other() {
        check(&NODE, 2, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        check(&NATS, 1, b"INFO {}\r\nPONG\r\nPONG\r\n");
    }
}
